"""Decisions on what happens to a plan by itself: starts, results, failures, timers, repairs."""

import bisect
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from haas_planner import cron
from haas_planner.domain.commands import decide, revise
from haas_planner.domain.decision import NAMED_MAX, READY_MAX, Decision
from haas_planner.domain.relations import is_current
from haas_planner.domain.state import LIVE, NOTHING, OPEN, Event, Plan, Refused, TaskRun
from haas_planner.domain.templates import schedule_next
from haas_planner.graph import Policy, Task

#: An attempt that ends with its worker is not the task's fault; a task that takes its worker with it every time is.
LOSSES_MAX = 8
#: How many timers one decision handles; the rest follow at once.
TIMERS_MAX = 500
_US = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended without a result.

    Attributes:
        reason: a name of error_reason.proto, or OWNER_LOST.
        message: a sentence.
        retryable: whether another attempt may end otherwise.
        lost: with its worker, not by a fault of its own.
        evidence: the blob of a result that broke its contract.
        usage: what the attempt used up.
    """

    reason: str
    message: str
    retryable: bool = True
    lost: bool = False
    evidence: str = ""
    usage: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """How a failed part is planned anew: tasks with another contract or new ones, and why."""

    strategy: str
    tasks: Sequence[Task]
    explanation: str
    removed: Sequence[str] = ()


def advance(plan: Plan, now_us: int, ready_max: int = READY_MAX) -> list[Event]:
    """Makes ready what waits for nothing and was more than one decision's share, at most `ready_max`."""
    decision = Decision(plan, now_us, ready_max=ready_max)
    decision.advance()
    return decision.events


def can_advance(plan: Plan) -> bool:
    """Tells whether `advance` would make something ready."""
    if plan.state != "running":
        return False
    return any(
        waiting and (not group or plan.open_in.get(group, 0) < int(plan.tasks[group].task.control.get("limit", 10)))
        for group, waiting in plan.unblocked.items()
    )


def start(
    plan: Plan,
    now_us: int,
    room: int,
    may: Callable[[TaskRun], bool] | None = None,
    agent_of: Callable[[TaskRun], str | None] | None = None,
) -> list[Event]:
    """Starts attempts of ready tasks, at most `room`: by priority, then in the order in which they became ready.

    What the budget does not allow pauses the plan.

    Args:
        plan: the plan.
        now_us: microseconds of the epoch.
        room: how many at most.
        may: keeps back what other limits do not allow now.
        agent_of: says who does a task; unless given, its owner.
    """
    if plan.state not in ("running", "compensating") or room <= 0:
        return []
    decision = Decision(plan, now_us)
    order = sorted(plan.ready, key=lambda t: -plan.tasks[t].task.policy.priority) if plan.prioritized else plan.ready
    chosen: list[str] = []
    for task_id in order:
        run = plan.tasks[task_id]
        if run.not_before_us <= now_us and (may is None or may(run)):
            chosen.append(task_id)
            if len(chosen) == room:
                break
    for task_id in chosen:
        run = plan.tasks[task_id]
        which = _over_budget(plan, run.task.policy)
        if which:
            _exceed(decision, *which)
            break
        agent = (agent_of(run) if agent_of is not None else None) or run.task.owner_agent_id
        decision.emit("TaskStarted", task_id, actor=agent, attempt=run.attempt + 1, phase=run.phase)
    return decision.events


def _over_budget(plan: Plan, policy: Policy) -> tuple[str, int, int] | None:
    """Returns which budget an attempt would exceed, its limit, and what is used and reserved."""
    if plan.state != "running":
        return None
    for which, wanted in (("tokens", policy.tokens_max), ("money_micros", policy.money_micros_max)):
        limit = plan.budget.get(which, 0)
        used = getattr(plan.spent, which) + getattr(plan.reserved, which)
        if limit and (used + wanted > limit or used >= limit):
            return which, limit, used
    return None


def _exceed(decision: Decision, which: str, limit: int, used: int) -> None:
    decision.emit("BudgetExceeded", which=which, limit=limit, used=used)
    decision.emit("PlanPaused", reason=f"the budget of {which} is used up", cause="budget")


def complete(
    plan: Plan,
    task_id: str,
    attempt: int,
    outputs: Mapping[str, str],
    now_us: int,
    *,
    values: Mapping[str, Any] = NOTHING,
    usage: Mapping[str, int] = NOTHING,
) -> list[Event]:
    """Takes an attempt's result; a superseded attempt's is dropped (no events)."""
    if not is_current(plan, task_id, attempt):
        return []
    owner = plan.tasks[task_id].doer()
    more: dict[str, Any] = {}
    if values:
        more["values"] = dict(values)
    if usage:
        more["usage"] = dict(usage)
    decision = Decision(plan, now_us)
    decision.emit("TaskCompleted", task_id, actor=owner, attempt=attempt, outputs=dict(outputs), **more)
    decision.settled(task_id)
    return decision.events


def expand(
    plan: Plan, task_id: str, attempt: int, tasks: Sequence[Task], now_us: int, *, planned_max: int | None = None
) -> list[Event]:
    """Takes the tasks that one expands into, validated by the caller.

    With more than `planned_max` the rest follows by the same call again: the task has expanded when all are there.
    """
    if not is_current(plan, task_id, attempt):
        return []
    run = plan.tasks[task_id]
    decision = Decision(plan, now_us, run.doer())
    # They join in their order: how many there are is where to go on.
    first = bisect.bisect_left(tasks, True, key=lambda task: _is_missing(plan, task))
    last = len(tasks) if planned_max is None else first + planned_max
    for task in itertools.islice(tasks, first, last):
        if _is_missing(plan, task):
            decision.plan_task(task, parent=task_id)
    if last < len(tasks):
        return decision.events
    named = [t.task_id for t in tasks[:NAMED_MAX]]
    decision.emit("TaskExpanded", task_id, attempt=attempt, tasks=named, count=len(tasks))
    if not tasks:
        decision.emit("TaskReady", task_id, phase="report")
    decision.advance()
    return decision.events


def _is_missing(plan: Plan, task: Task) -> bool:
    known = plan.tasks.get(task.task_id)
    return known is None or known.state == "superseded"


def fail(plan: Plan, task_id: str, attempt: int, failure: Failure, now_us: int, jitter: float) -> list[Event]:
    """Takes an attempt's failure: another attempt after a while, or what the task's policy says of its end.

    `jitter`, 0 to 1, spreads the retries of many tasks.
    """
    if not is_current(plan, task_id, attempt):
        return []
    run = plan.tasks[task_id]
    failures, losses = run.failures + (not failure.lost), run.losses + failure.lost
    decision = Decision(plan, now_us, run.doer())
    more: dict[str, Any] = {"evidence": failure.evidence} if failure.evidence else {}
    if failure.usage:
        more["usage"] = dict(failure.usage)
    if _may_retry(run.task, failure, failures, losses):
        # At once after the first loss: somebody else does it. What is lost again waits for a part that is away.
        nth = losses - 1 if failure.lost else failures
        delay_s = backoff_s(run.task.policy, nth, jitter) if nth else 0.0
        decision.emit(
            "TaskRetryScheduled", task_id, attempt=attempt, reason=failure.reason, message=failure.message,
            failures=failures, losses=losses, delay_s=round(delay_s, 3), **more,
        )  # fmt: skip
        decision.emit("TaskReady", task_id, phase=run.phase, not_before_us=now_us + int(delay_s * _US))
        return decision.events
    decision.fail_for_good(task_id, failure.reason, failure.message, **more)
    return decision.events


def _may_retry(task: Task, failure: Failure, failures: int, losses: int) -> bool:
    policy = task.policy
    if failures >= task.attempts_max or losses >= LOSSES_MAX:
        return False
    if failure.lost:
        return True
    if failure.reason in policy.never_retry_on:
        return False
    return failure.reason in policy.retry_on if policy.retry_on else failure.retryable


def backoff_s(policy: Policy, failures: int, jitter: float) -> float:
    """Returns what the next attempt waits: growing, bounded, half of it by chance."""
    longest = policy.backoff_s * policy.backoff_factor ** min(failures - 1, 60)
    return min(policy.backoff_max_s, longest) * (0.5 + jitter / 2)


def replanned(plan: Plan, failed_task: str, proposal: Proposal, now_us: int) -> list[Event]:
    """Takes how a failed part is planned anew, validated by the caller."""
    if failed_task not in plan.replanning or plan.state not in LIVE:
        return []
    decision = Decision(plan, now_us)
    with contextlib.suppress(Refused):  # what it would change has moved on meanwhile
        revise(decision, proposal.tasks, proposal.removed, proposal.strategy, proposal.explanation, failed_task)
    if plan.state in LIVE and plan.tasks[failed_task].state == "failed":
        # It was to be repaired and is not: nothing else would ever end it.
        decision.fail_plan(failed_task)
    decision.advance()
    return decision.events


def unrepaired(plan: Plan, failed_task: str, now_us: int) -> list[Event]:
    """Ends a plan for whose failed part there is no other way."""
    if failed_task not in plan.replanning or plan.state not in LIVE:
        return []
    decision = Decision(plan, now_us)
    decision.fail_plan(failed_task)
    return decision.events


def tick(plan: Plan, now_us: int) -> list[Event]:
    """Does what is due by now."""
    if plan.state != "running":
        return []
    decision = Decision(plan, now_us)
    if plan.deadline_us and plan.deadline_us <= now_us:
        _exceed(decision, "time_s", plan.budget["time_s"], plan.budget["time_s"])
        return decision.events
    for task_id in [t for t, at in plan.timers.items() if at <= now_us][:TIMERS_MAX]:
        run = plan.tasks[task_id]
        if plan.state != "running" or not 0 < plan.timers.get(task_id, 0) <= now_us:
            continue
        if run.deadline_us and run.deadline_us <= now_us and run.state in OPEN:
            decision.cancel_children(task_id)
            message = f"it was not over {run.task.policy.schedule_to_close_s} s after it was ready"
            decision.fail_for_good(task_id, "DEADLINE_PASSED", message)
        elif run.state == "waiting":
            _due(decision, run)
    return decision.events


def _due(decision: Decision, run: TaskRun) -> None:
    task, task_id = run.task, run.task.task_id
    if task.kind == "schedule":
        _fire(decision, run)
    elif task.kind == "approval":
        if run.until_us > decision.now_us:
            decision.emit("ApprovalReminded", task_id, number=run.occurrence + 1, role=task.control["role"])
        else:
            decide(decision, task_id, task.control.get("on_expiry", "reject") == "approve", "", "")
    elif run.signal and task.control.get("on_timeout", "fail") == "fail":
        message = f"the signal {run.signal} did not come in time"
        decision.fail_for_good(task_id, "SIGNAL_TIMEOUT", message, repairable=False)
    else:
        decision.finish_waiting(task_id, {"ended_us": decision.now_us})


def _fire(decision: Decision, run: TaskRun) -> None:
    """Runs a schedule's template as often as its catch-up and overlap policies say."""
    task_id, control = run.task.task_id, run.task.control
    spec = cron.parse(control["cron"], control.get("zone", "UTC"))
    due = cron.due(spec, run.until_us - 1, decision.now_us, control.get("catch_up", "none"))
    next_us = schedule_next(run.task, decision.now_us)
    overlap = control.get("overlap", "skip")
    for fired_us in due:
        if decision.plan.tasks[task_id].state != "waiting":
            break
        if decision.plan.incomplete.get(task_id, 0) > 0 and overlap in ("skip", "queue"):
            queued = overlap == "queue"
            decision.emit("TaskWaiting", task_id, until_us=next_us, occurrence=run.occurrence, queued=queued)
            continue
        if overlap == "cancel":
            decision.cancel_children(task_id)
        decision.schedule_run(task_id, next_us, fired_us)
    if run.state == "waiting" and run.until_us <= decision.now_us:
        decision.emit("TaskWaiting", task_id, until_us=next_us, occurrence=run.occurrence, queued=run.queued)
    decision.advance()
