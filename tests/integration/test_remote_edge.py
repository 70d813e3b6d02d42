"""Remote workers through the real Envoy: the SDK as an app uses it, long streams, the tenant rule."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from haas.planner.v1 import worker_pb2, worker_pb2_grpc
from haas_client.worker import Output, Task, Worker, skill
from haas_common import errors
from haas_planner.remote.pool import RemotePool
from haas_planner.remote.servicer import WorkerServicer
from tests.support.edge import Edge
from tests.support.mesh import bearer
from tests.support.remote import NOTE, at_work, job


class NothingKept:
    """In the place of the skills' table: no database is started here."""

    async def keep(self, registration) -> None:
        pass


class WorkersEdge(Edge):
    """The edge with a planner behind it."""

    absent = frozenset()

    def __init__(self, home) -> None:
        super().__init__(home)
        self.pool = RemotePool()

    async def _planner(self) -> str:
        servicer = WorkerServicer(self.pool, NothingKept())
        return await self._service("planner", [(worker_pb2, "WorkerService", worker_pb2_grpc, servicer)])

    def settings_of(self, role: str = "worker") -> dict[str, object]:
        return {
            "base_url": f"https://localhost:{self.port}", "token": self.mesh.token(role), "tenant_id": "t-one",
            "project_id": "p-one", "ca_cert": self.mesh.secrets / "edge" / "ca.pem",
        }  # fmt: skip


@pytest.fixture
async def edge(tmp_path) -> AsyncIterator[WorkersEdge]:
    made = WorkersEdge(tmp_path)
    try:
        await made.start()
        yield made
    finally:
        await made.pool.stop()
        await made.stop()


@skill("text.count", reads={"text": "doc.note"}, writes={"copy": "doc.copy"})
def copy(task: Task) -> Output:
    """Copies much."""
    return Output("Copy", "x" * 1_000_000, {"n": task.params["n"]})


async def test_a_worker_does_tasks_through_the_edge_and_its_stream_has_no_size(edge):
    """Sixteen megabytes of results: an upload may have eight, and any other body one."""
    async with at_work(Worker(edge.settings_of(), skills=[copy], agent_id="agent.copier", worker_id="w")):
        numbers = set()
        for number in range(16):
            found = await edge.pool.do(job(number, writes={"c": "doc.copy"}))
            assert (found["c"].data, len(found["c"].body_md)) == ({"n": number}, 1_000_000)
            numbers |= set(edge.pool._connections)
    assert len(numbers) == 1, "one stream carried it all"


@pytest.mark.parametrize(
    ("tenant", "project", "role", "reason"),
    [
        ("t-two", "p-one", "worker", "TENANT_MISMATCH"),
        ("t-one", "p-two", "worker", "PROJECT_NOT_GRANTED"),
        ("t-one", "p-one", "member", "SCOPE_MISSING"),
    ],
)
async def test_a_registration_that_the_token_does_not_open_is_refused(edge, tenant, project, role, reason):
    async with edge.grpc() as channel:
        call = worker_pb2_grpc.WorkerServiceStub(channel).Work(metadata=bearer(edge.mesh.token(role)))
        registration = worker_pb2.WorkerRegistration(worker_id="w", agent_id="a", skills=[NOTE])
        request = worker_pb2.WorkRequest(tenant_id=tenant, project_id=project, registration=registration)

        async def register() -> None:
            await call.write(request)
            await call.read()

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(register(), 10)
    assert errors.from_rpc(caught.value).reason == reason
