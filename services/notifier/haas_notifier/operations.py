"""What the servicer asks for: pages of the history and of the inbox, and streams of both that may be taken up again.

A stream holds one small page in memory and reads the next when the client has taken this one (flow control): a client
that does not read costs a page, never a queue.
"""

import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from haas_common import deadlines, errors
from haas_common.db import Database, Scope
from haas_notifier import domain, store
from haas_notifier.heads import Heads
from haas_notifier.store import StoredEvent

EVENTS_DEFAULT = 200
#: Below gRPC's default limit for a message, 4 MiB.
LIST_BYTES_MAX = 3 * 1024 * 1024
STREAM_EVENTS_MAX = 100
#: 1,024 streams that do not read hold 96 MiB between them at the very most (a page may end with one 32 KiB event).
STREAM_BYTES_MAX = 64 * 1024
INBOX_DEFAULT = 50
_SEQ_MAX = 2**63 - 1
#: A stream tells that its time is over while it still can.
FAREWELL_S = 1.0
_WAIT_MIN_S = 0.25


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """A plan's stream is over; the plan is in this state."""

    state: str


@dataclasses.dataclass(frozen=True, slots=True)
class Silence:
    """Nothing happened for a while."""


@dataclasses.dataclass(frozen=True, slots=True)
class InboxPage:
    """Envelopes, newest first, and the place of the last one; None at the end."""

    envelopes: list[Mapping[str, Any]]
    last: tuple[int, str] | None


class Operations:
    """The readers of one project's history and inbox."""

    def __init__(self, database: Database, heads: Heads) -> None:
        self._database = database
        self._heads = heads

    async def list_events(
        self, scope: Scope, plan_id: str, after: int, page_size: int, *, stored: bool = False
    ) -> tuple[list[StoredEvent], bool]:
        """Returns a page of the history and whether more are there; `stored`: each payload is sent twice.

        Raises CursorOutOfRange.
        """
        limit, bytes_max = page_size or EVENTS_DEFAULT, LIST_BYTES_MAX // (2 if stored else 1)
        async with self._database.tenant_tx(scope) as tx:
            _check(await store.head(tx, scope), after)
            return await store.events_page(tx, scope, plan_id, after, limit, bytes_max)

    async def check_start(self, scope: Scope, plan_id: str, after: int) -> None:
        """Refuses a stream that cannot begin. Raises ResourceNotFound, CursorOutOfRange."""
        async with self._database.tenant_tx(scope) as tx:
            if plan_id and await store.plan_place(tx, scope, plan_id) is None:
                raise errors.ResourceNotFound(f"There is no plan {plan_id}.", resource="plan", id=plan_id)
            _check(await store.head(tx, scope), after)

    async def follow(
        self, scope: Scope, plan_id: str, after: int, silence_s: float
    ) -> AsyncGenerator[StoredEvent | Silence | End]:
        """Yields a project's events after a seq, then those to come; ends with End when a plan is named and over.

        A plan that was reopened is not over with the end that it once had.

        Args:
            scope: the tenant and project.
            plan_id: only this plan's; empty: all.
            after: where to begin, see check_start.
            silence_s: yields Silence when nothing happened for so long.
        """
        with self._heads.follow(scope) as news:
            while True:
                self._check_staying()
                news.clear()
                events, more, state, last = await self._read(scope, plan_id, after)
                for event in events:
                    yield event
                    after = event.seq
                    if plan_id and event.event_type in domain.END_STATES and last <= after:
                        yield End(domain.END_STATES[event.event_type])
                        return
                if more:
                    continue
                if state in domain.END_STATES.values() and last <= after:
                    yield End(state)
                    return
                if not events and not await news.wait(_patience_s(silence_s)):
                    yield Silence()

    def _check_staying(self) -> None:
        if self._heads.ending:
            sentence = "The notifier ends or restarts; come back with the last id."
            raise errors.ServiceUnavailable(sentence, service="notifier")

    async def _read(self, scope: Scope, plan_id: str, after: int) -> tuple[list[StoredEvent], bool, str, int]:
        """A page, whether more are there, and where the plan stood after that, with the seq of its last event."""
        async with self._database.tenant_tx(scope) as tx:
            events, more = await store.events_page(tx, scope, plan_id, after, STREAM_EVENTS_MAX, STREAM_BYTES_MAX)
            place = await store.plan_place(tx, scope, plan_id) if plan_id else None
        return events, more, *(place or ("", 0))

    async def list_inbox(
        self, scope: Scope, receivers: Sequence[str], before: tuple[int, str] | None, page_size: int
    ) -> InboxPage:
        """Returns receivers' envelopes, newest first, before a place."""
        limit = page_size or INBOX_DEFAULT
        async with self._database.tenant_tx(scope) as tx:
            rows = await store.inbox_page(tx, scope, receivers, before or (_SEQ_MAX, ""), limit + 1)
        last = rows[limit - 1][:2] if len(rows) > limit else None
        return InboxPage([envelope for _, _, envelope in rows[:limit]], last)

    async def follow_inbox(
        self, scope: Scope, receivers: Sequence[str], after: int, silence_s: float
    ) -> AsyncGenerator[list[Mapping[str, Any]] | Silence]:
        """Yields receivers' envelopes after a seq, then those to come; those of one seq together, so that a client
        that comes back with the seq of one of them misses none.
        """
        with self._heads.follow(scope) as news:
            while True:
                self._check_staying()
                news.clear()
                async with self._database.tenant_tx(scope) as tx:
                    upto, envelopes = await store.sent_page(tx, scope, receivers, after, STREAM_EVENTS_MAX)
                for seq in dict.fromkeys(e["seq"] for e in envelopes):
                    yield [e for e in envelopes if e["seq"] == seq]
                moved, after = upto > after, upto
                if not moved and not await news.wait(_patience_s(silence_s)):
                    yield Silence()


def _patience_s(silence_s: float) -> float:
    """How long to wait in silence: until shortly before the call's deadline at most."""
    return max(_WAIT_MIN_S, deadlines.remaining_s(silence_s + FAREWELL_S) - FAREWELL_S)


def _check(head: store.Head, after: int) -> None:
    """From 0 on means from the first event that is kept; whoever names a seq is told when what follows it is gone."""
    if after > head.last_seq or 0 < after < head.first_seq - 1:
        raise errors.CursorOutOfRange(
            f"The history holds the events {head.first_seq} to {head.last_seq}.",
            first_seq=head.first_seq,
            last_seq=head.last_seq,
        )
