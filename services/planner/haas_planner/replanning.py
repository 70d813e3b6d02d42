"""How a failed part of a plan is planned anew: another skill, another tool, a relaxed contract, or a person. Pure.

Each way is a revision of the failed task under its own id, so that what reads from it stays as it is; it is checked
like the first graph before it is taken (plan §2.2: auto-repair).
"""

import dataclasses
from collections.abc import Iterator, Sequence

from haas_common.errors import GraphCycle, GraphDangling, GraphInvalid, ToolNotAllowed, ToolUnknown
from haas_common.profiles import Profile
from haas_planner import contracts
from haas_planner.domain import Proposal
from haas_planner.graph import Graph, Slot, Task
from haas_planner.skills.spec import SkillSpec, is_many, is_optional, matches

#: What a graph is refused by.
_BROKEN = (GraphCycle, GraphDangling, GraphInvalid, ToolNotAllowed, ToolUnknown)
#: The profile's flag that lets a person take a failed task's place.
HUMAN_FLAG = "human_repair"
HUMAN_WAIT_S = 7 * 24 * 3600
#: These lead to something new each time.
_REPEATABLE = frozenset({"other_skill", "other_tool"})
_TOO_SLOW = frozenset({"DEADLINE_PASSED", "TOOL_TIMEOUT", "WORKER_LOST"})
_EXPLAINED = {
    "other_skill": "{task} is done by the skill “{new}” instead of “{old}”, which failed ({reason}).",
    "other_tool": "{task} calls “{new}” instead of “{old}”, which failed ({reason}).",
    "relaxed_contract": "{task} is tried under a relaxed contract ({new}) after it failed ({reason}).",
    "human": "{task} is handed to a person, after “{old}” failed ({reason}).",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Broken:
    """A failed task and what is around it.

    Attributes:
        task: the failed one.
        reason: why it failed, as a name of error_reason.proto.
        tried, replaced: the strategies that it was planned anew with before, and the skills that had failed.
        graph: the whole graph as it stands.
        settled: the tasks whose values are there.
    """

    task: Task
    reason: str
    tried: Sequence[str]
    replaced: Sequence[str]
    graph: Graph
    settled: frozenset[str]


def propose(broken: Broken, profile: Profile, specs: Sequence[SkillSpec]) -> Proposal | None:
    """Returns the first way that keeps every contract; None where there is none."""
    for strategy, what, task in _ways(broken, profile, specs):
        if strategy in broken.tried and strategy not in _REPEATABLE:
            continue
        tasks = tuple(task if t.task_id == task.task_id else t for t in broken.graph.tasks)
        graph = Graph(tasks, broken.graph.inputs)
        try:
            contracts.validate(graph, profile, specs, graph.inputs, tasks_max=contracts.RUNNING_MAX)
        except _BROKEN:  # no way then: it breaks a contract, or calls what the profile forbids
            continue
        facts = {"task": task.task_id, "new": what, "old": broken.task.skill, "reason": broken.reason}
        return Proposal(strategy, [task], _EXPLAINED[strategy].format(**facts))
    return None


def _ways(broken: Broken, profile: Profile, specs: Sequence[SkillSpec]) -> Iterator[tuple[str, str, Task]]:
    task = broken.task
    if task.kind == "specialist":
        yield from _other_skills(broken, profile, specs)
    if task.kind == "tool":
        yield from _other_tools(task)
    yield from _relaxed(broken, specs)
    if profile.flags.get(HUMAN_FLAG, False) and len(task.writes) == 1 and task.kind != "wait":
        yield "human", "a person", _by_a_person(task)


def _other_skills(broken: Broken, profile: Profile, specs: Sequence[SkillSpec]) -> Iterator[tuple[str, str, Task]]:
    """Skills that write the same, over values that are there, and have not failed at it before."""
    task = broken.task
    written = sorted(slot.type for slot in task.writes)
    for spec in specs:
        if spec.kind != "specialist" or spec.name == task.skill or not profile.offers(spec.name):
            continue
        if sorted(kind for _, kind in spec.writes) != written or spec.name in broken.replaced:
            continue
        reads = _readable(broken, spec)
        if reads is not None:
            owner = spec.owner_agent_id
            yield (
                "other_skill",
                spec.name,
                dataclasses.replace(task, skill=spec.name, owner_agent_id=owner, reads=reads),
            )


def _readable(broken: Broken, spec: SkillSpec) -> tuple[Slot, ...] | None:
    """Returns what a skill would read of the values that are there; None where it lacks one."""
    there = [Slot(i.name, i.type) for i in broken.graph.inputs]
    there += [
        Slot(s.name, s.type, t.task_id) for t in broken.graph.tasks if t.task_id in broken.settled for s in t.writes
    ]
    own = [slot for slot in broken.task.reads if slot in there]
    found: dict[str, Slot] = {}
    for _, wanted in spec.reads:
        fitting = [slot for slot in (*own, *there) if matches(wanted, slot.type)]
        if not fitting:
            if is_optional(wanted):
                continue
            return None
        for slot in fitting if is_many(wanted) else fitting[:1]:
            found[slot.name] = slot
    return tuple(found.values())


def _other_tools(task: Task) -> Iterator[tuple[str, str, Task]]:
    """The tools that the task itself names as alternatives, in order; those before have been tried."""
    others = list(task.control.get("alternatives", ()))
    for n, other in enumerate(others):
        left = {"alternatives": others[n + 1 :]} if others[n + 1 :] else {}
        params = other.get("params", task.params)
        yield "other_tool", other["skill"], dataclasses.replace(task, skill=other["skill"], params=params, control=left)


def _relaxed(broken: Broken, specs: Sequence[SkillSpec]) -> Iterator[tuple[str, str, Task]]:
    task = broken.task
    if broken.reason in _TOO_SLOW and task.attempt_limit_s < contracts.ATTEMPT_LIMIT_S_MAX:
        longer = min(contracts.ATTEMPT_LIMIT_S_MAX, task.attempt_limit_s * 4)
        yield "relaxed_contract", f"{longer} s an attempt", dataclasses.replace(task, attempt_limit_s=longer)
    if broken.reason == "CONTRACT_BROKEN":
        asked = _asked_for(broken)
        if dict(task.schemas) != asked:
            yield "relaxed_contract", "only what its readers ask for", dataclasses.replace(task, schemas=asked)
    spec = next((s for s in specs if s.name == task.skill), None)
    if spec is not None and task.kind == "specialist":
        optional = [kind for _, kind in spec.reads if is_optional(kind)]
        needed = tuple(s for s in task.reads if not any(matches(kind, s.type) for kind in optional))
        if needed != task.reads:
            yield "relaxed_contract", "without what it may do without", dataclasses.replace(task, reads=needed)


def _asked_for(broken: Broken) -> dict[str, object]:
    """Returns the schemas of what the task reads, and of its own values no more than its readers ask for."""
    task = broken.task
    read = {slot.name for slot in task.reads}
    kept = {name: schema for name, schema in task.schemas.items() if name in read}
    for slot in task.writes:
        asked = [
            reader.schemas[slot.name]
            for reader in broken.graph.tasks
            if slot.name in reader.schemas and any(s.name == slot.name for s in reader.reads)
        ]
        if asked:
            kept[slot.name] = asked[0] if len(asked) == 1 else {"allOf": asked}
    return kept


def _by_a_person(task: Task) -> Task:
    """The value comes by a signal, from whoever took the work over."""
    control = {"signal": f"provide.{task.task_id}", "timeout_s": HUMAN_WAIT_S}
    return dataclasses.replace(
        task, kind="wait", skill="wait", owner_agent_id="person", reads=(), params={},
        control=control, schemas={}, attempts_max=3,
    )  # fmt: skip
