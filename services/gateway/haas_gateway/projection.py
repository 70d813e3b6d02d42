"""What a project used, by day, as a fold of the whole history: the live projector and a rebuild use the same.

`python -m haas_gateway.projection usage` rebuilds it.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from haas_common.events import EVENT_TYPES
from haas_common.projections import Past, Projection, Row, Shadow, step

#: What is counted besides `events`, by the type that says it.
_COUNTED: Mapping[str, str] = {
    "PlanCreated": "plans_created",
    "PlanCompleted": "plans_completed",
    "PlanFailed": "plans_failed",
    "TaskCompleted": "tasks_completed",
    "TaskFailed": "tasks_failed",
    "ToolInvoked": "tool_calls",
    "ArtifactProduced": "artifact_versions",
    "ArtifactUpdated": "artifact_versions",
}
_SUMMED: Mapping[str, str] = {
    "ArtifactProduced": "artifact_bytes",
    "ArtifactUpdated": "artifact_bytes",
    "InputUploaded": "input_bytes",
}
METRICS = ("events", *dict.fromkeys([*_COUNTED.values(), *_SUMMED.values()]))
#: The types whose payload says how much.
WHOLE = tuple(_SUMMED)
#: tenant, project, day, metric
UsageKey = tuple[str, str, str, str]


class Usage:
    """The fold, and the rebuild's face of it (haas_common.projections.Projection)."""

    name = "usage"
    tables = ("usage",)
    types: tuple[str, ...] = ()
    bare = tuple(name for name in EVENT_TYPES if name not in WHOLE)
    left_out: Mapping[str, tuple[tuple[str, ...], ...]] = {"InputUploaded": (("name",),)}
    by_day = "day"
    cursor = "usage"

    def __init__(self) -> None:
        self._amounts: dict[UsageKey, int] = {}

    def take(self, tenant_id: str, project_id: str, at: str, type_: str, payload: Mapping[str, Any] | None) -> None:
        """Adds what an event tells of; `at` begins with its day in UTC."""
        place, amounts = (tenant_id, project_id, at[:10]), self._amounts
        key = (*place, "events")
        amounts[key] = amounts.get(key, 0) + 1
        if type_ in _COUNTED:
            key = (*place, _COUNTED[type_])
            amounts[key] = amounts.get(key, 0) + 1
        if type_ in _SUMMED and payload and payload["size_bytes"]:
            key = (*place, _SUMMED[type_])
            amounts[key] = amounts.get(key, 0) + payload["size_bytes"]

    def rows(self) -> list[Row]:
        """Returns what came up since the last time, in the order of the keys, and forgets it."""
        found = [
            {"tenant_id": tenant, "project_id": project, "day": day, "metric": metric, "amount": amount}
            for (tenant, project, day, metric), amount in sorted(self._amounts.items())
        ]
        self._amounts = {}
        return found

    async def fold(self, events: Sequence[Past], shadow: Shadow) -> None:
        """See Projection.fold."""
        for event in events:
            self.take(event.tenant_id, event.project_id, event.at, event.type, event.payload)

    async def flush(self, shadow: Shadow) -> None:
        """See Projection.flush."""
        await shadow.add("usage", self.rows(), "amount")


PROJECTIONS: dict[str, Callable[[], Projection]] = {"usage": Usage}

if __name__ == "__main__":
    sys.exit(step.main(PROJECTIONS, sys.argv[1:]))
