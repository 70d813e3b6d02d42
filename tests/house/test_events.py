"""The registry of event types and the code that appends agree; the page about them is tests/house/test_pages.py's."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import PurePath

from haas_common.events import EVENT_TYPES
from haas_common.events.marks import models_of
from tests.house.tree import ROOT, shipped

#: What appends, by the name that it is called by; the type is one of its literals.
APPENDERS = {"NewEvent", "emit", "_event", "event_of"}
#: The functions among them that hand a caller's type on to NewEvent.
HAND_ON = {
    "libs/common/haas_common/locks.py",
    "services/gateway/haas_gateway/operations.py",
    "services/mcp/haas_mcp/store.py",
    "services/planner/haas_planner/store.py",
}
#: Types of plan §4.3 and of the history's upkeep that nothing appends yet, and the room that will. It may only shrink.
NOT_YET: dict[str, str] = {}
_NAME = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+")


@functools.cache
def constants() -> dict[tuple[str, str], ast.expr]:
    """Returns the constants of all modules by the module's short name and their own."""
    return {
        (PurePath(source.path).stem, node.targets[0].id): node.value
        for source in shipped()
        for node in source.tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def calls() -> Iterator[tuple[str, str, set[str]]]:
    """Yields (file, function, types named in its arguments) of every call that appends an event."""
    for source in shipped():
        if source.path.startswith("libs/cli"):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call) and (name := _called(node)) in APPENDERS:
                values = [*node.args, *(k.value for k in node.keywords)]
                module = PurePath(source.path).stem
                yield source.path, name, {text for value in values for text in _types(value, module)}


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _types(value: ast.expr, module: str) -> Iterator[str]:
    """The names in a literal, in a module's constant, or in the branches of a choice between them."""
    if isinstance(value, ast.IfExp):
        yield from _types(value.body, module)
        yield from _types(value.orelse, module)
    elif isinstance(value, ast.Name) and (module, value.id) in constants():
        yield from _types(constants()[module, value.id], module)
    elif isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name):
        named = constants().get((value.value.id, value.attr))
        yield from _types(named, value.value.id) if named is not None else ()
    elif isinstance(value, ast.Constant) and isinstance(value.value, str) and _NAME.fullmatch(value.value):
        yield value.value


def appended() -> set[str]:
    return {name for _, _, names in calls() for name in names}


def test_every_type_that_is_appended_is_in_the_registry() -> None:
    assert appended()
    assert appended() - set(EVENT_TYPES) == set()


def test_every_type_of_the_registry_is_appended_or_a_room_is_named_that_will() -> None:
    assert set(EVENT_TYPES) - appended() - set(NOT_YET) == set()


def test_a_type_that_is_appended_no_longer_waits_for_its_room() -> None:
    assert set(NOT_YET) & appended() == set()
    assert set(NOT_YET) <= set(EVENT_TYPES)


def test_an_events_type_is_a_literal_but_where_a_callers_is_handed_on() -> None:
    assert {path for path, name, types in calls() if name == "NewEvent" and not types} <= HAND_ON


def test_every_event_of_the_plan_has_a_type() -> None:
    promised = """IntentDetected PlanCreated TaskPlanned TaskReady TaskStarted ArtifactProduced ArtifactUpdated
    ErrorDetected LockGranted LockDenied ResourceReleased AuditFailed ReplanRequired TaskCompleted PlanCompleted"""
    assert set(promised.split()) - set(EVENT_TYPES) == set()


def test_a_type_stands_in_the_registry_under_its_own_name_with_a_stream_an_owner_and_a_line() -> None:
    services = {path.name for path in (ROOT / "services").iterdir()}
    for name, kind in EVENT_TYPES.items():
        assert kind.name == name
        assert re.fullmatch(r"[a-z]+/<[a-z_ ]+>(/<[a-z_]+>)?( or [a-z]+/<[a-z_]+>)?", kind.stream), name
        assert set(kind.owner.split(", ")) <= services, name
        assert kind.description.endswith("."), name


def test_every_field_of_every_type_says_what_it_means() -> None:
    silent = [
        f"{kind.name}: {model.__name__}.{field}"
        for kind in EVENT_TYPES.values()
        for model in models_of(kind.payload)
        for field, about in model.model_fields.items()
        if not about.description
    ]
    assert silent == []
