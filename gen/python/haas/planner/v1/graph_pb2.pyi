from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import struct_pb2 as _struct_pb2
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
    TASK_KIND_TRANSFORM: _ClassVar[TaskKind]
    TASK_KIND_MAP: _ClassVar[TaskKind]
    TASK_KIND_WAIT: _ClassVar[TaskKind]
    TASK_KIND_APPROVAL: _ClassVar[TaskKind]
    TASK_KIND_SCHEDULE: _ClassVar[TaskKind]

class OnFailure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_FAILURE_UNSPECIFIED: _ClassVar[OnFailure]
    ON_FAILURE_REPAIR: _ClassVar[OnFailure]
    ON_FAILURE_FAIL: _ClassVar[OnFailure]
    ON_FAILURE_CONTINUE: _ClassVar[OnFailure]

class PlanState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAN_STATE_UNSPECIFIED: _ClassVar[PlanState]
    PLAN_STATE_CREATED: _ClassVar[PlanState]
    PLAN_STATE_RUNNING: _ClassVar[PlanState]
    PLAN_STATE_COMPLETED: _ClassVar[PlanState]
    PLAN_STATE_FAILED: _ClassVar[PlanState]
    PLAN_STATE_CANCELLED: _ClassVar[PlanState]
    PLAN_STATE_PAUSED: _ClassVar[PlanState]
    PLAN_STATE_COMPENSATING: _ClassVar[PlanState]

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
    TASK_STATE_WAITING: _ClassVar[TaskState]
    TASK_STATE_SKIPPED: _ClassVar[TaskState]
    TASK_STATE_SUPERSEDED: _ClassVar[TaskState]
TASK_KIND_UNSPECIFIED: TaskKind
TASK_KIND_SPECIALIST: TaskKind
TASK_KIND_TOOL: TaskKind
TASK_KIND_LEADER: TaskKind
TASK_KIND_TRANSFORM: TaskKind
TASK_KIND_MAP: TaskKind
TASK_KIND_WAIT: TaskKind
TASK_KIND_APPROVAL: TaskKind
TASK_KIND_SCHEDULE: TaskKind
ON_FAILURE_UNSPECIFIED: OnFailure
ON_FAILURE_REPAIR: OnFailure
ON_FAILURE_FAIL: OnFailure
ON_FAILURE_CONTINUE: OnFailure
PLAN_STATE_UNSPECIFIED: PlanState
PLAN_STATE_CREATED: PlanState
PLAN_STATE_RUNNING: PlanState
PLAN_STATE_COMPLETED: PlanState
PLAN_STATE_FAILED: PlanState
PLAN_STATE_CANCELLED: PlanState
PLAN_STATE_PAUSED: PlanState
PLAN_STATE_COMPENSATING: PlanState
TASK_STATE_UNSPECIFIED: TaskState
TASK_STATE_PLANNED: TaskState
TASK_STATE_READY: TaskState
TASK_STATE_RUNNING: TaskState
TASK_STATE_EXPANDED: TaskState
TASK_STATE_COMPLETED: TaskState
TASK_STATE_FAILED: TaskState
TASK_STATE_CANCELLED: TaskState
TASK_STATE_WAITING: TaskState
TASK_STATE_SKIPPED: TaskState
TASK_STATE_SUPERSEDED: TaskState

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

class Compensation(_message.Message):
    __slots__ = ("kind", "skill", "params_json", "params")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SKILL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_JSON_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    kind: TaskKind
    skill: str
    params_json: str
    params: _struct_pb2.Struct
    def __init__(self, kind: _Optional[_Union[TaskKind, str]] = ..., skill: _Optional[str] = ..., params_json: _Optional[str] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("schedule_to_close_s", "heartbeat_s", "backoff_s", "backoff_factor", "backoff_max_s", "retry_on", "never_retry_on", "priority", "concurrency_key", "concurrency_max", "tokens_max", "money_micros_max", "on_failure", "compensation")
    SCHEDULE_TO_CLOSE_S_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_S_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_S_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_FACTOR_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MAX_S_FIELD_NUMBER: _ClassVar[int]
    RETRY_ON_FIELD_NUMBER: _ClassVar[int]
    NEVER_RETRY_ON_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_MAX_FIELD_NUMBER: _ClassVar[int]
    TOKENS_MAX_FIELD_NUMBER: _ClassVar[int]
    MONEY_MICROS_MAX_FIELD_NUMBER: _ClassVar[int]
    ON_FAILURE_FIELD_NUMBER: _ClassVar[int]
    COMPENSATION_FIELD_NUMBER: _ClassVar[int]
    schedule_to_close_s: int
    heartbeat_s: int
    backoff_s: float
    backoff_factor: float
    backoff_max_s: float
    retry_on: _containers.RepeatedScalarFieldContainer[str]
    never_retry_on: _containers.RepeatedScalarFieldContainer[str]
    priority: int
    concurrency_key: str
    concurrency_max: int
    tokens_max: int
    money_micros_max: int
    on_failure: OnFailure
    compensation: Compensation
    def __init__(self, schedule_to_close_s: _Optional[int] = ..., heartbeat_s: _Optional[int] = ..., backoff_s: _Optional[float] = ..., backoff_factor: _Optional[float] = ..., backoff_max_s: _Optional[float] = ..., retry_on: _Optional[_Iterable[str]] = ..., never_retry_on: _Optional[_Iterable[str]] = ..., priority: _Optional[int] = ..., concurrency_key: _Optional[str] = ..., concurrency_max: _Optional[int] = ..., tokens_max: _Optional[int] = ..., money_micros_max: _Optional[int] = ..., on_failure: _Optional[_Union[OnFailure, str]] = ..., compensation: _Optional[_Union[Compensation, _Mapping]] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("tokens", "money_micros", "time_s")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    MONEY_MICROS_FIELD_NUMBER: _ClassVar[int]
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    tokens: int
    money_micros: int
    time_s: int
    def __init__(self, tokens: _Optional[int] = ..., money_micros: _Optional[int] = ..., time_s: _Optional[int] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("task_id", "kind", "skill", "title", "owner_agent_id", "reads", "writes", "params_json", "attempts_max", "attempt_limit_s", "policy", "control_json", "params", "control")
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
    POLICY_FIELD_NUMBER: _ClassVar[int]
    CONTROL_JSON_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
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
    policy: Policy
    control_json: str
    params: _struct_pb2.Struct
    control: _struct_pb2.Struct
    def __init__(self, task_id: _Optional[str] = ..., kind: _Optional[_Union[TaskKind, str]] = ..., skill: _Optional[str] = ..., title: _Optional[str] = ..., owner_agent_id: _Optional[str] = ..., reads: _Optional[_Iterable[_Union[Slot, _Mapping]]] = ..., writes: _Optional[_Iterable[_Union[Slot, _Mapping]]] = ..., params_json: _Optional[str] = ..., attempts_max: _Optional[int] = ..., attempt_limit_s: _Optional[int] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., control_json: _Optional[str] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., control: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Slot(_message.Message):
    __slots__ = ("name", "type", "from_task", "schema_json", "schema")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    FROM_TASK_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    from_task: str
    schema_json: str
    schema: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., from_task: _Optional[str] = ..., schema_json: _Optional[str] = ..., schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class TaskChange(_message.Message):
    __slots__ = ("task_id", "fields", "before", "after")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    fields: _containers.RepeatedScalarFieldContainer[str]
    before: Task
    after: Task
    def __init__(self, task_id: _Optional[str] = ..., fields: _Optional[_Iterable[str]] = ..., before: _Optional[_Union[Task, _Mapping]] = ..., after: _Optional[_Union[Task, _Mapping]] = ...) -> None: ...

class GraphDiff(_message.Message):
    __slots__ = ("from_revision", "to_revision", "added", "removed", "changed", "unchanged", "inputs_added", "inputs_removed")
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    TO_REVISION_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    INPUTS_ADDED_FIELD_NUMBER: _ClassVar[int]
    INPUTS_REMOVED_FIELD_NUMBER: _ClassVar[int]
    from_revision: int
    to_revision: int
    added: _containers.RepeatedCompositeFieldContainer[Task]
    removed: _containers.RepeatedCompositeFieldContainer[Task]
    changed: _containers.RepeatedCompositeFieldContainer[TaskChange]
    unchanged: int
    inputs_added: _containers.RepeatedCompositeFieldContainer[Input]
    inputs_removed: _containers.RepeatedCompositeFieldContainer[Input]
    def __init__(self, from_revision: _Optional[int] = ..., to_revision: _Optional[int] = ..., added: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., removed: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., changed: _Optional[_Iterable[_Union[TaskChange, _Mapping]]] = ..., unchanged: _Optional[int] = ..., inputs_added: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., inputs_removed: _Optional[_Iterable[_Union[Input, _Mapping]]] = ...) -> None: ...

class Cost(_message.Message):
    __slots__ = ("tokens", "money_micros", "seconds", "work_seconds")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    MONEY_MICROS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    WORK_SECONDS_FIELD_NUMBER: _ClassVar[int]
    tokens: int
    money_micros: int
    seconds: float
    work_seconds: float
    def __init__(self, tokens: _Optional[int] = ..., money_micros: _Optional[int] = ..., seconds: _Optional[float] = ..., work_seconds: _Optional[float] = ...) -> None: ...

class Estimate(_message.Message):
    __slots__ = ("expected", "at_most", "spent", "critical_path", "tasks", "measured", "open_ended", "budget", "exceeds", "may_exceed")
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_FIELD_NUMBER: _ClassVar[int]
    SPENT_FIELD_NUMBER: _ClassVar[int]
    CRITICAL_PATH_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    OPEN_ENDED_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    EXCEEDS_FIELD_NUMBER: _ClassVar[int]
    MAY_EXCEED_FIELD_NUMBER: _ClassVar[int]
    expected: Cost
    at_most: Cost
    spent: Cost
    critical_path: _containers.RepeatedScalarFieldContainer[str]
    tasks: int
    measured: int
    open_ended: _containers.RepeatedScalarFieldContainer[str]
    budget: Budget
    exceeds: _containers.RepeatedScalarFieldContainer[str]
    may_exceed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, expected: _Optional[_Union[Cost, _Mapping]] = ..., at_most: _Optional[_Union[Cost, _Mapping]] = ..., spent: _Optional[_Union[Cost, _Mapping]] = ..., critical_path: _Optional[_Iterable[str]] = ..., tasks: _Optional[int] = ..., measured: _Optional[int] = ..., open_ended: _Optional[_Iterable[str]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., exceeds: _Optional[_Iterable[str]] = ..., may_exceed: _Optional[_Iterable[str]] = ...) -> None: ...
