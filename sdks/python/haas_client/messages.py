"""Requests of the contract from plain values, the same for both clients."""

import os
import pathlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from google.api import httpbody_pb2
from google.protobuf import json_format

from haas.mcp.v1 import mcp_pb2
from haas.orchestrator.v1 import artifacts_pb2, orchestrator_pb2
from haas.planner.v1 import graph_pb2

CHUNK_BYTES = 256 * 1024
END_STATES = frozenset({graph_pb2.PLAN_STATE_COMPLETED, graph_pb2.PLAN_STATE_FAILED, graph_pb2.PLAN_STATE_CANCELLED})
END_EVENTS = frozenset({"PlanCompleted", "PlanFailed", "PlanCancelled"})


def new_request_id() -> str:
    """Returns the id that makes a call idempotent: made once, kept over retries."""
    return uuid.uuid4().hex


def create_plan(
    objective: str,
    inputs: Mapping[str, Any] | None,
    graph: graph_pb2.Graph | Mapping[str, Any] | None,
    profile_id: str,
    request_id: str | None,
    limit: Mapping[str, int] | None = None,
    repairs_max: int | None = None,
) -> orchestrator_pb2.CreatePlanRequest:
    """See HaasClient.create_plan."""
    request = orchestrator_pb2.CreatePlanRequest(
        objective=objective,
        profile_id=profile_id,
        request_id=request_id or new_request_id(),
        budget=budget(limit),
        repairs_max=repairs_max,
    )
    if inputs:
        request.inputs.update(dict(inputs))
    put_graph(graph, request.graph)
    return request


def put_graph(graph: graph_pb2.Graph | Mapping[str, Any] | None, into: graph_pb2.Graph) -> None:
    """Puts a graph, the message or its JSON, into a request."""
    if isinstance(graph, graph_pb2.Graph):
        into.CopyFrom(graph)
    elif graph is not None:
        into.SetInParent()
        json_format.ParseDict(dict(graph), into)


def budget(limits: Mapping[str, int] | None) -> graph_pb2.Budget | None:
    """Returns {"tokens", "money_micros", "time_s"} as a message. Raises ValueError for another name."""
    return graph_pb2.Budget(**limits) if limits is not None else None


def task_dependencies(
    plan_id: str, task_id: str, upwards: bool, page_size: int
) -> orchestrator_pb2.GetTaskDependenciesRequest:
    """See HaasClient.task_dependencies."""
    way = orchestrator_pb2.DEPENDENCY_DIRECTION_DESCENDANTS
    if upwards:
        way = orchestrator_pb2.DEPENDENCY_DIRECTION_ANCESTORS
    return orchestrator_pb2.GetTaskDependenciesRequest(
        plan_id=plan_id, task_id=task_id, direction=way, page_size=page_size
    )


def artifact_status(name: str) -> artifacts_pb2.ArtifactStatus:
    """Returns a status by its name, e.g. "final". Raises ValueError for what is none."""
    return artifacts_pb2.ArtifactStatus.Value(f"ARTIFACT_STATUS_{name.upper()}")


def invoke_tool(
    tool: str, arguments: Mapping[str, Any] | None, profile_id: str, request_id: str | None
) -> mcp_pb2.InvokeToolRequest:
    """See HaasClient.invoke_tool."""
    request = mcp_pb2.InvokeToolRequest(tool=tool, profile_id=profile_id, request_id=request_id or new_request_id())
    json_format.ParseDict(dict(arguments or {}), request.arguments)
    return request


def named_bytes(source: str | os.PathLike[str] | bytes, name: str | None) -> tuple[bytes, str]:
    """Returns an input's bytes and its name. Raises OSError, and ValueError for bytes without a name."""
    if isinstance(source, bytes):
        if not name:
            raise ValueError("bytes need a name, e.g. results.csv: its ending tells what they are.")
        return source, name
    path = pathlib.Path(source)
    return path.read_bytes(), name or path.name


def upload(scope: tuple[str, str], data: bytes, name: str, lenient: bool) -> Iterator[artifacts_pb2.UploadInputRequest]:
    """Yields an input piece by piece; the first carries the facts."""
    facts: dict[str, Any] = {"tenant_id": scope[0], "project_id": scope[1], "name": name, "lenient": lenient}
    for at in range(0, max(1, len(data)), CHUNK_BYTES):
        body = httpbody_pb2.HttpBody(data=data[at : at + CHUNK_BYTES])
        yield artifacts_pb2.UploadInputRequest(file=body, **facts)
        facts = {"tenant_id": scope[0], "project_id": scope[1]}
