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

class ArtifactStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARTIFACT_STATUS_UNSPECIFIED: _ClassVar[ArtifactStatus]
    ARTIFACT_STATUS_DRAFT: _ClassVar[ArtifactStatus]
    ARTIFACT_STATUS_IN_PROGRESS: _ClassVar[ArtifactStatus]
    ARTIFACT_STATUS_FINAL: _ClassVar[ArtifactStatus]
    ARTIFACT_STATUS_SUPERSEDED: _ClassVar[ArtifactStatus]
    ARTIFACT_STATUS_INVALID: _ClassVar[ArtifactStatus]
ARTIFACT_STATUS_UNSPECIFIED: ArtifactStatus
ARTIFACT_STATUS_DRAFT: ArtifactStatus
ARTIFACT_STATUS_IN_PROGRESS: ArtifactStatus
ARTIFACT_STATUS_FINAL: ArtifactStatus
ARTIFACT_STATUS_SUPERSEDED: ArtifactStatus
ARTIFACT_STATUS_INVALID: ArtifactStatus

class GetArtifactRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "artifact_id", "version")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    artifact_id: str
    version: int
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., artifact_id: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("artifact_id", "path", "version", "hash_prev", "hash_curr", "signer", "signature", "type", "plan_id", "task_id", "status", "create_time", "size_bytes")
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HASH_PREV_FIELD_NUMBER: _ClassVar[int]
    HASH_CURR_FIELD_NUMBER: _ClassVar[int]
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    artifact_id: str
    path: str
    version: int
    hash_prev: str
    hash_curr: str
    signer: str
    signature: str
    type: str
    plan_id: str
    task_id: str
    status: str
    create_time: _timestamp_pb2.Timestamp
    size_bytes: int
    def __init__(self, artifact_id: _Optional[str] = ..., path: _Optional[str] = ..., version: _Optional[int] = ..., hash_prev: _Optional[str] = ..., hash_curr: _Optional[str] = ..., signer: _Optional[str] = ..., signature: _Optional[str] = ..., type: _Optional[str] = ..., plan_id: _Optional[str] = ..., task_id: _Optional[str] = ..., status: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class GetArtifactResponse(_message.Message):
    __slots__ = ("artifact", "content")
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    artifact: Artifact
    content: str
    def __init__(self, artifact: _Optional[_Union[Artifact, _Mapping]] = ..., content: _Optional[str] = ...) -> None: ...

class ListArtifactsRequest(_message.Message):
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

class ListArtifactsResponse(_message.Message):
    __slots__ = ("artifacts", "next_page_token")
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    artifacts: _containers.RepeatedCompositeFieldContainer[Artifact]
    next_page_token: str
    def __init__(self, artifacts: _Optional[_Iterable[_Union[Artifact, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class VerifyArtifactRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "artifact_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    artifact_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., artifact_id: _Optional[str] = ...) -> None: ...

class VerifyArtifactResponse(_message.Message):
    __slots__ = ("valid", "versions_checked", "first_bad_version", "problem", "hash_curr", "first_bad_byte", "last_bad_byte", "first_version")
    VALID_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_CHECKED_FIELD_NUMBER: _ClassVar[int]
    FIRST_BAD_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    HASH_CURR_FIELD_NUMBER: _ClassVar[int]
    FIRST_BAD_BYTE_FIELD_NUMBER: _ClassVar[int]
    LAST_BAD_BYTE_FIELD_NUMBER: _ClassVar[int]
    FIRST_VERSION_FIELD_NUMBER: _ClassVar[int]
    valid: bool
    versions_checked: int
    first_bad_version: int
    problem: str
    hash_curr: str
    first_bad_byte: int
    last_bad_byte: int
    first_version: int
    def __init__(self, valid: _Optional[bool] = ..., versions_checked: _Optional[int] = ..., first_bad_version: _Optional[int] = ..., problem: _Optional[str] = ..., hash_curr: _Optional[str] = ..., first_bad_byte: _Optional[int] = ..., last_bad_byte: _Optional[int] = ..., first_version: _Optional[int] = ...) -> None: ...

class ListArtifactVersionsRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "artifact_id", "page_size", "page_token")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    artifact_id: str
    page_size: int
    page_token: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., artifact_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListArtifactVersionsResponse(_message.Message):
    __slots__ = ("versions", "next_page_token")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[Artifact]
    next_page_token: str
    def __init__(self, versions: _Optional[_Iterable[_Union[Artifact, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DiffArtifactRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "artifact_id", "version_from", "version_to")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FROM_FIELD_NUMBER: _ClassVar[int]
    VERSION_TO_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    artifact_id: str
    version_from: int
    version_to: int
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., artifact_id: _Optional[str] = ..., version_from: _Optional[int] = ..., version_to: _Optional[int] = ...) -> None: ...

class FrontMatterChange(_message.Message):
    __slots__ = ("key", "before", "after")
    KEY_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    key: str
    before: str
    after: str
    def __init__(self, key: _Optional[str] = ..., before: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class DiffArtifactResponse(_message.Message):
    __slots__ = ("version_from", "version_to", "body_diff", "front_matter")
    VERSION_FROM_FIELD_NUMBER: _ClassVar[int]
    VERSION_TO_FIELD_NUMBER: _ClassVar[int]
    BODY_DIFF_FIELD_NUMBER: _ClassVar[int]
    FRONT_MATTER_FIELD_NUMBER: _ClassVar[int]
    version_from: int
    version_to: int
    body_diff: str
    front_matter: _containers.RepeatedCompositeFieldContainer[FrontMatterChange]
    def __init__(self, version_from: _Optional[int] = ..., version_to: _Optional[int] = ..., body_diff: _Optional[str] = ..., front_matter: _Optional[_Iterable[_Union[FrontMatterChange, _Mapping]]] = ...) -> None: ...

class AppendWorklogRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "artifact_id", "text", "request_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    artifact_id: str
    text: str
    request_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., artifact_id: _Optional[str] = ..., text: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class AppendWorklogResponse(_message.Message):
    __slots__ = ("artifact",)
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    artifact: Artifact
    def __init__(self, artifact: _Optional[_Union[Artifact, _Mapping]] = ...) -> None: ...

class SetArtifactStatusRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "artifact_id", "status", "reason", "request_id")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    artifact_id: str
    status: ArtifactStatus
    reason: str
    request_id: str
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., artifact_id: _Optional[str] = ..., status: _Optional[_Union[ArtifactStatus, str]] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class SetArtifactStatusResponse(_message.Message):
    __slots__ = ("artifact",)
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    artifact: Artifact
    def __init__(self, artifact: _Optional[_Union[Artifact, _Mapping]] = ...) -> None: ...

class UploadInputRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "name", "lenient", "file")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LENIENT_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    name: str
    lenient: bool
    file: _httpbody_pb2.HttpBody
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., name: _Optional[str] = ..., lenient: _Optional[bool] = ..., file: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ...) -> None: ...

class UploadInputResponse(_message.Message):
    __slots__ = ("ref", "size_bytes", "rows", "columns", "broken_rows", "broken_row_numbers")
    REF_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    BROKEN_ROWS_FIELD_NUMBER: _ClassVar[int]
    BROKEN_ROW_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    ref: str
    size_bytes: int
    rows: int
    columns: _containers.RepeatedScalarFieldContainer[str]
    broken_rows: int
    broken_row_numbers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, ref: _Optional[str] = ..., size_bytes: _Optional[int] = ..., rows: _Optional[int] = ..., columns: _Optional[_Iterable[str]] = ..., broken_rows: _Optional[int] = ..., broken_row_numbers: _Optional[_Iterable[int]] = ...) -> None: ...
