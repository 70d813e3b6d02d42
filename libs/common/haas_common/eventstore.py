"""The history: append in one order, in the transaction that changes state (design 2, 3, 21)."""

import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from haas_common.db import Lease, Scope, Tx, load_queries
from haas_common.events import EVENT_TYPES, check, upcast
from haas_common.strings import nul_in

SQL = load_queries("haas_common")
PAYLOAD_BYTES_MAX = 32 * 1024
# Made once: json.dumps makes an encoder per call wherever an option is not its default.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclasses.dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append.

    Attributes:
        stream: e.g. "plan/pl-1"; only its owner appends to it (design 2).
        type: a name of haas_common.events.
        payload: what happened, JSON-able; larger things go to the blob store by hash (design 7).
        expected_version: the stream's version before this batch; None where the writer needs no such check.
        schema_version: of the payload; 0 for the version of today.
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


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """Where an event came to stand."""

    seq: int
    version: int
    hash: bytes
    recorded_at: datetime.datetime


def payload_text(payload: Mapping[str, Any]) -> str:
    """Returns the bytes that are kept and hashed. Raises ValueError for more than 32 KiB, or a text with a NUL."""
    text = _encode(payload)
    if "\\u0000" in text and nul_in(payload):
        raise ValueError("an event's payload holds no NUL: PostgreSQL cannot read one")
    # A character has at most four bytes, so that most texts need no count.
    if len(text) * 4 > PAYLOAD_BYTES_MAX and len(text.encode()) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"an event's payload has at most {PAYLOAD_BYTES_MAX} bytes; put it into the blob store")
    return text


def event_text(event_type: str, payload: Mapping[str, Any], schema_version: int = 0) -> str:
    """Returns the bytes of an event that the history can keep.

    Raises:
        ValueError: no such type, a payload that breaks its type, or one that `payload_text` refuses.
    """
    check(event_type, upcast(event_type, schema_version, dict(payload)) if schema_version else payload)
    return payload_text(payload)


def _document(events: Sequence[NewEvent]) -> str:
    """Returns the batch as the JSON array that haas.append reads; payloads keep their exact bytes."""
    rows = []
    for event in events:
        text = event_text(event.type, event.payload, event.schema_version)
        head = _encode(
            {
                "tenant_id": event.scope.tenant_id,
                "project_id": event.scope.project_id,
                "stream": event.stream,
                "expected_version": event.expected_version,
                "event_type": event.type,
                "schema_version": event.schema_version or EVENT_TYPES[event.type].schema_version,
                "plan_id": event.plan_id,
                "task_id": event.task_id,
                "actor": event.actor,
                "causation_id": event.causation_id,
                "correlation_id": event.correlation_id,
                "trace_id": event.trace_id,
            }
        )
        rows.append(f'{head[:-1]},"payload":{text}}}')
    return f"[{','.join(rows)}]"


async def append(tx: Tx, events: Sequence[NewEvent], lease: Lease | None = None) -> list[Recorded]:
    """Appends a batch, all or nothing; returns where each came to stand, in order.

    Raises StreamVersionConflict, and with a lease LeaseLost.
    """
    if not events:
        return []
    rows = await tx.all(
        SQL.append, doc=_document(events), lease=lease.name if lease else None, epoch=lease.epoch if lease else None
    )
    return [Recorded(r["event_seq"], r["event_version"], r["event_hash"], r["event_recorded_at"]) for r in rows]
