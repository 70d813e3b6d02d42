"""What the planner reads and writes, a named query each."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from haas_common.db import Lease, Scope, Tx, load_queries
from haas_common.events import upcast
from haas_common.eventstore import NewEvent, append
from haas_common.ids import shard_of
from haas_common.sealing import Stored
from haas_planner.domain import Event, Plan, apply
from haas_planner.projection import Changed, PlanKey

SQL = load_queries("haas_planner")
COMMON = load_queries("haas_common")
_PAGE = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A command to a plan, as it waits in its row."""

    scope: Scope
    plan_id: str
    request_id: str
    kind: str
    body: Mapping[str, Any]
    actor: str
    trace_id: str


def stream_of(plan_id: str) -> str:
    """Returns the stream of a plan's events."""
    return f"plan/{plan_id}"


async def add_command(tx: Tx, command: Command, fingerprint: str) -> None:
    """Keeps a command; the same request again changes nothing."""
    await tx.run(
        SQL.add_command,
        **_key(command.scope, command.plan_id),
        request_id=command.request_id,
        shard=shard_of(command.scope.tenant_id, command.scope.project_id, command.plan_id),
        kind=command.kind,
        fingerprint=fingerprint,
        body=json.dumps(command.body, ensure_ascii=False),
        actor=command.actor,
        trace_id=command.trace_id,
    )


async def get_command(tx: Tx, scope: Scope, plan_id: str, request_id: str) -> tuple[str, Mapping[str, Any] | None]:
    """Returns a command's fingerprint and, once decided, its result."""
    row = await tx.one(SQL.get_command, **_key(scope, plan_id), request_id=request_id)
    return f"{row['kind']}:{row['fingerprint']}", row["result"]


async def plan_exists(tx: Tx, scope: Scope, plan_id: str) -> bool:
    """Tells whether there is a plan by this id."""
    return await tx.maybe(SQL.plan_exists, **_key(scope, plan_id)) is not None


async def pending_count(tx: Tx, shard: int, limit: int) -> int:
    """Returns how many commands wait in a shard (as far as the context sees them), counted up to `limit`."""
    return int((await tx.one(SQL.pending_count, shard=shard, limit=limit))["n"])


async def pending_commands(tx: Tx, shard: int, limit: int) -> list[Command]:
    """Returns what a shard's owner has to decide."""
    rows = await tx.all(SQL.pending_commands, shard=shard, limit=limit)
    return [
        Command(
            Scope(r["tenant_id"], r["project_id"]), r["plan_id"], r["request_id"], r["kind"], r["body"], r["actor"],
            r["trace_id"],
        )
        for r in rows
    ]  # fmt: skip


async def decide_commands(tx: Tx, decided: Sequence[tuple[Command, Mapping[str, Any]]]) -> None:
    """Answers commands."""
    rows = [{**_key(c.scope, c.plan_id), "request_id": c.request_id, "result": result} for c, result in decided]
    await tx.run(SQL.decide_commands, rows=json.dumps(rows, ensure_ascii=False))


async def running_plans(tx: Tx, shard: int) -> list[tuple[Scope, str]]:
    """Returns the plans that are under way in a shard."""
    rows = await tx.all(SQL.running_plans, shard=shard)
    return [(Scope(r["tenant_id"], r["project_id"]), r["plan_id"]) for r in rows]


class PlanGone(Exception):
    """A plan's events were dropped with old history, some or all: it is over, and cannot be folded any more."""


async def load_plan(tx: Tx, scope: Scope, plan_id: str) -> tuple[Plan, str]:
    """Folds a plan's stream and returns it with the trace that it goes on in; one that is not there has no state.

    Raises:
        PlanGone: its first events were dropped.
        ValueError, KeyError: its stream holds an event that this release cannot fold.
        HashMismatch: a sealed value of it was tampered with.
    """
    plan, trace_id, stream = Plan(scope.tenant_id, scope.project_id, plan_id), "", stream_of(plan_id)
    while True:
        rows = await tx.all(SQL.plan_events, **_scope(scope), stream=stream, after=plan.version, limit=_PAGE)
        if plan.version == 0 and await _begins_late(tx, scope, stream, rows):
            raise PlanGone(plan_id)
        stored = [Stored(scope, stream, row["event_type"], row["payload"]) for row in rows]
        for row, kept in zip(rows, await tx.vault.open_all(tx, stored), strict=True):
            payload = upcast(row["event_type"], row["schema_version"], kept)
            apply(plan, Event(row["event_type"], payload, row["task_id"], row["actor"]))
            trace_id = row["trace_id"] or trace_id
        if len(rows) < _PAGE:
            return plan, trace_id


async def _begins_late(tx: Tx, scope: Scope, stream: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether events of a stream came before those that are left. A plan that is not there yet has none."""
    if rows:
        return bool(rows[0]["version"] > 1)
    return await tx.maybe(COMMON.stream_version, **_scope(scope), stream=stream) is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A plan as it stands after events that are not yet in the log, those events, and what led to each (if known)."""

    plan: Plan
    base: int
    events: Sequence[Event]
    causes: Sequence[str] = ()
    trace_id: str = ""


async def save(tx: Tx, lease: Lease, changes: Sequence[Change]) -> None:
    """Appends the events of many plans in one statement and brings their read models along.

    Raises LeaseLost, StreamVersionConflict.
    """
    flat = [event for change in changes for event in _new_events(change)]
    recorded = iter(await append(tx, flat, lease))
    changed: dict[PlanKey, Changed] = {}
    for change in changes:
        plan = change.plan
        known = changed.setdefault((plan.tenant_id, plan.project_id, plan.plan_id), Changed(plan))
        for event in change.events:
            place = next(recorded)
            known.note(event.type, event.task_id, place.seq, place.recorded_at.isoformat())
    await tx.run(SQL.project_plans, rows=_json(one.plan_row() for one in changed.values()))
    tasks = [row for one in changed.values() for row in one.task_rows()]
    if tasks:
        await tx.run(SQL.project_tasks, rows=_json(tasks))
    edges = [edge for one in changed.values() for edge in one.edge_rows()]
    if edges:
        await tx.run(SQL.project_edges, rows=_json(edges))


def _new_events(change: Change) -> list[NewEvent]:
    plan = change.plan
    scope = Scope(plan.tenant_id, plan.project_id)
    return [
        NewEvent(
            scope, stream_of(plan.plan_id), event.type, event.payload, event.actor, plan_id=plan.plan_id,
            task_id=event.task_id, expected_version=change.base if number == 0 else None,
            causation_id=cause, trace_id=change.trace_id, subject=plan.subject,
        )
        for number, (event, cause) in enumerate(itertools.zip_longest(change.events, change.causes, fillvalue=""))
    ]  # fmt: skip


def _scope(scope: Scope) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}


def _key(scope: Scope, plan_id: str) -> dict[str, str]:
    return {**_scope(scope), "plan_id": plan_id}


def _json(rows: Iterable[Mapping[str, Any]]) -> str:
    return json.dumps(list(rows), ensure_ascii=False)
