"""Doing tasks again: which ones, from where on, and what becomes of what they had expanded into."""

from collections.abc import Mapping

from haas_planner.domain.decision import Decision
from haas_planner.domain.state import TERMINAL, Plan, Refused, TaskRun, is_over
from haas_planner.graph import COMPOSITE

#: Tasks that are to be done again: wholly, or (False) what they expanded into stays and they report once more.
Again = Mapping[str, bool]


def depending(plan: Plan, *roots: str) -> dict[str, bool]:
    """Returns tasks and all that depends on them: what reads from them, at any distance, and the tasks above."""
    found = dict.fromkeys(roots, True)
    frontier = list(roots)
    while frontier:
        current = frontier.pop()
        for reader in plan.dependents.get(current, ()):
            if not found.get(reader) and not plan.tasks[reader].compensates:
                if reader not in found:
                    frontier.append(reader)
                found[reader] = True
        above = plan.tasks[current].parent
        if above and above not in found:
            found[above] = False
            frontier.append(above)
    return found


def both(one: Again, other: Again) -> dict[str, bool]:
    """Returns what either says is to be done again."""
    return {t: one.get(t, False) or other.get(t, False) for t in {**one, **other}}


def called_off(plan: Plan) -> dict[str, bool]:
    """Returns what an ended plan still has to do when it goes on: what was called off with it, failed or was undone."""
    if plan.state not in TERMINAL:
        return {}
    undone = [run.compensates for run in plan.tasks.values() if run.compensates and run.state == "completed"]
    found = depending(plan, *(t for t in undone if plan.tasks[t].state == "completed"))
    for task_id, run in plan.tasks.items():
        if run.compensates or run.state not in ("failed", "cancelled"):
            continue
        if run.state == "failed" and not is_over(plan, run):
            found[task_id] = True
        elif run.state == "cancelled" and not _by_the_task_above(plan, run):
            found[task_id] = found.get(task_id, False) or not _stays_expanded(plan, run)
    return found


def _by_the_task_above(plan: Plan, run: TaskRun) -> bool:
    """Tells whether a task was called off because the one above it was over, and not with the plan."""
    parent = plan.tasks.get(run.parent)
    if parent is None:
        return False
    over = parent.state in ("completed", "failed", "skipped", "superseded")
    return over or (parent.state == "cancelled" and _by_the_task_above(plan, parent))


def _stays_expanded(plan: Plan, run: TaskRun) -> bool:
    """Tells whether all that a task expanded into is there to be gone on with. A schedule begins anew."""
    return run.task.kind in ("leader", "map") and run.occurrence > 0 and bool(plan.children.get(run.task.task_id))


def expect_above(plan: Plan, task_id: str, again: Again) -> None:
    """Refuses to go on from a task whose results nobody would collect: the one above it is over, or expands anew."""
    above = plan.tasks[task_id].parent
    while above:
        run = plan.tasks[above]
        open_ = run.state in ("expanded", "waiting") if above not in again else not again[above]
        if not open_:
            raise Refused(
                "TASK_STATE_CONFLICT", f"{task_id} belongs to {above}, which is {run.state}: do that again.",
                task=above, state=run.state, allowed="expanded,waiting",
            )  # fmt: skip
        above = run.parent


def reopen(decision: Decision, from_task: str, again: Again, reason: str) -> None:
    """Puts tasks back to where they have to be done again."""
    plan = decision.plan
    ended = plan.state in TERMINAL
    # What was called off because the task above was over is needed again as well.
    beside = {
        c: True for t, wholly in again.items() if not wholly
        for c in plan.children.get(t, ()) if plan.tasks[c].state == "cancelled" and c not in again
    }  # fmt: skip
    wanted = {t: wholly for t, wholly in {**again, **beside}.items() if not _goes_with_another(plan, t, again)}
    decision.emit("PlanReopened", from_task, from_task=from_task, tasks=max(1, len(wanted)), reason=reason)
    if ended:
        for task_id in [t for t, run in plan.tasks.items() if run.compensates and run.state != "superseded"]:
            decision.emit("TaskSuperseded", task_id)
    for task_id, wholly in wanted.items():
        run = plan.tasks[task_id]
        if not wholly:
            if run.state not in ("expanded", "waiting"):
                decision.emit("TaskReset", task_id, state="expanded")
            continue
        if run.task.kind in COMPOSITE:
            drop_children(decision, task_id)
        if run.state not in ("planned", "superseded"):
            decision.emit("TaskReset", task_id)
    decision.skip_unfed()
    for task_id, wholly in wanted.items():
        if not wholly:
            decision.collect(task_id)


def _goes_with_another(plan: Plan, task_id: str, again: Again) -> bool:
    """Tells whether a task above this one expands anew, so that this one is no longer part of the plan."""
    above = plan.tasks[task_id].parent
    while above:
        if again.get(above):
            return True
        above = plan.tasks[above].parent
    return False


def drop_children(decision: Decision, task_id: str) -> None:
    """What a task expanded into is no longer part of the plan: it expands anew."""
    plan = decision.plan
    for child in plan.children.get(task_id, ()):
        if plan.tasks[child].state != "superseded":
            drop_children(decision, child)
            decision.emit("TaskSuperseded", child)
