"""A fleet inside the test's process, behind TLS: it says what it was asked and fails as it is told to."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio

from haas.gateway.v1 import identity_pb2, identity_pb2_grpc
from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas.notifier.v1 import notifier_pb2, notifier_pb2_grpc
from haas.orchestrator.v1 import (
    artifacts_pb2,
    artifacts_pb2_grpc,
    control_pb2_grpc,
    orchestrator_pb2,
    orchestrator_pb2_grpc,
)
from haas.planner.v1 import (
    agents_pb2,
    agents_pb2_grpc,
    graph_pb2,
    hooks_pb2,
    hooks_pb2_grpc,
    skills_pb2,
    skills_pb2_grpc,
    worker_pb2,
)
from haas_client import AsyncHaasClient, HaasClient
from haas_common import errors as ours
from tests.support.fake_control import Steered
from tests.support.mesh import Mesh


async def refuse(context, error: ours.HaasError) -> None:
    details = error.to_status().SerializeToString()
    await context.abort(error.code, error.message, ((ours.DETAILS_KEY, details),))


class Fleet(
    Steered,
    orchestrator_pb2_grpc.OrchestratorServicer,
    artifacts_pb2_grpc.ArtifactsServicer,
    notifier_pb2_grpc.NotifierServicer,
    mcp_pb2_grpc.ToolsServicer,
    identity_pb2_grpc.IdentityServicer,
    agents_pb2_grpc.AgentsServicer,
    skills_pb2_grpc.SkillsServicer,
    hooks_pb2_grpc.HooksServicer,
):
    """Says what it was asked, fails as often as it is told to, and drops streams."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.tokens: list[str] = []
        self.failures: list[ours.HaasError] = []
        self.events = 0
        self.drop_after = 0
        self.streams: list[int] = []
        self.script: list[notifier_pb2.Event] = []
        self.hang = False

    async def _enter(self, request, context) -> None:
        self.seen.append(request)
        self.tokens.append(dict(context.invocation_metadata())["authorization"])
        if self.failures:
            await refuse(context, self.failures.pop(0))

    async def DetectIntent(self, request, context):
        await self._enter(request, context)
        return orchestrator_pb2.DetectIntentResponse(intent="campaign.plan", slots={"period": "2025-Q4"})

    async def CreatePlan(self, request, context):
        await self._enter(request, context)
        return orchestrator_pb2.CreatePlanResponse(plan_id="pl-00000001")

    async def GetPlanStatus(self, request, context):
        await self._enter(request, context)
        over = self.streams and self.events and self.streams[-1] == self.events
        state = graph_pb2.PLAN_STATE_COMPLETED if over else graph_pb2.PLAN_STATE_RUNNING
        return orchestrator_pb2.GetPlanStatusResponse(plan_id=request.plan_id, state=state, seq=0)

    async def ListPlans(self, request, context):
        await self._enter(request, context)
        at = int(request.page_token or 0)
        plans = [orchestrator_pb2.Plan(plan_id=f"pl-{n}") for n in range(at, min(at + 2, 5))]
        return orchestrator_pb2.ListPlansResponse(plans=plans, next_page_token=str(at + 2) if at + 2 < 5 else "")

    async def UploadInput(self, request_iterator, context):
        pieces = [r async for r in request_iterator]
        await self._enter(pieces[0], context)
        data = b"".join(p.file.data for p in pieces)
        return artifacts_pb2.UploadInputResponse(ref=f"sha256:{len(pieces)}", size_bytes=len(data))

    async def ListEvents(self, request, context):
        await self._enter(request, context)
        if request.from_seq > self.events:
            await refuse(context, ours.CursorOutOfRange("Too far.", first_seq=1, last_seq=self.events))
        events = [
            notifier_pb2.Event(seq=n) for n in range(request.from_seq + 1, min(request.from_seq + 3, self.events) + 1)
        ]
        last = events[-1].seq if events else request.from_seq
        return notifier_pb2.ListEventsResponse(events=events, next_seq=last, more=last < self.events)

    async def StreamEvents(self, request, context):
        await self._enter(request, context)
        await context.send_initial_metadata((("x-request-id", "r"),))
        for event in self.script:
            yield notifier_pb2.StreamEventsResponse(event=event)
        if self.hang:
            await asyncio.Event().wait()
        for sent, seq in enumerate(range(request.from_seq + 1, self.events + 1), 1):
            self.streams.append(seq)
            yield notifier_pb2.StreamEventsResponse(event=notifier_pb2.Event(seq=seq))
            if self.drop_after and sent == self.drop_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    async def RunPlan(self, request, context):
        await self._enter(request, context)
        return orchestrator_pb2.RunPlanResponse(plan_id=request.plan_id, state=graph_pb2.PLAN_STATE_RUNNING)

    async def GetArtifact(self, request, context):
        await self._enter(request, context)
        return artifacts_pb2.GetArtifactResponse(content="---\nartifact_id: x\n---\n# Título\n")

    async def VerifyArtifact(self, request, context):
        await self._enter(request, context)
        bad = request.artifact_id == "artf-bad"
        return artifacts_pb2.VerifyArtifactResponse(valid=not bad, versions_checked=1, first_bad_version=int(bad))

    async def InvokeTool(self, request, context):
        await self._enter(request, context)
        answer = mcp_pb2.InvokeToolResponse()
        answer.result.update(dict(request.arguments))
        return answer

    async def ListAgents(self, request, context):
        await self._enter(request, context)
        results = [agents_pb2.AgentResults(skill="law.check", completed=3, failed=1, duration_ms=401, score=0.3)]
        agent = agents_pb2.Agent(agent_id="specialist.law", kind=2, state=1, skills=["law.check", "x"], results=results)
        return agents_pb2.ListAgentsResponse(agents=[agent])

    async def RegisterAgent(self, request, context):
        await self._enter(request, context)
        agent = agents_pb2.Agent(agent_id=request.agent_id, kind=request.kind, state=1, skills=request.skills)
        return agents_pb2.RegisterAgentResponse(agent=agent)

    async def SetAgentState(self, request, context):
        await self._enter(request, context)
        agent = agents_pb2.Agent(agent_id=request.agent_id, kind=2, state=request.state, skills=["x"])
        return agents_pb2.SetAgentStateResponse(agent=agent)

    async def ListSkills(self, request, context):
        await self._enter(request, context)
        read, more, written = (
            worker_pb2.WorkerSlot(name=name, type=kind)
            for name, kind in (("note", "doc.note"), ("text", "doc.*?"), ("verdict", "value.verdict"))
        )
        skill = skills_pb2.Skill(
            name="law.check", kind=2, agent_id="agent.law", remote=True, reads=[read, more], writes=[written]
        )
        return skills_pb2.ListSkillsResponse(skills=[skill])

    async def RemoveSkill(self, request, context):
        await self._enter(request, context)
        return skills_pb2.RemoveSkillResponse()

    async def PutHook(self, request, context):
        await self._enter(request, context)
        hook = hooks_pb2.Hook(hook_id=request.hook_id, signal=request.signal, url_path="/v1/signals/t-one.p-one.pay")
        return hooks_pb2.PutHookResponse(hook=hook, secret="whsec_Zm9v" if request.new_secret else "")

    async def ListHooks(self, request, context):
        await self._enter(request, context)
        return hooks_pb2.ListHooksResponse(hooks=[hooks_pb2.Hook(hook_id="pay", signal="paid", plan_path="data.plan")])

    async def RemoveHook(self, request, context):
        await self._enter(request, context)
        return hooks_pb2.RemoveHookResponse()

    async def RenewToken(self, request, context):
        await self._enter(request, context)
        return identity_pb2.RenewTokenResponse(token=jwt(900))


def jwt(left_s: float, life_s: float = 900) -> str:
    """A token that says when it ends; the client verifies nothing."""
    expires = time.time() + left_s
    claims = json.dumps({"iat": expires - life_s, "exp": expires}).encode()
    return f"h.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"


class World:
    """A fleet behind TLS and two clients of it."""

    def __init__(self, fleet: Fleet, url: str, authority: bytes) -> None:
        self.fleet, self.url, self.authority = fleet, url, authority

    def sync(self, token: str = "t") -> HaasClient:
        return HaasClient(self.url, token, "t-one", "p-one", self.authority)

    def aio(self, token: str = "t") -> AsyncHaasClient:
        return AsyncHaasClient(self.url, token, "t-one", "p-one", self.authority)


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[World]:
    """Starts the fleet on a free port."""
    edge = Mesh(folder).secrets / "edge"
    key, chain, authority = ((edge / name).read_bytes() for name in ("tls.key", "tls.pem", "ca.pem"))
    server, fleet = grpc.aio.server(), Fleet()
    for add in (
        orchestrator_pb2_grpc.add_OrchestratorServicer_to_server,
        control_pb2_grpc.add_PlanControlServicer_to_server,
        artifacts_pb2_grpc.add_ArtifactsServicer_to_server,
        notifier_pb2_grpc.add_NotifierServicer_to_server,
        mcp_pb2_grpc.add_ToolsServicer_to_server,
        identity_pb2_grpc.add_IdentityServicer_to_server,
        agents_pb2_grpc.add_AgentsServicer_to_server,
        skills_pb2_grpc.add_SkillsServicer_to_server,
        hooks_pb2_grpc.add_HooksServicer_to_server,
    ):
        add(fleet, server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
    await server.start()
    yield World(fleet, f"https://127.0.0.1:{port}", authority)
    await server.stop(0)
