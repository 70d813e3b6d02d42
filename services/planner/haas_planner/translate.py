"""Graph ↔ proto: haas.planner.v1 messages to domain values and back."""

import json
from collections.abc import Iterable, Mapping

from haas.planner.v1 import graph_pb2
from haas_common.errors import GraphInvalid
from haas_planner.graph import Graph, Input, Slot, Task
from haas_planner.skills.spec import SkillSpec

ATTEMPTS_MAX_DEFAULT = 3
ATTEMPT_LIMIT_S_DEFAULT = 60
KIND_OF = {
    graph_pb2.TASK_KIND_SPECIALIST: "specialist",
    graph_pb2.TASK_KIND_TOOL: "tool",
    graph_pb2.TASK_KIND_LEADER: "leader",
}
NUMBER_OF = {name: number for number, name in KIND_OF.items()}


def graph_to_proto(graph: Graph) -> graph_pb2.Graph:
    """Returns the message of a graph."""
    return graph_pb2.Graph(tasks=[task_to_proto(t) for t in graph.tasks], inputs=inputs_to_proto(graph.inputs))


def graph_from_proto(message: graph_pb2.Graph, specs: Iterable[SkillSpec] = ()) -> Graph:
    """Returns the graph of a message; absent limits become their defaults, an absent owner the skill's own.

    Raises:
        GraphInvalid: a task has no kind, or parameters that are not a JSON object.
    """
    owners = {spec.name: spec.owner_agent_id for spec in specs}
    return Graph(tuple(task_from_proto(t, owners) for t in message.tasks), inputs_from_proto(message.inputs))


def inputs_to_proto(inputs: Iterable[Input]) -> list[graph_pb2.Input]:
    """Returns the messages of inputs."""
    return [graph_pb2.Input(name=i.name, type=i.type, ref=i.ref) for i in inputs]


def inputs_from_proto(messages: Iterable[graph_pb2.Input]) -> tuple[Input, ...]:
    """Returns the inputs of messages."""
    return tuple(Input(m.name, m.type, m.ref) for m in messages)


def task_to_proto(task: Task) -> graph_pb2.Task:
    """Returns the message of a task."""
    return graph_pb2.Task(
        task_id=task.task_id,
        kind=NUMBER_OF[task.kind],
        skill=task.skill,
        title=task.title,
        owner_agent_id=task.owner_agent_id,
        reads=[_slot_to_proto(s) for s in task.reads],
        writes=[_slot_to_proto(s) for s in task.writes],
        params_json=json.dumps(task.params, ensure_ascii=False, sort_keys=True) if task.params else "",
        attempts_max=task.attempts_max,
        attempt_limit_s=task.attempt_limit_s,
    )


def task_from_proto(message: graph_pb2.Task, owners: Mapping[str, str]) -> Task:
    """Returns the task of a message. `owners` is skill → agent."""
    if message.kind not in KIND_OF:
        text = f"Task {message.task_id[:63]}, kind: must be specialist, tool or leader."
        raise GraphInvalid(text, task=message.task_id[:63], field="kind", rule="specialist, tool or leader")
    return Task(
        task_id=message.task_id,
        kind=KIND_OF[message.kind],
        skill=message.skill,
        title=message.title or message.skill,
        owner_agent_id=message.owner_agent_id or owners.get(message.skill, ""),
        reads=tuple(_slot_from_proto(s) for s in message.reads),
        writes=tuple(_slot_from_proto(s) for s in message.writes),
        params=_params(message),
        attempts_max=message.attempts_max or ATTEMPTS_MAX_DEFAULT,
        attempt_limit_s=message.attempt_limit_s or ATTEMPT_LIMIT_S_DEFAULT,
    )


def _slot_to_proto(slot: Slot) -> graph_pb2.Slot:
    return graph_pb2.Slot(name=slot.name, type=slot.type, from_task=slot.from_task)


def _slot_from_proto(message: graph_pb2.Slot) -> Slot:
    return Slot(message.name, message.type, message.from_task)


def _params(message: graph_pb2.Task) -> dict:
    if not message.params_json:
        return {}
    try:
        params = json.loads(message.params_json, parse_constant=_refuse)
    except (ValueError, RecursionError):
        params = None
    if not isinstance(params, dict):
        text = f"Task {message.task_id[:63]}, params_json: must be a JSON object."
        raise GraphInvalid(text, task=message.task_id[:63], field="params_json", rule="a JSON object")
    return params


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
