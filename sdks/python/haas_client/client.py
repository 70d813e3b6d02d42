"""The client that waits: see HaasClient. `haas_client.aio` has the same one for asyncio."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from haas.gateway.v1 import identity_pb2, identity_pb2_grpc, tenancy_pb2, tenancy_pb2_grpc
from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas.notifier.v1 import notifier_pb2, notifier_pb2_grpc
from haas.orchestrator.v1 import (
    artifacts_pb2,
    artifacts_pb2_grpc,
    control_pb2_grpc,
    orchestrator_pb2,
    orchestrator_pb2_grpc,
    privacy_pb2,
    privacy_pb2_grpc,
)
from haas.planner.v1 import (
    agents_pb2,
    agents_pb2_grpc,
    graph_pb2,
    hooks_pb2,
    hooks_pb2_grpc,
    skills_pb2,
    skills_pb2_grpc,
)
from haas_client import messages, settings
from haas_client.control import PlanControl
from haas_client.errors import HaasError, from_rpc
from haas_client.retries import Attempts, Resumes

CALL_S, LONG_S = 15.0, 65.0
#: A stream is taken up anew this often, with a fresh token; nothing is lost or seen twice.
STREAM_S = 240.0
PATIENCE_S = 60.0


class HaasClient(PlanControl):
    """The fleet for one tenant and project. Use it as a context manager, or close it.

    Calls raise HaasError: one class per reason (haas_client.errors). Those that fail for want of an answer are tried
    again, with one request_id; a token that comes to its end is renewed.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        tenant_id: str,
        project_id: str,
        ca_cert: str | os.PathLike[str] | bytes | None = None,
    ) -> None:
        """Opens no connection yet; the first call does.

        Args:
            base_url: e.g. "https://127.0.0.1:8443".
            token: from `haas token`, or the identity service.
            tenant_id: e.g. "t-medluxe".
            project_id: e.g. "p-q4-2025".
            ca_cert: the certificate that proves the edge; None: the well-known authorities.
        """
        self.tenant_id, self.project_id = tenant_id, project_id
        self._token = settings.Token(token)
        self._renewing = threading.Lock()
        self._channel = grpc.secure_channel(
            settings.target_of(base_url), settings.credentials_of(ca_cert), options=settings.OPTIONS
        )
        self._orchestrator = orchestrator_pb2_grpc.OrchestratorStub(self._channel)
        self._control = control_pb2_grpc.PlanControlStub(self._channel)
        self._artifacts = artifacts_pb2_grpc.ArtifactsStub(self._channel)
        self._privacy = privacy_pb2_grpc.PrivacyStub(self._channel)
        self._notifier = notifier_pb2_grpc.NotifierStub(self._channel)
        self._tools = mcp_pb2_grpc.ToolsStub(self._channel)
        self._identity = identity_pb2_grpc.IdentityStub(self._channel)
        self._tenancy = tenancy_pb2_grpc.TenancyStub(self._channel)
        self._agents = agents_pb2_grpc.AgentsStub(self._channel)
        self._skills = skills_pb2_grpc.SkillsStub(self._channel)
        self._hooks = hooks_pb2_grpc.HooksStub(self._channel)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Reads HAAS_URL, HAAS_TOKEN, HAAS_TENANT, HAAS_PROJECT and HAAS_CACERT. Raises SettingMissing."""
        return cls(**settings.from_env(environ))  # type: ignore[arg-type]

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def token(self) -> str:
        """The token as it is now, renewals included."""
        return self._token.text

    # ── Intents and plans ────────────────────────────────────────────────────────────────────────────────────────────

    def detect_intent(self, text: str) -> orchestrator_pb2.DetectIntentResponse:
        """Says what a text asks for: `.intent`, `.slots`, `.confidence`."""
        return self._call(self._orchestrator.DetectIntent, orchestrator_pb2.DetectIntentRequest(text=text))

    def create_plan(
        self,
        objective: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        graph: graph_pb2.Graph | Mapping[str, Any] | None = None,
        profile_id: str = "",
        budget: Mapping[str, int] | None = None,
        repairs_max: int | None = None,
        request_id: str | None = None,
    ) -> orchestrator_pb2.CreatePlanResponse:
        """Makes a plan: `.plan_id`, `.dag_summary`.

        Args:
            objective: in the user's words.
            inputs: what there is to work with: refs of uploads, or plain values.
            graph: an explicit graph instead of one drafted from the objective.
            profile_id: the project's newest unless given.
            budget: what the plan may use up: {"tokens", "money_micros", "time_s"}, each without a limit unless given.
            repairs_max: how often a part that failed is planned anew; 2 unless given.
            request_id: the same id again gives the same plan; made up unless given.
        """
        request = messages.create_plan(objective, inputs, graph, profile_id, request_id, budget, repairs_max)
        return self._call(self._orchestrator.CreatePlan, request, LONG_S)

    def run_plan(self, plan_id: str, *, request_id: str | None = None) -> orchestrator_pb2.RunPlanResponse:
        """Starts a plan and returns at once."""
        request = orchestrator_pb2.RunPlanRequest(plan_id=plan_id, request_id=request_id or messages.new_request_id())
        return self._call(self._orchestrator.RunPlan, request)

    def cancel_plan(
        self, plan_id: str, reason: str = "", *, request_id: str | None = None
    ) -> orchestrator_pb2.CancelPlanResponse:
        """Stops a plan."""
        request = orchestrator_pb2.CancelPlanRequest(
            plan_id=plan_id, reason=reason, request_id=request_id or messages.new_request_id()
        )
        return self._call(self._orchestrator.CancelPlan, request)

    def plan_status(self, plan_id: str) -> orchestrator_pb2.GetPlanStatusResponse:
        """Reads where a plan stands; it sees every call that returned before."""
        return self._call(self._orchestrator.GetPlanStatus, orchestrator_pb2.GetPlanStatusRequest(plan_id=plan_id))

    def get_plan(self, plan_id: str) -> orchestrator_pb2.GetPlanResponse:
        """Reads a plan and its graph."""
        return self._call(self._orchestrator.GetPlan, orchestrator_pb2.GetPlanRequest(plan_id=plan_id))

    def list_plans(self, page_size: int = 0) -> Iterator[orchestrator_pb2.Plan]:
        """Yields the project's plans, newest first, page by page."""
        request = orchestrator_pb2.ListPlansRequest(page_size=page_size)
        return self._pages(self._orchestrator.ListPlans, request, "plans")

    def list_tasks(self, plan_id: str, page_size: int = 0) -> Iterator[orchestrator_pb2.TaskStatus]:
        """Yields a plan's tasks by id."""
        request = orchestrator_pb2.ListTasksRequest(plan_id=plan_id, page_size=page_size)
        return self._pages(self._orchestrator.ListTasks, request, "tasks")

    def task_dependencies(
        self, plan_id: str, task_id: str, *, upwards: bool = False, page_size: int = 0
    ) -> Iterator[orchestrator_pb2.TaskDependency]:
        """Yields what depends on a task at any distance, or `upwards` what it depends on, by id."""
        request = messages.task_dependencies(plan_id, task_id, upwards, page_size)
        return self._pages(self._orchestrator.GetTaskDependencies, request, "tasks")

    def wait(self, plan_id: str, timeout_s: float = 600.0) -> orchestrator_pb2.GetPlanStatusResponse:
        """Waits until a plan is over and returns where it stands. Raises TimeoutError."""
        status = self.plan_status(plan_id)
        give_up = time.monotonic() + timeout_s
        while status.state not in messages.END_STATES:
            for _ in self._events(plan_id, status.seq, give_up):
                pass
            status = self.plan_status(plan_id)
            if status.state not in messages.END_STATES and time.monotonic() >= give_up:
                raise TimeoutError(f"Plan {plan_id} was not over after {timeout_s:g} s; it goes on.")
        return status

    # ── Inputs and artifacts ─────────────────────────────────────────────────────────────────────────────────────────

    def upload_input(
        self, source: str | os.PathLike[str] | bytes, name: str | None = None, *, lenient: bool = False
    ) -> artifacts_pb2.UploadInputResponse:
        """Keeps a file by its hash; `.ref` is what a plan's inputs name.

        Args:
            source: a path, or the bytes (then with a name).
            name: e.g. "results.csv"; the ending tells what it is.
            lenient: leave out a table's broken rows and count them, instead of refusing it.
        """
        data, called = messages.named_bytes(source, name)
        scope = (self.tenant_id, self.project_id)
        return self._attempt(
            lambda timeout_s, metadata: self._artifacts.UploadInput(
                messages.upload(scope, data, called, lenient), timeout=timeout_s, metadata=metadata
            ),
            LONG_S,
        )

    def get_artifact(self, artifact_id: str, version: int = 0) -> artifacts_pb2.GetArtifactResponse:
        """Reads an artifact: `.artifact` (its facts) and `.content` (the file)."""
        request = artifacts_pb2.GetArtifactRequest(artifact_id=artifact_id, version=version)
        return self._call(self._artifacts.GetArtifact, request)

    def list_artifacts(self, plan_id: str = "", page_size: int = 0) -> Iterator[artifacts_pb2.Artifact]:
        """Yields artifacts by id: the project's, or a plan's."""
        request = artifacts_pb2.ListArtifactsRequest(plan_id=plan_id, page_size=page_size)
        return self._pages(self._artifacts.ListArtifacts, request, "artifacts")

    def verify_artifact(self, artifact_id: str) -> artifacts_pb2.VerifyArtifactResponse:
        """Recomputes every version's hash and signature; `.valid` says whether all hold."""
        return self._call(self._artifacts.VerifyArtifact, artifacts_pb2.VerifyArtifactRequest(artifact_id=artifact_id))

    def erase_data(
        self, subject: str = "", *, everything: bool = False, reason: str = "", request_id: str | None = None
    ) -> privacy_pb2.EraseDataResponse:
        """Erases a person's data in the project, or everybody's, for good; needs the role admin.

        Args:
            subject: the person, as tokens name them.
            everything: everybody's instead.
            reason: why; kept for good, and should name no person.
            request_id: the same id again erases nothing twice; made up unless given.
        """
        request = privacy_pb2.EraseDataRequest(
            subject=subject, everything=everything, reason=reason, request_id=request_id or messages.new_request_id()
        )
        return self._call(self._privacy.EraseData, request, LONG_S)

    def list_subjects(self, page_size: int = 0) -> Iterator[privacy_pb2.DataSubject]:
        """Yields the people whose data the project holds or held, with the ids of their keys."""
        request = privacy_pb2.ListSubjectsRequest(page_size=page_size)
        return self._pages(self._privacy.ListSubjects, request, "subjects")

    def list_artifact_versions(self, artifact_id: str, page_size: int = 0) -> Iterator[artifacts_pb2.Artifact]:
        """Yields an artifact's versions, oldest first, each with the status that it has now."""
        request = artifacts_pb2.ListArtifactVersionsRequest(artifact_id=artifact_id, page_size=page_size)
        return self._pages(self._artifacts.ListArtifactVersions, request, "versions")

    def diff_artifact(
        self, artifact_id: str, version_from: int = 0, version_to: int = 0
    ) -> artifacts_pb2.DiffArtifactResponse:
        """Compares two versions; without them, the newest with the one before it."""
        request = artifacts_pb2.DiffArtifactRequest(
            artifact_id=artifact_id, version_from=version_from, version_to=version_to
        )
        return self._call(self._artifacts.DiffArtifact, request)

    def append_worklog(self, artifact_id: str, text: str, *, request_id: str | None = None) -> artifacts_pb2.Artifact:
        """Appends a dated line to the worklog, as a new version; the same request_id again appends nothing."""
        request = artifacts_pb2.AppendWorklogRequest(
            artifact_id=artifact_id, text=text, request_id=request_id or messages.new_request_id()
        )
        return self._call(self._artifacts.AppendWorklog, request).artifact

    def set_artifact_status(
        self, artifact_id: str, status: str, reason: str = "", *, request_id: str | None = None
    ) -> artifacts_pb2.Artifact:
        """Moves the newest version to "in_progress", "final", "superseded" or "invalid"."""
        request = artifacts_pb2.SetArtifactStatusRequest(
            artifact_id=artifact_id,
            status=messages.artifact_status(status),
            reason=reason,
            request_id=request_id or messages.new_request_id(),
        )
        return self._call(self._artifacts.SetArtifactStatus, request).artifact

    # ── History and inbox ────────────────────────────────────────────────────────────────────────────────────────────

    def list_events(self, plan_id: str = "", from_seq: int = 0) -> Iterator[notifier_pb2.Event]:
        """Yields the history after a seq, up to now."""
        more = True
        while more:
            request = notifier_pb2.ListEventsRequest(plan_id=plan_id, from_seq=from_seq)
            page = self._call(self._notifier.ListEvents, request)
            yield from page.events
            from_seq, more = page.next_seq, page.more

    def watch(self, plan_id: str = "", from_seq: int = 0) -> Iterator[notifier_pb2.Event]:
        """Yields the history after a seq and then what comes, each event once and in order, over lost connections.

        With a plan it ends after the plan's last event; without one it goes on. Raises HaasError when the fleet
        cannot be reached for a minute.
        """
        return self._events(plan_id, from_seq, float("inf"))

    def notifications(self, receiver_id: str = "", page_size: int = 0) -> Iterator[notifier_pb2.Notification]:
        """Yields the envelopes to the token's agents and to its holder, newest first."""
        request = notifier_pb2.ListNotificationsRequest(receiver_id=receiver_id, page_size=page_size)
        return self._pages(self._notifier.ListNotifications, request, "notifications")

    # ── Tools ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def list_tools(self) -> list[mcp_pb2.Tool]:
        """Returns the tools that the project's profile allows."""
        return list(self._call(self._tools.ListTools, mcp_pb2.ListToolsRequest()).tools)

    def invoke_tool(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        profile_id: str = "",
        request_id: str | None = None,
    ) -> mcp_pb2.InvokeToolResponse:
        """Calls a tool; the same request_id again gives the same result and runs nothing."""
        request = messages.invoke_tool(tool, arguments, profile_id, request_id)
        return self._call(self._tools.InvokeTool, request, LONG_S)

    # ── Profiles and tokens ──────────────────────────────────────────────────────────────────────────────────────────

    def put_profile(self, profile_id: str, yaml: str) -> tenancy_pb2.Profile:
        """Publishes a profile; the same content again changes nothing."""
        request = tenancy_pb2.PutProfileRequest(profile_id=profile_id, yaml=yaml)
        return self._call(self._tenancy.PutProfile, request).profile

    def get_profile(self, profile_id: str) -> tenancy_pb2.Profile:
        """Reads the newest version of a profile."""
        return self._call(self._tenancy.GetProfile, tenancy_pb2.GetProfileRequest(profile_id=profile_id)).profile

    def list_profiles(self) -> list[tenancy_pb2.Profile]:
        """Returns the newest version of each of the project's profiles."""
        return list(self._call(self._tenancy.ListProfiles, tenancy_pb2.ListProfilesRequest()).profiles)

    def put_document(self, name: str, text: str) -> tenancy_pb2.PutDocumentResponse:
        """Keeps one of the project's own documents, which texts are drawn from and cite."""
        return self._call(self._tenancy.PutDocument, tenancy_pb2.PutDocumentRequest(name=name, text=text))

    def renew_token(self) -> str:
        """Renews the token and returns the next one; calls do it by themselves. Raises SessionEnded after 12 hours."""
        request = identity_pb2.RenewTokenRequest(tenant_id=self.tenant_id, project_id=self.project_id)
        try:
            answer = self._identity.RenewToken(request, timeout=CALL_S, metadata=self._token.metadata)
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        self._token.replace(answer.token)
        return self._token.text

    def usage(self, first_day: str = "", last_day: str = "") -> tenancy_pb2.GetUsageResponse:
        """Reads what the project used by day, e.g. from "2026-11-01"; the last thirty days unless given."""
        request = tenancy_pb2.GetUsageRequest(first_day=first_day, last_day=last_day)
        return self._call(self._tenancy.GetUsage, request)

    # ── Agents ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def list_agents(self) -> list[agents_pb2.Agent]:
        """Lists who does the project's tasks, with what they did in the last 90 days."""
        return list(self._call(self._agents.ListAgents, agents_pb2.ListAgentsRequest()).agents)

    def register_agent(
        self, agent_id: str, skills: Sequence[str], kind: str = "specialist", running_max: int = 0
    ) -> agents_pb2.Agent:
        """Registers an agent ("specialist" or "leader") for skills, or changes it; `running_max` 0: no limit."""
        request = agents_pb2.RegisterAgentRequest(
            agent_id=agent_id,
            kind=agents_pb2.AgentKind.Value(f"AGENT_KIND_{kind.upper()}"),
            skills=skills,
            running_max=running_max,
        )
        return self._call(self._agents.RegisterAgent, request).agent

    def set_agent_state(self, agent_id: str, *, paused: bool) -> agents_pb2.Agent:
        """Pauses an agent, so that it gets no more tasks, or lets it work again."""
        state = agents_pb2.AGENT_STATE_PAUSED if paused else agents_pb2.AGENT_STATE_ACTIVE
        request = agents_pb2.SetAgentStateRequest(agent_id=agent_id, state=state)
        return self._call(self._agents.SetAgentState, request).agent

    def list_skills(self) -> list[skills_pb2.Skill]:
        """Lists what tasks can be: the fleet's skills and those of remote workers, with what they read and write."""
        return list(self._call(self._skills.ListSkills, skills_pb2.ListSkillsRequest()).skills)

    def remove_skill(self, skill: str) -> None:
        """Removes a remote worker's skill; a worker that registers it again brings it back."""
        self._call(self._skills.RemoveSkill, skills_pb2.RemoveSkillRequest(skill=skill))

    # ── Hooks ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def put_hook(
        self, hook_id: str, signal: str, plan_path: str = "", value_path: str = "", *, new_secret: bool = False
    ) -> hooks_pb2.PutHookResponse:
        """Makes a hook, or changes it: its webhooks (haas_client.webhooks) signal plans. `secret` is told this once."""
        request = hooks_pb2.PutHookRequest(
            hook_id=hook_id, signal=signal, plan_path=plan_path, value_path=value_path, new_secret=new_secret
        )
        return self._call(self._hooks.PutHook, request)

    def list_hooks(self) -> list[hooks_pb2.Hook]:
        """Lists the project's hooks, without their secrets."""
        return list(self._call(self._hooks.ListHooks, hooks_pb2.ListHooksRequest()).hooks)

    def remove_hook(self, hook_id: str) -> None:
        """Removes a hook: its webhooks are no longer taken."""
        self._call(self._hooks.RemoveHook, hooks_pb2.RemoveHookRequest(hook_id=hook_id))

    # ── How calls are made ───────────────────────────────────────────────────────────────────────────────────────────

    def _fresh(self) -> tuple[tuple[str, str], ...]:
        """Returns the metadata that carries a token with some life left."""
        if self._token.due() and self._renewing.acquire(blocking=False):
            try:
                self.renew_token()
            except HaasError:
                self._token.postpone()  # the token at hand is still good; the call itself tells what is wrong
            finally:
                self._renewing.release()
        return self._token.metadata

    def _scoped(self, request: Any) -> Any:
        request.tenant_id = request.tenant_id or self.tenant_id
        request.project_id = request.project_id or self.project_id
        return request

    def _call(self, method: Any, request: Any, timeout_s: float = CALL_S) -> Any:
        scoped = self._scoped(request)
        return self._attempt(lambda left_s, metadata: method(scoped, timeout=left_s, metadata=metadata), timeout_s)

    def _attempt(self, call: Callable[[float, tuple[tuple[str, str], ...]], Any], timeout_s: float) -> Any:
        attempts = Attempts(timeout_s)
        while True:
            try:
                return call(attempts.left_s(), self._fresh())
            except grpc.RpcError as error:
                failure = from_rpc(error)
                pause_s = attempts.pause_s(failure)
                if pause_s is None:
                    raise failure from error
            time.sleep(pause_s)

    def _pages(self, method: Any, request: Any, field: str) -> Iterator[Any]:
        while True:
            page = self._call(method, request)
            yield from getattr(page, field)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _events(self, plan_id: str, after: int, give_up: float) -> Iterator[notifier_pb2.Event]:
        resumes = Resumes(PATIENCE_S)
        while time.monotonic() < give_up:
            request = self._scoped(notifier_pb2.StreamEventsRequest(plan_id=plan_id, from_seq=after))
            timeout_s = min(STREAM_S, max(0.001, give_up - time.monotonic()))
            call = self._notifier.StreamEvents(request, timeout=timeout_s, metadata=self._fresh())
            try:
                for answer in call:
                    resumes.progress()
                    if answer.event.seq > after:
                        after = answer.event.seq
                        yield answer.event
                if plan_id:
                    return
                pause_s: float | None = 0.0
            except grpc.RpcError as error:
                failure = from_rpc(error)
                pause_s = resumes.pause_s(failure, answered=bool(call.initial_metadata()))
                if pause_s is None:
                    raise failure from error
            finally:
                call.cancel()
            time.sleep(pause_s)
