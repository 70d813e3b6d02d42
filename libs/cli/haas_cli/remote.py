"""The fleet as a client sees it: one TLS address, a token, and typed errors.

On the fleet's own machine the command line signs a five-minute operator token with the gateway's key and has the
gateway issue tenants' tokens; elsewhere HAAS_URL, HAAS_CACERT and HAAS_TOKEN say where and who.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from haas.gateway.v1 import identity_pb2, identity_pb2_grpc
from haas_cli.errors import CliError, NotFound, Refused, Unavailable, Unverified, UsageError
from haas_cli.fleet.home import Home
from haas_cli.fleet.state import read
from haas_common.auth import Issuer
from haas_common.errors import from_rpc

CALL_S = 15.0
OPERATOR_LIFE_S = 300

#: What a failed call is for the command line, by its status.
BY_STATUS: dict[grpc.StatusCode, type[CliError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: UsageError,
    grpc.StatusCode.OUT_OF_RANGE: UsageError,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.PERMISSION_DENIED: Refused,
    grpc.StatusCode.UNAUTHENTICATED: Refused,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Unavailable,
    grpc.StatusCode.DATA_LOSS: Unverified,
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the edge is.

    Attributes:
        url: For REST, "https://127.0.0.1:8443".
        cacert: The certificate that proves it.
    """

    url: str
    cacert: Path

    @property
    def host(self) -> str:
        """Host and port, for gRPC."""
        return urlsplit(self.url).netloc


def address(home: Home) -> Address:
    """Returns the edge of the environment (HAAS_URL and HAAS_CACERT), else of the fleet that runs here.

    Raises:
        NotRunning: The environment names none and none runs here.
    """
    url, cacert = os.environ.get("HAAS_URL", "").strip(), os.environ.get("HAAS_CACERT", "").strip()
    if url and cacert:
        return Address(url.rstrip("/"), Path(cacert))
    return local_address(home)


def local_address(home: Home) -> Address:
    """Returns the edge of the fleet that runs in this home.

    Raises:
        NotRunning: None runs.
    """
    return Address(f"https://127.0.0.1:{read(home).edge_port}", home.secrets / "edge" / "ca.pem")


@contextmanager
def channel(target: Address) -> Iterator[grpc.Channel]:
    """Yields a TLS channel to the edge; errors of calls on it leave as `CliError`.

    Args:
        target: From `address`.

    Raises:
        CliError: The class that fits the status; its reason is the fleet's (error_reason.proto).
    """
    try:
        authority = target.cacert.read_bytes()
    except OSError as error:
        raise UsageError(f"The certificate {target.cacert} cannot be read ({error.strerror}).") from error
    with grpc.secure_channel(target.host, grpc.ssl_channel_credentials(authority)) as opened:
        try:
            yield opened
        except grpc.RpcError as error:
            raise told(error) from error


def told(error: grpc.RpcError) -> CliError:
    """Returns a failed call as what the command line says about it."""
    found = from_rpc(error)
    code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
    details = {name: value for name, value in found.metadata.items() if name not in ("reason", "message")}
    return BY_STATUS.get(code, CliError)(found.message, reason=found.reason, **details)


def authorization(token: str) -> tuple[tuple[str, str], ...]:
    """Returns the metadata that carries a token."""
    return (("authorization", f"Bearer {token}"),)


def operator_token(home: Home) -> str:
    """Signs an operator token with the gateway's key, which only the fleet's owner can read.

    Raises:
        Refused: This user cannot read it, or there is none here.
    """
    path = home.secrets / "gateway" / "token.pem"
    try:
        return Issuer(path, "gw").issue_operator("operator@cli", OPERATOR_LIFE_S).token
    except OSError as error:
        raise Refused(f"The fleet's key {path} cannot be read ({error.strerror}): run this as its owner.") from error


def issue_token(
    home: Home,
    *,
    tenant: str,
    project: str,
    subject: str,
    role: str,
    agents: Sequence[str] = (),
    decides: Sequence[str] = (),
) -> identity_pb2.IssueTokenResponse:
    """Has the gateway issue a tenant's token (15 min).

    Raises:
        NotRunning: No fleet runs here.
        NotFound: There is no such tenant or project.
    """
    request = identity_pb2.IssueTokenRequest(
        tenant_id=tenant, project_id=project, subject=subject, role=role, agents=agents, decides=decides
    )
    with channel(local_address(home)) as opened:
        stub = identity_pb2_grpc.IdentityStub(opened)
        return stub.IssueToken(request, timeout=CALL_S, metadata=authorization(operator_token(home)))
