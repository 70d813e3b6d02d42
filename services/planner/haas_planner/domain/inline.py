"""What a decision does itself: transforms so small that an attempt of their own would cost more than they do.

What they write follows from what stands in the plan, so that nothing has to be kept before they are done: no slot, no
room, no commit of its own. Whatever is larger, fails, or reads an artifact is done by an attempt, as everything else.
"""

from collections.abc import Mapping
from typing import Any, Final

from haas_planner import schemas, transform
from haas_planner.domain.state import Plan, TaskRun
from haas_planner.graph import NO_POLICY, VALUE, Policy, Slot, Task

#: Some 0.5 ms at most, with an expression and schemas that were never seen before: while it lasts, the shard decides
#: nothing else.
BOUNDS: Final = transform.Bounds(input_bytes=2_048, output_bytes=2_048, steps=100)
EXPRESSION_CHARS_MAX: Final = 256
SCHEMA_CHARS_MAX: Final = 512
_MISSING: Final = object()


def values_of(plan: Plan, run: TaskRun) -> Mapping[str, Any] | None:
    """Returns what a task writes, by slot; None where it takes an attempt."""
    task = run.task
    if task.kind != "transform" or not _is_free(task.policy):
        return None
    if len(task.writes) != 1 or not task.writes[0].type.startswith(VALUE):
        return None
    expression = task.params.get("expression")
    if not isinstance(expression, str) or len(expression) > EXPRESSION_CHARS_MAX:
        return None
    read = {}
    for slot in task.reads:
        found = _read(plan, slot)
        if found is _MISSING or not _keeps(task, slot, found):
            return None
        read[slot.name] = found
    params = {name: value for name, value in task.params.items() if name != "expression"}
    try:
        value = transform.apply(expression, {"inputs": read, "params": params}, BOUNDS)
    except transform.TransformFault:
        return None
    return {task.writes[0].name: value} if _keeps(task, task.writes[0], value) else None


def _is_free(policy: Policy) -> bool:
    """Tells whether a task may be done without asking for a slot or reserving a budget."""
    return policy is NO_POLICY or not (policy.concurrency_key or policy.tokens_max or policy.money_micros_max)


def _read(plan: Plan, slot: Slot) -> Any:
    """Returns the value in a slot, where the plan itself holds it."""
    if slot.from_task:
        values = plan.tasks[slot.from_task].values
        # Of a person whose data was erased there are none.
        return values.get(slot.name, _MISSING) if isinstance(values, Mapping) else _MISSING
    given = next((one for one in plan.inputs if one.name == slot.name), None)
    try:
        found = given.plain() if given is not None else None
    except ValueError:  # a number that is none: the attempt says so
        return _MISSING
    return _MISSING if found is None else found


def _keeps(task: Task, slot: Slot, value: Any) -> bool:
    """Tells whether a value keeps its contract, as far as a decision may find that out."""
    if slot.name not in task.schemas:
        return True
    schema = task.schemas[slot.name]
    text = repr(schema)
    if len(text) > SCHEMA_CHARS_MAX or "pattern" in text:  # a pattern is slow to compile
        return False
    return not schemas.faults(schema, value, limit=1)
