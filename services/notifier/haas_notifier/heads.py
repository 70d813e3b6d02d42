"""Where projects' histories end, watched once for all streams of the process.

An idle stream costs an event object. One task hears the doorbell (and looks after a while in any case), reads the head
of each project that somebody follows, once, and wakes only those whose project moved.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from haas_common import errors
from haas_common.db import Database, Scope
from haas_common.doorbell import Doorbell
from haas_notifier import store

_log = logging.getLogger(__name__)
TOPIC_EVENTS = "events"
FALLBACK_S = 4.0


class News:
    """A follower's sign that its project moved. Clear it, read, and wait only when nothing was there to read."""

    def __init__(self) -> None:
        self._moved = asyncio.Event()

    def clear(self) -> None:
        """Call it before reading: what comes after the read then still wakes the wait."""
        self._moved.clear()

    def tell(self) -> None:
        """Wakes the follower."""
        self._moved.set()

    async def wait(self, timeout_s: float) -> bool:
        """Waits for a move, at most `timeout_s`; tells whether one came."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._moved.wait()
        except TimeoutError:
            return False
        return True


class Heads:
    """Wakes followers whose project has new events."""

    def __init__(self, database: Database, doorbell: Doorbell) -> None:
        self._database = database
        self._doorbell = doorbell
        self._followers: dict[Scope, set[News]] = {}
        self._known: dict[Scope, int] = {}
        self._task: asyncio.Task[None] | None = None
        #: How many heads were read.
        self.looks = 0
        #: Whether the process is about to end, so that streams say farewell.
        self.ending = False

    async def start(self) -> None:
        """Starts to watch in the background."""
        self._task = asyncio.create_task(self._watch(), name="heads")

    async def stop(self) -> None:
        """Stops."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def farewell(self) -> None:
        """Wakes every follower, to end its stream while its client can still be told."""
        self.ending = True
        for follower in [f for followers in self._followers.values() for f in followers]:
            follower.tell()

    @contextlib.contextmanager
    def follow(self, scope: Scope) -> Iterator[News]:
        """Tells a follower of a project's moves for as long as the block runs."""
        mine = News()
        self._followers.setdefault(scope, set()).add(mine)
        try:
            yield mine
        finally:
            self._followers[scope].discard(mine)
            if not self._followers[scope]:
                del self._followers[scope]
                self._known.pop(scope, None)

    async def _watch(self) -> None:
        with self._doorbell.bell(TOPIC_EVENTS) as bell:
            while True:
                await bell.wait(FALLBACK_S)
                try:
                    for scope in list(self._followers):
                        await self._look(scope)
                except errors.HaasError as error:
                    _log.warning("heads: cannot be read (%s); again soon", error.reason)

    async def _look(self, scope: Scope) -> None:
        self.looks += 1
        async with self._database.tenant_tx(scope, timeout_s=FALLBACK_S) as tx:
            head = await store.head(tx, scope)
        if scope not in self._followers or self._known.get(scope) == head.last_seq:
            return
        self._known[scope] = head.last_seq
        for follower in self._followers[scope]:
            follower.tell()
