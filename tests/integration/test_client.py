"""The Python client against servers that fail as the fleet does: one request_id, no event twice, typed errors."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from haas.common.v1 import error_reason_pb2
from haas.gateway.v1 import identity_pb2, identity_pb2_grpc
from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas.notifier.v1 import notifier_pb2, notifier_pb2_grpc
from haas.orchestrator.v1 import artifacts_pb2, artifacts_pb2_grpc, orchestrator_pb2, orchestrator_pb2_grpc
from haas.planner.v1 import graph_pb2
from haas_client import AsyncHaasClient, HaasClient, HaasError, SettingMissing, errors, retries
from haas_common import errors as ours
from tests.support.mesh import Mesh


async def refuse(context, error: ours.HaasError) -> None:
    details = error.to_status().SerializeToString()
    await context.abort(error.code, error.message, ((ours.DETAILS_KEY, details),))


class Fleet(
    orchestrator_pb2_grpc.OrchestratorServicer,
    artifacts_pb2_grpc.ArtifactsServicer,
    notifier_pb2_grpc.NotifierServicer,
    mcp_pb2_grpc.ToolsServicer,
    identity_pb2_grpc.IdentityServicer,
):
    """Says what it was asked, fails as often as it is told to, and drops streams."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.tokens: list[str] = []
        self.failures: list[ours.HaasError] = []
        self.events = 0
        self.drop_after = 0
        self.streams: list[int] = []

    async def _enter(self, request, context) -> None:
        self.seen.append(request)
        self.tokens.append(dict(context.invocation_metadata())["authorization"])
        if self.failures:
            await refuse(context, self.failures.pop(0))

    async def DetectIntent(self, request, context):
        await self._enter(request, context)
        return orchestrator_pb2.DetectIntentResponse(intent="campaign.plan", slots={"period": "2025-Q4"})

    async def CreatePlan(self, request, context):
        await self._enter(request, context)
        return orchestrator_pb2.CreatePlanResponse(plan_id="pl-00000001")

    async def GetPlanStatus(self, request, context):
        await self._enter(request, context)
        over = self.streams and self.events and self.streams[-1] == self.events
        state = graph_pb2.PLAN_STATE_COMPLETED if over else graph_pb2.PLAN_STATE_RUNNING
        return orchestrator_pb2.GetPlanStatusResponse(plan_id=request.plan_id, state=state, seq=0)

    async def ListPlans(self, request, context):
        await self._enter(request, context)
        at = int(request.page_token or 0)
        plans = [orchestrator_pb2.Plan(plan_id=f"pl-{n}") for n in range(at, min(at + 2, 5))]
        return orchestrator_pb2.ListPlansResponse(plans=plans, next_page_token=str(at + 2) if at + 2 < 5 else "")

    async def UploadInput(self, request_iterator, context):
        pieces = [r async for r in request_iterator]
        await self._enter(pieces[0], context)
        data = b"".join(p.file.data for p in pieces)
        return artifacts_pb2.UploadInputResponse(ref=f"sha256:{len(pieces)}", size_bytes=len(data))

    async def ListEvents(self, request, context):
        await self._enter(request, context)
        events = [
            notifier_pb2.Event(seq=n) for n in range(request.from_seq + 1, min(request.from_seq + 3, self.events) + 1)
        ]
        last = events[-1].seq if events else request.from_seq
        return notifier_pb2.ListEventsResponse(events=events, next_seq=last, more=last < self.events)

    async def StreamEvents(self, request, context):
        await self._enter(request, context)
        for sent, seq in enumerate(range(request.from_seq + 1, self.events + 1), 1):
            self.streams.append(seq)
            yield notifier_pb2.StreamEventsResponse(event=notifier_pb2.Event(seq=seq))
            if self.drop_after and sent == self.drop_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    async def InvokeTool(self, request, context):
        await self._enter(request, context)
        answer = mcp_pb2.InvokeToolResponse()
        answer.result.update(dict(request.arguments))
        return answer

    async def RenewToken(self, request, context):
        await self._enter(request, context)
        return identity_pb2.RenewTokenResponse(token=jwt(900))


def jwt(left_s: float, life_s: float = 900) -> str:
    """A token that says when it ends; the client verifies nothing."""
    expires = time.time() + left_s
    claims = json.dumps({"iat": expires - life_s, "exp": expires}).encode()
    return f"h.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"


class World:
    """A fleet behind TLS and two clients of it."""

    def __init__(self, fleet: Fleet, url: str, authority: bytes) -> None:
        self.fleet, self.url, self.authority = fleet, url, authority

    def sync(self, token: str = "t") -> HaasClient:
        return HaasClient(self.url, token, "t-one", "p-one", self.authority)

    def aio(self, token: str = "t") -> AsyncHaasClient:
        return AsyncHaasClient(self.url, token, "t-one", "p-one", self.authority)


@pytest.fixture
async def world(tmp_path) -> AsyncIterator[World]:
    edge = Mesh(tmp_path).secrets / "edge"
    key, chain, authority = ((edge / name).read_bytes() for name in ("tls.key", "tls.pem", "ca.pem"))
    server, fleet = grpc.aio.server(), Fleet()
    for add in (
        orchestrator_pb2_grpc.add_OrchestratorServicer_to_server,
        artifacts_pb2_grpc.add_ArtifactsServicer_to_server,
        notifier_pb2_grpc.add_NotifierServicer_to_server,
        mcp_pb2_grpc.add_ToolsServicer_to_server,
        identity_pb2_grpc.add_IdentityServicer_to_server,
    ):
        add(fleet, server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
    await server.start()
    yield World(fleet, f"https://127.0.0.1:{port}", authority)
    await server.stop(0)


@pytest.fixture
def no_pauses(monkeypatch) -> None:
    monkeypatch.setattr(retries, "PAUSE_FIRST_S", 0.001)


async def test_every_request_carries_the_tenant_and_the_project(world):
    def use() -> str:
        with world.sync() as client:
            return client.detect_intent("hola").intent

    assert await asyncio.to_thread(use) == "campaign.plan"
    async with world.aio() as client:
        assert (await client.detect_intent("hola")).slots["period"] == "2025-Q4"
    assert {(r.tenant_id, r.project_id) for r in world.fleet.seen} == {("t-one", "p-one")}
    assert set(world.fleet.tokens) == {"Bearer t"}


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_a_call_that_is_tried_again_keeps_its_request_id(world, kind):
    world.fleet.failures = [ours.DatabaseUnavailable(), ours.ServiceUnavailable()]
    if kind == "sync":
        with world.sync() as client:
            plan = await asyncio.to_thread(client.create_plan, "o", {"budget": 1200, "results": "sha256:ab"})
    else:
        async with world.aio() as client:
            plan = await client.create_plan("o", {"budget": 1200, "results": "sha256:ab"})
    assert plan.plan_id == "pl-00000001"
    assert len(world.fleet.seen) == 3
    assert len({r.request_id for r in world.fleet.seen}) == 1
    assert dict(world.fleet.seen[0].inputs) == {"budget": 1200.0, "results": "sha256:ab"}


@pytest.mark.usefixtures("no_pauses")
async def test_a_call_gives_up_after_a_few_attempts_with_the_last_error(world):
    world.fleet.failures = [ours.DatabaseUnavailable() for _ in range(50)]
    async with world.aio() as client:
        with pytest.raises(errors.DatabaseUnavailable):
            await client.detect_intent("hola")
    assert len(world.fleet.seen) == retries.ATTEMPTS_MAX


@pytest.mark.parametrize("error", [ours.ToolNotAllowed("No.", tool="x"), ours.RateLimited("Slow.", retry_after_s=3)])
async def test_a_refusal_is_raised_at_once_as_its_reason_and_as_its_status(world, error):
    world.fleet.failures = [error]
    async with world.aio() as client:
        with pytest.raises(errors.BY_REASON[error.reason]) as caught:
            await client.invoke_tool("x", {"a": 1})
    assert isinstance(caught.value, errors.BY_CODE[error.code])
    assert isinstance(caught.value, HaasError)
    assert (caught.value.reason, caught.value.message, caught.value.metadata) == (
        error.reason,
        error.message,
        error.metadata,
    )
    assert (caught.value.code, len(world.fleet.seen)) == (error.code, 1)


def test_every_reason_of_the_contract_has_a_class_and_no_class_lacks_one():
    names = {v.name.removeprefix("ERROR_REASON_") for v in error_reason_pb2.ErrorReason.DESCRIPTOR.values if v.number}
    assert set(errors.BY_REASON) == names == set(ours.BY_REASON)
    for reason, made in errors.BY_REASON.items():
        assert made.__name__ == ours.BY_REASON[reason].__name__
        assert getattr(errors, made.__name__) is made
    assert len({c.__name__ for c in (*errors.BY_REASON.values(), *errors.BY_CODE.values())}) == len(names) + len(
        errors.BY_CODE
    )


async def test_a_fleet_that_is_not_there_is_unavailable():
    async with AsyncHaasClient("https://127.0.0.1:1", "t", "t-one", "p-one") as client:
        with pytest.raises(errors.Unavailable) as caught:
            await client.detect_intent("hola")
    assert (caught.value.reason, bool(caught.value.message)) == ("", True)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_a_watch_gives_every_event_once_over_lost_connections(world, kind):
    world.fleet.events, world.fleet.drop_after = 60, 7
    if kind == "sync":
        with world.sync() as client:
            seen = await asyncio.to_thread(lambda: [e.seq for e in client.watch("pl-00000001")])
    else:
        async with world.aio() as client:
            seen = [e.seq async for e in client.watch("pl-00000001")]
    assert seen == list(range(1, 61))
    assert len(world.fleet.seen) > 8


async def test_a_watch_that_may_not_begin_says_so(world):
    world.fleet.failures = [ours.CursorOutOfRange("Too far.", first_seq=1, last_seq=2)]
    async with world.aio() as client:
        with pytest.raises(errors.CursorOutOfRange):
            await anext(client.watch(from_seq=9))
    assert len(world.fleet.seen) == 1


async def test_a_watch_that_is_left_ends_its_call(world):
    world.fleet.events = 5
    async with world.aio() as client:
        async for event in client.watch():
            assert event.seq == 1
            break
    with world.sync() as client:
        first = await asyncio.to_thread(lambda: next(iter(client.watch())))
    assert first.seq == 1


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_waiting_for_a_plan_returns_when_it_is_over(world, kind):
    world.fleet.events, world.fleet.drop_after = 6, 4
    if kind == "sync":
        with world.sync() as client:
            status = await asyncio.to_thread(client.wait, "pl-00000001")
    else:
        async with world.aio() as client:
            status = await client.wait("pl-00000001")
    assert status.state == graph_pb2.PLAN_STATE_COMPLETED


async def test_waiting_longer_than_allowed_is_a_timeout(world):
    async with world.aio() as client:
        with pytest.raises(TimeoutError):
            await client.wait("pl-00000001", timeout_s=0.05)


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_pages_are_read_as_one(world, kind):
    world.fleet.events = 8
    if kind == "sync":
        with world.sync() as client:
            plans = await asyncio.to_thread(lambda: [p.plan_id for p in client.list_plans()])
            seqs = await asyncio.to_thread(lambda: [e.seq for e in client.list_events()])
    else:
        async with world.aio() as client:
            plans = [p.plan_id async for p in client.list_plans()]
            seqs = [e.seq async for e in client.list_events()]
    assert (plans, seqs) == ([f"pl-{n}" for n in range(5)], list(range(1, 9)))


@pytest.mark.parametrize("size", [0, 10, 600_000])
async def test_an_upload_goes_up_in_pieces(world, size, tmp_path):
    (tmp_path / "results.csv").write_bytes(b"x" * size)
    with world.sync() as client:
        by_path = await asyncio.to_thread(client.upload_input, tmp_path / "results.csv", lenient=True)
    async with world.aio() as client:
        by_bytes = await client.upload_input(b"x" * size, "results.csv", lenient=True)
    assert by_path == by_bytes
    assert by_path.size_bytes == size
    assert {(r.name, r.lenient) for r in world.fleet.seen} == {("results.csv", True)}


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_a_token_that_comes_to_its_end_is_renewed_before_the_call(world, kind):
    if kind == "sync":
        with world.sync(jwt(120)) as client:
            await asyncio.to_thread(client.detect_intent, "hola")
            await asyncio.to_thread(client.detect_intent, "hola")
    else:
        async with world.aio(jwt(120)) as client:
            await client.detect_intent("hola")
            await client.detect_intent("hola")
    assert [type(r).__name__ for r in world.fleet.seen] == [
        "RenewTokenRequest",
        "DetectIntentRequest",
        "DetectIntentRequest",
    ]
    assert world.fleet.tokens[1] == world.fleet.tokens[2] != world.fleet.tokens[0]


async def test_a_renewal_that_fails_keeps_the_token_that_is_still_good(world):
    world.fleet.failures = [ours.SessionEnded()]
    async with world.aio(jwt(120)) as client:
        await client.detect_intent("hola")
        await client.detect_intent("hola")
    assert [type(r).__name__ for r in world.fleet.seen] == [
        "RenewTokenRequest",
        "DetectIntentRequest",
        "DetectIntentRequest",
    ]
    assert len(set(world.fleet.tokens)) == 1


async def test_the_environment_says_where_and_who(world, tmp_path):
    (tmp_path / "ca.pem").write_bytes(world.authority)
    env = {"HAAS_URL": world.url, "HAAS_TOKEN": "t", "HAAS_TENANT": "t-one", "HAAS_PROJECT": "p-one"}
    async with AsyncHaasClient.from_env({**env, "HAAS_CACERT": str(tmp_path / "ca.pem")}) as client:
        assert (await client.detect_intent("hola")).intent == "campaign.plan"
    for name in env:
        with pytest.raises(SettingMissing, match=name):
            HaasClient.from_env({k: v for k, v in env.items() if k != name})


@pytest.mark.parametrize("url", ["http://127.0.0.1:8443", "127.0.0.1:8443", "https://"])
def test_an_address_that_is_no_https_url_is_refused(url):
    with pytest.raises(ValueError, match="https"):
        HaasClient(url, "t", "t-one", "p-one")


def test_both_clients_have_the_same_methods():
    public = [{n for n in vars(c) if not n.startswith("_")} for c in (HaasClient, AsyncHaasClient)]
    assert public[0] == public[1]
