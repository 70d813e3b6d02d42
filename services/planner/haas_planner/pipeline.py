"""Two batches of a shard at once: one that is being committed, and on top of it one that is being decided."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from haas_planner.batch import Batch, unwritable
from haas_planner.log import Commit, Log, PlanKey


class Owner(Protocol):
    """What becomes of batches."""

    def kept(self, batch: Batch) -> None:
        """The batch is in the log."""

    def forget(self, batch: Batch) -> None:
        """The batch is not in the log, as far as is known: memory is no longer the log's fold."""

    def blame(self, key: PlanKey, batch: Batch) -> None:
        """A plan has an event that no log can keep."""


class Pipeline:
    """The commits of a shard, one at a time and in order.

    What was decided on top of a batch falls with it. A batch that could not be decided or prepared falls alone, after
    the one under way has ended.

    Attributes:
        open: what is decided for the next commit.
    """

    def __init__(
        self, name: str, log: Log, owner: Owner, wake: Callable[[], None], clock: Callable[[int], None]
    ) -> None:
        self._name = name
        self._log = log
        self._owner = owner
        self._wake = wake
        self._clock = clock
        self.open: Batch | None = None
        self._flight: tuple[Batch, asyncio.Task[int]] | None = None

    @property
    def flying(self) -> bool:
        """Whether a commit is under way."""
        return self._flight is not None

    def undone(self) -> list[Batch]:
        """Returns what is decided and not yet known to be kept."""
        return [b for b in (self._flight[0] if self._flight else None, self.open) if b is not None]

    def holds(self, key: PlanKey) -> bool:
        """Tells whether a plan is part of what is not yet known to be kept."""
        return any(key in batch.bases for batch in self.undone())

    def close(self, commit: Callable[[Batch], Commit]) -> None:
        """Prepares the open batch, if it is its turn or it is full, and there is something to keep."""
        batch = self.open
        if batch is None or batch.sealed is not None or not batch.commit_is_wanted():
            return
        if self._flight is None or batch.is_full():
            found = commit(batch)
            self._log.prepare(found)
            batch.sealed = found

    async def go_on(self) -> None:
        """Sends the open batch if none is under way; one without anything to keep has ended by that."""
        batch = self.open
        if self._flight is not None or batch is None:
            return
        self.open = None
        if batch.sealed is not None:
            self._launch(batch, batch.sealed)
            # What is sent is sent by a task of its own: it begins, and the driver gives way once before it writes.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        else:
            self._owner.kept(batch)

    def _launch(self, batch: Batch, commit: Commit) -> None:
        flight = asyncio.create_task(self._log.commit(commit), name=f"{self._name} commit")
        flight.add_done_callback(lambda _flight: self._wake())
        self._flight = (batch, flight)

    async def land(self, *, follow: bool = True) -> None:
        """Takes the end of the commit that was under way; `follow`: the next one, if it is ready, is sent at once.

        Raises what the commit raised, except where one plan alone is to blame.
        """
        if self._flight is None or not self._flight[1].done():
            return
        (batch, flight), self._flight = self._flight, None
        error = asyncio.CancelledError() if flight.cancelled() else flight.exception()
        if error is not None:
            self._fall(batch, error)
            return
        self._clock(flight.result())
        try:
            if follow and self.open is not None and self.open.sealed is not None:
                # The server works on it while the attempts of this one begin.
                await self.go_on()
        finally:
            self._owner.kept(batch)

    async def fail(self, error: BaseException) -> None:
        """Forgets the open batch, which could not be decided or prepared. Raises as `land` does."""
        batch = self.open
        if self._flight is not None and not isinstance(error, asyncio.CancelledError):
            await asyncio.wait([self._flight[1]])
            await self.land(follow=False)
        self.open = None
        if batch is not None:
            self._fall(batch, error)

    def _fall(self, batch: Batch, error: BaseException) -> None:
        broken = unwritable(batch) if isinstance(error, ValueError) else []
        above, self.open = self.open, None
        if above is not None:
            self._owner.forget(above)
            above.clear()
        self._owner.forget(batch)
        batch.clear()
        if not broken:
            raise error
        for key in broken:
            self._owner.blame(key, batch)
        self._wake()

    async def stop(self) -> None:
        """Ends the commit that is under way, and forgets all that is not known to be kept."""
        if self._flight is not None:
            self._flight[1].cancel()
            # However it ended, nobody asks any more: most often because the lease is somebody else's.
            await asyncio.gather(self._flight[1], return_exceptions=True)
        await self._log.stop()
        for batch in reversed(self.undone()):
            self._owner.forget(batch)
            batch.clear()
        self.open = self._flight = None
