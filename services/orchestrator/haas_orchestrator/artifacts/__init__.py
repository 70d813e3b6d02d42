"""Artifacts: read, compared, verified, moved on; and what nothing refers to any more."""
