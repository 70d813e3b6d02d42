"""The contracts of a graph, checked before anything runs: drafted, explicit and expanded graphs alike. Pure."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from haas_common.errors import GraphCycle, GraphDangling, GraphInvalid, ToolNotAllowed, ToolUnknown
from haas_common.profiles import Profile
from haas_common.strings import NUL, nul_in
from haas_planner import kinds
from haas_planner.domain.templates import template_task, undoing_of
from haas_planner.graph import COMPOSITE, KINDS, Graph, Input, Slot, Task
from haas_planner.skills.spec import SkillSpec, is_many, is_optional, matches

TASKS_MAX = 10_000
INPUTS_MAX = 100
READS_MAX = 100
WRITES_MAX = 20
PARAMS_BYTES_MAX = 16_384
PARAMS_DEPTH_MAX = 16
ATTEMPTS_MAX = 10
ATTEMPT_LIMIT_S_MAX = 3_600
TASK_ID = re.compile(r"T-[0-9]{1,6}([.][0-9]{1,6}){0,7}", re.ASCII)
SLOT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
SLOT_TYPE = re.compile(r"[a-z][a-z0-9_.]{0,62}", re.ASCII)
#: Tasks of a running plan, with what maps and schedules have expanded into.
RUNNING_MAX = 120_000


def validate(
    graph: Graph,
    profile: Profile,
    specs: Sequence[SkillSpec],
    available: Sequence[Input],
    known_tools: Collection[str] | None = None,
    *,
    tasks_max: int = TASKS_MAX,
) -> None:
    """Checks a whole graph.

    Args:
        graph: the whole graph, sub-plans included.
        profile: what is offered and allowed.
        specs: the registry.
        available: the inputs that are really there; the graph may name no other.
        known_tools: every tool that exists, where the caller knows them.
        tasks_max: how many tasks it may have.

    Raises:
        GraphInvalid: a limit, a name, a type, a skill or a write breaks its rule.
        GraphDangling: a task reads what nothing writes.
        GraphCycle: tasks wait for each other; names one of them.
        ToolNotAllowed, ToolUnknown: a task, or the skill of a task, calls a tool that it may not.
    """
    _check_sizes(graph, tasks_max)
    _check_inputs(graph, available)
    writers = _writers(graph)
    given = {i.name: i for i in graph.inputs}
    for task in graph.tasks:
        _check_reads(task, writers, given)
    _check_cycles(graph)
    _check_schemas(graph)
    by_name = {s.name: s for s in specs}
    for task in graph.tasks:
        _check_doer(task, by_name, profile, known_tools)


def expand(graph: Graph, leader_id: str, tasks: Sequence[Task]) -> Graph:
    """Returns the next revision of a graph: a leader's sub-plan joined to it. `validate` it before it is recorded.

    Raises:
        GraphInvalid: the leader does not exist, the sub-plan is empty, or a task is not the leader's own.
        GraphCycle: a task of the sub-plan waits for the leader, which itself waits for the sub-plan.
    """
    leader = next((t for t in graph.tasks if t.task_id == leader_id), None)
    if leader is None or leader.kind not in COMPOSITE:
        raise _invalid(leader_id, "kind", "only a leader's task can be expanded")
    if not tasks:
        raise _invalid(leader_id, "expand", "a sub-plan must hold at least one task")
    for task in tasks:
        if not task.task_id.startswith(leader_id + "."):
            raise _invalid(task.task_id, "task_id", f"must begin with “{leader_id}.”")
        if any(slot.from_task == leader_id for slot in task.reads):
            raise GraphCycle(f"Task {task.task_id} waits for its own leader {leader_id}.", task=task.task_id)
    return Graph((*graph.tasks, *tasks), graph.inputs)


def summary(graph: Graph) -> str:
    """Writes the graph for people, a line a task, in the order in which they can run."""
    by_id = {t.task_id: t for t in graph.tasks}
    edges = {t.task_id: [s.from_task for s in t.reads if s.from_task in by_id] for t in graph.tasks}
    lines = []
    for task_id in TopologicalSorter(edges).static_order():
        task = by_id[task_id]
        reads = ", ".join(f"{s.name}←{s.from_task}" if s.from_task else s.name for s in task.reads) or "∅"
        writes = ", ".join(s.name for s in task.writes)
        lines.append(f"{task_id} {task.skill} [{task.owner_agent_id or task.kind}] {reads} → {writes}: {task.title}")
    return "\n".join(lines)


def _invalid(task: str, field: str, rule: str) -> GraphInvalid:
    return GraphInvalid(f"Task {task}, {field}: {rule}.", task=task, field=field, rule=rule)


def _check_sizes(graph: Graph, tasks_max: int) -> None:
    if not 1 <= len(graph.tasks) <= tasks_max:
        raise GraphInvalid(f"A graph has 1 to {tasks_max} tasks.", field="tasks", rule=f"1 to {tasks_max}")
    seen = set()
    for task in graph.tasks:
        if not TASK_ID.fullmatch(task.task_id):
            raise _invalid(task.task_id[:63], "task_id", "must look like T-3 or T-3.2, at most eight levels")
        if task.task_id in seen:
            raise _invalid(task.task_id, "task_id", "is given twice")
        seen.add(task.task_id)
        _check_task(task)
    for task in graph.tasks:
        parent = task.task_id.rpartition(".")[0]
        if parent and parent not in seen:
            raise _invalid(task.task_id, "task_id", f"its leader {parent} is not in the graph")


def _check_task(task: Task) -> None:
    rules = (
        ("kind", task.kind in KINDS, f"must be one of {', '.join(KINDS)}"),
        ("title", len(task.title) <= 300 and NUL not in task.title, "must have at most 300 characters and no NUL"),
        ("owner_agent_id", len(task.owner_agent_id) <= 100, "must not be longer than 100 characters"),
        ("reads", len(task.reads) <= READS_MAX, f"must not be more than {READS_MAX}"),
        ("writes", 1 <= len(task.writes) <= WRITES_MAX, f"must be 1 to {WRITES_MAX}"),
        ("attempts_max", 1 <= task.attempts_max <= ATTEMPTS_MAX, f"must be 1 to {ATTEMPTS_MAX}"),
        ("attempt_limit_s", 1 <= task.attempt_limit_s <= ATTEMPT_LIMIT_S_MAX, f"must be 1 to {ATTEMPT_LIMIT_S_MAX}"),
        ("params", _params_fit(task.params), "must be a JSON object of 16 KiB and 16 levels at most, without NUL"),
        ("writes", not any(s.from_task for s in task.writes), "must not name a writer: the task itself is"),
    )
    for field, holds, rule in rules:
        if not holds:
            raise _invalid(task.task_id, field, rule)
    for slot in (*task.reads, *task.writes):
        if not SLOT_NAME.fullmatch(slot.name) or not SLOT_TYPE.fullmatch(slot.type):
            raise _invalid(task.task_id, slot.name[:63], "names and types are lower-case letters, digits and _")
    names = [s.name for s in task.reads]
    if len(names) != len(set(names)):
        raise _invalid(task.task_id, "reads", "the same value is read twice")
    for field, rule in kinds.faults(task):
        raise _invalid(task.task_id, field, rule)


def _params_fit(params: object) -> bool:
    if not isinstance(params, dict) or _depth(params) > PARAMS_DEPTH_MAX or nul_in(params):
        return False
    try:
        return len(json.dumps(params, ensure_ascii=False, allow_nan=False).encode()) <= PARAMS_BYTES_MAX
    except (TypeError, ValueError):
        return False


def _depth(value: object) -> int:
    """Levels of nesting, counted without recursion; stops just past the limit."""
    level, depth = [value], 0
    while level and depth <= PARAMS_DEPTH_MAX + 1:
        inner = [v for v in level if isinstance(v, (dict, list))]
        level = [x for v in inner for x in (v.values() if isinstance(v, dict) else v)]
        depth += bool(inner)
        if not inner:
            break
    return depth


def _check_inputs(graph: Graph, available: Sequence[Input]) -> None:
    if len(graph.inputs) > INPUTS_MAX:
        raise GraphInvalid(f"A graph has at most {INPUTS_MAX} inputs.", field="inputs", rule=f"at most {INPUTS_MAX}")
    there = {i.name: i for i in available}
    seen = set()
    for given in graph.inputs:
        real = there.get(given.name)
        if given.name in seen:
            raise GraphInvalid(f"The input “{given.name}” is given twice.", field=given.name, rule="unique names")
        seen.add(given.name)
        if real is None:
            raise GraphDangling(f"There is no input “{given.name}”.", field=given.name)
        if real.type != given.type:
            text = f"The input “{given.name}” is {real.type}, not {given.type}."
            raise GraphInvalid(text, field=given.name, rule="types must be equal")


def _writers(graph: Graph) -> dict[str, tuple[str, Slot]]:
    """Returns value name → (task, slot), and refuses a value that two tasks write or that an input already is."""
    writers: dict[str, tuple[str, Slot]] = {}
    given = {i.name for i in graph.inputs}
    for task in graph.tasks:
        for slot in task.writes:
            if slot.name in writers:
                other = writers[slot.name][0]
                raise _invalid(task.task_id, slot.name, f"the value is written by {other} already")
            if slot.name in given:
                raise _invalid(task.task_id, slot.name, "the value is an input of the plan already")
            writers[slot.name] = (task.task_id, slot)
    return writers


def _check_reads(task: Task, writers: Mapping[str, tuple[str, Slot]], given: Mapping[str, Input]) -> None:
    for slot in task.reads:
        if slot.from_task:
            writer, made = writers.get(slot.name, ("", None))
            if made is None or writer != slot.from_task:
                text = f"Task {task.task_id} reads “{slot.name}” from {slot.from_task[:63]}, which does not write it."
                raise GraphDangling(text, task=task.task_id, field=slot.name)
            actual = made.type
        elif slot.name in given:
            actual = given[slot.name].type
        else:
            text = f"Task {task.task_id} reads “{slot.name}”, which is no input of the plan."
            raise GraphDangling(text, task=task.task_id, field=slot.name)
        if actual != slot.type:
            raise _invalid(task.task_id, slot.name, f"reads {slot.type}, but the value is {actual}")


def _check_cycles(graph: Graph) -> None:
    edges = {t.task_id: [s.from_task for s in t.reads if s.from_task] for t in graph.tasks}
    for task_id in edges:
        leader = task_id.rpartition(".")[0]
        if leader:  # a leader ends after its sub-plan, so that nothing in it may wait for the leader
            edges[leader] = [*edges[leader], task_id]
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        loop = sorted(set(error.args[1]))
        text = f"Task {loop[0]} waits for itself by way of {', '.join(loop[1:6]) or 'its own result'}."
        raise GraphCycle(text, task=loop[0]) from None


def _check_schemas(graph: Graph) -> None:
    """Refuses an edge whose writer may write what its reader does not take."""
    by_id = {task.task_id: task for task in graph.tasks}
    for task in graph.tasks:
        for slot in task.reads if task.schemas else ():
            writer = by_id.get(slot.from_task)
            fault = kinds.edge_fault(writer, task, slot) if writer is not None else None
            if fault is not None:
                rule = f"{writer.task_id if writer else ''} may write what it does not take ({fault.rule})"
                raise _invalid(task.task_id, f"{slot.name}{fault.path}", rule)


def _check_doer(task: Task, by_name: Mapping[str, SkillSpec], profile: Profile, known: Collection[str] | None) -> None:
    """Checks that there is somebody, or something, that can do a task, and that the profile allows it."""
    if task.kind == "tool":
        for tool in (task.skill, *(other["skill"] for other in task.control.get("alternatives", ()))):
            _check_tool(tool, profile, known, task.task_id)
    elif task.kind in ("specialist", "leader"):
        _check_skill(task, by_name, profile, known)
    item = kinds.template_of(task)
    if item is not None:
        try:
            example = template_task(task, item, 1, {"item": None, "index": 0})
            _check_task(example)
        except (TypeError, ValueError):
            raise _invalid(task.task_id, "control.item", "must have fields of the right types") from None
        _check_doer(example, by_name, profile, known)
    if task.policy.compensation:
        undoing = undoing_of(task)
        if undoing.kind == "tool":
            _check_tool(undoing.skill, profile, known, task.task_id)
        elif undoing.kind == "specialist":
            _check_skill(undoing, by_name, profile, known)


def _check_tool(tool: str, profile: Profile, known: Collection[str] | None, task_id: str) -> None:
    if known is not None and tool not in known:
        raise ToolUnknown(f"Task {task_id}: there is no tool “{tool}”.", tool=tool)
    if tool not in profile.policies.tools_allowed:
        text = f"Task {task_id}: the profile “{profile.profile_id}” does not allow the tool “{tool}”."
        raise ToolNotAllowed(text, tool=tool, profile=profile.profile_id, task=task_id)


def _check_skill(task: Task, by_name: Mapping[str, SkillSpec], profile: Profile, known: Collection[str] | None) -> None:
    spec = by_name.get(task.skill)
    if spec is None or not profile.offers(task.skill):
        raise _invalid(task.task_id, "skill", f"the profile offers no skill “{task.skill}”")
    if spec.kind != task.kind:
        raise _invalid(task.task_id, "kind", f"the skill “{task.skill}” is a {spec.kind}'s")
    for tool in spec.tools:
        _check_tool(tool, profile, known, task.task_id)
    for name, read_type in spec.reads:
        found = [s for s in task.reads if matches(read_type, s.type)]
        if not found and not is_optional(read_type):
            raise _invalid(
                task.task_id, name, f"the skill “{task.skill}” needs a value of type {read_type.rstrip('+')}"
            )
        if len(found) > 1 and not is_many(read_type):
            raise _invalid(
                task.task_id, name, f"the skill “{task.skill}” takes one value of type {read_type.rstrip('?')}"
            )
    for slot in task.reads:
        if not any(matches(read_type, slot.type) for _, read_type in spec.reads):
            raise _invalid(task.task_id, slot.name, f"the skill “{task.skill}” reads no {slot.type}")
    if sorted(s.type for s in task.writes) != sorted(t for _, t in spec.writes):
        wanted = ", ".join(t for _, t in spec.writes)
        raise _invalid(task.task_id, "writes", f"the skill “{task.skill}” writes {wanted}")
