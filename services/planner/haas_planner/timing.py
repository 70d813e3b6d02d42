"""A shard's time: the database's clock, and one timer for everything that is due some day."""

import asyncio
import heapq
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
_US = 1_000_000


class Timers(Generic[Key]):
    """What is due when, by key. However many plans wait, the event loop holds one timer.

    The time is the database's: `set_clock` takes what it said last, and the loop's own clock measures from there;
    without it, the time is the loop's.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ahead_us = 0
        self._heap: list[tuple[int, int, Key]] = []
        self._due: dict[Key, tuple[int, int, Key]] = {}
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None
        self._at_us = 0

    def set_clock(self, now_us: int) -> None:
        """Takes the database's time, in microseconds of the epoch."""
        self._ahead_us = now_us - self._local_us()

    def now_us(self) -> int:
        """Returns the database's time as far as this process knows it."""
        return self._local_us() + self._ahead_us

    def _local_us(self) -> int:
        if self._loop is None:
            # Once: it asks the system for the process every time, and a task asks for the time often.
            self._loop = asyncio.get_running_loop()
        return int(self._loop.time() * _US)

    def add(self, key: Key, at_us: int) -> None:
        """Makes a key due; a time that was given before no longer counts."""
        known = self._due.get(key)
        if known is not None and known[0] == at_us:
            return
        self._count += 1
        entry = (at_us, self._count, key)
        self._due[key] = entry
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = list(self._due.values())
            heapq.heapify(self._heap)
        self._arm()

    def drop(self, key: Key) -> None:
        """Forgets a key."""
        self._due.pop(key, None)

    def due(self) -> list[Key]:
        """Takes what is due by now."""
        now_us = self.now_us()
        found: list[Key] = []
        while self._heap and (self._heap[0][0] <= now_us or self._is_stale(self._heap[0])):
            entry = heapq.heappop(self._heap)
            if not self._is_stale(entry):
                del self._due[entry[2]]
                found.append(entry[2])
        self._arm()
        return found

    def stop(self) -> None:
        """Ends the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _is_stale(self, entry: tuple[int, int, Key]) -> bool:
        return self._due.get(entry[2]) != entry

    def _arm(self) -> None:
        if not self._heap:
            self.stop()
            return
        at_us = self._heap[0][0]
        if self._handle is not None and self._at_us == at_us and not self._handle.cancelled():
            return
        self.stop()
        delay_s = max(0.0, (at_us - self.now_us()) / _US)
        # A wake-up before its time would find nothing due; a day is as far as a loop's timer need reach.
        self._at_us = at_us
        self._handle = asyncio.get_running_loop().call_later(min(delay_s + 0.0005, 86_400), self._ring)

    def _ring(self) -> None:
        self._handle = None
        self._wake()
