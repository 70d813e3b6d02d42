"""A plan as it stands: what the fold of its events builds and decisions read."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from haas_planner.graph import Input, Task

TERMINAL = frozenset({"completed", "failed", "cancelled"})
#: A plan in one of these decides on results, timers and commands.
LIVE = frozenset({"running", "paused", "compensating"})
#: A task in one of these takes part of a map's limit.
OPEN = frozenset({"ready", "running", "expanded", "waiting"})
#: A task in one of these is over with nothing more to come from it, and what reads from it need not wait.
SETTLED = frozenset({"completed", "skipped"})
#: A task in one of these can still be given another contract, or be left out.
REVISABLE = frozenset({"planned", "ready", "waiting", "failed", "cancelled", "skipped"})
NOTHING: Mapping[str, Any] = MappingProxyType({})
_GONE = frozenset({"completed", "skipped", "superseded"})


def _nothing() -> Mapping[str, Any]:
    """Returns the one empty mapping that all share: a plan may have 100,000 tasks."""
    return NOTHING


class Refused(Exception):
    """A command that the plan's state does not allow. `reason` is one of error_reason.proto."""

    def __init__(self, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = metadata


class Event(NamedTuple):
    """What happened to a plan, before it has a place in the log."""

    type: str
    payload: Mapping[str, Any]
    task_id: str = ""
    actor: str = "planner"


class Told(Protocol):
    """What the fold asks of an event, whether it has a place in the log or not."""

    @property
    def type(self) -> str:
        """Its name."""

    @property
    def payload(self) -> Mapping[str, Any]:
        """What happened."""

    @property
    def task_id(self) -> str:
        """To which task; empty for the plan."""

    @property
    def actor(self) -> str:
        """Who did it."""


@dataclasses.dataclass(slots=True)
class TaskRun:
    """A task as it stands. Times are microseconds since the epoch, 0 for none.

    Attributes:
        attempt: the latest one's number; it never starts again from 1.
        failures, losses: attempts that failed by the task's fault, or ended with their worker, since it was planned.
        unmet: how many tasks that it reads from are not settled.
        agent: who does the latest attempt; empty before the first.
        phase: "run", or "report" for what collects: a leader, a map, a wait that is over.
        revised: how often it got another contract.
        completions: how often it was completed: its artifacts have so many accepted versions.
        not_before_us: a retry waits until then.
        deadline_us: it must be over by then (schedule to close).
        until_us: what waits without an attempt waits until then.
        received: what a signal or a person gave.
        occurrence: of a schedule: how many runs there have been; of an approval: how many reminders; of what expanded
            otherwise: into how many tasks.
        queued: of a schedule: a run that waits for the one before.
        compensates: the task that it undoes.
    """

    task: Task
    parent: str = ""
    state: str = "planned"
    attempt: int = 0
    agent: str = ""
    failures: int = 0
    losses: int = 0
    unmet: int = 0
    phase: str = "run"
    completions: int = 0
    revised: int = 0
    outputs: Mapping[str, str] = dataclasses.field(default_factory=_nothing)
    values: Mapping[str, Any] = dataclasses.field(default_factory=_nothing)
    reason: str = ""
    failure: str = ""
    not_before_us: int = 0
    deadline_us: int = 0
    until_us: int = 0
    signal: str = ""
    received: Mapping[str, Any] = dataclasses.field(default_factory=_nothing)
    occurrence: int = 0
    queued: bool = False
    compensates: str = ""

    def doer(self) -> str:
        """Returns who does, or will do, the attempt: the agent that it was given to, or else the task's owner."""
        return self.agent or self.task.owner_agent_id


@dataclasses.dataclass(slots=True)
class Spent:
    """What is used up, or reserved, or allowed (0: without limit)."""

    tokens: int = 0
    money_micros: int = 0


class Early(NamedTuple):
    """A signal that came before its task waited for it; without a task, whichever waits first takes it."""

    task_id: str
    value: Mapping[str, Any]


@dataclasses.dataclass(slots=True)
class Plan:
    """A plan as it stands: the fold of its stream.

    Attributes:
        subject: who created it: the person whose data its personal fields are.
        validated: whether every task of its first graph is there.
        failed_task: the last one that failed for good.
        repairs, replaced: by task, the strategies that it was planned anew with, and the skills that had failed.
        replanning: failed tasks that wait to be planned anew, with the reason of each.
        ending: while it compensates: the state that it ends in.
        prioritized, keyed: whether any of its tasks has a priority or a concurrency key.
        by_state: how many tasks stand where.
        unblocked: what waits for nothing but being made ready, by the map whose limit it is under ("" for none).
        open_in: of such a map: how many of its tasks are open.
        incomplete: how many tasks are not over: of the plan under "", of a composite task's under its id.
        joined: by map: how many of its tasks were completed, will never be, or are no longer part of it.
        timers: when something is due, by task.
        undoable: completed tasks with a compensation, in the order in which they were completed.
        undoing: compensations still to run, the next one last.
        signals: those that came before anything waited for them, by name.
    """

    tenant_id: str
    project_id: str
    plan_id: str
    state: str = ""
    subject: str = ""
    objective: str = ""
    intent: str = ""
    language: str = ""
    slots: dict[str, str] = dataclasses.field(default_factory=dict)
    brief_artifact_id: str = ""
    profile_id: str = ""
    profile_version: int = 0
    inputs: tuple[Input, ...] = ()
    revision: int = 1
    failure: str = ""
    version: int = 0
    validated: bool = False
    budget: Mapping[str, int] = dataclasses.field(default_factory=_nothing)
    spent: Spent = dataclasses.field(default_factory=Spent)
    reserved: Spent = dataclasses.field(default_factory=Spent)
    deadline_us: int = 0
    repairs_max: int = 0
    failed_task: str = ""
    repairs: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    replaced: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    replanning: dict[str, str] = dataclasses.field(default_factory=dict)
    ending: str = ""
    ending_reason: str = ""
    prioritized: bool = False
    keyed: bool = False
    tasks: dict[str, TaskRun] = dataclasses.field(default_factory=dict)
    dependents: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    children: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    ready: dict[str, None] = dataclasses.field(default_factory=dict)
    by_state: dict[str, int] = dataclasses.field(default_factory=dict)
    unblocked: dict[str, dict[str, None]] = dataclasses.field(default_factory=dict)
    open_in: dict[str, int] = dataclasses.field(default_factory=dict)
    incomplete: dict[str, int] = dataclasses.field(default_factory=dict)
    joined: dict[str, tuple[int, int, int]] = dataclasses.field(default_factory=dict)
    timers: dict[str, int] = dataclasses.field(default_factory=dict)
    undoable: list[str] = dataclasses.field(default_factory=list)
    undoing: list[str] = dataclasses.field(default_factory=list)
    signals: dict[str, list[Early]] = dataclasses.field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Returns how many tasks stand where."""
        return {state: n for state, n in self.by_state.items() if n}

    def due_us(self, after_us: int = 0) -> int:
        """Returns when something is due next, of what is due after an instant; 0 for never."""
        if self.state not in ("running", "compensating"):
            return 0
        # What is undone is no longer bound by the plan's own time.
        ends = [self.deadline_us] if self.deadline_us and self.state == "running" else []
        return min((at for at in (*self.timers.values(), *ends) if at > after_us), default=0)


def early_for(plan: Plan, name: str, task_id: str) -> Early | None:
    """Returns the first signal of a name that is kept for a task, or for whichever waits first."""
    return next((one for one in plan.signals.get(name, ()) if one.task_id in ("", task_id)), None)


def map_of(plan: Plan, run: TaskRun) -> str:
    """Returns the map whose limit and join a task is under; empty for none."""
    parent = plan.tasks.get(run.parent) if run.parent else None
    return run.parent if parent is not None and parent.task.kind == "map" else ""


def is_tolerated(plan: Plan, run: TaskRun) -> bool:
    """Tells whether the plan goes on without a task that failed: its policy says so, or a map needs not all."""
    if run.task.policy.on_failure == "continue":
        return True
    parent = map_of(plan, run)
    return bool(parent) and plan.tasks[parent].task.control.get("join", "all") != "all"


def is_over(plan: Plan, run: TaskRun) -> bool:
    """Tells whether nothing more comes of a task."""
    if run.state in _GONE:
        return True
    if run.state == "failed":
        return is_tolerated(plan, run)
    # The task above it is over, or was called off with it.
    return run.state == "cancelled" and run.parent != ""


def undo_order(plan: Plan) -> list[str]:
    """Returns what is undone when the plan is called off, the latest first."""
    return [t for t in dict.fromkeys(reversed(plan.undoable)) if plan.tasks[t].task.policy.compensation]
