"""Leases on shards and relays: rows with an owner, an epoch and an end by the database's clock (design 2, 5)."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from haas_common import errors
from haas_common.db import Database, Lease
from haas_common.eventstore import SQL

_log = logging.getLogger(__name__)
TTL_S = 10.0
RENEW_S = 3.0


class LeaseKeeper:
    """Takes leases, renews them, and runs one task for as long as each is held.

    The owner's name is that of the instance, not of the process: after a crash the same instance goes on at once,
    at a new epoch, while the fence keeps out whatever the dead process might still send.
    """

    def __init__(
        self, database: Database, owner: str, names: Sequence[str], work: Callable[[Lease], Awaitable[None]]
    ) -> None:
        self._database = database
        self._owner = owner
        self._names = list(names)
        self._work = work
        self._held: dict[str, tuple[Lease, asyncio.Task[None]]] = {}
        self._seen: set[str] = set()
        self._loop_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts to take and renew in the background."""
        self._loop_task = asyncio.create_task(self._loop(), name="leases")

    async def stop(self) -> None:
        """Ends the work and gives the leases back, so that another instance goes on at once."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        held = list(self._held.values())
        for _, task in held:
            task.cancel()
        await asyncio.gather(*(task for _, task in held), return_exceptions=True)
        self._held.clear()
        with contextlib.suppress(errors.HaasError):  # they end by themselves after TTL_S
            for lease, _ in held:
                async with self._database.batch_tx(lease, []) as tx:
                    await tx.run(SQL.drop_lease, name=lease.name, owner=self._owner, epoch=lease.epoch)

    async def _loop(self) -> None:
        while True:
            try:
                await self._renew()
            except errors.HaasError as error:
                _log.warning("leases: not renewed (%s)", error.reason)
            await asyncio.sleep(RENEW_S)

    async def _renew(self) -> None:
        taken: dict[str, Lease] = {}
        for fresh in (False, True):
            names = [n for n in self._names if (n not in self._seen) == fresh]
            if not names:
                continue
            async with self._database.batch_tx(Lease(names[0], 0), [], timeout_s=RENEW_S) as tx:
                rows = await tx.all(SQL.take_leases, names=names, owner=self._owner, ttl_s=TTL_S, fresh=fresh)
            taken |= {row["name"]: Lease(row["name"], row["epoch"]) for row in rows}
        self._seen |= set(taken)
        for name in self._names:
            held = self._held.get(name)
            if held is not None and (held[1].done() or taken.get(name) != held[0]):
                await self._end(name)
            if name in taken and name not in self._held:
                task = asyncio.create_task(self._work_on(taken[name]), name=name)
                self._held[name] = (taken[name], task)

    async def _end(self, name: str) -> None:
        _, task = self._held.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _work_on(self, lease: Lease) -> None:
        try:
            await self._work(lease)
        except errors.LeaseLost:
            _log.warning("%s: taken over by another instance", lease.name)
            self._seen.discard(lease.name)
        except Exception:  # noqa: BLE001 - a fault of one lease's work must not end the others'
            _log.exception("%s: ended by a fault; it is taken up again", lease.name)
