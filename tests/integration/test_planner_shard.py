"""The shard actor on a real PostgreSQL: order, recovery, fencing, idempotency."""

import asyncio
import contextlib
import dataclasses
import json
import random
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest

from haas_common import errors
from haas_common.db import Database, Lease, Scope
from haas_common.db.queries import Query
from haas_common.doorbell import Doorbell
from haas_common.eventstore import NewEvent, append
from haas_common.ids import SHARDS, shard_of
from haas_common.leases import LeaseKeeper
from haas_planner import store
from haas_planner.attempts import Assignment, Attempts, Made
from haas_planner.domain import task_to_json
from haas_planner.graph import Slot, Task
from haas_planner.log import Commit, PlanLog
from haas_planner.operations import Operations
from haas_planner.store import Command, SlotWish, Trip
from haas_planner.worker import Shard
from tests.integration.conftest import TestDatabase

SCOPE = Scope("t-one", "p-main")
EVENTS = Query("events", "", "SELECT event_type, task_id, version FROM events WHERE stream = %(s)s ORDER BY version")
PLAN = Query("plan", "", "SELECT state, tasks_by_state, failure FROM plans WHERE plan_id = %(id)s")
TASKS = Query("tasks", "", "SELECT task_id, status, attempt FROM tasks_read WHERE plan_id = %(id)s")


def task(number: int, *after: int, kind: str = "specialist", attempts_max: int = 3) -> Task:
    reads = tuple(Slot(f"v{n}", "value.x", f"T-{n}") for n in after)
    writes = (Slot(f"v{number}", "value.x"),)
    return Task(f"T-{number}", kind, "some.skill", "", f"agent-{number}", reads, writes, {}, attempts_max, 5)


@dataclasses.dataclass
class Fleet:
    """A planner without its network: the real operations, shards and database."""

    database: Database
    doorbell: Doorbell
    operations: Operations
    attempts: Attempts
    keeper: LeaseKeeper

    async def create(self, plan_id: str, tasks: list[Task], request_id: str = "r-create") -> str:
        facts = {
            "objective": "o", "intent": "i", "language": "es", "slots": {}, "brief_artifact_id": "", "profile_id": "p",
            "profile_version": 1, "goals": [], "inputs": [],
        }  # fmt: skip
        body = {"facts": facts, "tasks": [task_to_json(t) for t in tasks]}
        return await self.operations._decide(
            Command(SCOPE, plan_id, request_id, "create", body, "ana", ""), must_exist=False
        )

    async def command(self, plan_id: str, kind: str, request_id: str) -> str:
        return await self.operations.command(Command(SCOPE, plan_id, request_id, kind, {}, "ana", ""))

    async def over(self, plan_id: str) -> dict[str, object]:
        """Waits until the plan's state is a terminal one."""
        with self.doorbell.bell("events") as bell:
            async with asyncio.timeout(30):
                while True:
                    async with self.database.tenant_tx(SCOPE) as tx:
                        row = await tx.maybe(PLAN, id=plan_id)
                    if row and row["state"] in ("completed", "failed", "cancelled"):
                        return row
                    await bell.wait(0.5)

    async def history(self, plan_id: str) -> list[tuple[str, str]]:
        async with self.database.tenant_tx(SCOPE) as tx:
            rows = await tx.all(EVENTS, s=f"plan/{plan_id}")
        assert [r["version"] for r in rows] == list(range(1, len(rows) + 1))
        return [(r["event_type"], r["task_id"]) for r in rows]


Work = Callable[[Assignment], "asyncio.Future[dict[str, str]]"]


@contextlib.asynccontextmanager
async def fleet_of(database: TestDatabase, work: object, owner: str = "planner@test") -> AsyncIterator[Fleet]:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO haas.tenants VALUES ('t-one') ON CONFLICT DO NOTHING")
        connection.execute("INSERT INTO haas.projects VALUES ('t-one', 'p-main') ON CONFLICT DO NOTHING")
    opened = await Database.open(database.app_dsn, database.context_key, "test")
    doorbell = Doorbell(opened)
    await doorbell.start()
    attempts = Attempts(work, limit=8)

    async def own(lease: Lease) -> None:
        number = int(lease.name.removeprefix("shard/"))
        await Shard(lease.name, PlanLog(number, lease, opened), doorbell, attempts).run()

    keeper = LeaseKeeper(opened, owner, [f"shard/{n}" for n in range(SHARDS)], own)
    await keeper.start()
    try:
        yield Fleet(opened, doorbell, Operations(opened, doorbell), attempts, keeper)
    finally:
        await keeper.stop()
        await attempts.stop()
        await doorbell.stop()
        await opened.close()


async def done(assignment: Assignment) -> dict[str, str]:
    return {slot.name: f"artf-{assignment.task.task_id.lower()}" for slot in assignment.task.writes}


async def test_tasks_run_after_what_they_read_and_once_each(database: TestDatabase) -> None:
    ran: list[str] = []

    async def work(assignment: Assignment) -> dict[str, str]:
        for slot in assignment.task.reads:
            assert slot.from_task in ran, f"{assignment.task.task_id} ran before {slot.from_task}"
            assert assignment.readable[slot.name] == f"artf-{slot.from_task.lower()}"
        await asyncio.sleep(0)
        ran.append(assignment.task.task_id)
        return await done(assignment)

    tasks = [task(1), task(2, 1), task(3, 1), *(task(n, 2, 3) for n in range(4, 40)), task(40, *range(4, 40))]
    async with fleet_of(database, work) as fleet:
        assert await fleet.create("pl-00000001", tasks) == "created"
        assert await fleet.command("pl-00000001", "run", "r-run") == "running"
        assert (await fleet.over("pl-00000001"))["state"] == "completed"
        history = await fleet.history("pl-00000001")
        async with fleet.database.tenant_tx(SCOPE) as tx:
            rows = await tx.all(TASKS, id="pl-00000001")
            replayed = (await store.load_plan(tx, SCOPE, "pl-00000001")).plan
    assert sorted(ran) == sorted(t.task_id for t in tasks)
    assert [kind for kind, _ in history].count("TaskCompleted") == 40
    assert history[-1] == ("PlanCompleted", "")
    assert {r["task_id"]: (r["status"], r["attempt"]) for r in rows} == {
        t: (run.state, run.attempt) for t, run in replayed.tasks.items()
    }


async def test_the_same_request_gives_the_same_answer_and_another_content_is_refused(database: TestDatabase) -> None:
    async with fleet_of(database, done) as fleet:
        await fleet.create("pl-00000002", [task(1)])
        before = await fleet.history("pl-00000002")
        assert await fleet.create("pl-00000002", [task(1)]) == "created"
        assert await fleet.history("pl-00000002") == before
        with pytest.raises(errors.RequestIdReused):
            await fleet.create("pl-00000002", [task(1), task(2)])
        with pytest.raises(errors.ResourceExists):
            await fleet.create("pl-00000002", [task(1)], request_id="another")
        with pytest.raises(errors.ResourceNotFound):
            await fleet.command("pl-99999999", "run", "r")
        await fleet.command("pl-00000002", "cancel", "r-cancel")
        with pytest.raises(errors.PlanStateConflict) as refused:
            await fleet.command("pl-00000002", "run", "r-run")
        assert refused.value.metadata["state"] == "cancelled"


async def test_a_failing_task_is_tried_again_then_fails_the_plan_and_names_what_it_hits(database: TestDatabase) -> None:
    tries: dict[str, int] = {}

    async def work(assignment: Assignment) -> dict[str, str]:
        name = assignment.task.task_id
        tries[name] = tries.get(name, 0) + 1
        if name == "T-2" or (name == "T-1" and tries[name] == 1):
            raise errors.ToolFailed("The tool broke.", tool="x")
        return await done(assignment)

    async with fleet_of(database, work) as fleet:
        await fleet.create("pl-00000003", [task(1), task(2, 1, attempts_max=2), task(3, 2), task(4, 3), task(5)])
        await fleet.command("pl-00000003", "run", "r")
        row = await fleet.over("pl-00000003")
        history = await fleet.history("pl-00000003")
        payload = Query("p", "", "SELECT payload FROM events WHERE event_type = 'ErrorDetected'")
        async with fleet.database.tenant_tx(SCOPE) as tx:
            hit = (await tx.one(payload))["payload"]
    assert row["state"] == "failed"
    assert "T-2" in str(row["failure"])
    assert tries["T-1"] == 2
    assert tries["T-2"] == 2
    assert "T-3" not in tries
    assert hit["affected"] == ["T-3", "T-4"]
    assert ("TaskCancelled", "T-3") in history
    assert history[-1] == ("PlanFailed", "")


async def test_a_plan_survives_the_loss_of_its_owner_and_of_every_connection(database: TestDatabase) -> None:
    completed: list[tuple[str, int]] = []
    reached, gate = asyncio.Event(), asyncio.Event()

    async def work(assignment: Assignment) -> dict[str, str]:
        if assignment.task.task_id == "T-7":
            reached.set()
            await gate.wait()
        completed.append((assignment.task.task_id, assignment.attempt))
        return await done(assignment)

    tasks = [task(1), *(task(n, n - 1) for n in range(2, 15))]
    async with fleet_of(database, work) as fleet:
        await fleet.create("pl-00000004", tasks)
        await fleet.command("pl-00000004", "run", "r")
        await reached.wait()
        # The owner vanishes: nothing is given back, nothing is said.
        for _, held in fleet.keeper._held.values():
            held.cancel()
        fleet.keeper._held.clear()
    gate.set()
    async with fleet_of(database, work) as fleet:
        with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = 'haas_app'"
            )
        assert (await fleet.over("pl-00000004"))["state"] == "completed"
        history = await fleet.history("pl-00000004")
    ends = [task_id for kind, task_id in history if kind == "TaskCompleted"]
    assert sorted(ends) == sorted({t.task_id for t in tasks})
    assert ("TaskRetryScheduled", "T-7") in history


def two_of_a_shard() -> tuple[str, str]:
    names = (f"pl-{n:08d}" for n in range(200, 1000))
    one, other = [n for n in names if shard_of(SCOPE.tenant_id, SCOPE.project_id, n) == 3][:2]
    return one, other


async def test_every_event_of_a_plan_says_what_led_to_it(database: TestDatabase) -> None:
    async with fleet_of(database, done) as fleet:
        await fleet.create("pl-00000031", [task(1)])
        await fleet.command("pl-00000031", "run", "r-1")
        await fleet.over("pl-00000031")
    with psycopg.connect(database.admin_dsn) as admin:
        rows = admin.execute(
            "SELECT event_type, causation_id, correlation_id FROM haas.events WHERE stream = 'plan/pl-00000031'"
            " ORDER BY version"
        ).fetchall()
    causes = {kind: cause for kind, cause, _ in rows}
    assert {belongs for _, _, belongs in rows} == {"pl-00000031"}
    assert causes["PlanStarted"] == causes["TaskReady"] == "request/r-1"
    assert causes["TaskStarted"] == "room"
    assert causes["TaskCompleted"] == causes["PlanCompleted"] == "attempt/T-1/1"
    assert causes["PlanCreated"].startswith("request/")


@pytest.mark.parametrize(
    "fault",
    [{"title": "x" * 40_000}, {"title": "a\0b"}, {"kind": "oracle"}, {"task_id": "T-1\x1f2"}],
    ids=["too large", "a NUL", "not of its type", "a name that no append takes"],
)
async def test_a_plan_that_the_history_cannot_keep_does_not_stop_the_others_of_its_shard(
    database: TestDatabase, fault: dict[str, str]
) -> None:
    one, other = two_of_a_shard()
    async with fleet_of(database, done) as fleet:
        poison = dataclasses.replace(task(1), **fault)
        answers = await asyncio.gather(
            fleet.create(one, [poison]), fleet.create(other, [task(1)]), return_exceptions=True
        )
        assert isinstance(answers[0], errors.InternalError)
        assert answers[1] == "created"
        await fleet.command(other, "run", "r")
        assert (await fleet.over(other))["state"] == "completed"
        assert await fleet.history(one) == []


async def test_a_plan_with_an_event_of_a_newer_release_does_not_stop_the_others_of_its_shard(
    database: TestDatabase,
) -> None:
    one, other = two_of_a_shard()
    async with fleet_of(database, done) as fleet:
        await asyncio.gather(fleet.create(one, [task(1)]), fleet.create(other, [task(1)]))
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        changed = "UPDATE haas.events SET schema_version = 99 WHERE stream = %s AND version = 1"
        connection.execute(changed, (f"plan/{one}",))
    # Another owner has to fold them.
    async with fleet_of(database, done) as fleet:
        with pytest.raises(errors.InternalError):
            await fleet.command(one, "run", "r")
        await fleet.command(other, "run", "r")
        assert (await fleet.over(other))["state"] == "completed"


async def test_an_owner_whose_lease_was_taken_over_can_never_write(database: TestDatabase) -> None:
    async with fleet_of(database, done) as fleet:
        plan_id = "pl-00000005"
        await fleet.create(plan_id, [task(1)])
        name = f"shard/{shard_of(SCOPE.tenant_id, SCOPE.project_id, plan_id)}"
        lease = fleet.keeper._held[name][0]
        stale = Lease(name, lease.epoch - 1)
        before = await fleet.history(plan_id)
        with pytest.raises(errors.LeaseLost):
            async with fleet.database.batch_tx(stale, [SCOPE]) as tx:
                await append(tx, [NewEvent(SCOPE, f"plan/{plan_id}", "PlanStarted", {}, "old")], stale)
        assert await fleet.history(plan_id) == before


async def test_an_owner_whose_lease_was_taken_over_takes_no_slot_gives_none_back_and_answers_nobody(
    database: TestDatabase,
) -> None:
    plan_id = "pl-00000006"
    async with fleet_of(database, done) as fleet:
        await fleet.create(plan_id, [task(1)])
        number = shard_of(SCOPE.tenant_id, SCOPE.project_id, plan_id)
        lease = fleet.keeper._held[f"shard/{number}"][0]
        mine = PlanLog(number, lease, fleet.database)
        stale = PlanLog(number, Lease(lease.name, lease.epoch - 1), fleet.database)
        late, held = (SlotWish(SCOPE, plan_id, name, (("p-main", name, 1),)) for name in ("T-1", "T-2"))
        asked = Command(SCOPE, plan_id, "r-late", "run", {}, "ana", "")
        assert await mine.take_slots([held]) == {held.holder}
        tool = Trip(SCOPE, "shop.count", works=False)
        for write in (
            stale.take_slots([late]),
            stale.load([(SCOPE, plan_id)], {}),
            stale.commit(Commit(decided=[(asked, {"state": "running", "events": 0})])),
            stale.commit(Commit(trips=[tool])),
        ):
            with pytest.raises(errors.LeaseLost):
                await write
        async with fleet.database.tenant_tx(SCOPE) as tx:
            rows = await tx.all(Query("slots", "", "SELECT task_id FROM task_slots"))
            assert [row["task_id"] for row in rows] == ["T-2"]
            assert await store.known_breakers(tx) == []
        # The task does not run: the owner gives back what it holds.
        await mine.load([(SCOPE, plan_id)], {})
        async with fleet.database.tenant_tx(SCOPE) as tx:
            assert await tx.all(Query("slots", "", "SELECT task_id FROM task_slots")) == []


async def test_many_plans_of_many_shards_complete_side_by_side(database: TestDatabase) -> None:
    chance = random.Random(7)

    async def work(assignment: Assignment) -> dict[str, str]:
        await asyncio.sleep(chance.random() / 1000)
        return await done(assignment)

    plans = [f"pl-{n:08d}" for n in range(100, 140)]
    async with fleet_of(database, work) as fleet:
        await asyncio.gather(*(fleet.create(p, [task(1), task(2, 1), task(3, 1), task(4, 2, 3)]) for p in plans))
        await asyncio.gather(*(fleet.command(p, "run", "r") for p in plans))
        ends = await asyncio.gather(*(fleet.over(p) for p in plans))
        whole = Query("whole", "", "SELECT seq FROM events ORDER BY seq")
        async with fleet.database.tenant_tx(SCOPE) as tx:
            seqs = [r["seq"] for r in await tx.all(whole)]
    assert {row["state"] for row in ends} == {"completed"}
    assert json.dumps(seqs) == json.dumps(list(range(1, len(seqs) + 1)))


async def test_a_failure_that_no_line_of_a_batch_can_hold_stands_in_the_read_model_as_it_is(
    database: TestDatabase,
) -> None:
    said = "a\x1fb, c\x1ed\x1df"

    async def work(assignment: Assignment) -> dict[str, str]:
        raise errors.ToolFailed(said, tool="x")

    query = Query("failure", "", "SELECT failure FROM tasks_read WHERE plan_id = %(id)s AND task_id = 'T-1'")
    async with fleet_of(database, work) as fleet:
        await fleet.create("pl-00000041", [task(1, attempts_max=1), task(2, 1)])
        await fleet.command("pl-00000041", "run", "r")
        row = await fleet.over("pl-00000041")
        async with fleet.database.tenant_tx(SCOPE) as tx:
            assert (await tx.one(query, id="pl-00000041"))["failure"] == said
    assert row["state"] == "failed"
    assert said in str(row["failure"])


async def test_nothing_is_written_under_a_key_that_was_destroyed_since_it_was_used(database: TestDatabase) -> None:
    async def work(assignment: Assignment) -> Made:
        return Made(values={slot.name: "private" for slot in assignment.task.writes})

    keys = (
        "SELECT DISTINCT payload #>> '{values,$sealed}' FROM haas.events"
        " WHERE stream = %s AND event_type = 'TaskCompleted'"
    )
    async with fleet_of(database, work) as fleet:
        used = []
        for plan_id in ("pl-00000042", "pl-00000043"):
            await fleet.create(plan_id, [task(1)], request_id=f"c-{plan_id}")
            await fleet.command(plan_id, "run", f"r-{plan_id}")
            assert (await fleet.over(plan_id))["state"] == "completed"
            with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
                used += [row[0] for row in admin.execute(keys, (f"plan/{plan_id}",)).fetchall()]
                admin.execute(
                    "UPDATE haas.data_keys SET wrapped = NULL, destroyed_at = now() WHERE destroyed_at IS NULL"
                )
    assert len(used) == len(set(used)) == 2
