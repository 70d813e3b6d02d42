"""Graph ↔ proto: haas.planner.v1 messages to domain values and back."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from haas.planner.v1 import graph_pb2
from haas_common.errors import FieldInvalid, GraphInvalid
from haas_common.structs import StructInvalid, read_struct
from haas_planner.diffs import Diff
from haas_planner.estimates import Cost, Estimate
from haas_planner.graph import KINDS, NO_POLICY, Graph, Input, Policy, Slot, Task
from haas_planner.skills.spec import SkillSpec

ATTEMPTS_MAX_DEFAULT = 3
ATTEMPT_LIMIT_S_DEFAULT = 60
KIND_OF = {graph_pb2.TaskKind.Value(f"TASK_KIND_{name.upper()}"): name for name in KINDS}
NUMBER_OF = {name: number for number, name in KIND_OF.items()}
ON_FAILURE_OF = {
    graph_pb2.ON_FAILURE_UNSPECIFIED: NO_POLICY.on_failure,
    graph_pb2.ON_FAILURE_REPAIR: "repair",
    graph_pb2.ON_FAILURE_FAIL: "fail",
    graph_pb2.ON_FAILURE_CONTINUE: "continue",
}
_BUDGET_FIELDS = ("tokens", "money_micros", "time_s")
#: Fields of a policy where nothing given and zero differ.
_OPTIONAL = ("backoff_s", "backoff_factor", "backoff_max_s", "priority")
#: What a field that is plain JSON may hold, as the contract says it of its text.
_BYTES_MAX = {"params": 16_384, "control": 16_384, "schema": 8_192, "policy.compensation.params": 8_192}
_LEVELS_MAX = 40
_PLAIN = ("schedule_to_close_s", "heartbeat_s", "concurrency_key", "tokens_max", "money_micros_max")


def graph_to_proto(graph: Graph) -> graph_pb2.Graph:
    """Returns the message of a graph."""
    return graph_pb2.Graph(tasks=[task_to_proto(t) for t in graph.tasks], inputs=inputs_to_proto(graph.inputs))


def graph_from_proto(message: graph_pb2.Graph, specs: Iterable[SkillSpec] = ()) -> Graph:
    """Returns the graph of a message; absent limits become their defaults, an absent owner the skill's own.

    Raises:
        GraphInvalid: a task has no kind, or what should be JSON is none, is too large, or is given twice.
    """
    return Graph(tasks_from_proto(message.tasks, specs), inputs_from_proto(message.inputs))


def tasks_from_proto(messages: Iterable[graph_pb2.Task], specs: Iterable[SkillSpec] = ()) -> tuple[Task, ...]:
    """Returns the tasks of messages, see `graph_from_proto`."""
    owners = {spec.name: spec.owner_agent_id for spec in specs}
    return tuple(task_from_proto(message, owners) for message in messages)


def inputs_to_proto(inputs: Iterable[Input]) -> list[graph_pb2.Input]:
    """Returns the messages of inputs."""
    return [graph_pb2.Input(name=i.name, type=i.type, ref=i.ref) for i in inputs]


def inputs_from_proto(messages: Iterable[graph_pb2.Input]) -> tuple[Input, ...]:
    """Returns the inputs of messages."""
    return tuple(Input(m.name, m.type, m.ref) for m in messages)


def budget_from_proto(message: graph_pb2.Budget) -> dict[str, int]:
    """Returns what a budget limits; what it does not limit is left out."""
    return {name: getattr(message, name) for name in _BUDGET_FIELDS if getattr(message, name)}


def budget_to_proto(budget: Mapping[str, int]) -> graph_pb2.Budget:
    """Returns the message of a budget."""
    return graph_pb2.Budget(**{name: budget[name] for name in _BUDGET_FIELDS if budget.get(name)})


def plan_state(state: str) -> graph_pb2.PlanState:
    """Returns the enum's value for a state of the domain."""
    return graph_pb2.PlanState.Value(f"PLAN_STATE_{state.upper()}")


def diff_to_proto(diff: Diff) -> graph_pb2.GraphDiff:
    """Returns the message of a comparison."""
    changed = [
        graph_pb2.TaskChange(
            task_id=one.after.task_id,
            fields=one.fields,
            before=task_to_proto(one.before),
            after=task_to_proto(one.after),
        )
        for one in diff.changed
    ]
    return graph_pb2.GraphDiff(
        from_revision=diff.from_revision,
        to_revision=diff.to_revision,
        added=map(task_to_proto, diff.added),
        removed=map(task_to_proto, diff.removed),
        changed=changed,
        unchanged=diff.unchanged,
        inputs_added=inputs_to_proto(diff.inputs_added),
        inputs_removed=inputs_to_proto(diff.inputs_removed),
    )


def estimate_to_proto(found: Estimate) -> graph_pb2.Estimate:
    """Returns the message of an estimate."""
    return graph_pb2.Estimate(
        expected=_cost_to_proto(found.expected),
        at_most=_cost_to_proto(found.at_most),
        spent=_cost_to_proto(found.spent),
        critical_path=found.critical_path,
        tasks=found.tasks,
        measured=found.measured,
        open_ended=found.open_ended,
        budget=budget_to_proto(found.budget),
        exceeds=found.exceeds,
        may_exceed=found.may_exceed,
    )


def _cost_to_proto(cost: Cost) -> graph_pb2.Cost:
    return graph_pb2.Cost(
        tokens=cost.tokens, money_micros=cost.money_micros, seconds=cost.seconds, work_seconds=cost.work_seconds
    )


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def task_to_proto(task: Task) -> graph_pb2.Task:
    """Returns the message of a task."""
    message = graph_pb2.Task(
        task_id=task.task_id,
        kind=NUMBER_OF[task.kind],
        skill=task.skill,
        title=task.title,
        owner_agent_id=task.owner_agent_id,
        reads=[_slot_to_proto(s, task.schemas) for s in task.reads],
        writes=[_slot_to_proto(s, task.schemas) for s in task.writes],
        params_json=_text(task.params),
        attempts_max=task.attempts_max,
        attempt_limit_s=task.attempt_limit_s,
        control_json=_text(task.control),
    )
    if task.policy != NO_POLICY:
        message.policy.CopyFrom(policy_to_proto(task.policy))
    return message


def task_from_proto(message: graph_pb2.Task, owners: Mapping[str, str]) -> Task:
    """Returns the task of a message. `owners` is skill → agent.

    Raises:
        GraphInvalid: it has no kind, or what should be JSON is none, is too large, or is given twice.
    """
    if message.kind not in KIND_OF:
        raise _invalid(message.task_id, "kind", ", ".join(KINDS[:-1]) + f" or {KINDS[-1]}")
    slots = (*message.reads, *message.writes)
    schemas = {s.name: _schema(message.task_id, s) for s in slots if s.schema_json or s.HasField("schema")}
    return Task(
        task_id=message.task_id,
        kind=KIND_OF[message.kind],
        skill=message.skill,
        title=message.title or message.skill,
        owner_agent_id=message.owner_agent_id or owners.get(message.skill, ""),
        reads=tuple(_slot_from_proto(s) for s in message.reads),
        writes=tuple(_slot_from_proto(s) for s in message.writes),
        params=_object(message, "params", message.task_id),
        attempts_max=message.attempts_max or ATTEMPTS_MAX_DEFAULT,
        attempt_limit_s=message.attempt_limit_s or ATTEMPT_LIMIT_S_DEFAULT,
        policy=policy_from_proto(message.task_id, message.policy) if message.HasField("policy") else NO_POLICY,
        control=_object(message, "control", message.task_id),
        schemas=schemas,
    )


def policy_to_proto(policy: Policy) -> graph_pb2.Policy:
    """Returns the message of a policy; what is as by default is left out."""
    given = {n: getattr(policy, n) for n in _OPTIONAL if getattr(policy, n) != getattr(NO_POLICY, n)}
    message = graph_pb2.Policy(
        **{name: getattr(policy, name) for name in _PLAIN},
        **given,
        retry_on=policy.retry_on,
        never_retry_on=policy.never_retry_on,
        concurrency_max=policy.concurrency_max if policy.concurrency_max != NO_POLICY.concurrency_max else 0,
    )
    if policy.on_failure != NO_POLICY.on_failure:
        message.on_failure = next(number for number, name in ON_FAILURE_OF.items() if name == policy.on_failure)
    if undo := policy.compensation:
        message.compensation.CopyFrom(
            graph_pb2.Compensation(
                kind=NUMBER_OF[undo["kind"]], skill=undo["skill"], params_json=_text(undo.get("params", {}))
            )
        )
    return message


def policy_from_proto(task_id: str, message: graph_pb2.Policy) -> Policy:
    """Returns the policy of a message; what is not given is as by default.

    Raises:
        GraphInvalid: a compensation's parameters are no JSON object, too large, or given twice.
    """
    compensation: dict[str, Any] = {}
    if message.HasField("compensation"):
        undo = message.compensation
        params = _object(undo, "params", task_id, "policy.compensation.")
        compensation = {"kind": KIND_OF.get(undo.kind, ""), "skill": undo.skill, "params": params}
    return Policy(
        **{name: getattr(message, name) for name in _PLAIN},
        **{name: getattr(message, name) for name in _OPTIONAL if message.HasField(name)},
        retry_on=tuple(message.retry_on),
        never_retry_on=tuple(message.never_retry_on),
        concurrency_max=message.concurrency_max or NO_POLICY.concurrency_max,
        on_failure=ON_FAILURE_OF[message.on_failure],
        compensation=compensation,
    )


def _slot_to_proto(slot: Slot, schemas: Mapping[str, Any]) -> graph_pb2.Slot:
    schema = _text(schemas[slot.name]) if slot.name in schemas else ""
    return graph_pb2.Slot(name=slot.name, type=slot.type, from_task=slot.from_task, schema_json=schema)


def _slot_from_proto(message: graph_pb2.Slot) -> Slot:
    return Slot(message.name, message.type, message.from_task)


# ── JSON in texts ────────────────────────────────────────────────────────────────────────────────────────────────────


def object_of(field: str, text: str) -> dict[str, Any]:
    """Returns the JSON object of a request's field; none for an empty text.

    Raises:
        FieldInvalid: the text is no JSON object.
    """
    found = _read(text) if text else {}
    if not isinstance(found, dict):
        raise FieldInvalid(f"{field}: must be a JSON object.", field=field, rule="a JSON object")
    return found


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if value or isinstance(value, bool) else ""


def _object(message: Any, field: str, task_id: str, under: str = "") -> dict[str, Any]:
    """Returns the object of a field that is plain JSON, or of its text; none where neither is given."""
    if message.HasField(field):
        return _plain(message, field, task_id, under)
    text = getattr(message, f"{field}_json")
    found = _read(text) if text else {}
    if not isinstance(found, dict):
        raise _invalid(task_id, f"{under}{field}_json", "a JSON object")
    return found


def _schema(task_id: str, slot: graph_pb2.Slot) -> Any:
    if slot.HasField("schema"):
        return _plain(slot, "schema", task_id, f"{slot.name}.")
    found = _read(slot.schema_json)
    if not isinstance(found, (dict, bool)):
        raise _invalid(task_id, f"{slot.name}.schema_json", "a JSON Schema")
    return found


def _plain(message: Any, field: str, task_id: str, under: str) -> dict[str, Any]:
    """Returns a field that is plain JSON; it may be as large as its text."""
    name = f"{under}{field}"
    if getattr(message, f"{field}_json"):
        raise _invalid(task_id, name, f"given once, here or as {field}_json")
    try:
        found = read_struct(getattr(message, field), _LEVELS_MAX)
    except StructInvalid as error:
        raise _invalid(task_id, name, f"JSON of at most {_LEVELS_MAX} levels ({error})") from None
    bytes_max = _BYTES_MAX[name if name in _BYTES_MAX else field]
    if len(_text(found).encode("utf-8", "replace")) > bytes_max:
        raise _invalid(task_id, name, f"at most {bytes_max} bytes")
    return found


def _read(text: str) -> Any:
    """Returns the value of a JSON text; None for what is none."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _invalid(task_id: str, field: str, rule: str) -> GraphInvalid:
    return GraphInvalid(f"Task {task_id[:63]}, {field}: must be {rule}.", task=task_id[:63], field=field, rule=rule)
