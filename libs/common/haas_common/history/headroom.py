"""Makes the ranges of the history that the next events need, before they are needed."""

import asyncio
import logging

from haas_common import errors
from haas_common.db import Database, Lease
from haas_common.eventstore import SQL

_log = logging.getLogger(__name__)
LEASE = "relay/history"
#: One range of five million ids is always ahead; at 100,000 events a second it lasts 50 s.
EVERY_S = 10.0


async def make_room(database: Database, lease: Lease) -> int:
    """Makes the ranges that are missing; returns how many. Where none is, it costs two look-ups a cell."""
    async with database.batch_tx(lease, []) as tx:
        return int((await tx.one(SQL.keep_partitions))["made"])


async def keep_room(database: Database, lease: Lease, every_s: float = EVERY_S) -> None:
    """Works until cancelled."""
    while True:
        try:
            made = await make_room(database, lease)
            if made:
                _log.info("the history has %d more ranges", made)
        except errors.HaasError as error:
            _log.warning("no room was made for the history (%s); again soon", error.reason)
        await asyncio.sleep(every_s)
