import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haas.common.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Performative(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PERFORMATIVE_UNSPECIFIED: _ClassVar[Performative]
    PERFORMATIVE_INFORM: _ClassVar[Performative]
    PERFORMATIVE_REQUEST: _ClassVar[Performative]
    PERFORMATIVE_HALT: _ClassVar[Performative]
PERFORMATIVE_UNSPECIFIED: Performative
PERFORMATIVE_INFORM: Performative
PERFORMATIVE_REQUEST: Performative
PERFORMATIVE_HALT: Performative

class Event(_message.Message):
    __slots__ = ("seq", "type", "stream", "version", "plan_id", "task_id", "actor", "payload_json", "record_time", "hash", "stored_payload_json", "schema_version", "causation_id", "correlation_id", "trace_id")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_JSON_FIELD_NUMBER: _ClassVar[int]
    RECORD_TIME_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    STORED_PAYLOAD_JSON_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    CAUSATION_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    seq: int
    type: str
    stream: str
    version: int
    plan_id: str
    task_id: str
    actor: str
    payload_json: str
    record_time: _timestamp_pb2.Timestamp
    hash: str
    stored_payload_json: str
    schema_version: int
    causation_id: str
    correlation_id: str
    trace_id: str
    def __init__(self, seq: _Optional[int] = ..., type: _Optional[str] = ..., stream: _Optional[str] = ..., version: _Optional[int] = ..., plan_id: _Optional[str] = ..., task_id: _Optional[str] = ..., actor: _Optional[str] = ..., payload_json: _Optional[str] = ..., record_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., hash: _Optional[str] = ..., stored_payload_json: _Optional[str] = ..., schema_version: _Optional[int] = ..., causation_id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., trace_id: _Optional[str] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "from_seq", "plan_id", "page_size", "stored")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    from_seq: int
    plan_id: str
    page_size: int
    stored: bool
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., from_seq: _Optional[int] = ..., plan_id: _Optional[str] = ..., page_size: _Optional[int] = ..., stored: _Optional[bool] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_seq", "more")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQ_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    next_seq: int
    more: bool
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., next_seq: _Optional[int] = ..., more: _Optional[bool] = ...) -> None: ...

class StreamEventsRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "from_seq", "plan_id", "stored")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    from_seq: int
    plan_id: str
    stored: bool
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., from_seq: _Optional[int] = ..., plan_id: _Optional[str] = ..., stored: _Optional[bool] = ...) -> None: ...

class StreamEventsResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class StreamEventsSseRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "from_seq", "plan_id", "stored")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    from_seq: int
    plan_id: str
    stored: bool
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., from_seq: _Optional[int] = ..., plan_id: _Optional[str] = ..., stored: _Optional[bool] = ...) -> None: ...

class Notification(_message.Message):
    __slots__ = ("message_id", "conversation_id", "sender_id", "receiver_id", "send_time", "performative", "schema_version", "tenant_id", "project_id", "nl_summary", "content", "seq")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVER_ID_FIELD_NUMBER: _ClassVar[int]
    SEND_TIME_FIELD_NUMBER: _ClassVar[int]
    PERFORMATIVE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    NL_SUMMARY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    conversation_id: str
    sender_id: str
    receiver_id: str
    send_time: _timestamp_pb2.Timestamp
    performative: Performative
    schema_version: str
    tenant_id: str
    project_id: str
    nl_summary: str
    content: NotificationContent
    seq: int
    def __init__(self, message_id: _Optional[str] = ..., conversation_id: _Optional[str] = ..., sender_id: _Optional[str] = ..., receiver_id: _Optional[str] = ..., send_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., performative: _Optional[_Union[Performative, str]] = ..., schema_version: _Optional[str] = ..., tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., nl_summary: _Optional[str] = ..., content: _Optional[_Union[NotificationContent, _Mapping]] = ..., seq: _Optional[int] = ...) -> None: ...

class NotificationContent(_message.Message):
    __slots__ = ("task_id", "error_code", "message", "context_artifact_id", "replan_scope", "plan_id")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    REPLAN_SCOPE_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    error_code: str
    message: str
    context_artifact_id: str
    replan_scope: str
    plan_id: str
    def __init__(self, task_id: _Optional[str] = ..., error_code: _Optional[str] = ..., message: _Optional[str] = ..., context_artifact_id: _Optional[str] = ..., replan_scope: _Optional[str] = ..., plan_id: _Optional[str] = ...) -> None: ...

class ListNotificationsRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "receiver_id", "page_size", "page_token")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    receiver_id: str
    page_size: int
    page_token: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., receiver_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListNotificationsResponse(_message.Message):
    __slots__ = ("notifications", "next_page_token")
    NOTIFICATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    notifications: _containers.RepeatedCompositeFieldContainer[Notification]
    next_page_token: str
    def __init__(self, notifications: _Optional[_Iterable[_Union[Notification, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StreamNotificationsSseRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "from_seq")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    from_seq: int
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., from_seq: _Optional[int] = ...) -> None: ...
