"""Mistakes that an engine like this one invites, each put in at run time and to be caught."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from haas_planner.attempts import Attempts
from haas_planner.batch import Batch
from haas_planner.domain import decision, fold, state, steps
from haas_planner.domain.decision import Decision
from haas_planner.domain.state import Plan
from haas_planner.log import Commit
from haas_planner.pipeline import Pipeline
from haas_planner.worker import Shard
from tests.simulation.storage import SimLog

Mistake = Callable[[], AbstractContextManager[Any]]


def _currency() -> AbstractContextManager[Any]:
    def running(plan: Plan, task_id: str, _attempt: int) -> bool:
        return task_id in plan.tasks and plan.tasks[task_id].state == "running"

    return mock.patch.object(steps, "is_current", running)


def _early_start() -> AbstractContextManager[Any]:
    launch = Pipeline._launch

    def early(self: Pipeline, batch: Batch, commit: Commit) -> None:
        for key, task_id, attempt in batch.started:
            self._owner._begin(key, task_id, attempt)  # type: ignore[attr-defined]
        batch.started = []
        launch(self, batch, commit)

    return mock.patch.object(Pipeline, "_launch", early)


def _unforgotten() -> AbstractContextManager[Any]:
    original = Shard.forget

    def forget(self: Shard, batch: Batch) -> None:
        before = {key: self._plans[key] for key in batch.bases if key in self._plans}
        original(self, batch)
        self._plans.update(before)

    return mock.patch.object(Shard, "forget", forget)


def _unfenced() -> AbstractContextManager[Any]:
    return mock.patch.object(SimLog, "fence", return_value=None)


def _unfenced_slots() -> AbstractContextManager[Any]:
    """As it once was: what an owner appends is fenced, what it takes of slots and gives back is not."""
    both = contextlib.ExitStack()
    for name in ("load", "take_slots"):
        both.enter_context(mock.patch.object(SimLog, name, _without_fence(getattr(SimLog, name))))
    return both


def _without_fence(call: Any) -> Any:
    async def unfenced(self: SimLog, *arguments: Any) -> Any:
        with mock.patch.object(self, "_write", self._read):
            return await call(self, *arguments)

    return unfenced


def _orphans() -> AbstractContextManager[Any]:
    return mock.patch.object(Shard, "_lose_attempts", lambda self, key, *_: self._unchecked.discard(key))


def _no_timers() -> AbstractContextManager[Any]:
    return mock.patch.object(Plan, "due_us", return_value=0)


def _kept_slots() -> AbstractContextManager[Any]:
    commit = Batch.commit

    def keep(self: Batch, *arguments: Any) -> Commit:
        found = commit(self, *arguments)
        found.freed = []
        return found

    return mock.patch.object(Batch, "commit", keep)


def _freed_while_running() -> AbstractContextManager[Any]:
    commit = Batch.commit

    def free(self: Batch, plans: Any, traces: Any, limited: Any) -> Commit:
        found = commit(self, plans, traces, limited)
        ends = ("TaskRetryScheduled", "TaskExpanded")
        found.freed = [
            *found.freed,
            *((k[0], k[1], e.task_id) for k, es in self.events.items() for e in es if e.type in ends),
        ]
        return found

    return mock.patch.object(Batch, "commit", free)


def _leaked_room() -> AbstractContextManager[Any]:
    def ended(self: Attempts, key: Any, assignment: Any, *_: Any) -> None:
        del self._under_way[key], self._reports[key]
        if assignment.attempt > 1:
            return
        self.release(assignment.scope.tenant_id, 1)

    return mock.patch.object(Attempts, "_ended", ended)


def _no_inputs() -> AbstractContextManager[Any]:
    def unblock(plan: Plan, run: Any) -> None:
        if not run.compensates:
            plan.unblocked.setdefault(state.map_of(plan, run), {})[run.task.task_id] = None

    return mock.patch.object(fold, "_unblock", unblock)


def _any_join() -> AbstractContextManager[Any]:
    return mock.patch.object(decision, "join_needs", return_value=1)


def _endless_repairs() -> AbstractContextManager[Any]:
    return mock.patch.object(Decision, "_may_repair", return_value=True)


def _no_budget() -> AbstractContextManager[Any]:
    return mock.patch.object(steps, "_over_budget", return_value=None)


def _open_for_ever() -> AbstractContextManager[Any]:
    over = state.is_over

    def only_maps(plan: Plan, run: Any) -> bool:
        return over(plan, run) and (run.state != "cancelled" or state.map_of(plan, run) != "")

    both = contextlib.ExitStack()
    both.enter_context(mock.patch.object(fold, "is_over", only_maps))
    both.enter_context(mock.patch.object(decision, "is_over", only_maps))
    return both


#: What is done wrong, by name; the first are caught by the simulation, the others by the model already.
SCHEDULER: dict[str, Mistake] = {
    "an attempt's result is taken although another one is current": _currency,
    "attempts start before the commit that says so": _early_start,
    "a batch that was not kept stays in memory": _unforgotten,
    "an owner that lost its shard goes on writing": _unfenced,
    "an owner that lost its shard takes slots and gives them back": _unfenced_slots,
    "attempts of a dead owner are waited for": _orphans,
    "what is due later is not remembered": _no_timers,
    "slots are not given back": _kept_slots,
    "slots are given back while the next attempt runs": _freed_while_running,
    "room is not given back": _leaked_room,
}
DOMAIN: dict[str, Mistake] = {
    "tasks start before what they read is there": _no_inputs,
    "a map ends with its first task": _any_join,
    "failures are repaired without end": _endless_repairs,
    "budgets are not looked at": _no_budget,
    "what was called off below a leader keeps the plan open": _open_for_ever,
}
