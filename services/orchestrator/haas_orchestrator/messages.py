"""Rows of the read models to messages."""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from haas.orchestrator.v1 import artifacts_pb2, orchestrator_pb2, privacy_pb2
from haas.planner.v1 import graph_pb2
from haas_common.artifacts.records import ArtifactRecord


def timestamp(at: datetime.datetime) -> Timestamp:
    """Returns a time as the message."""
    message = Timestamp()
    message.FromDatetime(at.astimezone(datetime.UTC))
    return message


def plan_state(state: str) -> graph_pb2.PlanState:
    """Returns a plan's state as the enum's value."""
    return graph_pb2.PlanState.Value(f"PLAN_STATE_{state.upper()}")


def counts(total: int, by_state: Mapping[str, int]) -> orchestrator_pb2.TaskCounts:
    """Returns how many tasks stand where."""
    return orchestrator_pb2.TaskCounts(
        total=total,
        planned=by_state.get("planned", 0),
        ready=by_state.get("ready", 0),
        running=by_state.get("running", 0) + by_state.get("expanded", 0),
        completed=by_state.get("completed", 0),
        failed=by_state.get("failed", 0),
        cancelled=by_state.get("cancelled", 0),
        waiting=by_state.get("waiting", 0),
        skipped=by_state.get("skipped", 0),
        superseded=by_state.get("superseded", 0),
    )


def plan(row: Mapping[str, Any]) -> orchestrator_pb2.Plan:
    """Returns a plan."""
    same = ("plan_id", "objective", "intent", "language", "brief_artifact_id", "profile_id", "profile_version")
    return orchestrator_pb2.Plan(
        **{name: row[name] for name in same},
        state=plan_state(row["state"]),
        revision=row["revision"],
        failure=row["failure"],
        tasks=counts(row["tasks_total"], row["tasks_by_state"]),
        create_time=timestamp(row["created_at"]),
        update_time=timestamp(row["updated_at"]),
    )


def status(row: Mapping[str, Any], artifact_ids: Sequence[str]) -> orchestrator_pb2.GetPlanStatusResponse:
    """Returns where a plan stands."""
    return orchestrator_pb2.GetPlanStatusResponse(
        plan_id=row["plan_id"],
        state=plan_state(row["state"]),
        tasks=counts(row["tasks_total"], row["tasks_by_state"]),
        failure=row["failure"],
        seq=row["last_seq"],
        update_time=timestamp(row["updated_at"]),
        artifact_ids=artifact_ids,
    )


def task(row: Mapping[str, Any]) -> orchestrator_pb2.TaskStatus:
    """Returns a task as it stands."""
    same = ("task_id", "skill", "title", "owner_agent_id", "attempt", "depends_on", "artifact_ids", "failure")
    return orchestrator_pb2.TaskStatus(
        **{name: row[name] for name in same},
        kind=graph_pb2.TaskKind.Value(f"TASK_KIND_{row['kind'].upper()}"),
        state=graph_pb2.TaskState.Value(f"TASK_STATE_{row['status'].upper()}"),
        update_time=timestamp(row["updated_at"]),
    )


def dependency(row: Mapping[str, Any]) -> orchestrator_pb2.TaskDependency:
    """Returns a task that another one's edges lead to."""
    same = ("task_id", "skill", "title", "owner_agent_id")
    return orchestrator_pb2.TaskDependency(
        **{name: row[name] for name in same},
        kind=graph_pb2.TaskKind.Value(f"TASK_KIND_{row['kind'].upper()}"),
        state=graph_pb2.TaskState.Value(f"TASK_STATE_{row['status'].upper()}"),
    )


def graph(tasks: Sequence[Mapping[str, Any]], inputs: Sequence[Sequence[str]]) -> graph_pb2.Graph:
    """Returns a plan's graph from the contracts that its history holds."""
    return graph_pb2.Graph(
        tasks=[_contract(kept) for kept in tasks],
        inputs=[graph_pb2.Input(name=name, type=type_, ref=ref) for name, type_, ref in inputs],
    )


def _contract(kept: Mapping[str, Any]) -> graph_pb2.Task:
    same = ("task_id", "skill", "title", "owner_agent_id", "attempts_max", "attempt_limit_s")
    schemas = kept.get("schemas", {})
    message = graph_pb2.Task(
        **{name: kept[name] for name in same},
        kind=graph_pb2.TaskKind.Value(f"TASK_KIND_{kept['kind'].upper()}"),
        reads=[_slot(schemas, name, type_, source) for name, type_, source in kept["reads"]],
        writes=[_slot(schemas, name, type_) for name, type_ in kept["writes"]],
        params_json=_text(kept["params"]),
        control_json=_text(kept.get("control")),
    )
    if kept.get("policy"):
        message.policy.CopyFrom(_policy(kept["policy"]))
    return message


def _policy(kept: Mapping[str, Any]) -> graph_pb2.Policy:
    """Returns a policy; the history holds what differs from the default."""
    plain = {name: value for name, value in kept.items() if name not in ("on_failure", "compensation")}
    message = graph_pb2.Policy(**plain)
    if "on_failure" in kept:
        message.on_failure = graph_pb2.OnFailure.Value(f"ON_FAILURE_{kept['on_failure'].upper()}")
    if undo := kept.get("compensation"):
        message.compensation.kind = graph_pb2.TaskKind.Value(f"TASK_KIND_{undo['kind'].upper()}")
        message.compensation.skill = undo["skill"]
        message.compensation.params_json = _text(undo.get("params"))
    return message


def _slot(schemas: Mapping[str, Any], name: str, type_: str, from_task: str = "") -> graph_pb2.Slot:
    schema = _text(schemas[name]) if name in schemas else ""
    return graph_pb2.Slot(name=name, type=type_, from_task=from_task, schema_json=schema)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if value or isinstance(value, bool) else ""


def summary(whole: graph_pb2.Graph) -> str:
    """Returns the DAG in a line a task, for people."""
    lines = []
    for one in whole.tasks:
        reads = ", ".join(f"{s.name} ({s.from_task})" if s.from_task else s.name for s in one.reads)
        writes = ", ".join(s.name for s in one.writes)
        lines.append(f"{one.task_id} {one.skill}: {reads or '-'} -> {writes}  [{one.title}]")
    return "\n".join(lines)


def artifact(record: ArtifactRecord) -> artifacts_pb2.Artifact:
    """Returns an artifact's facts."""
    same = (
        "artifact_id", "path", "version", "hash_prev", "hash_curr", "signer", "signature", "type", "plan_id", "task_id",
        "status", "size_bytes",
    )  # fmt: skip
    return artifacts_pb2.Artifact(
        **{name: getattr(record, name) for name in same}, create_time=timestamp(record.updated_at)
    )


def data_subject(row: Mapping[str, Any]) -> privacy_pb2.DataSubject:
    """Returns a person and the keys that the project's data about them is sealed under."""
    subject = privacy_pb2.DataSubject(subject=row["subject"])
    for kept in row["keys"]:
        key = subject.keys.add(key_id=kept["key_id"])
        key.create_time.FromJsonString(kept["created_at"])
        if kept["destroyed_at"]:
            key.destroy_time.FromJsonString(kept["destroyed_at"])
    return subject
