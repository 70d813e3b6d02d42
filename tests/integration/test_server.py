"""The server's door, over real mTLS sockets: who comes in, and what everyone else is told."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas.notifier.v1 import notifier_pb2, notifier_pb2_grpc
from haas.orchestrator.v1 import artifacts_pb2, artifacts_pb2_grpc
from haas.planner.v1 import planner_pb2, planner_pb2_grpc
from haas_common import errors, logs, pki
from haas_common.channels import Channels, with_token
from haas_common.server import Limits, Running, current_call, started
from tests.support.mesh import Mesh, bearer

TOOLS = mcp_pb2.DESCRIPTOR.services_by_name["Tools"]
NOTIFIER = notifier_pb2.DESCRIPTOR.services_by_name["Notifier"]
ARTIFACTS = artifacts_pb2.DESCRIPTOR.services_by_name["Artifacts"]
PLANNER = planner_pb2.DESCRIPTOR.services_by_name["Planner"]


class FakeTools(mcp_pb2_grpc.ToolsServicer):
    """Answers by what `tool` asks for."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()

    async def ListTools(self, request, context):
        self.seen.append(current_call())
        return mcp_pb2.ListToolsResponse(tools=[mcp_pb2.Tool(name="data.table")])

    async def InvokeTool(self, request, context):
        call = current_call()
        self.seen.append(call)
        if request.tool == "ids":
            answer = mcp_pb2.InvokeToolResponse()
            answer.result.update({**logs.bound(), "peer": call.peer})
            return answer
        if request.tool == "unknown":
            raise errors.ToolUnknown("There is no tool x.", tool="x")
        if request.tool == "crash":
            raise RuntimeError("the password is hunter2")
        if request.tool == "wait":
            self.entered.set()
            await self.go_on.wait()
        return mcp_pb2.InvokeToolResponse()


class FakeNotifier(notifier_pb2_grpc.NotifierServicer):
    """Streams until the caller leaves; says when it noticed."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def StreamEvents(self, request, context):
        try:
            for seq in range(1, 4):
                yield notifier_pb2.StreamEventsResponse(event=notifier_pb2.Event(seq=seq, stream=current_call().peer))
            if request.plan_id == "pl-fails":
                raise errors.CursorOutOfRange(first_seq=1, last_seq=3)
            await asyncio.Event().wait()
        finally:
            self.left.set()


class FakeArtifacts(artifacts_pb2_grpc.ArtifactsServicer):
    """Counts what was uploaded."""

    async def UploadInput(self, request_iterator, context):
        size = 0
        async for request in request_iterator:
            size += len(request.file.data)
        return artifacts_pb2.UploadInputResponse(size_bytes=size)


class FakePlanner(planner_pb2_grpc.PlannerServicer):
    """Answers its peer."""

    async def CommandPlan(self, request, context):
        return planner_pb2.CommandPlanResponse()


class World:
    """A server with the four services above, and ways to call it."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.tools, self.notifier = FakeTools(), FakeNotifier()
        self.running: Running
        self.channels: list[grpc.aio.Channel] = []

    async def start(self, env: str = "dev", limits: Limits | None = None) -> None:
        def add(server: grpc.aio.Server) -> None:
            mcp_pb2_grpc.add_ToolsServicer_to_server(self.tools, server)
            notifier_pb2_grpc.add_NotifierServicer_to_server(self.notifier, server)
            artifacts_pb2_grpc.add_ArtifactsServicer_to_server(FakeArtifacts(), server)
            planner_pb2_grpc.add_PlannerServicer_to_server(FakePlanner(), server)

        services = [TOOLS, NOTIFIER, ARTIFACTS, PLANNER]
        self.running = await started(self.mesh.config("mcp", env=env), add, services, limits=limits)

    def channel(self, peer: str = "edge") -> grpc.aio.Channel:
        self.channels.append(self.mesh.channel(peer, "mcp", self.running.port))
        return self.channels[-1]

    def stub(self, peer: str = "edge") -> mcp_pb2_grpc.ToolsStub:
        return mcp_pb2_grpc.ToolsStub(self.channel(peer))


@pytest.fixture
async def world(tmp_path) -> AsyncIterator[World]:
    made = World(Mesh(tmp_path))
    await made.start()
    yield made
    for channel in made.channels:
        await channel.close()
    await made.running.stop(linger_s=0, grace_s=0)


def invoke(tool: str = "ok", **fields) -> mcp_pb2.InvokeToolRequest:
    return mcp_pb2.InvokeToolRequest(**{"tenant_id": "t-one", "project_id": "p-one", "tool": tool, **fields})


@contextlib.contextmanager
def refused(reason: str):
    """The call fails with this reason, in an ErrorInfo of our domain."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield caught
    rebuilt = errors.from_rpc(caught.value)
    assert rebuilt.reason == reason, (caught.value.code(), caught.value.details())
    assert caught.value.code() is rebuilt.code


async def test_a_users_call_reaches_the_handler_with_its_ids(world):
    metadata = (*bearer(world.mesh.token()), ("x-request-id", "req-1"), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"))
    answer = await world.stub().InvokeTool(invoke("ids", plan_id="pl-1", task_id="T-1"), metadata=metadata)
    assert dict(answer.result) == {
        "tenant_id": "t-one", "project_id": "p-one", "plan_id": "pl-1", "task_id": "T-1", "request_id": "req-1",
        "trace_id": "a" * 32, "peer": "edge",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tenant_id": ""}, "TENANT_REQUIRED"),
        ({"project_id": ""}, "PROJECT_REQUIRED"),
        ({"tenant_id": "t-two"}, "TENANT_MISMATCH"),
        ({"tenant_id": "*"}, "FIELD_INVALID"),
        ({"tenant_id": "T-ONE"}, "FIELD_INVALID"),
        ({"tenant_id": "t-one\n"}, "FIELD_INVALID"),
        ({"project_id": "p-two"}, "PROJECT_NOT_GRANTED"),
        ({"project_id": "*"}, "FIELD_INVALID"),
        ({"tool": "No Such"}, "FIELD_INVALID"),
        ({"request_id": "r" * 101}, "FIELD_INVALID"),
    ],
)
async def test_a_request_that_breaks_a_rule_never_reaches_the_handler(world, fields, reason):
    with refused(reason):
        await world.stub().InvokeTool(invoke(**fields), metadata=bearer(world.mesh.token()))
    assert world.tools.seen == []


async def test_field_invalid_names_the_field_and_the_rule(world):
    with refused("FIELD_INVALID") as caught:
        await world.stub().InvokeTool(invoke("No Such"), metadata=bearer(world.mesh.token()))
    assert errors.from_rpc(caught.value).metadata == {"field": "tool", "rule": "string.pattern"}


async def test_bytes_that_are_no_message_are_refused_as_bad_input(world):
    call = world.channel().unary_unary("/haas.mcp.v1.Tools/InvokeTool")
    with refused("FIELD_INVALID"):
        await call(b"\x0a\x02\xff\xfe", metadata=bearer(world.mesh.token()))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [((), "TOKEN_MISSING"), ((("authorization", "Basic eA=="),), "TOKEN_INVALID"), (bearer("x.y.z"), "TOKEN_INVALID")],
)
async def test_a_call_without_a_good_token_is_refused(world, metadata, reason):
    with refused(reason):
        await world.stub().ListTools(mcp_pb2.ListToolsRequest(tenant_id="t-one", project_id="p-one"), metadata=metadata)


async def test_a_scope_that_the_token_lacks_is_named(world):
    with refused("SCOPE_MISSING") as caught:
        await world.stub().InvokeTool(invoke(), metadata=bearer(world.mesh.token("viewer")))
    assert errors.from_rpc(caught.value).metadata == {"scope": "tools.invoke"}


async def test_the_operators_token_opens_nothing_of_a_tenant(world):
    with refused("TENANT_MISMATCH"):
        await world.stub().InvokeTool(invoke(), metadata=bearer(world.mesh.gateway.issue_operator("root").token))


async def test_an_internal_token_is_taken_from_a_service_and_refused_at_the_edge(world):
    token = world.mesh.planner.issue(
        subject="planner", tenant_id="t-one", projects=["p-one"], scopes=["tools.invoke"], plan_id="pl-1"
    ).token
    await world.stub("planner").InvokeTool(invoke(), metadata=bearer(token))
    with refused("TOKEN_INVALID"):
        await world.stub("edge").InvokeTool(invoke(), metadata=bearer(token))


async def test_a_peer_method_takes_the_peers_of_its_option_only(world):
    request = planner_pb2.CommandPlanRequest(tenant_id="t-one", project_id="p-one")
    metadata = bearer(world.mesh.token("admin"))
    for peer in ("edge", "notifier", "gateway"):
        with refused("PEER_NOT_ALLOWED"):
            await planner_pb2_grpc.PlannerStub(world.channel(peer)).CommandPlan(request, metadata=metadata)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await planner_pb2_grpc.PlannerStub(world.channel("orchestrator")).CommandPlan(request, metadata=metadata)
    assert errors.from_rpc(caught.value).reason == "FIELD_INVALID"  # past the peers: the plan's id is missing


async def test_a_certificate_of_another_authority_gets_no_connection(world, tmp_path):
    stranger = Mesh(tmp_path / "other").channel("edge", "mcp", world.running.port)
    world.channels.append(stranger)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mcp_pb2_grpc.ToolsStub(stranger).InvokeTool(invoke(), metadata=bearer(world.mesh.token()), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert world.tools.seen == []


async def test_an_error_of_ours_keeps_its_class_and_metadata(world):
    channels = Channels(world.mesh.config("planner", mcp=f"127.0.0.1:{world.running.port}"))
    with pytest.raises(errors.ToolUnknown) as caught:
        await mcp_pb2_grpc.ToolsStub(channels.channel("mcp")).InvokeTool(
            invoke("unknown"), metadata=with_token(world.mesh.token())
        )
    await channels.close()
    assert (caught.value.message, caught.value.metadata) == ("There is no tool x.", {"tool": "x"})


async def test_calls_of_a_peer_share_a_channel(world):
    channels = Channels(world.mesh.config("planner", mcp=f"127.0.0.1:{world.running.port}"))
    address = f"127.0.0.1:{world.running.port}"
    assert channels.channel("mcp") is channels.channel("mcp")
    assert channels.channel("mcp", address) is channels.channel("mcp", address) is not channels.channel("mcp")
    await channels.close()


async def test_a_peer_that_is_gone_is_named(world):
    channels = Channels(world.mesh.config("planner", mcp="127.0.0.1:1"))
    with pytest.raises(errors.ServiceUnavailable) as caught:
        await mcp_pb2_grpc.ToolsStub(channels.channel("mcp")).InvokeTool(invoke(), metadata=with_token("x"))
    await channels.close()
    assert caught.value.metadata == {"service": "mcp"}


async def test_a_fault_of_ours_leaves_without_its_text(world, caplog):
    with refused("INTERNAL_ERROR") as caught:
        await world.stub().InvokeTool(invoke("crash"), metadata=bearer(world.mesh.token()))
    assert "hunter2" not in f"{caught.value.details()}{caught.value.trailing_metadata()}"
    error_id = errors.from_rpc(caught.value).metadata["error_id"]
    assert [r.error_id for r in caplog.records if "hunter2" in str(r.exc_info)] == [error_id]


async def test_an_unknown_method_is_unimplemented_with_our_reason(world):
    with refused("METHOD_UNKNOWN"):
        await world.channel().unary_unary("/haas.mcp.v1.Tools/Nothing")(b"", metadata=bearer(world.mesh.token()))


async def test_a_deadline_is_imposed_where_the_caller_gave_none(world):
    loop = asyncio.get_running_loop()
    await world.stub().ListTools(
        mcp_pb2.ListToolsRequest(tenant_id="t-one", project_id="p-one"), metadata=bearer(world.mesh.token())
    )
    await world.stub().InvokeTool(invoke(), metadata=bearer(world.mesh.token()))
    await world.stub().InvokeTool(invoke(), metadata=bearer(world.mesh.token()), timeout=9999)
    left = [call.deadline - loop.time() for call in world.tools.seen]
    assert [round(s / 5) * 5 for s in left] == [5, 60, 60]


async def test_a_call_beyond_its_deadline_ends_the_handler(world):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.stub().InvokeTool(invoke("wait"), metadata=bearer(world.mesh.token()), timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert world.tools.entered.is_set()


async def test_more_calls_than_allowed_are_told_when_to_come_back(tmp_path):
    world = World(Mesh(tmp_path))
    await world.start(limits=Limits(calls_max=1))
    stub, metadata = world.stub(), bearer(world.mesh.token())
    first = asyncio.ensure_future(stub.InvokeTool(invoke("wait"), metadata=metadata))
    await world.tools.entered.wait()
    with refused("OVERLOADED") as caught:
        await stub.InvokeTool(invoke(), metadata=metadata)
    world.tools.go_on.set()
    await first
    await stub.InvokeTool(invoke(), metadata=metadata)
    assert errors.from_rpc(caught.value).metadata == {"retry_after_s": "1"}
    await world.channels[0].close()
    await world.running.stop(linger_s=0, grace_s=0)


async def test_a_streams_first_answers_come_at_once_and_its_handler_ends_with_the_caller(world):
    request = notifier_pb2.StreamEventsRequest(tenant_id="t-one", project_id="p-one")
    call = notifier_pb2_grpc.NotifierStub(world.channel()).StreamEvents(request, metadata=bearer(world.mesh.token()))
    seen = [(await call.read()).event.seq for _ in range(3)]
    call.cancel()
    await asyncio.wait_for(world.notifier.left.wait(), 5)
    assert seen == [1, 2, 3]


async def test_a_streams_error_comes_after_its_answers(world):
    request = notifier_pb2.StreamEventsRequest(tenant_id="t-one", project_id="p-one", plan_id="pl-fails")
    call = notifier_pb2_grpc.NotifierStub(world.channel()).StreamEvents(request, metadata=bearer(world.mesh.token()))
    seen = []
    with refused("CURSOR_OUT_OF_RANGE"):
        async for answer in call:
            seen.append(answer.event.seq)
    assert seen == [1, 2, 3]


async def test_a_stream_of_another_tenant_is_refused(world):
    request = notifier_pb2.StreamEventsRequest(tenant_id="t-two", project_id="p-one")
    with refused("TENANT_MISMATCH"):
        await (
            notifier_pb2_grpc.NotifierStub(world.channel())
            .StreamEvents(request, metadata=bearer(world.mesh.token()))
            .read()
        )


def parts(*tenants: str):
    async def made():
        for tenant in tenants:
            part = artifacts_pb2.UploadInputRequest(
                tenant_id=tenant, project_id="p-one" if tenant else "", name="a.csv"
            )
            part.file.data = b"x" * 1000
            yield part

    return made()


async def upload(world: World, *tenants: str):
    stub = artifacts_pb2_grpc.ArtifactsStub(world.channel())
    return await stub.UploadInput(parts(*tenants), metadata=bearer(world.mesh.token()))


async def test_an_uploads_later_messages_may_leave_the_tenant_out(world):
    assert (await upload(world, "t-one", "", "t-one")).size_bytes == 3000


@pytest.mark.parametrize(
    ("tenants", "reason"),
    [
        (("t-two",), "TENANT_MISMATCH"),
        (("t-one", "t-two"), "TENANT_MISMATCH"),
        (("",), "TENANT_REQUIRED"),
        ((), "FIELD_INVALID"),
    ],
)
async def test_an_upload_that_names_another_tenant_anywhere_is_refused(world, tenants, reason):
    with refused(reason):
        await upload(world, *tenants)


async def test_health_answers_without_a_token_and_says_not_serving_before_the_end(world):
    stub = health_pb2_grpc.HealthStub(world.channel("edge"))
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="haas.mcp.v1.Tools"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    stopping = asyncio.ensure_future(world.running.stop(linger_s=0.2, grace_s=0))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    await world.stub().InvokeTool(invoke(), metadata=bearer(world.mesh.token()))  # it lingers
    watch.cancel()
    await stopping


async def reflected(channel: grpc.aio.Channel, metadata) -> list[str]:
    async def asked():
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked(), metadata=metadata)
    return [s.name for s in (await call.read()).list_services_response.service]


async def test_reflection_is_open_in_dev_and_the_operators_elsewhere(tmp_path, world):
    assert "haas.mcp.v1.Tools" in await reflected(world.channel(), ())
    prod = World(world.mesh)
    await prod.start(env="prod")
    for metadata, reason in (((), "TOKEN_MISSING"), (bearer(world.mesh.token("admin")), "SCOPE_MISSING")):
        with refused(reason):
            await reflected(prod.channel(), metadata)
    operator = bearer(world.mesh.gateway.issue_operator("root").token)
    assert "haas.mcp.v1.Tools" in await reflected(prod.channel(), operator)
    for channel in prod.channels:
        await channel.close()
    await prod.running.stop(linger_s=0, grace_s=0)


async def test_a_renewed_certificate_serves_the_next_handshake(world):
    before = await served_certificate(world)
    folder = world.mesh.secrets / "mcp"
    os.unlink(folder / "tls.pem")
    pki.write_fleet_secrets(world.mesh.secrets, ["mcp"])
    assert await served_certificate(world) != before
    await world.stub().InvokeTool(invoke(), metadata=bearer(world.mesh.token()))


async def served_certificate(world: World) -> bytes:
    import ssl

    folder = world.mesh.secrets / "edge" / "mesh"
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "tls.pem", folder / "tls.key")
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(
        "127.0.0.1", world.running.port, ssl=context, server_hostname="mcp.haas.internal"
    )
    served = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return served


async def test_an_errors_details_hold_what_programs_read(world):
    with refused("FIELD_INVALID") as caught:
        await world.stub().InvokeTool(invoke("No Such"), metadata=bearer(world.mesh.token()))
    status = errors.FieldInvalid(caught.value.details(), field="tool", rule="string.pattern").to_status()
    sent = dict(caught.value.trailing_metadata())[errors.DETAILS_KEY]
    assert type(status).FromString(sent) == status
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == ("haas", "FIELD_INVALID")
