"""Leases on shards and relays: rows with an owner, an epoch and an end by the database's clock (design 2, 5)."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from haas_common import errors
from haas_common.db import Database, Lease
from haas_common.doorbell import Bell
from haas_common.eventstore import SQL
from haas_common.membership import TOPIC, Group, Membership

_log = logging.getLogger(__name__)
_CANCEL_AGAIN_S = 0.5
TTL_S = 10.0
RENEW_S = 3.0


class LeaseKeeper:
    """Takes leases, renews them, and runs one task for as long as each is held.

    The owner's name is that of the instance, not of the process: after a crash the same instance goes on at once,
    at a new epoch, while the fence keeps out whatever the dead process might still send.

    A member of a group holds at most its share, the leases divided by the living members and rounded up: what is above
    it is given back, what is free is taken up to it. Whoever is within its share keeps what it has, so that nothing
    moves once the leases are shared.
    """

    def __init__(
        self,
        database: Database,
        owner: str,
        names: Sequence[str],
        work: Callable[[Lease], Awaitable[None]],
        *,
        group: Group | None = None,
        ttl_s: float = TTL_S,
        renew_s: float = RENEW_S,
    ) -> None:
        """Takes what it is to hold; nothing is taken yet.

        Args:
            database: where the leases are.
            owner: the instance's name.
            names: the leases, all of one kind (`shard/…`, `relay/…`).
            work: runs for as long as a lease is held; cancelled when it is not held any more.
            group: the others that share the leases; None: there are none, and it takes all that it can.
            ttl_s: a lease, and a member, ends so long after its last renewal.
            renew_s: the time between renewals.
        """
        self._database = database
        self._owner = owner
        self._names = list(names)
        self._work = work
        self._group = group
        self._membership = Membership(database, group, owner, ttl_s) if group is not None else None
        self._ttl_s, self._renew_s = ttl_s, renew_s
        self._held: dict[str, tuple[Lease, asyncio.Task[None]]] = {}
        self._seen: set[str] = set()
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def held(self) -> list[Lease]:
        """What is held, in the order of the names."""
        return [self._held[name][0] for name in self._names if name in self._held]

    async def start(self) -> None:
        """Starts to take and renew in the background."""
        self._loop_task = asyncio.create_task(self._loop(), name="leases")

    async def stop(self) -> None:
        """Ends the work and gives the leases back, so that another instance goes on at once."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        leases = self.held
        await self._end(list(self._held))
        with contextlib.suppress(errors.HaasError):  # they end by themselves after their time
            for lease in leases:
                async with self._database.batch_tx(lease, []) as tx:
                    await tx.run(SQL.drop_lease, name=lease.name, owner=self._owner, epoch=lease.epoch)
            if self._membership is not None:
                # Last: whoever counts one less finds the leases free.
                await self._membership.leave()

    async def _loop(self) -> None:
        with contextlib.ExitStack() as stack:
            doorbell = self._group.doorbell if self._group is not None else None
            bell: Bell | None = stack.enter_context(doorbell.bell(TOPIC)) if doorbell is not None else None
            while True:
                try:
                    await self._renew()
                except errors.HaasError as error:
                    _log.warning("leases: not renewed (%s)", error.reason)
                if bell is None:
                    await asyncio.sleep(self._renew_s)
                else:
                    await bell.wait(self._renew_s)

    async def _renew(self) -> None:
        if self._group is None or self._membership is None:
            taken = await self._take_all()
        else:
            living = await self._membership.beat(self._renew_s)
            taken = await self._take_share(self._group, -(-len(self._names) // living))
        self._seen |= set(taken)
        await self._end(
            name for name, (lease, task) in list(self._held.items()) if task.done() or taken.get(name) != lease
        )
        for name in self._names:
            if name in taken and name not in self._held:
                task = asyncio.create_task(self._work_on(taken[name]), name=name)
                self._held[name] = (taken[name], task)

    async def _take_all(self) -> dict[str, Lease]:
        """Takes and renews whatever can be had."""
        taken: dict[str, Lease] = {}
        for fresh in (False, True):
            names = [n for n in self._names if (n not in self._seen) == fresh]
            if names:
                async with self._database.batch_tx(Lease(names[0], 0), [], timeout_s=self._renew_s) as tx:
                    taken |= self._leases(await tx.all(SQL.take_leases, **self._asked(names, fresh=fresh)))
        return taken

    async def _take_share(self, group: Group, share: int) -> dict[str, Lease]:
        """Renews what is held up to the share, gives back what is above it, takes what is missing."""
        kept = [n for n in self._names if n in self._seen]
        kept, surplus = kept[:share], kept[share:]
        # The work first: once a lease is free, another's work begins.
        await self._end(surplus)
        self._seen -= set(surplus)
        async with self._database.batch_tx(Lease(self._names[0], 0), [], timeout_s=self._renew_s) as tx:
            rows = await tx.all(SQL.take_leases, **self._asked(kept, fresh=False)) if kept else []
            renewed = {row["name"] for row in rows}
            free: list[str] = []
            if len(renewed) < share:
                others = [n for n in self._names if n not in renewed and n not in surplus]
                asked = {"names": others, "owner": self._owner, "most": share - len(renewed)}
                free = [row["name"] for row in await tx.all(SQL.free_leases, **asked)]
            if free:
                rows += await tx.all(SQL.take_leases, **self._asked(free, fresh=True))
            mine = {row["name"] for row in rows}
            rest = [n for n in self._names if n not in mine]
            given_back = await tx.run(SQL.give_back_leases, names=rest, owner=self._owner)
        self._seen &= mine
        if given_back:
            group.ring()
        return self._leases(rows)

    def _asked(self, names: Sequence[str], *, fresh: bool) -> dict[str, object]:
        return {"names": list(names), "owner": self._owner, "ttl_s": self._ttl_s, "fresh": fresh}

    @staticmethod
    def _leases(rows: Iterable[dict[str, object]]) -> dict[str, Lease]:
        return {str(row["name"]): Lease(str(row["name"]), int(str(row["epoch"]))) for row in rows}

    async def _end(self, names: Iterable[str]) -> None:
        tasks = [self._held.pop(name)[1] for name in names if name in self._held]
        left = set(tasks)
        while left:
            # Again after a while: before Python 3.12 `asyncio.wait_for`, which the pool of connections waits by, loses
            # a cancellation that comes at the moment of what it waits for.
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)

    async def _work_on(self, lease: Lease) -> None:
        try:
            await self._work(lease)
        except errors.LeaseLost:
            _log.warning("%s: taken over by another instance", lease.name)
            self._seen.discard(lease.name)
        except Exception:  # noqa: BLE001 - a fault of one lease's work must not end the others'
            _log.exception("%s: ended by a fault; it is taken up again", lease.name)
