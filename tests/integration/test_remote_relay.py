"""Two planners, one worker: what a shard's owner gives out reaches it wherever its stream ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from unittest.mock import ANY

import pytest

from haas_client.worker import Task, TaskFailure, skill
from haas_common import errors
from haas_common.channels import Channels
from haas_common.db import Database, Scope
from haas_common.membership import Group, Membership, living
from haas_planner.remote.domain import Written
from haas_planner.remote.relay import Relays
from tests.integration.conftest import TestDatabase
from tests.support.plans import Plans
from tests.support.remote import SCOPE, Planner, at_work, job

TOKENS = ("workers.run",)


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    plans = Plans(database.admin_dsn)
    plans.project(SCOPE)
    plans.close()
    found = await Database.open(database.app_dsn, database.context_key, "test")
    yield found
    await found.close()


@pytest.fixture
async def planners(tmp_path, opened) -> AsyncIterator[tuple[Planner, Planner]]:
    """Two that know each other by the table of members."""
    first = Planner.fresh(tmp_path, opened)
    second = Planner.fresh(tmp_path, opened, mesh=first.mesh)
    channels = Channels(first.mesh.config("planner"))

    def token_of(scope: Scope, life_s: int) -> str:
        made = first.mesh.planner.issue(
            subject="planner", tenant_id=scope.tenant_id, projects=[scope.project_id], scopes=TOKENS, life_s=life_s
        )
        return made.token

    for number, one in enumerate((first, second), 1):
        one.relays = Relays(
            one.pool, f"planner-{number}", lambda: living(opened, "planner"),
            lambda address: channels.channel("planner", address), token_of,
        )  # fmt: skip
        await one.start()
        group = Group("planner", f"127.0.0.1:{one.running.port}")
        await Membership(opened, group, f"planner-{number}", 60.0).beat(5.0)
    try:
        yield first, second
    finally:
        await asyncio.gather(first.close(), second.close())
        await channels.close()


@skill("text.count", writes={"count": "value.count"})
async def count(task: Task) -> int:
    if task.params["n"] == 13:
        raise TaskFailure("UNLUCKY", "No.", retryable=False)
    return task.params["n"]


async def test_a_worker_of_one_planner_does_the_tasks_of_both(planners):
    first, second = planners
    async with at_work(first.worker(skills=[count], concurrency=4)):
        doing = [one.pool.do(job(n)) for n in range(10) for one in planners]
        found = await asyncio.gather(*doing)
        assert found == [{"words": Written("", "", n)} for n in range(10) for _ in planners]
        (seat,) = second.pool.book._seats.values()
        assert (seat.key, seat.relayed) == ((SCOPE, "w@planner-1"), True)
        assert set(first.pool.book._seats) == {(SCOPE, "w")}, "what is passed on is not passed back"
        with pytest.raises(errors.WorkerFailed) as caught:
            await second.pool.do(job(13))
        assert (caught.value.message, caught.value.metadata) == (
            "No.",
            {"worker": "w@planner-1", "skill": ANY, "cause": "UNLUCKY", "retryable": "false"},
        )


async def test_the_own_worker_comes_first_and_anothers_when_it_is_busy(planners):
    first, second = planners
    there = await first.came("there", credit=1)
    waits = asyncio.create_task(second.pool.do(job(1)))
    await there.complete(await there.task(), credit=1)
    await waits
    here = await second.came("here", credit=1)
    doing = [asyncio.create_task(second.pool.do(job(n))) for n in (2, 3)]
    mine, theirs = await here.task(), await there.task()
    assert (mine.task_id, theirs.task_id) == ("T-2", "T-3")
    assert theirs.token.startswith("7.pl-00000001.T-3.1."), "the fence keeps the epoch of the shard's owner"
    await here.complete(mine)
    await there.complete(theirs)
    await asyncio.gather(*doing)


async def test_a_task_that_is_not_wanted_any_more_is_taken_back_over_both(planners):
    first, second = planners
    talk = await first.came()
    doing = asyncio.create_task(second.pool.do(job()))
    task = await talk.task()
    doing.cancel()
    while not (answer := await talk.hear()).cancelled:
        pass
    assert list(answer.cancelled) == [task.token]


async def test_a_task_that_the_worker_loses_is_lost_at_the_other_planner_too(planners):
    first, second = planners
    talk = await first.came()
    doing = asyncio.create_task(second.pool.do(job()))
    await talk.task()
    await talk.say(leaving=True)
    await talk.call.done_writing()
    with pytest.raises(errors.WorkerLost):
        await doing


async def test_a_planner_that_stops_gives_back_at_once_what_was_passed_to_it(planners):
    first, second = planners
    talk = await first.came()
    doing = asyncio.create_task(second.pool.do(job()))
    await talk.task()
    await first.relays.stop()
    with pytest.raises(errors.WorkerLost):
        await asyncio.wait_for(doing, 5)
    with contextlib.suppress(EOFError):
        while not (await talk.hear()).cancelled:
            pass


async def test_nobody_but_a_planner_passes_places_on(planners):
    first, _ = planners
    assert await first.refused(name="w@planner-2") == "FIELD_INVALID"
