"""A history that has grown over several ranges: the ids jump ahead, as if millions of events lay between."""

from collections.abc import Sequence

from haas_common.db import Database, Lease, Scope, Tx
from haas_common.eventstore import NewEvent, Recorded, append
from haas_common.history.headroom import LEASE, make_room
from tests.integration.conftest import TestDatabase
from tests.support.plans import Plans
from tests.support.samples import sample

RANGE = 5_000_000
KEEPER = Lease(LEASE, 0)


class Growth:
    """Writes events, and lets the ids jump."""

    def __init__(self, found: TestDatabase, database: Database) -> None:
        """Takes a migrated database and the app's doors to it."""
        self.database, self.plans = database, Plans(found.admin_dsn)

    def close(self) -> None:
        """Ends the superuser's connection."""
        self.plans.close()

    def jump(self, last_id: int) -> None:
        """Has the next event get the id after this one."""
        self.plans.execute("SELECT setval('haas.events_id_seq', %s)", last_id)

    async def next_range(self) -> None:
        """Goes to the beginning of the next range; the ranges that the next events need are made."""
        last = self.plans.execute("SELECT last_value FROM haas.events_id_seq")[0][0]
        self.jump(((last + 1) // RANGE + 1) * RANGE - 1)
        await make_room(self.database, KEEPER)

    async def append(self, scope: Scope, streams: Sequence[str], plan_id: str = "") -> list[Recorded]:
        """Appends an event to each of these streams, in one batch."""
        async with self.database.tenant_tx(scope) as tx:
            return await self.append_in(tx, scope, streams, plan_id)

    async def append_in(self, tx: Tx, scope: Scope, streams: Sequence[str], plan_id: str = "") -> list[Recorded]:
        """The same in a transaction that is open."""
        payload = sample("TaskReady")
        events = [NewEvent(scope, stream, "TaskReady", payload, "planner", plan_id=plan_id) for stream in streams]
        return await append(tx, events)

    def ranges(self, parent: str = "events_c0") -> list[str]:
        """The ranges of a cell."""
        rows = self.plans.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass AND NOT inhdetachpending"
            " ORDER BY length(inhrelid::regclass::text), 1", parent,
        )  # fmt: skip
        return [name for (name,) in rows]

    def counts(self) -> dict[str, int]:
        """How many events each range holds, the empty ones left out."""
        rows = self.plans.execute("SELECT tableoid::regclass::text, count(*) FROM events GROUP BY 1 ORDER BY 1")
        return dict(rows)
