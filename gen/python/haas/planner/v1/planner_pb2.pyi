from buf.validate import validate_pb2 as _validate_pb2
from haas.common.v1 import access_pb2 as _access_pb2
from haas.planner.v1 import graph_pb2 as _graph_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PlanCommand(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAN_COMMAND_UNSPECIFIED: _ClassVar[PlanCommand]
    PLAN_COMMAND_RUN: _ClassVar[PlanCommand]
    PLAN_COMMAND_CANCEL: _ClassVar[PlanCommand]
PLAN_COMMAND_UNSPECIFIED: PlanCommand
PLAN_COMMAND_RUN: PlanCommand
PLAN_COMMAND_CANCEL: PlanCommand

class CompilePlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "request_id", "objective", "language", "intent", "slots", "brief_artifact_id", "goals", "inputs", "graph", "profile_id", "profile_version", "validate_only")
    class SlotsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    BRIEF_ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    GOALS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    PROFILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_VERSION_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    request_id: str
    objective: str
    language: str
    intent: str
    slots: _containers.ScalarMap[str, str]
    brief_artifact_id: str
    goals: _containers.RepeatedScalarFieldContainer[str]
    inputs: _containers.RepeatedCompositeFieldContainer[_graph_pb2.Input]
    graph: _graph_pb2.Graph
    profile_id: str
    profile_version: int
    validate_only: bool
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., request_id: _Optional[str] = ..., objective: _Optional[str] = ..., language: _Optional[str] = ..., intent: _Optional[str] = ..., slots: _Optional[_Mapping[str, str]] = ..., brief_artifact_id: _Optional[str] = ..., goals: _Optional[_Iterable[str]] = ..., inputs: _Optional[_Iterable[_Union[_graph_pb2.Input, _Mapping]]] = ..., graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., profile_id: _Optional[str] = ..., profile_version: _Optional[int] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class CompilePlanResponse(_message.Message):
    __slots__ = ("graph", "state")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Graph
    state: _graph_pb2.PlanState
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...

class CommandPlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "request_id", "command", "reason")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    request_id: str
    command: PlanCommand
    reason: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., request_id: _Optional[str] = ..., command: _Optional[_Union[PlanCommand, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class CommandPlanResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: _graph_pb2.PlanState
    def __init__(self, state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...
