"""The page on tasks names every field that a graph's tasks, policies and controls may have."""

import dataclasses
import re

import pytest

from haas.planner.v1 import graph_pb2
from haas_planner import kinds
from haas_planner.graph import Policy
from tests.house.tree import read

PAGE = read("docs/reference/tasks.md")


def section(title: str) -> str:
    """Returns what stands under a heading that begins so."""
    (found,) = re.findall(rf"^## {re.escape(title)}[^\n]*\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def named(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", text))


def test_every_field_of_a_task_and_of_a_value_is_on_the_page() -> None:
    fields = {f.name for message in (graph_pb2.Task, graph_pb2.Slot) for f in message.DESCRIPTOR.fields}
    assert fields <= named(section("Every task"))


def test_every_field_of_a_policy_is_on_the_page_and_is_one_of_the_contracts() -> None:
    fields = {field.name for field in dataclasses.fields(Policy)}
    assert fields == {f.name for f in graph_pb2.Policy.DESCRIPTOR.fields}
    assert fields <= named(section("`policy`"))


@pytest.mark.parametrize("kind", ["map", "wait", "approval", "schedule"])
def test_every_field_of_a_control_is_on_the_page_and_nothing_else_is_accepted(kind: str) -> None:
    rows = section(f"`control` of a{'n' if kind == 'approval' else ''} {kind}").splitlines()
    told = set().union(*(named(row.split("|")[1]) for row in rows if row.startswith("| `")))
    assert told == kinds._FIELDS[kind]


def test_every_field_of_a_template_is_on_the_page() -> None:
    assert named(section("`item`")) >= kinds._ITEM_FIELDS
