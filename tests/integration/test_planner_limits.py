"""What keeps a planner within its bounds, and who comes first: back-pressure, limits, priorities, weights, fairness.

Orders and numbers are read off the history, or counted where attempts meet; nothing here measures time.
"""

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from haas_common import errors
from haas_common.db import Scope
from haas_common.ids import SHARDS, shard_of
from haas_common.sockets import short_url
from haas_planner import operations, worker
from haas_planner.attempts import Assignment
from haas_planner.graph import Task
from tests.integration.conftest import TestDatabase
from tests.support.kinds import PROFILE, SCOPE, Planner, Tool, constant, of, planner_of, task, tried

OTHER = Scope("t-two", "p-main")
ROOM = 8


def ids_of(scope: Scope, shard: int) -> Iterator[str]:
    """Plans' ids that fall to one shard."""
    ids = (f"pl-{number:08d}" for number in range(1_000_000))
    return (plan_id for plan_id in ids if shard_of(scope.tenant_id, scope.project_id, plan_id) == shard)


def calls(count: int, **more: Any) -> list[Task]:
    """Tasks that call a tool and wait for nothing."""
    return [task(number, "tool", skill="shop.count", attempt_limit_s=60, **more) for number in range(1, count + 1)]


class Told:
    """The history of all tenants, in the order in which it came to be."""

    def __init__(self, admin: psycopg.Connection[Any]) -> None:
        self._admin = admin

    def execute(self, text: str) -> list[tuple[Any, ...]]:
        cursor = self._admin.execute(text.encode())
        return cursor.fetchall() if cursor.description else []

    def events(self) -> list[tuple[str, str, str, str]]:
        """(tenant, plan, task, type) of everything that happened to tasks."""
        return self.execute(
            "SELECT tenant_id, plan_id, task_id, event_type FROM haas.events"
            " WHERE stream LIKE 'plan/%' AND task_id <> '' ORDER BY xid, id"
        )

    def most(self, tenant: str = "t-one") -> int:
        """How many tasks of a tenant ran at once at most."""
        running = most = 0
        ends = ("TaskCompleted", "TaskFailed", "TaskRetryScheduled", "TaskCancelled")
        for whose, _, _, type_ in self.events():
            if whose == tenant:
                running += (type_ == "TaskStarted") - (type_ in ends)
                most = max(most, running)
        return most


@pytest.fixture
def history(database: TestDatabase) -> Iterator[Told]:
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
        admin.execute("INSERT INTO haas.tenants (tenant_id) VALUES ('t-one'), ('t-two')")
        admin.execute("INSERT INTO haas.projects VALUES ('t-one', 'p-main'), ('t-two', 'p-main')")
        admin.execute("INSERT INTO haas.profiles VALUES ('t-two', 'p-main', 'one_v1', 1, %s, 'h1')", (PROFILE,))
        yield Told(admin)


class Meeting:
    """A tool whose calls meet: nobody goes on before so many are there at once, or the last ones are."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rounds: list[collections.Counter[str]] = []
        self._here: list[str] = []
        self._gate = asyncio.Event()
        self._open = False

    async def __call__(self, name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        if self._open:
            return {}
        self._here.append(assignment.scope.tenant_id)
        gate = self._gate
        if len(self._here) == self.size:
            self.rounds.append(collections.Counter(self._here))
            self._here, self._gate = [], asyncio.Event()
            gate.set()
        await gate.wait()
        return {}

    def end(self) -> None:
        """Lets everybody pass from here on."""
        self._open = True
        self._gate.set()


@contextlib.asynccontextmanager
async def two_planners(database: TestDatabase, folder: Path, tool: Tool) -> AsyncIterator[list[Planner]]:
    """Two processes' worth of planners, each with half of the shards."""
    halves = (range(SHARDS // 2), range(SHARDS // 2, SHARDS))
    async with (
        planner_of(database, folder, tool, shards=halves[0]) as first,
        planner_of(database, folder, tool, shards=halves[1]) as second,
    ):
        yield [first, second]


# ── Back-pressure ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_shard_with_too_many_tasks_refuses_to_run_one_plan_more_until_some_are_over(
    database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "TASKS_MAX", 4)
    meeting = Meeting(99)
    ids = ids_of(SCOPE, 3)
    first, second, elsewhere = next(ids), next(ids), next(ids_of(SCOPE, 4))
    async with planner_of(database, tmp_path, meeting) as planner:
        await planner.start(first, calls(4))
        await planner.create(second, [tried(1, "1")])
        with pytest.raises(errors.Overloaded) as refused:
            await planner.tell(second, "run", "r-1")
        assert float(refused.value.metadata["retry_after_s"]) > 0
        await planner.start(elsewhere, [constant(1, "1")])
        assert (await planner.over(elsewhere))["state"] == "completed", "another shard has room"
        await planner.tell(first, "pause")  # what is under way can be steered all the same
        await planner.tell(first, "resume")
        meeting.end()
        await planner.over(first)
        assert await planner.tell(second, "run", "r-2") == "running"
        assert (await planner.over(second))["state"] == "completed"


async def test_a_project_with_too_many_undecided_commands_is_refused_and_others_are_not(
    database: TestDatabase, tmp_path: Path, history: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "PENDING_MAX", 2)
    monkeypatch.setattr(operations, "_ANSWER_S", 60.0)  # nobody decides here: they wait until they are cancelled
    plan_id = next(ids_of(SCOPE, 0))
    theirs = next(ids_of(OTHER, 0))
    async with planner_of(database, tmp_path, shards=[]) as planner:

        async def kept(count: int) -> None:
            with planner.doorbell.bell("shard/0") as bell:
                while history.execute("SELECT count(*) FROM haas.plan_commands") != [(count,)]:
                    await bell.wait(0.2)

        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(planner.create(plan_id, [constant(1, "1")]))]
            await kept(1)
            ids = ids_of(SCOPE, 0)
            waiting.append(group.create_task(planner.create([next(ids), next(ids)][1], [constant(1, "1")])))
            await kept(2)
            with pytest.raises(errors.Overloaded) as refused:
                await planner.create([next(ids), next(ids)][1], [constant(1, "1")])
            assert float(refused.value.metadata["retry_after_s"]) > 0
            waiting.append(group.create_task(planner.of(OTHER).create(theirs, [constant(1, "1")])))
            await kept(3)
            for one in waiting:
                one.cancel()


# ── Limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def run_all(planner: Planner, plans: list[str], tasks: list[Task], **facts: Any) -> None:
    """Runs plans, each to its end."""
    await asyncio.gather(*(planner.start(plan_id, tasks, **facts) for plan_id in plans))
    rows = await asyncio.gather(*(planner.over(plan_id) for plan_id in plans))
    assert {row["state"] for row in rows} == {"completed"}


async def test_no_more_tasks_of_a_tenant_run_than_it_may_over_all_plans_and_planners(
    database: TestDatabase, tmp_path: Path, history: Told
) -> None:
    history.execute("UPDATE haas.tenants SET tasks_max = 3 WHERE tenant_id = 't-one'")
    # Both planners have plans, and none goes on before three are there: a slot less, and it would never end.
    plans = [next(ids_of(SCOPE, shard)) for shard in (0, 1, SHARDS - 2, SHARDS - 1)]
    async with two_planners(database, tmp_path, Meeting(3)) as (planner, _):
        await run_all(planner, plans, calls(6))
    assert history.most() == 3
    assert history.execute("SELECT count(*) FROM haas.task_slots") == [(0,)]


async def test_no_more_tasks_of_a_profile_run_than_it_allows_over_all_plans_and_planners(
    database: TestDatabase, tmp_path: Path, history: Told
) -> None:
    # Under a name of its own: a version of a profile never changes, and is kept in memory.
    yaml = PROFILE.replace("one_v1", "narrow_v1") + "  concurrency: {tasks_max: 2}\n"
    history.execute(f"INSERT INTO haas.profiles VALUES ('t-one', 'p-main', 'narrow_v1', 1, '{yaml}', 'h-narrow')")
    plans = [next(ids_of(SCOPE, shard)) for shard in (0, SHARDS - 1)]
    async with two_planners(database, tmp_path, Meeting(2)) as (planner, _):
        await run_all(planner, plans, calls(6), profile_id="narrow_v1")
    assert history.most() == 2
    assert history.execute("SELECT count(*) FROM haas.task_slots") == [(0,)]


async def test_a_limit_is_shared_by_the_plans_that_wait_for_it(
    database: TestDatabase, tmp_path: Path, history: Told
) -> None:
    """With one slot for both, a small plan's task comes next, whatever a large one has ready."""
    history.execute("UPDATE haas.tenants SET tasks_max = 1 WHERE tenant_id = 't-one'")
    ids, meeting = ids_of(SCOPE, 6), Meeting(99)
    large, small = next(ids), next(ids)
    async with planner_of(database, tmp_path, meeting) as planner:
        await planner.start(large, calls(20))
        await planner.start(small, [tried(1, "1"), tried(2, "1", [of(1)])])
        meeting.end()
        await asyncio.gather(planner.over(small), planner.over(large))
    started = [plan_id for _, plan_id, _, type_ in history.events() if type_ == "TaskStarted"]
    assert [number for number, plan_id in enumerate(started) if plan_id == small][-1] <= 6


async def test_a_tenants_limit_holds_nobody_else_back(database: TestDatabase, tmp_path: Path, history: Told) -> None:
    history.execute("UPDATE haas.tenants SET tasks_max = 1 WHERE tenant_id = 't-one'")
    shard, meeting = 5, Meeting(99)
    async with planner_of(database, tmp_path, meeting) as planner:
        mine, theirs = next(ids_of(SCOPE, shard)), next(ids_of(OTHER, shard))
        await planner.start(mine, calls(4))
        await planner.of(OTHER).start(theirs, calls(4))
        await planner.of(OTHER).until(theirs, lambda row: row["tasks_by_state"].get("running") == 4)
        assert (await planner.until(mine, lambda row: "running" in row["tasks_by_state"]))["tasks_by_state"] == {
            "ready": 3, "running": 1,
        }  # fmt: skip
        meeting.end()
        await planner.over(mine)
    assert (history.most("t-one"), history.most("t-two")) == (1, 4)


# ── Who comes first ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_tasks_of_a_higher_priority_start_first_in_a_plan_and_among_plans(
    database: TestDatabase, tmp_path: Path, history: Told
) -> None:
    ids, meeting = ids_of(SCOPE, 7), Meeting(99)
    holder, low, high = next(ids), next(ids), next(ids)
    async with planner_of(database, tmp_path, meeting, room=1) as planner:
        await planner.start(holder, calls(1))
        await planner.until(holder, lambda row: row["tasks"]["T-1"] == "running")
        await planner.start(low, calls(3))
        mixed = [task(n, "tool", skill="shop.count", priority=p) for n, p in enumerate((2, 9, 7, 9), start=1)]
        await planner.start(high, mixed)
        meeting.end()
        await asyncio.gather(planner.over(low), planner.over(high))
    started = [(plan_id, task_id) for _, plan_id, task_id, type_ in history.events() if type_ == "TaskStarted"]
    assert started[0] == (holder, "T-1")
    assert started[1:4] == [(high, "T-2"), (high, "T-4"), (high, "T-3")]
    # What is left of that plan has a lower one than the other's.
    assert started[4:] == [(low, "T-1"), (low, "T-2"), (low, "T-3"), (high, "T-1")]


async def test_a_tenant_of_weight_three_has_three_starts_where_one_of_weight_one_has_one(
    database: TestDatabase, tmp_path: Path, history: Told
) -> None:
    history.execute("UPDATE haas.tenants SET weight = 3 WHERE tenant_id = 't-one'")
    meeting = Meeting(ROOM)
    plans = next(ids_of(SCOPE, 2)), next(ids_of(OTHER, 9))
    async with planner_of(database, tmp_path, meeting, room=ROOM) as planner:
        # Nobody starts before everybody waits: the first tenant alone fills no round.
        await planner.start(plans[0], calls(60))
        await planner.of(OTHER).start(plans[1], calls(60))
        await planner.until(plans[0], lambda row: row["tasks_by_state"].get("completed", 0) >= 40)
        meeting.end()
        await planner.over(plans[0])
        await planner.of(OTHER).over(plans[1])
    assert meeting.rounds[1:5] == [collections.Counter({"t-one": 6, "t-two": 2})] * 4


@pytest.mark.parametrize("shard", [11, 3], ids=["in its shard", "in another shard"])
@pytest.mark.parametrize("neighbour", [OTHER, SCOPE], ids=["of another tenant", "of the same tenant"])
async def test_a_neighbours_large_plan_keeps_no_small_one_waiting(
    database: TestDatabase, tmp_path: Path, history: Told, neighbour: Scope, shard: int
) -> None:
    """Counted in starts of the neighbour's between a small plan's task being ready and its start."""
    large = next(ids_of(neighbour, 11))
    small = next(one for one in ids_of(SCOPE, shard) if one != large)
    chain = [tried(1, "1"), *(tried(n, "1", [of(n - 1)]) for n in range(2, 6))]
    async with planner_of(database, tmp_path, room=ROOM) as planner:
        await planner.of(neighbour).start(large, [tried(n, "1") for n in range(1, 3001)])
        await planner.of(neighbour).until(large, lambda row: row["tasks_by_state"].get("completed", 0) > 50)
        await planner.start(small, chain)
        await planner.over(small)
        row = await planner.of(neighbour).until(large, lambda row: True)
        assert row["tasks_by_state"].get("ready", 0) > 100, "the neighbour was there all the time"
        await planner.of(neighbour).tell(large, "cancel")
    waited: dict[str, int] = {}
    ready: set[str] = set()
    for _, plan_id, task_id, type_ in history.events():
        if plan_id == small and type_ == "TaskReady":
            ready.add(task_id)
            waited[task_id] = 0
        elif plan_id == small and type_ == "TaskStarted":
            ready.discard(task_id)
        elif plan_id == large and type_ == "TaskStarted":
            for one in ready:
                waited[one] += 1
    assert len(waited) == 5
    # Two commits may be on their way when a task becomes ready, each with a full room of the neighbour's.
    assert max(waited.values()) <= 4 * ROOM, waited
