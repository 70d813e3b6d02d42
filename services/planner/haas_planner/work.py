"""What an attempt does: it gives a skill its context, and keeps what the skill made."""

import asyncio
import dataclasses
import datetime
import json
from collections.abc import Awaitable, Callable, Sequence
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
from haas_common.db import Database, Scope, Tx
from haas_common.documents import SourceDocument
from haas_common.eventstore import payload_text
from haas_common.models import Model
from haas_common.profile_store import ProfileStore, read_documents
from haas_common.profiles import Profile
from haas_common.sealing import sealed_form
from haas_common.structs import read_struct
from haas_planner import contracts, schemas
from haas_planner.attempts import REPLAN, Assignment, Made, Result
from haas_planner.doing import OWN_KINDS, value_of
from haas_planner.domain import Proposal, task_to_json
from haas_planner.graph import VALUE, Graph, Task, order_key
from haas_planner.replanning import Broken, propose
from haas_planner.skills.registry import BY_NAME, SPECS
from haas_planner.skills.spec import SkillSpec

# Read, write and call, and nothing else; the profile's own policy narrows it further.
TOOL_SCOPES = ("artifacts.read", "artifacts.write", "tools.invoke", "tools.read")
TOKEN_LIFE_S = 120
#: Of a value that stands in the event itself.
VALUE_BYTES_MAX = 8 * 1024
PROFILES_KEPT_MAX = 256
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
    usage: dict[str, int] = dataclasses.field(default_factory=dict)
    tools: list[str] = dataclasses.field(default_factory=list)

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

    async def data(self, slot: str) -> Any:
        """Returns what another task computes with: a value itself, an artifact's data, an uploaded input's address."""
        if slot in self.assignment.values:
            return self.assignment.values[slot]
        if slot in self.assignment.readable:
            return dict((await self.read(slot)).data)
        return self.input_ref(slot) or self.value(slot)

    def value(self, name: str) -> object | None:
        """Returns a plain value: another task's as it is, an input's as a number where it reads as one."""
        if name in self.assignment.values:
            return self.assignment.values[name]
        given = self.assignment.inputs.get(name)
        return given.plain() if given is not None else None

    async def call_tool(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Calls a tool through the MCP service; the same call of a later attempt gets the same answer."""
        self.calls += 1
        answer = await self.worker.call_tool(self.assignment, tool, arguments, self.calls)
        self.tools.append(tool)
        return answer

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
        *,
        remote: Callable[[WorkContext], Awaitable[Sequence[Draft]]] | None = None,
        more_specs: Callable[[Tx, Scope], Awaitable[Sequence[SkillSpec]]] | None = None,
    ) -> None:
        self.database = database
        self.artifacts = artifacts
        self._model_of = model_of
        self._channels = channels
        self._issuer = issuer
        self._profiles = ProfileStore()
        self._kept: dict[tuple[Scope, str, int], Profile] = {}
        self._remote = remote
        self._more_specs = more_specs

    async def do(self, assignment: Assignment) -> Result:
        """Does one attempt: returns what it made, the tasks that one expands into, or how it is planned anew."""
        scope = assignment.scope
        profile = await self._profile(assignment)
        context = WorkContext(self, assignment, profile, self._model_of(profile), clock.utc_now())
        if assignment.phase == REPLAN:
            return await asyncio.to_thread(_proposal, assignment, profile, await self._specs(scope))
        await self._check_reads(context)
        own = OWN_KINDS.get((assignment.task.kind, assignment.phase))
        if own is not None:
            found = await own(context)
            return found if isinstance(found, list) else await self.keep(context, [found])
        if assignment.task.kind == "leader":
            return await self._lead(context, BY_NAME[assignment.task.skill], await self._specs(scope))
        return await self._apply_skill(context)

    async def _profile(self, assignment: Assignment) -> Profile:
        """Returns the version that the plan keeps; it never changes, so that most attempts ask no database."""
        key = (assignment.scope, assignment.profile_id, assignment.profile_version)
        if key not in self._kept:
            async with self.database.tenant_tx(assignment.scope) as tx:
                kept = await self._profiles.version(tx, *key)
            if len(self._kept) >= PROFILES_KEPT_MAX:
                self._kept.clear()
            self._kept[key] = kept.profile
        return self._kept[key]

    async def _specs(self, scope: Scope) -> Sequence[SkillSpec]:
        """Returns every skill that the project's plans can use: the fleet's own and those of its workers."""
        if self._more_specs is None:
            return SPECS
        async with self.database.tenant_tx(scope) as tx:
            return (*SPECS, *await self._more_specs(tx, scope))

    async def _apply_skill(self, context: WorkContext) -> Result:
        spec = BY_NAME.get(context.task.skill)
        if spec is not None and spec.run is not None:
            return await self.keep(context, await spec.run(context))
        if self._remote is None:
            raise errors.GraphInvalid(
                f"Nobody here has the skill {context.task.skill}.",
                task=context.task.task_id,
                field="skill",
                rule="known",
            )
        return await self.keep(context, await self._remote(context))

    async def _lead(self, context: WorkContext, spec: SkillSpec, specs: Sequence[SkillSpec]) -> Result:
        assignment = context.assignment
        assert spec.expand is not None
        assert spec.report is not None
        if assignment.phase == "report":
            done = sorted(assignment.children, key=lambda t: order_key(t.task_id))
            return await self.keep(context, [await spec.report(context, done)])
        tasks = await spec.expand(context)
        inputs = tuple(assignment.inputs.values())
        whole = contracts.expand(Graph(tuple(assignment.whole), inputs), assignment.task.task_id, tasks)
        contracts.validate(whole, context.profile, specs, inputs, tasks_max=contracts.RUNNING_MAX)
        check_sizes(tasks)
        return tasks

    # ── Contracts while it runs ──────────────────────────────────────────────────────────────────────────────────────

    async def _check_reads(self, context: WorkContext) -> None:
        """Holds what the task reads against its schemas. Raises ContractBroken."""
        schemas_of = context.task.schemas
        for slot in context.task.reads if schemas_of else ():
            if slot.name in schemas_of and (slot.from_task or slot.name in context.assignment.readable):
                await self._hold(context, slot.name, await context.data(slot.name))

    async def _hold(self, context: WorkContext, name: str, value: Any) -> None:
        """Refuses a value that breaks its schema; what was refused is kept as evidence."""
        found = schemas.faults(context.task.schemas[name], value)
        if not found:
            return
        where = f"{name}{found[0].path}"
        evidence = json.dumps({"slot": name, "value": value}, ensure_ascii=False).encode()
        ref = await asyncio.to_thread(self.artifacts.blobs.put, context.scope, evidence)
        task_id = context.task.task_id
        raise errors.ContractBroken(
            f"Task {task_id}, {where}: {found[0].rule}.", task=task_id, field=where, rule=found[0].rule, evidence=ref
        )

    async def keep(self, context: WorkContext, drafts: Sequence[Draft]) -> Made:
        """Checks and keeps what a task made: values as they are, artifacts in one transaction.

        A retry finds what an earlier attempt wrote; a rerun writes the next version.

        Raises:
            ContractBroken: a value breaks its schema, or not every value was written.
            PayloadTooLarge: a value that is no artifact has more than 8 KiB.
        """
        assignment = context.assignment
        task = assignment.task
        expected = {slot.name: slot.type for slot in task.writes}
        written = {d.slot: d.type for d in drafts}
        if written != expected:
            raise errors.ContractBroken(
                f"Task {task.task_id}, writes: it did not write what its contract says.", task=task.task_id,
                field="writes", rule=str(expected),
            )  # fmt: skip
        for draft in drafts:
            if draft.slot in task.schemas:
                await self._hold(context, draft.slot, value_of(draft))
        values = {d.slot: _fitting(value_of(d)) for d in drafts if d.type.startswith(VALUE)}
        outputs = await self._write(context, [d for d in drafts if d.slot not in values])
        return Made(outputs, values, dict(context.usage), tuple(dict.fromkeys(context.tools)))

    async def _write(self, context: WorkContext, drafts: Sequence[Draft]) -> dict[str, str]:
        assignment, outputs = context.assignment, {}
        if not drafts:
            return {}
        async with self.database.tenant_tx(assignment.scope) as tx:
            for draft in sorted(drafts, key=lambda d: d.slot):
                placing = Placing(
                    artifact_id_of(assignment.plan_id, assignment.task.task_id, draft.slot),
                    signer=assignment.agent,
                    plan_id=assignment.plan_id,
                    task_id=assignment.task.task_id,
                    links=depends_on(context.read_ids),
                    trace_id=assignment.trace_id,
                )
                record = await self.artifacts.write(
                    tx, assignment.scope, draft, placing, context.now, once=assignment.completions + 1
                )
                outputs[draft.slot] = record.artifact_id
        return outputs

    async def call_tool(
        self, assignment: Assignment, tool: str, arguments: dict[str, Any], number: int
    ) -> dict[str, Any]:
        """Calls the MCP service under a short-lived token bound to tenant, project, plan, task and profile."""
        task, scope = assignment.task, assignment.scope
        token = self._issuer.issue(
            subject=assignment.agent,
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
            request_id=_request_id(assignment, number),
            plan_id=assignment.plan_id,
            task_id=task.task_id,
            profile_id=assignment.profile_id,
        )
        json_format.ParseDict(arguments, request.arguments)
        response = await mcp_pb2_grpc.ToolsStub(self._channels.channel("mcp")).InvokeTool(
            request, metadata=with_token(token.token), timeout=_MCP_DEADLINE_S, wait_for_ready=True
        )
        return read_struct(response.result)


def _proposal(assignment: Assignment, profile: Profile, specs: Sequence[SkillSpec]) -> Proposal | None:
    graph = Graph(tuple(assignment.whole), tuple(assignment.inputs.values()))
    broken = Broken(
        assignment.task, assignment.reason, assignment.tried, assignment.replaced, graph, assignment.settled
    )
    return propose(broken, profile, specs)


def _fitting(value: Any) -> Any:
    """Refuses a value that is too large for an event. Raises PayloadTooLarge."""
    if len(json.dumps(value, ensure_ascii=False).encode()) > VALUE_BYTES_MAX:
        raise errors.PayloadTooLarge(
            f"A value that is no artifact has at most {VALUE_BYTES_MAX} bytes.", bytes_max=VALUE_BYTES_MAX
        )
    return value


def _request_id(assignment: Assignment, number: int) -> str:
    """Returns what makes a tool call the same in every attempt, and another one when the task is done anew."""
    done, revised = assignment.completions, assignment.revised
    again = f"/{done}.{revised}" if done or revised else ""
    return f"{assignment.plan_id}/{assignment.task.task_id}/{assignment.phase}/{number}{again}"


def check_sizes(tasks: Sequence[Task]) -> None:
    """Refuses a task that does not fit into an event. Raises GraphInvalid."""
    for task in tasks:
        try:
            payload_text(sealed_form("TaskPlanned", {"task": task_to_json(task), "parent": task.task_id}))
        except ValueError:
            raise errors.GraphInvalid(
                "A task's contract has at most 32 KiB.", task=task.task_id, field="task", rule="32 KiB"
            ) from None
