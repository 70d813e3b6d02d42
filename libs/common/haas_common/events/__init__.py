"""The event types of HAAS: what each says, who appends it, which of its fields are personal.

`check` refuses what no reader could understand, before it is written; `upcast` brings what was written long ago to the
form that today's code folds. docs/reference/events.md is made from this registry.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from haas_common.events import agents, artifacts, audit, hooks, intents, locks, notifications, plans, tenancy, tools
from haas_common.events.base import PERSONAL, EventType, Payload
from haas_common.events.marks import models_of, personal_paths_of

__all__ = ["EVENT_TYPES", "PERSONAL", "UPCASTERS", "EventType", "Payload", "check", "personal_paths", "upcast"]

EVENT_TYPES: Mapping[str, EventType] = MappingProxyType(
    {
        kind.name: kind
        for room in (tenancy, intents, plans, agents, hooks, artifacts, tools, notifications, locks, audit)
        for kind in room.TYPES
    }
)
#: (type, version) to what makes the next version of such a payload; it does not change what it is given.
UPCASTERS: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    ("ArtifactProduced", 1): artifacts.from_1,
    ("ArtifactUpdated", 1): artifacts.from_1,
    ("NotificationSent", 1): notifications.from_1,
    ("TaskExpanded", 1): plans.expanded_from_1,
    **{(name, 1): plans.from_1 for name in plans.GREW},
}
_NAME_CHARS_MAX = 63


@cache
def _validator(event_type: str) -> Callable[[Any], object]:
    """Returns what checks a type's payload, compiled at its first use."""
    model = _known(event_type).payload
    model.model_rebuild()
    return model.__pydantic_validator__.validate_python


def _known(event_type: str) -> EventType:
    kind = EVENT_TYPES.get(event_type)
    if kind is None:
        raise ValueError(f"there is no event type {event_type[:_NAME_CHARS_MAX]}")
    return kind


def check(event_type: str, payload: Mapping[str, Any]) -> None:
    """Checks a payload of the current version (plan §4.3).

    Raises:
        ValueError: no such type, or a payload that breaks its model; the message names type, field and rule, never
            the value, which may be a person's.
    """
    try:
        _validator(event_type)(payload)
    except ValidationError as error:
        raise ValueError(_said(event_type, error)) from None


def _said(event_type: str, error: ValidationError) -> str:
    """Says which fields break which rules; what is no field's name (the key of a free object) is left out."""
    rules = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False)[:3]:
        where = ".".join(_place(fault["loc"], unknown=fault["type"] == "extra_forbidden")) or "the payload"
        rules.append(f"{where}: {fault['type']}")
    return f"{event_type} breaks its type ({'; '.join(rules)})"


def _place(place: Sequence[int | str], *, unknown: bool) -> list[str]:
    last = len(place) - 1
    return [
        str(part)[:_NAME_CHARS_MAX]
        if isinstance(part, int) or part in _field_names() or (unknown and n == last)
        else "…"
        for n, part in enumerate(place)
    ]


@cache
def _field_names() -> frozenset[str]:
    return frozenset(
        name for kind in EVENT_TYPES.values() for model in models_of(kind.payload) for name in model.model_fields
    )


def upcast(event_type: str, schema_version: int, payload: dict[str, Any]) -> dict[str, Any]:
    """Returns a stored payload in the form of the current version; every reader that folds events asks for it.

    Raises:
        ValueError: a type or a version that this code does not know, e.g. of a newer release.
    """
    current = _known(event_type).schema_version
    if not 1 <= schema_version <= current:
        raise ValueError(f"{event_type} of version {schema_version} is not known here; the newest is {current}")
    for version in range(schema_version, current):
        payload = UPCASTERS[event_type, version](payload)
    return payload


@cache
def personal_paths(event_type: str) -> tuple[tuple[str, ...], ...]:
    """Returns where a payload of the type can hold what a person said or did; "*" stands for each item of a list.

    Raises:
        ValueError: no such type.
    """
    return personal_paths_of(_known(event_type).payload)
