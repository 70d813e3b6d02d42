"""Wake-ups across processes: a coalesced ring after the commit, and slow jittered polling for a ring that was missed.

NOTIFY inside the hot transaction took two thirds of the append throughput; rung after the commit, on its own
connection and at most 1,000 times a second, it costs 4 to 9 % and wakes in about 2 ms (design 22). A topic says only
where to look, never what happened.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from typing import Any

import psycopg

from haas_common import metrics
from haas_common.db import Database

_log = logging.getLogger(__name__)
_CHANNEL = "haas"
_GAP_S = 0.001
_RETRY_S = 1.0
# What a last ring may take at the end: the database may be away.
_LAST_S = 0.5


class Bell:
    """A subscriber's bell: `wait` returns when a topic of its was rung, or after a while in any case."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wakes the subscriber; rings that come together wake it once."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> bool:
        """Waits for a ring, at most about `timeout_s` (jittered, so that fleets do not poll in step)."""
        try:
            async with asyncio.timeout(timeout_s * random.uniform(0.75, 1.25)):  # noqa: S311 - spread, not secrecy
                await self._rung.wait()
        except TimeoutError:
            return False
        finally:
            self._rung.clear()
        return True


class Doorbell:
    """Rings and hears topics over PostgreSQL's LISTEN/NOTIFY, with one connection of its own."""

    def __init__(self, database: Database) -> None:
        self._conninfo = database.conninfo
        self._bells: dict[str, set[Bell]] = {}
        self._pending: set[str] = set()
        self._something = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._tasks: list[asyncio.Task[None]] = []
        # The server's process behind what rings for us; 0 while there is none.
        self._ringer = 0

    async def start(self) -> None:
        """Starts ringing and hearing in the background; a lost connection is made anew."""
        self._tasks = [
            asyncio.create_task(self._keep(self._ring_loop), name="doorbell-ring"),
            asyncio.create_task(self._keep(self._hear_loop), name="doorbell-hear"),
        ]

    async def stop(self) -> None:
        """Stops both; what was rung before still goes out, unless the database is away."""
        if self._tasks:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_S):
                    await self._quiet.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def ring(self, topic: str) -> None:
        """Rings a topic here at once, and everywhere within a few milliseconds. Call it after the commit."""
        metrics.RUNG.inc()
        self._wake(topic)
        self._pending.add(topic)
        self._quiet.clear()
        self._something.set()

    @contextlib.contextmanager
    def bell(self, *topics: str):  # type: ignore[no-untyped-def]
        """Subscribes to topics for as long as the block runs."""
        mine = Bell()
        for topic in topics:
            self._bells.setdefault(topic, set()).add(mine)
        try:
            yield mine
        finally:
            for topic in topics:
                self._bells[topic].discard(mine)
                if not self._bells[topic]:
                    del self._bells[topic]

    def _wake(self, topic: str) -> None:
        for bell in self._bells.get(topic, ()):
            bell.ring()

    async def _keep(self, loop: Any) -> None:
        while True:
            try:
                async with self._connection() as connection:
                    await loop(connection)
            except psycopg.Error as error:
                metrics.DOORBELL_LOST.inc()
                _log.warning("doorbell: the database is away (%s); polling meanwhile", type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        connection = await psycopg.AsyncConnection.connect(**self._conninfo, autocommit=True)
        try:
            yield connection
        finally:
            await connection.close()

    async def _ring_loop(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute(b"SET synchronous_commit = off")
        self._ringer = connection.info.backend_pid
        while True:
            await self._something.wait()
            self._something.clear()
            topics = sorted(self._pending)
            self._pending.clear()
            try:
                await connection.execute(b"SELECT pg_notify(%s, t) FROM unnest(%s::text[]) AS t", (_CHANNEL, topics))
            except psycopg.Error:
                self._ringer = 0
                # A connection that broke while nothing was rung is found out here: the next one carries these too.
                self._pending.update(topics)
                self._something.set()
                raise
            metrics.SENT.inc()
            if not self._pending:
                self._quiet.set()
            await asyncio.sleep(_GAP_S)

    async def _hear_loop(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute(b"LISTEN haas")
        for bells in self._bells.values():  # what was rung while nobody listened
            for bell in bells:
                bell.ring()
        async for notice in connection.notifies():
            metrics.HEARD.inc()
            if notice.pid != self._ringer:  # what we rang ourselves has woken ours at once
                self._wake(notice.payload)
