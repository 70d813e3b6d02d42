"""The relay: one reader of every project's history, which decides who is told and tells it.

One page is one transaction: envelopes, the events that tell of them and the cursor are written together or not at all.
The cursor moves only from where it was read, the append is fenced by the lease, and an envelope has one key: whoever
crashes, wakes up late or reads a page again sends nothing twice and leaves nothing out.
"""

import dataclasses
import logging

from haas_common.db import Tx
from haas_common.events import upcast
from haas_common.relay import TOPIC_EVENTS, Page, Tail
from haas_notifier import domain, store
from haas_notifier.domain import Cause, Envelope, Facts
from haas_notifier.store import PlanKey

_log = logging.getLogger(__name__)
LEASE = "relay/notifier"
TOPIC_NOTIFICATIONS = "notifications"


class Relay(Tail):
    """Tells those concerned, for as long as the lease is held; it rings "events" and "notifications"."""

    name = "notifier"
    whole = domain.CAUSES

    async def take(self, tx: Tx, page: Page) -> int:
        """Sends the envelopes that a page leads to; returns how many."""
        causes = store.causes_of(page)
        facts = await store.facts_of(tx, causes) if causes else {}
        envelopes = _decide_all(await store.opened(tx, causes), facts)
        fresh = await store.unsent(tx, envelopes) if envelopes else []
        if fresh:
            requesters = {plan: known.requester for (plan, _), known in facts.items()}
            await store.send(tx, self._lease, fresh, requesters)
        return len(fresh)

    def told(self) -> None:
        """Wakes whoever follows."""
        self._doorbell.ring(TOPIC_EVENTS)
        self._doorbell.ring(TOPIC_NOTIFICATIONS)


def _decide_all(causes: tuple[Cause, ...], facts: dict[tuple[PlanKey, int], Facts]) -> list[Envelope]:
    """Decides every cause. One that cannot be decided is a fault of ours: it is told in the log, the others go on."""
    found: list[Envelope] = []
    for stored in causes:
        known = facts[(stored.tenant_id, stored.project_id, stored.plan_id), stored.seq]
        try:
            payload = upcast(stored.type, stored.schema_version, dict(stored.payload))
            cause = dataclasses.replace(stored, payload=payload)
            found += domain.decide(cause, known)
        except Exception:  # noqa: BLE001 - whatever the fault is, the other tenants' envelopes go out
            ids = {"tenant_id": stored.tenant_id, "project_id": stored.project_id, "plan_id": stored.plan_id}
            _log.exception("nobody is told of event %d: it cannot be decided", stored.seq, extra=ids)
            continue
        told = cause.payload.get("affected_count", len(known.affected))
        if cause.type == "ErrorDetected" and told != len(known.affected):
            _log.warning("event %d names %s tasks, its plan's edges lead to %d", cause.seq, told, len(known.affected))
    return found
