"""Texts that no store of ours can keep: PostgreSQL has no U+0000, as a character or escaped in JSON."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

NUL = "\0"


def holds_nul(message: Message) -> bool:
    """Tells whether a text anywhere in a message holds U+0000. Bytes fields are not texts."""
    return any(_field_holds_nul(field, value) for field, value in message.ListFields())


def _field_holds_nul(field: FieldDescriptor, value: Any) -> bool:
    if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
        return False
    if field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
        return any(map(_holds, value)) or any(map(_holds, value.values()))
    values: Iterable[Any] = value if field.is_repeated else (value,)
    return any(map(_holds, values))


def _holds(value: Any) -> bool:
    if isinstance(value, Message):
        return holds_nul(value)
    return isinstance(value, str) and NUL in value


def nul_in(value: Any) -> bool:
    """Tells whether a text anywhere in a JSON value holds U+0000, keys included; without recursion."""
    level = [value]
    while level:
        inner: list[Any] = []
        for found in level:
            if isinstance(found, str):
                if NUL in found:
                    return True
            elif isinstance(found, dict):
                inner += [*found, *found.values()]
            elif isinstance(found, list | tuple):
                inner += found
        level = inner
    return False
