"""What a skill is (data that drafting chains backwards over) and what a worker is given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Protocol

from haas_common.artifacts.file import Document, Draft
from haas_common.documents import SourceDocument
from haas_common.models import Model
from haas_common.profiles import Profile
from haas_planner.graph import Task


class SkillContext(Protocol):
    """What a worker sees: its task, the values that the task reads, and doors to tools and documents."""

    scope: Any
    plan_id: str
    task: Task
    attempt: int
    language: str
    objective: str
    intent: str
    slots: dict[str, str]
    params: dict[str, Any]
    now: datetime
    profile: Profile
    model: Model

    async def read(self, slot: str) -> Document:
        """Returns an artifact that the brief's author or another task wrote, by the name of its slot."""

    def input_ref(self, name: str) -> str | None:
        """Returns "sha256:…" of an uploaded input."""

    def value(self, name: str) -> object | None:
        """Returns a plain input value, for example {"budget": 1200}."""

    async def call_tool(self, tool: str, arguments: dict) -> dict:
        """Calls a tool through the MCP service, idempotent by plan, task and the number of the call."""

    async def documents(self) -> list[SourceDocument]:
        """Returns the project's own documents."""


Run = Callable[[SkillContext], Awaitable[list[Draft]]]
Expand = Callable[[SkillContext], Awaitable[list[Task]]]
Report = Callable[[SkillContext, list[Task]], Awaitable[Draft]]


@dataclass(frozen=True, slots=True)
class SkillSpec:
    """A row of the registry.

    Attributes:
        reads: (slot name, type). The type may be a pattern ("table.*"); a "?" at its end makes it optional, a "+"
            stands for one or more values of the type.
        writes: (slot name, type); one artifact each.
        tools: tools that it calls; the profile must allow all of them.
        titles: language → what it does, for people.
        slots: the objective's slots that it works by; they become the task's parameters.
        months_min: drafted only for a period of at least so many months (0: always).
        run: the worker of a specialist.
        expand, report: the worker of a leader.
    """

    name: str
    kind: str
    reads: tuple[tuple[str, str], ...]
    writes: tuple[tuple[str, str], ...]
    owner_agent_id: str
    titles: dict[str, str]
    tools: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    months_min: int = 0
    run: Run | None = field(default=None, compare=False)
    expand: Expand | None = field(default=None, compare=False)
    report: Report | None = field(default=None, compare=False)


def is_optional(read_type: str) -> bool:
    """Tells whether a spec's read may stay empty."""
    return read_type.endswith("?")


def is_many(read_type: str) -> bool:
    """Tells whether a spec's read takes one or more values."""
    return read_type.endswith("+")


def matches(read_type: str, actual: str) -> bool:
    """Tells whether a value of a type satisfies a spec's read."""
    return fnmatchcase(actual, read_type.rstrip("?+"))
