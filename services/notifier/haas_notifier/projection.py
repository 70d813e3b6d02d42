"""notifications as a fold of NotificationSent: the relay and a rebuild use the same.

`python -m haas_notifier.projection notifications` rebuilds it. Before version 2 the event said who was told, not what:
those rows are taken over from the live table as they are.
"""

import datetime
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from haas_common.projections import Key, Past, Projection, Row, step
from haas_common.projections.keyed import Fold, Keyed

TYPES = ("NotificationSent",)


def touched(event: Past) -> Sequence[Key]:
    """Returns the envelopes that an event tells of."""
    return [
        (event.tenant_id, event.project_id, sent["cause_seq"], receiver)
        for sent in event.payload["envelopes"]
        for receiver, _ in sent["receivers"]
    ]


def unknown(event: Past) -> bool:
    """Tells whether an event says who was told, but not what."""
    return any(sent.get("envelope") is None for sent in event.payload["envelopes"])


def apply(row: Row | None, event: Past, key: Key) -> Row | None:
    """Returns an envelope's row; once sent it never changes."""
    if row is not None:
        return row
    tenant_id, project_id, seq, receiver_id = key
    sent = next(s for s in event.payload["envelopes"] if s["cause_seq"] == seq and s["receivers"][0][0] == receiver_id)
    told: Mapping[str, Any] = sent["envelope"]
    at = datetime.datetime.fromisoformat(event.at).astimezone(datetime.UTC).isoformat()
    return {
        "tenant_id": tenant_id,
        "project_id": project_id,
        "seq": seq,
        "receiver_id": receiver_id,
        "message_id": told["message_id"],
        "envelope": {
            "message_id": told["message_id"],
            "conversation_id": event.plan_id,
            "sender_id": event.actor,
            "receiver_id": receiver_id,
            "timestamp": at,
            "performative": told["performative"],
            "schema_version": told["schema_version"],
            "tenant_id": tenant_id,
            "project_id": project_id,
            "nl_summary": told["nl_summary"],
            "content": {**told["content"], "plan_id": event.plan_id},
            "seq": event.seq,
        },
        "sent_at": at,
    }


def rows(event: Past) -> list[Row]:
    """Returns the rows of an event that was just appended."""
    return [row for key in touched(event) if (row := apply(None, event, key)) is not None]


def notifications() -> Keyed:
    """Returns the rebuild's fold."""
    key = ("tenant_id", "project_id", "seq", "receiver_id")
    return Keyed("notifications", "notifications", TYPES, Fold(touched, apply, unknown), key=key)


PROJECTIONS: dict[str, Callable[[], Projection]] = {"notifications": notifications}

if __name__ == "__main__":
    sys.exit(step.main(PROJECTIONS, sys.argv[1:]))
