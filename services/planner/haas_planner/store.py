"""What the planner reads and writes, a named query each."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

from haas_common import clock, errors
from haas_common.db import Database, Lease, Query, Scope, Tx, load_queries
from haas_common.events import upcast
from haas_common.eventstore import NewEvent, Ready, append, count, ready, sealed
from haas_common.ids import shard_of
from haas_common.profile_store import ProfileStore
from haas_common.sealing import Stored, Vault
from haas_planner import snapshots
from haas_planner.domain import Event, Plan, apply
from haas_planner.fences import hold
from haas_planner.projection import FIELD, LINE, PlanKey, Rows
from haas_planner.snapshots import Folded

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


@dataclasses.dataclass(frozen=True, slots=True)
class Added:
    """What became of a command: its plan was there (or need not be), there was room, it was not kept before."""

    is_there: bool
    has_room: bool
    is_new: bool


async def add_command(tx: Tx, command: Command, fingerprint: str, *, must_exist: bool, most: int) -> Added:
    """Keeps a command, where fewer than `most` of the tenant's wait in its shard; again, it changes nothing."""
    scope = command.scope
    row = await tx.one(
        SQL.add_command,
        **_key(scope, command.plan_id),
        request_id=command.request_id,
        shard=shard_of(scope.tenant_id, scope.project_id, command.plan_id),
        kind=command.kind,
        fingerprint=fingerprint,
        body=json.dumps(command.body, ensure_ascii=False),
        actor=command.actor,
        trace_id=command.trace_id,
        must_exist=must_exist,
        most=most,
    )
    return Added(row["is_there"], row["has_room"], row["is_new"])


async def get_command(tx: Tx, scope: Scope, plan_id: str, request_id: str) -> tuple[str, Mapping[str, Any] | None]:
    """Returns a command's fingerprint and, once decided, its result."""
    row = await tx.one(SQL.get_command, **_key(scope, plan_id), request_id=request_id)
    return f"{row['kind']}:{row['fingerprint']}", row["result"]


async def pending_commands(database: Database, lease: Lease, shard: int, limit: int) -> list[Command]:
    """Returns what a shard's owner has to decide, in one round trip."""
    rows = await database.batch_once(lease, [], SQL.pending_commands, {"shard": shard, "limit": limit})
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


async def plans_to_go_on(tx: Tx, shard: int) -> list[tuple[tuple[Scope, str], int]]:
    """Returns the plans of a shard that go on by themselves, each with when: 0 at once, else microseconds."""
    rows = await tx.all(SQL.plans_to_go_on, shard=shard)
    return [((Scope(r["tenant_id"], r["project_id"]), r["plan_id"]), r["wake_us"]) for r in rows]


async def now_us(tx: Tx) -> int:
    """Returns the database's clock, in microseconds of the epoch."""
    return int((await tx.one(SQL.now_us))["now_us"])


# ── What keeps tasks back ────────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What profile and tenant allow at once (0: no limit), the tenant's share, and when a tool is left alone."""

    profile_max: int = 0
    tenant_max: int = 0
    weight: int = 1
    breaker_failures: int = 5
    breaker_cool_down_s: int = 30


NO_LIMITS = Limits()
_PROFILES = ProfileStore()


async def limits_of(tx: Tx, scope: Scope, plan: Plan) -> Limits:
    """Returns the limits of a plan."""
    tenant = await tx.maybe(SQL.tenant_limits, tenant_id=scope.tenant_id) or {"tasks_max": 0, "weight": 1}
    try:
        kept = await _PROFILES.version(tx, scope, plan.profile_id, plan.profile_version)
    except errors.ProfileMissing:
        return Limits(0, tenant["tasks_max"], tenant["weight"])
    policies = kept.profile.policies
    return Limits(
        policies.concurrency.tasks_max or 0, tenant["tasks_max"], tenant["weight"], policies.breaker.failures,
        policies.breaker.cool_down_s,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class SlotWish:
    """A task that is about to start, and what it needs a slot of: each (project, key, how many there are)."""

    scope: Scope
    plan_id: str
    task_id: str
    keys: tuple[tuple[str, str, int], ...]
    priority: int = 5

    @property
    def holder(self) -> tuple[Scope, str, str]:
        """Who holds the slots."""
        return (self.scope, self.plan_id, self.task_id)

    def scopes(self) -> set[Scope]:
        """Returns the scopes whose slots it needs."""
        return {Scope(self.scope.tenant_id, project_id) for project_id, _, _ in self.keys}

    def rows(self, place: int) -> list[dict[str, Any]]:
        """Returns a row for each slot."""
        holder = {"tenant_id": self.scope.tenant_id, "plan_project": self.scope.project_id, "plan_id": self.plan_id}
        return [
            {**holder, "task_id": self.task_id, "project_id": project_id, "key": key, "most": most, "place": place}
            for project_id, key, most in self.keys
        ]


async def take_slots(tx: Tx, wishes: Sequence[SlotWish]) -> set[tuple[Scope, str, str]]:
    """Takes slots, by priority and then in order; returns who has all of its own. Who has only some gives them back."""
    order = sorted(wishes, key=lambda wish: -wish.priority)
    rows = _json(row for place, wish in enumerate(order) for row in wish.rows(place))
    await tx.run(SQL.take_slots, rows=rows)
    held = {
        (Scope(r["tenant_id"], r["plan_project"]), r["plan_id"], r["task_id"]): r["held"]
        for r in await tx.all(SQL.held_slots, rows=rows)
    }
    granted = {wish.holder for wish in wishes if held.get(wish.holder, 0) == len(wish.keys)}
    await free_slots(tx, [holder for holder in held if holder not in granted])
    return granted


async def free_slots(tx: Tx, holders: Iterable[tuple[Scope, str, str]]) -> None:
    """Gives slots back."""
    rows = [{"tenant_id": s.tenant_id, "plan_project": s.project_id, "plan_id": p, "task_id": t} for s, p, t in holders]
    if rows:
        await tx.run(SQL.free_slots, rows=json.dumps(rows))


async def sweep_slots(tx: Tx, plans: Iterable[Plan]) -> int:
    """Gives back what tasks of plans hold that do not run; returns how many slots that were."""
    rows = [
        {
            "tenant_id": plan.tenant_id, "plan_project": plan.project_id, "plan_id": plan.plan_id,
            "running": [task_id for task_id, run in plan.tasks.items() if run.state == "running"],
        }
        for plan in plans
    ]  # fmt: skip
    return await tx.run(SQL.sweep_slots, rows=json.dumps(rows))


@dataclasses.dataclass(frozen=True, slots=True)
class OpenBreaker:
    """A tool of a project that failed lately. `until_us`: left alone until then; 0: not (yet)."""

    scope: Scope
    tool: str
    failures: int
    until_us: int


@dataclasses.dataclass(frozen=True, slots=True)
class Trip:
    """A tool that failed, or works again after it had; after `threshold` failures it is left alone for a while."""

    scope: Scope
    tool: str
    works: bool
    threshold: int = NO_LIMITS.breaker_failures
    cool_down_s: int = NO_LIMITS.breaker_cool_down_s


async def known_breakers(tx: Tx) -> list[OpenBreaker]:
    """Returns the tools of the context's projects that failed lately."""
    rows = await tx.all(SQL.known_breakers)
    return [OpenBreaker(Scope(r["tenant_id"], r["project_id"]), r["tool"], r["failures"], r["until_us"]) for r in rows]


async def trip(tx: Tx, one: Trip, at_us: int) -> NewEvent | None:
    """Keeps a tool's failure or success; returns the event, where its breaker opened or closed."""
    where = {**_scope(one.scope), "tool": one.tool}
    if one.works:
        row = await tx.maybe(SQL.tool_works, **where)
        if row is None or not row["was_open"]:
            return None
        return NewEvent(one.scope, f"breaker/{one.tool}", "BreakerClosed", {"tool": one.tool}, "planner")
    until_us = at_us + one.cool_down_s * 1_000_000
    row = await tx.one(SQL.tool_failed, **where, threshold=one.threshold, now_us=at_us, until_us=until_us)
    if not row["opened"]:
        return None
    told = {"tool": one.tool, "failures": row["failures"], "until_us": until_us}
    return NewEvent(one.scope, f"breaker/{one.tool}", "BreakerOpened", told, "planner")


# ── Plans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class PlanGone(Exception):
    """A plan's events were dropped with old history, some or all: it is over, and cannot be folded any more."""


async def load_plan(tx: Tx, scope: Scope, plan_id: str, until_version: int = 0) -> Folded:
    """Folds a plan's stream; one that is not there has no state. A long one is folded from its snapshot on.

    `until_version` gives it as it stood after that event; 0 stands for all of them.

    Raises:
        PlanGone: its first events were dropped.
        ValueError, KeyError: its stream holds an event that this release cannot fold.
        HashMismatch: a sealed value of it was tampered with.
    """
    plan, trace_id, stream = Plan(scope.tenant_id, scope.project_id, plan_id), "", stream_of(plan_id)
    snapshot, looked = 0, False
    while True:
        rows = await tx.all(SQL.plan_events, **_scope(scope), stream=stream, after=plan.version, limit=_PAGE)
        if plan.version == 0 and await _begins_late(tx, scope, stream, rows):
            raise PlanGone(plan_id)
        stored = [Stored(scope, stream, row["event_type"], row["payload"]) for row in rows]
        for row, kept in zip(rows, await tx.vault.open_all(tx, stored), strict=True):
            if until_version and row["version"] > until_version:
                return Folded(plan, trace_id, snapshot)
            payload = upcast(row["event_type"], row["schema_version"], kept)
            apply(plan, Event(row["event_type"], payload, row["task_id"], row["actor"]))
            trace_id = row["trace_id"] or trace_id
        if len(rows) < _PAGE:
            return Folded(plan, trace_id, snapshot)
        if not looked:  # the first page was full: it is a long one
            looked = True
            found = await snapshots.latest(tx, scope, plan_id, plan.version, until_version)
            if found is not None:
                plan, trace_id, snapshot = found


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


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """What changes come to, before they are written: their events as text, the rows of the read models."""

    batch: Ready
    rows: Rows


def prepare(vault: Vault, changes: Sequence[Change]) -> Prepared:
    """Gets changes ready to be written, at the moment at which their plans hold these events and no later ones.

    Raises ValueError for an event that the history cannot keep.
    """
    rows, place = Rows(), 0
    whole: dict[PlanKey, _Touched] = {}
    for change in changes:
        plan = change.plan
        known = whole.setdefault((plan.tenant_id, plan.project_id, plan.plan_id), _Touched(plan))
        known.note(change.events)
        place += len(change.events)
        known.last = place
    batch = ready(vault, [event for change in changes for event in _new_events(change)])
    for known in whole.values():
        rows.take(known.plan, known.last, known.planned, known.tasks, created=known.created)
    return Prepared(batch, rows)


@dataclasses.dataclass(slots=True)
class _Touched:
    """What a batch's events touch of a plan."""

    plan: Plan
    last: int = 0
    created: bool = False
    tasks: dict[str, None] = dataclasses.field(default_factory=dict)
    planned: dict[str, None] = dataclasses.field(default_factory=dict)

    def note(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.task_id:
                self.tasks[event.task_id] = None
                if event.type == "TaskPlanned":
                    self.planned[event.task_id] = None
            elif event.type == "PlanCreated":
                self.created = True


def _statement(lease: Lease, prepared: Prepared) -> tuple[Query, dict[str, Any]]:
    """Returns the statement that appends what was prepared and brings the read models along, and what it is given."""
    rows = prepared.rows
    given: dict[str, Any] = {"lease": lease.name, "epoch": lease.epoch, "moved": LINE.join(rows.moved)}
    query = SQL.keep_moved
    if rows.fresh:
        query = SQL.keep
        given |= {"plans": _json(rows.plans), "tasks": _json(rows.tasks), "edges": _json(rows.edges)}
        given["revised"] = _json(rows.revised)
    else:
        given["plans"] = rows.plan_lines()
    return query, given


def _sealed_ahead(prepared: Prepared) -> dict[str, Any]:
    """Returns the events as they were sealed ahead, and the keys that they are sealed under."""
    keys = prepared.batch.keys
    return {"doc": prepared.batch.doc, "keys": LINE.join(FIELD.join(key) for key in keys), "keys_count": len(keys)}


async def keep_at_once(database: Database, lease: Lease, scopes: Iterable[Scope], prepared: Prepared) -> int | None:
    """Does what `keep` does in a transaction of its own and one round trip; None where that wrote nothing: `keep` it.

    Raises LeaseLost, StreamVersionConflict.
    """
    if not prepared.batch.doc:
        return None
    began = clock.monotonic_s()
    query, given = _statement(lease, prepared)
    rows = await database.batch_once(lease, scopes, query, {**given, **_sealed_ahead(prepared)})
    if not rows:
        return None
    count(len(prepared.batch.events), began)
    return int(rows[0]["recorded_at"].timestamp() * 1_000_000)


async def keep(tx: Tx, lease: Lease, prepared: Prepared) -> int:
    """Appends what was prepared and brings the read models along, in one statement; returns the database's time.

    Raises LeaseLost, StreamVersionConflict.
    """
    batch, began = prepared.batch, clock.monotonic_s()
    query, given = _statement(lease, prepared)
    row = await tx.maybe(query, **given, **_sealed_ahead(prepared)) if batch.doc else None
    if row is None:
        # A key was not known, or is no longer the living one: the transaction finds them, and holds them.
        row = await tx.one(query, **given, doc=await sealed(tx, batch), keys="", keys_count=0)
    count(len(batch.events), began)
    return int(row["recorded_at"].timestamp() * 1_000_000)


async def save(
    tx: Tx, lease: Lease, changes: Sequence[Change], trips: Sequence[Trip] = (), prepared: Prepared | None = None
) -> int:
    """Appends the events of many plans in one statement, brings their read models along, returns the database's time.

    Raises LeaseLost, StreamVersionConflict.
    """
    if not changes:
        await hold(tx, lease)
    if trips:
        at_us = await now_us(tx)
        told = [event for one in trips if (event := await trip(tx, one, at_us)) is not None]
        if told:
            await append(tx, told, lease)
    if not changes:
        return await now_us(tx)
    return await keep(tx, lease, prepared or prepare(tx.vault, changes))


def _new_events(change: Change) -> list[NewEvent]:
    plan = change.plan
    scope, stream = Scope(plan.tenant_id, plan.project_id), stream_of(plan.plan_id)
    return [
        NewEvent(
            scope, stream, event.type, event.payload, event.actor, plan_id=plan.plan_id,
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
    return to_json(list(rows)).decode()
