"""Long plans as they stood after one of their events, kept beside the history: their next owner folds from there.

Nothing is decided by a snapshot that the history does not say: it holds a state between two events of the fold, in the
form of the code that wrote it (`domain.snapshot`), and one that cannot be used is passed over. It is sealed under the
key of whose plan it is, so that an erasure takes it along, and goes in the transaction in which its plan ends.
"""

import asyncio
import dataclasses
import json
import logging
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from haas_common import errors
from haas_common.db import Database, Lease, Scope, Tx, load_queries
from haas_common.sealing import Subject
from haas_planner.domain import TERMINAL, Plan, snapshot
from haas_planner.fences import hold

SQL = load_queries("haas_planner")
_log = logging.getLogger(__name__)
PlanKey = tuple[Scope, str]
#: How many events are folded without one: a third of a second. Of a longer plan, a third of its history at most.
EVENTS_MIN = 20_000


class Folded(NamedTuple):
    """A plan, the trace that it goes on in, and the version of the snapshot that it was folded from (0: of none)."""

    plan: Plan
    trace_id: str
    snapshot: int


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """A plan as it stands after an event that is about to be kept."""

    key: PlanKey
    subject: str
    version: int
    trace_id: str
    data: bytes


class Due:
    """Which plans of a shard have a snapshot, and whether it is time for the next one."""

    def __init__(self) -> None:
        self._last: dict[PlanKey, int] = {}

    def know(self, key: PlanKey, folded: Folded) -> None:
        """A plan was folded anew; a long one may have a snapshot even where none could be used."""
        if folded.plan.version >= EVENTS_MIN:
            self._last[key] = folded.snapshot

    def take(self, plan: Plan, trace_id: str) -> Taken | None:
        """Returns a plan's snapshot where it is time: while it is taken, nothing else is decided."""
        key = (Scope(plan.tenant_id, plan.project_id), plan.plan_id)
        last = self._last.get(key, 0)
        if plan.version - last < max(EVENTS_MIN, last // 2) or plan.state in TERMINAL:
            return None
        self._last[key] = plan.version
        return Taken(key, plan.subject, plan.version, trace_id, snapshot.dump(plan))

    def over(self, plans: Iterable[Plan]) -> list[PlanKey]:
        """Returns which of these plans are over and may have a snapshot that is to go, and forgets them."""
        ended = [(Scope(p.tenant_id, p.project_id), p.plan_id) for p in plans if p.state in TERMINAL]
        return [key for key in ended if self._last.pop(key, None) is not None]


async def latest(tx: Tx, scope: Scope, plan_id: str, after: int, until: int = 0) -> Folded | None:
    """Returns what a plan's snapshot gives, if it stands after a version and, unless 0, not after another one."""
    where = {"tenant_id": scope.tenant_id, "project_id": scope.project_id, "plan_id": plan_id}
    row = await tx.maybe(SQL.plan_snapshot, **where, form=snapshot.FORM, after=after, until=until)
    if row is None:
        return None
    try:
        body = await tx.vault.open_bytes(tx, scope, row["key_id"], _place(plan_id, row["version"]), row["body"])
    except errors.HashMismatch:
        _log.exception("the snapshot of plan %s was changed: it is folded from its first event", plan_id)
        return None
    if body is None:  # the person's data was erased
        return None
    return Folded(snapshot.load(await asyncio.to_thread(zlib.decompress, body)), row["trace_id"], row["version"])


async def keep(database: Database, lease: Lease, one: Taken) -> None:
    """Keeps a snapshot whose events are kept.

    Not one of a plan whose person's data was erased meanwhile: what the fold has in memory of it is nowhere else.

    Raises LeaseLost, and what the database does.
    """
    scope, plan_id = one.key
    body = await asyncio.to_thread(zlib.compress, one.data, 1)
    async with database.batch_tx(lease, [scope], timeout_s=60) as tx:
        await hold(tx, lease)
        await _keep(tx, one, scope, plan_id, body)


async def _keep(tx: Tx, one: Taken, scope: Scope, plan_id: str, body: bytes) -> None:
    where, place = {"tenant_id": scope.tenant_id, "project_id": scope.project_id}, _place(plan_id, one.version)
    key_id, sealed = await tx.vault.seal_bytes(tx, Subject(scope, one.subject), place, body)
    first = await tx.maybe(SQL.first_key, **where, stream=place[0])
    if first is None or first["key_id"] != key_id:
        return
    await tx.run(
        SQL.keep_snapshot, **where, plan_id=plan_id, version=one.version, form=snapshot.FORM,
        trace_id=one.trace_id, key_id=key_id, body=sealed,
    )  # fmt: skip


async def drop(tx: Tx, keys: Iterable[PlanKey]) -> None:
    """Takes away the snapshots of plans that are over."""
    rows = [{"tenant_id": s.tenant_id, "project_id": s.project_id, "plan_id": plan_id} for s, plan_id in keys]
    await tx.run(SQL.drop_snapshots, rows=json.dumps(rows))


def _place(plan_id: str, version: int) -> tuple[str, str]:
    return (f"plan/{plan_id}", str(version))
