"""google.protobuf.Struct as plain JSON values: a Struct knows doubles only, so whole numbers become int again."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2

DEPTH_MAX = 16
# Above this a double no longer tells neighbouring integers apart.
_EXACT = 2**53


class StructInvalid(ValueError):
    """The Struct is nested too deep, or holds a number that JSON cannot say. `rule` is "depth_max" or "json"."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


def read_struct(struct: struct_pb2.Struct, depth_max: int = DEPTH_MAX) -> dict[str, Any]:
    """Returns a Struct's values with 13766.0 as 13766.

    Raises:
        StructInvalid: nested deeper than `depth_max` levels, or a number is infinite or not a number.
    """
    try:
        found = json_format.MessageToDict(struct)
    except (ValueError, json_format.Error, RecursionError):
        raise StructInvalid("json", "a number is not finite") from None
    return _plain(found, depth_max)


def _plain(value: Any, levels: int) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if not isinstance(value, Mapping | list):
        return value
    if levels <= 0:
        raise StructInvalid("depth_max", "nested too deep")
    if isinstance(value, Mapping):
        return {key: _plain(inner, levels - 1) for key, inner in value.items()}
    return [_plain(inner, levels - 1) for inner in value]
