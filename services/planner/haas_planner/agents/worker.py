"""The projector of agents' results: reads all that happens, and lets a review follow where leaders were measured."""

import datetime
from collections.abc import AsyncIterator, Callable

from haas_common import clock, errors
from haas_common.db import Database, Lease, Scope, Tx
from haas_common.doorbell import Doorbell
from haas_common.events import upcast
from haas_common.profile_store import ProfileStore
from haas_common.projections import Past
from haas_common.relay import PAGE, Page, Passed, Tail
from haas_planner.agents import store
from haas_planner.agents.operations import review
from haas_planner.agents.projection import WHOLE, Results, Told
from haas_planner.skills.registry import SPECS

LEASE = "relay/agents"
#: A project's leaders are reviewed this often at most.
REVIEW_S = 60.0
_LEADING = frozenset(spec.name for spec in SPECS if spec.kind == "leader")


class AgentProjector(Tail):
    """Adds up what agents' tasks came to, for as long as the lease is held."""

    name = Results.cursor
    whole = WHOLE

    def __init__(
        self,
        lease: Lease,
        database: Database,
        doorbell: Doorbell,
        page: int = PAGE,
        now_s: Callable[[], float] = clock.monotonic_s,
    ) -> None:
        """Keeps what it works with; `now_s` tells when a project's next review is due."""
        super().__init__(lease, database, doorbell, page)
        self._fold = Results()
        self._profiles = ProfileStore()
        self._now_s = now_s
        # Projects whose leaders were measured since their last review, and when that was.
        self._due: set[Scope] = set()
        self._reviewed: dict[Scope, float] = {}

    async def drain(self) -> int:
        """Works off what is settled, then reviews what is due. Raises LeaseLost."""
        try:
            total = await super().drain()
        except BaseException:
            self._fold.forget()  # it may hold what was not committed
            raise
        await self._review()
        return total

    async def take(self, tx: Tx, page: Page) -> int:
        """Adds a page; returns how many rows it changed."""

        def load(scope: Scope, stream: str, below: int) -> AsyncIterator[Told]:
            return store.tasks_told(tx, scope, stream, below)

        await self._fold.take([_past(event) for event in page.events], load)
        rows = self._fold.rows()
        if rows:
            await store.add_results(tx, rows)
        self._due.update(Scope(r["tenant_id"], r["project_id"]) for r in rows if r["skill"] in _LEADING)
        return len(rows)

    def told(self) -> None:
        """Nobody waits for results."""

    async def _review(self) -> None:
        now_s = self._now_s()
        # What was reviewed a while ago need not be remembered.
        self._reviewed = {scope: at for scope, at in self._reviewed.items() if now_s - at < REVIEW_S}
        for scope in sorted(self._due - self._reviewed.keys()):
            async with self._database.batch_tx(self._lease, [scope]) as tx:
                await self._review_one(tx, scope)
            self._due.discard(scope)
            self._reviewed[scope] = now_s

    async def _review_one(self, tx: Tx, scope: Scope) -> None:
        try:
            kept = await self._profiles.newest(tx, scope)
        except errors.ProfileMissing:
            return  # without a profile nobody has asked for promotions
        await review(tx, scope, kept.profile, clock.utc_now().date(), self._lease)


def _past(event: Passed) -> Past:
    payload = event.payload
    if payload is not None:
        payload = upcast(event.event_type, event.schema_version, dict(payload))
    at = event.recorded_at.astimezone(datetime.UTC).isoformat()
    return Past(
        event.tenant_id, event.project_id, event.seq, event.stream, event.version, event.event_type, event.plan_id,
        event.task_id, event.actor, payload or {}, at, event.schema_version,
    )  # fmt: skip
