import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haas.common.v1 import access_pb2 as _access_pb2
from haas.planner.v1 import agents_pb2 as _agents_pb2
from haas.planner.v1 import worker_pb2 as _worker_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Skill(_message.Message):
    __slots__ = ("name", "kind", "agent_id", "titles", "reads", "writes", "tools", "remote", "register_time")
    class TitlesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TITLES_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    REGISTER_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: _agents_pb2.AgentKind
    agent_id: str
    titles: _containers.ScalarMap[str, str]
    reads: _containers.RepeatedCompositeFieldContainer[_worker_pb2.WorkerSlot]
    writes: _containers.RepeatedCompositeFieldContainer[_worker_pb2.WorkerSlot]
    tools: _containers.RepeatedScalarFieldContainer[str]
    remote: bool
    register_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[_agents_pb2.AgentKind, str]] = ..., agent_id: _Optional[str] = ..., titles: _Optional[_Mapping[str, str]] = ..., reads: _Optional[_Iterable[_Union[_worker_pb2.WorkerSlot, _Mapping]]] = ..., writes: _Optional[_Iterable[_Union[_worker_pb2.WorkerSlot, _Mapping]]] = ..., tools: _Optional[_Iterable[str]] = ..., remote: _Optional[bool] = ..., register_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListSkillsRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ...) -> None: ...

class ListSkillsResponse(_message.Message):
    __slots__ = ("skills",)
    SKILLS_FIELD_NUMBER: _ClassVar[int]
    skills: _containers.RepeatedCompositeFieldContainer[Skill]
    def __init__(self, skills: _Optional[_Iterable[_Union[Skill, _Mapping]]] = ...) -> None: ...

class RemoveSkillRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "skill")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SKILL_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    skill: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., skill: _Optional[str] = ...) -> None: ...

class RemoveSkillResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
