"""What the fleet cannot do now: too much, too late, out of reach."""

import grpc

from haas_common.errors.base import HaasError


class DeadlineExceeded(HaasError):
    """Errors that travel as DEADLINE_EXCEEDED; raise one of its subclasses."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class ToolTimeout(DeadlineExceeded):
    """The tool did not end in time."""

    reason = "TOOL_TIMEOUT"


class SignalTimeout(DeadlineExceeded):
    """The signal that a task waited for did not come in time."""

    reason = "SIGNAL_TIMEOUT"


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


class BudgetExceeded(ResourceExhausted):
    """The plan's budget allows no more."""

    reason = "BUDGET_EXCEEDED"


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


class BreakerOpen(Unavailable):
    """The tool failed so often that it is left alone for a while."""

    reason = "BREAKER_OPEN"


class WorkerLost(Unavailable):
    """The remote worker that did the task is gone or has been silent for too long."""

    reason = "WORKER_LOST"


class ModelFailed(Unavailable):
    """The model behind HAAS_LLM_BASE_URL failed or answered outside its contract."""

    reason = "MODEL_FAILED"


class Gateway(Unavailable):
    """No service was reached; the edge itself answered."""

    reason = "GATEWAY"


class CallCancelled(HaasError):
    """The caller gave up."""

    code = grpc.StatusCode.CANCELLED
    reason = "CALL_CANCELLED"


class MethodUnknown(HaasError):
    """There is no such method."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "METHOD_UNKNOWN"
