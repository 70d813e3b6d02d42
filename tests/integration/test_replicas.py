"""One channel over the replicas of a peer: calls go round them, and past those that are gone."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas_common.channels import Channels, with_token
from haas_common.server import Running, started
from tests.support.mesh import Mesh

CALLS = 20


class Tools(mcp_pb2_grpc.ToolsServicer):
    """Counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def ListTools(
        self, request: mcp_pb2.ListToolsRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> mcp_pb2.ListToolsResponse:
        self.asked += 1
        return mcp_pb2.ListToolsResponse()


class World:
    """Replicas of one service, and a channel over them."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.replicas: list[tuple[Tools, Running]] = []
        self.channels: Channels

    async def start(self, count: int, *more: str) -> None:
        """Starts so many; `more` are addresses where nobody is."""
        for _ in range(count):
            tools = Tools()

            def add(server: grpc.aio.Server, tools: Tools = tools) -> None:
                mcp_pb2_grpc.add_ToolsServicer_to_server(tools, server)

            services = [mcp_pb2.DESCRIPTOR.services_by_name["Tools"]]
            self.replicas.append((tools, await started(self.mesh.config("mcp"), add, services)))
        addresses = [*more, *(f"127.0.0.1:{running.port}" for _, running in self.replicas)]
        self.channels = Channels(self.mesh.config("planner", mcp=",".join(addresses)))

    async def call(self) -> None:
        request = mcp_pb2.ListToolsRequest(tenant_id="t-one", project_id="p-one")
        stub = mcp_pb2_grpc.ToolsStub(self.channels.channel("mcp"))
        await stub.ListTools(request, metadata=with_token(self.mesh.token("admin")))

    def asked(self) -> list[int]:
        return [tools.asked for tools, _ in self.replicas]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        found = World(Mesh(tmp_path))
        yield found
        await found.channels.close()
        for _, running in found.replicas:
            stack.push_async_callback(running.stop, 0)


async def both_asked(world: World) -> None:
    """Calls until each was asked: a channel begins with whichever connects first."""
    for _ in range(1000):
        await world.call()
        if all(world.asked()):
            return
    pytest.fail(f"one was never asked: {world.asked()}")


async def test_calls_go_round_the_replicas(world: World) -> None:
    await world.start(2)
    await both_asked(world)
    before = world.asked()
    for _ in range(CALLS):
        await world.call()
    assert [now - then for now, then in zip(world.asked(), before, strict=True)] == [CALLS // 2, CALLS // 2]


async def test_a_replica_that_is_not_there_fails_no_call(world: World) -> None:
    await world.start(1, "127.0.0.1:1")
    for _ in range(CALLS):
        await world.call()
    assert world.asked() == [CALLS]


async def test_a_replica_that_goes_fails_no_call(world: World) -> None:
    await world.start(2)
    await both_asked(world)
    _, first = world.replicas[0]
    await first.stop(0)
    before = world.asked()
    for _ in range(CALLS):
        await world.call()
    assert world.asked() == [before[0], before[1] + CALLS]
