"""The MCP service: `python -m haas_mcp`."""

import sys

from haas_common.server import run
from haas_mcp.server import main

sys.exit(run("mcp", main))
