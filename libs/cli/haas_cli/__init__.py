"""The `haas` command and the supervisor of the embedded fleet."""
