"""Remote workers over the real stream, door and database: credit, results, fences, heartbeats, who may."""

import asyncio
import json
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from haas.planner.v1 import worker_pb2
from haas_common import errors
from haas_common.auth import Issuer
from haas_common.db import Database, Query, Scope
from haas_planner.remote import servicer, store
from haas_planner.remote.domain import VALUE_BYTES_MAX, Written
from haas_planner.skills.registry import SPECS
from haas_planner.skills.spec import SkillSpec
from tests.integration.conftest import TestDatabase
from tests.support.plans import Plans
from tests.support.remote import NOTE, SCOPE, Planner, job, planner

OTHER = Scope("t-two", "p-one")
EVENTS = Query("events", "", "SELECT event_type, payload FROM events WHERE stream = %(s)s ORDER BY version")


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    plans = Plans(database.admin_dsn)
    for scope in (SCOPE, OTHER):
        plans.project(scope)
    plans.close()
    found = await Database.open(database.app_dsn, database.context_key, "test")
    yield found
    await found.close()


@pytest.fixture
async def fleet(tmp_path, opened) -> AsyncIterator[Planner]:
    async with planner(tmp_path, opened) as found:
        yield found


@pytest.fixture
async def hasty(tmp_path, opened) -> AsyncIterator[Planner]:
    """A planner that gives a task to somebody else after half a second of silence."""
    async with planner(tmp_path, opened, heartbeat_s=0.5) as found:
        yield found


def begun(fleet: Planner, number: int = 1, **facts) -> asyncio.Task:
    return asyncio.create_task(fleet.pool.do(job(number, **facts)))


async def ended(call) -> str:
    """The reason that a stream ends with."""

    async def heard_out() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(heard_out(), 10)
    return errors.from_rpc(caught.value).reason


async def test_a_worker_gets_a_task_with_all_that_it_reads_and_its_result_comes_back(fleet):
    talk = await fleet.came()
    doing = begun(fleet)
    task = await talk.task()
    assert (task.plan_id, task.task_id, task.attempt, task.skill) == ("pl-00000001", "T-1", 1, "text.count")
    assert (task.objective, task.language, json.loads(task.params_json)) == ("o", "en", {"n": 1})
    given = task.inputs["note"]
    assert (given.type, given.artifact_id, given.body_md) == ("doc.note", "artf-1", "one two three")
    assert (json.loads(given.data_json), dict(task.writes)) == ({"lang": "en"}, {"words": "value.count"})
    assert task.token.startswith("7.pl-00000001.T-1.1.")
    assert len(task.token.rpartition(".")[2]) == 32
    await talk.complete(task)
    assert list((await talk.hear()).accepted) == [task.token]
    assert await doing == {"words": Written("", "", 3)}


async def test_no_task_leaves_without_credit_and_credit_brings_the_next(fleet):
    talk = await fleet.came(credit=1)
    first, second = begun(fleet, 1), begun(fleet, 2)
    task = await talk.task()
    assert task.task_id == "T-1"
    await talk.complete(task)
    answer = await talk.hear()
    assert (list(answer.accepted), list(answer.tasks)) == ([task.token], [])
    await talk.say(credit=1)
    await talk.complete(await talk.task(), 4)
    assert [(await t)["words"].data for t in (first, second)] == [3, 4]


async def test_two_workers_share_the_tasks(fleet):
    talks = [await fleet.came(name, credit=2) for name in ("a", "b")]
    doing = [begun(fleet, n) for n in range(4)]
    for talk in talks:
        got: list[worker_pb2.WorkerTask] = []
        while len(got) < 2:
            got += (await talk.hear()).tasks
        for task in got:
            await talk.complete(task)
    assert len(await asyncio.gather(*doing)) == 4


async def test_a_failure_keeps_its_cause_and_says_whether_to_try_again(fleet):
    talk = await fleet.came()
    doing = begun(fleet)
    failure = {"reason": "SOURCE_GONE", "message": "The site is down.", "retryable": True}
    await talk.say(failures=[worker_pb2.WorkerFailure(token=(await talk.task()).token, **failure)])
    with pytest.raises(errors.WorkerFailed) as caught:
        await doing
    assert caught.value.message == "The site is down."
    assert caught.value.metadata == {
        "worker": "w", "skill": "text.count", "cause": "SOURCE_GONE", "retryable": "true",
    }  # fmt: skip


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        {"count": "3"},
        {"words": "{"},
        {"words": "NaN"},
        {"words": '"' + "x" * VALUE_BYTES_MAX + '"'},
        {"words": '"\\u0000"'},
    ],
)
async def test_a_result_that_breaks_the_contract_fails_the_attempt_and_the_stream_goes_on(fleet, outputs):
    talk = await fleet.came(credit=2)
    doing = begun(fleet)
    task = await talk.task()
    made = {name: worker_pb2.WorkerOutput(data_json=text) for name, text in outputs.items()}
    await talk.say(completions=[worker_pb2.WorkerCompletion(token=task.token, outputs=made)])
    (refusal,) = (await talk.hear()).refused
    assert (refusal.token, refusal.reason) == (task.token, worker_pb2.WORKER_REFUSAL_REASON_CONTRACT_BROKEN)
    with pytest.raises(errors.ContractBroken):
        await doing
    doing = begun(fleet, 2)
    await talk.complete(await talk.task())
    assert await doing


async def test_a_silent_workers_task_is_lost_and_its_stream_ends(hasty):
    talk = await hasty.came()
    doing = begun(hasty)
    await talk.task()
    with pytest.raises(errors.WorkerLost) as caught:
        await doing
    assert caught.value.metadata == {"worker": "w", "skill": "text.count"}
    assert await ended(talk.call) == "WORKER_LOST"


async def test_a_tasks_own_heartbeat_counts_from_the_moment_that_it_is_given_out(fleet):
    talk = await fleet.came()
    doing = begun(fleet, heartbeat_s=0.2)
    task = await talk.task()
    assert task.heartbeat_s == 0.2
    with pytest.raises(errors.WorkerLost):
        await asyncio.wait_for(doing, 2)
    assert list((await talk.hear()).cancelled) == [task.token]


async def test_a_task_that_the_heartbeats_do_not_name_is_lost_taken_back_and_its_result_is_refused(hasty):
    talk = await hasty.came(credit=2)
    kept, quiet = begun(hasty, 1), begun(hasty, 2)
    tasks: dict[str, worker_pb2.WorkerTask] = {}
    while len(tasks) < 2:
        tasks |= {t.task_id: t for t in (await talk.hear()).tasks}

    async def beat() -> None:
        while True:
            await talk.say(heartbeat=worker_pb2.WorkerHeartbeat(tokens=[tasks["T-1"].token]))
            await asyncio.wait([quiet], timeout=0.1)

    beats = asyncio.create_task(beat())
    with pytest.raises(errors.WorkerLost):
        await quiet
    beats.cancel()
    await asyncio.wait([beats])
    assert list((await talk.hear()).cancelled) == [tasks["T-2"].token]
    await talk.complete(tasks["T-2"])
    (refusal,) = (await talk.hear()).refused
    assert (refusal.token, refusal.reason) == (tasks["T-2"].token, worker_pb2.WORKER_REFUSAL_REASON_SUPERSEDED)
    await talk.complete(tasks["T-1"])
    assert await kept


async def test_a_worker_that_comes_back_keeps_its_task_and_an_answer_that_was_lost_is_given_again(fleet):
    talk = await fleet.came()
    doing = begun(fleet)
    task = await talk.task()
    talk.call.cancel()
    again = await fleet.came(tokens=[task.token], credit=0)
    await again.complete(task)
    assert list((await again.hear()).accepted) == [task.token]
    assert await doing
    await again.complete(task)
    assert list((await again.hear()).accepted) == [task.token], "the same result, sent again, is no stranger's"


async def test_a_worker_that_comes_back_without_its_task_loses_it_at_once(fleet):
    talk = await fleet.came()
    doing = begun(fleet)
    await talk.task()
    talk.call.cancel()
    await fleet.came(credit=0)
    with pytest.raises(errors.WorkerLost):
        await doing


async def test_a_second_process_of_the_same_id_ends_the_firsts_stream(fleet):
    talk = await fleet.came()
    await fleet.came()
    assert await ended(talk.call) == "RESOURCE_EXISTS"


async def test_a_worker_that_says_that_it_goes_loses_its_tasks_at_once(fleet):
    talk = await fleet.came(credit=1)
    doing, waits = begun(fleet, 1), begun(fleet, 2)
    await talk.task()
    await talk.say(leaving=True, credit=5)
    await talk.call.done_writing()
    with pytest.raises(EOFError):
        await talk.hear()
    with pytest.raises(errors.WorkerLost):
        await doing
    assert not waits.done()
    other = await fleet.came("b")
    await other.complete(await other.task())
    assert await waits


async def test_what_is_not_wanted_any_more_is_taken_back_and_its_result_refused(fleet):
    talk = await fleet.came()
    doing = begun(fleet)
    task = await talk.task()
    doing.cancel()
    assert list((await talk.hear()).cancelled) == [task.token]
    await talk.complete(task)
    assert [r.token for r in (await talk.hear()).refused] == [task.token]


async def test_another_workers_token_is_refused(fleet):
    talk, thief = await fleet.came("a"), await fleet.came("b", credit=0)
    doing = begun(fleet)
    task = await talk.task()
    await thief.complete(task, 666)
    assert [r.token for r in (await thief.hear()).refused] == [task.token]
    await talk.complete(task)
    assert (await doing)["words"].data == 3


async def test_a_task_waits_for_a_worker_and_a_bounded_number_may(fleet, monkeypatch):
    monkeypatch.setattr("haas_planner.remote.book.WAITING_MAX", 1)
    waits = begun(fleet, 1)
    await asyncio.sleep(0)
    with pytest.raises(errors.Overloaded):
        await fleet.pool.do(job(2))
    talk = await fleet.came()
    await talk.complete(await talk.task())
    assert await waits


async def test_a_task_that_reads_more_than_a_message_holds_is_refused(fleet):
    with pytest.raises(errors.PayloadTooLarge):
        await fleet.pool.do(job(params={"text": "x" * (4 * 1024 * 1024)}))


# ── Who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_worker_of_another_tenant_gets_nothing_of_this_one(fleet):
    token = fleet.mesh.token("worker", tenant="t-two")
    talk = await fleet.came(credit=5, token=token, ids={"tenant_id": "t-two", "project_id": "p-one"})
    mine, theirs = begun(fleet, 1), begun(fleet, 2, scope=OTHER)
    assert (await talk.task()).task_id == "T-2"
    mine.cancel()
    theirs.cancel()


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ({"tenant_id": "t-two", "project_id": "p-one"}, "TENANT_MISMATCH"),
        ({"tenant_id": "t-one", "project_id": "p-two"}, "PROJECT_NOT_GRANTED"),
        ({"project_id": "p-one"}, "TENANT_REQUIRED"),
        ({"tenant_id": "t-one"}, "PROJECT_REQUIRED"),
    ],
)
async def test_a_registration_for_another_tenant_or_project_is_refused(fleet, ids, reason):
    assert await fleet.refused(ids=ids) == reason


async def test_a_later_message_that_names_another_tenant_ends_the_stream(fleet):
    talk = await fleet.came()
    await talk.say(tenant_id="t-two", credit=1)
    assert await ended(talk.call) == "TENANT_MISMATCH"


@pytest.mark.parametrize("role", ["viewer", "member", "admin", "auditor"])
async def test_a_token_without_the_scope_is_refused_before_it_says_anything(fleet, role):
    assert await ended(fleet.call(fleet.mesh.token(role))) == "SCOPE_MISSING"


async def test_a_stream_ends_with_its_token(fleet):
    life = Issuer(fleet.mesh.secrets / "gateway" / "token.pem", "gw")
    token = life.issue(subject="ana", tenant_id="t-one", projects=["p-one"], roles=["worker"], life_s=1).token
    talk = await fleet.came(token=token)
    assert await ended(talk.call) == "TOKEN_EXPIRED"


async def test_another_callers_worker_is_not_replaced(fleet):
    await fleet.came()
    eve = fleet.mesh.gateway.issue(subject="eve", tenant_id="t-one", projects=["p-one"], roles=["worker"]).token
    assert await fleet.refused(token=eve) == "RESOURCE_EXISTS"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"credit": 1001}, "FIELD_INVALID"),
        ({"registration": worker_pb2.WorkerRegistration(worker_id="w", agent_id="a", skills=[NOTE])}, "FIELD_INVALID"),
        ({"failures": [worker_pb2.WorkerFailure(token="t", reason="no reason")]}, "FIELD_INVALID"),
        ({"heartbeat": worker_pb2.WorkerHeartbeat(tokens=["x" * 201])}, "FIELD_INVALID"),
        ({"completions": [worker_pb2.WorkerCompletion(token="t")] * 257}, "FIELD_INVALID"),
    ],
)
async def test_a_message_beyond_the_limits_ends_the_stream(fleet, fields, reason):
    talk = await fleet.came()
    await talk.say(**fields)
    assert await ended(talk.call) == reason


async def test_messages_are_bounded_in_bytes_and_answers_that_nobody_reads_in_number(fleet, monkeypatch):
    talk = await fleet.came()
    monkeypatch.setattr(servicer, "MESSAGE_BYTES_MAX", 1000)
    outputs = {"words": worker_pb2.WorkerOutput(body_md="x" * 2000)}
    await talk.say(completions=[worker_pb2.WorkerCompletion(token="t", outputs=outputs)])
    assert await ended(talk.call) == "PAYLOAD_TOO_LARGE"


async def test_answers_that_nobody_reads_are_bounded(fleet, monkeypatch):
    monkeypatch.setattr("haas_planner.remote.pool.UNREAD_MAX", 10)
    talk = await fleet.came()
    strangers = [worker_pb2.WorkerCompletion(token=f"t{n}") for n in range(20)]
    await talk.say(completions=strangers)
    assert await ended(talk.call) == "OVERLOADED"


async def test_a_stream_that_begins_without_a_registration_is_refused(fleet):
    call = fleet.call()
    await call.write(worker_pb2.WorkRequest(tenant_id="t-one", project_id="p-one", credit=1))
    assert await ended(call) == "FIELD_INVALID"


# ── Skills ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def kept(opened: Database, scope: Scope = SCOPE) -> list[SkillSpec]:
    async with opened.tenant_tx(scope) as tx:
        return await store.specs(tx, scope)


async def told(opened: Database, stream: str) -> list[tuple[str, dict]]:
    async with opened.tenant_tx(SCOPE) as tx:
        return [(row["event_type"], row["payload"]) for row in await tx.all(EVENTS, s=stream)]


def slot(name: str, kind: str, schema: str = "") -> worker_pb2.WorkerSlot:
    return worker_pb2.WorkerSlot(name=name, type=kind, schema_json=schema)


def counting(name: str, **facts) -> worker_pb2.WorkerSkill:
    return worker_pb2.WorkerSkill(**{"name": name, "title": "t", "writes": [slot("out", "value.out")], **facts})


async def test_a_registered_skill_is_there_for_plans_after_its_worker_has_gone(fleet, opened):
    talk = await fleet.came()
    talk.call.cancel()
    assert await kept(opened) == [
        SkillSpec(
            "text.count", "specialist", (("text", "doc.note"),), (("count", "value.count"),), "agent.counter",
            {"es": "Counts words", "en": "Counts words"},
        )
    ]  # fmt: skip
    assert await kept(opened, OTHER) == []


async def test_an_agent_changes_its_contract_and_another_agent_does_not(fleet, opened):
    await fleet.came()
    schema = '{"type": "integer"}'
    await fleet.came("b", skills=[counting("text.count", reads=[slot("text", "doc.*", schema)])])
    async with opened.tenant_tx(SCOPE) as tx:
        ((contract, _),) = await store.contracts(tx, SCOPE)
    assert (contract.reads[0].type, contract.schemas()) == ("doc.*", {"text": {"type": "integer"}})
    assert await fleet.refused(name="c", agent_id="agent.other") == "RESOURCE_EXISTS"


async def test_a_skill_by_a_name_of_the_fleets_own_is_refused(fleet, opened):
    assert await fleet.refused(skills=[counting(SPECS[0].name)]) == "RESOURCE_EXISTS"
    assert await kept(opened) == []


async def test_a_project_has_a_bounded_number_of_skills(fleet, opened, monkeypatch):
    monkeypatch.setattr(store, "SKILLS_MAX", 2)
    assert await fleet.refused(skills=[counting(f"s.{n}") for n in range(3)]) == "OVERLOADED"
    assert await kept(opened) == []
    await fleet.came(skills=[counting("s.1"), counting("s.2")])
    await fleet.came(skills=[counting("s.2", title="new")])
    assert [spec.titles["en"] for spec in await kept(opened)] == ["t", "new"]


async def test_skills_are_listed_with_what_they_read_and_write_beside_the_fleets_own(fleet):
    schema = '{"type": "integer"}'
    await fleet.came(skills=[counting("text.count", reads=[slot("text", "doc.*", schema)])])
    listed = await fleet.skills()
    assert listed.keys() == {"text.count", *(spec.name for spec in SPECS)}
    ours, own = listed["text.count"], listed["team.content"]
    assert (ours.remote, ours.agent_id, ours.kind, dict(ours.titles)) == (
        True,
        "agent.counter",
        2,
        {"es": "t", "en": "t"},
    )
    assert ours.register_time.seconds > 0
    assert [(s.name, s.type, s.schema_json) for s in ours.reads] == [("text", "doc.*", schema)]
    assert (own.remote, own.agent_id, own.kind) == (False, "leader.content", 1)
    assert ("kpi_report", "kpi.report?") in [(s.name, s.type) for s in own.reads]
    assert "text.count" not in await fleet.skills("t-two")


async def test_a_skill_is_removed_by_an_admin_of_its_project_and_comes_back_with_its_worker(fleet, opened, monkeypatch):
    monkeypatch.setattr(store, "SKILLS_MAX", 1)
    await fleet.came()
    assert await fleet.remove_skill("text.count", role="member") == "SCOPE_MISSING"
    assert await fleet.remove_skill("text.count", "t-two") == "RESOURCE_NOT_FOUND"
    assert await fleet.remove_skill(SPECS[0].name) == "RESOURCE_NOT_FOUND"
    assert await fleet.remove_skill("Text count") == "FIELD_INVALID"
    assert "text.count" in await fleet.skills()
    assert await fleet.remove_skill("text.count") == ""
    assert await kept(opened) == []
    assert await fleet.remove_skill("text.count") == "RESOURCE_NOT_FOUND"
    # There is room for another one, and the name is anybody's.
    await fleet.came("b", agent_id="agent.other")
    assert (await fleet.skills())["text.count"].agent_id == "agent.other"
    # Registered again as it is, it is no event.
    await fleet.came("b", agent_id="agent.other")
    history = await told(opened, "skill/text.count")
    assert [(kind, payload["agent_id"]) for kind, payload in history] == [
        ("SkillRegistered", "agent.counter"), ("SkillRemoved", "agent.counter"), ("SkillRegistered", "agent.other")
    ]  # fmt: skip
    assert history[0][1]["contract_hash"] != history[2][1]["contract_hash"]


@pytest.mark.parametrize(
    "skills",
    [
        [counting("a"), counting("a")],
        [counting("a", reads=[slot("out", "value.x")])],
        [counting("a", writes=[slot("out", "value.*")])],
        [counting("a", writes=[slot("out", "value.x", "{")])],
        [counting("a", writes=[slot("out", "value.x", '{"$ref": "https://example.org/x"}')])],
        [counting("A B")],
        [],
    ],
)
async def test_a_contract_that_is_none_is_refused(fleet, skills):
    assert await fleet.refused(skills=skills) == "FIELD_INVALID"
