"""Who depends on whom in a plan, and what its state allows."""

from haas_planner.domain.state import LIVE, Plan, Refused, TaskRun
from haas_planner.graph import Slot


def descendants(plan: Plan, task_id: str) -> list[str]:
    """Returns every task that a failure hits: what reads from it, at any distance, and the tasks above it."""
    found: dict[str, None] = {}
    frontier = [task_id]
    while frontier:
        current = frontier.pop()
        above = [plan.tasks[current].parent] if plan.tasks[current].parent else []
        for hit in [*plan.dependents.get(current, ()), *above]:
            if hit not in found and not plan.tasks[hit].compensates:
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


def expect(plan: Plan, *allowed: str) -> None:
    """Refuses what the plan's state does not allow."""
    if not plan.state:
        raise Refused("RESOURCE_NOT_FOUND", f"There is no plan {plan.plan_id}.", resource="plan", id=plan.plan_id)
    if plan.state not in allowed:
        raise Refused(
            "PLAN_STATE_CONFLICT", f"The plan is {plan.state}; this needs {' or '.join(allowed)}.",
            state=plan.state, allowed=",".join(allowed),
        )  # fmt: skip


def expect_task(plan: Plan, task_id: str, *allowed: str) -> TaskRun:
    """Returns a task, or refuses what its state does not allow."""
    run = plan.tasks.get(task_id)
    if run is None:
        raise Refused("RESOURCE_NOT_FOUND", f"There is no task {task_id[:63]}.", resource="task", id=task_id[:63])
    if allowed and run.state not in allowed:
        raise Refused(
            "TASK_STATE_CONFLICT", f"{task_id} is {run.state}; this needs {' or '.join(allowed)}.",
            task=task_id, state=run.state, allowed=",".join(allowed),
        )  # fmt: skip
    return run


def has_value(plan: Plan, slot: Slot) -> bool:
    """Tells whether what a slot reads is there: written by its task, or given in its place."""
    source = plan.tasks[slot.from_task]
    given = source.state == "skipped" and (slot.name in source.outputs or slot.name in source.values)
    return source.state == "completed" or given


def is_current(plan: Plan, task_id: str, attempt: int) -> bool:
    """Tells whether an attempt is the one that the plan waits for; a superseded one's result is dropped."""
    run = plan.tasks.get(task_id)
    return plan.state in LIVE and run is not None and run.state == "running" and run.attempt == attempt
