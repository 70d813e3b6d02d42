"""A shard of plans: one writer under one lease, state in memory, the events of many plans in one commit (design 2).

What came in while a commit was under way makes up the next one: no delay when idle, batches under load. A batch that
was not committed leaves nothing behind: its plans are folded anew from the log, its results are decided again.
"""

import asyncio
import dataclasses
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from haas_common import errors
from haas_common.db import Database, Lease, Scope
from haas_common.doorbell import Doorbell
from haas_common.eventstore import check_storable
from haas_planner import domain, store
from haas_planner.attempts import Assignment, Attempts, Expanded, Failed, Outcome, Succeeded
from haas_planner.domain import Event, Plan
from haas_planner.store import Change, Command

_log = logging.getLogger(__name__)
COMMANDS_MAX = 200
RESULTS_MAX = 2000
IDLE_S = 5.0
BACKOFF_S_MAX = 5.0
PlanKey = tuple[Scope, str]


@dataclasses.dataclass(slots=True)
class _Batch:
    """What one commit takes along."""

    events: dict[PlanKey, list[Event]] = dataclasses.field(default_factory=dict)
    # What led to each of them.
    causes: dict[PlanKey, list[str]] = dataclasses.field(default_factory=dict)
    bases: dict[PlanKey, int] = dataclasses.field(default_factory=dict)
    decided: list[tuple[Command, Mapping[str, Any]]] = dataclasses.field(default_factory=list)
    results: list[Outcome] = dataclasses.field(default_factory=list)
    reserved: int = 0


class Shard:
    """The owner of a shard's plans, for as long as its lease holds."""

    def __init__(self, number: int, lease: Lease, database: Database, doorbell: Doorbell, attempts: Attempts) -> None:
        self._number = number
        self._lease = lease
        self._database = database
        self._doorbell = doorbell
        self._attempts = attempts
        self._plans: dict[PlanKey, Plan] = {}
        self._traces: dict[PlanKey, str] = {}
        self._results: list[Outcome] = []
        # Plans with ready tasks that wait for room, for their time, or for being folded anew.
        self._eager: dict[PlanKey, None] = {}
        # Folded plans whose running attempts may have died with another owner.
        self._unchecked: set[PlanKey] = set()
        # Plans that a fault of ours keeps from being decided; the others go on.
        self._quarantined: set[PlanKey] = set()
        # Ended plans that a command of this batch names and whose events went with old history.
        self._gone: set[PlanKey] = set()
        self._commands_due = True
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Works until cancelled. Raises LeaseLost."""
        self._attempts.on_room(self._poke)
        listener = asyncio.create_task(self._listen())
        backoff_s = 0.05
        loaded = False
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
                    _log.warning("shard %d: not committed (%s); again soon", self._number, error.reason)
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(BACKOFF_S_MAX, backoff_s * 2)
                    continue
                await self._wake.wait()
                self._wake.clear()
        finally:
            listener.cancel()
            self._attempts.off_room(self._poke)
            if self._timer is not None:
                self._timer.cancel()
            self._attempts.drop(self._plans)

    def offer(self, outcome: Outcome) -> None:
        """Takes an attempt's outcome; it is decided in the next commit."""
        self._results.append(outcome)
        self._wake.set()

    def _poke(self) -> None:
        if self._eager:
            self._wake.set()

    async def _listen(self) -> None:
        with self._doorbell.bell(f"shard/{self._number}") as bell:
            while True:
                await bell.wait(IDLE_S)
                self._commands_due = True
                self._wake.set()

    async def _load(self) -> None:
        """Takes up what was under way: folds each running plan; attempts of a dead owner are lost."""
        async with self._database.batch_tx(self._lease, []) as tx:
            running = await store.running_plans(tx, self._number)
        for key in running:
            self._eager[key] = None
        self._wake.set()

    async def _step(self) -> None:
        batch = _Batch()
        commands = await self._fetch_commands()
        batch.results, self._results = self._results[:RESULTS_MAX], self._results[RESULTS_MAX:]
        try:
            await self._fold_missing([(c.scope, c.plan_id) for c in commands], batch)
            for command in commands:
                self._decide_command(command, batch)
            for outcome in batch.results:
                self._decide_result(outcome, batch)
            self._start_ready(batch)
            await self._commit(batch)
        except BaseException as error:
            unwritable = _unwritable(batch) if isinstance(error, ValueError) else []
            self._attempts.release(batch.reserved)
            self._forget(batch)
            if not unwritable:
                raise
            for key in unwritable:
                self._quarantine(key, batch)
            self._wake.set()
            return
        self._after_commit(batch)
        if self._results or len(commands) == COMMANDS_MAX:
            self._commands_due = self._commands_due or len(commands) == COMMANDS_MAX
            self._wake.set()

    async def _fetch_commands(self) -> list[Command]:
        if not self._commands_due:
            return []
        async with self._database.batch_tx(self._lease, []) as tx:
            commands = await store.pending_commands(tx, self._number, COMMANDS_MAX)
        self._commands_due = False
        return commands

    async def _fold_missing(self, named: Sequence[PlanKey], batch: _Batch) -> None:
        wanted = dict.fromkeys([*named, *((r.scope, r.plan_id) for r in batch.results), *self._eager])
        missing = [key for key in wanted if key not in self._plans and key not in self._quarantined]
        if not missing:
            return
        async with self._database.batch_tx(self._lease, {scope for scope, _ in missing}) as tx:
            for scope, plan_id in missing:
                try:
                    plan, trace_id = await store.load_plan(tx, scope, plan_id)
                except store.PlanGone:
                    self._gone.add((scope, plan_id))
                    self._eager.pop((scope, plan_id), None)
                    continue
                except (ValueError, KeyError, errors.HashMismatch):
                    # Its history holds what this release does not know, e.g. of a newer one, or was tampered with.
                    self._quarantine((scope, plan_id), batch)
                    continue
                self._plans[(scope, plan_id)] = plan
                self._traces.setdefault((scope, plan_id), trace_id)
                self._eager[(scope, plan_id)] = None
                self._unchecked.add((scope, plan_id))

    def _decide_command(self, command: Command, batch: _Batch) -> None:
        key = (command.scope, command.plan_id)
        self._traces[key] = command.trace_id
        try:
            if key in self._gone:
                raise domain.Refused("PLAN_STATE_CONFLICT", "The plan is over, and its history was dropped.")
            plan = self._plans[key]
            events = self._decided(key, batch, lambda: _command(plan, command), f"request/{command.request_id}")
        except domain.Refused as refused:
            result: dict[str, Any] = {"reason": refused.reason, "message": str(refused), "metadata": refused.metadata}
        except Exception:  # noqa: BLE001 - one plan's fault must not stop the others
            self._quarantine(key, batch)
            result = {"reason": "INTERNAL_ERROR", "message": "The plan cannot be decided.", "metadata": {}}
        else:
            result = {"state": plan.state, "events": len(events)}
        batch.decided.append((command, result))

    def _decide_result(self, outcome: Outcome, batch: _Batch) -> None:
        key = (outcome.scope, outcome.plan_id)
        plan = self._plans.get(key)
        if plan is None or key in self._quarantined:
            return
        try:
            self._decided(key, batch, lambda: _result(plan, outcome), _attempt(outcome.task_id, outcome.attempt))
        except Exception:  # noqa: BLE001 - one plan's fault must not stop the others
            self._quarantine(key, batch)

    def _quarantine(self, key: PlanKey, batch: _Batch) -> None:
        """Leaves a plan alone that a fault of ours keeps from being decided: it stays in the log as it was."""
        _log.exception("plan %s is quarantined: its decision failed", key[1], extra={"plan_id": key[1]})
        self._quarantined.add(key)
        self._plans.pop(key, None)
        self._eager.pop(key, None)
        batch.events.pop(key, None)
        batch.causes.pop(key, None)
        batch.bases.pop(key, None)
        self._attempts.drop([key])

    def _start_ready(self, batch: _Batch) -> None:
        """Starts what is ready, as far as there is room; attempts that died with their owner are lost first."""
        now_us = time.time_ns() // 1000
        for key in list(self._eager):
            plan = self._plans[key]
            if plan.state != "running":
                continue
            if key in self._unchecked:
                running = [(t, r.attempt) for t, r in plan.tasks.items() if r.state == "running"]
                for task_id, attempt in running:
                    if plan.state == "running" and not self._attempts.alive(key, task_id, attempt):
                        self._decided(key, batch, _lost(plan, task_id, attempt, now_us), _attempt(task_id, attempt))
            room = self._attempts.reserve(len(plan.ready))
            events = self._decided(key, batch, _starts(plan, now_us, room), "room")
            self._attempts.release(room - len(events))
            batch.reserved += len(events)

    def _decided(self, key: PlanKey, batch: _Batch, decide: Callable[[], list[Event]], cause: str) -> list[Event]:
        """Runs a decision and keeps its events; the plan is then one that the commit has to carry."""
        batch.bases.setdefault(key, self._plans[key].version)
        events = decide()
        batch.events.setdefault(key, []).extend(events)
        batch.causes.setdefault(key, []).extend([cause] * len(events))
        self._eager[key] = None
        return events

    async def _commit(self, batch: _Batch) -> None:
        changes = [
            Change(self._plans[key], batch.bases[key], events, batch.causes[key], self._traces.get(key, ""))
            for key, events in batch.events.items()
            if events
        ]
        if not changes and not batch.decided:
            return
        scopes = {Scope(c.plan.tenant_id, c.plan.project_id) for c in changes} | {c.scope for c, _ in batch.decided}
        async with self._database.batch_tx(self._lease, scopes) as tx:
            if changes:
                await store.save(tx, self._lease, changes)
            if batch.decided:
                await store.decide_commands(tx, batch.decided)

    def _after_commit(self, batch: _Batch) -> None:
        self._unchecked.clear()
        self._gone.clear()
        for key, events in batch.events.items():
            plan = self._plans[key]
            for event in events:
                if event.type == "TaskStarted":
                    self._attempts.begin(Assignment.of(plan, event.task_id, self._traces.get(key, "")), self.offer)
            if plan.state in domain.TERMINAL:
                self._attempts.drop([key])
        if any(batch.events.values()):
            self._doorbell.ring("events")
        for command, _ in batch.decided:
            self._doorbell.ring(f"reply/{command.plan_id}")
        self._settle()

    def _settle(self) -> None:
        """Keeps in memory what runs; remembers who waits for room or for the time of a retry."""
        due_us: list[int] = []
        for key, plan in list(self._plans.items()):
            if plan.state != "running":
                del self._plans[key]
                self._traces.pop(key, None)
                self._eager.pop(key, None)
            elif plan.ready:
                due_us.extend(plan.tasks[t].not_before_us for t in plan.ready)
            else:
                self._eager.pop(key, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        later_us = [at for at in due_us if at > time.time_ns() // 1000]
        if later_us:
            delay_s = max(0.0, min(later_us) / 1e6 - time.time())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake.set)

    def _forget(self, batch: _Batch) -> None:
        """After a batch that was not committed: memory is no longer the log's fold."""
        for key in batch.bases:
            if self._plans.pop(key, None) is not None:
                self._eager[key] = None
        self._results = batch.results + self._results
        self._commands_due = True


def _unwritable(batch: _Batch) -> list[PlanKey]:
    """Returns the plans with an event that the history cannot keep: no commit with one of them would ever succeed."""
    found = []
    for key, events in batch.events.items():
        try:
            for event in events:
                check_storable(event.type, event.payload, event.task_id, event.actor)
        except ValueError:
            found.append(key)
    return found


def _command(plan: Plan, command: Command) -> list[Event]:
    if command.kind == "create":
        tasks = [domain.task_from_json(t) for t in command.body["tasks"]]
        return domain.create(plan, command.body["facts"], tasks, command.actor)
    if command.kind == "run":
        return domain.run(plan, command.actor)
    return domain.cancel(plan, command.actor, command.body.get("reason", ""))


def _result(plan: Plan, outcome: Outcome) -> list[Event]:
    if isinstance(outcome, Succeeded):
        return domain.complete(plan, outcome.task_id, outcome.attempt, outcome.outputs)
    if isinstance(outcome, Expanded):
        return domain.expand(plan, outcome.task_id, outcome.attempt, outcome.tasks)
    assert isinstance(outcome, Failed)
    failure = domain.Failure(outcome.reason, outcome.message, outcome.retryable)
    return _failed(plan, outcome.task_id, outcome.attempt, failure, time.time_ns() // 1000)


def _failed(plan: Plan, task_id: str, attempt: int, failure: domain.Failure, now_us: int) -> list[Event]:
    jitter = random.random()  # noqa: S311 - spread, not secrecy
    return domain.fail(plan, task_id, attempt, failure, now_us, jitter)


def _attempt(task_id: str, number: int) -> str:
    return f"attempt/{task_id}/{number}"


def _lost(plan: Plan, task_id: str, attempt: int, now_us: int) -> Callable[[], list[Event]]:
    failure = domain.Failure("OWNER_LOST", "the process that ran this attempt ended", lost=True)
    return lambda: _failed(plan, task_id, attempt, failure, now_us)


def _starts(plan: Plan, now_us: int, room: int) -> Callable[[], list[Event]]:
    return lambda: domain.start(plan, now_us, room)
