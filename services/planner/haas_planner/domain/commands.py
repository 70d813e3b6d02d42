"""Decisions on what people ask of a plan."""

from collections.abc import Mapping, Sequence
from typing import Any

from haas_planner.domain.decision import NAMED_MAX, Decision
from haas_planner.domain.relations import expect, expect_task, has_value
from haas_planner.domain.reopening import Again, both, called_off, depending, drop_children, expect_above, reopen
from haas_planner.domain.state import REVISABLE, Event, Plan, Refused, TaskRun, undo_order
from haas_planner.graph import Task

#: How many tasks one decision plans; a larger graph is created in several commits.
PLANNED_MAX = 500
_US = 1_000_000
_BEGUN = ("ready", "running", "waiting", "expanded", "completed", "skipped", "failed", "cancelled")
_AGAIN = ("running", "paused", "completed", "failed", "cancelled")


def create(
    plan: Plan,
    facts: Mapping[str, Any],
    tasks: Sequence[Task],
    actor: str,
    *,
    done: Mapping[str, Mapping[str, Any]] | None = None,
    planned_max: int | None = None,
    total: int = 0,
) -> list[Event]:
    """Creates a plan from a validated graph, or goes on with one that is not whole yet.

    Args:
        plan: the plan, new or begun.
        facts: PlanCreated's fields.
        tasks: its tasks; those that are there already may be left out.
        actor: who asks.
        done: of a fork: tasks whose results are taken over, each {"attempt", "outputs", "values"}.
        planned_max: at most so many tasks now; `plan.validated` says whether the plan is whole.
        total: how many tasks the whole plan has, where some are left out.
    """
    if plan.validated:
        raise Refused("RESOURCE_EXISTS", "There is a plan by this id.", resource="plan", id=plan.plan_id)
    decision = Decision(plan, 0, actor)
    if not plan.state:
        decision.emit("PlanCreated", **facts)
    missing = [t for t in tasks if t.task_id not in plan.tasks]
    for task in missing[:planned_max]:
        decision.plan_task(task)
    if planned_max is not None and len(missing) > planned_max:
        return decision.events
    for task_id, kept in (done or {}).items():
        if plan.tasks[task_id].state == "planned":
            decision.emit("TaskCompleted", task_id, **kept)
    decision.emit("PlanValidated", tasks=total or len(tasks))
    return decision.events


def run(plan: Plan, actor: str, now_us: int) -> list[Event]:
    """Starts a plan: what waits for nothing becomes ready."""
    expect(plan, "created")
    if not plan.validated:
        raise Refused("PLAN_STATE_CONFLICT", "The plan is not whole yet.", state="created", allowed="created")
    decision = Decision(plan, now_us, actor)
    limit_s = plan.budget.get("time_s", 0)
    decision.emit("PlanStarted", **({"deadline_us": now_us + limit_s * _US} if limit_s else {}))
    decision.advance()
    if plan.state == "running" and plan.incomplete.get("", 0) == 0:  # a fork of a plan that was complete
        decision.emit("PlanCompleted", tasks=len(plan.tasks))
    return decision.events


def cancel(plan: Plan, actor: str, reason: str, now_us: int) -> list[Event]:
    """Stops a plan: what is not over is cancelled, what was done is undone where its task says how."""
    expect(plan, "created", "running", "paused")
    decision = Decision(plan, now_us, actor)
    decision.cancel_open()
    if plan.state != "created" and undo_order(plan):
        decision.start_undoing("cancelled", reason)
    else:
        decision.emit("PlanCancelled", reason=reason)
    return decision.events


def pause(plan: Plan, actor: str, reason: str, now_us: int) -> list[Event]:
    """Starts nothing more until `resume`; attempts under way end, signals are taken."""
    expect(plan, "running")
    decision = Decision(plan, now_us, actor)
    decision.emit("PlanPaused", reason=reason)
    return decision.events


def resume(plan: Plan, actor: str, reason: str, budget: Mapping[str, int] | None, now_us: int) -> list[Event]:
    """Goes on with a paused plan, with another budget where one is given."""
    expect(plan, "paused")
    decision = Decision(plan, now_us, actor)
    more: dict[str, Any] = {}
    if budget:
        more = {"budget": dict(budget)}
        if budget.get("time_s"):
            more["deadline_us"] = now_us + budget["time_s"] * _US
    decision.emit("PlanResumed", reason=reason, **more)
    decision.advance()
    return decision.events


def signal(plan: Plan, actor: str, name: str, value: Mapping[str, Any], task_id: str, now_us: int) -> list[Event]:
    """Gives a signal to what waits for it, or keeps it for what will."""
    expect(plan, "running", "paused")
    named = [t for t, r in plan.tasks.items() if r.task.control.get("signal") == name and task_id in ("", t)]
    waiting = [t for t in named if plan.tasks[t].state == "waiting" and plan.tasks[t].signal == name]
    decision = Decision(plan, now_us, actor)
    if waiting:
        for one in waiting:
            decision.emit("SignalReceived", one, name=name, value=dict(value))
            decision.finish_waiting(one, value)
    elif any(plan.tasks[t].state == "planned" for t in named):
        if len(plan.signals.get(name, ())) >= NAMED_MAX:
            raise Refused("OVERLOADED", "Too many signals of this name wait already.", retry_after_s="60")
        decision.emit("SignalReceived", name=name, value=dict(value), **({"for_task": task_id} if task_id else {}))
    else:
        raise Refused("SIGNAL_UNEXPECTED", f"Nothing waits for the signal {name[:63]}.", signal=name[:63])
    return decision.events


def approve(plan: Plan, actor: str, task_id: str, approved: bool, comment: str, role: str, now_us: int) -> list[Event]:
    """Decides an approval; whoever decides holds the role that the task asks for."""
    expect(plan, "running", "paused")
    run = expect_task(plan, task_id, "waiting")
    if run.task.kind != "approval":
        raise Refused(
            "TASK_STATE_CONFLICT", f"{task_id} is no approval.", task=task_id, state=run.task.kind, allowed="approval"
        )
    wanted = run.task.control["role"]
    if role != wanted:
        raise Refused("APPROVAL_ROLE_MISSING", f"Only the role “{wanted}” may decide this.", role=wanted, task=task_id)
    decision = Decision(plan, now_us, actor)
    decide(decision, task_id, approved, comment, role)
    return decision.events


def decide(decision: Decision, task_id: str, approved: bool, comment: str, role: str) -> None:
    """Keeps a decision, a person's or that of the time, and goes on by it."""
    decision.emit("ApprovalDecided", task_id, approved=approved, comment=comment, role=role)
    if approved:
        decision.finish_waiting(task_id, decision.plan.tasks[task_id].received)
        return
    expired = "" if role else "the time to decide ended"
    message = comment or expired or "it was rejected"
    decision.fail_for_good(task_id, "APPROVAL_REJECTED", message, repairable=False)


def retry(plan: Plan, actor: str, task_id: str, reason: str, now_us: int) -> list[Event]:
    """Tries a failed task again, with all its attempts; a plan that failed by it goes on."""
    expect(plan, "running", "paused", "failed")
    _expect_own(expect_task(plan, task_id, "failed"))
    again = both(called_off(plan), {task_id: True})
    expect_above(plan, task_id, again)
    decision = Decision(plan, now_us, actor)
    reopen(decision, task_id, again, reason)
    decision.advance()
    return decision.events


def skip(
    plan: Plan,
    actor: str,
    task_id: str,
    reason: str,
    role: str,
    outputs: Mapping[str, str],
    values: Mapping[str, Any],
    now_us: int,
) -> list[Event]:
    """Leaves a task out, with values in place of its own; what reads a value that is not given is left out too."""
    expect(plan, "running", "paused", "failed")
    run = expect_task(plan, task_id, "planned", "ready", "running", "waiting", "failed", "cancelled", "expanded")
    _expect_own(run)
    written = {slot.name for slot in run.task.writes}
    if unknown := {*outputs, *values} - written:
        name = sorted(unknown)[0][:63]
        raise Refused("FIELD_INVALID", f"{task_id} writes no “{name}”.", field=name, rule="a value that it writes")
    decision = Decision(plan, now_us, actor)
    if plan.state == "failed":
        again = called_off(plan)
        expect_above(plan, task_id, again)
        reopen(decision, task_id, again, reason)
    decision.cancel_children(task_id)
    decision.emit("TaskSkipped", task_id, reason=reason, role=role, outputs=dict(outputs), values=dict(values))
    decision.skip_readers(task_id, f"it reads from {task_id}, which was left out")
    decision.settled(task_id)
    return decision.events


def rerun(plan: Plan, actor: str, task_id: str, reason: str, now_us: int) -> list[Event]:
    """Does a task again, and all that depends on it; what is upstream is used as it is."""
    expect(plan, *_AGAIN)
    run = expect_task(plan, task_id, *_BEGUN)
    _expect_own(run)
    missing = [slot.from_task for slot in run.task.reads if slot.from_task and not has_value(plan, slot)]
    if missing:
        raise Refused(
            "TASK_STATE_CONFLICT", f"{task_id} reads from {missing[0]}, which is not complete.",
            task=missing[0], state=plan.tasks[missing[0]].state, allowed="completed",
        )  # fmt: skip
    again = both(called_off(plan), depending(plan, task_id))
    expect_above(plan, task_id, again)
    decision = Decision(plan, now_us, actor)
    reopen(decision, task_id, again, reason)
    decision.advance()
    return decision.events


def replan(
    plan: Plan, actor: str, tasks: Sequence[Task], removed: Sequence[str], explanation: str, now_us: int
) -> list[Event]:
    """Takes a new revision of a part of the graph, validated by the caller; what runs or is complete stays as it is."""
    expect(plan, "created", "running", "paused", "failed")
    again = called_off(plan)
    _expect_revisable(plan, tasks, removed, again)
    decision = Decision(plan, now_us, actor)
    if plan.state == "failed":
        named = [t.task_id for t in tasks if t.task_id in plan.tasks] or list(removed) or [plan.failed_task]
        reopen(decision, named[0], again, explanation)
    revise(decision, tasks, removed, "request", explanation, "")
    decision.advance()
    return decision.events


def revise(
    decision: Decision, tasks: Sequence[Task], removed: Sequence[str], strategy: str, explanation: str, failed: str
) -> None:
    """Gives tasks another contract, adds new ones, takes others out: one revision."""
    plan = decision.plan
    _expect_revisable(plan, tasks, removed, {})
    revised = [t.task_id for t in tasks if t.task_id in plan.tasks]
    added = [t.task_id for t in tasks if t.task_id not in plan.tasks]
    replaced = {"replaced": plan.tasks[failed].task.skill} if failed else {}
    decision.emit(
        "PlanReplanned", failed, revision=plan.revision + 1, failed_task=failed, strategy=strategy,
        explanation=explanation, revised=revised[:NAMED_MAX], added=added[:NAMED_MAX],
        removed=list(removed)[:NAMED_MAX],
        **replaced,
    )  # fmt: skip
    for task_id in [*revised, *removed]:
        drop_children(decision, task_id)
    for task_id in removed:
        decision.emit("TaskSuperseded", task_id)
    for task in tasks:
        known = plan.tasks.get(task.task_id)
        parent = known.parent if known is not None else task.task_id.rpartition(".")[0]
        decision.plan_task(task, parent=parent)
    decision.skip_unfed()
    if plan.state != "created":
        for task_id in removed:
            decision.settled(task_id)


def _expect_revisable(plan: Plan, tasks: Sequence[Task], removed: Sequence[str], again: Again) -> None:
    if len(tasks) + len(removed) > PLANNED_MAX or not (tasks or removed):
        raise Refused("FIELD_INVALID", f"A revision changes 1 to {PLANNED_MAX} tasks.", field="tasks", rule="1 to 500")
    for task_id in [*(t.task_id for t in tasks if t.task_id in plan.tasks), *removed]:
        _expect_own(expect_task(plan, task_id, *sorted(REVISABLE)))
        expect_above(plan, task_id, again)


def _expect_own(run: TaskRun) -> None:
    """Refuses to do with an undoing what is done with tasks: it begins anew with the next calling off."""
    if run.compensates:
        raise Refused(
            "TASK_STATE_CONFLICT", f"{run.task.task_id} undoes {run.compensates}; that one can be done again.",
            task=run.task.task_id, state=run.state, allowed=run.compensates,
        )  # fmt: skip
