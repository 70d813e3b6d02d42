"""What the edge answers itself: google.rpc.Status with a reason of the contract, as JSON or as gRPC details."""

import base64
from dataclasses import dataclass
from typing import Any

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

#: Where the tenant rule leaves its verdict for the mappers below.
VERDICT = "haas.edge"


@dataclass(frozen=True, slots=True)
class Reply:
    """A kind of local reply.

    Attributes:
        when: the filter that recognises it.
        reason: of error_reason.proto.
        code: the google.rpc.Code.
        message: for a person; empty: Envoy's own words (of the transcoder, about bad JSON).
        metadata: of the ErrorInfo.
        http: the HTTP status, where Envoy's own does not fit.
    """

    when: dict[str, Any]
    reason: str
    code: int
    message: str
    metadata: tuple[tuple[str, str], ...] = ()
    http: int = 0


def _status(number: int, op: str = "EQ") -> dict[str, Any]:
    return {"status_code_filter": {"comparison": {"op": op, "value": {"default_value": number, "runtime_key": "haas"}}}}


def _cel(expression: str) -> dict[str, Any]:
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                "expression": expression,
            },
        }
    }


def _said(text: str) -> dict[str, Any]:
    """Envoy's own account of why it answered; it stays inside (it names addresses and certificates)."""
    return _cel(f"response.code_details.contains('{text}')")


def _verdict(reason: str) -> dict[str, Any]:
    matcher = {"filter": VERDICT, "path": [{"key": "reason"}], "value": {"string_match": {"exact": reason}}}
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": False}}


def _flag(*flags: str) -> dict[str, Any]:
    return {"response_flag_filter": {"flags": list(flags)}}


REPLIES = (
    Reply(_verdict("TENANT_MISMATCH"), "TENANT_MISMATCH", 7, "The token is for another tenant."),
    Reply(_verdict("PROJECT_NOT_GRANTED"), "PROJECT_NOT_GRANTED", 7, "The token does not hold this project."),
    Reply(_verdict("TOKEN_MISSING"), "TOKEN_MISSING", 16, "No token came with the call."),
    Reply(_verdict("METHOD_UNKNOWN"), "METHOD_UNKNOWN", 12, "There is no such method."),
    Reply(_said("Jwt_is_expired"), "TOKEN_EXPIRED", 16, "The token has expired; renew it."),
    Reply(_said("Jwt_is_missing"), "TOKEN_MISSING", 16, "No token came with the call."),
    Reply(
        _said("jwt_authn_access_denied"),
        "TOKEN_INVALID",
        16,
        "The token is forged, malformed, of another issuer or audience, or of an unknown key.",
        http=401,
    ),
    Reply(
        _status(413),
        "PAYLOAD_TOO_LARGE",
        8,
        "The body is larger than allowed: 1 MiB, and 8 MiB for PUT /v1/inputs.",
        (("bytes_max", str(1024 * 1024)),),
    ),
    Reply(_status(404), "METHOD_UNKNOWN", 12, "There is no such method."),
    Reply(_status(429), "RATE_LIMITED", 8, "More calls than allowed; wait a second.", (("retry_after_s", "1"),)),
    Reply(_flag("UO"), "OVERLOADED", 8, "Too much is under way; wait a second.", (("retry_after_s", "1"),)),
    Reply(_flag("DT", "UT", "UMSDR"), "DEADLINE_PASSED", 4, "The call's deadline passed first.", http=504),
    Reply(_status(504), "DEADLINE_PASSED", 4, "The call's deadline passed first."),
    Reply(_status(503), "SERVICE_UNAVAILABLE", 14, "A service of the fleet cannot be reached."),
    Reply(_said("grpc_json_transcode_failure"), "FIELD_INVALID", 3, "", (("field", ""), ("rule", "readable"))),
    Reply(_status(400), "FIELD_INVALID", 3, "The request is malformed.", (("field", ""), ("rule", "readable"))),
    Reply(_status(400, "GE"), "GATEWAY", 14, "The edge could not handle the call."),
)


def _json(reply: Reply) -> dict[str, Any]:
    """The body that REST clients get."""
    metadata = {**dict(reply.metadata), "request_id": "%REQ(X-REQUEST-ID)%"}
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reply.reason,
        "domain": "haas",
        "metadata": metadata,
    }
    return {"code": reply.code, "message": reply.message or "%LOCAL_REPLY_BODY%", "details": [info]}


def _details(reply: Reply) -> str:
    """The `grpc-status-details-bin` that gRPC clients get: the same status, as base64."""
    info = error_details_pb2.ErrorInfo(reason=reply.reason, domain="haas", metadata=dict(reply.metadata))
    packed = any_pb2.Any()
    packed.Pack(info)
    status = status_pb2.Status(code=reply.code, message=reply.message, details=[packed])
    return base64.b64encode(status.SerializeToString(deterministic=True)).decode().rstrip("=")


def local_reply_config() -> dict[str, Any]:
    """The mappers: each reply twice, for REST (also when the call was transcoded) and for gRPC clients."""
    content_type = {"name": "content-type", "string_match": {"prefix": "application/grpc"}, "invert_match": True}
    not_grpc = {"header_filter": {"header": {**content_type, "treat_missing_header_as_empty": True}}}
    transcoded = {"header_filter": {"header": {"name": "x-envoy-original-path", "present_match": True}}}
    rest = {"or_filter": {"filters": [not_grpc, transcoded]}}
    mappers: list[dict[str, Any]] = []
    for reply in REPLIES:
        code = {"status_code": reply.http} if reply.http else {}
        mappers.append(
            {
                "filter": {"and_filter": {"filters": [reply.when, rest]}},
                "body_format_override": {"json_format": _json(reply)},
                **code,
            }
        )
        details = {"header": {"key": "grpc-status-details-bin", "value": _details(reply)}}
        body = {"body": {"inline_string": reply.message}} if reply.message else {}
        mappers.append({"filter": reply.when, "headers_to_add": [details], **body, **code})
    return {"mappers": mappers}
