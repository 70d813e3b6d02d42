import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from haas.common.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListHistoriesRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "after")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    after: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class HistoryHead(_message.Message):
    __slots__ = ("project_id", "last_seq", "streams")
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    project_id: str
    last_seq: int
    streams: int
    def __init__(self, project_id: _Optional[str] = ..., last_seq: _Optional[int] = ..., streams: _Optional[int] = ...) -> None: ...

class ListHistoriesResponse(_message.Message):
    __slots__ = ("histories",)
    HISTORIES_FIELD_NUMBER: _ClassVar[int]
    histories: _containers.RepeatedCompositeFieldContainer[HistoryHead]
    def __init__(self, histories: _Optional[_Iterable[_Union[HistoryHead, _Mapping]]] = ...) -> None: ...

class ExportHistoryRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "of_project_id", "from_seq")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    OF_PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    of_project_id: str
    from_seq: int
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., of_project_id: _Optional[str] = ..., from_seq: _Optional[int] = ...) -> None: ...

class ExportHistoryResponse(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: bytes
    def __init__(self, lines: _Optional[bytes] = ...) -> None: ...

class ExportBlobRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "of_project_id", "ref")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    OF_PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    of_project_id: str
    ref: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., of_project_id: _Optional[str] = ..., ref: _Optional[str] = ...) -> None: ...

class ExportBlobResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ListCheckpointsRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "page_size", "before_number")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    page_size: int
    before_number: int
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., page_size: _Optional[int] = ..., before_number: _Optional[int] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("number", "digest", "root", "kid", "signature", "sign_time")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    KID_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SIGN_TIME_FIELD_NUMBER: _ClassVar[int]
    number: int
    digest: str
    root: str
    kid: str
    signature: str
    sign_time: _timestamp_pb2.Timestamp
    def __init__(self, number: _Optional[int] = ..., digest: _Optional[str] = ..., root: _Optional[str] = ..., kid: _Optional[str] = ..., signature: _Optional[str] = ..., sign_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListCheckpointsResponse(_message.Message):
    __slots__ = ("checkpoints",)
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    checkpoints: _containers.RepeatedCompositeFieldContainer[Checkpoint]
    def __init__(self, checkpoints: _Optional[_Iterable[_Union[Checkpoint, _Mapping]]] = ...) -> None: ...

class SignCheckpointRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ...) -> None: ...

class SignCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint", "signed_now")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    SIGNED_NOW_FIELD_NUMBER: _ClassVar[int]
    checkpoint: Checkpoint
    signed_now: bool
    def __init__(self, checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., signed_now: _Optional[bool] = ...) -> None: ...

class ListFleetKeysRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ...) -> None: ...

class FleetKey(_message.Message):
    __slots__ = ("kid", "use", "public", "create_time", "retire_time")
    KID_FIELD_NUMBER: _ClassVar[int]
    USE_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RETIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    kid: str
    use: str
    public: str
    create_time: _timestamp_pb2.Timestamp
    retire_time: _timestamp_pb2.Timestamp
    def __init__(self, kid: _Optional[str] = ..., use: _Optional[str] = ..., public: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListFleetKeysResponse(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[FleetKey]
    def __init__(self, keys: _Optional[_Iterable[_Union[FleetKey, _Mapping]]] = ...) -> None: ...
