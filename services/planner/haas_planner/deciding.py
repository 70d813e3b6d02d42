"""From what came in to a decision of the domain: a command's body, an attempt's outcome."""

import itertools
from collections.abc import Callable, Mapping, Sequence

from haas_common.db import Scope
from haas_common.sealing import ERASED
from haas_planner import domain
from haas_planner.attempts import Expanded, Failed, Outcome, Replanned, Succeeded
from haas_planner.domain import Event, Failure, Plan, Refused
from haas_planner.domain.commands import PLANNED_MAX
from haas_planner.graph import task_from_json
from haas_planner.store import Command, Limits, Trip

#: Failures that a tool is to blame for.
_TOOLS_FAULT = frozenset({"TOOL_FAILED", "TOOL_TIMEOUT"})
#: What lets a plan that is over go on.
_AGAIN = frozenset({"retry", "skip", "rerun", "replan"})


def decide_command(plan: Plan, command: Command, now_us: int, planned_max: int = PLANNED_MAX) -> list[Event]:
    """Decides a command; of a large plan that is created, `planned_max` tasks join it at once. Raises Refused."""
    if plan.objective == ERASED and command.kind in _AGAIN:
        # What its tasks were to do is gone with the person's data: nothing of it can be done again.
        raise Refused("DATA_ERASED", "The plan's data was erased.", resource="plan", id=plan.plan_id)
    if command.kind == "create":
        return _create(plan, command, planned_max)
    return _COMMANDS[command.kind](plan, command, now_us)


def _create(plan: Plan, command: Command, planned_max: int) -> list[Event]:
    body = command.body
    # Those that are there already are not read again: a plan of 10,000 comes in many batches.
    missing = itertools.islice((t for t in body["tasks"] if t["task_id"] not in plan.tasks), planned_max + 1)
    return domain.create(
        plan, body["facts"], [task_from_json(t) for t in missing], command.actor, done=body.get("done"),
        planned_max=planned_max, total=len(body["tasks"]),
    )  # fmt: skip


def _skip(plan: Plan, command: Command, now_us: int) -> list[Event]:
    body = command.body
    return domain.skip(
        plan, command.actor, body["task_id"], body.get("reason", ""), body.get("role", ""), body.get("outputs", {}),
        body.get("values", {}), now_us,
    )  # fmt: skip


def _replan(plan: Plan, command: Command, now_us: int) -> list[Event]:
    tasks = [task_from_json(t) for t in command.body.get("tasks", ())]
    removed: Sequence[str] = command.body.get("removed", ())
    return domain.replan(plan, command.actor, tasks, removed, command.body.get("explanation", ""), now_us)


_COMMANDS: Mapping[str, Callable[[Plan, Command, int], list[Event]]] = {
    "run": lambda plan, c, now_us: domain.run(plan, c.actor, now_us),
    "cancel": lambda plan, c, now_us: domain.cancel(plan, c.actor, c.body.get("reason", ""), now_us),
    "pause": lambda plan, c, now_us: domain.pause(plan, c.actor, c.body.get("reason", ""), now_us),
    "resume": lambda plan, c, now_us: domain.resume(
        plan, c.actor, c.body.get("reason", ""), c.body.get("budget"), now_us
    ),
    "signal": lambda plan, c, now_us: domain.signal(
        plan, c.actor, c.body["name"], c.body.get("value", {}), c.body.get("task_id", ""), now_us
    ),
    "approve": lambda plan, c, now_us: domain.approve(
        plan, c.actor, c.body["task_id"], c.body["approved"], c.body.get("comment", ""), c.body.get("role", ""), now_us
    ),
    "retry": lambda plan, c, now_us: domain.retry(plan, c.actor, c.body["task_id"], c.body.get("reason", ""), now_us),
    "skip": _skip,
    "rerun": lambda plan, c, now_us: domain.rerun(plan, c.actor, c.body["task_id"], c.body.get("reason", ""), now_us),
    "replan": _replan,
}
KINDS = ("create", *_COMMANDS)


def decide_result(
    plan: Plan, outcome: Outcome, now_us: int, jitter: float, planned_max: int = PLANNED_MAX
) -> list[Event]:
    """Decides what an attempt's end leads to; of what a large map expands into, `planned_max` join the plan at once."""
    task_id, attempt = outcome.task_id, outcome.attempt
    if isinstance(outcome, Succeeded):
        made = outcome.result
        usage = {**made.usage, "duration_ms": outcome.duration_ms}
        return domain.complete(plan, task_id, attempt, made.outputs, now_us, values=made.values, usage=usage)
    if isinstance(outcome, Expanded):
        return domain.expand(plan, task_id, attempt, outcome.tasks, now_us, planned_max=planned_max)
    if attempt < 0 and (task_id not in plan.tasks or attempt != repair_number(plan, task_id)):
        return []  # it failed anew meanwhile
    if isinstance(outcome, Replanned):
        if outcome.proposal is None:
            return domain.unrepaired(plan, task_id, now_us)
        return domain.replanned(plan, task_id, outcome.proposal, now_us)
    assert isinstance(outcome, Failed)
    if attempt < 0:  # it was to plan a failed part anew
        return domain.unrepaired(plan, task_id, now_us)
    usage = {**outcome.usage, "duration_ms": outcome.duration_ms}
    failure = Failure(outcome.reason, outcome.message, outcome.retryable, outcome.lost, outcome.evidence, usage)
    return domain.fail(plan, task_id, attempt, failure, now_us, jitter)


def repair_number(plan: Plan, task_id: str) -> int:
    """Returns the number of the attempt to plan a failed part anew: another one each time that it failed."""
    return -(plan.tasks[task_id].attempt + 1)


def lost_attempt(plan: Plan, task_id: str, attempt: int, now_us: int, jitter: float) -> list[Event]:
    """Decides on an attempt whose process ended."""
    failure = Failure("OWNER_LOST", "the process that ran this attempt ended", lost=True)
    return domain.fail(plan, task_id, attempt, failure, now_us, jitter)


def trips_of(outcome: Outcome, limits: Limits, failing: Callable[[Scope, str], bool]) -> list[Trip]:
    """Returns which tools an attempt shows to fail, and which of those that failed lately it shows to work."""
    if isinstance(outcome, Failed):
        shown = [(outcome.tool, False)] if outcome.tool and outcome.reason in _TOOLS_FAULT else []
    else:
        shown = [(tool, True) for tool in outcome.result.tools] if isinstance(outcome, Succeeded) else []
    return [
        Trip(outcome.scope, tool, works, limits.breaker_failures, limits.breaker_cool_down_s)
        for tool, works in shown
        if not works or failing(outcome.scope, tool)
    ]


def attempt_name(task_id: str, number: int) -> str:
    """Returns what the history calls an attempt."""
    return f"attempt/{task_id}/{number}"
