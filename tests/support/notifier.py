"""The notifier's server as its readers reach it, and the frames that its streams send."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from haas.notifier.v1 import notifier_pb2 as pb
from haas.notifier.v1 import notifier_pb2_grpc
from haas_common import errors
from haas_common.auth import SCOPES_BY_ROLE
from haas_common.db import Database, Lease, Scope
from haas_common.doorbell import Doorbell
from haas_common.server import Running, started
from haas_notifier.heads import Heads
from haas_notifier.operations import Operations
from haas_notifier.server import SERVICE
from haas_notifier.servicer import NotifierServicer
from haas_notifier.worker import LEASE, Relay
from tests.integration.conftest import TestDatabase
from tests.support.mesh import Mesh, bearer
from tests.support.plans import Plans, happen
from tests.support.relays import settled

ONE = Scope("t-one", "p-one")
IDS = {"tenant_id": "t-one", "project_id": "p-one"}
PLAN = "pl-00000001"
OWNERS = {"T-1": "agent.one", "T-2": "agent.two", "T-3": "agent.two", "T-4": "agent.bystander"}
EDGES = [("T-1", "T-2"), ("T-2", "T-3")]


class World:
    """The notifier's server over mTLS, with its heads and without its relay."""

    def __init__(self, mesh: Mesh, plans: Plans, database: Database, doorbell: Doorbell, heads: Heads) -> None:
        self.mesh, self.plans, self.database, self.doorbell, self.heads = mesh, plans, database, doorbell, heads
        self.running: Running
        self.stub: notifier_pb2_grpc.NotifierStub

    def token(
        self,
        *agents: str,
        subject: str = "ana",
        projects: tuple[str, ...] = ("p-one",),
        decides: tuple[str, ...] = (),
    ):
        issued = self.mesh.gateway.issue(
            subject=subject, tenant_id="t-one", projects=projects, roles=["member", *decides], agents=agents,
            scopes=SCOPES_BY_ROLE["member"],
        )  # fmt: skip
        return bearer(issued.token)

    async def happen(
        self, type_: str = "TaskStarted", task_id: str = "T-1", plan_id: str = PLAN, **payload: object
    ) -> int:
        async with self.database.tenant_tx(ONE) as tx:
            seq = (await happen(tx, ONE, type_, plan_id, task_id, **payload)).seq
        self.doorbell.ring("events")
        return seq

    async def relay(self) -> int:
        ((epoch,),) = self.plans.execute(
            "UPDATE leases SET epoch = epoch + 1, expires_at = 'infinity' WHERE name = %s RETURNING epoch", LEASE
        )
        return await settled(Relay(Lease(LEASE, epoch), self.database, self.doorbell), self.doorbell)

    def events_sse(self, token=None, last_id: str | None = None, timeout: float = 20, **fields: object):
        metadata = (*(token or self.token()), *((("last-event-id", last_id),) if last_id is not None else ()))
        return self.stub.StreamEventsSse(
            pb.StreamEventsSseRequest(**{**IDS, **fields}), metadata=metadata, timeout=timeout
        )

    def inbox_sse(self, token, **fields: object):
        return self.stub.StreamNotificationsSse(
            pb.StreamNotificationsSseRequest(**{**IDS, **fields}), metadata=token, timeout=20
        )


@contextlib.asynccontextmanager
async def world_of(database: TestDatabase, folder: Path) -> AsyncIterator[World]:
    """Runs the notifier's server on a test's database, with a plan of four tasks."""
    plans = Plans(database.admin_dsn)
    plans.project(ONE)
    plans.project(Scope("t-one", "p-two"))
    plans.plan(ONE, PLAN, OWNERS, EDGES)
    opened = await Database.open(database.app_dsn, database.context_key, "haas-notifier")
    doorbell = Doorbell(opened)
    heads = Heads(opened, doorbell)
    mesh = Mesh(folder)
    made = World(mesh, plans, opened, doorbell, heads)
    servicer = NotifierServicer(Operations(opened, heads), keep_alive_s=0.2)
    await doorbell.start()
    await heads.start()
    made.running = await started(
        mesh.config("notifier"), lambda s: notifier_pb2_grpc.add_NotifierServicer_to_server(servicer, s), [SERVICE]
    )
    channel = mesh.channel("edge", "notifier", made.running.port)
    made.stub = notifier_pb2_grpc.NotifierStub(channel)
    yield made
    await channel.close()
    await made.running.stop(linger_s=0, grace_s=0)
    await heads.stop()
    await doorbell.stop()
    await opened.close()
    plans.close()


def parsed(raw: bytes) -> dict[str, str]:
    """A frame's fields; a comment under ""."""
    lines = raw.decode().removesuffix("\n\n").split("\n")
    return dict(line.split(": ", 1) if not line.startswith(":") else ("", line[1:].strip()) for line in lines)


async def frames(call, until: str | None = None, count: int = 0) -> list[dict[str, str]]:
    """Frames that are no comments, until one of this event, or so many."""
    found = []
    while True:
        answer = await call.read()
        if answer is grpc.aio.EOF:
            return found
        assert answer.content_type == "text/event-stream"
        assert answer.data.endswith(b"\n\n")
        frame = parsed(answer.data)
        if "event" in frame:
            found.append(frame)
            if frame["event"] == until or len(found) == count:
                return found


async def reason_of(call) -> str:
    answer = call.read() if hasattr(call, "read") else call
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    return errors.from_rpc(caught.value).reason
