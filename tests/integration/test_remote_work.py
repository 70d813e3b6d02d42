"""Attempts by remote workers: what a task reads goes out and drafts come back; the example and the page run."""

import dataclasses
import re
import runpy
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from haas_client.worker import Output, Skill, Task, skill
from haas_common import errors
from haas_common.artifacts.file import Document, Draft
from haas_common.db import Database, Scope
from haas_planner import graph
from haas_planner.doing import value_of
from haas_planner.remote.work import RemoteSkills
from tests.integration.conftest import TestDatabase
from tests.support.plans import Plans
from tests.support.remote import SCOPE, Planner, at_work, planner

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def fleet(tmp_path, database: TestDatabase) -> AsyncIterator[Planner]:
    plans = Plans(database.admin_dsn)
    plans.project(SCOPE)
    plans.close()
    opened = await Database.open(database.app_dsn, database.context_key, "test")
    async with planner(tmp_path, opened) as found:
        yield found
    await opened.close()


@dataclasses.dataclass
class Facts:
    """Of an assignment, where its artifacts are."""

    readable: dict[str, str]


@dataclasses.dataclass
class Attempt:
    """An attempt's context, without artifacts' store and profiles."""

    task: graph.Task
    documents: dict[str, Document] = dataclasses.field(default_factory=dict)
    uploads: dict[str, str] = dataclasses.field(default_factory=dict)
    values: dict[str, object] = dataclasses.field(default_factory=dict)
    scope: Scope = SCOPE
    plan_id: str = "pl-00000001"
    attempt: int = 2
    language: str = "en"
    objective: str = "o"

    @property
    def params(self) -> dict:
        return dict(self.task.params)

    @property
    def assignment(self) -> Facts:
        return Facts({slot: f"artf-{slot}" for slot in self.documents})

    async def read(self, slot: str) -> Document:
        return self.documents[slot]

    def input_ref(self, name: str) -> str | None:
        return self.uploads.get(name)

    def value(self, name: str) -> object | None:
        return self.values.get(name)


def task_of(name: str, reads: dict[str, str], writes: dict[str, str], **params: object) -> graph.Task:
    slots = [tuple(graph.Slot(n, t) for n, t in ends.items()) for ends in (reads, writes)]
    return graph.Task("T-1", "specialist", name, "Title", "agent.x", *slots, params)


async def drafts(fleet: Planner, made: Skill, attempt: Attempt) -> list[Draft]:
    remote = RemoteSkills(fleet.pool, lambda scope, plan_id: 42)
    async with at_work(fleet.worker(skills=[made])):
        return list(await remote(attempt))


async def test_a_task_gets_artifacts_uploads_and_values_and_its_results_are_drafts(fleet):
    seen: list[Task] = []

    @skill(
        "all.kinds",
        reads={"note": "doc.note", "table": "table.upload", "budget": "value.number"},
        writes={"report": "doc.report", "total": "value.total", "facts": "value.facts"},
    )
    async def all_kinds(task: Task) -> dict:
        seen.append(task)
        return {"report": Output("Report", "# Report", {"a": 1}), "total": 7, "facts": {"b": 2}}

    reads = {"n": "doc.note", "t": "table.upload", "b": "value.number"}
    writes = {"r": "doc.report", "s": "value.total", "f": "value.facts"}
    attempt = Attempt(
        task_of("all.kinds", reads, writes, depth=3),
        {"n": Document({}, "# Note", {"lang": "en"})}, {"t": "sha256:ab"}, {"b": 1200.0},
    )  # fmt: skip
    report, total, facts = await drafts(fleet, all_kinds, attempt)
    (task,) = seen
    assert (task.attempt, task.params, task.token.split(".")[0]) == (2, {"depth": 3}, "42")
    note = task.read("note")
    assert (note.artifact_id, note.body_md, note.data) == ("artf-n", "# Note", {"lang": "en"})
    assert (task.read("table").data, task.read("budget").data) == ({"ref": "sha256:ab"}, 1200.0)
    assert report == Draft("r.md", "doc.report", "r", "Report", "# Report", {"a": 1}, ["agent:agent.x"])
    assert [(d.slot, d.type, value_of(d)) for d in (total, facts)] == [
        ("s", "value.total", 7),
        ("f", "value.facts", {"b": 2}),
    ]


def page_skill() -> Skill:
    page = (ROOT / "docs/howto/remote-worker.md").read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "page"}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], names)
    return names["count"]


@pytest.mark.parametrize(
    "made",
    [page_skill, lambda: runpy.run_path(str(ROOT / "examples/worker/word_count.py"))["count"]],
    ids=["page", "example"],
)
async def test_the_page_and_the_example_do_what_they_say(fleet, made):
    task = task_of("words.count", {"words_of": "value.text"}, {"out": "doc.word_count"})
    (draft,) = await drafts(fleet, made(), Attempt(task, values={"words_of": "one three two"}))
    assert (draft.slot, draft.title, draft.data["words"]) == ("out", "Word count", 3)
    with pytest.raises(errors.WorkerFailed) as caught:
        await drafts(fleet, made(), Attempt(task, values={"words_of": " "}))
    assert caught.value.metadata["cause"] == "TEXT_EMPTY"
