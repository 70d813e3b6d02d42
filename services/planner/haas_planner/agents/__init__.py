"""Registered agents: their skills and limits, their measured results, who gets a task, and which leader comes first."""
