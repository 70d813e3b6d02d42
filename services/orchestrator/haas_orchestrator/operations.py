"""Intents become briefs and plans; plans are run and read (plan §1, §5)."""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from haas.planner.v1 import graph_pb2, planner_pb2, planner_pb2_grpc
from haas_common import clock, errors
from haas_common.artifacts.records import Placing
from haas_common.artifacts.store import ArtifactStore
from haas_common.calls import Call
from haas_common.channels import Channels, with_token
from haas_common.db import Database, Scope, Tx
from haas_common.doorbell import Doorbell
from haas_common.eventstore import NewEvent, append
from haas_common.ids import new_id
from haas_common.models import Model
from haas_common.profile_store import KeptProfile, ProfileStore, read_documents
from haas_common.profiles import Profile
from haas_orchestrator import domain, store
from haas_orchestrator.briefs import Brief, make_brief
from haas_orchestrator.domain import Given
from haas_orchestrator.intents import Detected, detect

BRIEF_SIGNER = "prompt_engineer"
_CREATE = "CreatePlan"
_PLANNER_S = 15.0
#: How often a part that failed is planned anew, unless the request says otherwise.
REPAIRS_MAX = 2
_AUDIT_BYTES_MAX = 16 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """A request for a plan."""

    objective: str
    inputs: Mapping[str, Any]
    graph: graph_pb2.Graph | None
    request_id: str
    profile_id: str
    budget: graph_pb2.Budget | None = None
    repairs_max: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Created:
    """The plan that was made."""

    plan_id: str
    brief_artifact_id: str
    intent: str
    graph: graph_pb2.Graph


def malformed(error: domain.Malformed) -> errors.FieldInvalid:
    """Returns the typed error of a field that breaks a rule."""
    return errors.FieldInvalid(f"{error.field}: {error.rule}.", field=error.field, rule=error.rule)


class Operations:
    """The orchestrator's use-cases."""

    def __init__(
        self,
        database: Database,
        doorbell: Doorbell,
        artifacts: ArtifactStore,
        channels: Channels,
        model_of: Callable[[Profile], Model],
    ) -> None:
        self._database = database
        self._doorbell = doorbell
        self._artifacts = artifacts
        self._channels = channels
        self._model_of = model_of
        self._profiles = ProfileStore()

    def _planner(self) -> planner_pb2_grpc.PlannerStub:
        return planner_pb2_grpc.PlannerStub(self._channels.channel("planner"))

    async def detect_intent(self, scope: Scope, text: str) -> Detected:
        """Says what a text asks for, by the project's newest profile."""
        async with self._database.tenant_tx(scope) as tx:
            kept = await self._profiles.newest(tx, scope)
        return await detect(text, kept.profile, self._model_of(kept.profile), clock.utc_now())

    async def create_plan(self, call: Call, wanted: Wanted) -> Created:
        """Writes a brief and makes a validated plan of it. What is refused leaves nothing behind."""
        scope = call.scope
        try:
            given = domain.given_inputs(wanted.inputs)
        except domain.Malformed as error:
            raise malformed(error) from None
        request_id = wanted.request_id or new_id("rq")
        plan_id = domain.plan_id_of(scope.tenant_id, scope.project_id, request_id)
        graph_bytes = wanted.graph.SerializeToString(deterministic=True).hex() if wanted.graph else ""
        mark = domain.fingerprint(
            wanted.objective, [(g.name, g.ref) for g in given], graph_bytes, wanted.profile_id, *_limits(wanted)
        )
        kept = await self._earlier(scope, request_id, mark)
        if kept is None:
            kept = await self._prepare(call, wanted, given, plan_id, request_id, mark)
        compiled = await self._compile(call, kept)
        return Created(plan_id, kept["brief_artifact_id"], kept["intent"], compiled.graph)

    async def _earlier(self, scope: Scope, request_id: str, mark: str) -> Mapping[str, Any] | None:
        async with self._database.tenant_tx(scope) as tx:
            row = await store.get_request(tx, scope, _CREATE, request_id)
        if row is None:
            return None
        if "erased" in row["result"]:
            raise errors.DataErased("This request's data was erased.", resource="request", id=request_id)
        if row["fingerprint"] != mark:
            sentence = "This request_id was used before, with another content."
            raise errors.RequestIdReused(sentence, request_id=request_id)
        return dict(row["result"])

    async def _prepare(
        self, call: Call, wanted: Wanted, given: list[Given], plan_id: str, request_id: str, mark: str
    ) -> Mapping[str, Any]:
        """Detects, briefs, drafts and checks; then keeps intent, brief and request in one transaction."""
        scope = call.scope
        async with self._database.tenant_tx(scope) as tx:
            profile = await self._profiles.newest(tx, scope, wanted.profile_id)
            await self._check_uploads(tx, scope, given)
            documents = await read_documents(tx, scope, self._artifacts.blobs)
        model, now = self._model_of(profile.profile), clock.utc_now()
        detected = await detect(wanted.objective, profile.profile, model, now)
        names = {g.name: g.ref for g in given}
        brief = await make_brief(wanted.objective, detected, profile.profile, names, documents, model, now)
        facts = _facts(wanted, given, plan_id, request_id, profile, detected, brief)
        graph = (await self._compile(call, facts, validate_only=True)).graph
        facts["graph"] = graph.SerializeToString(deterministic=True).hex()
        audit = await self._kept_audit(scope, brief, plan_id)
        async with self._database.tenant_tx(scope) as tx:
            await append(tx, _events(call, facts, detected, audit))
            placing = Placing(
                facts["brief_artifact_id"],
                BRIEF_SIGNER,
                plan_id=plan_id,
                causation_id=request_id,
                trace_id=call.trace_id,
            )
            await self._artifacts.write(tx, scope, brief.draft, placing, now)
            await store.keep_request(tx, scope, _CREATE, request_id, mark, facts)
        self._doorbell.ring("events")
        return facts

    async def _kept_audit(self, scope: Scope, brief: Brief, plan_id: str) -> Mapping[str, Any]:
        """The reasoning behind a brief, for its event; a long one lies in the blob store (design 7)."""
        # With the plan's id no other plan's audit has these bytes: erasing one leaves the other.
        text = json.dumps({**brief.audit, "plan_id": plan_id}, ensure_ascii=False, default=str)
        if len(text.encode()) <= _AUDIT_BYTES_MAX:
            return {"audit": json.loads(text)}
        return {"audit_ref": await asyncio.to_thread(self._artifacts.blobs.put, scope, text.encode())}

    async def _check_uploads(self, tx: Tx, scope: Scope, given: list[Given]) -> None:
        refs = [g.ref for g in given if g.uploaded]
        known = await store.known_inputs(tx, scope, refs) if refs else set()
        for value in given:
            if value.uploaded and value.ref not in known:
                raise errors.ResourceNotFound(
                    f"inputs.{value.name}: there is no such upload in this project.", resource="input", id=value.ref
                )

    async def _compile(
        self, call: Call, facts: Mapping[str, Any], *, validate_only: bool = False
    ) -> planner_pb2.CompilePlanResponse:
        graph = graph_pb2.Graph.FromString(bytes.fromhex(facts["graph"])) if facts["graph"] else None
        request = planner_pb2.CompilePlanRequest(
            tenant_id=call.scope.tenant_id,
            project_id=call.scope.project_id,
            plan_id=facts["plan_id"],
            request_id=facts["request_id"],
            objective=facts["objective"],
            language=facts["language"],
            intent=facts["intent"],
            slots=facts["slots"],
            brief_artifact_id=facts["brief_artifact_id"],
            goals=facts["goals"],
            inputs=[graph_pb2.Input(name=n, type=t, ref=r) for n, t, r in facts["inputs"]],
            graph=graph,
            profile_id=facts["profile_id"],
            profile_version=facts["profile_version"],
            validate_only=validate_only,
            budget=graph_pb2.Budget(**facts.get("budget", {})),
            # A request of before knew no repairs.
            repairs_max=facts.get("repairs_max", 0),
        )
        return await self._planner().CompilePlan(
            request, metadata=with_token(call), timeout=_PLANNER_S, wait_for_ready=True
        )

    async def command_plan(
        self, call: Call, plan_id: str, command: planner_pb2.PlanCommand, request_id: str, reason: str = ""
    ) -> graph_pb2.PlanState:
        """Runs or cancels a plan; returns its state after it."""
        request = planner_pb2.CommandPlanRequest(
            tenant_id=call.scope.tenant_id,
            project_id=call.scope.project_id,
            plan_id=plan_id,
            request_id=request_id or new_id("rq"),
            command=command,
            reason=reason,
        )
        response = await self._planner().CommandPlan(
            request, metadata=with_token(call), timeout=_PLANNER_S, wait_for_ready=True
        )
        return response.state


def _limits(wanted: Wanted) -> list[Any]:
    """What a request limits, for its fingerprint; nothing for one that limits nothing."""
    budget = _budget(wanted)
    return [budget, wanted.repairs_max] if budget or wanted.repairs_max is not None else []


def _budget(wanted: Wanted) -> dict[str, int]:
    return {field.name: value for field, value in wanted.budget.ListFields()} if wanted.budget else {}


def _facts(
    wanted: Wanted,
    given: list[Given],
    plan_id: str,
    request_id: str,
    kept: KeptProfile,
    detected: Detected,
    brief: Brief,
) -> dict[str, Any]:
    """What the plan is made from, kept with the request so that a retry makes the very same plan."""
    brief_id = domain.brief_id_of(plan_id)
    inputs = [["brief", "doc.brief", brief_id]]
    inputs += [[g.name, kept.profile.input_type(g.name, g.ref), g.ref] for g in given]
    return {
        "plan_id": plan_id,
        "request_id": request_id,
        "objective": wanted.objective,
        "language": detected.language,
        "intent": detected.intent,
        "slots": dict(brief.slots),
        "goals": list(brief.goals),
        "brief_artifact_id": brief_id,
        "inputs": inputs,
        "graph": wanted.graph.SerializeToString(deterministic=True).hex() if wanted.graph else "",
        "profile_id": kept.profile.profile_id,
        "profile_version": kept.version,
        "budget": _budget(wanted),
        "repairs_max": REPAIRS_MAX if wanted.repairs_max is None else wanted.repairs_max,
    }


def _events(call: Call, facts: Mapping[str, Any], detected: Detected, audit: Mapping[str, Any]) -> list[NewEvent]:
    """The intent, and the brief with the reasoning that led to it (kept for the audit, not in the artifact)."""
    common = {
        "scope": call.scope,
        "plan_id": facts["plan_id"],
        "causation_id": facts["request_id"],
        "trace_id": call.trace_id,
        "subject": call.actor,
    }
    intent = {
        "text": facts["objective"][:4000],
        "intent": detected.intent,
        "slots": dict(detected.slots),
        "confidence": round(detected.confidence, 4),
        "language": detected.language,
        "engine": detected.engine,
    }
    return [
        NewEvent(
            stream=f"intent/{facts['plan_id']}", type="IntentDetected", payload=intent, actor=call.actor, **common
        ),
        NewEvent(
            stream=f"brief/{facts['plan_id']}",
            type="BriefCreated",
            payload={"artifact_id": facts["brief_artifact_id"], "goals": facts["goals"], **audit},
            actor=BRIEF_SIGNER,
            **common,
        ),
    ]
