"""The commits of a shard, one at a time."""

import asyncio
import gc
from typing import Any

from haas_common import errors
from haas_planner.batch import Batch, Cap
from haas_planner.log import Commit
from haas_planner.pipeline import Pipeline


class _Lost:
    """A log whose lease is somebody else's, as its commit hears while it is called off."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    def prepare(self, commit: Commit) -> None:
        """See Log."""

    async def stop(self) -> None:
        """See Log."""

    async def commit(self, commit: Commit) -> int:
        """See Log."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise errors.LeaseLost("This writer's lease was taken over.") from None
        return 0


class _Owner:
    def __init__(self) -> None:
        self.forgotten: list[Batch] = []

    def forget(self, batch: Batch) -> None:
        self.forgotten.append(batch)


async def test_a_commit_that_fails_while_its_shard_ends_is_forgotten_without_a_complaint() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    owner, log = _Owner(), _Lost()
    commits = Pipeline("shard/1", log, owner, lambda: None, lambda _at_us: None)  # type: ignore[arg-type]
    commits.open = batch = Batch(Cap())
    batch.sealed = Commit()
    await commits.go_on()
    await log.begun.wait()
    await commits.stop()
    gc.collect()
    assert (owner.forgotten, complaints, commits.flying) == ([batch], [], False)
