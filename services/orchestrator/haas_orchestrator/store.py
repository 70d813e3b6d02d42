"""What the orchestrator reads and writes, a named query each."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from haas_common.artifacts import ArtifactRecord
from haas_common.db import Scope, Tx, load_queries
from haas_common.events import upcast
from haas_common.sealing import Stored

SQL = load_queries("haas_orchestrator")
Row = dict[str, Any]


def _in(scope: Scope) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}


async def get_request(tx: Tx, scope: Scope, method: str, request_id: str) -> Row | None:
    """Returns {fingerprint, result} of an earlier request."""
    return await tx.maybe(SQL.get_request, **_in(scope), method=method, request_id=request_id)


async def keep_request(
    tx: Tx, scope: Scope, method: str, request_id: str, fingerprint: str, result: Mapping[str, Any]
) -> None:
    """Keeps what a request leads to. Raises ResourceExists when another try came first."""
    await tx.run(
        SQL.keep_request, **_in(scope), method=method, request_id=request_id, fingerprint=fingerprint,
        result=json.dumps(result, ensure_ascii=False),
    )  # fmt: skip


async def get_plan(tx: Tx, scope: Scope, plan_id: str) -> Row | None:
    """Returns a plan as it stands."""
    return await tx.maybe(SQL.get_plan, **_in(scope), plan_id=plan_id)


async def list_plans(tx: Tx, scope: Scope, before: tuple[str, str], limit: int) -> list[Row]:
    """Returns a page of plans, newest first."""
    return await tx.all(SQL.list_plans, **_in(scope), before=before[0], before_id=before[1], limit=limit)


async def graph_of(tx: Tx, scope: Scope, plan_id: str) -> tuple[list[Row], list[Sequence[str]]]:
    """Returns the contracts of a plan's tasks and its inputs [name, type, ref], as the history has them."""
    stream = f"plan/{plan_id}"
    tasks = await tx.all(SQL.planned_tasks, **_in(scope), plan_id=plan_id, stream=stream)
    first = await tx.one(SQL.plan_inputs, **_in(scope), stream=stream)
    stored = [Stored(scope, stream, "PlanCreated", first["payload"])]
    stored += [Stored(scope, stream, "TaskPlanned", row["payload"]) for row in tasks]
    created, *opened = await tx.vault.open_all(tx, stored)
    planned = [
        upcast("TaskPlanned", row["schema_version"], payload)["task"]
        for row, payload in zip(tasks, opened, strict=True)
    ]
    return planned, upcast("PlanCreated", first["schema_version"], created)["inputs"]


async def list_tasks(tx: Tx, scope: Scope, plan_id: str, after: Sequence[int], limit: int) -> list[Row]:
    """Returns a page of a plan's tasks."""
    return await tx.all(SQL.list_tasks, **_in(scope), plan_id=plan_id, after=list(after), limit=limit)


async def task_exists(tx: Tx, scope: Scope, plan_id: str, task_id: str) -> bool:
    """Tells whether a plan has a task by this id."""
    return await tx.maybe(SQL.task_exists, **_in(scope), plan_id=plan_id, task_id=task_id) is not None


async def dependencies(
    tx: Tx, scope: Scope, plan_id: str, task_id: str, after: Sequence[int], limit: int, *, upwards: bool = False
) -> list[Row]:
    """Returns a page of what depends on a task, or `upwards` of what it depends on; each row knows the whole number."""
    bounds = {"plan_id": plan_id, "task_id": task_id, "after": list(after), "limit": limit}
    if upwards:
        return await tx.all(SQL.ancestors, **_in(scope), **bounds)
    return await tx.all(SQL.descendants, **_in(scope), **bounds)


async def plan_artifacts(tx: Tx, scope: Scope, plan_id: str) -> list[str]:
    """Returns the ids of a plan's artifacts."""
    return [row["artifact_id"] for row in await tx.all(SQL.plan_artifacts, **_in(scope), plan_id=plan_id)]


async def list_artifacts(tx: Tx, scope: Scope, plan_id: str, after: str, limit: int) -> list[ArtifactRecord]:
    """Returns a page of artifacts."""
    rows = await tx.all(SQL.list_artifacts, **_in(scope), plan_id=plan_id, after=after, limit=limit)
    return [ArtifactRecord(**row) for row in rows]


async def keep_input(tx: Tx, scope: Scope, **facts: Any) -> bool:
    """Keeps the facts of an upload; returns whether it is a new one."""
    return await tx.run(SQL.keep_input, **_in(scope), **facts) == 1


async def known_inputs(tx: Tx, scope: Scope, refs: Sequence[str]) -> set[str]:
    """Returns which of these were uploaded."""
    return {row["ref"] for row in await tx.all(SQL.known_inputs, **_in(scope), refs=list(refs))}
