"""The simulation's processes: real shards and attempts on made-up storage, bells and work."""

import asyncio
import contextlib
import random
from collections.abc import Iterator

from haas_common import errors
from haas_planner.attempts import REPLAN, Assignment, Attempts, Made, Result
from haas_planner.domain import Proposal
from haas_planner.graph import Task
from haas_planner.holds import keys_of
from haas_planner.store import NO_LIMITS
from haas_planner.worker import Shard
from tests.simulation.storage import SimLog, Storage
from tests.support import random_plans as some
from tests.support.plan_model import OVER, Broken

#: Bells that nobody rings are looked at less often than in earnest: it is the same, in fewer steps.
_PATIENCE = 6
#: How many steps of a shard may take no time.
STEPS_MAX = 500
#: An owner finds out this long after a takeover at the latest, in seconds.
RENEWED_S_MAX = 30.0


class SimBell:
    """A subscriber's bell."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wakes the subscriber."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> bool:
        """Waits for a ring, or for so long."""
        try:
            async with asyncio.timeout(timeout_s * _PATIENCE):
                await self._rung.wait()
        except TimeoutError:
            return False
        finally:
            self._rung.clear()
        return True


class SimDoorbell:
    """Rings topics in every process; some rings are lost."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._bells: dict[str, list[SimBell]] = {}

    def ring(self, topic: str) -> None:
        """Rings a topic."""
        for bell in self._bells.get(topic, ()):
            if self._storage.chance.random() >= self._storage.faults.ring_lost:
                bell.ring()

    @contextlib.contextmanager
    def bell(self, *topics: str) -> Iterator[SimBell]:
        """Subscribes to topics."""
        mine = SimBell()
        for topic in topics:
            self._bells.setdefault(topic, []).append(mine)
        try:
            yield mine
        finally:
            for topic in topics:
                self._bells[topic].remove(mine)


class Doings:
    """What attempts do: they look whether they may, take a while, and end well or not."""

    def __init__(self, storage: Storage, seed: int, failing: float) -> None:
        self._storage = storage
        self._seed = seed
        self.failing = failing
        #: Side effects, by what makes them happen once: (plan, task, completions before).
        self.ledger: dict[tuple[str, str, int], int] = {}

    async def work(self, assignment: Assignment) -> Result:
        """Does one attempt."""
        task = assignment.task
        chance = random.Random(f"{self._seed}/{assignment.plan_id}/{task.task_id}/{assignment.attempt}")
        self._may(assignment)
        await asyncio.sleep(chance.choice((0.0, 0.01, 0.2, 1.5)))
        await self._fail(chance)
        self._storage.note(f"did {assignment.plan_id} {task.task_id}/{assignment.attempt} {assignment.phase}")
        if assignment.phase == REPLAN:
            return self._proposal(chance, assignment)
        if task.kind in ("leader", "map") and assignment.phase == "run":
            return some.expansion(chance, task, len(assignment.whole))
        effect = (assignment.plan_id, task.task_id, assignment.completions)
        self.ledger[effect] = self.ledger.get(effect, 0) + 1
        outputs, values = some.written(task, assignment.completions)
        tools = (task.skill,) if task.kind == "tool" else ()
        return Made(outputs, values, {"tokens": min(5, task.policy.tokens_max)}, tools)

    def _proposal(self, chance: random.Random, assignment: Assignment) -> Proposal | None:
        return some.proposal(chance, list(assignment.whole), assignment.task)

    async def _fail(self, chance: random.Random) -> None:
        if chance.random() >= self.failing:
            return
        which = chance.randrange(6)
        if which == 0:
            await asyncio.sleep(1_000_000)
        if which == 1:
            raise errors.WorkerLost
        if which == 2:
            raise RuntimeError("a skill's fault")
        if which == 3:
            raise errors.FieldInvalid("final", field="x", rule="y")
        raise errors.ToolFailed("broke", tool=chance.choice(some.TOOLS))

    def _may(self, assignment: Assignment) -> None:
        """Objects to an attempt that the history does not know, or whose inputs are not there."""
        key, task = assignment.key, assignment.task
        watch = self._storage.streams[key].watch
        if assignment.phase == REPLAN:
            if task.task_id not in watch.replanning:
                self._storage.object(f"{task.task_id} is planned anew, and the history does not say so")
            return
        if (task.task_id, assignment.attempt) not in watch.started:
            self._storage.object(f"{task.task_id}/{assignment.attempt} runs and was not kept as started")
        known = watch.tasks[task.task_id]
        if (known.state, known.attempt) == ("running", assignment.attempt):
            self._holds_its_slots(assignment)
        for slot in task.reads:
            known = watch.tasks.get(slot.from_task)
            if known is None or known.state not in OVER:
                continue
            if slot.name not in assignment.readable and slot.name not in assignment.values:
                self._storage.object(f"{task.task_id}/{assignment.attempt} runs without {slot.name}")

    def _holds_its_slots(self, assignment: Assignment) -> None:
        plan, scope = self._storage.streams[assignment.key].plan, assignment.scope
        limits = self._storage.limits.get(scope.tenant_id, NO_LIMITS)
        mine = (scope, assignment.plan_id, assignment.task.task_id)
        held = {(project_id, key) for (_, project_id, key, _), who in self._storage.slots.items() if who == mine}
        for project_id, key, _ in keys_of(plan, plan.tasks[assignment.task.task_id], limits):
            if (project_id, key) not in held:
                self._storage.object(f"{assignment.task.task_id}/{assignment.attempt} runs without a slot of {key}")


class WatchedShard(Shard):
    """A shard that objects to its own spinning: steps without end that let nothing else go on."""

    _last_s, _steps = -1.0, 0

    async def _step(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self._steps = self._steps + 1 if now_s == self._last_s else 0
        self._last_s = now_s
        if self._steps > STEPS_MAX:
            raise Broken("it spins")
        await super()._step()


class Process:
    """A planner's process: its room, and the shards that it owns."""

    def __init__(self, name: str, storage: Storage, doorbell: SimDoorbell, doings: Doings, room: int) -> None:
        self.name = name
        self._storage = storage
        self._doorbell = doorbell
        self.attempts = Attempts(doings.work, room)
        self.shards: dict[int, Shard] = {}
        self.running: dict[int, asyncio.Task[None]] = {}
        self._logs: list[SimLog] = []
        self.dead = False

    def own(self, number: int) -> None:
        """Takes a shard over, whoever has it."""
        epoch = self._storage.epochs[number] = self._storage.epochs.get(number, 0) + 1
        log = SimLog(self._storage, number, epoch)
        self._logs.append(log)
        chance = random.Random(f"{self.name}/{number}/{epoch}")
        self.shards[number] = WatchedShard(
            f"shard/{number}", log, self._doorbell, self.attempts, chance=chance, tools_of=tools_of
        )
        self._storage.note(f"{self.name} owns shard {number}/{epoch}")
        before = self.running.get(number)
        self.running[number] = asyncio.create_task(self._run(self.shards[number], number, epoch, before))

    async def _run(self, shard: Shard, number: int, epoch: int, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        running = asyncio.create_task(shard.run())
        keeper = asyncio.create_task(self._keep(number, epoch, running))
        try:
            await running
        except (errors.LeaseLost, asyncio.CancelledError) as end:
            if isinstance(end, asyncio.CancelledError) and (not keeper.done() or keeper.cancelled()):
                raise  # it crashed, or all is over
            self._storage.note(f"{self.name} let go of shard {number}")
            if self.shards.get(number) is shard:
                del self.shards[number]
        except Exception as error:  # noqa: BLE001 - whatever ends a shard is told of
            self._storage.object(f"shard {number} ended: {type(error).__name__} {error}")
        finally:
            keeper.cancel()

    async def _keep(self, number: int, epoch: int, running: asyncio.Task[None]) -> None:
        """Renews the lease, as far as an owner goes by that; one that is late has worked on meanwhile."""
        chance = random.Random(f"keeper {self.name}/{number}/{epoch}")
        while self._storage.epochs[number] == epoch:  # noqa: ASYNC110 - as a keeper does, by time
            await asyncio.sleep(chance.uniform(1, RENEWED_S_MAX))
        running.cancel()

    def freeze(self, for_s: float) -> None:
        """Stands still: nothing of it reaches the storage for a while, then all of it does."""
        self._storage.note(f"{self.name} is frozen")
        for log in self._logs:
            log.thaws_s = asyncio.get_running_loop().time() + for_s

    def crash(self) -> None:
        """Ends at once: nothing of it reaches the storage any more."""
        self._storage.note(f"{self.name} crashed")
        self.dead = True
        for log in self._logs:
            log.dead = True
        for task in [*self.running.values(), *self.attempts._under_way.values()]:
            task.cancel()
        self.shards.clear()


def tools_of(task: Task) -> tuple[str, ...]:
    """Returns the tools that a task uses."""
    return (task.skill,) if task.kind == "tool" else ()
