"""Webhooks of systems outside that end waits: who may send them, and what each signals."""
