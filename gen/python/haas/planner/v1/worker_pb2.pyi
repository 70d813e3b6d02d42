import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haas.common.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkerRefusalReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKER_REFUSAL_REASON_UNSPECIFIED: _ClassVar[WorkerRefusalReason]
    WORKER_REFUSAL_REASON_SUPERSEDED: _ClassVar[WorkerRefusalReason]
    WORKER_REFUSAL_REASON_CONTRACT_BROKEN: _ClassVar[WorkerRefusalReason]
WORKER_REFUSAL_REASON_UNSPECIFIED: WorkerRefusalReason
WORKER_REFUSAL_REASON_SUPERSEDED: WorkerRefusalReason
WORKER_REFUSAL_REASON_CONTRACT_BROKEN: WorkerRefusalReason

class WorkRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "registration", "credit", "heartbeat", "completions", "failures", "leaving")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    COMPLETIONS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    registration: WorkerRegistration
    credit: int
    heartbeat: WorkerHeartbeat
    completions: _containers.RepeatedCompositeFieldContainer[WorkerCompletion]
    failures: _containers.RepeatedCompositeFieldContainer[WorkerFailure]
    leaving: bool
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., registration: _Optional[_Union[WorkerRegistration, _Mapping]] = ..., credit: _Optional[int] = ..., heartbeat: _Optional[_Union[WorkerHeartbeat, _Mapping]] = ..., completions: _Optional[_Iterable[_Union[WorkerCompletion, _Mapping]]] = ..., failures: _Optional[_Iterable[_Union[WorkerFailure, _Mapping]]] = ..., leaving: _Optional[bool] = ...) -> None: ...

class WorkResponse(_message.Message):
    __slots__ = ("registered", "tasks", "cancelled", "accepted", "refused")
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    registered: WorkerRegistered
    tasks: _containers.RepeatedCompositeFieldContainer[WorkerTask]
    cancelled: _containers.RepeatedScalarFieldContainer[str]
    accepted: _containers.RepeatedScalarFieldContainer[str]
    refused: _containers.RepeatedCompositeFieldContainer[WorkerRefusal]
    def __init__(self, registered: _Optional[_Union[WorkerRegistered, _Mapping]] = ..., tasks: _Optional[_Iterable[_Union[WorkerTask, _Mapping]]] = ..., cancelled: _Optional[_Iterable[str]] = ..., accepted: _Optional[_Iterable[str]] = ..., refused: _Optional[_Iterable[_Union[WorkerRefusal, _Mapping]]] = ...) -> None: ...

class WorkerRegistration(_message.Message):
    __slots__ = ("worker_id", "agent_id", "skills", "tokens")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    SKILLS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    agent_id: str
    skills: _containers.RepeatedCompositeFieldContainer[WorkerSkill]
    tokens: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, worker_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., skills: _Optional[_Iterable[_Union[WorkerSkill, _Mapping]]] = ..., tokens: _Optional[_Iterable[str]] = ...) -> None: ...

class WorkerSkill(_message.Message):
    __slots__ = ("name", "title", "reads", "writes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    name: str
    title: str
    reads: _containers.RepeatedCompositeFieldContainer[WorkerSlot]
    writes: _containers.RepeatedCompositeFieldContainer[WorkerSlot]
    def __init__(self, name: _Optional[str] = ..., title: _Optional[str] = ..., reads: _Optional[_Iterable[_Union[WorkerSlot, _Mapping]]] = ..., writes: _Optional[_Iterable[_Union[WorkerSlot, _Mapping]]] = ...) -> None: ...

class WorkerSlot(_message.Message):
    __slots__ = ("name", "type", "schema_json")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    schema_json: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., schema_json: _Optional[str] = ...) -> None: ...

class WorkerRegistered(_message.Message):
    __slots__ = ("worker_id", "heartbeat_s", "expire_time")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_S_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    heartbeat_s: float
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, worker_id: _Optional[str] = ..., heartbeat_s: _Optional[float] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WorkerHeartbeat(_message.Message):
    __slots__ = ("tokens",)
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tokens: _Optional[_Iterable[str]] = ...) -> None: ...

class WorkerTask(_message.Message):
    __slots__ = ("token", "plan_id", "task_id", "attempt", "skill", "objective", "language", "params_json", "inputs", "writes", "deadline", "heartbeat_s")
    class InputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: WorkerInput
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[WorkerInput, _Mapping]] = ...) -> None: ...
    class WritesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SKILL_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    PARAMS_JSON_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_S_FIELD_NUMBER: _ClassVar[int]
    token: str
    plan_id: str
    task_id: str
    attempt: int
    skill: str
    objective: str
    language: str
    params_json: str
    inputs: _containers.MessageMap[str, WorkerInput]
    writes: _containers.ScalarMap[str, str]
    deadline: _timestamp_pb2.Timestamp
    heartbeat_s: float
    def __init__(self, token: _Optional[str] = ..., plan_id: _Optional[str] = ..., task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., skill: _Optional[str] = ..., objective: _Optional[str] = ..., language: _Optional[str] = ..., params_json: _Optional[str] = ..., inputs: _Optional[_Mapping[str, WorkerInput]] = ..., writes: _Optional[_Mapping[str, str]] = ..., deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., heartbeat_s: _Optional[float] = ...) -> None: ...

class WorkerInput(_message.Message):
    __slots__ = ("type", "artifact_id", "data_json", "body_md")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    BODY_MD_FIELD_NUMBER: _ClassVar[int]
    type: str
    artifact_id: str
    data_json: str
    body_md: str
    def __init__(self, type: _Optional[str] = ..., artifact_id: _Optional[str] = ..., data_json: _Optional[str] = ..., body_md: _Optional[str] = ...) -> None: ...

class WorkerCompletion(_message.Message):
    __slots__ = ("token", "outputs")
    class OutputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: WorkerOutput
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[WorkerOutput, _Mapping]] = ...) -> None: ...
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    token: str
    outputs: _containers.MessageMap[str, WorkerOutput]
    def __init__(self, token: _Optional[str] = ..., outputs: _Optional[_Mapping[str, WorkerOutput]] = ...) -> None: ...

class WorkerOutput(_message.Message):
    __slots__ = ("title", "body_md", "data_json")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    BODY_MD_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    title: str
    body_md: str
    data_json: str
    def __init__(self, title: _Optional[str] = ..., body_md: _Optional[str] = ..., data_json: _Optional[str] = ...) -> None: ...

class WorkerFailure(_message.Message):
    __slots__ = ("token", "reason", "message", "retryable", "lost")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    token: str
    reason: str
    message: str
    retryable: bool
    lost: bool
    def __init__(self, token: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., retryable: _Optional[bool] = ..., lost: _Optional[bool] = ...) -> None: ...

class WorkerRefusal(_message.Message):
    __slots__ = ("token", "reason")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    token: str
    reason: WorkerRefusalReason
    def __init__(self, token: _Optional[str] = ..., reason: _Optional[_Union[WorkerRefusalReason, str]] = ...) -> None: ...
