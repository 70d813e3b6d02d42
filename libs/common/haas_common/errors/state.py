"""What the state of things does not allow."""

import grpc

from haas_common.errors.base import HaasError


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


class TaskStateConflict(FailedPrecondition):
    """The task's state does not allow this."""

    reason = "TASK_STATE_CONFLICT"


class SignalUnexpected(FailedPrecondition):
    """Nothing in the plan waits, or will wait, for this signal."""

    reason = "SIGNAL_UNEXPECTED"


class ContractBroken(FailedPrecondition):
    """A value breaks the contract of its task."""

    reason = "CONTRACT_BROKEN"


class ApprovalRejected(FailedPrecondition):
    """A person, or the end of the time to decide, rejected what a task waited for."""

    reason = "APPROVAL_REJECTED"


class QuorumUnreachable(FailedPrecondition):
    """Too many tasks of a map failed for it to end well."""

    reason = "QUORUM_UNREACHABLE"


class PlanUnreachable(FailedPrecondition):
    """No skill of the profile leads to what was asked."""

    reason = "PLAN_UNREACHABLE"


class InputMissing(FailedPrecondition):
    """The plan needs an input that was not given."""

    reason = "INPUT_MISSING"


class ToolFailed(FailedPrecondition):
    """The tool ran and failed."""

    reason = "TOOL_FAILED"


class WorkerFailed(FailedPrecondition):
    """A remote worker did the task and failed."""

    reason = "WORKER_FAILED"


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


class CursorOutOfRange(HaasError):
    """The cursor lies beyond what is kept."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "CURSOR_OUT_OF_RANGE"


class HashMismatch(HaasError):
    """Stored bytes no longer match their hash."""

    code = grpc.StatusCode.DATA_LOSS
    reason = "HASH_MISMATCH"
