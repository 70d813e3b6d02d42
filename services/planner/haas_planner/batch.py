"""What one commit takes along."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from haas_common.eventstore import check_storable
from haas_planner.attempts import Outcome
from haas_planner.domain import Event, Plan
from haas_planner.log import Commit, PlanKey
from haas_planner.store import Change, Command, Trip

#: Events of a commit where one tenant is at work: more would not make it cheaper, and its attempts begin later.
EVENTS_MAX = 400
#: Where several are: who becomes ready while a commit is under way waits for no more than two of this size.
EVENTS_SHARED_MAX = 200
RESULTS_MAX = 2000
_QUANTUM, _QUANTUM_SHARED = 1000, 48
#: How many tasks of a large plan join it at once.
_PLANNED, _PLANNED_SHARED = 500, 25
#: An attempt whose task the plan no longer waits for.
_UNWANTED = frozenset({"TaskCancelled", "TaskSkipped", "TaskReset", "TaskSuperseded", "TaskFailed", "TaskPlanned"})
#: What ends an attempt, or the wait of a task that had taken its slots.
_FREEING = frozenset(
    {
        "TaskCompleted", "TaskFailed", "TaskRetryScheduled", "TaskCancelled", "TaskSkipped", "TaskReset",
        "TaskSuperseded", "TaskExpanded",
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Cap:
    """How large a batch may become, and how much of it one plan's turn or one decision may take."""

    events: int = EVENTS_MAX
    quantum: int = _QUANTUM
    planned: int = _PLANNED

    @classmethod
    def of(cls, tenants: int) -> "Cap":
        """Returns the bounds where so many tenants are at work."""
        if tenants > 1:
            return cls(EVENTS_SHARED_MAX, _QUANTUM_SHARED, _PLANNED_SHARED)
        return cls()


@dataclasses.dataclass(slots=True)
class Batch:
    """What one commit takes along; `bases` are the plans that it leaves behind changed if it fails."""

    cap: Cap
    events: dict[PlanKey, list[Event]] = dataclasses.field(default_factory=dict)
    # What led to each of them.
    causes: dict[PlanKey, list[str]] = dataclasses.field(default_factory=dict)
    bases: dict[PlanKey, int] = dataclasses.field(default_factory=dict)
    decided: list[tuple[Command, Mapping[str, Any]]] = dataclasses.field(default_factory=list)
    results: list[Outcome] = dataclasses.field(default_factory=list)
    # Expansions that go on with the next batch.
    again: list[Outcome] = dataclasses.field(default_factory=list)
    trips: list[Trip] = dataclasses.field(default_factory=list)
    freed: list[tuple[Any, str, str]] = dataclasses.field(default_factory=list)
    replans: dict[tuple[PlanKey, str], int] = dataclasses.field(default_factory=dict)
    # Attempts that begin, and that end, once it is kept.
    started: list[tuple[PlanKey, str, int]] = dataclasses.field(default_factory=list)
    unwanted: list[tuple[PlanKey, str, int]] = dataclasses.field(default_factory=list)
    size: int = 0
    # What storage is asked to keep, once nothing more is added.
    sealed: Commit | None = None
    _reserved: dict[PlanKey, int] = dataclasses.field(default_factory=dict)

    def is_full(self) -> bool:
        """Tells whether what is left waits for the next one."""
        return self.sealed is not None or self.size >= self.cap.events or len(self.results) >= RESULTS_MAX

    def quantum(self) -> int:
        """Returns how many attempts a turn may start."""
        return min(self.cap.quantum, max(1, self.cap.events - self.size))

    def add(self, key: PlanKey, plan: Plan, events: list[Event], cause: str) -> None:
        """Takes a decision's events; the plan holds them and no later ones."""
        if not events:
            return
        self.events.setdefault(key, []).extend(events)
        self.causes.setdefault(key, []).extend([cause] * len(events))
        self.size += len(events)
        for event in events:
            if event.type == "TaskStarted":
                self.started.append((key, event.task_id, event.payload["attempt"]))
            elif event.type in _UNWANTED and (attempt := plan.tasks[event.task_id].attempt):
                self.unwanted.append((key, event.task_id, attempt))

    def has_events(self) -> bool:
        """Tells whether anything happened."""
        return any(self.events.values())

    def commit_is_wanted(self) -> bool:
        """Tells whether there is something to keep."""
        return self.has_events() or bool(self.decided) or bool(self.trips)

    def reserve(self, key: PlanKey, number: int) -> None:
        """Remembers room that was taken for a plan's attempts."""
        if number:
            self._reserved[key] = self._reserved.get(key, 0) + number

    def reservations(self) -> Iterator[tuple[str, int]]:
        """Yields (tenant, how much) of the room that was taken."""
        for (scope, _), number in self._reserved.items():
            yield scope.tenant_id, number

    def leave_out(self, key: PlanKey) -> list[tuple[str, int]]:
        """Takes a plan out; returns its room as `reservations` does."""
        for kept in (self.events, self.causes, self.bases):
            kept.pop(key, None)  # type: ignore[attr-defined]
        for replanned in [r for r in self.replans if r[0] == key]:
            del self.replans[replanned]
        self.started = [one for one in self.started if one[0] != key]
        self.unwanted = [one for one in self.unwanted if one[0] != key]
        number = self._reserved.pop(key, 0)
        return [(key[0].tenant_id, number)] if number else []

    def clear(self) -> None:
        """Lets go of everything: it was not kept, and is decided again."""
        for kept in (self.events, self.causes, self.bases, self.results, self.replans, self.started, self.unwanted):
            kept.clear()  # type: ignore[attr-defined]
        self._reserved.clear()

    def commit(self, plans: Mapping[PlanKey, Plan], traces: Mapping[PlanKey, str], limited: Any) -> Commit:
        """Returns what storage is asked to keep; `limited` tells of a plan and a task whether it holds slots."""
        changes = []
        for key, events in self.events.items():
            plan = plans[key]
            changes.append(Change(plan, self.bases[key], events, self.causes[key], traces.get(key, "")))
            self.freed += [(key[0], key[1], task_id) for task_id in _freed(events) if limited(key, task_id)]
        return Commit(changes, self.decided, self.freed, self.trips)


def _freed(events: Iterable[Event]) -> Iterable[str]:
    """Returns the tasks that hold no slots after these events, and may have held some before."""
    found: dict[str, None] = {}
    for event in events:
        if event.type == "TaskStarted":
            # One that ended an attempt and began the next keeps what it holds.
            found.pop(event.task_id, None)
        elif event.type in _FREEING and not (event.type == "TaskCompleted" and not event.payload["attempt"]):
            found[event.task_id] = None
    return found


def unwritable(batch: Batch) -> list[PlanKey]:
    """Returns the plans with an event that the history cannot keep: no commit with one of them would ever succeed."""
    found = []
    for key, events in batch.events.items():
        try:
            for event in events:
                check_storable(event.type, event.payload, event.task_id, event.actor)
        except ValueError:
            found.append(key)
    return found
