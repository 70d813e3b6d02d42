"""The projector of usage: reads all that happens, as a role that can write its own table and nothing else."""

import datetime

from haas_common.db import Tx
from haas_common.relay import Page, Tail
from haas_gateway import store
from haas_gateway.projection import WHOLE, Usage

LEASE = "relay/usage"


class UsageProjector(Tail):
    """Adds up what projects use, for as long as the lease is held."""

    name = Usage.cursor
    whole = WHOLE

    async def take(self, tx: Tx, page: Page) -> int:
        """Adds a page; returns how many rows it changed."""
        usage = Usage()
        for event in page.events:
            at = event.recorded_at.astimezone(datetime.UTC).isoformat()
            usage.take(event.tenant_id, event.project_id, at, event.event_type, event.payload)
        rows = usage.rows()
        await store.add_usage(tx, rows)
        return len(rows)

    def told(self) -> None:
        """Nobody waits for usage."""
