"""Tasks as remote workers are given them, what comes back, and the contracts of their skills. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from haas_common.db import Scope
from haas_common.errors import ContractBroken
from haas_planner.graph import VALUE, Task
from haas_planner.skills.spec import SkillSpec, matches

#: A task of which nothing was heard for so long is given to somebody else, where its policy names no limit.
HEARTBEAT_S = 15.0
#: What a task may carry: its parameters and everything that it reads.
TASK_BYTES_MAX = 4 * 1024 * 1024
#: A plain value stands in an event.
VALUE_BYTES_MAX = 8 * 1024
SKILLS_MAX = 200


@dataclass(frozen=True, slots=True)
class Given:
    """A value that a task reads: JSON text, and of an artifact its id and its Markdown too."""

    type: str
    data_json: str = ""
    artifact_id: str = ""
    body_md: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A value that a task wrote; a plain one has neither title nor text."""

    title: str
    body_md: str
    data: Any


@dataclass(frozen=True, slots=True)
class Job:
    """An attempt that a remote worker is to do.

    Attributes:
        epoch: of the lease of the plan's shard.
        inputs: what it reads, by the plan's name of it.
        writes: the type of each value that it is to write, by the plan's name of it.
        deadline: when the attempt is over, whatever the worker does.
        heartbeat_s: see haas_planner.graph.Policy; 0: the pool's default.
    """

    scope: Scope
    plan_id: str
    task_id: str
    attempt: int
    epoch: int
    skill: str
    objective: str
    language: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Given]
    writes: Mapping[str, str]
    deadline: datetime
    heartbeat_s: float = 0.0

    def size_bytes(self) -> int:
        """Returns how much it carries, about."""
        texts = [text for given in self.inputs.values() for text in (given.data_json, given.body_md)]
        return sum(len(text.encode()) for text in (*texts, json.dumps(self.params, ensure_ascii=False)))


@dataclass(frozen=True, slots=True)
class ContractSlot:
    """A named, typed value of a contract; `schema` is the JSON Schema of its data, None for anything."""

    name: str
    type: str
    schema: Any = None


@dataclass(frozen=True, slots=True)
class Contract:
    """A remote skill: what it reads and writes, and whose it is."""

    name: str
    agent_id: str
    title: str
    reads: tuple[ContractSlot, ...]
    writes: tuple[ContractSlot, ...]

    def spec(self) -> SkillSpec:
        """Returns it as a row of the registry, which nothing here runs."""
        return SkillSpec(
            name=self.name,
            kind="specialist",
            reads=tuple((slot.name, slot.type) for slot in self.reads),
            writes=tuple((slot.name, slot.type) for slot in self.writes),
            owner_agent_id=self.agent_id,
            titles={"es": self.title, "en": self.title},
        )

    def schemas(self) -> dict[str, Any]:
        """Returns the JSON Schemas of its values, by the contract's name of each."""
        return {slot.name: slot.schema for slot in (*self.reads, *self.writes) if slot.schema is not None}

    def schemas_of(self, task: Task) -> dict[str, Any]:
        """Returns the JSON Schemas of a task's values, by the plan's name of each: the types tell which is which."""
        found: dict[str, Any] = {}
        for ours, theirs in ((self.reads, task.reads), (self.writes, task.writes)):
            for slot in theirs:
                fitting = [one for one in ours if matches(one.type, slot.type)]
                named = next((one for one in fitting if one.name == slot.name), fitting[0] if fitting else None)
                if named is not None and named.schema is not None:
                    found[slot.name] = named.schema
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns what is kept beside its name and its agent."""
        return {"title": self.title, "reads": _slots(self.reads), "writes": _slots(self.writes)}

    @classmethod
    def from_json(cls, name: str, agent_id: str, kept: Mapping[str, Any]) -> "Contract":
        """Rebuilds what `to_json` returned."""
        reads, writes = (tuple(ContractSlot(**slot) for slot in kept[end]) for end in ("reads", "writes"))
        return cls(name, agent_id, kept["title"], reads, writes)


def _slots(slots: tuple[ContractSlot, ...]) -> list[dict[str, Any]]:
    return [{"name": slot.name, "type": slot.type, "schema": slot.schema} for slot in slots]


@dataclass(frozen=True, slots=True)
class Registration:
    """A worker that came: who it is, what it can do, what it still has from the stream before."""

    scope: Scope
    worker_id: str
    agent_id: str
    subject: str
    contracts: tuple[Contract, ...]
    tokens: tuple[str, ...] = field(default=())
    #: Another planner passes its worker's places on.
    relayed: bool = False


def check_written(job: Job, written: Mapping[str, Written]) -> None:
    """Holds results against what a task is to write.

    Raises:
        ContractBroken: a value is missing, nobody asked for it, or it is not of its type's shape.
    """
    for name in sorted(job.writes.keys() ^ written.keys()):
        raise _broken(job, name, "is to be written" if name in job.writes else "is not to be written")
    for name, made in written.items():
        if job.writes[name].startswith(VALUE):
            if len(json.dumps(made.data, ensure_ascii=False).encode()) > VALUE_BYTES_MAX:
                raise _broken(job, name, f"a plain value has at most {VALUE_BYTES_MAX} bytes")
        elif not isinstance(made.data, dict):
            raise _broken(job, name, "an artifact's data is an object")
        elif not made.title:
            raise _broken(job, name, "an artifact has a title")


def _broken(job: Job, field_name: str, rule: str) -> ContractBroken:
    text = f"Task {job.task_id}, {field_name}: {rule}."
    return ContractBroken(text, task=job.task_id, field=field_name, rule=rule)
