"""A plan's graph at its revisions, and what differs between two graphs. Pure."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from haas_planner.graph import Input, Task, order_key, task_from_json

#: The events that say what a plan's graph is.
TYPES = ("PlanCreated", "TaskPlanned", "TaskExpanded", "PlanReplanned", "TaskSuperseded", "TaskReset")
_FIELDS = tuple(field.name for field in dataclasses.fields(Task))
#: Their tasks belong to the plan once all of them are there; a schedule's come one by one.
_AT_ONCE = frozenset({"leader", "map"})


class Told(Protocol):
    """What is asked of an event."""

    @property
    def type(self) -> str:
        """Its name."""

    @property
    def payload(self) -> Mapping[str, Any]:
        """What happened."""

    @property
    def task_id(self) -> str:
        """To which task; empty for the plan."""


@dataclasses.dataclass(frozen=True, slots=True)
class Revision:
    """The graph of a plan between two changes of its number; what undoes tasks is no part of it."""

    number: int
    tasks: Mapping[str, Task]
    inputs: tuple[Input, ...]


class Revisions:
    """Follows a plan's graph through its events, and keeps the revisions that are wanted."""

    def __init__(self, wanted: Collection[int] = (), *, last_two: bool = False) -> None:
        """Begins with a plan that is not there.

        Args:
            wanted: the numbers to keep.
            last_two: keep the one before the newest as well.
        """
        self.number = 0
        self._wanted = frozenset(wanted)
        self._last_two = last_two
        self._kept: dict[int, Revision] = {}
        self._before: Revision | None = None
        self._inputs: tuple[Input, ...] = ()
        self._tasks: dict[str, Task] = {}
        self._gone: dict[str, Task] = {}
        self._coming: dict[str, dict[str, Task]] = {}
        self._expanded: set[str] = set()

    def take(self, event: Told) -> None:
        """Takes the plan's next event."""
        kept, task_id = event.payload, event.task_id
        if event.type == "PlanCreated":
            self.number, self._inputs = 1, tuple(Input(*i) for i in kept["inputs"])
        elif event.type == "TaskPlanned" and not kept.get("compensates"):
            self._plan(task_from_json(kept["task"]), kept["parent"])
        elif event.type == "TaskExpanded":
            self._next(self.number + 1)
            self._expanded.add(task_id)
            self._tasks.update(self._coming.pop(task_id, {}))
        elif event.type == "PlanReplanned":
            self._next(kept["revision"])
        elif event.type == "TaskSuperseded":
            if task_id in self._tasks:
                self._gone[task_id] = self._tasks.pop(task_id)
        elif event.type == "TaskReset":
            self._reset(task_id, kept.get("state", "planned"))

    def revision(self, number: int) -> Revision | None:
        """Returns a wanted revision, or the newest, or with `last_two` the one before it; None for one that is none."""
        if number == self.number and number:
            return self._snapshot()
        if self._before is not None and number == self._before.number:
            return self._before
        return self._kept.get(number)

    def _plan(self, task: Task, parent_id: str) -> None:
        parent = self._tasks.get(parent_id)
        known = task.task_id in self._tasks
        if parent is not None and parent.kind in _AT_ONCE and parent_id not in self._expanded and not known:
            self._coming.setdefault(parent_id, {})[task.task_id] = task
        else:
            self._tasks[task.task_id] = task

    def _reset(self, task_id: str, state: str) -> None:
        """A task that is to be done again is part of the plan, whatever it was before."""
        if task_id in self._gone:
            self._tasks[task_id] = self._gone.pop(task_id)
        if state == "planned":
            self._expanded.discard(task_id)

    def _next(self, number: int) -> None:
        if self._last_two:
            self._before = self._snapshot()
        if self.number in self._wanted:
            self._kept[self.number] = self._snapshot()
        self.number = number

    def _snapshot(self) -> Revision:
        return Revision(self.number, dict(self._tasks), self._inputs)


@dataclasses.dataclass(frozen=True, slots=True)
class TaskChange:
    """A task whose contract differs, and in which fields."""

    fields: tuple[str, ...]
    before: Task
    after: Task


@dataclasses.dataclass(frozen=True, slots=True)
class Diff:
    """What differs between two graphs; tasks by id."""

    from_revision: int
    to_revision: int
    added: tuple[Task, ...]
    removed: tuple[Task, ...]
    changed: tuple[TaskChange, ...]
    unchanged: int
    inputs_added: tuple[Input, ...]
    inputs_removed: tuple[Input, ...]


def compare(one: Revision, other: Revision) -> Diff:
    """Returns what leads from one graph to the other."""
    both = sorted(one.tasks.keys() & other.tasks.keys(), key=order_key)
    changed = tuple(
        TaskChange(fields, one.tasks[task_id], other.tasks[task_id])
        for task_id in both
        if (fields := _differing(one.tasks[task_id], other.tasks[task_id]))
    )
    return Diff(
        one.number,
        other.number,
        _only(other.tasks, one.tasks),
        _only(one.tasks, other.tasks),
        changed,
        len(both) - len(changed),
        tuple(i for i in other.inputs if i not in one.inputs),
        tuple(i for i in one.inputs if i not in other.inputs),
    )


def _only(tasks: Mapping[str, Task], without: Mapping[str, Task]) -> tuple[Task, ...]:
    return tuple(tasks[task_id] for task_id in sorted(tasks.keys() - without.keys(), key=order_key))


def _differing(before: Task, after: Task) -> tuple[str, ...]:
    return tuple(name for name in _FIELDS if getattr(before, name) != getattr(after, name))
