"""Blobs that nothing refers to: found, and removed without ever taking one that something refers to.

What refers to a blob is read first: every address in the project's events, read models and kept requests. A blob that
none of them names and that nobody has put for a while (longer than any transaction lasts) is set aside; then it is
asked again whether it was put or named meanwhile, and only if not is it dropped. A put of the same bytes either shows
in the blob's time, or finds no blob and writes its own.
"""

import asyncio
import dataclasses
import datetime
import json
import logging
import sys
from collections.abc import Sequence

from haas_common import clock
from haas_common.blobs import Blobs, Kept, open_blobs
from haas_common.config import Config
from haas_common.db import Database, Lease, Scope
from haas_orchestrator import store

LOG = logging.getLogger(__name__)
LEASE = Lease("relay/garbage", 0)
#: Longer than any transaction lasts, by far: what is put becomes referenced, or never is.
GRACE_S_MIN = 3600.0
_PAGE = 1000
_STEP = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Collected:
    """What a collection found and did."""

    blobs: int = 0
    unreferenced: int = 0
    removed: int = 0
    removed_bytes: int = 0

    def plus(self, other: "Collected") -> "Collected":
        """Returns the sum."""
        return Collected(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))


class Collector:
    """Collects a store's garbage, project by project."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    async def run(self, before: datetime.datetime, *, dry_run: bool) -> Collected:
        """Collects in every project that there is; a folder of none is left alone."""
        async with self._database.batch_tx(LEASE, []) as tx:
            scopes = await store.all_scopes(tx)
        total = Collected()
        for scope in scopes:
            total = total.plus(await self.collect(scope, before, dry_run=dry_run))
        return total

    async def collect(self, scope: Scope, before: datetime.datetime, *, dry_run: bool) -> Collected:
        """Removes a project's blobs that were last put before a time and that nothing refers to."""
        listed = await asyncio.to_thread(lambda: list(self._blobs.listed(scope)))
        left = await asyncio.to_thread(lambda: list(self._blobs.aside(scope)))
        named, seq = await self._named(scope)
        found = [kept for kept in listed if kept.changed_at < before and kept.ref not in named]
        if dry_run:
            size = sum(kept.size_bytes for kept in found)
            return Collected(len(listed), len(found), 0, size)
        removed: list[Kept] = []
        for at in range(0, len(found), _STEP):
            removed += await self._remove(scope, found[at : at + _STEP], seq)
        # What an earlier collection set aside and did not end with, here or by another's hand.
        for at in range(0, len(left), _STEP):
            old = [kept for kept in left[at : at + _STEP] if kept.changed_at < before]
            removed += await self._settle(scope, old, seq, named)
        return Collected(len(listed), len(found), len(removed), sum(kept.size_bytes for kept in removed))

    async def _remove(self, scope: Scope, found: Sequence[Kept], seq: int) -> list[Kept]:
        aside = [kept for kept in found if await asyncio.to_thread(self._blobs.set_aside, scope, kept)]
        if self._blobs.drops_at_once:
            return await self._settle(scope, aside, seq, frozenset())
        return []

    async def _settle(self, scope: Scope, aside: Sequence[Kept], seq: int, named: frozenset[str]) -> list[Kept]:
        """Asks again, and drops what is still referred to by nothing; the rest goes back."""
        if not aside:
            return []
        wanted = named | await self._named_since(scope, seq, [kept.ref for kept in aside])
        dropped = [kept for kept in aside if kept.ref not in wanted]
        for kept in aside:
            step = self._blobs.restore if kept.ref in wanted else self._blobs.drop
            await asyncio.to_thread(step, scope, kept.ref)
        return dropped

    async def _named(self, scope: Scope) -> tuple[frozenset[str], int]:
        """Returns every address that the project's rows name, and the seq of the last event that was read."""
        named: set[str] = set()
        seq = await self._events(scope, 0, named)
        for table in store.REF_TABLES:
            after: Sequence[str] = ("", "")
            while True:
                async with self._database.tenant_tx(scope) as tx:
                    row = await store.refs_in(tx, scope, table, after, _PAGE)
                named.update(row["refs"] or ())
                if row["rows"] < _PAGE:
                    break
                after = row["last"]
        return frozenset(named), seq

    async def _named_since(self, scope: Scope, seq: int, refs: Sequence[str]) -> frozenset[str]:
        """Returns which addresses were named after a seq, or stand in a row that has no event of its own."""
        named: set[str] = set()
        await self._events(scope, seq, named)
        async with self._database.tenant_tx(scope) as tx:
            named |= await store.known_blobs(tx, scope, refs)
        return frozenset(named)

    async def _events(self, scope: Scope, seq: int, named: set[str]) -> int:
        while True:
            async with self._database.tenant_tx(scope) as tx:
                row = await store.refs_in_events(tx, scope, seq, _PAGE)
            named.update(row["refs"] or ())
            seq = row["last"] or seq
            if row["rows"] < _PAGE:
                return int(seq)


async def main(config: Config, older_than_s: float, *, dry_run: bool) -> Collected:
    """Collects the fleet's garbage once."""
    database = await Database.of(config, pool_max=2)
    try:
        before = clock.utc_now() - datetime.timedelta(seconds=max(GRACE_S_MIN, older_than_s))
        return await Collector(database, open_blobs(config)).run(before, dry_run=dry_run)
    finally:
        await database.close()


if __name__ == "__main__":
    done = asyncio.run(main(Config.from_env("orchestrator"), float(sys.argv[1]), dry_run="dry" in sys.argv[2:]))
    print(json.dumps(dataclasses.asdict(done)))
