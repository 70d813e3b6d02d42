"""Many callers, one commit: what came in while a scope's commit was under way makes up its next one.

A project's head serialises its appends (design 3): sixteen transactions of one event each take turns, one of sixteen
events does not. Nothing is delayed for it: where nothing is under way, what comes is committed at once.
"""

import asyncio
import contextvars
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from haas_common import deadlines, errors, tracing
from haas_common.clock import monotonic_s
from haas_common.db import Scope

_log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
#: A commit and, where it fails, its items one by one, seconds: nobody's call bounds what is everybody's.
LIMIT_S = 10.0
#: What befalls the whole batch whatever is in it. After the first two nobody knows whether it was committed: trying
#: again could do everything twice.
_OF_ALL = (errors.DatabaseUnavailable, errors.DeadlinePassed, errors.Overloaded)


class GroupCommit(Generic[Item, Result]):
    """Commits what many callers submit in few transactions, one at a time a scope.

    Args:
        commit: commits a scope's items, all or nothing, and returns a result for each, in order. When it raises, it
            has committed nothing; only DatabaseUnavailable and DeadlinePassed may leave that open.
            It runs outside of every call: an item names its cause and its trace itself.
        batch_max: how many items a commit has at most.
        waiting_max: how many callers wait at most, of all scopes.
        limit_s: how long a commit may take, with its items one by one where it fails.
    """

    def __init__(
        self,
        commit: Callable[[Scope, Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        batch_max: int = 500,
        waiting_max: int = 10_000,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._commit = commit
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._limit_s = limit_s
        self._callers = 0
        # A scope is here for as long as its loop runs. Dictionaries, since who leaves is taken out of the middle.
        self._waiting: dict[Scope, dict[asyncio.Future[Result], Item]] = {}
        self._loops: set[asyncio.Task[None]] = set()
        self._closed = False

    async def submit(self, scope: Scope, item: Item) -> Result:
        """Commits an item with those of others; returns its result once it is durable.

        A caller that is cancelled leaves its item wholly in or wholly out: out where its commit had not begun.

        Raises:
            Overloaded: too many callers wait.
            DeadlinePassed: the caller's deadline, or the commit's.
            ServiceUnavailable: closed.
            what the commit raises for this item.
        """
        if self._closed:
            raise errors.ServiceUnavailable("This process is ending.")
        if self._callers >= self._waiting_max:
            raise errors.Overloaded("Too many writes wait for their commit.", retry_after_s=1)
        left_s = deadlines.remaining_s(float("inf"))
        if left_s <= 0:
            raise errors.DeadlinePassed("The deadline passed before the work began.")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        waiting = self._joined(scope)
        waiting[future] = item
        self._callers += 1
        limit = asyncio.timeout(None if left_s == float("inf") else left_s)
        try:
            with tracing.span("group commit"):
                async with limit:
                    return await future
        except TimeoutError as late:
            if not limit.expired():
                raise
            raise errors.DeadlinePassed("The deadline passed before the commit ended.") from late
        finally:
            self._callers -= 1
            waiting.pop(future, None)
            # Asked for, so that asyncio does not complain of an error that came as its caller was leaving.
            if future.done() and not future.cancelled():
                future.exception()

    async def close(self) -> None:
        """Takes nothing more, and waits for what was taken."""
        self._closed = True
        if self._loops:
            await asyncio.wait(self._loops)

    def _joined(self, scope: Scope) -> dict[asyncio.Future[Result], Item]:
        """Returns who waits in a scope, and starts its loop where there is none."""
        waiting = self._waiting.get(scope)
        if waiting is None:
            waiting = self._waiting[scope] = {}
            # A context of its own: deadline, trace and call of whoever comes first are nobody else's.
            loop = asyncio.create_task(self._drain(scope, waiting), context=contextvars.Context())
            self._loops.add(loop)
            loop.add_done_callback(self._loops.discard)
        return waiting

    async def _drain(self, scope: Scope, waiting: dict[asyncio.Future[Result], Item]) -> None:
        """Commits until nobody waits."""
        batch: dict[asyncio.Future[Result], Item] = {}
        try:
            while waiting:
                batch = dict(itertools.islice(waiting.items(), self._batch_max))
                for future in batch:
                    del waiting[future]
                with deadlines.until(monotonic_s() + self._limit_s):
                    await self._settle(scope, batch)
        finally:
            # No await since the last look: whoever comes next starts a loop.
            del self._waiting[scope]
            # Where the loop itself is cancelled, nobody waits for ever.
            for future in (*batch, *waiting):
                future.cancel()

    async def _settle(self, scope: Scope, batch: dict[asyncio.Future[Result], Item]) -> None:
        """Commits a batch; one that fails as a whole item by item, so that one caller's fault is its own."""
        error = await self._tried(scope, batch)
        if error is None:
            return
        if len(batch) > 1 and not isinstance(error, _OF_ALL):
            _log.info("a commit of %d failed (%s): each on its own", len(batch), type(error).__name__)
            for future, item in batch.items():
                if future.done():
                    continue
                error = await self._tried(scope, {future: item})
                if isinstance(error, _OF_ALL):
                    break
                if error is not None and not future.done():
                    future.set_exception(error)
        for future in batch:
            if error is not None and not future.done():
                future.set_exception(_copy(error))

    async def _tried(self, scope: Scope, batch: dict[asyncio.Future[Result], Item]) -> Exception | None:
        """Commits in one go and tells everybody; returns the error, told to nobody, where that fails."""
        try:
            results = await self._commit(scope, list(batch.values()))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            return error
        if len(results) != len(batch):
            # It is committed: to try again would do it twice.
            lost = errors.InternalError(f"a commit of {len(batch)} items gave {len(results)} results")
            for future in batch:
                if not future.done():
                    future.set_exception(_copy(lost))
            return None
        for future, result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
        return None


def _copy(error: Exception) -> Exception:
    """Returns the same error as an object of its own: each raise writes a traceback into it."""
    if not isinstance(error, errors.HaasError):
        return error
    own = type(error)(error.message, **error.metadata)
    own.__cause__ = error
    return own
