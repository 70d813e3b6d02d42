"""Who is told what about an event (plan §4.4), and where a stream begins and ends. No clock, no chance, no I/O.

An envelope goes to those whom the event concerns and to nobody else: there is no broadcast. One envelope per event
and receiver; whoever has to stop is not informed beside it.
"""

import dataclasses
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

SENDER_ID = "notification_team_01"
SCHEMA_VERSION = "1.0"
E_DEPENDENCY_FAILED = "E_DEPENDENCY_FAILED"
E_HASH_MISMATCH = "E_HASH_MISMATCH"
REPLAN_SUB_GRAPH = "sub_graph"
HALT, INFORM, REQUEST = "HALT", "INFORM", "REQUEST"
#: A plan's last event until it is reopened, and the state that it leaves the plan in.
END_STATES: Mapping[str, str] = {"PlanCompleted": "completed", "PlanFailed": "failed", "PlanCancelled": "cancelled"}
#: What the relay reads whole; of every other event it reads the place alone.
CAUSES = (
    "AuditFailed", "ErrorDetected", "TaskCompleted", "ApprovalRequested", "ApprovalReminded", "PlanPaused",
    "ReplanRequired", "PlanReplanned", *END_STATES,
)  # fmt: skip
#: Of these whoever owns the task is told beside others.
OWNER_CAUSES = ("AuditFailed", "ReplanRequired", "PlanReplanned")
#: From this version on ErrorDetected says whose work stops; before, all that depended on the failed task did.
_HALTED_SINCE = 2
#: What the envelopes of one NotificationSent may take up; an event's payload has 32 KiB.
SENT_BYTES_MAX = 30 * 1024
# Of an envelope: its cause, brackets and names; and of a sealed value: the key's id, a nonce, a tag.
_SENT_FRAME_BYTES, _SEALED_FRAME_BYTES = 100, 130
_TASKS_NAMED_MAX = 5
_MESSAGE_CHARS_MAX = 500
_NAMESPACE = uuid.UUID("6f1d3c52-7b0e-4c58-9a57-7e1a4e3f2b90")


@dataclasses.dataclass(frozen=True, slots=True)
class Cause:
    """An event that somebody may have to hear of, its payload as it was stored."""

    tenant_id: str
    project_id: str
    seq: int
    type: str
    plan_id: str
    task_id: str
    payload: Mapping[str, Any]
    schema_version: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class OwnedTask:
    """A task and the agent that owns it."""

    task_id: str
    title: str
    owner: str


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What the read model says about an event's surroundings.

    Attributes:
        language: of the plan's texts, "es" or "en".
        brief_artifact_id: the plan's brief; empty for none.
        requester: who created the plan.
        affected: for an error, every task that depends on the failed one, in the order of their ids.
        leader: for an error, the task whose sub-plan the failed one belongs to.
        dependents: for a completed task, the tasks that read from it.
        owners: for a plan's end, the owners of its tasks.
        owner: for OWNER_CAUSES the event's task: what wrote a changed artifact, or what failed and is planned anew.
    """

    language: str
    brief_artifact_id: str = ""
    requester: str = ""
    affected: tuple[OwnedTask, ...] = ()
    leader: OwnedTask | None = None
    dependents: tuple[OwnedTask, ...] = ()
    owners: tuple[str, ...] = ()
    owner: OwnedTask | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Envelope:
    """A message to one receiver (plan §4.4); `seq` and the time come with its sending."""

    tenant_id: str
    project_id: str
    cause_seq: int
    plan_id: str
    receiver_id: str
    performative: str
    nl_summary: str
    task_id: str = ""
    error_code: str = ""
    message: str = ""
    context_artifact_id: str = ""
    replan_scope: str = ""

    @property
    def message_id(self) -> str:
        """The same for the same event and receiver, however often it is decided."""
        name = f"{self.tenant_id}/{self.project_id}/{self.cause_seq}/{self.receiver_id}"
        return str(uuid.uuid5(_NAMESPACE, name))

    def told(self) -> dict[str, Any]:
        """Returns the envelope as the event tells of it: what its place in the history says is left out."""
        return {
            "message_id": self.message_id,
            "receiver_id": self.receiver_id,
            "performative": self.performative,
            "schema_version": SCHEMA_VERSION,
            "nl_summary": self.nl_summary,
            "content": {
                "task_id": self.task_id,
                "error_code": self.error_code,
                "message": self.message,
                "context_artifact_id": self.context_artifact_id,
                "replan_scope": self.replan_scope,
            },
        }

    def bytes_max(self) -> int:
        """Returns how long it can become in an event: sealed, what is personal takes four thirds and a frame."""
        sealed = sum(_SEALED_FRAME_BYTES + _length(text) * 4 // 3 for text in (self.nl_summary, self.message))
        return _SENT_FRAME_BYTES + 2 * _length(self.receiver_id) + _length(self.told()) + sealed


def _length(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


_TEXTS: Mapping[str, Mapping[str, str]] = {
    "es": {
        "halt": "Detener {tasks} por fallo en {failed}.",
        "planned": "{failed} ha fallado: {tasks} no puede empezar.",
        "dependency": "Fallo en dependencia {failed}: {message}",
        "leader": "{failed} de su equipo falló: {message}",
        "task": "{task} ha terminado; {tasks} puede leer su resultado.",
        "tasks": "{task} ha terminado; {tasks} pueden leer su resultado.",
        "altered": "El artefacto {artifact} (versión {version}) ha cambiado fuera de la plataforma: no debe usarse.",
        "ApprovalRequested": "{task} del plan {plan} espera una decisión de {role}: {text}",
        "ApprovalReminded": "{task} del plan {plan} sigue esperando una decisión de {role} (aviso {number}).",
        "PlanPaused": "El plan {plan} está en pausa: su presupuesto se ha agotado.",
        "ReplanRequired": "{failed} ha fallado; esa parte del plan {plan} se planifica de nuevo.",
        "PlanReplanned": "El plan {plan} tiene la revisión {revision}: {message}",
        "PlanCompleted": "El plan {plan} se ha completado.",
        "PlanFailed": "El plan {plan} ha fallado: {message}",
        "PlanCancelled": "El plan {plan} se ha cancelado. {message}",
        "more": "{tasks} y {n} más",
    },
    "en": {
        "halt": "Stop {tasks}: {failed} failed.",
        "planned": "{failed} failed: {tasks} cannot start.",
        "dependency": "Dependency {failed} failed: {message}",
        "leader": "{failed} of your team failed: {message}",
        "task": "{task} is done; {tasks} can read its result.",
        "tasks": "{task} is done; {tasks} can read its result.",
        "altered": "Artifact {artifact} (version {version}) was changed outside the platform: it must not be used.",
        "ApprovalRequested": "{task} of plan {plan} waits for a decision of {role}: {text}",
        "ApprovalReminded": "{task} of plan {plan} still waits for a decision of {role} (reminder {number}).",
        "PlanPaused": "Plan {plan} is paused: its budget is used up.",
        "ReplanRequired": "{failed} failed; that part of plan {plan} is being planned anew.",
        "PlanReplanned": "Plan {plan} has revision {revision}: {message}",
        "PlanCompleted": "Plan {plan} is complete.",
        "PlanFailed": "Plan {plan} failed: {message}",
        "PlanCancelled": "Plan {plan} was cancelled. {message}",
        "more": "{tasks} and {n} more",
    },
}


def leader_of(task_id: str) -> str:
    """Returns the id of the task whose sub-plan a task belongs to ("T-3" of "T-3.2"); empty for none."""
    return task_id.rpartition(".")[0]


def requester_id(subject: str) -> str:
    """Returns the receiver that stands for whoever asked for a plan."""
    return f"requester:{subject}"


def role_id(role: str) -> str:
    """Returns the receiver that stands for whoever holds a role."""
    return f"role:{role}"


def decide(cause: Cause, facts: Facts) -> list[Envelope]:
    """Returns the envelopes that an event leads to, by receiver."""
    on = _DECIDERS.get(cause.type)
    found = on(cause, facts) if on is not None else []
    return sorted(found, key=lambda e: e.receiver_id)


def _on_error(cause: Cause, facts: Facts) -> list[Envelope]:
    """HALT to exactly the owners of what the failure stops, INFORM to those of what cannot start by it.

    The leader's owner hears of it in any case.
    """
    texts = _texts(facts)
    message = _short(cause.payload.get("message", ""))
    common = {**_head(cause), "context_artifact_id": facts.brief_artifact_id, "replan_scope": REPLAN_SUB_GRAPH}
    halted, planned = _stopped(cause, facts)
    told = {owner: (INFORM, "planned", tasks) for owner, tasks in _by_owner(planned).items()}
    told |= {owner: (HALT, "halt", tasks) for owner, tasks in _by_owner(halted).items()}
    dependency = texts["dependency"].format(failed=cause.task_id, message=message)
    found = [
        Envelope(
            **common, receiver_id=owner, performative=performative, task_id=tasks[0].task_id, message=dependency,
            error_code=E_DEPENDENCY_FAILED,
            nl_summary=texts[text].format(tasks=_named(tasks, texts), failed=cause.task_id),
        )
        for owner, (performative, text, tasks) in told.items()
    ]  # fmt: skip
    leader = facts.leader
    if leader is not None and leader.owner and leader.owner not in told:
        found.append(
            Envelope(
                **common, receiver_id=leader.owner, performative=INFORM, task_id=cause.task_id, message=message,
                error_code=str(cause.payload.get("error_code", "")),
                nl_summary=texts["leader"].format(failed=cause.task_id, message=message),
            )
        )  # fmt: skip
    return found


def _stopped(cause: Cause, facts: Facts) -> tuple[tuple[OwnedTask, ...], tuple[OwnedTask, ...]]:
    """Returns the tasks that have to stop, and those that had not started."""
    if cause.schema_version < _HALTED_SINCE:
        return facts.affected, ()
    halted = tuple(OwnedTask(task_id, "", owner) for task_id, owner in cause.payload.get("halted", ()))
    stopped = {task.task_id for task in halted}
    return halted, tuple(task for task in facts.affected if task.task_id not in stopped)


def _on_task(cause: Cause, facts: Facts) -> list[Envelope]:
    """INFORM to the owners of the tasks that read from the completed one."""
    texts = _texts(facts)
    outputs = cause.payload.get("outputs") or {}
    artifact = str(outputs[min(outputs)]) if outputs else ""
    found = []
    for owner, tasks in _by_owner(facts.dependents).items():
        text = texts["task" if len(tasks) == 1 else "tasks"]
        told = text.format(task=cause.task_id, tasks=_named(tasks, texts))
        found.append(
            Envelope(
                **_head(cause), receiver_id=owner, performative=INFORM, nl_summary=told, task_id=cause.task_id,
                message=told, context_artifact_id=artifact,
            )
        )  # fmt: skip
    return found


def _on_end(cause: Cause, facts: Facts) -> list[Envelope]:
    """INFORM to everyone who owned a task of the plan, and to whoever asked for it."""
    why = _short(cause.payload.get("failure") or cause.payload.get("reason") or "")
    told = _texts(facts)[cause.type].format(plan=cause.plan_id, message=why).strip()
    receivers = {owner for owner in facts.owners if owner}
    if facts.requester:
        receivers.add(requester_id(facts.requester))
    return [
        Envelope(
            **_head(cause), receiver_id=receiver, performative=INFORM, nl_summary=told, message=why,
            context_artifact_id=facts.brief_artifact_id, task_id=str(cause.payload.get("task_id", "")),
        )
        for receiver in receivers
    ]  # fmt: skip


def _on_altered(cause: Cause, facts: Facts) -> list[Envelope]:
    """HALT to whoever owns the task that wrote a changed artifact, INFORM to whoever asked for its plan."""
    artifact = str(cause.payload.get("artifact_id", ""))
    if not artifact:
        return []
    told = _texts(facts)["altered"].format(artifact=artifact, version=cause.payload.get("version", 0))
    receivers = {requester_id(facts.requester): INFORM} if facts.requester else {}
    if facts.owner is not None and facts.owner.owner:
        receivers[facts.owner.owner] = HALT
    return [
        Envelope(
            **_head(cause), receiver_id=receiver, performative=performative, nl_summary=told, task_id=cause.task_id,
            error_code=E_HASH_MISMATCH, message=_short(cause.payload.get("problem", "")), context_artifact_id=artifact,
        )
        for receiver, performative in receivers.items()
    ]  # fmt: skip


def _on_approval(cause: Cause, facts: Facts) -> list[Envelope]:
    """REQUEST to those who may decide, and to whoever asked for the plan."""
    role = str(cause.payload.get("role", ""))
    text = _short(cause.payload.get("text", ""))
    told = _texts(facts)[cause.type].format(
        task=cause.task_id, plan=cause.plan_id, role=role, text=text, number=cause.payload.get("number", 1)
    )
    receivers = [role_id(role)] if role else []
    return _to_all([*receivers, *_requester(facts)], REQUEST, cause, facts, told, text)


def _on_pause(cause: Cause, facts: Facts) -> list[Envelope]:
    """INFORM to whoever asked for a plan that its budget stopped; whoever paused it by hand knows."""
    if cause.payload.get("cause") != "budget":
        return []
    told = _texts(facts)["PlanPaused"].format(plan=cause.plan_id)
    return _to_all(_requester(facts), INFORM, cause, facts, told, _short(cause.payload.get("reason", "")))


def _on_replan(cause: Cause, facts: Facts) -> list[Envelope]:
    """INFORM to whoever asked for the plan, and to the owner of what failed."""
    payload = cause.payload
    message = _short(payload.get("explanation", ""))
    told = _texts(facts)[cause.type].format(
        failed=cause.task_id, plan=cause.plan_id, revision=payload.get("revision", 0), message=message
    )
    receivers = _requester(facts)
    if facts.owner is not None and facts.owner.owner:
        receivers.append(facts.owner.owner)
    more = {"error_code": str(payload.get("reason", "")), "replan_scope": str(payload.get("scope", ""))}
    return _to_all(receivers, INFORM, cause, facts, told, message, **more)


def _requester(facts: Facts) -> list[str]:
    return [requester_id(facts.requester)] if facts.requester else []


def _to_all(
    receivers: Iterable[str], performative: str, cause: Cause, facts: Facts, told: str, message: str, **more: str
) -> list[Envelope]:
    return [
        Envelope(
            **_head(cause), receiver_id=receiver, performative=performative, nl_summary=told, message=message,
            task_id=cause.task_id, context_artifact_id=facts.brief_artifact_id, **more,
        )
        for receiver in dict.fromkeys(receivers)
    ]  # fmt: skip


_DECIDERS: Mapping[str, Callable[[Cause, Facts], list[Envelope]]] = {
    "ErrorDetected": _on_error,
    "TaskCompleted": _on_task,
    "AuditFailed": _on_altered,
    "ApprovalRequested": _on_approval,
    "ApprovalReminded": _on_approval,
    "PlanPaused": _on_pause,
    "ReplanRequired": _on_replan,
    "PlanReplanned": _on_replan,
    **dict.fromkeys(END_STATES, _on_end),
}


def _head(cause: Cause) -> dict[str, Any]:
    return {
        "tenant_id": cause.tenant_id,
        "project_id": cause.project_id,
        "cause_seq": cause.seq,
        "plan_id": cause.plan_id,
    }


def _by_owner(tasks: Iterable[OwnedTask]) -> dict[str, list[OwnedTask]]:
    found: dict[str, list[OwnedTask]] = {}
    for task in tasks:
        if task.owner:
            found.setdefault(task.owner, []).append(task)
    return found


def _named(tasks: Sequence[OwnedTask], texts: Mapping[str, str]) -> str:
    named = ", ".join(t.task_id for t in tasks[:_TASKS_NAMED_MAX])
    rest = len(tasks) - _TASKS_NAMED_MAX
    return texts["more"].format(tasks=named, n=rest) if rest > 0 else named


def _texts(facts: Facts) -> Mapping[str, str]:
    return _TEXTS.get(facts.language, _TEXTS["en"])


def _short(text: object) -> str:
    return str(text)[:_MESSAGE_CHARS_MAX]


def sent_batches(envelopes: Iterable[Envelope]) -> list[list[Envelope]]:
    """Splits envelopes into what one NotificationSent each tells: those of one plan, as many as it has room for."""
    batches: list[list[Envelope]] = []
    filling: dict[tuple[str, str, str], tuple[list[Envelope], int]] = {}
    for envelope in envelopes:
        plan = (envelope.tenant_id, envelope.project_id, envelope.plan_id)
        size = envelope.bytes_max()
        batch, used = filling.get(plan, ([], SENT_BYTES_MAX))
        if used + size > SENT_BYTES_MAX:
            batch, used = [], 0
            batches.append(batch)
        batch.append(envelope)
        filling[plan] = (batch, used + size)
    return batches


def sent_payload(batch: Sequence[Envelope]) -> dict[str, Any]:
    """Returns the payload of the NotificationSent that tells of a batch."""
    return {
        "envelopes": [
            {"cause_seq": e.cause_seq, "receivers": [[e.receiver_id, e.performative]], "envelope": e.told()}
            for e in batch
        ]
    }


def visible_receivers(agents: Iterable[str], subject: str, roles: Iterable[str] = ()) -> tuple[str, ...]:
    """Returns whose inboxes a token opens: its agents', its holder's own, and those of the roles that it holds."""
    return tuple(dict.fromkeys([*agents, requester_id(subject), *map(role_id, roles)]))
