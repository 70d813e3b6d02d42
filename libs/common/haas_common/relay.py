"""The one tailing reader of every project's history: a cursor behind the log's horizon, under a lease.

A page and what is made of it are one transaction, and the cursor moves only from where it was read: whoever crashes,
wakes up late or reads a page again does nothing twice and leaves nothing out.
"""

import abc
import asyncio
import dataclasses
import datetime
import logging
from collections.abc import Mapping
from typing import Any

from haas_common import errors
from haas_common.db import Database, Lease, Scope, Tx
from haas_common.doorbell import Doorbell
from haas_common.eventstore import SQL
from haas_common.relay_lag import LagWatch

_log = logging.getLogger(__name__)
TOPIC_EVENTS = "events"
PAGE = 500
IDLE_S = 4.0
UNSETTLED_S = 0.05
BACKOFF_S_MAX = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Passed:
    """An event as it is stored. `payload` is None for a type that the reader does not ask for whole."""

    tenant_id: str
    project_id: str
    seq: int
    stream: str
    version: int
    event_type: str
    schema_version: int
    plan_id: str
    task_id: str
    actor: str
    recorded_at: datetime.datetime
    payload: Mapping[str, Any] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """Everything up to here was read: the transaction (as PostgreSQL writes an xid8) and the row."""

    xid: str
    id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """The next events of all projects, from the cursor to the page's end."""

    start: Position
    end: Position
    events: tuple[Passed, ...]


_FIELDS = tuple(field.name for field in dataclasses.fields(Passed))


class Tail(abc.ABC):
    """Reads everything once, for as long as the lease is held; what is made of it is the subclass's.

    Attributes:
        name: of the cursor's row.
        whole: the types whose payloads are read.
    """

    name: str
    whole: tuple[str, ...]

    def __init__(self, lease: Lease, database: Database, doorbell: Doorbell, page: int = PAGE) -> None:
        """Keeps what it works with.

        Args:
            lease: what it holds.
            database: where the history is.
            doorbell: topic "events" wakes it.
            page: how many events it reads at a time.
        """
        self._lease = lease
        self._database = database
        self._doorbell = doorbell
        self._page = page
        self._scopes: frozenset[Scope] = frozenset()
        self._lag = LagWatch(self.name)

    @abc.abstractmethod
    async def take(self, tx: Tx, page: Page) -> int:
        """Makes of a page what is to be made of it, in the transaction that moves the cursor; returns how much."""

    @abc.abstractmethod
    def told(self) -> None:
        """Is called after the commit of a page that led to something."""

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
                    _log.warning("relay %s: not committed (%s); again soon", self.name, error.reason)
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(BACKOFF_S_MAX, backoff_s * 2)
                    continue
                # What holds the horizon back may end without a ring: look again soon, then less and less often.
                rung = await bell.wait(pause_s if unsettled else IDLE_S)
                pause_s = min(IDLE_S, pause_s * 2) if unsettled and not rung else UNSETTLED_S

    async def drain(self) -> int:
        """Works off what is settled; returns how much was made of it. Raises LeaseLost."""
        total = 0
        await self._refresh()
        while True:
            page = await self._step()
            if page is None:
                await self._refresh()
                continue
            events, made = page
            total += made
            if made:
                self.told()
            if events < self._page:
                return total

    async def unsettled(self) -> bool:
        """Tells whether events wait that may not be read yet: somebody could still come before them."""
        async with self._database.batch_tx(self._lease, self._scopes) as tx:
            return (await self._lag.look(tx)).events > 0

    async def _refresh(self) -> None:
        async with self._database.batch_tx(self._lease, []) as tx:
            rows = await tx.all(SQL.relay_projects)
        self._scopes = frozenset(Scope(r["tenant_id"], r["project_id"]) for r in rows)

    async def _step(self) -> tuple[int, int] | None:
        """One page: how many events it had and what was made of it. None: a project came up meanwhile.

        An event's project was there before the event, so a look at the projects after the events were read finds
        whatever project the signed set left out; the page is then read again, with it.
        """
        async with self._database.batch_tx(self._lease, self._scopes) as tx:
            page = await self._next(tx)
            if not page.events:
                return 0, 0
            if await tx.maybe(SQL.relay_unseen_project) is not None:
                return None
            await self._advance(tx, page)
            made = await self.take(tx, page)
        return len(page.events), made

    async def _next(self, tx: Tx) -> Page:
        """Returns what follows the cursor, and is settled: no transaction that could still come before it runs."""
        await tx.run(SQL.relay_begin, name=self.name)
        cursor = await tx.one(SQL.relay_cursor, name=self.name)
        start = Position(cursor["at_xid"], cursor["at_id"])
        rows = await tx.all(SQL.relay_page, xid=start.xid, id=start.id, whole=list(self.whole), limit=self._page)
        end = Position(rows[-1]["at_xid"], rows[-1]["at_id"]) if rows else start
        return Page(start, end, tuple(Passed(**{name: row[name] for name in _FIELDS}) for row in rows))

    async def _advance(self, tx: Tx, page: Page) -> None:
        """Moves the cursor to the page's end. Raises LeaseLost where another has moved it since it was read."""
        moved = await tx.run(
            SQL.relay_advance, name=self.name, xid=page.end.xid, id=page.end.id, from_xid=page.start.xid,
            from_id=page.start.id,
        )  # fmt: skip
        if moved != 1:
            raise errors.LeaseLost("Another relay has moved the cursor.", lease=self._lease.name)
