"""A shard of plans: one writer under one lease, state in memory, the events of many plans in one commit (design 2).

What comes in while a commit is under way is decided meanwhile and makes up the next one: no delay when idle, batches
under load. Attempts begin, and commands are answered, only after their own commit. A batch that was not committed
leaves nothing behind, nor does the one decided on top of it: their plans are folded anew from the log, their results
are decided again.
"""

import asyncio
import collections
import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from haas_common import errors
from haas_common.db import Scope
from haas_planner import domain
from haas_planner.attempts import REPLAN, Assignment, Attempts, Outcome
from haas_planner.batch import Batch, Cap
from haas_planner.deciding import attempt_name, decide_command, decide_result, lost_attempt, repair_number, trips_of
from haas_planner.domain import Event, Plan, Refused
from haas_planner.fair import Turns
from haas_planner.graph import Task
from haas_planner.hearing import Bells, listen, ring
from haas_planner.holds import Holds, Quarantine
from haas_planner.idle import Idle
from haas_planner.log import Log, PlanKey
from haas_planner.mailbox import Mailbox
from haas_planner.pipeline import Pipeline
from haas_planner.store import NO_LIMITS, Command, Limits
from haas_planner.timing import Timers

_log = logging.getLogger(__name__)
COMMANDS_MAX = 200
#: How many tasks a shard has in memory of plans that run; a plan more is refused until some are over.
TASKS_MAX = 200_000
FOLDED_MAX, BACKOFF_S_MAX = 64, 5.0


class Shard:
    """The owner of a shard's plans, for as long as its lease holds."""

    def __init__(
        self,
        name: str,
        log: Log,
        doorbell: Bells,
        attempts: Attempts,
        *,
        chance: random.Random | None = None,
        tools_of: Callable[[Task], Sequence[str]] = lambda _task: (),
    ) -> None:
        self.name = name
        self._storage = log
        self._doorbell = doorbell
        self._attempts = attempts
        self._chance = chance or random.Random()  # noqa: S311 - spread, not secrecy
        self._wake = asyncio.Event()
        self._timers = Timers(self._wake.set)
        self._plans: dict[PlanKey, Plan] = {}
        self._limits: dict[PlanKey, Limits] = {}
        self._traces: dict[PlanKey, str] = {}
        self._commands: collections.deque[Command] = collections.deque()
        self._results: Mailbox[Outcome] = Mailbox()
        self._turns: Turns[PlanKey] = Turns(attempts.weight_of)  # whose turn it is to go on
        self._blocked: dict[PlanKey, None] = {}  # who goes on as soon as there is room or a slot
        self._holds = Holds(tools_of, attempts.by_agent)
        self._scopes: set[Scope] = set()  # whose breakers are known
        self._idle: Idle[PlanKey] = Idle()
        self._tasks, self._commands_due = 0, True
        self._unchecked: set[PlanKey] = set()  # folded: their running attempts may have died with another owner
        self._quarantined = Quarantine()
        self._gone: set[PlanKey] = set()  # ended, named by a command, and their events went with old history
        self._commits = Pipeline(name, log, self, self._wake.set, self._timers.set_clock)

    async def run(self) -> None:
        """Works until cancelled. Raises LeaseLost."""
        self._attempts.on_room(self._poke)
        listener = asyncio.create_task(listen(self._doorbell, self.name, self._on_commands, self._on_slots))
        backoff_s, loaded = 0.05, False
        try:
            while True:
                try:
                    if not loaded:
                        await self._load()
                        loaded = True
                    await self._step()
                    backoff_s = 0.05
                except errors.LeaseLost:
                    raise
                except errors.HaasError as error:
                    _log.warning("%s: not committed (%s); again soon", self.name, error.reason)
                    self._commands_due = self._holds.stale = True
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(BACKOFF_S_MAX, backoff_s * 2)
                    continue
                await asyncio.sleep(0)  # others have their turn, whoever rings
                await self._wake.wait()
                self._wake.clear()
        finally:
            listener.cancel()
            self._quarantined.clear()
            await self._commits.stop()
            self._attempts.off_room(self.name, self._poke)
            self._timers.stop()
            self._attempts.leave(self.offer)

    def offer(self, outcome: Outcome) -> None:
        """Takes an attempt's outcome; it is decided in the next commit."""
        self._results.put(outcome.scope.tenant_id, outcome)
        self._wake.set()

    def _poke(self) -> None:
        """There is room, or a slot: who waits for one has a turn again."""
        if self._blocked:
            for key in list(self._blocked):
                self._turn(key)
            self._blocked.clear()
            self._wake.set()

    def _on_commands(self) -> None:
        self._commands_due = True
        self._wake.set()

    def _on_slots(self) -> None:
        self._holds.stale = True
        self._poke()

    async def _load(self) -> None:
        """Takes up what was under way; attempts of a dead owner are lost."""
        self._timers.set_clock(await self._storage.now_us())
        for key, due_us in await self._storage.plans():
            self._timers.add(key, due_us) if due_us else self._turn(key)
        self._wake.set()

    def _turn(self, key: PlanKey) -> None:
        plan = self._plans.get(key)
        priorities = (plan.tasks[t].task.policy.priority for t in plan.ready) if plan and plan.prioritized else ()
        self._turns.push(key[0].tenant_id, key, max(priorities, default=5))

    # ── A step: what came in, decided and committed ──────────────────────────────────────────────────────────────────

    async def _step(self) -> None:
        commits = self._commits
        await commits.land()
        for key in self._timers.due():
            self._poke() if key == "breakers" else self._turn(key)
        await self._fetch()
        if commits.open is None:
            commits.open = Batch(Cap.of(self._attempts.tenants()))
        batch = commits.open
        try:
            await self._fold_missing(batch)
            self._decide_commands(batch)
            self._decide_results(batch)
            await self._go_on(batch)
            commits.close(lambda batch: batch.commit(self._plans, self._traces, self._is_limited))
        except BaseException as error:  # noqa: BLE001 - raised again behind the commit that is under way
            await commits.fail(error)
            return
        await commits.go_on()
        if not (commits.flying and batch.is_full() and commits.open is batch):
            self._go_on_soon()

    async def _fetch(self) -> None:
        if self._commands_due and not self._commands:
            self._commands_due = False  # who rings while the answer is on its way is not in it
            found = await self._storage.commands(COMMANDS_MAX)
            under_way = {c.request_id for b in self._commits.undone() for c, _ in b.decided}
            self._commands.extend(c for c in found if c.request_id not in under_way)
            self._commands_due |= len(found) == COMMANDS_MAX
        if self._holds.stale:
            self._holds.stale = False  # the same of slots and breakers
            scopes = self._scopes = {scope for scope, _ in self._plans}
            self._holds.set_breakers(await self._storage.breakers(scopes) if scopes else [])
            if again_us := self._holds.next_try_us(self._timers.now_us()):
                self._timers.add("breakers", again_us)

    async def _fold_missing(self, batch: Batch) -> None:
        """Folds the plans that this step decides on and that are not in memory, so many at a time."""
        named = dict.fromkeys((c.scope, c.plan_id) for c in self._commands)
        wanted = dict.fromkeys([*named, *((r.scope, r.plan_id) for r in self._results), *self._turns])
        missing = [key for key in wanted if self._is_missing(key)]
        known = {k: self._plans[k] for k in named if self._lacks_limits(k) and not self._commits.holds(k)}
        if not missing and not known:
            return
        for loaded in await self._storage.load([*known, *missing][:FOLDED_MAX], known):
            key = loaded.key
            if loaded.gone:
                self._gone.add(key)
                self._turns.drop(key)
                continue
            if loaded.plan is None:
                _log.error("plan %s cannot be folded (%s)", key[1], loaded.fault, extra={"plan_id": key[1]})
                self.blame(key, batch)
                continue
            if key not in known:
                self._plans[key] = loaded.plan
                self._tasks += len(loaded.plan.tasks)
                self._unchecked.add(key)
                self._turn(key)
            if loaded.plan.state:  # one that is only now created names its profile later
                self._limits[key] = loaded.limits
            self._holds.set_roster(key[0], loaded.roster)
            self._attempts.weights[key[0].tenant_id] = loaded.limits.weight
            self._traces.setdefault(key, loaded.trace_id)
            self._holds.stale = self._holds.stale or key[0] not in self._scopes
            self._scopes.add(key[0])

    def _decide_commands(self, batch: Batch) -> None:
        while self._commands and not batch.is_full():
            command = self._commands[0]
            key = (command.scope, command.plan_id)
            if self._is_missing(key) or (command.kind != "create" and self._lacks_limits(key)):
                return  # it is folded with the next step; its limits are looked up once its creation is kept
            self._commands.popleft()
            if not self._decide_command(key, command, batch):
                self._commands.appendleft(command)
                return

    def _is_missing(self, key: PlanKey) -> bool:
        return key not in self._plans and key not in self._quarantined and key not in self._gone

    def _lacks_limits(self, key: PlanKey) -> bool:
        """Tells whether a plan was created, and its profile's and tenant's limits were not asked for since."""
        plan = self._plans.get(key)
        return plan is not None and plan.state == "created" and plan.validated and key not in self._limits

    def _decide_command(self, key: PlanKey, command: Command, batch: Batch) -> bool:
        """Decides a command and keeps its answer. False: a large plan is not whole yet, the command goes on."""
        self._traces[key] = command.trace_id
        whole = True
        try:
            if key in self._gone:
                raise Refused("PLAN_STATE_CONFLICT", "The plan is over, and its history was dropped.")
            if key in self._quarantined:
                raise LookupError("the plan is quarantined")
            plan = self._plans[key]
            if command.kind in ("run", "rerun") and self._tasks > TASKS_MAX:
                raise Refused("OVERLOADED", "Too many tasks are under way.", retry_after_s="5")
            now_us = self._timers.now_us()
            decide = partial(decide_command, plan, command, now_us, batch.cap.planned)
            events = self._decided(key, batch, decide, f"request/{command.request_id}")
            whole = command.kind != "create" or plan.validated
        except Refused as refused:
            result: dict[str, Any] = {"reason": refused.reason, "message": str(refused), "metadata": refused.metadata}
        except Exception:  # noqa: BLE001 - one plan's fault must not stop the others
            if key not in self._quarantined:
                self.blame(key, batch)
            result = {"reason": "INTERNAL_ERROR", "message": "The plan cannot be decided.", "metadata": {}}
        else:
            result = {"state": plan.state, "events": len(events)}
        if whole:
            batch.decided.append((command, result))
        return whole

    def _decide_results(self, batch: Batch) -> None:
        now_us = self._timers.now_us()
        for _ in range(len(self._results)):
            if batch.is_full():
                return
            outcome = self._results.take()
            key = (outcome.scope, outcome.plan_id)
            plan = self._plans.get(key)
            if self._is_missing(key):
                self._results.put(outcome.scope.tenant_id, outcome)
                continue
            batch.results.append(outcome)
            if plan is None:
                continue
            for trip in trips_of(outcome, self._limits.get(key, NO_LIMITS), self._holds.failing):
                batch.trips.append(trip)
                self._holds.note(trip, now_us)
            jitter, cause = self._chance.random(), attempt_name(outcome.task_id, outcome.attempt)
            try:
                decide = partial(decide_result, plan, outcome, now_us, jitter, batch.cap.planned)
                more = self._decided(key, batch, decide, cause)
            except Exception:  # noqa: BLE001 - one plan's fault must not stop the others
                self.blame(key, batch)
                continue
            if more and more[-1].type == "TaskPlanned":
                # An expansion that is not whole yet goes on with the next batch.
                batch.again.append(outcome)

    def _is_limited(self, key: PlanKey, task_id: str) -> bool:
        return self._holds.is_limited(self._plans[key], task_id, self._limits.get(key, NO_LIMITS))

    def blame(self, key: PlanKey, batch: Batch) -> None:
        """Leaves a plan alone that a fault of ours keeps from being decided: it stays in the log as it was."""
        _log.exception("plan %s is quarantined: its decision failed", key[1], extra={"plan_id": key[1]})
        self._quarantined.add(key)
        self._drop(key)
        for tenant, unused in batch.leave_out(key):
            self._attempts.release(tenant, unused)
        self._attempts.drop([key])

    def _drop(self, key: PlanKey) -> None:
        """Takes a plan out of memory."""
        plan = self._plans.pop(key, None)
        if plan is not None:
            self._tasks -= len(plan.tasks)
        self._turns.drop(key)
        self._timers.drop(key)
        self._idle.drop(key)
        for known in (self._blocked, self._limits, self._traces):
            known.pop(key, None)  # type: ignore[attr-defined]

    # ── Turns: what goes on by itself ────────────────────────────────────────────────────────────────────────────────

    async def _go_on(self, batch: Batch) -> None:
        """Gives plans their turns, tenant by tenant, until the batch is full."""
        later = []
        await self._take_slots()
        while len(self._turns) and not batch.is_full():
            key = self._turns.pop()
            plan = self._plans.get(key)
            if plan is None:
                if self._is_missing(key):
                    later.append(key)
                continue
            try:
                more, blocked = self._one_turn(key, plan, batch)
            except Exception:  # noqa: BLE001 - one plan's fault must not stop the others
                self.blame(key, batch)
                continue
            if more:
                later.append(key)
                continue
            if blocked:
                self._blocked[key] = None
            if not self._commits.holds(key):
                # Nothing was decided on it, so that no commit settles it.
                self._settle(key)
        for key in later:
            self._turn(key)
        if self._holds.stale:
            self._poke()  # somebody rang for slots after these were asked for

    async def _take_slots(self) -> None:
        """Takes the slots of concurrency keys for tasks that are about to start."""
        now_us, limits = self._timers.now_us(), self._limits
        plans = [(key, self._plans[key]) for key in self._turns if key in self._plans]
        wishes = [w for k, p in plans for w in self._holds.wishes(k[0], p, limits.get(k, NO_LIMITS), now_us)]
        wishes.sort(key=lambda wish: self._turns.place((wish.scope, wish.plan_id)))
        wishes = self._holds.ask(wishes, {holder for batch in self._commits.undone() for holder in batch.freed})
        self._holds.granted = await self._storage.take_slots(wishes) if wishes else set()

    def _one_turn(self, key: PlanKey, plan: Plan, batch: Batch) -> tuple[bool, bool]:
        """A plan's turn: what is due, what is ready. Returns whether it has more to do, and whether it lacks room."""
        now_us, quantum = self._timers.now_us(), batch.quantum()
        if key in self._unchecked:
            self._lose_attempts(key, plan, batch, now_us)
        if plan.timers or plan.deadline_us:
            self._decided(key, batch, lambda: domain.tick(plan, now_us), "clock")
        # What is ready waits for room: more of it would only be more to look through.
        if plan.state == "running" and plan.unblocked and len(plan.ready) < quantum:
            # As much again is to start in the same batch.
            self._decided(key, batch, lambda: domain.advance(plan, now_us, (quantum + 1) // 2), "room")
        blocked = self._replan(key, plan, batch)
        if plan.ready and plan.state in ("running", "compensating"):
            limits = self._limits.get(key, NO_LIMITS)
            may = self._holds.may(key[0], plan, limits, now_us) if self._holds.keeps_back(plan, limits) else None
            wanted = min(len(plan.ready), quantum)
            room = self._attempts.reserve(self.name, key[0].tenant_id, wanted)
            agent_of = self._holds.chooser(key[0], key[1])
            events = self._decided(key, batch, lambda: domain.start(plan, now_us, room, may, agent_of), "room")
            started = sum(e.type == "TaskStarted" for e in events)
            batch.reserve(key, started)
            self._turns.served(key, started)
            self._attempts.unreserve(key[0].tenant_id, room - started)
            blocked = blocked or room < wanted or (may is not None and started < wanted)
            if started and not blocked and plan.ready:
                return True, False
            if may is not None and room == wanted and self._holds.has_more_wishes(key[0], plan, limits, now_us):
                return True, False
        return domain.can_advance(plan) and len(plan.ready) < quantum, blocked

    def _lose_attempts(self, key: PlanKey, plan: Plan, batch: Batch, now_us: int) -> None:
        """Attempts that died with their owner are lost."""
        self._unchecked.discard(key)
        for task_id, attempt in [(t, r.attempt) for t, r in plan.tasks.items() if r.state == "running"]:
            if not self._attempts.alive(key, task_id, attempt):
                jitter = self._chance.random()
                decide = partial(lost_attempt, plan, task_id, attempt, now_us, jitter)
                self._decided(key, batch, decide, attempt_name(task_id, attempt))

    def _replan(self, key: PlanKey, plan: Plan, batch: Batch) -> bool:
        """Plans failed parts anew, an attempt each. Returns whether one waits for room."""
        if plan.state != "running":
            return False
        for task_id in plan.replanning:
            number = repair_number(plan, task_id)
            begun = any((key, task_id) in undone.replans for undone in self._commits.undone())
            if begun or self._attempts.alive(key, task_id, number):
                continue
            if not self._attempts.reserve(self.name, key[0].tenant_id, 1):
                return True
            batch.bases.setdefault(key, plan.version)
            batch.reserve(key, 1)
            batch.replans[(key, task_id)] = number
        return False

    def _decided(self, key: PlanKey, batch: Batch, decide: Callable[[], list[Event]], cause: str) -> list[Event]:
        """Runs a decision and keeps its events; the plan is then one that the commit has to carry."""
        plan = self._plans[key]
        batch.bases.setdefault(key, plan.version)
        before = len(plan.tasks)
        events = decide()
        self._tasks += len(plan.tasks) - before
        if events and key not in batch.events:
            self._attempts.see(key[0].tenant_id)
        batch.add(key, plan, events, cause)
        if events and not cause.startswith(("room", "clock")):
            self._turn(key)
        return events

    # ── After the commit ─────────────────────────────────────────────────────────────────────────────────────────────

    def kept(self, batch: Batch) -> None:
        """See Owner."""
        self._gone.clear()
        self._holds.arrived(batch.trips)
        self._results.put_back((outcome.scope.tenant_id, outcome) for outcome in batch.again)
        for key, task_id, attempt in batch.started:
            self._begin(key, task_id, attempt)
        for key, task_id, attempt in batch.unwanted:
            self._attempts.drop_one(key, task_id, attempt)
        for (key, task_id), number in batch.replans.items():
            plan = self._plans.get(key)
            if plan is None or task_id not in plan.replanning:
                self._attempts.release(key[0].tenant_id, 1)
                continue
            wanted = Assignment.of(plan, task_id, self._traces.get(key, ""), REPLAN)
            self._attempts.begin(wanted.numbered(number), self.offer)
        ring(self._doorbell, batch)
        for key in batch.bases:
            if not self._commits.holds(key):
                self._settle(key)
        self._go_on_soon()

    def _begin(self, key: PlanKey, task_id: str, attempt: int) -> None:
        """Begins an attempt whose start is kept, unless the plan has thought better of it meanwhile."""
        plan = self._plans.get(key)
        run = plan.tasks[task_id] if plan is not None else None
        self._holds.started(key[0], key[1], task_id, attempt)
        if plan is not None and run is not None and run.state == "running" and run.attempt == attempt:
            self._attempts.begin(Assignment.of(plan, task_id, self._traces.get(key, "")), self.offer)
        else:
            self._attempts.release(key[0].tenant_id, 1)

    def _go_on_soon(self) -> None:
        due, first = self._commands_due, next(((c.scope, c.plan_id) for c in self._commands), None)
        if first is not None:  # where its plan is being created, the end of that commit wakes it
            due = not (self._lacks_limits(first) and self._commits.holds(first))
        if due or self._results or len(self._turns):
            self._wake.set()

    def _settle(self, key: PlanKey) -> None:
        """Keeps in memory what runs; what only waits is remembered by its time, and folded anew if there is no room."""
        plan = self._plans.get(key)
        if plan is None:
            return
        self._idle.drop(key)
        if plan.state in domain.TERMINAL or not plan.state:
            self._attempts.drop([key])
            self._drop(key)
            return
        if plan.state == "created":
            self._limits.pop(key, None)  # they may change before it runs
            if not plan.validated:
                return
        # Who waits for room is woken by room: what has been due for a while would only wake it again and again.
        due_us = plan.due_us(self._timers.now_us() if key in self._blocked else 0)
        self._timers.add(key, due_us) if due_us else self._timers.drop(key)
        if key in self._turns or key in self._blocked or plan.ready or plan.replanning or plan.by_state.get("running"):
            return
        self._idle.put(key, len(plan.tasks))
        while (oldest := self._idle.surplus()) is not None:
            if self._commits.holds(oldest):
                continue  # it is settled with its own commit
            wakes_us = self._plans[oldest].due_us()
            self._drop(oldest)
            if wakes_us:
                self._timers.add(oldest, wakes_us)

    def forget(self, batch: Batch) -> None:
        """See Owner."""
        for tenant, unused in batch.reservations():
            self._attempts.release(tenant, unused)
        for key in batch.bases:
            if key not in self._quarantined:
                self._drop(key)
                self._turn(key)
        self._results.put_back((outcome.scope.tenant_id, outcome) for outcome in batch.results)
        self._commands.clear()
        self._commands_due = True
        self._holds.arrived(batch.trips)
        self._holds.granted = set()
