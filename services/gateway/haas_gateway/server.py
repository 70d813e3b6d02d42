"""The only place that builds and wires the gateway's objects."""

import time
from collections.abc import Callable
from pathlib import Path

import grpc

from haas.gateway.v1 import (
    description_pb2,
    description_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    tenancy_pb2,
    tenancy_pb2_grpc,
)
from haas.mcp.v1 import mcp_pb2
from haas.notifier.v1 import notifier_pb2
from haas.orchestrator.v1 import artifacts_pb2, orchestrator_pb2
from haas.planner.v1 import agents_pb2, planner_pb2
from haas_common.auth import Issuer
from haas_common.blobs import open_blobs
from haas_common.config import Config
from haas_common.db import Database, Lease
from haas_common.doorbell import Doorbell
from haas_common.leases import LeaseKeeper
from haas_common.server import serve
from haas_gateway.docs import load_page
from haas_gateway.operations import Operations
from haas_gateway.servicer import DescriptionServicer, IdentityServicer, TenancyServicer
from haas_gateway.worker import LEASE, UsageProjector

_HERE = Path(__file__).parent


#: What this process serves, and what its reflection lists beside it: at the edge it answers for the whole fleet.
SERVICES = (
    identity_pb2.DESCRIPTOR.services_by_name["Identity"],
    tenancy_pb2.DESCRIPTOR.services_by_name["Tenancy"],
    description_pb2.DESCRIPTOR.services_by_name["Description"],
)
REFLECTED = tuple(
    service.full_name
    for module in (mcp_pb2, notifier_pb2, orchestrator_pb2, artifacts_pb2, planner_pb2, agents_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)


def wired(config: Config, database: Database) -> Callable[[grpc.aio.Server], None]:
    """Builds the servicers; what comes back adds them to a server."""
    issuer = Issuer(config.secret_path("token.pem"), "gw")
    operations = Operations(database, open_blobs(config), issuer, time.time)
    description = DescriptionServicer((_HERE / "openapi.json").read_bytes(), load_page(_HERE / "docs.html"))
    identity = IdentityServicer(operations, config.secret_path("jwks.json"))

    def add(server: grpc.aio.Server) -> None:
        identity_pb2_grpc.add_IdentityServicer_to_server(identity, server)
        tenancy_pb2_grpc.add_TenancyServicer_to_server(TenancyServicer(operations), server)
        description_pb2_grpc.add_DescriptionServicer_to_server(description, server)

    return add


async def main(config: Config) -> None:
    """Serves until SIGTERM."""
    database = await Database.of(config)
    key = bytes.fromhex(config.secret_text("context.key"))
    # A role that cannot append: whatever goes wrong in it, the history stays as it is.
    narrow = await Database.open(config.secret_text("projector.url"), key, "haas-projector", pool_max=2)
    doorbell = Doorbell(narrow)

    async def project(lease: Lease) -> None:
        await UsageProjector(lease, narrow, doorbell).run()

    keeper = LeaseKeeper(narrow, config.instance, [LEASE], project)

    async def start() -> None:
        await doorbell.start()
        await keeper.start()

    async def stop() -> None:
        await keeper.stop()
        await doorbell.stop()
        await narrow.close()
        await database.close()

    add = wired(config, database)
    await serve(config, add, SERVICES, on_start=start, on_stop=stop, reflected=REFLECTED)
