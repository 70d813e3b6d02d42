"""A planner's door for remote workers behind real mTLS and interceptors, and workers that the tests move by hand."""

import asyncio
import contextlib
import dataclasses
import datetime
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from haas.planner.v1 import skills_pb2, skills_pb2_grpc, worker_pb2, worker_pb2_grpc
from haas_client import AsyncHaasClient
from haas_client.worker import Worker
from haas_common import errors
from haas_common.db import Database, Scope
from haas_common.server import Running, started
from haas_planner.remote.domain import Given, Job
from haas_planner.remote.operations import Skills
from haas_planner.remote.pool import RemotePool
from haas_planner.remote.relay import Relays
from haas_planner.remote.servicer import SkillsServicer, WorkerServicer
from tests.support.mesh import Mesh, bearer

SERVICES = [
    worker_pb2.DESCRIPTOR.services_by_name["WorkerService"], skills_pb2.DESCRIPTOR.services_by_name["Skills"],
]  # fmt: skip
SCOPE = Scope("t-one", "p-one")
NOTE = worker_pb2.WorkerSkill(
    name="text.count",
    title="Counts words",
    reads=[worker_pb2.WorkerSlot(name="text", type="doc.note")],
    writes=[worker_pb2.WorkerSlot(name="count", type="value.count")],
)
INPUTS = {"note": Given("doc.note", '{"lang": "en"}', "artf-1", "one two three")}


def job(number: int = 1, scope: Scope = SCOPE, **facts: Any) -> Job:
    """An attempt of the skill above."""
    given = {"params": {"n": number}, "inputs": INPUTS, "writes": {"words": "value.count"}, "skill": "text.count"}
    deadline = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    ids = {"plan_id": "pl-00000001", "task_id": f"T-{number}", "attempt": 1, "epoch": 7}
    return Job(scope=scope, objective="o", language="en", deadline=deadline, **{**ids, **given, **facts})


class Talk:
    """A worker's stream, said by hand."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def say(self, **fields: Any) -> None:
        """Sends a message."""
        await self.call.write(worker_pb2.WorkRequest(**fields))

    async def hear(self) -> worker_pb2.WorkResponse:
        """Returns the next message. Raises EOFError at the end, AioRpcError for a refusal."""
        async with asyncio.timeout(10):
            answer = await self.call.read()
        if answer is grpc.aio.EOF:
            raise EOFError
        return answer

    async def task(self) -> worker_pb2.WorkerTask:
        """Returns the one task of the next message that brings any."""
        while not (answer := await self.hear()).tasks:
            pass
        (task,) = answer.tasks
        return task

    async def complete(self, task: worker_pb2.WorkerTask, count: Any = 3, credit: int = 0) -> None:
        """Sends a result."""
        outputs = {name: worker_pb2.WorkerOutput(data_json=json.dumps(count)) for name in task.writes}
        await self.say(completions=[worker_pb2.WorkerCompletion(token=task.token, outputs=outputs)], credit=credit)


class Planner:
    """The pool, the server, and ways to reach it."""

    running: Running

    def __init__(self, mesh: Mesh, database: Database, heartbeat_s: float) -> None:
        self.mesh, self.pool, self._skills = mesh, RemotePool(heartbeat_s), Skills(database)
        self.relays: Relays | None = None
        self._channels = contextlib.AsyncExitStack()

    @classmethod
    def fresh(cls, folder: Path, database: Database, heartbeat_s: float = 15.0, mesh: Mesh | None = None) -> "Planner":
        """Returns one that does not serve yet, of a mesh of its own or of another one's."""
        return cls(mesh or Mesh(folder), database, heartbeat_s)

    async def start(self, listen: str = "127.0.0.1:0") -> None:
        """Serves."""
        servicer = WorkerServicer(self.pool, self._skills, self.relays)

        def add(server: grpc.aio.Server) -> None:
            worker_pb2_grpc.add_WorkerServiceServicer_to_server(servicer, server)
            skills_pb2_grpc.add_SkillsServicer_to_server(SkillsServicer(self._skills), server)

        config = dataclasses.replace(self.mesh.config("planner"), listen=listen)
        self.running = await started(config, add, SERVICES)

    async def restart(self) -> None:
        """Breaks every stream and serves again at the same address."""
        await self.running.stop(linger_s=0, grace_s=0)
        await self.start(f"127.0.0.1:{self.running.port}")

    def call(self, token: str | None = None) -> Any:
        """Opens a stream with the edge's certificate."""
        metadata = bearer(token or self.mesh.token("worker"))
        return worker_pb2_grpc.WorkerServiceStub(self._channel()).Work(metadata=metadata)

    def _channel(self) -> Any:
        channel = self.mesh.channel("edge", "planner", self.running.port)
        self._channels.push_async_callback(channel.close)
        return channel

    async def skills(self, tenant: str = "t-one") -> dict[str, skills_pb2.Skill]:
        """Lists a tenant's skills by name, as its viewer."""
        request = skills_pb2.ListSkillsRequest(tenant_id=tenant, project_id="p-one")
        stub = skills_pb2_grpc.SkillsStub(self._channel())
        listed = (await stub.ListSkills(request, metadata=bearer(self.mesh.token("viewer", tenant)))).skills
        assert [skill.name for skill in listed] == sorted(skill.name for skill in listed)
        return {skill.name: skill for skill in listed}

    async def remove_skill(self, skill: str, tenant: str = "t-one", role: str = "admin") -> str:
        """Removes a skill; returns the reason for which it is refused, if it is."""
        request = skills_pb2.RemoveSkillRequest(tenant_id=tenant, project_id="p-one", skill=skill)
        stub = skills_pb2_grpc.SkillsStub(self._channel())
        try:
            await stub.RemoveSkill(request, metadata=bearer(self.mesh.token(role, tenant)))
        except grpc.aio.AioRpcError as error:
            return errors.from_rpc(error).reason
        return ""

    async def came(
        self, name: str = "w", credit: int = 1, *, token: str | None = None, ids: Mapping[str, str] | None = None,
        **registration: Any,
    ) -> Talk:  # fmt: skip
        """Registers a worker and returns its stream once it is known."""
        talk = Talk(self.call(token))
        facts = {"worker_id": name, "agent_id": "agent.counter", "skills": [NOTE], **registration}
        await talk.say(
            registration=worker_pb2.WorkerRegistration(**facts), credit=credit,
            **(ids or {"tenant_id": "t-one", "project_id": "p-one"}),
        )  # fmt: skip
        answer = await talk.hear()
        assert answer.registered.worker_id == name
        return talk

    async def refused(self, **facts: Any) -> str:
        """Returns the reason for which a worker is not taken."""
        try:
            await self.came(**facts)
        except grpc.aio.AioRpcError as error:
            return errors.from_rpc(error).reason
        raise AssertionError("the worker was taken")

    def worker(self, **arguments: Any) -> Worker:
        """The SDK's worker, whose connection goes straight to the service."""
        planner = self

        class Direct(Worker):
            def _client(self) -> AsyncHaasClient:
                client = AsyncHaasClient(**self._settings)
                client._channel = planner.mesh.channel("edge", "planner", planner.running.port)
                return client

        given = {
            "base_url": "https://localhost:1", "token": self.mesh.token("worker"), "tenant_id": "t-one",
            "project_id": "p-one", "ca_cert": (self.mesh.secrets / "edge" / "ca.pem").read_bytes(),
        }  # fmt: skip
        return Direct(given, **{"agent_id": "agent.counter", "worker_id": "w", **arguments})

    async def close(self) -> None:
        """Ends it all."""
        if self.relays is not None:
            await self.relays.stop()
        await self.pool.stop()
        await self._channels.aclose()
        await self.running.stop(linger_s=0, grace_s=0)


@contextlib.asynccontextmanager
async def planner(folder: Path, database: Database, heartbeat_s: float = 15.0) -> AsyncIterator[Planner]:
    """A planner that serves remote workers."""
    made = Planner.fresh(folder, database, heartbeat_s)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def at_work(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    """Runs a worker beside the block and stops it afterwards."""
    task = asyncio.create_task(worker.work(grace_s=5))
    try:
        yield task
    finally:
        worker.stop()
        await task
