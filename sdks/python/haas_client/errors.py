"""Errors: one class per reason of the contract, made from its enum, so that there is no second list to keep.

    HaasError
    ├── NotFound, PermissionDenied, Unavailable, …       one per gRPC status
    └── ResourceNotFound, ToolNotAllowed, RateLimited, … one per reason, ERROR_REASON_RESOURCE_NOT_FOUND and so on

What is raised is both: `except ResourceNotFound` and `except NotFound` catch the same error.
"""

import functools
import sys
from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from haas.common.v1 import error_reason_pb2

DOMAIN = "haas"
_DETAILS_KEY = "grpc-status-details-bin"
_PREFIX = "ERROR_REASON_"


class HaasError(Exception):
    """A call failed.

    Attributes:
        code: the gRPC status.
        reason: the reason of the contract, e.g. "RESOURCE_NOT_FOUND"; empty when no service answered.
        message: a sentence for a person.
        metadata: what a program reads, e.g. {"resource": "plan", "id": "pl-…"}.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    reason: str = ""

    def __init__(self, message: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _made(name: str, doc: str, **attributes: object) -> type[HaasError]:
    return type(name, (HaasError,), {"__module__": __name__, "__doc__": doc, **attributes})


#: The class of each gRPC status.
BY_CODE: dict[grpc.StatusCode, type[HaasError]] = {
    code: _made(_camel(code.name), f"Travels as {code.name}.", code=code)
    for code in grpc.StatusCode
    if code is not grpc.StatusCode.OK
}
#: The class of each reason, e.g. BY_REASON["RATE_LIMITED"] is RateLimited.
BY_REASON: dict[str, type[HaasError]] = {
    reason: _made(_camel(reason), f"See {_PREFIX}{reason} in error_reason.proto.", reason=reason)
    for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values
    if value.number
    for reason in [value.name.removeprefix(_PREFIX)]
}
for _class in (*BY_CODE.values(), *BY_REASON.values()):
    setattr(sys.modules[__name__], _class.__name__, _class)


def __getattr__(name: str) -> type[HaasError]:
    """Tells type checkers that the classes are here; at run time they are found before this is asked."""
    raise AttributeError(f"there is no error {name}")


@functools.cache
def _both(reason: str, code: grpc.StatusCode) -> type[HaasError]:
    """Returns the class that is its reason's and its status's."""
    by_code = BY_CODE[code]
    if reason not in BY_REASON:
        return by_code
    by_reason = BY_REASON[reason]
    made = type(by_reason.__name__, (by_reason, by_code), {"__module__": __name__, "__doc__": by_reason.__doc__})
    made.reason, made.code = reason, code  # type: ignore[attr-defined]
    return made


def from_rpc(error: grpc.RpcError) -> HaasError:
    """Returns a failed call as what it is by the contract; by its status alone when no service told more."""
    code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
    for key, value in error.trailing_metadata() or ():  # type: ignore[attr-defined]
        info = _info(value) if key == _DETAILS_KEY else None
        if info is not None:
            return _both(info.reason, code)(_sentence(error), dict(info.metadata))
    return _both("", code)(_sentence(error))


def _info(details: bytes) -> error_details_pb2.ErrorInfo | None:
    """The contract's part of a status; None for details that are not ours."""
    try:
        status = status_pb2.Status.FromString(details)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == DOMAIN:
                return info
    except DecodeError:
        return None
    return None


def _sentence(error: grpc.RpcError) -> str:
    return str(error.details() or "The fleet cannot be reached.")  # type: ignore[attr-defined]
