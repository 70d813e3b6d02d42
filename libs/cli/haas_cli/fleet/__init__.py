"""The embedded fleet: PostgreSQL, Valkey, Envoy and the five services under one supervisor."""
