"""The relay: one reader of every project's history, which decides who is told and tells it.

One page is one transaction: envelopes, the events that tell of them and the cursor are written together or not at all.
The cursor moves only from where it was read, the append is fenced by the lease, and an envelope has one key: whoever
crashes, wakes up late or reads a page again sends nothing twice and leaves nothing out.
"""

import asyncio
import dataclasses
import logging

from haas_common import errors
from haas_common.db import Database, Lease, Scope
from haas_common.doorbell import Doorbell
from haas_common.events import upcast
from haas_common.relay_lag import LagWatch
from haas_notifier import domain, store
from haas_notifier.domain import Cause, Envelope, Facts
from haas_notifier.store import PlanKey

_log = logging.getLogger(__name__)
LEASE = "relay/notifier"
TOPIC_EVENTS = "events"
TOPIC_NOTIFICATIONS = "notifications"
PAGE = 500
IDLE_S = 4.0
UNSETTLED_S = 0.05
BACKOFF_S_MAX = 5.0


class Relay:
    """Tells those concerned, for as long as the lease is held."""

    def __init__(self, lease: Lease, database: Database, doorbell: Doorbell, page: int = PAGE) -> None:
        """Keeps what it works with.

        Args:
            lease: what it holds.
            database: where the history is.
            doorbell: topic "events" wakes it; it rings "events" and "notifications".
            page: how many events it reads at a time.
        """
        self._lease = lease
        self._database = database
        self._doorbell = doorbell
        self._page = page
        self._scopes: frozenset[Scope] = frozenset()
        self._lag = LagWatch(store.RELAY)

    async def run(self) -> None:
        """Works until cancelled. Raises LeaseLost."""
        backoff_s, pause_s = 0.1, UNSETTLED_S
        with self._doorbell.bell(TOPIC_EVENTS) as bell:
            while True:
                try:
                    await self.drain()
                    unsettled = await self.unsettled()
                    backoff_s = 0.1
                except errors.LeaseLost:
                    raise
                except errors.HaasError as error:
                    _log.warning("relay: not committed (%s); again soon", error.reason)
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(BACKOFF_S_MAX, backoff_s * 2)
                    continue
                # What holds the horizon back may end without a ring: look again soon, then less and less often.
                rung = await bell.wait(pause_s if unsettled else IDLE_S)
                pause_s = min(IDLE_S, pause_s * 2) if unsettled and not rung else UNSETTLED_S

    async def drain(self) -> int:
        """Works off what is settled; returns how many envelopes were sent. Raises LeaseLost."""
        total = 0
        await self._refresh()
        while True:
            page = await self._step()
            if page is None:
                await self._refresh()
                continue
            events, sent = page
            total += sent
            if sent:
                self._doorbell.ring(TOPIC_EVENTS)
                self._doorbell.ring(TOPIC_NOTIFICATIONS)
            if events < self._page:
                return total

    async def unsettled(self) -> bool:
        """Tells whether events wait that may not be read yet: somebody could still come before them."""
        async with self._database.batch_tx(self._lease, self._scopes) as tx:
            return (await self._lag.look(tx)).events > 0

    async def _refresh(self) -> None:
        async with self._database.batch_tx(self._lease, []) as tx:
            self._scopes = await store.all_scopes(tx)

    async def _step(self) -> tuple[int, int] | None:
        """One page: how many events it had and how many envelopes it led to. None: a project came up meanwhile.

        An event's project was there before the event, so a look at the projects after the events were read finds
        whatever project the signed set left out; the page is then read again, with it.
        """
        async with self._database.batch_tx(self._lease, self._scopes) as tx:
            page = await store.next_page(tx, self._page)
            if not page.events:
                return 0, 0
            if await store.has_unseen_project(tx):
                return None
            if not await store.advance(tx, page):
                raise errors.LeaseLost("Another relay has moved the cursor.", lease=self._lease.name)
            facts = await store.facts_of(tx, page.causes) if page.causes else {}
            envelopes = _decide_all(await store.opened(tx, page.causes), facts)
            fresh = await store.unsent(tx, envelopes) if envelopes else []
            if fresh:
                requesters = {plan: known.requester for (plan, _), known in facts.items()}
                await store.send(tx, self._lease, fresh, requesters)
        return page.events, len(fresh)


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
