"""The tools: their specifications and what each of them does."""
