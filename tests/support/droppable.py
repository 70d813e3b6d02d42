"""A history in ranges with checkpoints over it, and what an operator needs to drop one of them."""

import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from haas_common.audit.checkpoints import TENANT_PROJECT
from haas_common.audit.findings import Report
from haas_common.audit.verify import Expected, verify
from haas_common.blobs import BlobStore
from haas_common.db import Database, Scope
from haas_common.fleet_keys import FleetKeys
from haas_common.history.drop import Dropper
from haas_common.history.floors import Held
from haas_common.history.headroom import make_room
from haas_common.history.partitions import Partitions
from haas_common.pki import write_fleet_secrets
from haas_orchestrator.audit.signer import Signer
from tests.integration.conftest import TestDatabase
from tests.support.growth import KEEPER, Growth

ONE, TWO, OTHER = Scope("t-one", "p-one"), Scope("t-one", "p-two"), Scope("t-two", "p-one")
TENANTS = ("t-one", "t-two")


@dataclasses.dataclass(frozen=True)
class Old:
    """A history that has grown old."""

    growth: Growth
    partitions: Partitions
    keys: FleetKeys
    blobs: BlobStore
    folder: Path
    steps: list[str]

    @property
    def dropper(self) -> Dropper:
        """What drops."""
        return Dropper(self.partitions, self.growth.database, self.blobs, self.keys, self.steps.append)

    async def write(self, count: int = 3, plan_id: str = "") -> None:
        """Appends to every project: new streams and old ones."""
        for scope in (ONE, TWO, OTHER):
            head = self.growth.plans.execute(
                "SELECT streams FROM project_heads WHERE tenant_id = %s AND project_id = %s",
                scope.tenant_id, scope.project_id,
            )  # fmt: skip
            streams = head[0][0] if head else 0
            for n in range(count):
                await self.growth.append(scope, ["artifact/kept", f"plan/pl-{streams + n}"], plan_id)

    async def sign(self, *tenants: str) -> None:
        """Signs checkpoints over everything, by a signer that has read nothing yet."""
        for tenant in tenants or TENANTS:
            scopes = [Scope(tenant, project) for project in ("p-one", "p-two")]
            await Signer(self.growth.database, self.keys, self.blobs).sign(tenant, scopes)

    def read_by_relays(self) -> None:
        """Has every relay read everything."""
        self.growth.plans.execute(
            "INSERT INTO relay_cursors SELECT 'notifier', max(xid), max(id) FROM events"
            " ON CONFLICT (name) DO UPDATE SET xid = excluded.xid, id = excluded.id"
        )

    def verified(self, tenant: str = "t-one", expected: Expected | None = None) -> Report:
        """What a verification of everything says."""
        source = Held(self.partitions, self.blobs, tenant)
        return verify(source, self.keys.public("checkpoint"), self.keys.public("artifact"), expected)

    def dropped_events(self, tenant: str = "t-one") -> list[dict]:
        """The payloads of HistoryDropped."""
        rows = self.growth.plans.execute(
            "SELECT payload::text FROM events WHERE tenant_id = %s AND event_type = 'HistoryDropped' ORDER BY seq",
            tenant,
        )
        return [json.loads(text) for (text,) in rows]


def secrets_in(folder: Path) -> Path:
    """Makes a fleet's secrets; returns the folder of the service that signs checkpoints."""
    write_fleet_secrets(folder, ("gateway", "orchestrator", "planner", "notifier", "mcp"), [])
    return folder / "orchestrator"


@asynccontextmanager
async def old_history(found: TestDatabase, folder: Path, ranges: int = 2) -> AsyncIterator[Old]:
    """Yields a history with events of two tenants in each of some ranges, read by all, under checkpoints.

    Below the folder lie `secrets` and `store`, as in a fleet's home.
    """
    database = await Database.open(found.app_dsn, found.context_key, "test", pool_max=8)
    growth = Growth(found, database)
    with Partitions.opened(found.admin_dsn) as partitions:
        old = Old(
            growth, partitions, FleetKeys.open(secrets_in(folder / "secrets")), BlobStore(folder / "store"), folder, []
        )
        for scope in (ONE, TWO, OTHER, *(Scope(tenant, TENANT_PROJECT) for tenant in TENANTS)):
            growth.plans.project(scope)
        for n in range(ranges):
            if n:
                await growth.next_range()
            await old.write()
            await old.sign()
            await old.write(1)
        await old.sign()
        await make_room(database, KEEPER)
        old.read_by_relays()
        yield old
    growth.close()
    await database.close()
