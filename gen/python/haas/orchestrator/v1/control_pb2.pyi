from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from haas.common.v1 import access_pb2 as _access_pb2
from haas.planner.v1 import graph_pb2 as _graph_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PausePlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "request_id", "reason")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    request_id: str
    reason: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class PausePlanResponse(_message.Message):
    __slots__ = ("plan_id", "state")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...

class ResumePlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "request_id", "reason", "budget")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    request_id: str
    reason: str
    budget: _graph_pb2.Budget
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ..., budget: _Optional[_Union[_graph_pb2.Budget, _Mapping]] = ...) -> None: ...

class ResumePlanResponse(_message.Message):
    __slots__ = ("plan_id", "state")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...

class SignalPlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "request_id", "name", "value", "task_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    request_id: str
    name: str
    value: _struct_pb2.Struct
    task_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., request_id: _Optional[str] = ..., name: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., task_id: _Optional[str] = ...) -> None: ...

class SignalPlanResponse(_message.Message):
    __slots__ = ("plan_id", "state")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...

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
    __slots__ = ("plan_id", "state")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...

class ForkPlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "request_id", "at_version")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    AT_VERSION_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    request_id: str
    at_version: int
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., request_id: _Optional[str] = ..., at_version: _Optional[int] = ...) -> None: ...

class ForkPlanResponse(_message.Message):
    __slots__ = ("plan_id", "state", "forked_at", "done", "graph")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FORKED_AT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    forked_at: int
    done: _containers.RepeatedScalarFieldContainer[str]
    graph: _graph_pb2.Graph
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ..., forked_at: _Optional[int] = ..., done: _Optional[_Iterable[str]] = ..., graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ...) -> None: ...

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

class RetryTaskRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "task_id", "request_id", "reason")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    task_id: str
    request_id: str
    reason: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., task_id: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RetryTaskResponse(_message.Message):
    __slots__ = ("plan_id", "state")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...

class SkipTaskRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "task_id", "request_id", "reason", "role", "outputs", "values")
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
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    task_id: str
    request_id: str
    reason: str
    role: str
    outputs: _containers.ScalarMap[str, str]
    values: _struct_pb2.Struct
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., task_id: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ..., role: _Optional[str] = ..., outputs: _Optional[_Mapping[str, str]] = ..., values: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class SkipTaskResponse(_message.Message):
    __slots__ = ("plan_id", "state")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...

class RerunTaskRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "task_id", "request_id", "reason")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    task_id: str
    request_id: str
    reason: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., task_id: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RerunTaskResponse(_message.Message):
    __slots__ = ("plan_id", "state")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...

class DecideApprovalRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "task_id", "request_id", "approved", "comment")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    APPROVED_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    task_id: str
    request_id: str
    approved: bool
    comment: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., task_id: _Optional[str] = ..., request_id: _Optional[str] = ..., approved: _Optional[bool] = ..., comment: _Optional[str] = ...) -> None: ...

class DecideApprovalResponse(_message.Message):
    __slots__ = ("plan_id", "state")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...
