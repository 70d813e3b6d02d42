"""What specialists and leaders can do: the registry of skills and their workers."""
