"""The workers' contract: messages to domain values and back."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf import timestamp_pb2

from haas.planner.v1 import agents_pb2, skills_pb2, worker_pb2
from haas_common.calls import Call
from haas_common.db import Scope
from haas_common.errors import ContractBroken, FieldInvalid, HaasError, WorkerLost
from haas_common.strings import nul_in
from haas_planner import schemas
from haas_planner.remote.book import Ticket
from haas_planner.remote.domain import Contract, ContractSlot, Given, Job, Registration, Written
from haas_planner.remote.pool import Said
from haas_planner.skills.spec import SkillSpec

#: The service whose processes pass their workers' places on to each other.
PEER = "planner"


def registration_of(request: worker_pb2.WorkRequest, call: Call) -> Registration:
    """Returns who a worker says it is.

    Raises:
        FieldInvalid: the first message registers nobody, names a skill or a value twice, or has a schema that is none.
    """
    if not request.HasField("registration"):
        raise FieldInvalid("The first message registers the worker.", field="registration", rule="required")
    given = request.registration
    contracts = tuple(_contract(skill, given.agent_id) for skill in given.skills)
    _check_once([contract.name for contract in contracts], "registration.skills")
    relayed = call.peer == PEER
    if ("@" in given.worker_id) != relayed:
        raise FieldInvalid("“@” is for planners.", field="registration.worker_id", rule="peer")
    return Registration(
        call.scope, given.worker_id, given.agent_id, call.actor, contracts, tuple(given.tokens), relayed=relayed
    )


def _contract(skill: worker_pb2.WorkerSkill, agent_id: str) -> Contract:
    reads, writes = (tuple(_slot(slot, skill.name) for slot in slots) for slots in (skill.reads, skill.writes))
    _check_once([slot.name for slot in (*reads, *writes)], f"registration.skills.{skill.name}")
    for slot in writes:
        if slot.type[-1] in "*?+":
            raise FieldInvalid(f"{skill.name}.{slot.name}: what is written has one type.", field=slot.name, rule="type")
    return Contract(skill.name, agent_id, skill.title, reads, writes)


def _slot(slot: worker_pb2.WorkerSlot, skill: str) -> ContractSlot:
    if not slot.schema_json:
        return ContractSlot(slot.name, slot.type)
    try:
        schema = json.loads(slot.schema_json)
        schemas.check_schema(schema)
    except (ValueError, RecursionError) as error:
        text = f"{skill}.{slot.name}: {str(error)[:200]}."
        raise FieldInvalid(text, field=f"{skill}.{slot.name}", rule="schema") from error
    return ContractSlot(slot.name, slot.type, schema)


def _check_once(names: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FieldInvalid(f"{where}: “{name}” stands twice.", field=where, rule="unique")
        seen.add(name)


def written_of(outputs: Mapping[str, worker_pb2.WorkerOutput]) -> dict[str, Written]:
    """Returns results. Raises ContractBroken for data that is no JSON."""
    found = {}
    for name, output in outputs.items():
        try:
            data = json.loads(output.data_json, parse_constant=_refuse) if output.data_json else {}
        except (ValueError, RecursionError):
            raise ContractBroken(f"{name}: the data is no JSON.", field=name, rule="json") from None
        if nul_in(data):
            raise ContractBroken(f"{name}: the data holds a NUL.", field=name, rule="json")
        found[name] = Written(output.title, output.body_md, data)
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def response_of(said: Said) -> worker_pb2.WorkResponse:
    """Returns what has gathered as one message."""
    refusals = [(token, worker_pb2.WORKER_REFUSAL_REASON_SUPERSEDED) for token in said.superseded]
    refusals += [(token, worker_pb2.WORKER_REFUSAL_REASON_CONTRACT_BROKEN) for token in said.broken]
    return worker_pb2.WorkResponse(
        tasks=[_task(ticket) for ticket in said.tasks],
        cancelled=said.cancelled,
        accepted=said.accepted,
        refused=[worker_pb2.WorkerRefusal(token=token, reason=reason) for token, reason in refusals],
    )


def registered(worker_id: str, heartbeat_s: float, expires_at: float) -> worker_pb2.WorkResponse:
    """Returns the answer to a registration."""
    expire_time = timestamp_pb2.Timestamp(seconds=int(expires_at))
    return worker_pb2.WorkResponse(
        registered=worker_pb2.WorkerRegistered(worker_id=worker_id, heartbeat_s=heartbeat_s, expire_time=expire_time)
    )


def _task(ticket: Ticket) -> worker_pb2.WorkerTask:
    job = ticket.job
    return worker_pb2.WorkerTask(
        token=ticket.token, plan_id=job.plan_id, task_id=job.task_id, attempt=job.attempt, skill=job.skill,
        objective=job.objective, language=job.language, heartbeat_s=ticket.heartbeat_s, writes=job.writes,
        params_json=json.dumps(dict(job.params), ensure_ascii=False, separators=(",", ":")),
        deadline=timestamp_pb2.Timestamp(seconds=int(job.deadline.timestamp())),
        inputs={name: _input(given) for name, given in job.inputs.items()},
    )  # fmt: skip


def _input(given: Given) -> worker_pb2.WorkerInput:
    return worker_pb2.WorkerInput(
        type=given.type, artifact_id=given.artifact_id, data_json=given.data_json, body_md=given.body_md
    )


# ── Between planners ─────────────────────────────────────────────────────────────────────────────────────────────────


def registration_to(registration: Registration, instance: str) -> worker_pb2.WorkerRegistration:
    """Returns a worker as this planner offers it to another one."""
    return worker_pb2.WorkerRegistration(
        worker_id=f"{registration.worker_id}@{instance}",
        agent_id=registration.agent_id,
        skills=[
            worker_pb2.WorkerSkill(
                name=contract.name,
                title=contract.title,
                reads=[worker_pb2.WorkerSlot(name=slot.name, type=slot.type) for slot in contract.reads],
                writes=[worker_pb2.WorkerSlot(name=slot.name, type=slot.type) for slot in contract.writes],
            )
            for contract in registration.contracts
        ],
    )


def job_of(task: worker_pb2.WorkerTask, scope: Scope) -> Job:
    """Returns another planner's task. Its epoch stands first in its token."""
    return Job(
        scope, task.plan_id, task.task_id, task.attempt, int(task.token.partition(".")[0]), task.skill, task.objective,
        task.language, json.loads(task.params_json),
        {n: Given(i.type, i.data_json, i.artifact_id, i.body_md) for n, i in task.inputs.items()},
        dict(task.writes), task.deadline.ToDatetime(tzinfo=UTC), task.heartbeat_s,
    )  # fmt: skip


def completion_of(token: str, written: Mapping[str, Written]) -> worker_pb2.WorkerCompletion:
    """Returns results for another planner."""
    return worker_pb2.WorkerCompletion(
        token=token,
        outputs={
            name: worker_pb2.WorkerOutput(
                title=made.title, body_md=made.body_md, data_json=json.dumps(made.data, ensure_ascii=False)
            )
            for name, made in written.items()
        },
    )


def failure_of(token: str, error: HaasError) -> worker_pb2.WorkerFailure:
    """Returns a failure for another planner."""
    return worker_pb2.WorkerFailure(
        token=token,
        reason=error.metadata.get("cause", error.reason),
        message=error.message,
        retryable=error.metadata.get("retryable", "true") == "true",
        lost=isinstance(error, WorkerLost),
    )


_KINDS = {"leader": agents_pb2.AGENT_KIND_LEADER, "specialist": agents_pb2.AGENT_KIND_SPECIALIST}


def skill_of(spec: SkillSpec, contract: Contract | None, kept_at: datetime | None) -> skills_pb2.Skill:
    """Returns the message of a skill; of a remote worker's with its schemas and when it was kept."""
    schemas_by_slot = contract.schemas() if contract is not None else {}
    reads, writes = (
        [
            worker_pb2.WorkerSlot(
                name=name, type=kind, schema_json=json.dumps(schemas_by_slot[name]) if name in schemas_by_slot else ""
            )
            for name, kind in slots
        ]
        for slots in (spec.reads, spec.writes)
    )
    return skills_pb2.Skill(
        name=spec.name, kind=_KINDS[spec.kind], agent_id=spec.owner_agent_id, titles=spec.titles, reads=reads,
        writes=writes, tools=spec.tools, remote=contract is not None, register_time=kept_at,
    )  # fmt: skip
