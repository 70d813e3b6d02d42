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
    PLAN_COMMAND_PAUSE: _ClassVar[PlanCommand]
    PLAN_COMMAND_RESUME: _ClassVar[PlanCommand]
    PLAN_COMMAND_SIGNAL: _ClassVar[PlanCommand]
    PLAN_COMMAND_DECIDE: _ClassVar[PlanCommand]
    PLAN_COMMAND_RETRY: _ClassVar[PlanCommand]
    PLAN_COMMAND_SKIP: _ClassVar[PlanCommand]
    PLAN_COMMAND_RERUN: _ClassVar[PlanCommand]
PLAN_COMMAND_UNSPECIFIED: PlanCommand
PLAN_COMMAND_RUN: PlanCommand
PLAN_COMMAND_CANCEL: PlanCommand
PLAN_COMMAND_PAUSE: PlanCommand
PLAN_COMMAND_RESUME: PlanCommand
PLAN_COMMAND_SIGNAL: PlanCommand
PLAN_COMMAND_DECIDE: PlanCommand
PLAN_COMMAND_RETRY: PlanCommand
PLAN_COMMAND_SKIP: PlanCommand
PLAN_COMMAND_RERUN: PlanCommand

class CompilePlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "request_id", "objective", "language", "intent", "slots", "brief_artifact_id", "goals", "inputs", "graph", "profile_id", "profile_version", "validate_only", "budget", "repairs_max")
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
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    REPAIRS_MAX_FIELD_NUMBER: _ClassVar[int]
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
    budget: _graph_pb2.Budget
    repairs_max: int
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., request_id: _Optional[str] = ..., objective: _Optional[str] = ..., language: _Optional[str] = ..., intent: _Optional[str] = ..., slots: _Optional[_Mapping[str, str]] = ..., brief_artifact_id: _Optional[str] = ..., goals: _Optional[_Iterable[str]] = ..., inputs: _Optional[_Iterable[_Union[_graph_pb2.Input, _Mapping]]] = ..., graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., profile_id: _Optional[str] = ..., profile_version: _Optional[int] = ..., validate_only: _Optional[bool] = ..., budget: _Optional[_Union[_graph_pb2.Budget, _Mapping]] = ..., repairs_max: _Optional[int] = ...) -> None: ...

class CompilePlanResponse(_message.Message):
    __slots__ = ("graph", "state")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Graph
    state: _graph_pb2.PlanState
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...

class CommandPlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "request_id", "command", "reason", "task_id", "budget", "signal", "value_json", "approved", "comment", "role", "outputs", "values_json")
    class OutputsEntry(_message.Message):
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
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    APPROVED_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    VALUES_JSON_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    request_id: str
    command: PlanCommand
    reason: str
    task_id: str
    budget: _graph_pb2.Budget
    signal: str
    value_json: str
    approved: bool
    comment: str
    role: str
    outputs: _containers.ScalarMap[str, str]
    values_json: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., request_id: _Optional[str] = ..., command: _Optional[_Union[PlanCommand, str]] = ..., reason: _Optional[str] = ..., task_id: _Optional[str] = ..., budget: _Optional[_Union[_graph_pb2.Budget, _Mapping]] = ..., signal: _Optional[str] = ..., value_json: _Optional[str] = ..., approved: _Optional[bool] = ..., comment: _Optional[str] = ..., role: _Optional[str] = ..., outputs: _Optional[_Mapping[str, str]] = ..., values_json: _Optional[str] = ...) -> None: ...

class CommandPlanResponse(_message.Message):
    __slots__ = ("state", "result_json")
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    state: _graph_pb2.PlanState
    result_json: str
    def __init__(self, state: _Optional[_Union[_graph_pb2.PlanState, str]] = ..., result_json: _Optional[str] = ...) -> None: ...

class ForkPlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "request_id", "source_plan_id", "at_version")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    AT_VERSION_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    request_id: str
    source_plan_id: str
    at_version: int
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., request_id: _Optional[str] = ..., source_plan_id: _Optional[str] = ..., at_version: _Optional[int] = ...) -> None: ...

class ForkPlanResponse(_message.Message):
    __slots__ = ("graph", "state", "forked_at", "done")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FORKED_AT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Graph
    state: _graph_pb2.PlanState
    forked_at: int
    done: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ..., forked_at: _Optional[int] = ..., done: _Optional[_Iterable[str]] = ...) -> None: ...

class ReplanPlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "request_id", "tasks", "removed", "explanation")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    request_id: str
    tasks: _containers.RepeatedCompositeFieldContainer[_graph_pb2.Task]
    removed: _containers.RepeatedScalarFieldContainer[str]
    explanation: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., request_id: _Optional[str] = ..., tasks: _Optional[_Iterable[_Union[_graph_pb2.Task, _Mapping]]] = ..., removed: _Optional[_Iterable[str]] = ..., explanation: _Optional[str] = ...) -> None: ...

class ReplanPlanResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: _graph_pb2.PlanState
    def __init__(self, state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...

class DiffPlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "from_revision", "to_revision", "other_plan_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    TO_REVISION_FIELD_NUMBER: _ClassVar[int]
    OTHER_PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    from_revision: int
    to_revision: int
    other_plan_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., from_revision: _Optional[int] = ..., to_revision: _Optional[int] = ..., other_plan_id: _Optional[str] = ...) -> None: ...

class DiffPlanResponse(_message.Message):
    __slots__ = ("diff",)
    DIFF_FIELD_NUMBER: _ClassVar[int]
    diff: _graph_pb2.GraphDiff
    def __init__(self, diff: _Optional[_Union[_graph_pb2.GraphDiff, _Mapping]] = ...) -> None: ...

class EstimatePlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "graph", "profile_id", "budget")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    PROFILE_ID_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    graph: _graph_pb2.Graph
    profile_id: str
    budget: _graph_pb2.Budget
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., profile_id: _Optional[str] = ..., budget: _Optional[_Union[_graph_pb2.Budget, _Mapping]] = ...) -> None: ...

class EstimatePlanResponse(_message.Message):
    __slots__ = ("estimate",)
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    estimate: _graph_pb2.Estimate
    def __init__(self, estimate: _Optional[_Union[_graph_pb2.Estimate, _Mapping]] = ...) -> None: ...
