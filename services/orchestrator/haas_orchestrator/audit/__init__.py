"""Checkpoints over every tenant's history, and what an auditor reads (docs/howto/audit.md)."""
