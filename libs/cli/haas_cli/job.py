"""The main job as a client runs it: upload, intent, plan, run, follow, verify. Everything through the edge."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
from google.api import httpbody_pb2
from google.protobuf import json_format

from haas.notifier.v1 import notifier_pb2, notifier_pb2_grpc
from haas.orchestrator.v1 import artifacts_pb2, artifacts_pb2_grpc, orchestrator_pb2, orchestrator_pb2_grpc
from haas.planner.v1 import graph_pb2
from haas_cli.errors import UsageError
from haas_cli.remote import CALL_S

CREATE_S = 30.0
#: How long the whole job may take before the command gives up following it; the plan itself goes on.
JOB_S = 300.0
_PIECE_BYTES = 256 * 1024
_ENDS = ("PlanCompleted", "PlanFailed", "PlanCancelled")


@dataclass(slots=True)
class Outcome:
    """What came of a job."""

    plan_id: str
    intent: str
    dag_summary: str
    state: str = ""
    failure: str = ""
    seconds: float = 0.0
    events: int = 0
    artifacts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Whether every artifact's chain holds."""
        return bool(self.artifacts) and all(a["valid"] for a in self.artifacts)


class Job:
    """A client of one project."""

    def __init__(self, opened: grpc.Channel, scope: Mapping[str, str], metadata: tuple[tuple[str, str], ...]) -> None:
        self._plans = orchestrator_pb2_grpc.OrchestratorStub(opened)
        self._artifacts = artifacts_pb2_grpc.ArtifactsStub(opened)
        self._events = notifier_pb2_grpc.NotifierStub(opened)
        self._scope = dict(scope)
        self._metadata = metadata

    def upload(self, path: Path, *, lenient: bool = False) -> artifacts_pb2.UploadInputResponse:
        """Uploads a file in pieces.

        Raises:
            UsageError: the file cannot be read.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror}).") from error

        def pieces() -> Iterator[artifacts_pb2.UploadInputRequest]:
            for start in range(0, max(len(data), 1), _PIECE_BYTES):
                piece = httpbody_pb2.HttpBody(data=data[start : start + _PIECE_BYTES])
                yield artifacts_pb2.UploadInputRequest(**self._scope, name=path.name, lenient=lenient, file=piece)

        return self._artifacts.UploadInput(pieces(), timeout=CREATE_S, metadata=self._metadata)

    def run(self, objective: str, inputs: Mapping[str, Any], hear: Callable[[notifier_pb2.Event], None]) -> Outcome:
        """Creates and runs a plan, tells each event, verifies every artifact."""
        began = monotonic()
        request = orchestrator_pb2.CreatePlanRequest(**self._scope, objective=objective)
        json_format.ParseDict(dict(inputs), request.inputs)
        made = self._plans.CreatePlan(request, timeout=CREATE_S, metadata=self._metadata)
        outcome = Outcome(made.plan_id, made.intent, made.dag_summary)
        start = orchestrator_pb2.RunPlanRequest(**self._scope, plan_id=made.plan_id)
        self._plans.RunPlan(start, timeout=CALL_S, metadata=self._metadata)
        for event in self.follow(made.plan_id):
            outcome.events += 1
            hear(event)
        asked = orchestrator_pb2.GetPlanStatusRequest(**self._scope, plan_id=made.plan_id)
        status = self._plans.GetPlanStatus(asked, timeout=CALL_S, metadata=self._metadata)
        outcome.state = graph_pb2.PlanState.Name(status.state).removeprefix("PLAN_STATE_").lower()
        outcome.failure = status.failure
        outcome.artifacts = [self.verify(artifact_id) for artifact_id in status.artifact_ids]
        outcome.seconds = monotonic() - began
        return outcome

    def follow(self, plan_id: str) -> Iterator[notifier_pb2.Event]:
        """Yields a plan's events from its first to its last."""
        request = notifier_pb2.StreamEventsRequest(**self._scope, plan_id=plan_id)
        for response in self._events.StreamEvents(request, timeout=JOB_S, metadata=self._metadata):
            yield response.event
            if response.event.type in _ENDS:
                return

    def verify(self, artifact_id: str) -> dict[str, Any]:
        """Reads an artifact and has its chain recomputed."""
        asked = artifacts_pb2.GetArtifactRequest(**self._scope, artifact_id=artifact_id)
        found = self._artifacts.GetArtifact(asked, timeout=CALL_S, metadata=self._metadata)
        check = artifacts_pb2.VerifyArtifactRequest(**self._scope, artifact_id=artifact_id)
        verdict = self._artifacts.VerifyArtifact(check, timeout=CALL_S, metadata=self._metadata)
        return {
            "artifact_id": artifact_id,
            "path": found.artifact.path,
            "type": found.artifact.type,
            "task_id": found.artifact.task_id,
            "hash_curr": found.artifact.hash_curr,
            "valid": verdict.valid,
            "problem": verdict.problem,
            "content": found.content,
        }
