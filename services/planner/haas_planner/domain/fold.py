"""The fold: what each event makes of a plan. A replay and the deciding planner use the same."""

from collections.abc import Callable, Mapping
from typing import Any

from haas_planner.domain.state import (
    NOTHING,
    OPEN,
    SETTLED,
    TERMINAL,
    Early,
    Plan,
    Spent,
    TaskRun,
    Told,
    early_for,
    is_over,
    map_of,
)
from haas_planner.graph import Input, Task, task_from_json

#: What a map can no longer count on.
_LOST = frozenset({"failed", "skipped"})


def apply(plan: Plan, event: Told) -> None:
    """Folds one event into a plan. Raises KeyError for a type that no plan's stream has."""
    _FOLD[event.type](plan, event)
    plan.version += 1


# ── Moving a task, with everything that is counted ───────────────────────────────────────────────────────────────────


def _move(plan: Plan, run: TaskRun, state: str) -> None:
    """Moves a task to another state and keeps every count and index in step."""
    before, old, task_id = is_over(plan, run), run.state, run.task.task_id
    plan.by_state[old] -= 1
    plan.by_state[state] = plan.by_state.get(state, 0) + 1
    group = map_of(plan, run)
    if old == "ready":
        del plan.ready[task_id]
    elif old == "planned":
        plan.unblocked.get(group, {}).pop(task_id, None)
    if group:
        plan.open_in[group] = plan.open_in.get(group, 0) + (state in OPEN) - (old in OPEN)
        completed, lost, gone = plan.joined.get(group, (0, 0, 0))
        completed += (state == "completed") - (old == "completed")
        lost += (state in _LOST) - (old in _LOST)
        plan.joined[group] = (completed, lost, gone + (state == "superseded") - (old == "superseded"))
    run.state = state
    if state == "ready":
        plan.ready[task_id] = None
    elif state == "planned":
        _unblock(plan, run)
    over = is_over(plan, run)
    if over != before and not run.compensates:
        for whole in {"", run.parent}:
            plan.incomplete[whole] += -1 if over else 1
    if (state in SETTLED) != (old in SETTLED):
        step = -1 if state in SETTLED else 1
        for dependent in plan.dependents.get(task_id, ()):
            _wait_for(plan, plan.tasks[dependent], step)
    _retime(plan, run)


def _wait_for(plan: Plan, run: TaskRun, step: int) -> None:
    run.unmet += step
    if run.state == "planned":
        _unblock(plan, run)


def _unblock(plan: Plan, run: TaskRun) -> None:
    """Puts a planned task among those that wait for nothing, or takes it out."""
    waiting = plan.unblocked.setdefault(map_of(plan, run), {})
    parent = plan.tasks.get(run.parent)
    # What a task expands into waits until all of it is there; a schedule's runs come one by one.
    released = parent is None or parent.state == "expanded" or parent.task.kind == "schedule"
    if run.unmet == 0 and released and not run.compensates:
        waiting[run.task.task_id] = None
    else:
        waiting.pop(run.task.task_id, None)


def _retime(plan: Plan, run: TaskRun) -> None:
    """Keeps when something is due for a task."""
    if not (run.deadline_us or run.until_us or run.not_before_us):
        plan.timers.pop(run.task.task_id, None)
        return
    times = []
    if run.state in OPEN and run.deadline_us:
        times.append(run.deadline_us)
    if run.state == "waiting":
        times.append(run.until_us)
        times.append(_next_reminder(run))
    elif run.state == "ready":
        times.append(run.not_before_us)
    due = min((at for at in times if at), default=0)
    if due:
        plan.timers[run.task.task_id] = due
    else:
        plan.timers.pop(run.task.task_id, None)


def _next_reminder(run: TaskRun) -> int:
    """Returns when a person is to be reminded next: `remind_s` counts from the request, which ends at `until_us`."""
    control = run.task.control
    after = control.get("remind_s", ()) if run.task.kind == "approval" else ()
    if run.occurrence >= len(after) or not run.until_us:
        return 0
    return run.until_us + int((after[run.occurrence] - control["expires_s"]) * 1_000_000)


def _account(spent: Spent, tokens: int, money_micros: int) -> None:
    spent.tokens += tokens
    spent.money_micros += money_micros


def _settle_budget(plan: Plan, run: TaskRun, payload: Mapping[str, Any]) -> None:
    """Gives an attempt's reservation back and counts what it used up."""
    if run.state == "running":
        _account(plan.reserved, -run.task.policy.tokens_max, -run.task.policy.money_micros_max)
    usage = payload.get("usage")
    if usage:
        _account(plan.spent, usage.get("tokens", 0), usage.get("money_micros", 0))


# ── The plan ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _plan_created(plan: Plan, event: Told) -> None:
    kept = event.payload
    plan.state, plan.subject = "created", kept.get("subject") or event.actor
    plan.objective, plan.intent, plan.language = kept["objective"], kept["intent"], kept["language"]
    plan.slots, plan.brief_artifact_id = dict(kept["slots"]), kept["brief_artifact_id"]
    plan.profile_id, plan.profile_version = kept["profile_id"], kept["profile_version"]
    plan.inputs = tuple(Input(*i) for i in kept["inputs"])
    plan.budget = kept.get("budget") or NOTHING
    # A plan of before the repairs has none: its history ends as it ended.
    plan.repairs_max = kept.get("repairs_max", 0)


def _plan_validated(plan: Plan, event: Told) -> None:
    plan.validated = True


def _plan_started(plan: Plan, event: Told) -> None:
    plan.state, plan.deadline_us = "running", event.payload.get("deadline_us", 0)


def _plan_resumed(plan: Plan, event: Told) -> None:
    plan.state = "running"
    if event.payload.get("budget"):
        plan.budget = event.payload["budget"]
        plan.deadline_us = event.payload.get("deadline_us", 0)


def _plan_reopened(plan: Plan, event: Told) -> None:
    plan.state, plan.failure, plan.ending = "running", "", ""


def _plan_replanned(plan: Plan, event: Told) -> None:
    plan.revision = event.payload["revision"]
    failed = event.payload["failed_task"]
    if failed:
        plan.repairs.setdefault(failed, []).append(event.payload["strategy"])
        plan.replaced.setdefault(failed, []).append(event.payload.get("replaced", ""))
        plan.replanning.pop(failed, None)


def _replan_required(plan: Plan, event: Told) -> None:
    plan.replanning[event.payload["failed_task"]] = event.payload["reason"]


def _compensation_started(plan: Plan, event: Told) -> None:
    plan.state, plan.ending = "compensating", event.payload["state"]
    plan.ending_reason = event.payload["reason"]
    plan.replanning.clear()


def _set_state(state: str) -> Callable[[Plan, Told], None]:
    def fold(plan: Plan, event: Told) -> None:
        plan.state = state
        plan.failure = str(event.payload.get("failure", ""))
        if state in TERMINAL:
            plan.replanning.clear()
            plan.undoing.clear()

    return fold


def _nothing(plan: Plan, event: Told) -> None:
    """An event that only tells the others."""


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _task_planned(plan: Plan, event: Told) -> None:
    task = task_from_json(event.payload["task"])
    known = plan.tasks.get(task.task_id)
    plan.prioritized = plan.prioritized or task.policy.priority != 5
    plan.keyed = plan.keyed or bool(task.policy.concurrency_key)
    if known is not None:
        _revise(plan, known, task)
        if known.compensates and task.task_id not in plan.undoing:
            plan.undoing.append(task.task_id)
        return
    run = TaskRun(task, parent=event.payload["parent"], compensates=event.payload.get("compensates", ""))
    plan.tasks[task.task_id] = run
    plan.by_state["planned"] = plan.by_state.get("planned", 0) + 1
    if run.compensates:
        plan.undoing.append(task.task_id)
    else:
        for whole in {"", run.parent}:
            plan.incomplete[whole] = plan.incomplete.get(whole, 0) + 1
    if run.parent:
        plan.children.setdefault(run.parent, []).append(task.task_id)
    _read_from(plan, run)


def _read_from(plan: Plan, run: TaskRun) -> None:
    """Ties a planned task to what it reads from. It may be planned before that is."""
    run.unmet = 0
    for upstream in run.task.depends_on():
        plan.dependents.setdefault(upstream, []).append(run.task.task_id)
        if upstream not in plan.tasks or plan.tasks[upstream].state not in SETTLED:
            run.unmet += 1
    _unblock(plan, run)


def _revise(plan: Plan, run: TaskRun, task: Task) -> None:
    """Gives a task another contract; it is tried anew."""
    for upstream in run.task.depends_on():
        plan.dependents[upstream].remove(task.task_id)
    run.task, run.failures, run.losses, run.reason, run.failure = task, 0, 0, "", ""
    run.revised += 1
    _begin_again(plan, run)
    _read_from(plan, run)


def _begin_again(plan: Plan, run: TaskRun) -> None:
    run.phase, run.not_before_us, run.deadline_us, run.until_us = "run", 0, 0, 0
    run.signal, run.received, run.occurrence, run.queued = "", NOTHING, 0, False
    if run.state != "planned":
        _move(plan, run, "planned")
    else:
        _retime(plan, run)


def _task_ready(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    run.phase = event.payload.get("phase", "run")
    run.not_before_us = event.payload.get("not_before_us", 0)
    run.deadline_us = event.payload.get("deadline_us", 0) or run.deadline_us
    if run.compensates and plan.undoing and plan.undoing[-1] == event.task_id:
        plan.undoing.pop()
    _move(plan, run, "ready")


def _task_started(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    run.attempt, run.agent = event.payload["attempt"], event.actor
    _account(plan.reserved, run.task.policy.tokens_max, run.task.policy.money_micros_max)
    _move(plan, run, "running")


def _task_expanded(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    _settle_budget(plan, run, event.payload)
    run.occurrence = event.payload["count"]
    _move(plan, run, "expanded")
    plan.incomplete.setdefault(event.task_id, 0)
    plan.revision += 1
    _unblock_children(plan, event.task_id)


def _unblock_children(plan: Plan, task_id: str) -> None:
    for child in plan.children.get(task_id, ()):
        if plan.tasks[child].state == "planned":
            _unblock(plan, plan.tasks[child])


def _task_waiting(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    run.until_us, run.signal = event.payload["until_us"], event.payload.get("signal", "")
    run.occurrence, run.queued = event.payload.get("occurrence", 0), event.payload.get("queued", False)
    plan.incomplete.setdefault(event.task_id, 0)
    _move(plan, run, "waiting")


def _task_completed(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    _settle_budget(plan, run, event.payload)
    run.outputs, run.values = dict(event.payload["outputs"]), event.payload.get("values") or NOTHING
    run.completions += 1
    run.attempt = max(run.attempt, event.payload["attempt"])
    run.reason = run.failure = ""
    if run.task.policy.compensation:
        plan.undoable.append(event.task_id)
    _move(plan, run, "completed")


def _task_retry_scheduled(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    _settle_budget(plan, run, event.payload)
    run.failures, run.losses = event.payload["failures"], event.payload["losses"]
    run.reason, run.failure = event.payload["reason"], event.payload["message"]


def _task_failed(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    _settle_budget(plan, run, event.payload)
    run.reason, run.failure = event.payload["reason"], event.payload["message"]
    plan.failed_task = event.task_id
    _move(plan, run, "failed")


def _task_skipped(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    _settle_budget(plan, run, event.payload)
    run.outputs, run.values = dict(event.payload.get("outputs", {})), event.payload.get("values") or NOTHING
    plan.replanning.pop(event.task_id, None)
    _move(plan, run, "skipped")


def _leave(state: str) -> Callable[[Plan, Told], None]:
    def fold(plan: Plan, event: Told) -> None:
        run = plan.tasks[event.task_id]
        _settle_budget(plan, run, event.payload)
        plan.replanning.pop(event.task_id, None)
        _move(plan, run, state)

    return fold


def _task_reset(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    _settle_budget(plan, run, event.payload)
    run.failures, run.losses, run.reason, run.failure = 0, 0, "", ""
    run.outputs, run.values = NOTHING, NOTHING
    plan.replanning.pop(event.task_id, None)
    if event.task_id in plan.undoable:
        plan.undoable.remove(event.task_id)
    if event.payload.get("state", "planned") == "expanded":
        run.phase = "run"
        _move(plan, run, "expanded")
        _unblock_children(plan, event.task_id)
    else:
        _begin_again(plan, run)


def _signal_received(plan: Plan, event: Told) -> None:
    name, value = event.payload["name"], event.payload.get("value", {})
    if not event.task_id:
        plan.signals.setdefault(name, []).append(Early(event.payload.get("for_task", ""), value))
        return
    early = early_for(plan, name, event.task_id)
    if early is not None and early.value == value:
        plan.signals[name].remove(early)
    plan.tasks[event.task_id].received = value


def _approval_reminded(plan: Plan, event: Told) -> None:
    run = plan.tasks[event.task_id]
    run.occurrence = event.payload["number"]
    _retime(plan, run)


def _approval_decided(plan: Plan, event: Told) -> None:
    plan.tasks[event.task_id].received = {**event.payload, "by": event.actor}


_FOLD: dict[str, Callable[[Plan, Told], None]] = {
    "PlanCreated": _plan_created,
    "TaskPlanned": _task_planned,
    "PlanValidated": _plan_validated,
    "PlanStarted": _plan_started,
    "TaskReady": _task_ready,
    "TaskStarted": _task_started,
    "TaskExpanded": _task_expanded,
    "TaskWaiting": _task_waiting,
    "TaskCompleted": _task_completed,
    "TaskRetryScheduled": _task_retry_scheduled,
    "TaskFailed": _task_failed,
    "TaskSkipped": _task_skipped,
    "TaskReset": _task_reset,
    "TaskCancelled": _leave("cancelled"),
    "TaskSuperseded": _leave("superseded"),
    "ErrorDetected": _nothing,
    "PlanPaused": _set_state("paused"),
    "PlanResumed": _plan_resumed,
    "PlanReopened": _plan_reopened,
    "PlanReplanned": _plan_replanned,
    "ReplanRequired": _replan_required,
    "CompensationStarted": _compensation_started,
    "SignalReceived": _signal_received,
    "ApprovalRequested": _nothing,
    "ApprovalReminded": _approval_reminded,
    "ApprovalDecided": _approval_decided,
    "BudgetExceeded": _nothing,
    "PlanCompleted": _set_state("completed"),
    "PlanFailed": _set_state("failed"),
    "PlanCancelled": _set_state("cancelled"),
}
#: Every type that a plan's stream may hold.
TYPES = tuple(_FOLD)
