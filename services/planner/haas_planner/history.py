"""What is read of a plan's history beside its fold: a state of before, the graph's revisions, a task's contract."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from haas_common import clock, errors
from haas_common.db import Scope, Tx, load_queries
from haas_common.db.queries import Query
from haas_common.events import upcast
from haas_common.sealing import Stored
from haas_planner import store
from haas_planner.agents.domain import NO_RESULTS, Results
from haas_planner.agents.store import roster
from haas_planner.diffs import TYPES, Revisions
from haas_planner.domain import Event, Plan
from haas_planner.estimates import Measured
from haas_planner.graph import Task, task_from_json

SQL = load_queries("haas_planner")
_PAGE = 2000
_AMOUNTS = ("completed", "failed", "duration_ms", "tokens", "money_micros")


async def load_plan_at(tx: Tx, scope: Scope, plan_id: str, until: int = 0) -> Plan:
    """Folds a plan up to a version of its stream; 0: all of it.

    Raises:
        ResourceNotFound: there is no plan, or its first events went with old history.
        FieldInvalid: its stream has no such version.
    """
    try:
        plan = (await store.load_plan(tx, scope, plan_id, until)).plan
    except store.PlanGone:
        raise _dropped(plan_id) from None
    if not plan.version:
        raise _no_plan(plan_id)
    if until > plan.version:
        rule = f"1 to {plan.version}"
        raise errors.FieldInvalid(f"at_version: the plan has versions {rule}.", field="at_version", rule=rule)
    return plan


async def created_from(tx: Tx, scope: Scope, plan_id: str) -> Mapping[str, Any]:
    """Returns what PlanCreated says of a plan that is there."""
    async for event in _events(tx, scope, plan_id, SQL.plan_events, 1):
        return event.payload
    raise _no_plan(plan_id)


async def read_revisions(tx: Tx, scope: Scope, plan_id: str, revisions: Revisions) -> None:
    """Has a plan's graph followed from its first event to its last.

    Raises:
        ResourceNotFound: there is no plan, or its first events went with old history.
    """
    async for event in _events(tx, scope, plan_id, SQL.graph_events):
        revisions.take(event)
    if not revisions.number:
        raise _no_plan(plan_id)


async def contract_of(tx: Tx, scope: Scope, plan_id: str, task_id: str) -> Task | None:
    """Returns a task's newest contract; None where there is none."""
    stream = store.stream_of(plan_id)
    row = await tx.maybe(SQL.task_contract, **_of(scope, plan_id), stream=stream, task_id=task_id)
    if row is None:
        return None
    (opened,) = await tx.vault.open_all(tx, [Stored(scope, stream, "TaskPlanned", row["payload"])])
    return task_from_json(upcast("TaskPlanned", row["schema_version"], opened)["task"])


async def measured(tx: Tx, scope: Scope) -> dict[str, Measured]:
    """Returns what the project's tasks of each skill took on average, over the days that results are kept for."""
    found: dict[str, Results] = {}
    for (_, skill), results in (await roster(tx, scope, clock.utc_now().date())).results.items():
        before = found.get(skill, NO_RESULTS)
        found[skill] = Results(*(getattr(before, n) + getattr(results, n) for n in _AMOUNTS))
    return {
        skill: Measured(r.mean(r.duration_ms) / 1000, r.mean(r.tokens), r.mean(r.money_micros))
        for skill, r in found.items()
        if r.total
    }


async def known_artifacts(tx: Tx, scope: Scope, artifact_ids: list[str]) -> set[str]:
    """Returns which of these artifacts there are in the project."""
    bounds = {"tenant_id": scope.tenant_id, "project_id": scope.project_id, "artifact_ids": artifact_ids}
    return {row["artifact_id"] for row in await tx.all(SQL.known_artifacts, **bounds)}


async def was_asked(tx: Tx, scope: Scope, plan_id: str, request_id: str) -> bool:
    """Tells whether a command was kept under a request's id: what it was made from need not be read again."""
    return await tx.maybe(SQL.get_command, **_of(scope, plan_id), request_id=request_id) is not None


async def _events(tx: Tx, scope: Scope, plan_id: str, query: Query, limit: int = _PAGE) -> AsyncIterator[Event]:
    """Yields a plan's events, those of a query, opened and of their newest form."""
    stream, after = store.stream_of(plan_id), 0
    bounds: dict[str, Any] = {"tenant_id": scope.tenant_id, "project_id": scope.project_id, "stream": stream}
    if query is SQL.graph_events:
        bounds["types"] = list(TYPES)
    while True:
        rows = await tx.all(query, **bounds, after=after, limit=limit)
        if after == 0 and rows and rows[0]["version"] > 1:
            raise _dropped(plan_id)
        stored = [Stored(scope, stream, row["event_type"], row["payload"]) for row in rows]
        for row, opened in zip(rows, await tx.vault.open_all(tx, stored), strict=True):
            payload = upcast(row["event_type"], row["schema_version"], opened)
            yield Event(row["event_type"], payload, row["task_id"], row["actor"])
        if len(rows) < limit:
            return
        after = rows[-1]["version"]


def _of(scope: Scope, plan_id: str) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id, "plan_id": plan_id}


def _no_plan(plan_id: str) -> errors.ResourceNotFound:
    return errors.ResourceNotFound(f"There is no plan {plan_id}.", resource="plan", id=plan_id)


def _dropped(plan_id: str) -> errors.ResourceNotFound:
    sentence = f"The beginning of plan {plan_id} went with old history."
    return errors.ResourceNotFound(sentence, resource="history", id=plan_id)
