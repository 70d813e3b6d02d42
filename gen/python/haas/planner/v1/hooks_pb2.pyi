import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haas.common.v1 import access_pb2 as _access_pb2
from haas.planner.v1 import graph_pb2 as _graph_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hook(_message.Message):
    __slots__ = ("hook_id", "signal", "plan_path", "value_path", "url_path", "update_time")
    HOOK_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PLAN_PATH_FIELD_NUMBER: _ClassVar[int]
    VALUE_PATH_FIELD_NUMBER: _ClassVar[int]
    URL_PATH_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    hook_id: str
    signal: str
    plan_path: str
    value_path: str
    url_path: str
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, hook_id: _Optional[str] = ..., signal: _Optional[str] = ..., plan_path: _Optional[str] = ..., value_path: _Optional[str] = ..., url_path: _Optional[str] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PutHookRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "hook_id", "signal", "plan_path", "value_path", "new_secret")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    HOOK_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PLAN_PATH_FIELD_NUMBER: _ClassVar[int]
    VALUE_PATH_FIELD_NUMBER: _ClassVar[int]
    NEW_SECRET_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    hook_id: str
    signal: str
    plan_path: str
    value_path: str
    new_secret: bool
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., hook_id: _Optional[str] = ..., signal: _Optional[str] = ..., plan_path: _Optional[str] = ..., value_path: _Optional[str] = ..., new_secret: _Optional[bool] = ...) -> None: ...

class PutHookResponse(_message.Message):
    __slots__ = ("hook", "secret")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    hook: Hook
    secret: str
    def __init__(self, hook: _Optional[_Union[Hook, _Mapping]] = ..., secret: _Optional[str] = ...) -> None: ...

class ListHooksRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ...) -> None: ...

class ListHooksResponse(_message.Message):
    __slots__ = ("hooks",)
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    hooks: _containers.RepeatedCompositeFieldContainer[Hook]
    def __init__(self, hooks: _Optional[_Iterable[_Union[Hook, _Mapping]]] = ...) -> None: ...

class RemoveHookRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "hook_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    HOOK_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    hook_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., hook_id: _Optional[str] = ...) -> None: ...

class RemoveHookResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReceiveHookRequest(_message.Message):
    __slots__ = ("address", "plan_id", "body")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    address: str
    plan_id: str
    body: _httpbody_pb2.HttpBody
    def __init__(self, address: _Optional[str] = ..., plan_id: _Optional[str] = ..., body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class ReceiveHookResponse(_message.Message):
    __slots__ = ("plan_id", "state")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    state: _graph_pb2.PlanState
    def __init__(self, plan_id: _Optional[str] = ..., state: _Optional[_Union[_graph_pb2.PlanState, str]] = ...) -> None: ...
