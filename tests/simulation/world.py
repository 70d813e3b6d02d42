"""One seed: tenants with random plans, processes that crash and lose their shards, people who ask, and a verdict."""

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import random
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

from haas_common.db import Scope
from haas_planner import attempts as attempts_module
from haas_planner.domain import TERMINAL, Plan
from haas_planner.graph import task_to_json
from haas_planner.log import PlanKey
from haas_planner.store import Command, Limits
from tests.simulation import virtual
from tests.simulation.fleet import Doings, Process, SimDoorbell
from tests.simulation.storage import Faults, Storage
from tests.support import random_plans as some

SHARDS = 2
#: How long things go wrong, and how long plans have from there to their ends, in the simulation's seconds.
CHAOS_S, ENDS_S = 45.0, 3600.0
#: How often a person looks after the plans once all is calm.
LOOK_S = 20.0


@dataclasses.dataclass(slots=True)
class Verdict:
    """What became of a seed."""

    seed: int
    violations: list[str]
    trace: list[str]
    plans: dict[str, str]
    commits: int

    def digest(self) -> str:
        """Returns a hash of all that happened, in order."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


class World:
    """The fleet and its surroundings."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        wild = self.chance.choice((0.0, 0.5, 1.0, 1.0))
        self.faults = Faults(0.04 * wild, 0.04 * wild, 0.01 * wild, 0.2 * wild)
        self.wild = wild
        self.storage = Storage(self.chance, self.faults)
        self.doorbell = SimDoorbell(self.storage)
        self.doings = Doings(self.storage, seed, self.chance.choice((0.0, 0.1, 0.3)))
        self.room = self.chance.choice((1, 3, 8))
        self.processes: list[Process] = []
        self.keys: list[PlanKey] = []
        self.asked = 0

    # ── Who does what when ───────────────────────────────────────────────────────────────────────────────────────────

    async def live(self) -> Verdict:
        """Lives through the chaos, then lets everything end, then looks at what is left."""
        for name in ("a", "b"):
            self._process(name)
        for number in range(SHARDS):
            self.chance.choice(self.processes).own(number)
        self._create_plans()
        for at_s, action in self._script():
            await asyncio.sleep(max(0.0, at_s - asyncio.get_running_loop().time()))
            action()
        self.faults.calm()
        self.doings.failing = 0.0
        await self._end()
        self._look_back()
        states = {key[1]: self.storage.stream(key).plan.state for key in self.keys}
        return Verdict(self.seed, self.storage.violations, self.storage.trace, states, self.storage.commits)

    def _process(self, name: str) -> Process:
        made = Process(name, self.storage, self.doorbell, self.doings, self.room)
        self.processes.append(made)
        return made

    def _create_plans(self) -> None:
        chance = self.chance
        for n in range(chance.randint(1, 4)):
            tenant = chance.choice(("t-a", "t-b", "t-c"))
            key = (Scope(tenant, "p"), f"pl-{n}")
            self.keys.append(key)
            self.storage.shard_of[key] = n % SHARDS
            self.storage.limits.setdefault(
                tenant, Limits(chance.choice((0, 0, 3)), chance.choice((0, 0, 2)), chance.choice((1, 3)), 2, 5)
            )
            tasks = [task_to_json(t) for t in some.graph(chance, 8)]
            self.ask(key, "create", {"facts": some.facts(chance), "tasks": tasks})
            self.ask(key, "run", {})

    def _script(self) -> list[tuple[float, Any]]:
        """Returns what happens during the chaos, by time."""
        chance, script = self.chance, []
        for _ in range(chance.randint(0, 6)):
            script.append((chance.uniform(0, CHAOS_S), self._somebody_asks))
        disasters = (self._crash, self._freeze, self._take_over, self._jump)
        for _ in range(chance.randint(0, 3) if self.wild else 0):
            script.append((chance.uniform(0, CHAOS_S), chance.choice(disasters)))
        return sorted(script, key=lambda entry: entry[0])

    def ask(self, key: PlanKey, kind: str, body: dict[str, Any]) -> None:
        """Brings a command, some of them twice."""
        self.asked += 1
        command = Command(key[0], key[1], f"r-{self.asked}", kind, body, "ana", "")
        self.storage.note(f"ask {key[1]} {command.request_id} {kind}")
        for _ in range(self.chance.choice((1, 1, 2))):
            self.storage.add_command(command)
        self.doorbell.ring(f"shard/{self.storage.shard_of[key]}")

    def _somebody_asks(self) -> None:
        chance, key = self.chance, self.chance.choice(self.keys)
        plan = self.storage.stream(key).plan
        task_id = chance.choice(list(plan.tasks) or ["T-1"])
        kind = chance.choice(("pause", "resume", "signal", "approve", "retry", "skip", "rerun", "replan", "cancel"))
        body: dict[str, Any] = {"task_id": task_id, "reason": ""}
        if kind == "signal":
            body = {"name": chance.choice(some.SIGNALS), "value": {"n": 1}}
        elif kind == "approve":
            body |= {"approved": chance.random() < 0.7, "role": chance.choice(some.ROLES)}
        elif kind == "replan" and not self._revision(plan, body):
            return
        self.ask(key, kind, body)

    def _revision(self, plan: Plan, body: dict[str, Any]) -> bool:
        """Fills in a revision, one that would be taken now: the operation checks before it keeps the command."""
        if not plan.tasks:
            return False
        tasks, removed = some.revision(self.chance, plan)
        body |= {"tasks": [task_to_json(t) for t in tasks], "removed": removed}
        return True

    def _crash(self) -> None:
        living = [p for p in self.processes if not p.dead]
        gone = self.chance.choice(living)
        lost = list(gone.shards)
        gone.crash()
        self._bequeath(lost, [p for p in living if p is not gone])

    def _freeze(self) -> None:
        """A process stands still for longer than its leases, and goes on where it was."""
        living = [p for p in self.processes if not p.dead]
        frozen = self.chance.choice(living)
        frozen.freeze(self.chance.uniform(3, 20))
        self._bequeath(list(frozen.shards), [p for p in living if p is not frozen])

    def _bequeath(self, lost: Sequence[int], living: Sequence[Process]) -> None:
        heir = self.chance.choice(living or [self._process(f"c{len(self.processes)}")])
        for number in lost:
            asyncio.get_running_loop().call_later(self.chance.uniform(0.1, 3), self._inherit, heir, number)

    def _inherit(self, heir: Process, number: int) -> None:
        if heir.dead:
            heir = self._process(f"c{len(self.processes)}")
        heir.own(number)

    def _take_over(self) -> None:
        """Another process takes a shard whose owner lives on and does not know."""
        self.chance.choice([p for p in self.processes if not p.dead]).own(self.chance.randrange(SHARDS))

    def _jump(self) -> None:
        self.storage.skew_us += self.chance.choice((-3, 5, 70)) * 1_000_000
        self.storage.note(f"the clock jumped to {self.storage.skew_us}")

    # ── To the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _end(self) -> None:
        deadline_s = asyncio.get_running_loop().time() + ENDS_S
        while True:
            await asyncio.sleep(LOOK_S)
            self._own_what_nobody_owns()
            waiting = [k for k in self.keys if self._look_after(k)]
            if not waiting:
                break
            if asyncio.get_running_loop().time() > deadline_s:
                states = {k[1]: self.storage.stream(k).plan.counts() for k in waiting}
                self.storage.object(f"plans do not end: {states}")
                return
        # What was called off ends; what was asked last is answered.
        await asyncio.sleep(LOOK_S * 2)

    def _own_what_nobody_owns(self) -> None:
        for number in range(SHARDS):
            owners = [p for p in self.processes if not p.dead and number in p.shards]
            if not owners:
                self._inherit(self.processes[0], number)

    def _look_after(self, key: PlanKey) -> bool:
        """Does for a plan what only a person does. Returns whether it has still to end."""
        plan, waits = self.storage.stream(key).plan, False
        if plan.state == "created":
            self.ask(key, "run", {})
        if plan.state == "paused":
            budget = {"tokens": plan.spent.tokens + 5000, "money_micros": 0, "time_s": 9000} if plan.budget else None
            self.ask(key, "resume", {"reason": "", "budget": budget})
        for task_id, run in plan.tasks.items():
            if run.state == "waiting" and run.task.kind == "approval":
                self.ask(key, "approve", {"task_id": task_id, "approved": True, "role": run.task.control["role"]})
            elif run.state == "waiting" and run.signal:
                waits = True
                self.ask(key, "signal", {"name": run.signal, "value": {}, "task_id": task_id})
        return waits or plan.state not in TERMINAL or bool(self.storage.pending(self.storage.shard_of[key]))

    # ── What is left ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _look_back(self) -> None:
        for key in self.keys:
            self._history_explains(key)
            self._effects(key)
        self._nothing_left()

    def _history_explains(self, key: PlanKey) -> None:
        stream, plan = self.storage.stream(key), self.storage.fold(key)
        if plan != stream.plan:
            self.storage.object(f"{key[1]}: folding it anew gives another plan")
        self.storage.agrees(key, plan.tasks)

    def _effects(self, key: PlanKey) -> None:
        """Every completion by an attempt has its effect, and each its own."""
        done: dict[str, int] = {}
        state: dict[str, str] = {}
        for type_, payload, task_id, _ in self.storage.stream(key).rows:
            if type_ == "TaskCompleted":
                number = done.get(task_id, 0)
                done[task_id] = number + 1
                if state.get(task_id) == "TaskStarted":
                    if (key[1], task_id, number) not in self.doings.ledger:
                        self.storage.object(f"{key[1]} {task_id}: completion {number + 1} has no effect of its own")
                    if f'"artf-{task_id.lower()}-' in payload and f'"artf-{task_id.lower()}-{number}"' not in payload:
                        self.storage.object(f"{key[1]} {task_id}: completion {number + 1} is that of another time")
            if task_id and type_ not in ("ErrorDetected", "ReplanRequired", "PlanReplanned", "PlanReopened"):
                state[task_id] = type_

    def _nothing_left(self) -> None:
        storage = self.storage
        if storage.slots:
            storage.object(f"slots are held: {sorted(map(str, storage.slots.values()))}")
        for process in self.processes:
            if process.dead:
                continue
            room = process.attempts._room
            if process.attempts._under_way:
                storage.object(
                    f"{process.name}: attempts are under way: {[k[1:] for k in process.attempts._under_way]}"
                )
            if room._used or room._held:
                storage.object(f"{process.name}: room is held: {room._used} {room._held}")
            for number, shard in process.shards.items():
                self._shard_is_idle(process, number, shard)

    def _shard_is_idle(self, process: Process, number: int, shard: Any) -> None:
        left = {
            "timers": [k for k in shard._timers._due if k != "breakers"], "turns": list(shard._turns),
            "blocked": list(shard._blocked), "results": list(shard._results), "plans": list(shard._plans),
            "quarantined": list(shard._quarantined), "commands": list(shard._commands), "tasks": shard._tasks,
        }  # fmt: skip
        for name, found in left.items():
            if found:
                self.storage.object(f"{process.name}: shard {number} has {name}: {found}")


@contextlib.contextmanager
def surroundings() -> Iterator[None]:
    """What the engine takes from the real world: the clock of durations, and a log that nobody reads here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        clock = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())
        with mock.patch.object(attempts_module, "time", clock):
            yield
    finally:
        logging.disable(before)


def simulate(seed: int) -> Verdict:
    """Runs one seed."""
    with surroundings():
        return virtual.run(_live(seed))


async def _live(seed: int) -> Verdict:
    return await World(seed).live()
