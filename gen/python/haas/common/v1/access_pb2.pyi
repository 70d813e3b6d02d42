from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
ACCESS_FIELD_NUMBER: _ClassVar[int]
access: _descriptor.FieldDescriptor

class Access(_message.Message):
    __slots__ = ("caller", "scope", "peers", "deadline_s")
    class Caller(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CALLER_UNSPECIFIED: _ClassVar[Access.Caller]
        CALLER_PUBLIC: _ClassVar[Access.Caller]
        CALLER_TENANT: _ClassVar[Access.Caller]
        CALLER_OPERATOR: _ClassVar[Access.Caller]
        CALLER_PEER: _ClassVar[Access.Caller]
    CALLER_UNSPECIFIED: Access.Caller
    CALLER_PUBLIC: Access.Caller
    CALLER_TENANT: Access.Caller
    CALLER_OPERATOR: Access.Caller
    CALLER_PEER: Access.Caller
    CALLER_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    caller: Access.Caller
    scope: str
    peers: _containers.RepeatedScalarFieldContainer[str]
    deadline_s: int
    def __init__(self, caller: _Optional[_Union[Access.Caller, str]] = ..., scope: _Optional[str] = ..., peers: _Optional[_Iterable[str]] = ..., deadline_s: _Optional[int] = ...) -> None: ...
