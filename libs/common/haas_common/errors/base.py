"""What every error is: a reason, a sentence, metadata, and how it travels."""

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
