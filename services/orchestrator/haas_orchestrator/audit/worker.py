"""Signs checkpoints of every tenant in the background, by count and by time; one instance at a time, by its lease."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable

from haas_common import errors
from haas_common.audit.checkpoints import TENANT_PROJECT
from haas_common.clock import monotonic_s
from haas_common.db import Database, Lease, Scope
from haas_common.doorbell import Doorbell
from haas_orchestrator.audit import store
from haas_orchestrator.audit.signer import Signer

_log = logging.getLogger(__name__)
LEASE = "relay/audit"
TOPIC_EVENTS = "events"
#: A round reads every project's head; it comes once a second at most, however often the bell rings.
GAP_S_MAX = 1.0
IDLE_S = 15.0
PAGE = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """When a tenant's checkpoint is due.

    Attributes:
        events: after so many new events, or a tenth of the tenant's streams where that is more: signing reads each.
        seconds: or so long after the first new one.
    """

    events: int = 1000
    seconds: float = 60.0


class CheckpointWorker:
    """Signs for as long as the lease is held."""

    def __init__(
        self,
        lease: Lease,
        database: Database,
        doorbell: Doorbell,
        signer: Signer,
        policy: Policy,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        self._lease = lease
        self._database = database
        self._doorbell = doorbell
        self._signer = signer
        self._policy = policy
        self._clock = clock
        self._since: dict[str, float] = {}

    async def run(self) -> None:
        """Works until cancelled. Raises LeaseLost."""
        gap_s = min(GAP_S_MAX, self._policy.seconds / 4)
        with self._doorbell.bell(TOPIC_EVENTS) as bell:
            while True:
                wait_s = IDLE_S
                try:
                    wait_s = await self.round()
                except errors.LeaseLost:
                    raise
                except errors.HaasError as error:
                    _log.warning("audit: no checkpoints this time (%s); again soon", error.reason)
                await asyncio.sleep(gap_s)
                await bell.wait(max(0.001, min(IDLE_S, wait_s - gap_s)))

    async def round(self) -> float:
        """Signs what is due; returns in how many seconds the next one is. Raises LeaseLost."""
        now, next_s = self._clock(), IDLE_S
        tenants = await self._heads()
        self._since = {tenant: since for tenant, since in self._since.items() if tenant in tenants}
        for tenant, heads in tenants.items():
            scopes = sorted({Scope(tenant, TENANT_PROJECT), *(Scope(tenant, project) for project in heads)})
            known = await self._signer.known(tenant, scopes, self._lease)
            new = sum(known.changed({project: last_seq for project, (last_seq, _) in heads.items()}).values())
            if not new:
                self._since.pop(tenant, None)
                continue
            left_s = self._since.setdefault(tenant, now) + self._policy.seconds - now
            streams = sum(count for _, count in heads.values())
            if left_s > 0 and new < max(self._policy.events, streams / 10):
                next_s = min(next_s, left_s)
                continue
            checkpoint, signed = await self._signer.sign(tenant, scopes, self._lease)
            self._since.pop(tenant, None)
            if signed and checkpoint is not None:
                self._doorbell.ring(TOPIC_EVENTS)
                _log.info("checkpoint %d of %d events", checkpoint.number, new, extra={"tenant_id": tenant})
        return next_s

    async def _heads(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Returns how far every project goes, and its number of streams, by tenant."""
        found: dict[str, dict[str, tuple[int, int]]] = {}
        after = ("", "")
        while True:
            async with self._database.batch_tx(self._lease, []) as tx:
                page = await store.projects_page(tx, after, PAGE)
            async with self._database.batch_tx(self._lease, page) as tx:
                for row in await store.heads(tx, page):
                    heads = found.setdefault(row["tenant_id"], {})
                    heads[row["project_id"]] = (row["last_seq"], row["streams"])
            if len(page) < PAGE:
                return found
            after = (page[-1].tenant_id, page[-1].project_id)
