import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haas.common.v1 import access_pb2 as _access_pb2
from haas.planner.v1 import graph_pb2 as _graph_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DependencyDirection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEPENDENCY_DIRECTION_UNSPECIFIED: _ClassVar[DependencyDirection]
    DEPENDENCY_DIRECTION_DESCENDANTS: _ClassVar[DependencyDirection]
    DEPENDENCY_DIRECTION_ANCESTORS: _ClassVar[DependencyDirection]
DEPENDENCY_DIRECTION_UNSPECIFIED: DependencyDirection
DEPENDENCY_DIRECTION_DESCENDANTS: DependencyDirection
DEPENDENCY_DIRECTION_ANCESTORS: DependencyDirection

class DetectIntentRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "text")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    text: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class DetectIntentResponse(_message.Message):
    __slots__ = ("intent", "slots", "confidence", "language", "engine")
    class SlotsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INTENT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    intent: str
    slots: _containers.ScalarMap[str, str]
    confidence: float
    language: str
    engine: str
    def __init__(self, intent: _Optional[str] = ..., slots: _Optional[_Mapping[str, str]] = ..., confidence: _Optional[float] = ..., language: _Optional[str] = ..., engine: _Optional[str] = ...) -> None: ...

class CreatePlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "objective", "inputs", "graph", "request_id", "profile_id", "budget", "repairs_max")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_ID_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    REPAIRS_MAX_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    objective: str
    inputs: _struct_pb2.Struct
    graph: _graph_pb2.Graph
    request_id: str
    profile_id: str
    budget: _graph_pb2.Budget
    repairs_max: int
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., objective: _Optional[str] = ..., inputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., request_id: _Optional[str] = ..., profile_id: _Optional[str] = ..., budget: _Optional[_Union[_graph_pb2.Budget, _Mapping]] = ..., repairs_max: _Optional[int] = ...) -> None: ...

class CreatePlanResponse(_message.Message):
    __slots__ = ("plan_id", "dag_summary", "brief_artifact_id", "graph", "intent")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    DAG_SUMMARY_FIELD_NUMBER: _ClassVar[int]
    BRIEF_ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    dag_summary: str
    brief_artifact_id: str
    graph: _graph_pb2.Graph
    intent: str
    def __init__(self, plan_id: _Optional[str] = ..., dag_summary: _Optional[str] = ..., brief_artifact_id: _Optional[str] = ..., graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., intent: _Optional[str] = ...) -> None: ...

class RunPlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "request_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    request_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RunPlanResponse(_message.Message):
    __slots__ = ("plan_id", "state", "events_path")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_PATH_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    events_path: str
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ..., events_path: _Optional[str] = ...) -> None: ...

class CancelPlanRequest(_message.Message):
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

class CancelPlanResponse(_message.Message):
    __slots__ = ("plan_id", "state")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...

class GetPlanStatusRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ...) -> None: ...

class TaskCounts(_message.Message):
    __slots__ = ("total", "planned", "ready", "running", "completed", "failed", "cancelled", "waiting", "skipped", "superseded")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PLANNED_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    total: int
    planned: int
    ready: int
    running: int
    completed: int
    failed: int
    cancelled: int
    waiting: int
    skipped: int
    superseded: int
    def __init__(self, total: _Optional[int] = ..., planned: _Optional[int] = ..., ready: _Optional[int] = ..., running: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ..., waiting: _Optional[int] = ..., skipped: _Optional[int] = ..., superseded: _Optional[int] = ...) -> None: ...

class GetPlanStatusResponse(_message.Message):
    __slots__ = ("plan_id", "state", "tasks", "failure", "seq", "update_time", "artifact_ids")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_IDS_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    tasks: TaskCounts
    failure: str
    seq: int
    update_time: _timestamp_pb2.Timestamp
    artifact_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ..., tasks: _Optional[_Union[TaskCounts, _Mapping]] = ..., failure: _Optional[str] = ..., seq: _Optional[int] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., artifact_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("plan_id", "objective", "intent", "language", "state", "brief_artifact_id", "profile_id", "profile_version", "revision", "tasks", "create_time", "update_time", "failure")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    INTENT_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BRIEF_ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    objective: str
    intent: str
    language: str
    state: _graph_pb2.PlanState
    brief_artifact_id: str
    profile_id: str
    profile_version: int
    revision: int
    tasks: TaskCounts
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    failure: str
    def __init__(self, plan_id: _Optional[str] = ..., objective: _Optional[str] = ..., intent: _Optional[str] = ..., language: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ..., brief_artifact_id: _Optional[str] = ..., profile_id: _Optional[str] = ..., profile_version: _Optional[int] = ..., revision: _Optional[int] = ..., tasks: _Optional[_Union[TaskCounts, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failure: _Optional[str] = ...) -> None: ...

class GetPlanRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ...) -> None: ...

class GetPlanResponse(_message.Message):
    __slots__ = ("plan", "graph")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    plan: Plan
    graph: _graph_pb2.Graph
    def __init__(self, plan: _Optional[_Union[Plan, _Mapping]] = ..., graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ...) -> None: ...

class ListPlansRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "page_size", "page_token")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    page_size: int
    page_token: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPlansResponse(_message.Message):
    __slots__ = ("plans", "next_page_token")
    PLANS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    plans: _containers.RepeatedCompositeFieldContainer[Plan]
    next_page_token: str
    def __init__(self, plans: _Optional[_Iterable[_Union[Plan, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListTasksRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "page_size", "page_token")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    page_size: int
    page_token: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class TaskStatus(_message.Message):
    __slots__ = ("task_id", "kind", "skill", "title", "state", "owner_agent_id", "attempt", "depends_on", "artifact_ids", "failure", "update_time")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SKILL_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OWNER_AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_IDS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    kind: _graph_pb2.TaskKind
    skill: str
    title: str
    state: _graph_pb2.TaskState
    owner_agent_id: str
    attempt: int
    depends_on: _containers.RepeatedScalarFieldContainer[str]
    artifact_ids: _containers.RepeatedScalarFieldContainer[str]
    failure: str
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, task_id: _Optional[str] = ..., kind: _Optional[_Union[_graph_pb2.TaskKind, str]] = ..., skill: _Optional[str] = ..., title: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.TaskState, str]] = ..., owner_agent_id: _Optional[str] = ..., attempt: _Optional[int] = ..., depends_on: _Optional[_Iterable[str]] = ..., artifact_ids: _Optional[_Iterable[str]] = ..., failure: _Optional[str] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListTasksResponse(_message.Message):
    __slots__ = ("tasks", "next_page_token")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[TaskStatus]
    next_page_token: str
    def __init__(self, tasks: _Optional[_Iterable[_Union[TaskStatus, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetTaskDependenciesRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "plan_id", "task_id", "direction", "page_size", "page_token")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    plan_id: str
    task_id: str
    direction: DependencyDirection
    page_size: int
    page_token: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., plan_id: _Optional[str] = ..., task_id: _Optional[str] = ..., direction: _Optional[_Union[DependencyDirection, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class TaskDependency(_message.Message):
    __slots__ = ("task_id", "kind", "skill", "title", "state", "owner_agent_id")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SKILL_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OWNER_AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    kind: _graph_pb2.TaskKind
    skill: str
    title: str
    state: _graph_pb2.TaskState
    owner_agent_id: str
    def __init__(self, task_id: _Optional[str] = ..., kind: _Optional[_Union[_graph_pb2.TaskKind, str]] = ..., skill: _Optional[str] = ..., title: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.TaskState, str]] = ..., owner_agent_id: _Optional[str] = ...) -> None: ...

class GetTaskDependenciesResponse(_message.Message):
    __slots__ = ("tasks", "total", "next_page_token")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[TaskDependency]
    total: int
    next_page_token: str
    def __init__(self, tasks: _Optional[_Iterable[_Union[TaskDependency, _Mapping]]] = ..., total: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...
