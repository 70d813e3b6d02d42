from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from haas.common.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AgentKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AGENT_KIND_UNSPECIFIED: _ClassVar[AgentKind]
    AGENT_KIND_LEADER: _ClassVar[AgentKind]
    AGENT_KIND_SPECIALIST: _ClassVar[AgentKind]

class AgentState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AGENT_STATE_UNSPECIFIED: _ClassVar[AgentState]
    AGENT_STATE_ACTIVE: _ClassVar[AgentState]
    AGENT_STATE_PAUSED: _ClassVar[AgentState]
AGENT_KIND_UNSPECIFIED: AgentKind
AGENT_KIND_LEADER: AgentKind
AGENT_KIND_SPECIALIST: AgentKind
AGENT_STATE_UNSPECIFIED: AgentState
AGENT_STATE_ACTIVE: AgentState
AGENT_STATE_PAUSED: AgentState

class AgentResults(_message.Message):
    __slots__ = ("skill", "completed", "failed", "duration_ms", "tokens", "money_micros", "score")
    SKILL_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    MONEY_MICROS_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    skill: str
    completed: int
    failed: int
    duration_ms: int
    tokens: int
    money_micros: int
    score: float
    def __init__(self, skill: _Optional[str] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., duration_ms: _Optional[int] = ..., tokens: _Optional[int] = ..., money_micros: _Optional[int] = ..., score: _Optional[float] = ...) -> None: ...

class Agent(_message.Message):
    __slots__ = ("agent_id", "kind", "skills", "running_max", "rank", "state", "registered", "results")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SKILLS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_MAX_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    kind: AgentKind
    skills: _containers.RepeatedScalarFieldContainer[str]
    running_max: int
    rank: int
    state: AgentState
    registered: bool
    results: _containers.RepeatedCompositeFieldContainer[AgentResults]
    def __init__(self, agent_id: _Optional[str] = ..., kind: _Optional[_Union[AgentKind, str]] = ..., skills: _Optional[_Iterable[str]] = ..., running_max: _Optional[int] = ..., rank: _Optional[int] = ..., state: _Optional[_Union[AgentState, str]] = ..., registered: _Optional[bool] = ..., results: _Optional[_Iterable[_Union[AgentResults, _Mapping]]] = ...) -> None: ...

class RegisterAgentRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "agent_id", "kind", "skills", "running_max")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SKILLS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_MAX_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    agent_id: str
    kind: AgentKind
    skills: _containers.RepeatedScalarFieldContainer[str]
    running_max: int
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., kind: _Optional[_Union[AgentKind, str]] = ..., skills: _Optional[_Iterable[str]] = ..., running_max: _Optional[int] = ...) -> None: ...

class RegisterAgentResponse(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: Agent
    def __init__(self, agent: _Optional[_Union[Agent, _Mapping]] = ...) -> None: ...

class ListAgentsRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ...) -> None: ...

class ListAgentsResponse(_message.Message):
    __slots__ = ("agents",)
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[Agent]
    def __init__(self, agents: _Optional[_Iterable[_Union[Agent, _Mapping]]] = ...) -> None: ...

class SetAgentStateRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "agent_id", "state")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    agent_id: str
    state: AgentState
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., state: _Optional[_Union[AgentState, str]] = ...) -> None: ...

class SetAgentStateResponse(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: Agent
    def __init__(self, agent: _Optional[_Union[Agent, _Mapping]] = ...) -> None: ...
