"""Who may call which tool, how often, and where a tool may connect to."""
