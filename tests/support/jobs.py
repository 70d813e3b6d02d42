"""A whole job in memory: the real brief, draft, contracts and skills; tables by the tool's own program, unsandboxed."""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import Any

import yaml

from haas_common.artifacts import file as artifact_file
from haas_common.artifacts.file import Document, Draft
from haas_common.documents import SourceDocument
from haas_common.errors import ResourceNotFound, ToolFailed
from haas_common.models import Model, OfflineEngine
from haas_common.profiles import Profile, load_profile
from haas_mcp.tools import table_program
from haas_orchestrator.briefs import Brief, make_brief
from haas_orchestrator.intents import Detected, detect
from haas_planner import contracts, drafting
from haas_planner.graph import Graph, Input, Task
from haas_planner.skills.registry import BY_NAME, SPECS

NOW = datetime(2025, 9, 15, 9, 0, tzinfo=UTC)
ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class App:
    """A tenant as a folder of examples/ has it, or as a test makes it."""

    profile: Profile
    documents: tuple[SourceDocument, ...]
    objective: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: pathlib.Path) -> "App":
        tenant = yaml.safe_load((folder / "tenant.yaml").read_text())
        documents = tuple(SourceDocument.of(p.name, p.read_text()) for p in sorted((folder / "docs").glob("*.md")))
        files = {name: (folder / file).read_bytes() for name, file in tenant["inputs"].items()}
        profile = load_profile((folder / "profile.yaml").read_text())
        return cls(profile, documents, (folder / "objective.txt").read_text().strip(), files)

    def but(self, **changes: Any) -> "App":
        return replace(self, **changes)


@dataclass
class Job:
    """What a job made."""

    app: App
    detected: Detected
    brief: Brief
    graph: Graph
    summary: str
    tasks: dict[str, Task] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)

    def file(self, path: str) -> Draft:
        return next(d for d in self.drafts.values() if d.path == path)


def ref_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass
class MemoryContext:
    """A SkillContext over a job's artifacts; only what the task's contract names can be read."""

    job: Job
    task: Task
    model: Model
    now: datetime
    readable: set[str]
    scope: tuple[str, str] = ("t-test", "p-test")
    plan_id: str = "pl-test0001"
    attempt: int = 1
    calls: int = 0

    @property
    def profile(self) -> Profile:
        return self.job.app.profile

    @property
    def language(self) -> str:
        return self.job.detected.language

    @property
    def objective(self) -> str:
        return self.job.app.objective

    @property
    def intent(self) -> str:
        return self.job.detected.intent

    @property
    def slots(self) -> dict[str, str]:
        return dict(self.job.brief.slots)

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.task.params)

    async def read(self, slot: str) -> Document:
        if slot not in self.readable:
            raise ResourceNotFound(resource="slot", id=slot)
        return self.job.documents[slot]

    def input_ref(self, name: str) -> str | None:
        content = self.job.app.files.get(name)
        return ref_of(content) if content is not None else None

    def value(self, name: str) -> object | None:
        return self.job.app.values.get(name)

    async def documents(self) -> list[SourceDocument]:
        return list(self.job.app.documents)

    async def call_tool(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        assert tool in self.profile.policies.tools_allowed
        self.calls += 1
        content = next(c for c in self.job.app.files.values() if ref_of(c) == arguments["ref"])
        answer = table_program.run(json.loads(json.dumps(arguments)), content)
        if "error" in answer:
            raise ToolFailed(str(answer["error"]), tool=tool)
        # The wire has one kind of number: everything arrives as a float.
        return json.loads(json.dumps(answer), parse_int=float)


async def prepare(app: App, model: Model | None = None, now: datetime = NOW, goals: Sequence[str] | None = None) -> Job:
    """Intent, brief, graph; nothing runs yet. `goals` replaces the brief's."""
    engine = model or OfflineEngine()
    detected = await detect(app.objective, app.profile, engine, now)
    named = {**{n: ref_of(c) for n, c in app.files.items()}, **app.values}
    brief = await make_brief(app.objective, detected, app.profile, named, app.documents, engine, now)
    inputs = [Input("brief", "doc.brief", "artf-brief")]
    inputs += [Input(n, app.profile.input_type(n, str(r)), str(r)) for n, r in named.items()]
    graph = drafting.draft(goals or brief.goals, app.profile, SPECS, inputs, brief.slots, detected.language)
    contracts.validate(graph, app.profile, SPECS, inputs)
    return Job(app, detected, brief, graph, contracts.summary(graph))


async def run_job(app: App, model: Model | None = None, now: datetime = NOW, goals: Sequence[str] | None = None) -> Job:
    """Runs a whole job in topological order; leaders expand, their sub-plans run, their reports close."""
    job = await prepare(app, model, now, goals)
    _keep(job, job.brief.draft, "T-0")
    await _run(job, list(job.graph.tasks), model or OfflineEngine(), now)
    return job


async def _run(job: Job, tasks: list[Task], model: Model, now: datetime) -> None:
    by_id = {t.task_id: t for t in tasks}
    edges = {t.task_id: [s.from_task for s in t.reads if s.from_task in by_id] for t in tasks}
    for task_id in TopologicalSorter(edges).static_order():
        task = by_id[task_id]
        spec = BY_NAME[task.skill]
        job.tasks[task_id] = task
        context = MemoryContext(job, task, model, now, {s.name for s in task.reads})
        if task.kind == "leader":
            children = await spec.expand(context)
            job.graph = contracts.expand(job.graph, task_id, children)
            contracts.validate(job.graph, job.app.profile, SPECS, job.graph.inputs)
            await _run(job, children, model, now)
            reading = {s.name for s in task.reads} | {s.name for c in children for s in c.writes}
            drafts = [await spec.report(MemoryContext(job, task, model, now, reading), children)]
        else:
            drafts = await spec.run(context)
        assert {d.slot: d.type for d in drafts} == {s.name: s.type for s in task.writes}
        for draft in drafts:
            _keep(job, draft, task_id)


def _keep(job: Job, draft: Draft, task_id: str) -> None:
    """Keeps an artifact by way of its bytes, as the store does: what does not survive them is lost here too."""
    front = {
        "artifact_id": f"artf-{task_id.lower()}-{draft.slot}",
        "hash_prev": "",
        "title": draft.title,
        **draft.extra,
    }
    job.drafts[draft.slot] = draft
    job.documents[draft.slot] = artifact_file.parse(artifact_file.render(front, draft.data, draft.body_md))
