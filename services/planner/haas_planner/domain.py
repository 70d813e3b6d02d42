"""The DAG engine's rules, without a clock, chance or I/O: a plan is the fold of its events (design 1, 2).

`apply` folds one event into a plan. The functions below it decide: they check, emit events and fold each as it is
emitted, so that what is decided is what a replay gives. A plan whose events did not reach the log is thrown away and
folded anew, never mended.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from haas_planner.graph import Input, Slot, Task

TERMINAL = frozenset({"completed", "failed", "cancelled"})
# An attempt that ends with its worker is not the task's fault; a task that takes its worker with it every time is.
LOSSES_MAX = 8
BACKOFF_S_MAX = 30.0


class Refused(Exception):
    """A command that the plan's state does not allow. `reason` is one of error_reason.proto."""

    def __init__(self, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = metadata


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
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


@dataclasses.dataclass(slots=True)
class TaskRun:
    """A task as it stands.

    Attributes:
        unmet: how many tasks that it reads from are not complete.
        phase: "run", or for a leader whose sub-plan is complete "report".
        not_before_us: microseconds since the epoch; a retry waits until then.
    """

    task: Task
    parent: str = ""
    state: str = "planned"
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    unmet: int = 0
    phase: str = "run"
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)
    failure: str = ""
    not_before_us: int = 0


@dataclasses.dataclass(slots=True)
class Plan:
    """A plan as it stands: the fold of its stream.

    Attributes:
        subject: who created it: the person whose data its personal fields are.
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
    tasks: dict[str, TaskRun] = dataclasses.field(default_factory=dict)
    dependents: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    children: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    ready: dict[str, None] = dataclasses.field(default_factory=dict)
    # How many tasks are not complete: of the plan under "", of a leader's sub-plan under the leader's id.
    incomplete: dict[str, int] = dataclasses.field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Returns how many tasks stand where."""
        found: dict[str, int] = {}
        for run in self.tasks.values():
            found[run.state] = found.get(run.state, 0) + 1
        return found


def task_to_json(task: Task) -> dict[str, Any]:
    """Returns a task as it stands in TaskPlanned."""
    return {
        "task_id": task.task_id,
        "kind": task.kind,
        "skill": task.skill,
        "title": task.title,
        "owner_agent_id": task.owner_agent_id,
        "reads": [[s.name, s.type, s.from_task] for s in task.reads],
        "writes": [[s.name, s.type] for s in task.writes],
        "params": dict(task.params),
        "attempts_max": task.attempts_max,
        "attempt_limit_s": task.attempt_limit_s,
    }


def task_from_json(kept: Mapping[str, Any]) -> Task:
    """Rebuilds a task from TaskPlanned."""
    return Task(
        kept["task_id"],
        kept["kind"],
        kept["skill"],
        kept["title"],
        kept["owner_agent_id"],
        tuple(Slot(*s) for s in kept["reads"]),
        tuple(Slot(*s) for s in kept["writes"]),
        kept["params"],
        kept["attempts_max"],
        kept["attempt_limit_s"],
    )


# ── The fold ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _plan_created(plan: Plan, event: Told) -> None:
    kept = event.payload
    plan.state, plan.subject = "created", event.actor
    plan.objective, plan.intent, plan.language = kept["objective"], kept["intent"], kept["language"]
    plan.slots, plan.brief_artifact_id = dict(kept["slots"]), kept["brief_artifact_id"]
    plan.profile_id, plan.profile_version = kept["profile_id"], kept["profile_version"]
    plan.inputs = tuple(Input(*i) for i in kept["inputs"])


def _task_planned(plan: Plan, event: Told) -> None:
    task = task_from_json(event.payload["task"])
    run = TaskRun(task, parent=event.payload["parent"])
    plan.tasks[task.task_id] = run
    for whole in {"", run.parent}:
        plan.incomplete[whole] = plan.incomplete.get(whole, 0) + 1
    if run.parent:
        plan.children.setdefault(run.parent, []).append(task.task_id)
    for upstream in task.depends_on():
        plan.dependents.setdefault(upstream, []).append(task.task_id)
        # A task may be planned before what it reads from is.
        if upstream not in plan.tasks or plan.tasks[upstream].state != "completed":
            run.unmet += 1


def _task_ready(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    run.state, run.phase = "ready", event.payload.get("phase", "run")
    run.not_before_us = event.payload.get("not_before_us", 0)
    plan.ready[event.task_id] = None


def _task_started(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    run.state, run.attempt = "running", event.payload["attempt"]
    plan.ready.pop(event.task_id, None)


def _task_expanded(plan: Plan, event: Told) -> None:
    plan.tasks[event.task_id].state = "expanded"
    plan.revision += 1


def _task_completed(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    run.state, run.outputs = "completed", dict(event.payload["outputs"])
    for whole in {"", run.parent}:
        plan.incomplete[whole] -= 1
    for dependent in plan.dependents.get(event.task_id, ()):
        plan.tasks[dependent].unmet -= 1


def _task_retry_scheduled(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    run.failures, run.losses = event.payload["failures"], event.payload["losses"]
    run.failure = event.payload["message"]


def _task_failed(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    run.state, run.failure = "failed", event.payload["message"]
    plan.ready.pop(event.task_id, None)


def _task_cancelled(plan: Plan, event: Told) -> None:
    plan.tasks[event.task_id].state = "cancelled"
    plan.ready.pop(event.task_id, None)


def _set_state(state: str) -> Callable[[Plan, Told], None]:
    def fold(plan: Plan, event: Told) -> None:
        plan.state = state
        plan.failure = str(event.payload.get("failure", ""))

    return fold


def _nothing(plan: Plan, event: Told) -> None:
    """An event that only tells the others."""


_FOLD: dict[str, Callable[[Plan, Told], None]] = {
    "PlanCreated": _plan_created,
    "TaskPlanned": _task_planned,
    "PlanValidated": _nothing,
    "PlanStarted": _set_state("running"),
    "TaskReady": _task_ready,
    "TaskStarted": _task_started,
    "TaskExpanded": _task_expanded,
    "TaskCompleted": _task_completed,
    "TaskRetryScheduled": _task_retry_scheduled,
    "TaskFailed": _task_failed,
    "TaskCancelled": _task_cancelled,
    "ErrorDetected": _nothing,
    "PlanCompleted": _set_state("completed"),
    "PlanFailed": _set_state("failed"),
    "PlanCancelled": _set_state("cancelled"),
}


def apply(plan: Plan, event: Told) -> None:
    """Folds one event into a plan. Raises KeyError for a type that no plan's stream has."""
    _FOLD[event.type](plan, event)
    plan.version += 1


# ── The decisions ────────────────────────────────────────────────────────────────────────────────────────────────────


class Decision:
    """The events that one input leads to, each folded as it is emitted."""

    def __init__(self, plan: Plan, actor: str = "planner") -> None:
        self.plan = plan
        self.events: list[Event] = []
        self._actor = actor

    def emit(self, type_: str, task_id: str = "", actor: str = "", **payload: Any) -> None:
        """Adds an event and folds it."""
        event = Event(type_, payload, task_id, actor or self._actor)
        apply(self.plan, event)
        self.events.append(event)

    def ready(self, task_ids: Sequence[str]) -> None:
        """Makes tasks ready that wait for nothing any more."""
        for task_id in task_ids:
            run = self.plan.tasks[task_id]
            if run.state == "planned" and run.unmet == 0:
                self.emit("TaskReady", task_id)


def create(plan: Plan, facts: Mapping[str, Any], tasks: Sequence[Task], actor: str) -> list[Event]:
    """Creates a plan from a validated graph. `facts` are PlanCreated's fields."""
    if plan.state:
        raise Refused("RESOURCE_EXISTS", "There is a plan by this id.", resource="plan", id=plan.plan_id)
    decision = Decision(plan, actor)
    decision.emit("PlanCreated", **facts)
    for task in tasks:
        decision.emit("TaskPlanned", task.task_id, task=task_to_json(task), parent="")
    decision.emit("PlanValidated", tasks=len(tasks))
    return decision.events


def run(plan: Plan, actor: str) -> list[Event]:
    """Starts a plan: everything that waits for nothing becomes ready."""
    _expect(plan, "created")
    decision = Decision(plan, actor)
    decision.emit("PlanStarted")
    decision.ready(list(plan.tasks))
    return decision.events


def cancel(plan: Plan, actor: str, reason: str) -> list[Event]:
    """Stops a plan; what is not over is cancelled."""
    _expect(plan, "created", "running")
    decision = Decision(plan, actor)
    _cancel_open(decision)
    decision.emit("PlanCancelled", reason=reason)
    return decision.events


def start(plan: Plan, now_us: int, room: int) -> list[Event]:
    """Starts attempts of ready tasks, at most `room`, in the order in which they became ready."""
    decision = Decision(plan)
    due = [t for t in plan.ready if plan.tasks[t].not_before_us <= now_us]
    for task_id in due[:room]:
        state = plan.tasks[task_id]
        decision.emit(
            "TaskStarted", task_id, actor=state.task.owner_agent_id, attempt=state.attempt + 1, phase=state.phase
        )
    return decision.events


def complete(plan: Plan, task_id: str, attempt: int, outputs: Mapping[str, str]) -> list[Event]:
    """Takes an attempt's result; a superseded attempt's is dropped (no events)."""
    if not _current(plan, task_id, attempt):
        return []
    state = plan.tasks[task_id]
    decision = Decision(plan)
    decision.emit("TaskCompleted", task_id, actor=state.task.owner_agent_id, attempt=attempt, outputs=dict(outputs))
    decision.ready(plan.dependents.get(task_id, ()))
    _close_sub_plan(decision, state.parent)
    _close_plan(decision)
    return decision.events


def expand(plan: Plan, task_id: str, attempt: int, tasks: Sequence[Task]) -> list[Event]:
    """Takes a leader's sub-plan, validated by the caller."""
    if not _current(plan, task_id, attempt):
        return []
    decision = Decision(plan, plan.tasks[task_id].task.owner_agent_id)
    decision.emit("TaskExpanded", task_id, attempt=attempt, tasks=[t.task_id for t in tasks])
    for task in tasks:
        decision.emit("TaskPlanned", task.task_id, task=task_to_json(task), parent=task_id)
    decision.ready([t.task_id for t in tasks])
    return decision.events


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended without a result. `lost`: with its worker, not by a fault of its own."""

    reason: str
    message: str
    retryable: bool = True
    lost: bool = False


def fail(plan: Plan, task_id: str, attempt: int, failure: Failure, now_us: int, jitter: float) -> list[Event]:
    """Takes an attempt's failure: another attempt after a while, or the end of the plan.

    `jitter`, 0 to 1, spreads the retries of many tasks.
    """
    if not _current(plan, task_id, attempt):
        return []
    state = plan.tasks[task_id]
    failures, losses = state.failures + (not failure.lost), state.losses + failure.lost
    decision = Decision(plan, state.task.owner_agent_id)
    if (failure.retryable or failure.lost) and failures < state.task.attempts_max and losses < LOSSES_MAX:
        delay_s = 0.0 if failure.lost else min(BACKOFF_S_MAX, 0.5 * 2 ** (failures - 1)) * (0.5 + jitter / 2)
        decision.emit(
            "TaskRetryScheduled", task_id, attempt=attempt, reason=failure.reason, message=failure.message,
            failures=failures, losses=losses, delay_s=round(delay_s, 3),
        )  # fmt: skip
        decision.emit("TaskReady", task_id, phase=state.phase, not_before_us=now_us + int(delay_s * 1e6))
        return decision.events
    decision.emit("TaskFailed", task_id, attempt=attempt, reason=failure.reason, message=failure.message)
    affected = descendants(plan, task_id)
    decision.emit(
        "ErrorDetected", task_id, error_code=failure.reason, message=failure.message, affected=affected[:200],
        affected_count=len(affected),
    )  # fmt: skip
    _cancel_open(decision)
    decision.emit("PlanFailed", failure=f"{task_id} ({state.task.title}): {failure.message}", failed_task=task_id)
    return decision.events


def descendants(plan: Plan, task_id: str) -> list[str]:
    """Returns every task that a failure hits: what reads from it, at any distance, and the leaders above it."""
    found: dict[str, None] = {}
    frontier = [task_id]
    while frontier:
        current = frontier.pop()
        above = [plan.tasks[current].parent] if plan.tasks[current].parent else []
        for hit in [*plan.dependents.get(current, ()), *above]:
            if hit not in found:
                found[hit] = None
                frontier.append(hit)
    return list(found)


def ancestors(plan: Plan, task_id: str) -> list[str]:
    """Returns every task that a task depends on: what it reads from, at any distance, and the tasks of sub-plans."""
    found: dict[str, None] = {}
    frontier = [task_id]
    while frontier:
        current = frontier.pop()
        for needed in [*plan.tasks[current].task.depends_on(), *plan.children.get(current, ())]:
            if needed not in found:
                found[needed] = None
                frontier.append(needed)
    return list(found)


def _expect(plan: Plan, *allowed: str) -> None:
    if not plan.state:
        raise Refused("RESOURCE_NOT_FOUND", f"There is no plan {plan.plan_id}.", resource="plan", id=plan.plan_id)
    if plan.state not in allowed:
        raise Refused(
            "PLAN_STATE_CONFLICT", f"The plan is {plan.state}; this needs {' or '.join(allowed)}.",
            state=plan.state, allowed=",".join(allowed),
        )  # fmt: skip


def _current(plan: Plan, task_id: str, attempt: int) -> bool:
    state = plan.tasks.get(task_id)
    return plan.state == "running" and state is not None and state.state == "running" and state.attempt == attempt


def _close_sub_plan(decision: Decision, leader: str) -> None:
    """A leader whose last task ended writes its report."""
    plan = decision.plan
    if leader and plan.incomplete[leader] == 0:
        decision.emit("TaskReady", leader, phase="report")


def _close_plan(decision: Decision) -> None:
    plan = decision.plan
    if plan.incomplete[""] == 0:
        decision.emit("PlanCompleted", tasks=len(plan.tasks))


def _cancel_open(decision: Decision) -> None:
    for task_id, state in decision.plan.tasks.items():
        if state.state not in TERMINAL:
            decision.emit("TaskCancelled", task_id, actor=state.task.owner_agent_id)
