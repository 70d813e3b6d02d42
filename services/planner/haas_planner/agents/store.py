"""What is read and written of agents, a named query each."""

import datetime
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from haas_common.db import Lease, Scope, Tx, load_queries
from haas_common.eventstore import NewEvent, append
from haas_common.projections import Row, past
from haas_planner.agents.domain import AGENTS_MAX, WINDOW_DAYS, Agent, Results, Roster, defaults, merged
from haas_planner.agents.projection import Told, apply
from haas_planner.skills.registry import SPECS

SQL = load_queries("haas_planner")
_BUILT_IN = defaults(SPECS)
_PAGE = 2000


def stream_of(agent_id: str) -> str:
    """Returns the stream of an agent's events."""
    return f"agent/{agent_id}"


async def list_rows(tx: Tx, scope: Scope) -> list[Agent]:
    """Returns the agents that something was kept of; a project has at most AGENTS_MAX besides the built-in ones."""
    rows = await tx.all(SQL.list_agents, **_in(scope), limit=AGENTS_MAX + len(_BUILT_IN))
    return [
        Agent(
            row["agent_id"], row["kind"], tuple(row["skills"]), row["running_max"], row["rank"], row["state"],
            row["registered_at"] is not None, row["version"],
        )
        for row in rows
    ]  # fmt: skip


async def roster(tx: Tx, scope: Scope, today: datetime.date) -> Roster:
    """Returns a project's agents, the built-in ones included, and their results of the last 90 days."""
    since = today - datetime.timedelta(days=WINDOW_DAYS - 1)
    rows = await tx.all(SQL.agent_results_since, **_in(scope), since=since)
    results = {
        (r["agent_id"], r["skill"]): Results(
            r["completed"], r["failed"], r["duration_ms"], r["tokens"], r["money_micros"]
        )
        for r in rows
    }
    return Roster(merged(_BUILT_IN, await list_rows(tx, scope)), results)


async def save(tx: Tx, events: Sequence[NewEvent], lease: Lease | None = None) -> None:
    """Appends events of agents and brings their rows along. Raises LeaseLost, StreamVersionConflict."""
    rows: dict[tuple[Scope, str], Row | None] = {}
    for event, place in zip(events, await append(tx, events, lease), strict=True):
        key = (event.scope, event.payload["agent_id"])
        if key not in rows:
            rows[key] = await _row(tx, *key)
        rows[key] = apply(rows[key], past(event, place))
    kept = [row for row in rows.values() if row is not None]
    await tx.run(SQL.project_agents, rows=json.dumps(kept, ensure_ascii=False, default=datetime.datetime.isoformat))


async def _row(tx: Tx, scope: Scope, agent_id: str) -> Row | None:
    return await tx.maybe(SQL.get_agent_row, **_in(scope), agent_id=agent_id)


async def add_results(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds to what is measured."""
    await tx.run(SQL.add_agent_results, rows=json.dumps(list(rows), ensure_ascii=False))


async def tasks_told(tx: Tx, scope: Scope, stream: str, below: int) -> AsyncIterator[Told]:
    """Yields what a plan's stream says of its tasks before a version, a page at a time."""
    after = 0
    while True:
        rows = await tx.all(SQL.tasks_told, **_in(scope), stream=stream, after=after, below=below, limit=_PAGE)
        for row in rows:
            started = row["event_type"] == "TaskStarted"
            yield (row["task_id"], "", "", row["actor"]) if started else (row["task_id"], row["kind"], row["skill"], "")
        if len(rows) < _PAGE:
            return
        after = rows[-1]["version"]


def _in(scope: Scope) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}
