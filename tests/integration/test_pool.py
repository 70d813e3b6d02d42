"""The order in which a service's connections are used."""

import asyncio

from haas_common.db import Database, Lease
from haas_common.db.queries import Query
from tests.integration.conftest import TestDatabase

WHO = Query("who", "", "SELECT pg_backend_pid() AS pid, pg_sleep(%(s)s)::text AS slept")
LEASE = Lease("shard/1", 0)


async def _who(opened: Database, seconds: float = 0.0) -> int:
    (row,) = await opened.batch_once(LEASE, [], WHO, {"s": seconds})
    return int(row["pid"])


async def test_the_connection_that_was_used_last_is_used_next(database: TestDatabase) -> None:
    opened = await Database.open(database.app_dsn, database.context_key, "test", pool_max=3)
    try:
        several = await asyncio.gather(*(_who(opened, 0.5) for _ in range(3)))
        assert len(set(several)) == 3  # a peak, and what it needed is still there
        assert len({await _who(opened) for _ in range(12)}) == 1
        both = [asyncio.create_task(_who(opened, 0.3)) for _ in range(2)]
        assert len({await one for one in both}) == 2
    finally:
        await opened.close()
