"""The storage of the simulation: what PostgreSQL and its statements promise the planner, in memory, with faults."""

import asyncio
import dataclasses
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from haas_common import errors
from haas_common.db import Scope
from haas_planner.domain import Event, Plan, apply, snapshot
from haas_planner.log import Commit, Loaded, PlanKey
from haas_planner.projection import plan_row, task_row
from haas_planner.store import NO_LIMITS, Change, Command, Limits, OpenBreaker, SlotWish, Trip
from tests.support.plan_model import Broken, Watch
from tests.support.plan_walk import BEGAN_US

Holder = tuple[Scope, str, str]
Found = TypeVar("Found")


@dataclasses.dataclass(slots=True)
class Faults:
    """How often what goes wrong, of one; `calm` ends all of it."""

    refused: float = 0.0
    unknown: float = 0.0
    slow: float = 0.0
    ring_lost: float = 0.0

    def calm(self) -> None:
        """Nothing goes wrong from here on."""
        self.refused = self.unknown = self.slow = self.ring_lost = 0.0


@dataclasses.dataclass(slots=True)
class Stream:
    """A plan as it is kept: its events as text, what they fold to, the model that watches them, its read model."""

    plan: Plan
    rows: list[tuple[str, str, str, str]] = dataclasses.field(default_factory=list)
    watch: Watch = dataclasses.field(default_factory=Watch)
    row: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tasks: dict[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What a change says, taken from its plan before that moves on."""

    texts: list[str]
    row: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, change: Change) -> "Said":
        """Takes it."""
        named = {e.task_id: None for e in change.events if e.task_id}
        return cls(
            [json.dumps(e.payload, sort_keys=True) for e in change.events],
            plan_row(change.plan, 0, "", ""),
            {task_id: task_row(change.plan, task_id, "") for task_id in named},
        )


class Storage:
    """Everything that outlives a process."""

    def __init__(self, chance: random.Random, faults: Faults) -> None:
        self.chance = chance
        self.faults = faults
        self.skew_us = 0
        self.epochs: dict[int, int] = {}
        self.streams: dict[PlanKey, Stream] = {}
        self.shard_of: dict[PlanKey, int] = {}
        self.commands: dict[tuple[PlanKey, str], Command] = {}
        self.answers: dict[tuple[PlanKey, str], Mapping[str, Any]] = {}
        self.slots: dict[tuple[str, str, str, int], Holder] = {}
        self.breakers: dict[tuple[Scope, str], OpenBreaker] = {}
        self.limits: dict[str, Limits] = {}
        self.violations: list[str] = []
        self.trace: list[str] = []
        self.commits = 0
        #: Set with every commit.
        self.kept = asyncio.Event()
        # What a commit takes for each event; a fairness test measures in it.
        self.event_s = 0.0
        # How long an answer is on its way.
        self.answer_s = 0.001

    def now_us(self) -> int:
        """Returns the storage's clock."""
        return BEGAN_US + int(asyncio.get_running_loop().time() * 1_000_000) + self.skew_us

    def note(self, text: str) -> None:
        """Adds a line to the trace."""
        self.trace.append(f"{asyncio.get_running_loop().time():12.6f} {text}")

    def object(self, text: str) -> None:
        """Notes what must not be."""
        self.note(f"BROKEN {text}")
        self.violations.append(text)

    def add_command(self, command: Command) -> None:
        """Keeps a command; the same request again changes nothing."""
        key = ((command.scope, command.plan_id), command.request_id)
        self.commands.setdefault(key, command)

    def pending(self, shard: int) -> list[Command]:
        """Returns a shard's commands without an answer, in order."""
        return [c for k, c in self.commands.items() if k not in self.answers and self.shard_of[k[0]] == shard]

    def stream(self, key: PlanKey) -> Stream:
        """Returns a plan's stream, empty where there is none yet."""
        found = self.streams.get(key)
        if found is None:
            found = self.streams[key] = Stream(Plan(key[0].tenant_id, key[0].project_id, key[1]))
        return found

    def fold(self, key: PlanKey) -> Plan:
        """Folds a plan anew from what was kept."""
        plan = Plan(key[0].tenant_id, key[0].project_id, key[1])
        for type_, payload, task_id, actor in self.streams[key].rows if key in self.streams else ():
            apply(plan, Event(type_, json.loads(payload), task_id, actor))
        return plan

    # ── What a transaction does ──────────────────────────────────────────────────────────────────────────────────────

    def keep(self, commit: Commit) -> None:
        """Keeps all of it or nothing. Raises StreamVersionConflict."""
        for change in commit.changes:
            if len(self.stream(_key(change.plan)).rows) != change.base:
                raise errors.StreamVersionConflict
        self.commits += 1
        self.kept.set()
        said: Sequence[Said] = commit.prepared  # type: ignore[assignment]
        for change, one in zip(commit.changes, said, strict=True):
            self._append(change, one)
        for command, answer in commit.decided:
            key = ((command.scope, command.plan_id), command.request_id)
            if key in self.answers:
                self.object(f"{command.request_id} was decided twice")
            self.answers[key] = answer
            self.note(f"answer {command.plan_id} {command.request_id} {json.dumps(answer, sort_keys=True)}")
        for holder in commit.freed:
            self.free(holder)
        for trip in commit.trips:
            self._trip(trip)

    def _append(self, change: Change, said: "Said") -> None:
        key, stream = _key(change.plan), self.stream(_key(change.plan))
        for event, text in zip(change.events, said.texts, strict=True):
            stream.rows.append((event.type, text, event.task_id, event.actor))
            self.note(f"event {key[1]} {len(stream.rows)} {event.type} {event.task_id} {text}")
            kept = Event(event.type, json.loads(text), event.task_id, event.actor)
            try:
                stream.watch.see(kept)
                apply(stream.plan, kept)
            except (Broken, KeyError, IndexError) as error:
                self.object(f"{key[1]}: {type(error).__name__} {error}")
        stream.row = said.row
        stream.tasks |= said.tasks
        self.agrees(key, said.tasks)

    def agrees(self, key: PlanKey, task_ids: Iterable[str]) -> None:
        """Objects to a read model that is not what the history folds to."""
        stream = self.streams[key]
        if stream.row != plan_row(stream.plan, 0, "", ""):
            self.object(f"{key[1]}: its row is not what its history says")
        for task_id in task_ids:
            if stream.tasks.get(task_id) != task_row(stream.plan, task_id, ""):
                self.object(f"{key[1]} {task_id}: its row is not what its history says")

    def _trip(self, trip: Trip) -> None:
        where, known = (trip.scope, trip.tool), self.breakers.get((trip.scope, trip.tool))
        if trip.works:
            self.breakers.pop(where, None)
            return
        failures, until_us = (known.failures + 1, known.until_us) if known else (1, 0)
        if failures >= trip.threshold and until_us < self.now_us():
            until_us = self.now_us() + trip.cool_down_s * 1_000_000
        self.breakers[where] = OpenBreaker(trip.scope, trip.tool, failures, until_us)
        self.note(f"breaker {trip.tool} {failures} {until_us}")

    def take(self, wishes: Sequence[SlotWish]) -> set[Holder]:
        """Takes slots, by priority and then in order; who gets only some gives them back."""
        granted = set()
        for wish in sorted(wishes, key=lambda w: -w.priority):
            got = [self._take(wish, project_id, key, most) for project_id, key, most in wish.keys]
            if all(got):
                granted.add(wish.holder)
            else:
                self.free(wish.holder)
        return granted

    def _take(self, wish: SlotWish, project_id: str, key: str, most: int) -> bool:
        tenant_id = wish.scope.tenant_id
        held = [
            n
            for (t, p, k, n), who in self.slots.items()
            if (t, p, k) == (tenant_id, project_id, key) and who == wish.holder
        ]
        taken = {n for t, p, k, n in self.slots if (t, p, k) == (tenant_id, project_id, key)}
        free = next((n for n in range(1, most + 1) if n not in taken), 0)
        if not held and free:
            self.slots[(tenant_id, project_id, key, free)] = wish.holder
        return bool(held or free)

    def sweep(self, key: PlanKey) -> None:
        """Gives back what tasks of a plan hold that do not run."""
        runs = self.streams[key].plan.tasks if key in self.streams else {}
        for where, (scope, plan_id, task_id) in list(self.slots.items()):
            if (scope, plan_id) == key and (task_id not in runs or runs[task_id].state != "running"):
                del self.slots[where]

    def free(self, holder: Holder) -> None:
        """Gives slots back."""
        for where in [w for w, who in self.slots.items() if who == holder]:
            del self.slots[where]


def _key(plan: Plan) -> PlanKey:
    return (Scope(plan.tenant_id, plan.project_id), plan.plan_id)


class SimLog:
    """One owner's view of a shard (haas_planner.log.Log): every call is late and may fail, writes are fenced."""

    def __init__(self, storage: Storage, shard: int, epoch: int) -> None:
        self._storage = storage
        self._shard = shard
        self._epoch = epoch
        #: A process that is gone hears of nothing any more.
        self.dead = False
        #: A process that stands still goes on then, by the loop's clock.
        self.thaws_s = 0.0

    async def _read(self, what: str) -> None:
        """Takes a while, then may fail. Who owns the shard by now is not asked."""
        await self._call(what, self._storage.faults.refused)

    async def _write(self, what: str) -> None:
        """The same; then finds out whether the shard is still this owner's."""
        await self._call(what, self._storage.faults.refused)
        self.fence()

    async def _call(self, what: str, fallible: float) -> None:
        storage = self._storage
        slow = storage.chance.random() < storage.faults.slow
        await asyncio.sleep(storage.chance.uniform(3, 20) if slow else storage.chance.uniform(0.0005, 0.004))
        await asyncio.sleep(max(0.0, self.thaws_s - asyncio.get_running_loop().time()))
        if self.dead:
            await asyncio.Future()
        if storage.chance.random() < fallible:
            storage.note(f"shard {self._shard}/{self._epoch} {what} failed")
            raise errors.DatabaseUnavailable

    async def _answered(self, found: Found) -> Found:
        """What was found is on its way for a moment: somebody may change it meanwhile, and ring."""
        await asyncio.sleep(self._storage.answer_s)
        return found

    def fence(self) -> None:
        """Raises LeaseLost once the shard is somebody else's."""
        if self._storage.epochs[self._shard] != self._epoch:
            self._storage.note(f"shard {self._shard}/{self._epoch} was fenced off")
            raise errors.LeaseLost

    async def now_us(self) -> int:
        """See Log."""
        await self._read("now")
        return self._storage.now_us()

    async def plans(self) -> list[tuple[PlanKey, int]]:
        """See Log."""
        await self._read("plans")
        mine = [(k, s) for k, s in self._storage.streams.items() if self._storage.shard_of[k] == self._shard and s.rows]
        return sorted(((k, w) for k, s in mine if (w := s.row["wake_us"]) >= 0), key=lambda found: found[1])

    async def commands(self, limit: int) -> list[Command]:
        """See Log."""
        await self._read("commands")
        return await self._answered(self._storage.pending(self._shard)[:limit])

    async def load(self, keys: Sequence[PlanKey], known: Mapping[PlanKey, Plan]) -> list[Loaded]:
        """See Log."""
        await self._write("load")
        limits = self._storage.limits
        for key in keys:
            self._storage.sweep(key)
        # As from a snapshot of its last event: what is decided on it is what would be decided on the fold.
        found = [(k, known.get(k) or snapshot.load(snapshot.dump(self._storage.fold(k)))) for k in keys]
        return [Loaded(k, plan, limits=limits.get(k[0].tenant_id, NO_LIMITS)) for k, plan in found]

    async def breakers(self, scopes: Iterable[Scope]) -> list[OpenBreaker]:
        """See Log."""
        await self._read("breakers")
        wanted = set(scopes)
        return await self._answered([b for b in self._storage.breakers.values() if b.scope in wanted])

    async def take_slots(self, wishes: Sequence[SlotWish]) -> set[Holder]:
        """See Log."""
        await self._write("slots")
        return await self._answered(self._storage.take(wishes))

    def prepare(self, commit: Commit) -> None:
        """See Log."""
        commit.prepared = [Said.of(change) for change in commit.changes]  # type: ignore[assignment]

    async def stop(self) -> None:
        """See Log."""

    async def commit(self, commit: Commit) -> int:
        """See Log. Kept or not, the answer may get lost."""
        storage = self._storage
        await self._write("commit")
        storage.keep(commit)
        if storage.event_s:
            await asyncio.sleep(storage.event_s * sum(len(c.events) for c in commit.changes))
        await asyncio.sleep(storage.chance.uniform(0, 0.002))
        if self.dead:
            await asyncio.Future()
        if storage.chance.random() < storage.faults.unknown:
            storage.note(f"shard {self._shard}/{self._epoch} commit was kept, and its answer lost")
            raise errors.DatabaseUnavailable
        return storage.now_us()
