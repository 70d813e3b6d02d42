"""The edge's configuration: `write_config` for who starts Envoy, `python -m haas_gateway.envoy` for people.

Everything is generated from the descriptor set; paths are relative to the fleet's home, in which Envoy runs.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from haas_common.pki import write_secret
from haas_gateway.edge.clusters import SDS_CLIENT, SDS_MESH, clusters
from haas_gateway.edge.contract import Method, descriptor_path, methods
from haas_gateway.edge.filters import DESCRIPTOR, ECDS_JWT, JWT_FILTER, file_source, http_filters, jwt_authn
from haas_gateway.edge.replies import local_reply_config
from haas_gateway.edge.routes import STREAM_IDLE_S, route_config
from haas_gateway.edge.settings import HEAP_BYTES_MAX, WINDOW_BYTES, EdgeSettings

__all__ = ["EdgeSettings", "render", "write_config", "write_jwks"]

_TYPES = "type.googleapis.com/envoy"
CONFIG = "envoy/envoy.yaml"
SDS_EDGE = "envoy/sds/edge.yaml"
CONNECTIONS_MAX = 2000

#: What a log line says. No query (it may hold what people typed), no header that holds a token.
_LOG = {
    "ts": "%START_TIME%",
    "level": "info",
    "service": "edge",
    "msg": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)% %PATH(NQ:ORIG_OR_PATH)%",
    "rpc": "%PATH(NQ:PATH)%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "upstream": "%UPSTREAM_CLUSTER%",
    "tenant_id": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:jwt:tenant_id)%",
    "project_id": "%DYNAMIC_METADATA(envoy.filters.http.grpc_field_extraction:project_id)%",
    "subject": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:jwt:sub)%",
    "reason": "%DYNAMIC_METADATA(haas.edge:reason)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
}


def _tracing(settings: EdgeSettings) -> dict[str, Any]:
    """Spans of the edge, when somebody collects them; they carry the tenant, never headers."""
    if not settings.otlp_endpoint:
        return {}
    uri = f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"
    tenant = {"key": "envoy.filters.http.jwt_authn", "path": [{"key": "jwt"}, {"key": "tenant_id"}]}
    tag = {"tag": "tenant_id", "metadata": {"kind": {"request": {}}, "metadata_key": tenant}}
    provider = {
        "name": "envoy.tracers.opentelemetry",
        "typed_config": {
            "@type": f"{_TYPES}.config.trace.v3.OpenTelemetryConfig",
            "http_service": {"http_uri": {"uri": uri, "cluster": "otlp", "timeout": "2s"}},
            "service_name": "haas-edge",
        },
    }
    return {"tracing": {"provider": provider, "custom_tags": [tag], "spawn_upstream_span": True}}


def _connection_manager(settings: EdgeSettings, found: Sequence[Method]) -> dict[str, Any]:
    """HTTP/1.1 and HTTP/2; identity headers from outside are gone before anything reads them."""
    strip = {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{_TYPES}.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [
                {"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in ("x-haas-", "x-jwt-", "x-envoy-")
            ],
        },
    }
    log = {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{_TYPES}.extensions.access_loggers.file.v3.FileAccessLog",
            "path": settings.access_log,
            "log_format": {"json_format": _LOG},
        },
    }
    return {
        "@type": f"{_TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "request_headers_timeout": "10s",
        "stream_idle_timeout": f"{STREAM_IDLE_S}s",
        "common_http_protocol_options": {
            "idle_timeout": "600s",
            "headers_with_underscores_action": "REJECT_REQUEST",
            "max_headers_count": 100,
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 128,
            "initial_stream_window_size": WINDOW_BYTES,
            "initial_connection_window_size": 2 * WINDOW_BYTES,
            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
        },
        "drain_timeout": "5s",
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "early_header_mutation_extensions": [strip],
        "access_log": [log],
        "local_reply_config": local_reply_config(),
        "http_filters": http_filters(settings, found),
        "route_config": route_config(settings, found),
        **_tracing(settings),
    }


def _listener(settings: EdgeSettings, found: Sequence[Method]) -> dict[str, Any]:
    """The one TLS port."""
    tls = {
        "@type": f"{_TYPES}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificate_sds_secret_configs": [{"name": "edge", "sds_config": file_source(SDS_EDGE)}],
        },
    }
    manager = {"name": "edge", "typed_config": _connection_manager(settings, found)}
    return {
        "name": "edge",
        "address": {"socket_address": {"address": settings.listen_host, "port_value": settings.listen_port}},
        "per_connection_buffer_limit_bytes": WINDOW_BYTES,
        "filter_chains": [
            {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls}, "filters": [manager]}
        ],
    }


def _overload() -> dict[str, Any]:
    """So many connections, so much memory; at 90 % of it the fattest streams are reset, at 95 % no request is taken."""
    monitors = f"{_TYPES}.extensions.resource_monitors"
    heap = "envoy.resource_monitors.fixed_heap"
    connections = {
        "@type": f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": CONNECTIONS_MAX,
    }
    memory = {"@type": f"{monitors}.fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": HEAP_BYTES_MAX}
    return {
        "refresh_interval": "0.25s",
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 20},
        "resource_monitors": [
            {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections},
            {"name": heap, "typed_config": memory},
        ],
        "actions": [
            {
                "name": "envoy.overload_actions.reset_high_memory_stream",
                "triggers": [{"name": heap, "scaled": {"scaling_threshold": 0.9, "saturation_threshold": 0.98}}],
            },
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": [{"name": heap, "threshold": {"value": 0.95}}],
            },
        ],
    }


def render(settings: EdgeSettings, descriptor_set: bytes) -> dict[str, Any]:
    """Envoy's bootstrap configuration; JSON of it is YAML too."""
    found = tuple(methods(descriptor_set))
    return {
        "admin": {"address": {"pipe": {"path": settings.admin_socket, "mode": 0o600}}},
        "node": {"id": "edge", "cluster": "haas"},
        "overload_manager": _overload(),
        "static_resources": {"listeners": [_listener(settings, found)], "clusters": clusters(settings)},
    }


def _secret(name: str, kind: str, value: dict[str, Any]) -> bytes:
    """An SDS file with one secret."""
    secret = {"@type": f"{_TYPES}.extensions.transport_sockets.tls.v3.Secret", "name": name, kind: value}
    return json.dumps({"resources": [secret]}, indent=1).encode()


def _pair(settings: EdgeSettings, folder: Path) -> dict[str, Any]:
    """A certificate and its key, watched: replaced by rename, they are served within a second."""
    return {
        "certificate_chain": {"filename": settings.path(folder / "tls.pem")},
        "private_key": {"filename": settings.path(folder / "tls.key")},
        "watched_directory": {"path": settings.path(folder)},
    }


def write_jwks(settings: EdgeSettings) -> None:
    """Writes the keys that Envoy verifies tokens with; to be repeated after a rotation, while Envoy runs."""
    jwks = json.dumps(json.loads((settings.secrets / "edge" / "jwks.json").read_bytes()))
    config = jwt_authn(tuple(methods(descriptor_path().read_bytes())), jwks)
    resource = {
        "@type": f"{_TYPES}.config.core.v3.TypedExtensionConfig",
        "name": JWT_FILTER,
        "typed_config": config,
    }
    write_secret(settings.home / ECDS_JWT, json.dumps({"resources": [resource]}, indent=1).encode())


def write_config(settings: EdgeSettings) -> None:
    """Writes <home>/envoy/{envoy.yaml,api.binpb,ecds/jwt.json,sds/*.yaml}, each by rename.

    Raises:
        FileNotFoundError: the edge's secrets are missing (`haas_common.pki.write_fleet_secrets` makes them).
    """
    descriptor_set = descriptor_path().read_bytes()
    edge, mesh = settings.secrets / "edge", settings.secrets / "edge" / "mesh"
    for path in (edge / "tls.pem", edge / "tls.key", mesh / "tls.pem", mesh / "tls.key", mesh / "ca.pem"):
        os.stat(path)
    authority = {"trusted_ca": {"filename": settings.path(mesh / "ca.pem")}}
    watched = {"watched_directory": {"path": settings.path(mesh)}}
    write_secret(settings.home / DESCRIPTOR, descriptor_set)
    write_secret(settings.home / SDS_EDGE, _secret("edge", "tls_certificate", _pair(settings, edge)))
    write_secret(settings.home / SDS_CLIENT, _secret("client", "tls_certificate", _pair(settings, mesh)))
    write_secret(settings.home / SDS_MESH, _secret("mesh", "validation_context", {**authority, **watched}))
    write_jwks(settings)
    config = json.dumps(render(settings, descriptor_set), indent=1).encode()
    write_secret(settings.home / CONFIG, config)


def main() -> None:
    """Writes the configuration from the command line (deploy/compose)."""
    parser = argparse.ArgumentParser(prog="python -m haas_gateway.envoy", description="Writes Envoy's configuration.")
    parser.add_argument("--home", type=Path, required=True, help="the fleet's state folder")
    parser.add_argument("--secrets", type=Path, help="the folder of secrets; <home>/secrets unless given")
    parser.add_argument("--listen", default="127.0.0.1:8443", help="host:port for clients")
    parser.add_argument("--upstream", action="append", default=[], help="service=host:port[,host:port], once a service")
    parser.add_argument("--otlp", help="the OTLP/HTTP endpoint for traces")
    parser.add_argument("--cors-origin", action="append", default=[], help="an origin whose scripts may call")
    parser.add_argument("--access-log", default="envoy/access.log", help="where access is logged; /dev/stdout works")
    given = parser.parse_args()
    host, _, port = given.listen.rpartition(":")
    write_config(
        EdgeSettings(
            home=given.home,
            secrets=given.secrets or given.home / "secrets",
            listen_host=host.strip("[]"),
            listen_port=int(port),
            upstreams=dict(pair.split("=", 1) for pair in given.upstream),
            otlp_endpoint=given.otlp,
            cors_origins=tuple(given.cors_origin),
            access_log=given.access_log,
        )
    )


if __name__ == "__main__":
    main()
