"""The MCP service: tools behind one policy."""
