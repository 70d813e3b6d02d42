"""What a shard asks of storage, and PostgreSQL's answer: whatever writes is fenced by the shard's lease (design 2)."""

import asyncio
import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from haas_common import clock, errors
from haas_common.db import Database, Lease, Scope, Tx
from haas_planner import snapshots, store
from haas_planner.agents import store as agents
from haas_planner.agents.domain import Roster
from haas_planner.domain import Plan
from haas_planner.fences import hold
from haas_planner.snapshots import PlanKey
from haas_planner.store import Change, Command, Limits, SlotWish, Trip

_log = logging.getLogger(__name__)
#: How long a project's agents are known before they are read anew.
ROSTER_S = 10.0


@dataclasses.dataclass(slots=True)
class Commit:
    """What one transaction keeps.

    Attributes:
        changes: plans with their new events.
        decided: commands with their answers.
        freed: attempts, as (scope, plan, task), that no longer hold the slots of their concurrency keys.
        trips: tools that failed or answered, for their breakers.
        prepared, taken, over: what `Log.prepare` made of the changes: what is written, snapshots of long plans that are
            written afterwards, and those that go since their plans are over.
    """

    changes: Sequence[Change] = ()
    decided: Sequence[tuple[Command, Mapping[str, Any]]] = ()
    freed: Sequence[tuple[Scope, str, str]] = ()
    trips: Sequence[Trip] = ()
    prepared: store.Prepared | None = None
    taken: Sequence[snapshots.Taken] = ()
    over: Sequence[PlanKey] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """A plan as its stream tells it.

    Attributes:
        plan: None where it cannot be decided on.
        gone: its events were dropped with old history; else, without a plan, this release cannot fold it.
        limits: how many of its tasks may run at once, by its profile and its tenant.
        roster: the project's agents and what is measured of them; None where nobody is registered.
    """

    key: PlanKey
    plan: Plan | None
    trace_id: str = ""
    gone: bool = False
    limits: Limits = store.NO_LIMITS
    roster: Roster | None = None
    fault: str = ""


class Log(Protocol):
    """The storage of one shard. What writes (load, take_slots, commit) raises LeaseLost once it is somebody else's."""

    async def now_us(self) -> int:
        """Returns the storage's time, in microseconds of the epoch."""

    async def plans(self) -> list[tuple[PlanKey, int]]:
        """Returns the plans that go on by themselves, each with when (0: now)."""

    async def commands(self, limit: int) -> list[Command]:
        """Returns commands that are not decided, in the order in which they came."""

    async def load(self, keys: Sequence[PlanKey], known: Mapping[PlanKey, Plan]) -> list[Loaded]:
        """Folds plans from their streams, unless they are known and only what limits them is asked for.

        Slots that tasks of theirs hold which do not run are given back.
        """

    async def breakers(self, scopes: Iterable[Scope]) -> list[store.OpenBreaker]:
        """Returns the tools of these projects that failed lately."""

    async def take_slots(self, wishes: Sequence[SlotWish]) -> set[tuple[Scope, str, str]]:
        """Takes slots for attempts that are about to start; returns those that have all of theirs."""

    def prepare(self, commit: Commit) -> None:
        """Takes from the plans what a commit is to say, before they move on; nothing is kept yet.

        Raises ValueError for an event that cannot be kept.
        """

    async def commit(self, commit: Commit) -> int:
        """Keeps all of it or nothing; returns the storage's time. It was prepared, and follows on the one before."""

    async def stop(self) -> None:
        """Ends what goes on beside the commits."""


class PlanLog:
    """A shard's storage in PostgreSQL."""

    def __init__(self, number: int, lease: Lease, database: Database) -> None:
        self._number = number
        self._lease = lease
        self._database = database
        self._rosters: dict[Scope, tuple[float, Roster | None]] = {}
        self._due = snapshots.Due()
        self._writing: set[asyncio.Task[None]] = set()

    async def now_us(self) -> int:
        """See Log."""
        async with self._database.batch_tx(self._lease, []) as tx:
            return await store.now_us(tx)

    async def plans(self) -> list[tuple[PlanKey, int]]:
        """See Log."""
        async with self._database.batch_tx(self._lease, []) as tx:
            return await store.plans_to_go_on(tx, self._number)

    async def commands(self, limit: int) -> list[Command]:
        """See Log."""
        return await store.pending_commands(self._database, self._lease, self._number, limit)

    async def load(self, keys: Sequence[PlanKey], known: Mapping[PlanKey, Plan]) -> list[Loaded]:
        """See Log."""
        found: list[Loaded] = []
        scopes = {s for scope, _ in keys for s in (scope, Scope(scope.tenant_id, "*"))}
        async with self._database.batch_tx(self._lease, scopes, timeout_s=60) as tx:
            for scope, plan_id in keys:
                try:
                    plan, trace_id = known.get((scope, plan_id)), ""
                    if plan is None:
                        folded = await store.load_plan(tx, scope, plan_id)
                        plan, trace_id = folded.plan, folded.trace_id
                        self._due.know((scope, plan_id), folded)
                except store.PlanGone:
                    found.append(Loaded((scope, plan_id), None, gone=True))
                except (ValueError, KeyError, errors.HashMismatch) as error:
                    # Its history holds what this release does not know, e.g. of a newer one, or was tampered with.
                    found.append(Loaded((scope, plan_id), None, fault=f"{type(error).__name__}: {error}"))
                else:
                    limits = await store.limits_of(tx, scope, plan)
                    found.append(
                        Loaded((scope, plan_id), plan, trace_id, limits=limits, roster=await self._roster(tx, scope))
                    )
            anew = [one.plan for one in found if one.plan is not None and one.key not in known]
            swept = 0
            if anew:
                # Not before: a takeover waits for what holds the lease.
                await hold(tx, self._lease)
                swept = await store.sweep_slots(tx, anew)
        if swept:
            _log.info("%s: %d slots were held for what never began", self._lease.name, swept)
        return found

    async def _roster(self, tx: Tx, scope: Scope) -> Roster | None:
        """Returns a project's agents, read anew after a while; None where only the built-in ones are there."""
        known = self._rosters.get(scope)
        if known is None or clock.monotonic_s() - known[0] > ROSTER_S:
            found = await agents.roster(tx, scope, clock.utc_now().date())
            known = (clock.monotonic_s(), found if any(agent.registered for agent in found.agents) else None)
            self._rosters[scope] = known
        return known[1]

    async def breakers(self, scopes: Iterable[Scope]) -> list[store.OpenBreaker]:
        """See Log."""
        async with self._database.batch_tx(self._lease, scopes) as tx:
            return await store.known_breakers(tx)

    async def take_slots(self, wishes: Sequence[SlotWish]) -> set[tuple[Scope, str, str]]:
        """See Log."""
        async with self._database.batch_tx(self._lease, {s for w in wishes for s in w.scopes()}) as tx:
            await hold(tx, self._lease)
            return await store.take_slots(tx, wishes)

    def prepare(self, commit: Commit) -> None:
        """See Log."""
        commit.prepared = store.prepare(self._database.vault, commit.changes)
        due = (self._due.take(change.plan, change.trace_id) for change in commit.changes)
        commit.taken = [one for one in due if one is not None]
        commit.over = self._due.over(change.plan for change in commit.changes)

    async def commit(self, commit: Commit) -> int:
        """See Log."""
        scopes = {Scope(c.plan.tenant_id, c.plan.project_id) for c in commit.changes}
        scopes |= {c.scope for c, _ in commit.decided} | {t.scope for t in commit.trips}
        # A tenant's own limit stands under no project.
        scopes |= {one for scope, _, _ in commit.freed for one in (scope, Scope(scope.tenant_id, "*"))}
        prepared, more = commit.prepared, (commit.decided, commit.freed, commit.trips, commit.over)
        at_us = None
        if commit.changes and prepared is not None and not any(more):
            at_us = await store.keep_at_once(self._database, self._lease, scopes, prepared)
        if at_us is None:
            at_us = await self._keep(commit, scopes)
        for one in commit.taken:
            writing = asyncio.create_task(self._write(one), name=f"{self._lease.name} snapshot")
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)
        return at_us

    async def _keep(self, commit: Commit, scopes: Iterable[Scope]) -> int:
        async with self._database.batch_tx(self._lease, scopes) as tx:
            at_us = await store.save(tx, self._lease, commit.changes, commit.trips, commit.prepared)
            if commit.decided:
                await store.decide_commands(tx, commit.decided)
            if commit.freed:
                await store.free_slots(tx, commit.freed)
            if commit.over:
                await snapshots.drop(tx, commit.over)
        return at_us

    async def _write(self, one: snapshots.Taken) -> None:
        try:
            await snapshots.keep(self._database, self._lease, one)
        except errors.HaasError as error:
            # Without it the plan is folded from further back.
            _log.warning("%s: no snapshot of plan %s was kept (%s)", self._lease.name, one.key[1], error.reason)

    async def stop(self) -> None:
        """See Log."""
        for writing in self._writing:
            writing.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)
