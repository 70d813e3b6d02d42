from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_KIND_UNSPECIFIED: _ClassVar[TaskKind]
    TASK_KIND_SPECIALIST: _ClassVar[TaskKind]
    TASK_KIND_TOOL: _ClassVar[TaskKind]
    TASK_KIND_LEADER: _ClassVar[TaskKind]

class PlanState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAN_STATE_UNSPECIFIED: _ClassVar[PlanState]
    PLAN_STATE_CREATED: _ClassVar[PlanState]
    PLAN_STATE_RUNNING: _ClassVar[PlanState]
    PLAN_STATE_COMPLETED: _ClassVar[PlanState]
    PLAN_STATE_FAILED: _ClassVar[PlanState]
    PLAN_STATE_CANCELLED: _ClassVar[PlanState]

class TaskState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_STATE_UNSPECIFIED: _ClassVar[TaskState]
    TASK_STATE_PLANNED: _ClassVar[TaskState]
    TASK_STATE_READY: _ClassVar[TaskState]
    TASK_STATE_RUNNING: _ClassVar[TaskState]
    TASK_STATE_EXPANDED: _ClassVar[TaskState]
    TASK_STATE_COMPLETED: _ClassVar[TaskState]
    TASK_STATE_FAILED: _ClassVar[TaskState]
    TASK_STATE_CANCELLED: _ClassVar[TaskState]
TASK_KIND_UNSPECIFIED: TaskKind
TASK_KIND_SPECIALIST: TaskKind
TASK_KIND_TOOL: TaskKind
TASK_KIND_LEADER: TaskKind
PLAN_STATE_UNSPECIFIED: PlanState
PLAN_STATE_CREATED: PlanState
PLAN_STATE_RUNNING: PlanState
PLAN_STATE_COMPLETED: PlanState
PLAN_STATE_FAILED: PlanState
PLAN_STATE_CANCELLED: PlanState
TASK_STATE_UNSPECIFIED: TaskState
TASK_STATE_PLANNED: TaskState
TASK_STATE_READY: TaskState
TASK_STATE_RUNNING: TaskState
TASK_STATE_EXPANDED: TaskState
TASK_STATE_COMPLETED: TaskState
TASK_STATE_FAILED: TaskState
TASK_STATE_CANCELLED: TaskState

class Graph(_message.Message):
    __slots__ = ("tasks", "inputs")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    def __init__(self, tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("name", "type", "ref")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    ref: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., ref: _Optional[str] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("task_id", "kind", "skill", "title", "owner_agent_id", "reads", "writes", "params_json", "attempts_max", "attempt_limit_s")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SKILL_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    OWNER_AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    PARAMS_JSON_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_MAX_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_LIMIT_S_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    kind: TaskKind
    skill: str
    title: str
    owner_agent_id: str
    reads: _containers.RepeatedCompositeFieldContainer[Slot]
    writes: _containers.RepeatedCompositeFieldContainer[Slot]
    params_json: str
    attempts_max: int
    attempt_limit_s: int
    def __init__(self, task_id: _Optional[str] = ..., kind: _Optional[_Union[TaskKind, str]] = ..., skill: _Optional[str] = ..., title: _Optional[str] = ..., owner_agent_id: _Optional[str] = ..., reads: _Optional[_Iterable[_Union[Slot, _Mapping]]] = ..., writes: _Optional[_Iterable[_Union[Slot, _Mapping]]] = ..., params_json: _Optional[str] = ..., attempts_max: _Optional[int] = ..., attempt_limit_s: _Optional[int] = ...) -> None: ...

class Slot(_message.Message):
    __slots__ = ("name", "type", "from_task")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    FROM_TASK_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    from_task: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., from_task: _Optional[str] = ...) -> None: ...
