"""A failed call as the class that the other side raised."""

import grpc
from google.rpc import error_details_pb2, status_pb2

from haas_common.errors.base import BY_REASON, DETAILS_KEY, DOMAIN, HaasError, InternalError
from haas_common.errors.callers import TokenInvalid
from haas_common.errors.capacity import CallCancelled, DeadlinePassed, MethodUnknown, Overloaded, ServiceUnavailable

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
