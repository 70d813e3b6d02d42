"""The SDK's worker against the real stream: what a skill is given and returns, lost streams, faults, a quiet end."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pydantic
import pytest

from haas.planner.v1 import worker_pb2
from haas_client import errors as theirs
from haas_client import worker as workers
from haas_client.worker import Output, Task, TaskFailure, skill
from haas_common import errors
from haas_common.auth import Issuer
from haas_common.db import Database
from haas_planner.remote import store
from haas_planner.remote.domain import Given, Written
from tests.integration.conftest import TestDatabase
from tests.support.plans import Plans
from tests.support.remote import SCOPE, Planner, at_work, job, planner


class Lang(pydantic.BaseModel):
    """What is read."""

    lang: str


class Count(pydantic.BaseModel):
    """What is written."""

    words: int


@skill("text.count", reads={"text": "doc.note"}, writes={"count": "value.count"}, input_schema=Lang)
def count(task: Task) -> int:
    """Counts words."""
    assert task.read("text").data == Lang(lang="en")
    return len(task.read("text").body_md.split())


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    plans = Plans(database.admin_dsn)
    plans.project(SCOPE)
    plans.close()
    found = await Database.open(database.app_dsn, database.context_key, "test")
    yield found
    await found.close()


@pytest.fixture
async def fleet(tmp_path, opened) -> AsyncIterator[Planner]:
    async with planner(tmp_path, opened, heartbeat_s=3.0) as found:
        yield found


async def test_a_skill_does_tasks_and_its_models_contract_is_kept(fleet, opened):
    async with at_work(fleet.worker(skills=[count])):
        results = await asyncio.gather(*(fleet.pool.do(job(n)) for n in range(20)))
    assert results == [{"words": Written("", "", 3)}] * 20
    async with opened.tenant_tx(SCOPE) as tx:
        ((contract, _),) = await store.contracts(tx, SCOPE)
    assert (contract.title, contract.agent_id) == ("Counts words.", "agent.counter")
    assert contract.schemas()["text"]["properties"]["lang"]["type"] == "string"


async def test_an_async_skill_reads_many_and_writes_artifacts(fleet):
    @skill(
        "notes.join",
        reads={"notes": "doc.note+", "more": "table.*?"},
        writes={"joined": "doc.joined", "words": "value.count"},
        output_schema={"joined": Count},
    )
    async def join(task: Task) -> dict:
        assert "more" not in task.inputs
        body = "\n".join(note.body_md for note in task.read("notes"))
        return {"joined": Output("Joined", body, Count(words=2)), "words": 2}

    inputs = {name: Given("doc.note", "{}", f"artf-{name}", name) for name in ("b", "a")}
    writes = {"all": "doc.joined", "n": "value.count"}
    async with at_work(fleet.worker(skills=[join])):
        found = await fleet.pool.do(job(skill="notes.join", inputs=inputs, writes=writes))
    assert found == {"all": Written("Joined", "a\nb", {"words": 2}), "n": Written("", "", 2)}


async def refused(fleet: Planner, handler, **facts) -> errors.WorkerFailed:
    made = skill("text.count", writes={"count": "value.count"}, **facts)(handler)
    async with at_work(fleet.worker(skills=[made])):
        with pytest.raises(errors.WorkerFailed) as caught:
            await fleet.pool.do(job())
    return caught.value


async def test_a_failure_keeps_its_reason_and_whether_it_may_pass(fleet):
    def fails(task: Task) -> int:
        raise TaskFailure("SOURCE_GONE", "The site is down.", retryable=True)

    found = await refused(fleet, fails)
    assert (found.message, found.metadata["cause"], found.metadata["retryable"]) == (
        "The site is down.",
        "SOURCE_GONE",
        "true",
    )


async def test_a_fault_of_a_skill_leaves_without_its_text(fleet, caplog):
    def raises(task: Task) -> int:
        raise KeyError("the password is hunter2")

    found = await refused(fleet, raises)
    assert (found.metadata["cause"], found.message) == ("SKILL_RAISED", "the skill failed (KeyError)")
    assert "hunter2" in caplog.text


@pytest.mark.parametrize(
    ("made", "facts", "cause"),
    [
        ({"other": 1}, {}, "CONTRACT_BROKEN"),
        (object(), {}, "CONTRACT_BROKEN"),
        (float("nan"), {}, "CONTRACT_BROKEN"),
        ({"words": "x"}, {"output_schema": Count}, "CONTRACT_BROKEN"),
        ("x" * 300_000, {}, "RESULT_TOO_LARGE"),
    ],
)
async def test_what_the_contract_does_not_say_never_leaves_the_worker(fleet, made, facts, cause):
    def returns(task: Task) -> object:
        return {"count": made} if "output_schema" in facts else made

    assert (await refused(fleet, returns, **facts)).metadata["cause"] == cause


async def test_a_task_under_way_outlives_its_stream(fleet):
    entered, go_on = asyncio.Event(), asyncio.Event()

    @skill("text.count", writes={"count": "value.count"})
    async def slow(task: Task) -> int:
        entered.set()
        await go_on.wait()
        return task.attempt

    async with at_work(fleet.worker(skills=[slow])):
        doing = asyncio.create_task(fleet.pool.do(job()))
        await entered.wait()
        (connection,) = fleet.pool._connections.values()
        connection.finish(errors.ServiceUnavailable())
        again = asyncio.create_task(fleet.pool.do(job(2)))
        go_on.set()
        assert [(await d)["words"].data for d in (doing, again)] == [1, 1]
    assert not fleet.pool._connections


async def test_a_stream_that_comes_to_its_end_is_followed_by_the_next_and_loses_nothing(fleet, monkeypatch):
    monkeypatch.setattr(workers, "_usable_s", lambda left_s: 0.2)
    seen: set[int] = set()

    @skill("text.count", writes={"count": "value.count"})
    async def watched(task: Task) -> int:
        seen.update(fleet.pool._connections)
        return task.params["n"]

    async with at_work(fleet.worker(skills=[watched], concurrency=4)):
        number = 0
        while len(seen) < 3:
            found = await asyncio.gather(*(fleet.pool.do(job(number + n)) for n in range(10)))
            assert [one["words"].data for one in found] == list(range(number, number + 10))
            number += 10


async def test_heartbeats_keep_a_task_that_takes_longer_than_they_may(fleet, monkeypatch):
    beats: list[str] = []
    enough, hear = asyncio.Event(), fleet.pool.book.hear

    def counted(seat, now, tokens=()):
        beats.extend(tokens)
        if len(beats) > 2 * workers.BEATS:
            enough.set()
        return hear(seat, now, tokens)

    monkeypatch.setattr(fleet.pool.book, "hear", counted)

    @skill("text.count", writes={"count": "value.count"})
    async def slow(task: Task) -> int:
        await enough.wait()
        return 1

    async with at_work(fleet.worker(skills=[slow])):
        began = fleet.pool.now()
        assert await fleet.pool.do(job(heartbeat_s=0.3))
        assert fleet.pool.now() - began > 0.3


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_cancelled_task_is_stopped_and_its_place_is_free_again(fleet, kind):
    entered, over = threading.Event(), asyncio.Event()

    if kind == "async":

        async def waits(task: Task) -> int:
            if task.params["n"] == 2:
                return 2
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                over.set()
            return 1
    else:

        def waits(task: Task) -> int:
            if task.params["n"] == 2:
                return 2
            entered.set()
            assert task.cancelled.wait(10)
            loop.call_soon_threadsafe(over.set)
            return 1

    loop = asyncio.get_running_loop()
    made = skill("text.count", writes={"count": "value.count"})(waits)
    async with at_work(fleet.worker(skills=[made], concurrency=1)):
        doing = asyncio.create_task(fleet.pool.do(job(1)))
        assert await asyncio.to_thread(entered.wait, 10)
        doing.cancel()
        await over.wait()
        assert (await fleet.pool.do(job(2)))["words"].data == 2


async def test_a_worker_that_is_stopped_ends_what_is_under_way_and_leaves(fleet):
    entered, go_on = asyncio.Event(), asyncio.Event()

    @skill("text.count", writes={"count": "value.count"})
    async def slow(task: Task) -> int:
        entered.set()
        await go_on.wait()
        return 1

    worker = fleet.worker(skills=[slow], concurrency=2)
    async with at_work(worker) as working:
        doing = asyncio.create_task(fleet.pool.do(job(1)))
        await entered.wait()
        worker.stop()
        go_on.set()
        assert await doing
        await working
    assert fleet.pool.book.empty


async def test_a_worker_that_is_refused_ends_with_the_reason(fleet):
    worker = fleet.worker(skills=[count])
    worker._settings["token"] = fleet.mesh.token("member")
    with pytest.raises(theirs.ScopeMissing):
        await asyncio.wait_for(worker.work(), 10)


async def test_an_expired_token_is_replaced_from_its_source(fleet):
    past = Issuer(fleet.mesh.secrets / "gateway" / "token.pem", "gw", now=lambda: time.time() - 2000)
    old = past.issue(subject="ana", tenant_id="t-one", projects=["p-one"], roles=["worker"]).token
    worker = fleet.worker(skills=[count], token_source=lambda: fleet.mesh.token("worker"))
    worker._settings["token"] = old
    async with at_work(worker):
        assert await fleet.pool.do(job())


async def test_a_fleet_that_restarts_is_found_again(fleet):
    async with at_work(fleet.worker(skills=[count])):
        assert await fleet.pool.do(job(1))
        await fleet.restart()
        assert await fleet.pool.do(job(2))


def test_a_message_that_would_end_the_stream_is_never_made():
    with pytest.raises(ValueError, match="reason"):
        TaskFailure("no reason")
    assert TaskFailure("X", "a\0" + "b" * 2000).message == "a\ufffd" + "b" * 998
    note = skill("a", writes={"note": "doc.note"}, title="t")(lambda task: None)
    message = worker_pb2.WorkerTask(writes={"n": "doc.note"})
    for made in (Output("t", "\0"), Output("t", "x" * 1_100_000)):
        with pytest.raises(TaskFailure):
            note.outputs(message, made)
    assert note.outputs(message, Output(body_md="b"))["n"].title == "t"
