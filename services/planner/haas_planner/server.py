"""The only place that builds and wires the planner's objects."""

import gc
import sys

import grpc

from haas.planner.v1 import (
    agents_pb2,
    agents_pb2_grpc,
    hooks_pb2,
    hooks_pb2_grpc,
    planner_pb2,
    planner_pb2_grpc,
    skills_pb2,
    skills_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from haas_common.artifacts.faults import FaultLog
from haas_common.artifacts.store import ArtifactStore
from haas_common.auth import Issuer
from haas_common.channels import Channels
from haas_common.config import Config
from haas_common.db import Database, Lease, Scope
from haas_common.doorbell import Doorbell
from haas_common.ids import SHARDS, shard_of
from haas_common.leases import LeaseKeeper
from haas_common.membership import Group, living
from haas_common.models import model_for
from haas_common.server import serve
from haas_planner.agents.operations import Agents
from haas_planner.agents.servicer import AgentsServicer
from haas_planner.agents.worker import LEASE as AGENTS_LEASE
from haas_planner.agents.worker import AgentProjector
from haas_planner.attempts import Attempts
from haas_planner.control import Control
from haas_planner.hooks.operations import Hooks
from haas_planner.hooks.servicer import HooksServicer
from haas_planner.log import PlanLog
from haas_planner.operations import Operations
from haas_planner.remote.operations import Skills
from haas_planner.remote.pool import RemotePool
from haas_planner.remote.relay import Relays
from haas_planner.remote.servicer import SkillsServicer, WorkerServicer
from haas_planner.remote.store import specs
from haas_planner.remote.work import RemoteSkills
from haas_planner.servicer import PlannerServicer
from haas_planner.skills.registry import tools_of
from haas_planner.work import Worker
from haas_planner.worker import Shard

_KIND = "planner"
_SERVICES = (
    planner_pb2.DESCRIPTOR.services_by_name["Planner"],
    worker_pb2.DESCRIPTOR.services_by_name["WorkerService"],
    agents_pb2.DESCRIPTOR.services_by_name["Agents"],
    skills_pb2.DESCRIPTOR.services_by_name["Skills"],
    hooks_pb2.DESCRIPTOR.services_by_name["Hooks"],
)


class Planner:
    """The planner's parts, and the order in which they start and stop."""

    def __init__(self, config: Config, database: Database, commits: Database) -> None:
        """Wires them.

        Args:
            config: what the planner is told.
            database: for calls and attempts.
            commits: for shards and leases: what waits for a connection there is never a commit.
        """
        self._config = config
        self._database, self._commits = database, commits
        self._channels = Channels(config)
        self._doorbell = Doorbell(database)
        self._issuer = Issuer(config.secret_path("token.pem"), "pl")
        # The epochs of the shards that are held here: part of what a remote worker's result is fenced by.
        self._epochs: dict[int, int] = {}
        self._pool = RemotePool()
        self._relays = Relays(
            self._pool,
            config.instance,
            lambda: living(database, _KIND),
            lambda address: self._channels.channel(_KIND, address),
            self._worker_token,
        )
        self._attempts = Attempts(self._worker().do)
        group = Group(_KIND, config.listen, self._doorbell)
        names = [f"shard/{n}" for n in range(SHARDS)]
        self._shards = LeaseKeeper(commits, config.instance, names, self._own, group=group)
        self._measuring = LeaseKeeper(commits, config.instance, [AGENTS_LEASE], self._measure)

    def _worker(self) -> Worker:
        config = self._config
        return Worker(
            self._database,
            ArtifactStore.of(config, FaultLog(self._database, self._doorbell, config.service)),
            self._channels,
            self._issuer,
            lambda profile: model_for(config.llm_base_url, config.llm_api_key, config.llm_model, profile.models),
            remote=RemoteSkills(self._pool, self._epoch_of),
            more_specs=specs,
        )

    def _epoch_of(self, scope: Scope, plan_id: str) -> int:
        return self._epochs.get(shard_of(scope.tenant_id, scope.project_id, plan_id), 0)

    def _worker_token(self, scope: Scope, life_s: int) -> str:
        return self._issuer.issue(
            subject=self._config.instance, tenant_id=scope.tenant_id, projects=[scope.project_id],
            scopes=["workers.run"], life_s=life_s,
        ).token  # fmt: skip

    async def _own(self, lease: Lease) -> None:
        number = int(lease.name.removeprefix("shard/"))
        self._epochs[number] = lease.epoch
        log = PlanLog(number, lease, self._commits)
        try:
            await Shard(lease.name, log, self._doorbell, self._attempts, tools_of=tools_of).run()
        finally:
            self._epochs.pop(number, None)

    async def _measure(self, lease: Lease) -> None:
        await AgentProjector(lease, self._database, self._doorbell).run()

    def add(self, server: grpc.aio.Server) -> None:
        """Adds the planner's services."""
        operations = Operations(self._database, self._doorbell, specs)
        control = Control(operations, self._database)
        skills = Skills(self._database)
        workers = WorkerServicer(self._pool, skills, self._relays)
        planner_pb2_grpc.add_PlannerServicer_to_server(PlannerServicer(operations, control), server)
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(workers, server)
        agents_pb2_grpc.add_AgentsServicer_to_server(AgentsServicer(Agents(self._database)), server)
        skills_pb2_grpc.add_SkillsServicer_to_server(SkillsServicer(skills), server)
        hooks_pb2_grpc.add_HooksServicer_to_server(HooksServicer(Hooks(self._database, operations)), server)

    async def start(self) -> None:
        """Starts what takes work."""
        await self._doorbell.start()
        await self._shards.start()
        await self._measuring.start()

    async def stopping(self) -> None:
        """Gives the workers' tasks back and ends their streams, which no stop of a server would outwait."""
        await self._relays.stop()
        await self._pool.stop()

    async def stop(self) -> None:
        """Ends the shards before the pool of connections that they write through."""
        await self._measuring.stop()
        await self._shards.stop()
        await self._attempts.stop()
        await self._doorbell.stop()
        await self._channels.close()
        await self._commits.close()
        await self._database.close()


def tune_interpreter() -> None:
    """Fits the interpreter to a loop with plans in memory and threads that compute beside it.

    The collector looks for cycles less often: plans are large and hold none, and a sixth of the time of tasks that do
    nothing went into looking through them every 700 objects. In small steps: what is new is looked through once however
    many there are of it, and 50,000 at a time are 20 to 30 ms. A thread that makes a map's tasks hands over after 1 ms.
    """
    gc.freeze()
    gc.set_threshold(5_000, 200, 50)
    sys.setswitchinterval(0.001)


async def main(config: Config) -> None:
    """Serves until SIGTERM."""
    tune_interpreter()
    planner = Planner(config, await Database.of(config, pool_max=6), await Database.of(config, pool_max=4))
    await serve(
        config, planner.add, list(_SERVICES), on_start=planner.start, on_stopping=planner.stopping, on_stop=planner.stop
    )
