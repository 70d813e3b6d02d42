"""The gateway: the edge's generated configuration, tokens, tenants, projects, profiles, the API's own description."""
