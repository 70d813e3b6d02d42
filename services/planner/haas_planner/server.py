"""The only place that builds and wires the planner's objects."""

import grpc

from haas.planner.v1 import planner_pb2, planner_pb2_grpc
from haas_common.artifacts.faults import FaultLog
from haas_common.artifacts.store import ArtifactStore
from haas_common.auth import Issuer
from haas_common.channels import Channels
from haas_common.config import Config
from haas_common.db import Database, Lease
from haas_common.doorbell import Doorbell
from haas_common.ids import SHARDS
from haas_common.leases import LeaseKeeper
from haas_common.membership import Group
from haas_common.models import model_for
from haas_common.server import serve
from haas_planner.attempts import Attempts
from haas_planner.control import Control
from haas_planner.log import PlanLog
from haas_planner.operations import Operations
from haas_planner.servicer import PlannerServicer
from haas_planner.skills.registry import tools_of
from haas_planner.work import Worker
from haas_planner.worker import Shard


async def main(config: Config) -> None:
    """Serves until SIGTERM; stops its shards before the pool that they write through."""
    database = await Database.of(config, pool_max=8)
    channels = Channels(config)
    doorbell = Doorbell(database)
    worker = Worker(
        database,
        ArtifactStore.of(config, FaultLog(database, doorbell, config.service)),
        channels,
        Issuer(config.secret_path("token.pem"), "pl"),
        lambda profile: model_for(config.llm_base_url, config.llm_api_key, config.llm_model, profile.models),
    )
    attempts = Attempts(worker.do)

    async def own(lease: Lease) -> None:
        number = int(lease.name.removeprefix("shard/"))
        await Shard(lease.name, PlanLog(number, lease, database), doorbell, attempts, tools_of=tools_of).run()

    group = Group("planner", config.listen, doorbell)
    keeper = LeaseKeeper(database, config.instance, [f"shard/{n}" for n in range(SHARDS)], own, group=group)
    operations = Operations(database, doorbell)
    servicer = PlannerServicer(operations, Control(operations, database))

    def add(server: grpc.aio.Server) -> None:
        planner_pb2_grpc.add_PlannerServicer_to_server(servicer, server)

    async def start() -> None:
        await doorbell.start()
        await keeper.start()

    async def stop() -> None:
        await keeper.stop()
        await attempts.stop()
        await doorbell.stop()
        await channels.close()
        await database.close()

    services = [planner_pb2.DESCRIPTOR.services_by_name["Planner"]]
    await serve(config, add, services, on_start=start, on_stop=stop)
