"""What the notifier reads and writes, a named query each."""

import dataclasses
import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from haas_common.db import Lease, Scope, Tx, load_queries
from haas_common.events import upcast
from haas_common.eventstore import NewEvent, append, payload_text
from haas_common.projections import past
from haas_common.relay import Page
from haas_common.sealing import Stored, Subject
from haas_notifier import domain, projection
from haas_notifier.domain import Cause, Envelope, Facts, OwnedTask

SQL = load_queries("haas_notifier")
#: A failure's dependents are read up to here; a plan has at most 10,000 tasks.
AFFECTED_MAX = 10_000
PlanKey = tuple[str, str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of the history.

    Attributes:
        payload_text: the payload with what is personal in the clear; what was erased reads as erased.
        stored_text: the exact text that the hash covers.
    """

    seq: int
    stream: str
    version: int
    event_type: str
    schema_version: int
    plan_id: str
    task_id: str
    actor: str
    causation_id: str
    correlation_id: str
    trace_id: str
    payload_text: str
    stored_text: str
    recorded_at: datetime.datetime
    hash: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """A project's first and last seq; both 0 before its first event."""

    first_seq: int
    last_seq: int


# ── The relay ────────────────────────────────────────────────────────────────────────────────────────────────────────


def causes_of(page: Page) -> tuple[Cause, ...]:
    """Returns those events of a page that somebody may have to hear of."""
    return tuple(
        Cause(e.tenant_id, e.project_id, e.seq, e.event_type, e.plan_id, e.task_id, e.payload, e.schema_version)
        for e in page.events
        if e.payload is not None
    )


async def opened(tx: Tx, causes: Sequence[Cause]) -> tuple[Cause, ...]:
    """Returns causes with what is personal in the clear. What they say is told: an erasure waits until it is told."""
    stored = [Stored(Scope(c.tenant_id, c.project_id), f"plan/{c.plan_id}", c.type, dict(c.payload)) for c in causes]
    payloads = await tx.vault.open_all(tx, stored, fresh=True, lenient=True)
    return tuple(dataclasses.replace(c, payload=p) for c, p in zip(causes, payloads, strict=True))


async def facts_of(tx: Tx, causes: Sequence[Cause]) -> dict[tuple[PlanKey, int], Facts]:
    """Returns what the read model says about each cause, by its plan and seq; a few queries for a whole page."""
    plans = {_plan_of(c) for c in causes}
    about = {_plan_of_row(r): r for r in await tx.all(SQL.plan_facts, rows=_rows(plans))}
    # The titles that are read from here on are told: an erasure of them comes wholly before, or waits.
    whose = [Subject(Scope(p[0], p[1]), row["requester"]) for p, row in about.items() if row["requester"]]
    await tx.vault.hold(tx, whose)
    ended = {_plan_of(c) for c in causes if c.type in domain.END_STATES}
    owners: dict[PlanKey, list[str]] = {}
    for row in await tx.all(SQL.plan_owners, rows=_rows(ended)) if ended else ():
        owners.setdefault(_plan_of_row(row), []).append(row["owner_agent_id"])
    done = {(*_plan_of(c), c.task_id) for c in causes if c.type == "TaskCompleted"}
    dependents: dict[tuple[PlanKey, str], list[OwnedTask]] = {}
    for row in await tx.all(SQL.dependents, rows=_rows(done)) if done else ():
        dependents.setdefault((_plan_of_row(row), row["from_task"]), []).append(_task(row))
    found: dict[tuple[PlanKey, int], Facts] = {}
    for cause in causes:
        plan = _plan_of(cause)
        known: Mapping[str, Any] = about.get(plan, {})
        failed = cause.type == "ErrorDetected"
        found[plan, cause.seq] = Facts(
            language=known.get("language") or "en",
            brief_artifact_id=known.get("brief_artifact_id") or "",
            requester=known.get("requester") or "",
            affected=await _affected(tx, cause) if failed else (),
            leader=await _leader(tx, cause) if failed else None,
            dependents=tuple(dependents.get((plan, cause.task_id), ())),
            owners=tuple(owners.get(plan, ())),
            owner=await _owner(tx, cause) if cause.type in domain.OWNER_CAUSES else None,
        )
    return found


async def _affected(tx: Tx, cause: Cause) -> tuple[OwnedTask, ...]:
    rows = await tx.all(SQL.affected, **_key(cause), task_id=cause.task_id, limit=AFFECTED_MAX)
    return tuple(_task(r) for r in rows)


async def _leader(tx: Tx, cause: Cause) -> OwnedTask | None:
    leader = domain.leader_of(cause.task_id)
    row = await tx.maybe(SQL.task, **_key(cause), task_id=leader) if leader else None
    return _task(row) if row else None


async def _owner(tx: Tx, cause: Cause) -> OwnedTask | None:
    row = await tx.maybe(SQL.task, **_key(cause), task_id=cause.task_id) if cause.task_id else None
    return _task(row) if row else None


async def unsent(tx: Tx, envelopes: Sequence[Envelope]) -> list[Envelope]:
    """Leaves out what was sent before."""
    fields = ("tenant_id", "project_id", "seq", "receiver_id")
    asked = [(e.tenant_id, e.project_id, e.cause_seq, e.receiver_id) for e in envelopes]
    rows = json.dumps([dict(zip(fields, row, strict=True)) for row in asked])
    sent = {tuple(r[f] for f in fields) for r in await tx.all(SQL.already_sent, rows=rows)}
    return [envelope for envelope, key in zip(envelopes, asked, strict=True) if key not in sent]


async def send(tx: Tx, lease: Lease, envelopes: Sequence[Envelope], requesters: Mapping[PlanKey, str]) -> None:
    """Keeps envelopes and appends the NotificationSent events that tell of them. Raises LeaseLost.

    `requesters` are the people whose plans they are about.
    """
    batches = domain.sent_batches(envelopes)
    events = [
        NewEvent(
            Scope(batch[0].tenant_id, batch[0].project_id), f"notify/{batch[0].plan_id}", "NotificationSent",
            domain.sent_payload(batch), domain.SENDER_ID, plan_id=batch[0].plan_id,
            subject=requesters.get((batch[0].tenant_id, batch[0].project_id, batch[0].plan_id), ""),
        )
        for batch in batches
    ]  # fmt: skip
    recorded = await append(tx, events, lease)
    told = [past(event, place) for event, place in zip(events, recorded, strict=True)]
    rows = [row for event in told for row in projection.rows(event)]
    await tx.run(SQL.keep_envelopes, rows=json.dumps(rows, ensure_ascii=False))


# ── The readers of one project ───────────────────────────────────────────────────────────────────────────────────────


async def head(tx: Tx, scope: Scope) -> Head:
    """Returns where a project's history begins and ends."""
    row = await tx.one(SQL.head, **_scope(scope))
    # Of a project whose last events were dropped too, the next one is the first.
    return Head(row["first_seq"] or (row["last_seq"] + 1 if row["last_seq"] else 0), row["last_seq"])


async def plan_place(tx: Tx, scope: Scope, plan_id: str) -> tuple[str, int] | None:
    """Returns where a plan stands, and the seq of its last event; None for no such plan."""
    row = await tx.maybe(SQL.plan_place, **_scope(scope), plan_id=plan_id)
    return (row["state"], row["last_seq"]) if row else None


async def events_page(
    tx: Tx, scope: Scope, plan_id: str, after: int, limit: int, bytes_max: int
) -> tuple[list[StoredEvent], bool]:
    """Returns the events after a seq, and whether more are there. Whoever sees a seq has all below it before it."""
    bounds = {**_scope(scope), "after": after, "limit": limit, "bytes_max": bytes_max}
    if plan_id:
        rows = await tx.all(SQL.plan_events_page, plan_id=plan_id, **bounds)
    else:
        rows = await tx.all(SQL.events_page, **bounds)
    return await _readable(tx, scope, rows), bool(rows) and rows[0]["found"] > len(rows)


async def _readable(tx: Tx, scope: Scope, rows: Sequence[Mapping[str, Any]]) -> list[StoredEvent]:
    """Opens what is sealed; a payload without anything sealed is not even parsed."""
    names = [f.name for f in dataclasses.fields(StoredEvent) if f.name != "stored_text"]
    events = [StoredEvent(**{n: r[n] for n in names}, stored_text=r["payload_text"]) for r in rows]
    sealed = [n for n, event in enumerate(events) if '"$sealed"' in event.stored_text]
    if sealed:
        stored = [
            Stored(scope, e.stream, e.event_type, json.loads(e.stored_text)) for e in map(events.__getitem__, sealed)
        ]
        for n, payload in zip(sealed, await tx.vault.open_all(tx, stored, lenient=True), strict=True):
            events[n] = dataclasses.replace(events[n], payload_text=payload_text(payload))
    return events


async def inbox_page(
    tx: Tx, scope: Scope, receivers: Sequence[str], before: tuple[int, str], limit: int
) -> list[tuple[int, str, Mapping[str, Any]]]:
    """Returns receivers' envelopes, newest first: the seq of the cause, the receiver, the envelope."""
    rows = await tx.all(
        SQL.inbox_page, **_scope(scope), receivers=list(receivers), before_seq=before[0], before_receiver=before[1],
        limit=limit,
    )  # fmt: skip
    return [(r["seq"], r["receiver_id"], r["envelope"]) for r in rows]


async def sent_page(
    tx: Tx, scope: Scope, receivers: Sequence[str], after: int, limit: int
) -> tuple[int, list[Mapping[str, Any]]]:
    """Returns where a page of the history ends (`after` when it is empty), and the envelopes sent in it, in order."""
    rows = await tx.all(SQL.sent_page, **_scope(scope), after=after, limit=limit)
    if not rows:
        return after, []
    sent = {
        r["seq"]: upcast(r["event_type"], r["schema_version"], r["payload"]) for r in rows if r["payload"] is not None
    }
    causes = sorted({e["cause_seq"] for payload in sent.values() for e in payload["envelopes"]})
    if not causes:
        return rows[-1]["seq"], []
    found = await tx.all(SQL.envelopes_of, **_scope(scope), causes=causes, receivers=list(receivers))
    # The envelopes about one event may have been told in two events; each is delivered with its own.
    mine = [r["envelope"] for r in found if r["envelope"]["seq"] in sent]
    return rows[-1]["seq"], sorted(mine, key=lambda e: e["seq"])


def _scope(scope: Scope) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}


def _key(cause: Cause) -> dict[str, str]:
    return {"tenant_id": cause.tenant_id, "project_id": cause.project_id, "plan_id": cause.plan_id}


def _plan_of(cause: Cause) -> PlanKey:
    return (cause.tenant_id, cause.project_id, cause.plan_id)


def _plan_of_row(row: Mapping[str, Any]) -> PlanKey:
    return (row["tenant_id"], row["project_id"], row["plan_id"])


def _task(row: Mapping[str, Any]) -> OwnedTask:
    return OwnedTask(row["task_id"], row["title"], row["owner_agent_id"])


def _rows(keys: Iterable[tuple[str, ...]]) -> str:
    names = ("tenant_id", "project_id", "plan_id", "task_id")
    return json.dumps([dict(zip(names, key, strict=False)) for key in sorted(keys)])
