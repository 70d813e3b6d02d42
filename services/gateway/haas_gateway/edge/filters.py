"""The chain that every request passes, in this order:

cors -> buffer (REST) -> body limits -> jwt_authn -> gRPC-Web -> transcoder -> field extraction -> tenant rule (Lua)
     -> the tenant's bucket -> router
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from haas_gateway.edge.contract import Method
from haas_gateway.edge.routes import FILTER_BODY_LIMIT, FILTER_BUFFER, FILTER_UPLOAD_LIMIT
from haas_gateway.edge.settings import (
    BODY_BYTES_MAX,
    REFUSED_BYTES_MAX,
    RESPONSE_BYTES_MAX,
    TENANT_CALLS_PER_S,
    EdgeSettings,
)

_HTTP = "type.googleapis.com/envoy.extensions.filters.http"
JWT_FILTER = "haas.jwt"
JWT_TYPE = f"{_HTTP}.jwt_authn.v3.JwtAuthentication"
DESCRIPTOR = "envoy/api.binpb"
ECDS_JWT = "envoy/ecds/jwt.json"
CLOCK_SKEW_S = 5
_TENANT = {"key": "envoy.filters.http.jwt_authn", "path": [{"key": "jwt"}, {"key": "tenant_id"}]}


def file_source(path: str) -> dict[str, Any]:
    """A file that Envoy watches: replaced by rename, it is read again."""
    return {"path_config_source": {"path": path}, "resource_api_version": "V3"}


def jwt_authn(methods: Sequence[Method], jwks: str) -> dict[str, Any]:
    """Who needs a token: everything but the public methods, health and reflection (its service asks for one itself).

    Args:
        methods: of the contracts.
        jwks: the public keys, as JSON.
    """
    public = [method for method in methods if method.caller == "public"]
    paths = sorted({p for method in public for p in (method.path, *(route.path for route in method.routes))})
    open_rules: list[dict[str, Any]] = [{"match": _path_match(path)} for path in paths]
    open_rules += [{"match": {"prefix": "/grpc.health.v1.Health/"}}, {"match": {"prefix": "/grpc.reflection."}}]
    provider = {
        "issuer": "haas",
        "audiences": ["haas-api"],
        "require_expiration": True,
        "clock_skew_seconds": CLOCK_SKEW_S,
        "local_jwks": {"inline_string": jwks},
        # Only the header: a token in a query would stand in logs and histories.
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "payload_in_metadata": "jwt",
        # The services verify it again.
        "forward": True,
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    return {
        "@type": JWT_TYPE,
        "bypass_cors_preflight": True,
        "providers": {"haas": provider},
        "rules": [*open_rules, {"match": {"prefix": "/"}, "requires": {"provider_name": "haas"}}],
    }


def _path_match(path: str) -> dict[str, Any]:
    """A route's path, whose variables stand for one segment each."""
    if "{" not in path:
        return {"path": path}
    fixed = re.split(r"\{[a-z_]+\}", path)
    return {"safe_regex": {"regex": "[^/]+".join(map(re.escape, fixed))}}


def _transcoder(methods: Sequence[Method]) -> dict[str, Any]:
    """REST to gRPC. Unknown JSON fields are dropped by it, and it has no option to refuse them."""
    return {
        "@type": f"{_HTTP}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor": DESCRIPTOR,
        "services": sorted({method.service for method in methods if method.routes}),
        "convert_grpc_status": True,
        "print_options": {"preserve_proto_field_names": True, "always_print_primitive_fields": True},
        "request_validation_options": {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        "match_unregistered_custom_verb": True,
        "query_param_unescape_plus": True,
        "max_request_body_size": REFUSED_BYTES_MAX,
        "max_response_body_size": RESPONSE_BYTES_MAX,
    }


def _extraction(methods: Sequence[Method]) -> dict[str, Any]:
    """The tenant and project of every request that names them, whatever form it came in."""
    both = {"request_field_extractions": {"tenant_id": {}, "project_id": {}}}
    scoped = [method for method in methods if method.scoped]
    return {
        "@type": f"{_HTTP}.grpc_field_extraction.v3.GrpcFieldExtractionConfig",
        "descriptor_set": {"filename": DESCRIPTOR},
        "extractions_by_method": {f"{method.service}.{method.name}": both for method in scoped},
    }


def _tenant_rule(methods: Sequence[Method]) -> dict[str, Any]:
    """The Lua of tenant_rule.lua behind its generated table."""
    rows = "".join(f'  ["{method.path}"] = "{method.caller}",\n' for method in methods if method.caller)
    rule = (Path(__file__).parent / "tenant_rule.lua").read_text(encoding="utf-8")
    code = f"local METHODS = {{\n{rows}}}\n\n{rule}"
    return {"@type": f"{_HTTP}.lua.v3.Lua", "default_source_code": {"inline_string": code}}


def _tenant_bucket() -> dict[str, Any]:
    """So many calls a second per tenant, generous: a guard against a flood, not a quota."""
    bucket = {
        "max_tokens": 2 * TENANT_CALLS_PER_S,
        "tokens_per_fill": TENANT_CALLS_PER_S,
        "fill_interval": "1s",
    }
    every = {"default_value": {"numerator": 100}}
    return {
        "@type": f"{_HTTP}.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "tenant",
        # Calls without a token (public methods, health) share this one.
        "token_bucket": bucket,
        "filter_enabled": every,
        "filter_enforced": every,
        "rate_limited_as_resource_exhausted": True,
        "enable_retry_after_header": True,
        "max_dynamic_descriptors": 1000,
        "rate_limits": [{"actions": [{"metadata": {"descriptor_key": "tenant", "metadata_key": _TENANT}}]}],
        "descriptors": [{"entries": [{"key": "tenant"}], "token_bucket": bucket}],
    }


def http_filters(settings: EdgeSettings, methods: Sequence[Method]) -> list[dict[str, Any]]:
    """The chain; see the module."""
    exposed = [method for method in methods if method.upstream in settings.upstreams]
    sizes = f"{_HTTP}.body_size_limit.v3.BodySizeLimit"
    configured: list[tuple[str, dict[str, Any]]] = [
        ("envoy.filters.http.cors", {"@type": f"{_HTTP}.cors.v3.Cors"}),
        (FILTER_BUFFER, {"@type": f"{_HTTP}.buffer.v3.Buffer", "max_request_bytes": REFUSED_BYTES_MAX}),
        (FILTER_UPLOAD_LIMIT, {"@type": sizes, "max_request_bytes": REFUSED_BYTES_MAX}),
        (FILTER_BODY_LIMIT, {"@type": sizes, "max_request_bytes": BODY_BYTES_MAX}),
    ]
    after: list[tuple[str, dict[str, Any]]] = [
        ("envoy.filters.http.grpc_web", {"@type": f"{_HTTP}.grpc_web.v3.GrpcWeb"}),
        ("envoy.filters.http.grpc_json_transcoder", _transcoder(exposed)),
        ("envoy.filters.http.grpc_field_extraction", _extraction(exposed)),
        ("envoy.filters.http.lua", _tenant_rule(exposed)),
        ("haas.tenant_bucket", _tenant_bucket()),
        ("envoy.filters.http.router", {"@type": f"{_HTTP}.router.v3.Router"}),
    ]
    jwt = {"name": JWT_FILTER, "config_discovery": {"config_source": file_source(ECDS_JWT), "type_urls": [JWT_TYPE]}}
    static = [[{"name": name, "typed_config": config} for name, config in part] for part in (configured, after)]
    return [*static[0], jwt, *static[1]]
