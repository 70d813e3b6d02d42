"""A valid payload of every event type, made from its model: what a test does not care about is filled in."""

from functools import cache
from typing import Any

from haas_common.events import EVENT_TYPES

_PATTERNS = {
    "^sha256:[0-9a-f]{64}$": "sha256:" + "0" * 64,
    "^[0-9a-f]{64}$": "0" * 64,
    "^[0-9a-f]{16}$": "0" * 16,
}


@cache
def schema_of(event_type: str) -> dict[str, Any]:
    """Returns the JSON schema of a type's payload."""
    return EVENT_TYPES[event_type].payload.model_json_schema()


def sample(event_type: str, **given: object) -> dict[str, Any]:
    """Returns a payload with every required field of its type, and what is given beside or instead."""
    schema = schema_of(event_type)
    return {**_value(schema, schema), **given}


def resolved(schema: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Returns what a part of a schema refers to, or the part itself."""
    return whole["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _value(part: dict[str, Any], whole: dict[str, Any]) -> Any:
    schema = resolved(part, whole)
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], whole)
    if "enum" in schema or "const" in schema:
        return schema["enum"][0] if "enum" in schema else schema["const"]
    kind = schema["type"]
    if kind == "object":
        fields = schema.get("properties", {})
        return {name: _value(fields[name], whole) for name in schema.get("required", ())}
    if kind == "array":
        return [_value(schema["items"], whole) for _ in range(schema.get("minItems", 0))]
    if kind == "string":
        return _PATTERNS[schema["pattern"]] if "pattern" in schema else "x"
    return {"integer": 1, "number": 1.0, "boolean": False}[kind]
