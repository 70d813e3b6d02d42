"""A fleet's keys and certificates in a folder, and services of its mesh inside the test's process."""

from pathlib import Path
from types import MappingProxyType

import grpc
import grpc.aio

from haas_common import pki
from haas_common.auth import Issuer
from haas_common.config import SERVICES, Config


class Mesh:
    """Secrets of all services under one folder, and tokens to call them with."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.secrets = home / "secrets"
        pki.write_fleet_secrets(self.secrets, SERVICES)
        self.gateway = Issuer(self.secrets / "gateway" / "token.pem", "gw")
        self.planner = Issuer(self.secrets / "planner" / "token.pem", "pl")

    def config(self, service: str, *, env: str = "dev", **peers: str) -> Config:
        """The configuration of a service that listens on a free port."""
        return Config(
            service=service,
            env=env,
            home=self.home,
            listen="127.0.0.1:0",
            secrets_dir=self.secrets / service,
            store_dir=self.home / "store",
            peers=MappingProxyType(peers),
        )

    def token(self, role: str = "member", tenant: str = "t-one", projects: tuple[str, ...] = ("p-one",)) -> str:
        """A user's token."""
        return self.gateway.issue(subject="ana", tenant_id=tenant, projects=projects, roles=[role]).token

    def channel(self, peer: str, service: str, port: int) -> grpc.aio.Channel:
        """A bare channel that calls `service` with the certificate of `peer`."""
        folder = self.secrets / ("edge/mesh" if peer == "edge" else peer)
        credentials = grpc.ssl_channel_credentials(
            *((folder / name).read_bytes() for name in ("ca.pem", "tls.key", "tls.pem"))
        )
        options = (("grpc.ssl_target_name_override", f"{service}.haas.internal"), ("grpc.use_local_subchannel_pool", 1))
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)
