"""A plan's work as data: an immutable revision of a directed acyclic graph with typed edges (design 1)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

#: specialist, tool and transform are done by attempts; leader, map and schedule expand into tasks of their own; wait
#: and approval end by a timer, a signal or a person.
KINDS = ("specialist", "tool", "leader", "transform", "map", "wait", "approval", "schedule")
#: Whose tasks are planned while the plan runs.
COMPOSITE = frozenset({"leader", "map", "schedule"})
#: What waits without an attempt.
WAITING = frozenset({"wait", "approval", "schedule"})
#: A value of such a type stands in the event itself; any other one is an artifact.
VALUE = "value."


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """A named, typed value: an end of an edge. `from_task` is empty for a plan's input and for a value written."""

    name: str
    type: str
    from_task: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Input:
    """A named value from outside. `ref`: "sha256:…" of an upload, an artifact's id, or a plain value's text."""

    name: str
    type: str
    ref: str

    def plain(self) -> str | float | None:
        """Returns a plain value, as a number where it is one; None of an upload or an artifact."""
        if self.ref.startswith(("sha256:", "artf-")):
            return None
        return float(self.ref) if self.type == "value.number" else self.ref


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """How a task is tried, beside how often and how long.

    Attributes:
        schedule_to_close_s: from ready to its end, every attempt and wait between them included; 0: no limit.
        heartbeat_s: a remote worker that is silent for so long has lost the task; 0: the fleet's default.
        backoff_s: what the second attempt waits, before jitter; each further one `backoff_factor` times as long,
            `backoff_max_s` at most.
        retry_on: reasons that are tried again; empty: every reason that can pass by itself.
        never_retry_on: reasons that are not.
        priority: 0 to 9; of one tenant's ready tasks the higher ones start first.
        concurrency_key: at most `concurrency_max` tasks of the project run under one key; empty: none.
        tokens_max, money_micros_max: what the task may use up, reserved of the plan's budget when it starts; 0: none.
        on_failure: "repair" (planned anew, or else the plan fails), "fail" (the plan fails) or "continue" (what reads
            from it is skipped, the rest goes on).
        compensation: {"kind", "skill", "params"} of what undoes it when the plan is cancelled or fails; empty: nothing.
    """

    schedule_to_close_s: int = 0
    heartbeat_s: int = 0
    backoff_s: float = 0.5
    backoff_factor: float = 2.0
    backoff_max_s: float = 30.0
    retry_on: tuple[str, ...] = ()
    never_retry_on: tuple[str, ...] = ()
    priority: int = 5
    concurrency_key: str = ""
    concurrency_max: int = 1
    tokens_max: int = 0
    money_micros_max: int = 0
    on_failure: str = "repair"
    compensation: Mapping[str, Any] = dataclasses.field(default_factory=dict)


NO_POLICY = Policy()
_POLICY_FIELDS = tuple(field.name for field in dataclasses.fields(Policy))


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A task with its typed contract. Ids are "T-3" or, of a sub-plan, "T-3.2"; "T-3.0" undoes T-3.

    Attributes:
        params: what the skill, the tool or the transform is told beside the values.
        attempts_max: how often it is tried.
        attempt_limit_s: how long one attempt may take (start to close).
        policy: the rest of how it is tried.
        control: what a map, a wait, an approval or a schedule goes by (docs/reference/tasks.md).
        schemas: JSON Schemas of values that it reads or writes, by slot.
    """

    task_id: str
    kind: str
    skill: str
    title: str
    owner_agent_id: str
    reads: tuple[Slot, ...]
    writes: tuple[Slot, ...]
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    attempts_max: int = 3
    attempt_limit_s: int = 60
    policy: Policy = NO_POLICY
    control: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    schemas: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def depends_on(self) -> tuple[str, ...]:
        """Returns the tasks that it reads from, each once, in order."""
        return tuple(dict.fromkeys(slot.from_task for slot in self.reads if slot.from_task))

    def only_values(self) -> bool:
        """Tells whether everything that it writes stands in the event itself, so that no artifact is made."""
        return all(slot.type.startswith(VALUE) for slot in self.writes)


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """A revision of a plan's graph."""

    tasks: tuple[Task, ...]
    inputs: tuple[Input, ...] = ()


def order_key(task_id: str) -> tuple[int, ...]:
    """Returns an id's numbers, so that T-2 comes before T-10 and T-2.1 after T-2."""
    return tuple(int(part) for part in task_id.removeprefix("T-").split("."))


# ── JSON, as tasks stand in the history ──────────────────────────────────────────────────────────────────────────────


def policy_to_json(policy: Policy) -> dict[str, Any]:
    """Returns what differs from the default."""
    found = {}
    for name in _POLICY_FIELDS:
        value = getattr(policy, name)
        if value != getattr(NO_POLICY, name):
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def policy_from_json(kept: Mapping[str, Any]) -> Policy:
    """Rebuilds a policy."""
    return Policy(**{k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()}) if kept else NO_POLICY


def task_to_json(task: Task) -> dict[str, Any]:
    """Returns a task as it stands in TaskPlanned; what a task of before did not have is left out where it is empty."""
    told: dict[str, Any] = {
        "task_id": task.task_id,
        "kind": task.kind,
        "skill": task.skill,
        "title": task.title,
        "owner_agent_id": task.owner_agent_id,
        "reads": [[s.name, s.type, s.from_task] for s in task.reads],
        "writes": [[s.name, s.type] for s in task.writes],
        "params": dict(task.params),
        "attempts_max": task.attempts_max,
        "attempt_limit_s": task.attempt_limit_s,
    }
    if task.policy is not NO_POLICY and (policy := policy_to_json(task.policy)):
        told["policy"] = policy
    if task.control:
        told["control"] = dict(task.control)
    if task.schemas:
        told["schemas"] = dict(task.schemas)
    return told


def task_from_json(kept: Mapping[str, Any]) -> Task:
    """Rebuilds a task from TaskPlanned."""
    return Task(
        kept["task_id"],
        kept["kind"],
        kept["skill"],
        kept["title"],
        kept["owner_agent_id"],
        tuple(Slot(*s) for s in kept["reads"]),
        tuple(Slot(*s) for s in kept["writes"]),
        kept["params"],
        kept["attempts_max"],
        kept["attempt_limit_s"],
        policy_from_json(kept.get("policy", {})),
        kept.get("control", {}),
        kept.get("schemas", {}),
    )
