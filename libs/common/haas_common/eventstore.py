"""The history: append in one order, in the transaction that changes state (design 2, 3, 21)."""

import dataclasses
import datetime
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import to_json

from haas_common import calls, clock, metrics
from haas_common.db import Lease, Scope, Tx, load_queries
from haas_common.events import EVENT_TYPES, check, upcast
from haas_common.sealing import Vault, sealed_form
from haas_common.strings import nul_in

SQL = load_queries("haas_common")
PAYLOAD_BYTES_MAX = 32 * 1024
# How haas.append reads a batch: its streams, its events, the fields of each, apart by characters that JSON cannot hold.
_PART, _LINE, _FIELD = "\x1d", "\x1e", "\x1f"
_MARKS = (_PART, _LINE, _FIELD, "\0")
_STREAM_FIELDS, _EVENT_FIELDS = 4, 10
_CONTROL = "the stream, plan, task, actor or trace of an event {} holds a control character"


class NewEvent(NamedTuple):
    """An event to append.

    Attributes:
        stream: e.g. "plan/pl-1"; only its owner appends to it (design 2).
        type: a name of haas_common.events.
        payload: what happened, JSON-able; larger things go to the blob store by hash (design 7).
        expected_version: the stream's version before this batch; None where the writer needs no such check.
        causation_id: what led to it: a request, or "attempt/<task>/<number>"; "" for the call under way.
        correlation_id: what it belongs to; "" for its plan, or else the call under way.
        schema_version: of the payload; 0 for the version of today.
        subject: the person whose data its personal fields are, sealed under that person's key; "" for nobody's own.
    """

    scope: Scope
    stream: str
    type: str
    payload: Mapping[str, Any]
    actor: str
    plan_id: str = ""
    task_id: str = ""
    expected_version: int | None = None
    causation_id: str = ""
    correlation_id: str = ""
    trace_id: str = ""
    schema_version: int = 0
    subject: str = ""


class Recorded(NamedTuple):
    """Where an event came to stand."""

    seq: int
    version: int
    hash: bytes
    recorded_at: datetime.datetime


def payload_text(payload: Mapping[str, Any]) -> str:
    """Returns the bytes that are kept and hashed.

    Raises ValueError for more than 32 KiB, a text with a NUL or half a character, or a number that JSON has not.
    """
    data = to_json(payload)
    if len(data) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"an event's payload has at most {PAYLOAD_BYTES_MAX} bytes; put it into the blob store")
    if b"\\u0000" in data and nul_in(payload):
        raise ValueError("an event's payload holds no NUL: PostgreSQL cannot read one")
    if b"NaN" in data or b"Infinity" in data:
        json.dumps(payload, allow_nan=False)  # they may stand in a text; as numbers it refuses them
    return data.decode()


def event_text(event_type: str, payload: Mapping[str, Any], schema_version: int = 0) -> str:
    """Returns the bytes of an event that the history can keep.

    Raises:
        ValueError: no such type, a payload that breaks its type, or one that `payload_text` refuses.
    """
    check(event_type, upcast(event_type, schema_version, dict(payload)) if schema_version else payload)
    return payload_text(payload)


def check_storable(event_type: str, payload: Mapping[str, Any], *names: str) -> None:
    """Refuses what `append` would refuse, without a transaction: the payload, or names such as the task and the actor.

    Raises ValueError as `append` does.
    """
    if any(mark in name for name in names for mark in _MARKS):
        raise ValueError(_CONTROL.format(event_type))
    event_text(event_type, payload)
    payload_text(sealed_form(event_type, payload))


def _document(events: Sequence[NewEvent], texts: Sequence[str], call_id: str) -> str:
    """Returns the batch as the one text that haas.append reads; payloads keep their exact bytes.

    What names no cause was caused by the call under way; what names nothing that it belongs to belongs to its plan.
    """
    places: dict[tuple[str, str, str], int] = {}
    expected: dict[int, int] = {}
    lines = []
    for event, text in zip(events, texts, strict=True):
        scope, kind, wanted = event.scope, event.type, event.expected_version
        at = places.setdefault((scope.tenant_id, scope.project_id, event.stream), len(places) + 1)
        if wanted is not None and expected.setdefault(at, wanted) != wanted:
            raise ValueError("the events of a batch expect different versions of one stream")
        version = event.schema_version or EVENT_TYPES[kind].schema_version
        lines.append(
            f"{at}{_FIELD}{kind}{_FIELD}{version}{_FIELD}{event.plan_id}{_FIELD}{event.task_id}{_FIELD}{event.actor}{_FIELD}"
            f"{event.causation_id or call_id}{_FIELD}{event.correlation_id or event.plan_id or call_id}{_FIELD}"
            f"{event.trace_id}{_FIELD}{text}"
        )
    streams = [_FIELD.join((*names, str(expected.get(at, "")))) for names, at in places.items()]
    document = _LINE.join(streams) + _PART + _LINE.join(lines)
    breaks = max(0, len(streams) - 1) + max(0, len(lines) - 1)
    fields = len(streams) * (_STREAM_FIELDS - 1) + len(lines) * (_EVENT_FIELDS - 1)
    # JSON has no control characters: one more of ours, or a NUL, came with a name.
    if tuple(map(document.count, _MARKS)) != (1, breaks, fields, 0):
        raise ValueError(_CONTROL.format(_broken(lines, events)))
    return document


def _broken(lines: Sequence[str], events: Sequence[NewEvent]) -> str:
    """Returns the type of the event that breaks a document; the first one's where it is the name of a stream."""
    for line, event in zip(lines, events, strict=True):
        if tuple(map(line.count, _MARKS)) != (0, 0, _EVENT_FIELDS - 1, 0):
            return event.type
    return events[0].type


@dataclasses.dataclass(frozen=True, slots=True)
class Ready:
    """A batch that is checked, and sealed as far as the keys are known; nothing of it is written.

    Attributes:
        events: the batch.
        texts: their payloads in the clear, as they would be kept.
        doc: what haas.append reads; empty where a key is not known: then only a transaction can seal it.
        keys: the living keys that it was sealed under, each (tenant, project, key): to be held before it is written.
    """

    events: Sequence[NewEvent]
    texts: Sequence[str]
    doc: str = ""
    keys: Sequence[tuple[str, str, str]] = ()


def ready(vault: Vault | None, events: Sequence[NewEvent]) -> Ready:
    """Checks a batch and, with keys that were used of late, seals it: what can be done before a transaction begins.

    Raises ValueError: an event that the history cannot keep, as `event_text` says.
    """
    # Checked before anything is sealed: a key is made for no event that cannot be kept.
    texts = [event_text(event.type, event.payload, event.schema_version) for event in events]
    known = vault.seal_known(events) if vault is not None else None
    if known is None:
        return Ready(events, texts)
    return Ready(events, texts, _sealed_document(events, texts, known[0]), known[1])


async def sealed(tx: Tx, batch: Ready) -> str:
    """Returns what haas.append reads, sealed under keys that are held until the transaction ends."""
    return _sealed_document(batch.events, batch.texts, await tx.vault.seal_all(tx, batch.events))


def _sealed_document(events: Sequence[NewEvent], plain: Sequence[str], payloads: Sequence[Mapping[str, Any]]) -> str:
    texts = [
        text if payload is event.payload else payload_text(payload)
        for event, text, payload in zip(events, plain, payloads, strict=True)
    ]
    call = calls.call_or_none()
    return _document(events, texts, call.request_id if call else "")


async def append(tx: Tx, events: Sequence[NewEvent], lease: Lease | None = None) -> list[Recorded]:
    """Appends a batch, all or nothing; returns where each came to stand, in order.

    Raises:
        ValueError: an event that the history cannot keep, as `event_text` says.
        StreamVersionConflict: another writer came first.
        LeaseLost: the lease is somebody else's by now.
    """
    if not events:
        return []
    began = clock.monotonic_s()
    row = await tx.one(
        SQL.append,
        doc=await sealed(tx, ready(None, events)),
        lease=lease.name if lease else None,
        epoch=lease.epoch if lease else None,
    )
    count(len(events), began)
    at, hashes = row["recorded_at"], row["hashes"]
    split = [hashes[n : n + 32] for n in range(0, len(hashes), 32)]
    return list(map(Recorded, row["seqs"], row["versions"], split, itertools.repeat(at)))


def count(events: int, began_s: float) -> None:
    """Counts an append of so many events that began then (clock.monotonic_s)."""
    metrics.APPEND_S.observe(clock.monotonic_s() - began_s)
    metrics.APPEND_BATCH.observe(events)
    metrics.APPENDED.inc(events)
