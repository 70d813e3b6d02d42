"""Envoy's configuration, generated from the contracts (design 9, 10); imports no grpc: the supervisor loads it."""
