"""A plan's work as data: an immutable revision of a directed acyclic graph with typed edges (design 1)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

KINDS = ("specialist", "tool", "leader")


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


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A task with its typed contract. Ids are "T-3" or, inside a leader's sub-plan, "T-3.2"."""

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

    def depends_on(self) -> tuple[str, ...]:
        """Returns the tasks that it reads from, each once, in order."""
        return tuple(dict.fromkeys(slot.from_task for slot in self.reads if slot.from_task))


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """A revision of a plan's graph."""

    tasks: tuple[Task, ...]
    inputs: tuple[Input, ...] = ()


def order_key(task_id: str) -> tuple[int, ...]:
    """Returns an id's numbers, so that T-2 comes before T-10 and T-2.1 after T-2."""
    return tuple(int(part) for part in task_id.removeprefix("T-").split("."))
