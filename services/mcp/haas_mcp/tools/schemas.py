"""The JSON Schemas of the tools' arguments and results (2020-12)."""

from typing import Any

_NAME = {"type": "string", "minLength": 1, "maxLength": 200}
_REF = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
_SCALAR = {"type": ["string", "number", "boolean", "null"], "maxLength": 1000}


def _object(properties: dict[str, Any], required: list[str], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **more,
    }


_CONDITION = _object(
    {
        "column": _NAME,
        "op": {"enum": ["eq", "ne", "lt", "le", "gt", "ge", "in", "contains"]},
        "value": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR, "maxItems": 200}]},
    },
    ["column", "op", "value"],
)
_AGGREGATE = _object(
    {
        "name": _NAME,
        "op": {"enum": ["count", "count_if", "sum", "mean", "min", "max", "count_distinct"]},
        "column": _NAME,
        "equals": _SCALAR,
    },
    ["name", "op"],
)
_GROUP = {
    "anyOf": [
        _NAME,
        _object({"column": _NAME, "by": {"enum": ["year", "month", "day"]}, "name": _NAME}, ["column", "by"]),
    ]
}
_QUERY = _object(
    {
        "name": _NAME,
        "group_by": {"type": "array", "items": _GROUP, "maxItems": 5},
        "where": {"type": "array", "items": _CONDITION, "maxItems": 20},
        "aggregates": {"type": "array", "items": _AGGREGATE, "maxItems": 20},
        "order_by": _NAME,
        "descending": {"type": "boolean"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 10_000},
    },
    ["name"],
)
TABLE_INPUT = _object(
    {
        "ref": _REF,
        "format": {"enum": ["csv", "json"]},
        "lenient": {"type": "boolean"},
        "describe": {"type": "boolean"},
        "queries": {"type": "array", "items": _QUERY, "maxItems": 20},
    },
    ["ref"],
)
_COUNT = {"type": "integer", "minimum": 0}
_COLUMN = _object(
    {
        "name": {"type": "string"},
        "type": {"enum": ["number", "date", "text", "bool"]},
        "missing": _COUNT,
        "distinct": _COUNT,
        "examples": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
    },
    ["name", "type", "missing", "distinct", "examples"],
)
TABLE_OUTPUT = _object(
    {
        "rows": _COUNT,
        "broken_rows": _COUNT,
        "columns": {"type": "array", "items": _COLUMN},
        "results": {
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
                },
            },
        },
    },
    ["rows", "broken_rows", "columns", "results"],
)

_ARTIFACT_ID = {"type": "string", "pattern": "^artf-[a-z0-9][a-z0-9_-]{0,122}$"}
ARTIFACT_READ_INPUT = _object(
    {"artifact_id": _ARTIFACT_ID, "ref": _REF},
    [],
    oneOf=[{"required": ["artifact_id"]}, {"required": ["ref"]}],
)
ARTIFACT_READ_OUTPUT = _object(
    {
        "content": {"type": "string"},
        "artifact_id": {"type": "string"},
        "version": _COUNT,
        "hash_curr": {"type": "string"},
    },
    ["content", "artifact_id", "version", "hash_curr"],
)
ARTIFACT_WRITE_INPUT = _object(
    {
        "artifact_id": _ARTIFACT_ID,
        # Names of letters, digits, dot, dash and underscore; none of them only dots.
        "path": {
            "type": "string",
            "maxLength": 200,
            "pattern": r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*){0,7}$",
        },
        "type": {"type": "string", "pattern": r"^[a-z][a-z0-9_.]{0,62}$"},
        "body": {"type": "string", "minLength": 1, "maxLength": 512 * 1024},
    },
    ["artifact_id", "path", "type", "body"],
)
ARTIFACT_WRITE_OUTPUT = _object(
    {
        "artifact_id": {"type": "string"},
        "path": {"type": "string"},
        "version": {"type": "integer", "minimum": 1},
        "hash_curr": {"type": "string"},
        "ref": _REF,
    },
    ["artifact_id", "path", "version", "hash_curr", "ref"],
)

HTTP_INPUT = _object(
    {
        "method": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
        "url": {"type": "string", "minLength": 1, "maxLength": 2048},
        "headers": {
            "type": "object",
            "maxProperties": 32,
            "additionalProperties": {"type": "string", "maxLength": 4096, "pattern": r"^[\t\x20-\x7e]*$"},
        },
        "body": {"type": "string", "maxLength": 256 * 1024},
    },
    ["method", "url"],
)
HTTP_OUTPUT = _object(
    {
        "status": {"type": "integer", "minimum": 100, "maximum": 599},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        "body": {"type": "string"},
        "truncated": {"type": "boolean"},
    },
    ["status", "headers", "body", "truncated"],
)
