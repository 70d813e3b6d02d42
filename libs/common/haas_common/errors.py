"""Errors: one class per reason of haas/common/v1/error_reason.proto, grouped by the gRPC status that they travel as.

    HaasError
    ├── InternalError
    ├── InvalidArgument
    │   └── FieldInvalid, TenantRequired, ProjectRequired, GraphCycle, GraphDangling, GraphInvalid, TableRowsBroken,
    │       LanguageUnsupported, ToolArgumentsInvalid, ProfileInvalid, ArtifactInvalid
    ├── Unauthenticated ── TokenMissing, TokenInvalid, TokenExpired
    ├── PermissionDenied
    │   └── TenantMismatch, ProjectNotGranted, ScopeMissing, PeerNotAllowed, ToolNotAllowed, EgressDenied
    ├── NotFound ── ResourceNotFound, ToolUnknown
    ├── AlreadyExists ── ResourceExists, RequestIdReused
    ├── Aborted ── StreamVersionConflict, LeaseLost, LockHeld
    ├── FailedPrecondition
    │   └── PlanStateConflict, PlanUnreachable, InputMissing, ToolFailed, SandboxUnavailable, ProfileMissing,
    │       SessionEnded, ArtifactStatusConflict, DataErased
    ├── DeadlineExceeded ── ToolTimeout, DeadlinePassed
    ├── ResourceExhausted ── RateLimited, Overloaded, PayloadTooLarge
    ├── Unavailable ── LimiterUnavailable, DatabaseUnavailable, ServiceUnavailable, ModelFailed, Gateway
    ├── CursorOutOfRange
    ├── HashMismatch
    ├── CallCancelled
    └── MethodUnknown

Every error leaves as google.rpc.Status with an ErrorInfo of domain "haas" (AIP-193), over gRPC and REST alike, and
`from_rpc` rebuilds the same class on the other side. A house test compares this file with the proto.
"""

import math
import uuid
from typing import ClassVar

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "haas"
DETAILS_KEY = "grpc-status-details-bin"
#: gRPC puts a limit of 8 KiB on trailers; a sentence longer than this says nothing more.
MESSAGE_CHARS_MAX, METADATA_CHARS_MAX = 1000, 500
#: The class of each reason, for example BY_REASON["RATE_LIMITED"] is RateLimited.
BY_REASON: dict[str, "type[HaasError]"] = {}


def _kept(text: str, chars_max: int) -> str:
    """The text as the history can keep it: it may quote a tenant's data, and a NUL in it would stop the event."""
    return text.replace("\0", "\ufffd")[:chars_max]


class HaasError(Exception):
    """An error that a caller may see: it has a reason, a sentence and metadata.

    Attributes:
        code: the gRPC status that it travels as.
        reason: the name in error_reason.proto without its prefix, for example "RESOURCE_NOT_FOUND".
        message: one sentence for a person; the class's docstring unless given.
        metadata: what a program reads, as strings.
    """

    code: ClassVar[grpc.StatusCode]
    reason: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Enters a class that has a reason into BY_REASON."""
        super().__init_subclass__()
        if "reason" in vars(cls):
            BY_REASON[cls.reason] = cls

    def __init__(self, message: str | None = None, **metadata: object) -> None:
        """Keeps the sentence and the metadata (values as strings; None is left out)."""
        self.message = _kept((message or (type(self).__doc__ or "")).strip(), MESSAGE_CHARS_MAX)
        self.metadata = {k: _kept(str(v), METADATA_CHARS_MAX) for k, v in metadata.items() if v is not None}
        super().__init__(self.message)

    def to_status(self) -> status_pb2.Status:
        """The error as google.rpc.Status: ErrorInfo first, then RetryInfo or BadRequest where it has one."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        status.details.add().Pack(
            error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        )
        if "retry_after_s" in self.metadata:
            wait = duration_pb2.Duration()
            wait.FromNanoseconds(math.ceil(float(self.metadata["retry_after_s"]) * 1e9))
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=wait))
        if "field" in self.metadata:
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=self.metadata["field"], description=self.message, reason=self.metadata.get("rule", "")
            )
            status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        return status


class InternalError(HaasError):
    """A fault of ours; quote the error_id to the operator."""

    code = grpc.StatusCode.INTERNAL
    reason = "INTERNAL_ERROR"

    def __init__(self, message: str | None = None, **metadata: object) -> None:
        """Makes up the error_id unless it is given; the log has the same one beside the fault itself."""
        metadata.setdefault("error_id", uuid.uuid4().hex)
        super().__init__(message, **metadata)


class InvalidArgument(HaasError):
    """Errors that travel as INVALID_ARGUMENT; raise one of its subclasses."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class FieldInvalid(InvalidArgument):
    """A field breaks a rule of the contract."""

    reason = "FIELD_INVALID"


class TenantRequired(InvalidArgument):
    """The request names no tenant_id."""

    reason = "TENANT_REQUIRED"


class ProjectRequired(InvalidArgument):
    """The request names no project_id."""

    reason = "PROJECT_REQUIRED"


class GraphCycle(InvalidArgument):
    """The graph has a cycle."""

    reason = "GRAPH_CYCLE"


class GraphDangling(InvalidArgument):
    """A task reads from a task or an input that does not exist."""

    reason = "GRAPH_DANGLING"


class GraphInvalid(InvalidArgument):
    """The types of an edge do not agree, or a task breaks a rule."""

    reason = "GRAPH_INVALID"


class TableRowsBroken(InvalidArgument):
    """An uploaded table has broken rows."""

    reason = "TABLE_ROWS_BROKEN"


class LanguageUnsupported(InvalidArgument):
    """The offline engine reads Spanish and English."""

    reason = "LANGUAGE_UNSUPPORTED"


class ToolArgumentsInvalid(InvalidArgument):
    """The arguments break the tool's schema."""

    reason = "TOOL_ARGUMENTS_INVALID"


class ProfileInvalid(InvalidArgument):
    """The profile breaks a rule."""

    reason = "PROFILE_INVALID"


class ArtifactInvalid(InvalidArgument):
    """The artifact lacks front matter or a section that its type requires."""

    reason = "ARTIFACT_INVALID"


class Unauthenticated(HaasError):
    """Errors that travel as UNAUTHENTICATED; raise one of its subclasses."""

    code = grpc.StatusCode.UNAUTHENTICATED


class TokenMissing(Unauthenticated):
    """No token came with the call."""

    reason = "TOKEN_MISSING"


class TokenInvalid(Unauthenticated):
    """The token is forged, malformed, of another issuer or audience, or of an unknown key."""

    reason = "TOKEN_INVALID"


class TokenExpired(Unauthenticated):
    """The token has expired; renew it."""

    reason = "TOKEN_EXPIRED"


class PermissionDenied(HaasError):
    """Errors that travel as PERMISSION_DENIED; raise one of its subclasses."""

    code = grpc.StatusCode.PERMISSION_DENIED


class TenantMismatch(PermissionDenied):
    """The token is for another tenant."""

    reason = "TENANT_MISMATCH"


class ProjectNotGranted(PermissionDenied):
    """The token does not hold this project."""

    reason = "PROJECT_NOT_GRANTED"


class ScopeMissing(PermissionDenied):
    """The token lacks the method's scope."""

    reason = "SCOPE_MISSING"


class PeerNotAllowed(PermissionDenied):
    """The calling service's certificate is not on this method's allowlist."""

    reason = "PEER_NOT_ALLOWED"


class ToolNotAllowed(PermissionDenied):
    """The profile does not allow this tool."""

    reason = "TOOL_NOT_ALLOWED"


class EgressDenied(PermissionDenied):
    """The host is not on the tool's allowlist, or its address is not a public one."""

    reason = "EGRESS_DENIED"


class NotFound(HaasError):
    """Errors that travel as NOT_FOUND; raise one of its subclasses."""

    code = grpc.StatusCode.NOT_FOUND


class ResourceNotFound(NotFound):
    """There is no such thing in this tenant and project."""

    reason = "RESOURCE_NOT_FOUND"


class ToolUnknown(NotFound):
    """There is no tool of this name."""

    reason = "TOOL_UNKNOWN"


class AlreadyExists(HaasError):
    """Errors that travel as ALREADY_EXISTS; raise one of its subclasses."""

    code = grpc.StatusCode.ALREADY_EXISTS


class ResourceExists(AlreadyExists):
    """There is one by this id."""

    reason = "RESOURCE_EXISTS"


class RequestIdReused(AlreadyExists):
    """The request_id was used before, with another content."""

    reason = "REQUEST_ID_REUSED"


class Aborted(HaasError):
    """Errors that travel as ABORTED; raise one of its subclasses."""

    code = grpc.StatusCode.ABORTED


class StreamVersionConflict(Aborted):
    """The stream moved on since it was read; read again and retry."""

    reason = "STREAM_VERSION_CONFLICT"


class LeaseLost(Aborted):
    """This writer's lease was taken over."""

    reason = "LEASE_LOST"


class LockHeld(Aborted):
    """Somebody else holds the lock."""

    reason = "LOCK_HELD"


class FailedPrecondition(HaasError):
    """Errors that travel as FAILED_PRECONDITION; raise one of its subclasses."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class PlanStateConflict(FailedPrecondition):
    """The plan's state does not allow this."""

    reason = "PLAN_STATE_CONFLICT"


class PlanUnreachable(FailedPrecondition):
    """No skill of the profile leads to what was asked."""

    reason = "PLAN_UNREACHABLE"


class InputMissing(FailedPrecondition):
    """The plan needs an input that was not given."""

    reason = "INPUT_MISSING"


class ToolFailed(FailedPrecondition):
    """The tool ran and failed."""

    reason = "TOOL_FAILED"


class SandboxUnavailable(FailedPrecondition):
    """This machine offers no sandbox, so code is not run at all."""

    reason = "SANDBOX_UNAVAILABLE"


class DataErased(FailedPrecondition):
    """What was asked for has been erased for good."""

    reason = "DATA_ERASED"


class ProfileMissing(FailedPrecondition):
    """The project has no profile yet."""

    reason = "PROFILE_MISSING"


class ArtifactStatusConflict(FailedPrecondition):
    """The artifact's status does not allow this."""

    reason = "ARTIFACT_STATUS_CONFLICT"


class SessionEnded(FailedPrecondition):
    """The token has been renewed for as long as a session may last; sign in again."""

    reason = "SESSION_ENDED"


class DeadlineExceeded(HaasError):
    """Errors that travel as DEADLINE_EXCEEDED; raise one of its subclasses."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class ToolTimeout(DeadlineExceeded):
    """The tool did not end in time."""

    reason = "TOOL_TIMEOUT"


class DeadlinePassed(DeadlineExceeded):
    """The call's deadline passed first."""

    reason = "DEADLINE_PASSED"


class ResourceExhausted(HaasError):
    """Errors that travel as RESOURCE_EXHAUSTED; raise one of its subclasses."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class RateLimited(ResourceExhausted):
    """More calls than allowed; wait retry_after_s seconds."""

    reason = "RATE_LIMITED"


class Overloaded(ResourceExhausted):
    """Too much is under way; wait retry_after_s seconds."""

    reason = "OVERLOADED"


class PayloadTooLarge(ResourceExhausted):
    """The body or the value is larger than allowed."""

    reason = "PAYLOAD_TOO_LARGE"


class Unavailable(HaasError):
    """Errors that travel as UNAVAILABLE; raise one of its subclasses."""

    code = grpc.StatusCode.UNAVAILABLE


class LimiterUnavailable(Unavailable):
    """The store behind rate limits is gone; limited calls are refused meanwhile."""

    reason = "LIMITER_UNAVAILABLE"


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached; nothing was written."""

    reason = "DATABASE_UNAVAILABLE"


class ServiceUnavailable(Unavailable):
    """Another service of the fleet cannot be reached."""

    reason = "SERVICE_UNAVAILABLE"


class ModelFailed(Unavailable):
    """The model behind HAAS_LLM_BASE_URL failed or answered outside its contract."""

    reason = "MODEL_FAILED"


class Gateway(Unavailable):
    """No service was reached; the edge itself answered."""

    reason = "GATEWAY"


class CursorOutOfRange(HaasError):
    """The cursor lies beyond what is kept."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "CURSOR_OUT_OF_RANGE"


class HashMismatch(HaasError):
    """Stored bytes no longer match their hash."""

    code = grpc.StatusCode.DATA_LOSS
    reason = "HASH_MISMATCH"


class CallCancelled(HaasError):
    """The caller gave up."""

    code = grpc.StatusCode.CANCELLED
    reason = "CALL_CANCELLED"


class MethodUnknown(HaasError):
    """There is no such method."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "METHOD_UNKNOWN"


#: For peers that answer without details: gRPC's own library, an Envoy, a dead socket.
_BY_CODE: dict[grpc.StatusCode, type[HaasError]] = {
    grpc.StatusCode.UNAVAILABLE: ServiceUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlinePassed,
    grpc.StatusCode.CANCELLED: CallCancelled,
    grpc.StatusCode.UNIMPLEMENTED: MethodUnknown,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAUTHENTICATED: TokenInvalid,
}


def from_status(status: status_pb2.Status) -> HaasError | None:
    """Rebuilds the error of a google.rpc.Status; None when it carries no reason that is known here."""
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == DOMAIN and info.reason in BY_REASON:
            error = BY_REASON[info.reason](status.message)
            error.metadata = dict(info.metadata)
            return error
    return None


def from_rpc(error: grpc.RpcError) -> HaasError:
    """Rebuilds the class that a peer raised (grpc.aio.AioRpcError or a sync RpcError); the cause is kept by the raiser.

    A status without our details becomes the class nearest to its code; what fits none an InternalError (text: the log).
    """
    for key, value in error.trailing_metadata() or ():  # type: ignore[attr-defined]
        if key == DETAILS_KEY and (rebuilt := from_status(status_pb2.Status.FromString(value))) is not None:
            return rebuilt
    code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
    return _BY_CODE.get(code, InternalError)()
