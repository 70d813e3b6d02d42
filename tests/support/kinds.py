"""A planner without its network for plans of every kind: real shards, worker, artifacts, database; made-up tools."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

from haas_common.artifacts.store import ArtifactStore
from haas_common.blobs import BlobStore
from haas_common.db import Database, Lease, Scope
from haas_common.db.queries import Query
from haas_common.doorbell import Doorbell
from haas_common.ids import SHARDS
from haas_common.leases import LeaseKeeper
from haas_common.models import OfflineEngine
from haas_planner import store
from haas_planner.attempts import Assignment, Attempts
from haas_planner.domain import Plan
from haas_planner.graph import Policy, Slot, Task, task_to_json
from haas_planner.log import PlanLog
from haas_planner.operations import Operations
from haas_planner.skills.registry import tools_of
from haas_planner.store import Command
from haas_planner.work import Worker
from haas_planner.worker import Shard
from tests.support.keys import fleet_keys

SCOPE = Scope("t-one", "p-main")
PROFILE = """profile_id: one_v1
language: en
policies:
  tools_allowed: [shop.order, shop.cancel, shop.other, shop.count]
  breaker: {failures: 2, cool_down_s: 3}
"""
_EVENTS = Query("events", "", "SELECT event_type, task_id, payload FROM events WHERE stream = %(s)s ORDER BY version")
_COMMITS = Query("commits", "", "SELECT count(DISTINCT recorded_at) AS n FROM events WHERE stream = %(s)s")
_PLAN = Query("plan", "", "SELECT state, failure, tasks_by_state FROM plans WHERE plan_id = %(id)s")
_TASKS = Query("tasks", "", "SELECT task_id, status, attempt, artifact_ids FROM tasks_read WHERE plan_id = %(id)s")
_BREAKERS = Query("breakers", "", "SELECT event_type FROM events WHERE stream = %(s)s ORDER BY version")
Tool = Callable[[str, dict[str, Any], Assignment], Awaitable[dict[str, Any]]]


def task(
    number: int,
    kind: str,
    reads: Sequence[Slot] = (),
    *,
    skill: str = "",
    writes: str = "value.x",
    params: Mapping[str, Any] | None = None,
    control: Mapping[str, Any] | None = None,
    schemas: Mapping[str, Any] | None = None,
    attempts_max: int = 3,
    attempt_limit_s: int = 20,
    **policy: Any,
) -> Task:
    """A task T-<number> that writes v<number>."""
    return Task(
        f"T-{number}", kind, skill or kind, f"task {number}", f"agent-{number}", tuple(reads),
        (Slot(f"v{number}", writes),), dict(params or {}), attempts_max, attempt_limit_s, Policy(**policy),
        dict(control or {}), dict(schemas or {}),
    )  # fmt: skip


def of(number: int, type_: str = "value.x") -> Slot:
    """What T-<number> writes, as another task reads it."""
    return Slot(f"v{number}", type_, f"T-{number}")


def constant(number: int, value: str, reads: Sequence[Slot] = (), **more: Any) -> Task:
    """A transform that gives a JSON literal, e.g. '[1, 2]'."""
    return task(number, "transform", reads, params={"expression": f"`{value}`"}, **more)


def tried(number: int, value: str, reads: Sequence[Slot] = (), **more: Any) -> Task:
    """The same by an attempt: it reserves a budget, so that no decision does it by itself."""
    return constant(number, value, reads, tokens_max=1, **more)


class _Worker(Worker):
    """The real worker; what would go to the MCP service goes to a function."""

    def __init__(self, database: Database, artifacts: ArtifactStore, tool: Tool) -> None:
        super().__init__(database, artifacts, None, None, lambda _profile: OfflineEngine())  # type: ignore[arg-type]
        self._tool = tool

    async def call_tool(self, assignment: Any, tool: str, arguments: dict[str, Any], number: int) -> dict[str, Any]:
        return await self._tool(tool, arguments, assignment)


class Planner:
    """The planner, and what its plans became."""

    def __init__(self, database: Database, doorbell: Doorbell, attempts: Attempts) -> None:
        self.database = database
        self.doorbell = doorbell
        self.attempts = attempts
        self.operations = Operations(database, doorbell)
        self.scope = SCOPE

    def of(self, scope: Scope) -> "Planner":
        """The same planner as another tenant's or project's people see it."""
        found = Planner(self.database, self.doorbell, self.attempts)
        found.scope = scope
        return found

    async def create(self, plan_id: str, tasks: Sequence[Task], **facts: Any) -> str:
        whole = {
            "objective": "o", "intent": "i", "language": "en", "slots": {}, "brief_artifact_id": "",
            "profile_id": "one_v1", "profile_version": 1, "goals": [], "inputs": [], "repairs_max": 3, **facts,
        }  # fmt: skip
        body = {"facts": whole, "tasks": [task_to_json(t) for t in tasks]}
        command = Command(self.scope, plan_id, "r-create", "create", body, "ana", "")
        return str((await self.operations.decide(command, must_exist=False))["state"])

    async def tell(self, plan_id: str, kind: str, request_id: str = "", **body: Any) -> str:
        command = Command(self.scope, plan_id, request_id or f"r-{kind}", kind, body, "ana", "")
        return await self.operations.command(command)

    async def start(self, plan_id: str, tasks: Sequence[Task], **facts: Any) -> None:
        await self.create(plan_id, tasks, **facts)
        await self.tell(plan_id, "run")

    async def until(self, plan_id: str, holds: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        """Waits until a plan's row is as wanted; the row has `tasks`: task → status."""
        with self.doorbell.bell("events") as bell:
            async with asyncio.timeout(30):
                while True:
                    async with self.database.tenant_tx(self.scope) as tx:
                        row = await tx.maybe(_PLAN, id=plan_id)
                        tasks = await tx.all(_TASKS, id=plan_id)
                    found = {**(row or {"state": ""}), "tasks": {t["task_id"]: t["status"] for t in tasks}}
                    found["artifacts"] = {t["task_id"]: t["artifact_ids"] for t in tasks}
                    found["attempts"] = {t["task_id"]: t["attempt"] for t in tasks}
                    if holds(found):
                        return found
                    await bell.wait(0.2)

    async def over(self, plan_id: str) -> dict[str, Any]:
        return await self.until(plan_id, lambda row: row["state"] in ("completed", "failed", "cancelled"))

    async def commits(self, plan_id: str) -> int:
        """In how many commits a plan's events came."""
        async with self.database.tenant_tx(self.scope) as tx:
            return int((await tx.one(_COMMITS, s=f"plan/{plan_id}"))["n"])

    async def history(self, plan_id: str) -> list[tuple[str, str, dict[str, Any]]]:
        async with self.database.tenant_tx(self.scope) as tx:
            return [(r["event_type"], r["task_id"], r["payload"]) for r in await tx.all(_EVENTS, s=f"plan/{plan_id}")]

    async def breakers(self, tool: str) -> list[str]:
        async with self.database.tenant_tx(self.scope) as tx:
            return [r["event_type"] for r in await tx.all(_BREAKERS, s=f"breaker/{tool}")]

    async def plan(self, plan_id: str) -> Plan:
        async with self.database.tenant_tx(self.scope) as tx:
            return (await store.load_plan(tx, self.scope, plan_id)).plan


async def no_tool(tool: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
    """Stands where a plan calls none."""
    raise AssertionError(f"nobody should call {tool}")


@contextlib.asynccontextmanager
async def planner_of(
    database: Any,
    folder: Path,
    tool: Tool = no_tool,
    profile: str = PROFILE,
    room: int = 16,
    shards: Sequence[int] = range(SHARDS),
) -> AsyncIterator[Planner]:
    """Runs a planner on a test's database, the owner of these shards."""
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO haas.tenants (tenant_id) VALUES ('t-one') ON CONFLICT DO NOTHING")
        connection.execute("INSERT INTO haas.projects VALUES ('t-one', 'p-main') ON CONFLICT DO NOTHING")
        connection.execute(
            "INSERT INTO haas.profiles VALUES ('t-one', 'p-main', 'one_v1', 1, %s, 'h1') ON CONFLICT DO NOTHING",
            (profile,),
        )
    keys = fleet_keys(folder / "secrets")
    opened = await Database.open(database.app_dsn, database.context_key, "test")
    doorbell = Doorbell(opened)
    await doorbell.start()
    worker = _Worker(opened, ArtifactStore(BlobStore(folder / "store"), keys), tool)
    attempts = Attempts(worker.do, limit=room)

    async def own(lease: Lease) -> None:
        number = int(lease.name.removeprefix("shard/"))
        await Shard(lease.name, PlanLog(number, lease, opened), doorbell, attempts, tools_of=tools_of).run()

    keeper = LeaseKeeper(opened, "planner@test", [f"shard/{n}" for n in shards], own)
    await keeper.start()
    try:
        yield Planner(opened, doorbell, attempts)
    finally:
        await keeper.stop()
        await attempts.stop()
        await doorbell.stop()
        await opened.close()
