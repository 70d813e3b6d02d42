"""What is asked of a plan beside run and cancel, on the real engine: roles, revisions, forks, diffs, estimates."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from haas_common import clock, errors
from haas_common.db.queries import Query
from haas_planner.agents.store import add_results
from haas_planner.attempts import Assignment
from haas_planner.control import Asked, Control
from haas_planner.graph import Graph, Input, Policy, Slot, Task, task_to_json
from haas_planner.store import Command
from tests.integration.conftest import TestDatabase
from tests.integration.test_planner_shard import SCOPE, Fleet, fleet_of

PLAN, FORK = "pl-00000001", "pl-00000002"
PROFILE = Path("examples/medluxe/profile.yaml").read_text(encoding="utf-8")
BRIEF = Input("brief", "doc.brief", "artf-brief")
STATES = Query("states", "", "SELECT task_id, status FROM tasks_read WHERE plan_id = %(id)s")
TOLD = Query(
    "told", "", "SELECT version, event_type, task_id, payload FROM events WHERE stream = %(s)s ORDER BY version"
)


def task(task_id: str, skill: str, reads: tuple[Slot, ...], *writes: tuple[str, str], kind: str = "specialist") -> Task:
    return Task(task_id, kind, skill, skill, "agent", reads, tuple(Slot(n, t) for n, t in writes), {}, 1, 5)


COPY = task("T-1", "copy.draft", (Slot("brief", "doc.brief"),), ("copy", "doc.copy"))
CHECK = task("T-2", "brand.check", (Slot("copy", "doc.copy", "T-1"),), ("brand_check", "doc.brand_check"))
FAQ = task("T-3", "faq.answer", (Slot("brief", "doc.brief"),), ("faq", "doc.faq"))
GRAPH = (COPY, CHECK, FAQ)
APPROVAL = Task(
    "T-4", "approval", "approval", "Approve", "", (), (Slot("approved", "value.approval"),),
    control={"role": "admin", "text": "All well?", "expires_s": 3600},
)  # fmt: skip


@dataclasses.dataclass
class World:
    """A planner whose tasks wait until they are let go, one by one."""

    fleet: Fleet
    control: Control
    ran: list[str]
    held: dict[str, asyncio.Event]

    async def create(self, *tasks: Task, plan_id: str = PLAN, **more: object) -> None:
        facts = {
            "objective": "o", "intent": "i", "language": "es", "slots": {}, "brief_artifact_id": "artf-brief",
            "profile_id": "medluxe_v1", "profile_version": 1, "goals": ["doc.copy"],
            "inputs": [[BRIEF.name, BRIEF.type, BRIEF.ref]], **more,
        }  # fmt: skip
        body = {"facts": facts, "tasks": [task_to_json(t) for t in tasks]}
        await self.fleet.operations.decide(
            Command(SCOPE, plan_id, "r-create", "create", body, "ana", ""), must_exist=False
        )

    async def say(self, kind: str, request_id: str = "", plan_id: str = PLAN, **body: object) -> str:
        command = Command(SCOPE, plan_id, request_id or f"r-{kind}", kind, body, "ana", "")
        return str((await self.fleet.operations.decide(command, must_exist=True))["state"])

    async def until(self, plan_id: str = PLAN, **wanted: str) -> None:
        """Waits until tasks (T_1="completed") stand where they should."""
        with self.fleet.doorbell.bell("events") as bell:
            async with asyncio.timeout(20):
                while True:
                    async with self.fleet.database.tenant_tx(SCOPE) as tx:
                        rows = {r["task_id"]: r["status"] for r in await tx.all(STATES, id=plan_id)}
                    if {t: rows.get(t.replace("_", "-")) for t in wanted} == wanted:
                        return
                    await bell.wait(0.5)

    async def told(self, type_: str, plan_id: str = PLAN) -> list[dict[str, object]]:
        async with self.fleet.database.tenant_tx(SCOPE) as tx:
            return [r for r in await tx.all(TOLD, s=f"plan/{plan_id}") if r["event_type"] == type_]

    def let(self, *task_ids: str) -> None:
        for task_id in task_ids:
            self.held.setdefault(task_id, asyncio.Event()).set()


def asked(request_id: str, *roles: str, plan_id: str = PLAN) -> Asked:
    return Asked(SCOPE, plan_id, request_id, "ana", "", roles or ("member",))


@contextlib.asynccontextmanager
async def world_of(database: TestDatabase) -> AsyncIterator[World]:
    ran: list[str] = []
    held: dict[str, asyncio.Event] = {}

    async def work(assignment: Assignment) -> dict[str, str]:
        task_id = assignment.task.task_id
        ran.append(f"{assignment.plan_id}/{task_id}")
        await held.setdefault(task_id, asyncio.Event()).wait()
        return {slot.name: f"artf-{assignment.plan_id}-{slot.name}" for slot in assignment.task.writes}

    async with fleet_of(database, work) as fleet:
        with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO haas.profiles (tenant_id, project_id, profile_id, version, yaml, hash)"
                " VALUES ('t-one', 'p-main', 'medluxe_v1', 1, %s, 'h')",
                (PROFILE,),
            )
        yield World(fleet, Control(fleet.operations, fleet.database), ran, held)


@pytest.fixture
async def world(database: TestDatabase) -> AsyncIterator[World]:
    async with world_of(database) as found:
        yield found


# ── Roles ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_approval_is_decided_by_whoever_holds_its_role_and_by_nobody_else(world: World) -> None:
    await world.create(APPROVAL)
    await world.say("run")
    with pytest.raises(errors.ApprovalRoleMissing) as refused:
        await world.control.decide(asked("r-1", "member", "viewer"), "T-4", True, "")
    assert (refused.value.metadata["role"], refused.value.metadata["task"]) == ("admin", "T-4")
    answer = await world.control.decide(asked("r-2", "member", "admin"), "T-4", True, "well done")
    assert answer["state"] == "completed"
    assert await world.control.decide(asked("r-2", "member", "admin"), "T-4", True, "well done") == answer
    (decided,) = await world.told("ApprovalDecided")
    assert (decided["payload"]["role"], decided["payload"]["approved"]) == ("admin", True)
    with pytest.raises(errors.RequestIdReused):
        await world.control.decide(asked("r-2", "admin"), "T-4", False, "")


async def test_a_task_that_is_not_there_cannot_be_decided(world: World) -> None:
    await world.create(APPROVAL)
    await world.say("run")
    with pytest.raises(errors.ResourceNotFound) as refused:
        await world.control.decide(asked("r-1", "admin"), "T-9", True, "")
    assert refused.value.metadata["resource"] == "task"
    with pytest.raises(errors.ResourceNotFound):
        await world.control.decide(asked("r-1", "admin", plan_id=FORK), "T-4", True, "")


async def test_an_approval_is_left_out_changed_or_removed_only_in_its_role(world: World) -> None:
    await world.create(FAQ, APPROVAL)
    await world.say("run")
    with pytest.raises(errors.ApprovalRoleMissing):
        await world.control.skip(asked("r-1"), "T-4", "no time", "", {}, {})
    with pytest.raises(errors.ApprovalRoleMissing):
        await world.control.replan(asked("r-2"), [], ["T-4"], "no time")
    with pytest.raises(errors.ApprovalRoleMissing):
        await world.control.skip(asked("r-3"), "T-3", "no time", "admin", {}, {})
    await world.control.skip(asked("r-4", "admin"), "T-4", "no time", "", {}, {"approved": {"approved": True}})
    (skipped,) = await world.told("TaskSkipped")
    assert skipped["payload"]["role"] == "admin"


async def test_what_is_given_in_place_of_a_tasks_values_keeps_its_contract(world: World) -> None:
    value = dataclasses.replace(
        task("T-5", "faq.answer", (), ("total", "value.total")),
        schemas={"total": {"type": "object", "required": ["sum"], "properties": {"sum": {"type": "number"}}}},
    )
    await world.create(FAQ, value)
    await world.say("run")
    broken = [
        ("T-5", {}, {"total": {"sum": "seven"}}, "total/sum"),
        ("T-5", {}, {"other": {}}, "other"),
        ("T-5", {"total": "artf-brief"}, {}, "total"),
        ("T-3", {}, {"faq": {}}, "faq"),
    ]
    for number, (task_id, outputs, values, field) in enumerate(broken):
        with pytest.raises((errors.ContractBroken, errors.ResourceNotFound)) as refused:
            await world.control.skip(asked(f"r-{number}"), task_id, "r", "", outputs, values)
        if isinstance(refused.value, errors.ContractBroken):
            assert (refused.value.metadata["task"], refused.value.metadata["field"]) == (task_id, field)
    with pytest.raises(errors.ResourceNotFound) as gone:
        await world.control.skip(asked("r-9"), "T-3", "r", "", {"faq": "artf-nobody"}, {})
    assert gone.value.metadata["resource"] == "artifact"
    assert (await world.control.skip(asked("r-10"), "T-5", "r", "", {}, {"total": {"sum": 7}}))["state"] == "running"


# ── Another graph ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_revision_is_checked_as_a_whole_and_done_once(world: World) -> None:
    await world.create(*GRAPH)
    await world.say("run")
    await world.until(T_1="running")
    reads = (Slot("copy", "doc.copy", "T-1"), Slot("copy_b", "doc.copy", "T-6"))
    both = dataclasses.replace(CHECK, reads=reads)
    second = task("T-6", "copy.draft", (Slot("brief", "doc.brief"),), ("copy_b", "doc.copy"))
    for number, (tasks, removed, reason) in enumerate(
        [
            ([both], [], errors.GraphDangling),
            ([dataclasses.replace(CHECK, skill="no.skill")], [], errors.GraphInvalid),
            ([dataclasses.replace(COPY, title="again")], [], errors.TaskStateConflict),
            ([], ["T-1"], errors.GraphDangling),
            ([], ["T-99"], errors.ResourceNotFound),
            ([], [], errors.FieldInvalid),
            ([both], ["T-2"], errors.FieldInvalid),
        ]
    ):
        with pytest.raises(reason):
            await world.control.replan(asked(f"r-{number}"), tasks, removed, "why")
    assert (await world.told("PlanReplanned")) == []
    answer = await world.control.replan(asked("r-replan"), [both, second], [], "two drafts are checked")
    assert answer["state"] == "running"
    world.let("T-1", "T-2", "T-3", "T-6")
    assert (await world.fleet.over(PLAN))["state"] == "completed"
    # The plan has moved on: what is asked again would now be refused, and is answered as before.
    assert await world.control.replan(asked("r-replan"), [both, second], [], "two drafts are checked") == answer
    assert len(await world.told("PlanReplanned")) == 1
    with pytest.raises(errors.RequestIdReused):
        await world.control.replan(asked("r-replan"), [second], [], "another")


async def test_a_diff_names_what_a_revision_changed(world: World) -> None:
    await world.create(*GRAPH)
    first = await world.control.diff(SCOPE, PLAN, 0, 0)
    assert (first.from_revision, first.to_revision, first.unchanged) == (1, 1, 3)
    await world.control.replan(asked("r-1"), [dataclasses.replace(FAQ, title="Other")], ["T-2"], "why")
    for bounds in [(0, 0), (1, 2), (0, 2), (1, 0)]:
        diff = await world.control.diff(SCOPE, PLAN, *bounds)
        assert [t.task_id for t in diff.removed] == ["T-2"]
        assert [(c.after.task_id, c.fields, c.after.title) for c in diff.changed] == [("T-3", ("title",), "Other")]
        assert (diff.from_revision, diff.to_revision) == (1, 2)
    back = await world.control.diff(SCOPE, PLAN, 2, 1)
    assert [t.task_id for t in back.added] == ["T-2"]
    for bounds in [(3, 0), (1, 9)]:
        with pytest.raises(errors.ResourceNotFound) as refused:
            await world.control.diff(SCOPE, PLAN, *bounds)
        assert refused.value.metadata["resource"] == "revision"
    with pytest.raises(errors.ResourceNotFound):
        await world.control.diff(SCOPE, FORK, 0, 0)


# ── Forks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_fork_takes_over_what_was_complete_at_its_event_and_does_the_rest(world: World) -> None:
    await world.create(*GRAPH, budget={"tokens": 1000})
    await world.say("run")
    world.let("T-1", "T-3")
    await world.until(T_1="completed", T_2="running", T_3="completed")
    completed = {row["task_id"]: row["version"] for row in await world.told("TaskCompleted")}
    made = await world.control.fork(asked("r-fork", plan_id=FORK), PLAN, completed["T-1"])
    assert made.forked_at == completed["T-1"]
    assert made.state == "created"
    assert set(made.done) == {t for t, version in completed.items() if version <= completed["T-1"]}
    assert [t.task_id for t in made.graph.tasks] == ["T-1", "T-2", "T-3"]
    (created,) = await world.told("PlanCreated", FORK)
    assert (created["payload"]["forked_from"], created["payload"]["forked_at"]) == (PLAN, completed["T-1"])
    assert created["payload"]["budget"]["tokens"] == 1000
    world.let("T-2")
    await world.say("run", plan_id=FORK)
    assert (await world.fleet.over(FORK))["state"] == "completed"
    assert f"{FORK}/T-1" not in world.ran
    diff = await world.control.diff(SCOPE, PLAN, 0, 0, FORK)
    assert (diff.added, diff.removed, diff.changed, diff.unchanged) == ((), (), (), 3)


async def test_the_same_fork_asked_for_again_is_the_one_that_was_made(world: World) -> None:
    await world.create(*GRAPH)
    await world.say("run")
    await world.until(T_1="running")
    made = await world.control.fork(asked("r-fork", plan_id=FORK), PLAN, 0)
    assert made.done == ()
    world.let("T-1", "T-2", "T-3")
    await world.fleet.over(PLAN)
    again = await world.control.fork(asked("r-fork", plan_id=FORK), PLAN, 0)
    assert (again.forked_at, again.done) == (made.forked_at, ())
    with pytest.raises(errors.RequestIdReused):
        await world.control.fork(asked("r-fork", plan_id=FORK), PLAN, made.forked_at + 1)


async def test_a_fork_needs_a_plan_and_an_event_of_it(world: World) -> None:
    await world.create(*GRAPH)
    with pytest.raises(errors.ResourceNotFound):
        await world.control.fork(asked("r-1", plan_id=FORK), "pl-99999999", 0)
    for version in (1, 1_000):
        with pytest.raises(errors.FieldInvalid) as refused:
            await world.control.fork(asked("r-1", plan_id=FORK), PLAN, version)
        assert refused.value.metadata["field"] == "at_version"


async def test_a_fork_of_a_plan_that_is_complete_is_complete_once_it_runs(world: World) -> None:
    await world.create(*GRAPH)
    world.let("T-1", "T-2", "T-3")
    await world.say("run")
    await world.fleet.over(PLAN)
    made = await world.control.fork(asked("r-fork", plan_id=FORK), PLAN, 0)
    assert len(made.done) == 3
    assert await world.say("run", plan_id=FORK) == "completed"
    assert [one for one in world.ran if one.startswith(FORK)] == []


# ── Estimates ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_plan_is_estimated_by_what_it_still_has_to_do(world: World) -> None:
    costly = [dataclasses.replace(t, policy=Policy(tokens_max=100)) for t in GRAPH]
    await world.create(*costly, budget={"tokens": 250})
    whole = await world.control.estimate_plan(SCOPE, PLAN, None)
    assert (whole.expected.tokens, whole.expected.seconds, whole.critical_path) == (300, 10, ("T-1", "T-2"))
    assert (whole.exceeds, whole.tasks) == (("tokens",), 3)
    await world.say("run")
    world.let("T-1")
    await world.until(T_1="completed")
    rest = await world.control.estimate_plan(SCOPE, PLAN, {"tokens": 199})
    assert (rest.expected.tokens, rest.tasks, rest.exceeds) == (200, 2, ("tokens",))
    with pytest.raises(errors.ResourceNotFound):
        await world.control.estimate_plan(SCOPE, FORK, None)


async def test_an_estimate_goes_by_what_the_skill_took_before(world: World) -> None:
    await world.create(*GRAPH)
    rows = [("agent-1", 3, 1, 8_000, 400), ("agent-2", 0, 4, 16_000, 0)]
    results = [
        {
            "tenant_id": SCOPE.tenant_id, "project_id": SCOPE.project_id, "agent_id": agent, "skill": "copy.draft",
            "day": clock.utc_now().date().isoformat(), "completed": completed, "failed": failed, "duration_ms": took,
            "tokens": tokens, "money_micros": 0, "updated_at": clock.utc_now().isoformat(),
        }
        for agent, completed, failed, took, tokens in rows
    ]  # fmt: skip
    async with world.fleet.database.tenant_tx(SCOPE) as tx:
        await add_results(tx, results)
    found = await world.control.estimate_plan(SCOPE, PLAN, None)
    assert (found.measured, found.tasks) == (1, 3)
    assert (found.expected.tokens, found.expected.work_seconds) == (50, 3 + 5 + 5)


async def test_a_graph_is_checked_before_it_is_estimated(world: World) -> None:
    await world.create(COPY)  # its decision says that the shards are at work
    found = await world.control.estimate_graph(SCOPE, Graph(GRAPH, (BRIEF,)), "", None)
    assert (found.tasks, found.expected.work_seconds, found.budget) == (3, 15, {})
    with pytest.raises(errors.GraphDangling):
        await world.control.estimate_graph(SCOPE, Graph(GRAPH), "", None)
    with pytest.raises(errors.ProfileMissing):
        await world.control.estimate_graph(SCOPE, Graph(GRAPH, (BRIEF,)), "other_v1", None)
