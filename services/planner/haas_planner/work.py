"""What an attempt does: it gives a skill its context, and keeps what the skill made."""

import asyncio
import dataclasses
import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format

from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas_common import clock, errors
from haas_common.artifacts import file as artifact_file
from haas_common.artifacts.file import Document, Draft
from haas_common.artifacts.records import Placing
from haas_common.artifacts.rules import depends_on
from haas_common.artifacts.store import ArtifactStore, artifact_id_of
from haas_common.auth import Issuer
from haas_common.channels import Channels, with_token
from haas_common.db import Database, Scope
from haas_common.documents import SourceDocument
from haas_common.eventstore import payload_text
from haas_common.models import Model
from haas_common.profile_store import ProfileStore, read_documents
from haas_common.profiles import Profile
from haas_common.sealing import sealed_form
from haas_common.structs import read_struct
from haas_planner import contracts
from haas_planner.attempts import Assignment, Result
from haas_planner.domain import task_to_json
from haas_planner.graph import Graph, Task, order_key
from haas_planner.skills.registry import BY_NAME, SPECS
from haas_planner.skills.spec import SkillSpec

# Read, write and call, and nothing else; the profile's own policy narrows it further.
TOOL_SCOPES = ("artifacts.read", "artifacts.write", "tools.invoke", "tools.read")
TOKEN_LIFE_S = 120
_MCP_DEADLINE_S = 60.0


@dataclasses.dataclass(slots=True)
class WorkContext:
    """The context of one attempt (haas_planner.skills.spec.SkillContext)."""

    worker: "Worker"
    assignment: Assignment
    profile: Profile
    model: Model
    now: datetime.datetime
    calls: int = 0
    read_ids: list[str] = dataclasses.field(default_factory=list)

    @property
    def scope(self) -> Scope:
        """The tenant and project."""
        return self.assignment.scope

    @property
    def plan_id(self) -> str:
        """The plan."""
        return self.assignment.plan_id

    @property
    def task(self) -> Task:
        """The task, with its contract."""
        return self.assignment.task

    @property
    def attempt(self) -> int:
        """Counts from 1."""
        return self.assignment.attempt

    @property
    def language(self) -> str:
        """The language of the texts to write."""
        return self.assignment.language

    @property
    def objective(self) -> str:
        """What is wanted, in the user's words."""
        return self.assignment.objective

    @property
    def intent(self) -> str:
        """The detected intent."""
        return self.assignment.intent

    @property
    def slots(self) -> dict[str, str]:
        """The detected slots."""
        return dict(self.assignment.slots)

    @property
    def params(self) -> dict[str, Any]:
        """The task's parameters."""
        return dict(self.assignment.task.params)

    async def read(self, slot: str) -> Document:
        """Returns the artifact in a slot. Raises ResourceNotFound, HashMismatch."""
        artifact_id = self.assignment.readable.get(slot)
        if artifact_id is None:
            raise errors.ResourceNotFound(f"The task reads nothing named {slot}.", resource="slot", id=slot)
        artifacts = self.worker.artifacts
        async with self.worker.database.tenant_tx(self.scope) as tx:
            record = await artifacts.head(tx, self.scope, artifact_id)
        if artifact_id not in self.read_ids:
            self.read_ids.append(artifact_id)
        return artifact_file.parse(await artifacts.read(self.scope, record))

    def input_ref(self, name: str) -> str | None:
        """Returns the address of an uploaded input."""
        given = self.assignment.inputs.get(name)
        return given.ref if given is not None and given.ref.startswith("sha256:") else None

    def value(self, name: str) -> object | None:
        """Returns a plain input value: a number where it reads as one, else its text."""
        given = self.assignment.inputs.get(name)
        if given is None or given.ref.startswith(("sha256:", "artf-")):
            return None
        return float(given.ref) if given.type == "value.number" else given.ref

    async def call_tool(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Calls a tool through the MCP service; the same call of a later attempt gets the same answer."""
        self.calls += 1
        return await self.worker.call_tool(self.assignment, tool, arguments, self.calls)

    async def documents(self) -> list[SourceDocument]:
        """Returns the project's own documents."""
        async with self.worker.database.tenant_tx(self.scope) as tx:
            return await read_documents(tx, self.scope, self.worker.artifacts.blobs)


class Worker:
    """Does attempts: specialists, tools, leaders."""

    def __init__(
        self,
        database: Database,
        artifacts: ArtifactStore,
        channels: Channels,
        issuer: Issuer,
        model_of: Callable[[Profile], Model],
    ) -> None:
        self.database = database
        self.artifacts = artifacts
        self._model_of = model_of
        self._channels = channels
        self._issuer = issuer
        self._profiles = ProfileStore()

    async def do(self, assignment: Assignment) -> Result:
        """Does one attempt: returns artifacts by slot, or a leader's sub-plan."""
        scope = assignment.scope
        async with self.database.tenant_tx(scope) as tx:
            kept = await self._profiles.version(tx, scope, assignment.profile_id, assignment.profile_version)
        context = WorkContext(self, assignment, kept.profile, self._model_of(kept.profile), clock.utc_now())
        task = assignment.task
        if task.kind == "tool":
            return await self._keep(context, [await _tool_draft(context)])
        spec = BY_NAME[task.skill]
        if task.kind == "leader":
            return await self._lead(context, spec)
        assert spec.run is not None
        return await self._keep(context, await spec.run(context))

    async def _lead(self, context: WorkContext, spec: SkillSpec) -> Result:
        assignment = context.assignment
        assert spec.expand is not None
        assert spec.report is not None
        if assignment.phase == "report":
            done = sorted(assignment.children, key=lambda t: order_key(t.task_id))
            return await self._keep(context, [await spec.report(context, done)])
        tasks = await spec.expand(context)
        inputs = tuple(assignment.inputs.values())
        whole = contracts.expand(Graph(tuple(assignment.whole), inputs), assignment.task.task_id, tasks)
        contracts.validate(whole, context.profile, SPECS, inputs)
        check_sizes(tasks)
        return tasks

    async def _keep(self, context: WorkContext, drafts: list[Draft]) -> Mapping[str, str]:
        """Writes a task's artifacts in one transaction; a retry finds what an earlier attempt wrote."""
        assignment = context.assignment
        task = assignment.task
        expected = {slot.name: slot.type for slot in task.writes}
        if {d.slot: d.type for d in drafts} != expected:
            raise errors.GraphInvalid(
                "The skill did not write what its contract says.", task=task.task_id, field="writes", rule=str(expected)
            )
        outputs: dict[str, str] = {}
        async with self.database.tenant_tx(assignment.scope) as tx:
            for draft in sorted(drafts, key=lambda d: d.slot):
                placing = Placing(
                    artifact_id_of(assignment.plan_id, task.task_id, draft.slot),
                    signer=task.owner_agent_id,
                    plan_id=assignment.plan_id,
                    task_id=task.task_id,
                    links=depends_on(context.read_ids),
                    trace_id=assignment.trace_id,
                )
                record = await self.artifacts.write(tx, assignment.scope, draft, placing, context.now, once=True)
                outputs[draft.slot] = record.artifact_id
        return outputs

    async def call_tool(
        self, assignment: Assignment, tool: str, arguments: dict[str, Any], number: int
    ) -> dict[str, Any]:
        """Calls the MCP service under a short-lived token bound to tenant, project, plan, task and profile."""
        task, scope = assignment.task, assignment.scope
        token = self._issuer.issue(
            subject=task.owner_agent_id,
            tenant_id=scope.tenant_id,
            projects=[scope.project_id],
            scopes=TOOL_SCOPES,
            plan_id=assignment.plan_id,
            task_id=task.task_id,
            profile_id=assignment.profile_id,
            life_s=TOKEN_LIFE_S,
        )
        request = mcp_pb2.InvokeToolRequest(
            tenant_id=scope.tenant_id,
            project_id=scope.project_id,
            tool=tool,
            request_id=f"{assignment.plan_id}/{task.task_id}/{assignment.phase}/{number}",
            plan_id=assignment.plan_id,
            task_id=task.task_id,
            profile_id=assignment.profile_id,
        )
        json_format.ParseDict(arguments, request.arguments)
        response = await mcp_pb2_grpc.ToolsStub(self._channels.channel("mcp")).InvokeTool(
            request, metadata=with_token(token.token), timeout=_MCP_DEADLINE_S, wait_for_ready=True
        )
        return read_struct(response.result)


async def _tool_draft(context: WorkContext) -> Draft:
    """A task of kind tool: one call by its parameters; the artifact holds the answer."""
    task = context.task
    slot = task.writes[0]
    result = await context.call_tool(task.skill, context.params)
    shown = await asyncio.to_thread(json.dumps, result, ensure_ascii=False, indent=2, sort_keys=True)
    body = f"# {task.title or task.skill}\n\n```json\n{shown}\n```"
    title = task.title or task.skill
    return Draft(f"{slot.name}.md", slot.type, slot.name, title, body, result, [f"tool:{task.skill}"])


def check_sizes(tasks: list[Task] | tuple[Task, ...]) -> None:
    """Refuses a task that does not fit into an event. Raises GraphInvalid."""
    for task in tasks:
        try:
            payload_text(sealed_form("TaskPlanned", {"task": task_to_json(task), "parent": task.task_id}))
        except ValueError:
            raise errors.GraphInvalid(
                "A task's contract has at most 32 KiB.", task=task.task_id, field="task", rule="32 KiB"
            ) from None
