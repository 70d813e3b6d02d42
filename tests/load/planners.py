"""A planner without its network, on the benchmark's server: the real leases, shards, log and operations."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from haas_common.db import Database, Lease, Scope
from haas_common.db.queries import Query
from haas_common.doorbell import Doorbell
from haas_common.ids import SHARDS, shard_of
from haas_common.leases import LeaseKeeper
from haas_planner.attempts import Assignment, Attempts, Made, Result
from haas_planner.domain import task_to_json
from haas_planner.domain.templates import template_task
from haas_planner.graph import Slot, Task
from haas_planner.log import PlanLog
from haas_planner.operations import Operations
from haas_planner.server import tune_interpreter
from haas_planner.snapshots import Folded
from haas_planner.store import Command, load_plan
from haas_planner.worker import Shard
from tests.load.dags import Dag
from tests.load.databases import Bench
from tests.load.engines.runs import Run

#: Attempts that do nothing are not held back by the room of those that wait for models and tools.
ROOM = 1024
POOL_MAX = 8
#: A run that takes longer has failed.
RUN_LIMIT_S = 90.0
FACTS: dict[str, Any] = {
    "objective": "To do nothing.", "intent": "bench", "language": "en", "slots": {}, "brief_artifact_id": "",
    "profile_id": "bench", "profile_version": 1, "goals": [], "inputs": [],
}  # fmt: skip
_TRACE = "1" * 32
_STATE = Query(
    "bench_plan_state",
    "",
    "SELECT state, tasks_by_state FROM plans WHERE tenant_id = %(t)s AND project_id = %(p)s AND plan_id = %(id)s",
)
_COMPLETED = Query(
    "bench_completed",
    "",
    "SELECT task_id FROM events WHERE tenant_id = %(t)s AND project_id = %(p)s AND plan_id = %(id)s"
    " AND event_type = 'TaskCompleted' ORDER BY seq",
)
# A plan's id is used once, however many planners there are in turn.
_NUMBERS = itertools.count(1)
_OVER = frozenset({"completed", "failed", "cancelled"})


#: Kinds of tasks that do nothing: by an attempt each, or as a transform that the decision itself does.
KINDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "specialist": ("bench.nothing", {}), "transform": ("transform", {"expression": "`1`"})
}  # fmt: skip


def tasks_of(dag: Dag, kind: str = "specialist") -> list[Task]:
    """Returns a plan's tasks with typed contracts; each writes one value, which stands in its event, sealed."""
    skill, params = KINDS[kind]
    return [
        Task(
            task_id, kind, skill, "", "bench",
            tuple(Slot(_slot(read), "value.x", read) for read in reads), (Slot(_slot(task_id), "value.x"),), params,
        )
        for task_id, reads in dag.tasks
    ]  # fmt: skip


def _slot(task_id: str) -> str:
    return "v" + task_id.removeprefix("T-")


def tenants(bench: Bench, number: int) -> list[Scope]:
    """Makes so many tenants, if they are not there, each with a project."""
    found = [Scope(f"t-many-{n}", "p-bench") for n in range(number)]
    with psycopg.connect(bench.admin_dsn, autocommit=True) as admin:
        for scope in found:
            admin.execute("INSERT INTO haas.tenants (tenant_id) VALUES (%s) ON CONFLICT DO NOTHING", (scope.tenant_id,))
            admin.execute(
                "INSERT INTO haas.projects (tenant_id, project_id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (scope.tenant_id, scope.project_id),
            )
    return found


@dataclass(slots=True)
class Planner:
    """The engine in this process.

    Attributes:
        shards: The shards that it owns.
        remote: What an attempt waits for; nothing unless it is given.
    """

    database: Database
    doorbell: Doorbell
    operations: Operations
    shards: dict[int, Shard] = field(default_factory=dict)
    remote: Callable[[Assignment], Awaitable[None]] | None = None
    _runs: dict[str, Run] = field(default_factory=dict)
    _ran: dict[str, asyncio.Event] = field(default_factory=dict)

    async def work(self, assignment: Assignment) -> Result:
        """An attempt that does nothing but say when it ran; a map's expands into as many as it is told."""
        task = assignment.task
        if task.kind == "map" and assignment.phase == "run":
            item = task.control["item"]
            numbers = range(1, task.params["items"] + 1)
            # As the product does (haas_planner.doing): not on the loop.
            return await asyncio.to_thread(lambda: [template_task(task, item, n, {"index": n - 1}) for n in numbers])
        if self.remote is not None:
            await self.remote(assignment)
        run = self._runs.get(assignment.plan_id)
        if run is not None:
            run.task(task.task_id)
            if run.done:
                self._ran[assignment.plan_id].set()
        return Made(values={task.writes[0].name: 1})

    def name(self, shard: int | None = None, scope: Scope | None = None) -> str:
        """Returns a new plan's id, of a certain shard where one is given."""
        while True:
            plan_id = f"pl-{next(_NUMBERS):08d}"
            if shard is None or scope is None or shard_of(scope.tenant_id, scope.project_id, plan_id) == shard:
                return plan_id

    async def create(self, scope: Scope, plan_id: str, tasks: Sequence[Task]) -> None:
        """Creates a plan."""
        body = {"facts": FACTS, "tasks": [task_to_json(task) for task in tasks]}
        command = Command(scope, plan_id, f"create-{plan_id}", "create", body, "bench", _TRACE)
        await self.operations.decide(command, must_exist=False)

    async def start(self, scope: Scope, plan_id: str) -> None:
        """Runs a plan: returns when it is running, not when it is done."""
        await self.operations.command(Command(scope, plan_id, f"run-{plan_id}", "run", {}, "bench", _TRACE))

    async def drafted(
        self, scope: Scope, dag: Dag, shard: int | None = None, kind: str = "specialist"
    ) -> tuple[Scope, str, Run]:
        """Creates a plan of a shape, ready to run."""
        plan_id = self.name(shard, scope)
        await self.create(scope, plan_id, tasks_of(dag, kind))
        run = Run(dag, RUN_LIMIT_S)
        if kind == "specialist":
            self._runs[plan_id], self._ran[plan_id] = run, asyncio.Event()
        return scope, plan_id, run

    async def run(self, scope: Scope, plan_id: str, run: Run) -> Run:
        """Runs a plan from its RunPlan until PlanCompleted is in its read model."""
        run.begin()
        await self.start(scope, plan_id)
        async with asyncio.timeout(RUN_LIMIT_S):
            if plan_id in self._runs:
                await self._ran[plan_id].wait()
            await self.over(scope, plan_id)
        run.end(is_checked=plan_id in self._runs)
        self._runs.pop(plan_id, None)
        self._ran.pop(plan_id, None)
        return run

    async def told(self, scope: Scope, plan_id: str, run: Run) -> None:
        """Checks a run by its history: each task was completed once, after what it reads.

        Raises:
            RuntimeError: it was not.
        """
        async with self.database.tenant_tx(scope) as tx:
            rows = await tx.all(_COMPLETED, t=scope.tenant_id, p=scope.project_id, id=plan_id)
        for row in rows:
            run.task(row["task_id"])
        run.check()

    async def over(self, scope: Scope, plan_id: str) -> None:
        """Returns once the read model has a plan's end."""
        with self.doorbell.bell("events") as bell:
            while await self._state(scope, plan_id) not in _OVER:
                await bell.wait(0.2)

    async def until(self, scope: Scope, plan_id: str, completed: int) -> None:
        """Returns once the read model shows that many completed tasks."""
        with self.doorbell.bell("events") as bell:
            while (await self._row(scope, plan_id))["tasks_by_state"].get("completed", 0) < completed:
                await bell.wait(0.2)

    async def pause(self, scope: Scope, plan_id: str) -> None:
        """Starts no more of a plan's tasks; returns once none runs."""
        await self.operations.command(Command(scope, plan_id, f"pause-{plan_id}", "pause", {}, "bench", _TRACE))
        with self.doorbell.bell("events") as bell:
            while (await self._row(scope, plan_id))["tasks_by_state"].get("running", 0):
                await bell.wait(0.2)

    async def _state(self, scope: Scope, plan_id: str) -> str:
        return str((await self._row(scope, plan_id))["state"])

    async def _row(self, scope: Scope, plan_id: str) -> dict[str, Any]:
        async with self.database.tenant_tx(scope) as tx:
            return await tx.one(_STATE, t=scope.tenant_id, p=scope.project_id, id=plan_id)

    async def together(self, scopes: Sequence[Scope], dag: Dag, kind: str = "specialist") -> tuple[float, list[Run]]:
        """Runs a plan of a shape for each scope at once; returns tasks a second of all, and the runs."""
        drafted = [await self.drafted(scope, dag, kind=kind) for scope in scopes]
        began = time.perf_counter()
        runs = await asyncio.gather(*(self.run(*one) for one in drafted))
        took_s = time.perf_counter() - began
        if kind != "specialist":
            for one in drafted:
                await self.told(*one)
        return len(scopes) * len(dag.tasks) / took_s, list(runs)


async def taken_up(bench: Bench, scope: Scope, plan_id: str) -> tuple[float, Folded]:
    """Folds a plan as the next owner of its shard does; returns how long that took, in seconds, and the plan."""
    database = await Database.open(bench.app_dsn, bench.context_key, "haas-bench", data_key=bench.data_key)
    try:
        began = time.perf_counter()
        async with database.tenant_tx(scope, timeout_s=60) as tx:
            folded = await load_plan(tx, scope, plan_id)
        return time.perf_counter() - began, folded
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def planner(bench: Bench, observe: Callable[[Planner], None] | None = None) -> AsyncIterator[Planner]:
    """Yields a planner that owns every shard; `observe` sees it before anything runs."""
    tune_interpreter()
    database, callers = [
        await Database.open(bench.app_dsn, bench.context_key, name, data_key=bench.data_key, pool_max=POOL_MAX)
        for name in ("haas-bench", "haas-bench-callers")
    ]
    doorbell = Doorbell(database)
    await doorbell.start()
    # A hundred callers at once wait among themselves, not before the shards.
    made = Planner(callers, doorbell, Operations(callers, doorbell))
    attempts, owned = Attempts(made.work, ROOM), asyncio.Event()

    async def own(lease: Lease) -> None:
        number = int(lease.name.removeprefix("shard/"))
        made.shards[number] = Shard(lease.name, PlanLog(number, lease, database), doorbell, attempts)
        if len(made.shards) == SHARDS:
            owned.set()
        await made.shards[number].run()

    keeper = LeaseKeeper(database, "bench", [f"shard/{n}" for n in range(SHARDS)], own)
    if observe is not None:
        observe(made)
    await keeper.start()
    try:
        async with asyncio.timeout(30):
            await owned.wait()
        yield made
    finally:
        await keeper.stop()
        await attempts.stop()
        await doorbell.stop()
        await callers.close()
        await database.close()
