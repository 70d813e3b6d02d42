"""Which service answers what, how long, and what is tried again."""

from collections.abc import Sequence
from typing import Any

from haas_gateway.edge.contract import Method
from haas_gateway.edge.settings import REFUSED_BYTES_MAX, EdgeSettings

_TYPES = "type.googleapis.com/envoy"
#: A stream says something every 15 s; one that is silent for this long is dead.
STREAM_IDLE_S = 60
FILTER_BODY_LIMIT = "haas.body_limit"
FILTER_UPLOAD_LIMIT = "haas.upload_limit"
FILTER_BUFFER = "envoy.filters.http.buffer"

_ALLOWED_HEADERS = (
    "authorization,content-type,x-grpc-web,x-user-agent,grpc-timeout,last-event-id,x-request-id,traceparent"
)
_EXPOSED_HEADERS = "grpc-status,grpc-message,grpc-status-details-bin,x-request-id,retry-after"


def _retries(reads: bool) -> dict[str, Any]:
    """A call that reached no service is tried again; one that may have run only where it reads.

    The pauses (0.1 s doubling to 1 s, five times) span the second that a supervised service takes to come back.
    """
    on = "connect-failure,refused-stream"
    return {
        "retry_on": f"{on},unavailable,reset-before-request" if reads else on,
        "num_retries": 5,
        "retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"},
    }


def _without(*filters: str) -> dict[str, Any]:
    """A route that these filters leave alone."""
    off = {"@type": f"{_TYPES}.config.route.v3.FilterConfig", "disabled": True}
    return {"typed_per_filter_config": dict.fromkeys(filters, off)} if filters else {}


def _unlimited(method: Method) -> tuple[str, ...]:
    """Uploads are not cut at 1 MiB. A stream of both sides has no size at all: its service bounds each message."""
    if not method.client_streaming:
        return ()
    return (FILTER_BODY_LIMIT, FILTER_UPLOAD_LIMIT) if method.server_streaming else (FILTER_BODY_LIMIT,)


def _buffered() -> dict[str, Any]:
    """REST bodies are read before they are answered: curl over HTTP/2 fails on an answer that comes earlier."""
    limit = {"@type": f"{_TYPES}.extensions.filters.http.buffer.v3.BufferPerRoute"}
    return {"typed_per_filter_config": {FILTER_BUFFER: {**limit, "buffer": {"max_request_bytes": REFUSED_BYTES_MAX}}}}


def _method_route(method: Method) -> dict[str, Any]:
    """The route of a method by its gRPC path; REST calls come here too, once they are transcoded."""
    timeout = {"header": {"key": "grpc-timeout", "value": f"{method.deadline_s * 1000}m"}}
    action: dict[str, Any] = {
        "cluster": method.upstream,
        # `timeout` would not see the client's grpc-timeout; this bounds the stream and hands the rest to the service.
        "timeout": "0s",
        "max_stream_duration": {
            "max_stream_duration": f"{method.deadline_max_s}s",
            "grpc_timeout_header_max": f"{method.deadline_max_s}s",
        },
        "retry_policy": _retries(method.reads),
    }
    if method.server_streaming:
        action["idle_timeout"] = f"{STREAM_IDLE_S}s"
    return {
        "match": {"path": method.path},
        "request_headers_to_add": [{**timeout, "append_action": "ADD_IF_ABSENT"}],
        "route": action,
        **_without(*_unlimited(method)),
    }


def _rest_routes(methods: Sequence[Method]) -> list[dict[str, Any]]:
    """Where REST paths stand before they are transcoded: CORS, limits and buffers are found here."""
    target = {"route": {"cluster": "gateway", "timeout": "5s"}}
    uploads = sorted({route.path for method in methods if method.client_streaming for route in method.routes})
    heads = sorted({f"/{route.path.split('/')[1]}" for method in methods for route in method.routes})
    found = [{"match": {"path": path}, **target, **_without(FILTER_BODY_LIMIT)} for path in uploads]
    for head in heads:
        match = {"path_separated_prefix": head}
        found.append({"match": match, **target, **_buffered()})
    return found


def _open_routes() -> list[dict[str, Any]]:
    """Health and reflection: the gateway's, which reflects every service of the fleet."""
    streams = {"timeout": "0s", "idle_timeout": f"{STREAM_IDLE_S}s"}
    bounded = {"max_stream_duration": {"max_stream_duration": "300s", "grpc_timeout_header_max": "300s"}}
    return [
        {"match": {"prefix": prefix}, "route": {"cluster": "gateway", **streams, **bounded}}
        for prefix in ("/grpc.health.v1.Health/", "/grpc.reflection.")
    ]


def _cors(settings: EdgeSettings) -> dict[str, Any]:
    """The origins whose scripts may call."""
    return {
        "@type": f"{_TYPES}.extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": origin} for origin in settings.cors_origins],
        "allow_methods": "GET, POST, PUT, DELETE, OPTIONS",
        "allow_headers": _ALLOWED_HEADERS,
        "expose_headers": _EXPOSED_HEADERS,
        "max_age": "600",
    }


def route_config(settings: EdgeSettings, methods: Sequence[Method]) -> dict[str, Any]:
    """One virtual host; what it does not name is a 404."""
    exposed = [method for method in methods if method.upstream in settings.upstreams]
    unbuffered = {"@type": f"{_TYPES}.extensions.filters.http.buffer.v3.BufferPerRoute", "disabled": True}
    return {
        "name": "edge",
        "request_headers_to_remove": ["cookie"],
        "virtual_hosts": [
            {
                "name": "edge",
                "domains": ["*"],
                "typed_per_filter_config": {
                    "envoy.filters.http.cors": _cors(settings),
                    FILTER_BUFFER: unbuffered,
                },
                "routes": [*map(_method_route, exposed), *_open_routes(), *_rest_routes(exposed)],
            }
        ],
    }
