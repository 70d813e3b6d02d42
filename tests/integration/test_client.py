"""The Python client against servers that fail as the fleet does: one request_id, no event twice, typed errors."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from haas.common.v1 import error_reason_pb2
from haas.planner.v1 import graph_pb2
from haas_client import AsyncHaasClient, HaasClient, HaasError, SettingMissing, errors, retries
from haas_common import errors as ours
from tests.support.fake_fleet import World, jwt, running


@pytest.fixture
async def world(tmp_path) -> AsyncIterator[World]:
    async with running(tmp_path) as found:
        yield found


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


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_a_watch_that_was_answered_is_taken_up_again_however_long_it_was_idle(world, kind, monkeypatch):
    for module in ("client", "aio"):
        monkeypatch.setattr(f"haas_client.{module}.PATIENCE_S", -1.0)  # any break without an answer ends it
    world.fleet.events, world.fleet.drop_after = 20, 3
    if kind == "sync":
        with world.sync() as client:
            seen = await asyncio.to_thread(lambda: [e.seq for e in client.watch("pl-00000001")])
    else:
        async with world.aio() as client:
            seen = [e.seq async for e in client.watch("pl-00000001")]
    assert seen == list(range(1, 21))
    world.fleet.failures = [ours.DatabaseUnavailable()]
    async with world.aio() as client:
        with pytest.raises(errors.DatabaseUnavailable):
            await anext(client.watch("pl-00000001"))


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


async def test_both_clients_speak_of_agents_skills_and_hooks(world):
    def scope(call) -> tuple[str, str]:
        return call.tenant_id, call.project_id

    async with world.aio() as client:
        assert [agent.agent_id for agent in await client.list_agents()] == ["specialist.law"]
        assert list((await client.register_agent("a", ["x"])).skills) == ["x"]
        assert (await client.set_agent_state("a", paused=True)).state == 2
        assert [skill.name for skill in await client.list_skills()] == ["law.check"]
        await client.remove_skill("law.check")
        assert (await client.put_hook("pay", "paid", new_secret=True)).secret == "whsec_Zm9v"
        assert [hook.hook_id for hook in await client.list_hooks()] == ["pay"]
        await client.remove_hook("pay")
    seen, world.fleet.seen = world.fleet.seen, []

    def same() -> None:
        with world.sync() as client:
            assert [agent.agent_id for agent in client.list_agents()] == ["specialist.law"]
            assert list(client.register_agent("a", ["x"]).skills) == ["x"]
            assert client.set_agent_state("a", paused=True).state == 2
            assert [skill.name for skill in client.list_skills()] == ["law.check"]
            client.remove_skill("law.check")
            assert client.put_hook("pay", "paid", new_secret=True).secret == "whsec_Zm9v"
            assert [hook.hook_id for hook in client.list_hooks()] == ["pay"]
            client.remove_hook("pay")

    await asyncio.to_thread(same)
    assert seen == world.fleet.seen
    assert {scope(call) for call in seen} == {("t-one", "p-one")}


@pytest.mark.parametrize("url", ["http://127.0.0.1:8443", "127.0.0.1:8443", "https://"])
def test_an_address_that_is_no_https_url_is_refused(url):
    with pytest.raises(ValueError, match="https"):
        HaasClient(url, "t", "t-one", "p-one")


def test_both_clients_have_the_same_methods():
    public = [{n for n in vars(c) if not n.startswith("_")} for c in (HaasClient, AsyncHaasClient)]
    assert public[0] == public[1]
