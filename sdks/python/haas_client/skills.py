"""What a remote worker can do: functions with typed contracts, the tasks that they are given, what they return.

@skill("text.count", reads={"text": "doc.note"}, writes={"count": "value.count"})
def count(task: Task) -> dict:
    return {"count": len(task.read("text").body_md.split())}
"""

import inspect
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from haas.planner.v1 import worker_pb2

VALUE = "value."
#: What the fleet takes: of all results of a task, of an artifact's text, of its data.
RESULT_BYTES_MAX, BODY_BYTES_MAX, DATA_BYTES_MAX = 3 * 1024 * 1024, 1024 * 1024, 256 * 1024
MESSAGE_CHARS_MAX, TITLE_CHARS_MAX = 1000, 300
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
#: A JSON Schema, or a pydantic model that gives one: nothing here imports pydantic.
Schema = Any


class TaskFailure(Exception):
    """Raise it in a skill for a task that cannot be done.

    Attributes:
        reason: for programs, e.g. "SOURCE_GONE".
        message: for people.
        retryable: whether another attempt may succeed.
    """

    def __init__(self, reason: str, message: str = "", *, retryable: bool = False) -> None:
        if not _REASON.fullmatch(reason):
            raise ValueError(f"reason is {reason!r}; it is upper-case letters, digits and _, 63 at most.")
        super().__init__(message or reason)
        self.reason, self.retryable = reason, retryable
        self.message = message.replace("\0", "\ufffd")[:MESSAGE_CHARS_MAX]


@dataclass(frozen=True, slots=True)
class Input:
    """A value that a task reads. `data` is of the contract's model where that is a pydantic one."""

    name: str
    type: str
    data: Any
    artifact_id: str = ""
    body_md: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """An artifact that a task writes: its Markdown, and the data that the next task computes with."""

    title: str = ""
    body_md: str = ""
    data: Any = None


@dataclass(frozen=True, slots=True)
class Task:
    """An attempt at a task.

    Attributes:
        token: fences the attempt; hand it to outside systems as their idempotency key.
        attempt: counts from 1.
        objective: what the plan is for, in its user's words.
        language: of the texts to write: "es" or "en".
        params: the task's parameters.
        inputs: what it reads, by the contract's name; a list for a type with "+", absent for a "?" that was not given.
        deadline: when the attempt has to be done.
        cancelled: set when nobody wants the result any more; what runs in a thread may look at it.
    """

    token: str
    plan_id: str
    task_id: str
    attempt: int
    skill: str
    objective: str
    language: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Any]
    deadline: datetime
    cancelled: threading.Event = field(default_factory=threading.Event)

    def read(self, name: str) -> Any:
        """Returns an input. Raises TaskFailure when it was not given."""
        if name not in self.inputs:
            raise TaskFailure("INPUT_MISSING", f"The task was not given {name}.")
        return self.inputs[name]


Handler = Callable[[Task], Any]


@dataclass(frozen=True, slots=True)
class Skill:
    """A function with its contract; calling it calls the function, for tests."""

    name: str
    title: str
    reads: Mapping[str, str]
    writes: Mapping[str, str]
    schemas: Mapping[str, Schema]
    handler: Handler

    def __call__(self, task: Task) -> Any:
        """Does the task; returns what the function returns."""
        return self.handler(task)

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function; any other one runs in a thread."""
        return inspect.iscoroutinefunction(self.handler)

    def to_proto(self) -> worker_pb2.WorkerSkill:
        """Returns what the worker registers."""
        return worker_pb2.WorkerSkill(
            name=self.name, title=self.title, reads=self._slots(self.reads), writes=self._slots(self.writes)
        )

    def task(self, message: worker_pb2.WorkerTask) -> Task:
        """Returns a task as the function gets it.

        Raises:
            TaskFailure: an input is not of the contract's model.
        """
        inputs = {}
        for name, pattern in self.reads.items():
            kind = pattern.rstrip("?+")
            found = sorted(given for given, value in message.inputs.items() if fnmatchcase(value.type, kind))
            if pattern.endswith("+"):
                inputs[name] = [self._input(name, given, message.inputs[given]) for given in found]
            elif found:
                given = name if name in found else found[0]
                inputs[name] = self._input(name, given, message.inputs[given])
        return Task(
            message.token, message.plan_id, message.task_id, message.attempt, message.skill, message.objective,
            message.language, json.loads(message.params_json or "{}"), inputs, message.deadline.ToDatetime(tzinfo=UTC),
        )  # fmt: skip

    def outputs(self, message: worker_pb2.WorkerTask, result: Any) -> dict[str, worker_pb2.WorkerOutput]:
        """Returns what the function returned as results, by the plan's name of each value.

        Raises:
            TaskFailure: it is not what the contract says, or too large.
        """
        if not isinstance(result, Mapping) and len(self.writes) == 1:
            result = {next(iter(self.writes)): result}
        if not isinstance(result, Mapping) or set(result) != set(self.writes):
            raise TaskFailure("CONTRACT_BROKEN", f"{self.name} returns a mapping with {', '.join(self.writes)}.")
        free = sorted(message.writes)
        outputs = {}
        for name, kind in self.writes.items():
            fitting = [place for place in free if message.writes[place] == kind]
            if not fitting:
                raise TaskFailure("CONTRACT_BROKEN", f"The task is to write no {kind}.")
            place = name if name in fitting else fitting[0]
            free.remove(place)
            outputs[place] = self._output(name, kind, result[name])
        if sum(output.ByteSize() for output in outputs.values()) > RESULT_BYTES_MAX:
            raise TaskFailure("RESULT_TOO_LARGE", f"All results together have at most {RESULT_BYTES_MAX} bytes.")
        return outputs

    def _slots(self, types: Mapping[str, str]) -> list[worker_pb2.WorkerSlot]:
        return [
            worker_pb2.WorkerSlot(name=name, type=kind, schema_json=_schema_json(self.schemas.get(name)))
            for name, kind in types.items()
        ]

    def _input(self, name: str, given: str, value: worker_pb2.WorkerInput) -> Input:
        data, schema = json.loads(value.data_json) if value.data_json else None, self.schemas.get(name)
        if hasattr(schema, "model_validate"):
            try:
                data = schema.model_validate(data)
            except ValueError as error:
                raise TaskFailure("CONTRACT_BROKEN", f"{name} is no {schema.__name__}.") from error
        return Input(given, value.type, data, value.artifact_id, value.body_md)

    def _output(self, name: str, kind: str, made: Any) -> worker_pb2.WorkerOutput:
        output = made if isinstance(made, Output) else Output(data=made)
        data, schema = output.data, self.schemas.get(name)
        try:
            if hasattr(schema, "model_validate"):
                data = schema.model_validate(data)
            if hasattr(data, "model_dump"):
                data = data.model_dump(mode="json")
            plain = kind.startswith(VALUE)
            text = json.dumps(data if data is not None or plain else {}, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TaskFailure("CONTRACT_BROKEN", f"{name} is not what the contract says.") from error
        if "\0" in output.title or "\0" in output.body_md:
            raise TaskFailure("CONTRACT_BROKEN", f"{name} holds a NUL.")
        if len(text.encode()) > DATA_BYTES_MAX or len(output.body_md.encode()) > BODY_BYTES_MAX:
            raise TaskFailure("RESULT_TOO_LARGE", f"{name} has more than {BODY_BYTES_MAX} or {DATA_BYTES_MAX} bytes.")
        if plain:
            return worker_pb2.WorkerOutput(data_json=text)
        told = (output.title or self.title)[:TITLE_CHARS_MAX]
        return worker_pb2.WorkerOutput(title=told, body_md=output.body_md, data_json=text)


def skill(
    name: str,
    *,
    reads: Mapping[str, str] | None = None,
    writes: Mapping[str, str],
    input_schema: Schema = None,
    output_schema: Schema = None,
    title: str = "",
) -> Callable[[Handler], Skill]:
    """Makes a function a skill; it may be async.

    Args:
        name: e.g. "text.count"; none that the fleet has itself.
        reads: the type of each value that it reads, by a name of its own. "table.*" takes every table, a "?" at the end
            makes it optional, a "+" gives a list of one or more.
        writes: the type of each value that it writes. One that begins with "value." is a plain value of at most 8 KiB;
            any other one is an artifact: an Output, or its data alone.
        input_schema: JSON Schemas or pydantic models by the name of what is read; with one read, it alone will do.
        output_schema: the same for what is written.
        title: what it does, for people; the first line of the function's docstring unless given.
    """

    def made(handler: Handler) -> Skill:
        told = title or (inspect.getdoc(handler) or name).splitlines()[0]
        schemas = {**_by_slot(input_schema, reads or {}), **_by_slot(output_schema, writes)}
        return Skill(name, told[:200], dict(reads or {}), dict(writes), schemas, handler)

    return made


def _by_slot(schema: Schema, slots: Mapping[str, str]) -> dict[str, Schema]:
    if schema is None:
        return {}
    if isinstance(schema, Mapping) and schema and set(schema) <= set(slots):
        return dict(schema)
    if len(slots) != 1:
        raise ValueError(f"Name the value that the schema is of: one of {', '.join(slots)}.")
    return {next(iter(slots)): schema}


def _schema_json(schema: Schema) -> str:
    if schema is None:
        return ""
    plain = schema.model_json_schema() if hasattr(schema, "model_json_schema") else schema
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
