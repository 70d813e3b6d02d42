"""JSON Schema contracts (draft 2020-12) on the values that tasks read and write. Pure.

A schema is checked when a plan is created (`check_schema`, `incompatible`) and values are held against it when they are
made (`faults`). What is accepted is bounded so that neither can be made slow: references are local, not recursive, and
counted as if written out; patterns are run by an engine that is linear in the text and has no look-around.
"""

import functools
import itertools
import json
import math
from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs

from haas_planner.subschemas import ANNOTATIONS, ASSERTIONS, Fault, Schema, children, covered, escaped

__all__ = ["Fault", "Schema", "SchemaProblem", "check_schema", "faults", "incompatible"]

SCHEMA_BYTES_MAX: Final = 8_192
LEVELS_MAX: Final = 12  # of schemas within schemas, references written out
NODES_MAX: Final = 1_000  # schemas in a schema, references written out: a check of a value visits each of them
PATTERNS_MAX: Final = 32  # each is run over each text of a value, at some 30 MB/s
JSON_LEVELS_MAX: Final = 40  # two a schema's level, and what constants hold
VALUE_LEVELS_MAX: Final = 64
PATTERN_BYTES_MAX: Final = 65_536  # of a compiled pattern; "(a{1000}){1000}" would take tens of megabytes
RULE_CHARS_MAX: Final = 120
VALIDATORS_MAX: Final = 512
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
REFERENCE: Final = "#/$defs/"


class SchemaProblem(ValueError):
    """A schema is refused; `path` is a JSON pointer into it, `rule` says what it must keep to."""

    def __init__(self, path: str, rule: str) -> None:
        super().__init__(f"{path or '/'}: {rule}")
        self.path = path
        self.rule = rule


def check_schema(schema: Schema) -> None:
    """Checks a schema when a plan is created.

    Raises:
        SchemaProblem: it is no schema, is too large or too deep, refers to something remote or to itself, or has a
            pattern that could stall.
    """
    if not isinstance(schema, (bool, dict)):
        raise SchemaProblem("", "a schema is an object, true or false")
    if _shape(schema, JSON_LEVELS_MAX)[0] > JSON_LEVELS_MAX:
        raise SchemaProblem("", f"a schema has at most {JSON_LEVELS_MAX} levels of JSON")
    canonical = _canonical(schema)
    if len(canonical.encode()) > SCHEMA_BYTES_MAX:
        raise SchemaProblem("", f"a schema has at most {SCHEMA_BYTES_MAX} bytes")
    plain = json.loads(canonical)
    try:
        jsonschema_rs.meta.validate({**plain, "$schema": DRAFT} if isinstance(plain, dict) else plain)
    except jsonschema_rs.ValidationError as error:
        raise SchemaProblem(_pointer(error.instance_path), "is no JSON Schema of draft 2020-12") from None
    _check_keywords(plain)
    try:
        _compiled(canonical)
    except jsonschema_rs.ValidationError as error:
        raise SchemaProblem(_pointer(error.instance_path), "is refused: a pattern must be plain and small") from None


def faults(schema: Schema, value: object, limit: int = 3) -> list[Fault]:
    """Holds a value against a schema that `check_schema` has passed.

    Args:
        schema: the contract.
        value: JSON.
        limit: at most so many faults.

    Returns:
        Where and which rule is broken, never what stands there: a value may be personal. A property's name that the
        schema does not know is written "*".
    """
    levels, finite = _shape(value, VALUE_LEVELS_MAX)
    if levels > VALUE_LEVELS_MAX:
        return [Fault("", f"a value has at most {VALUE_LEVELS_MAX} levels")]
    written, validator = _compiled(_canonical(schema))
    try:
        errors = list(itertools.islice(validator.iter_errors(value), max(limit, 0))) if finite else None
    except (ValueError, TypeError, OverflowError):
        errors = None
    if errors is None:
        return [Fault("", "is no JSON")]
    names = _names(written) if errors else frozenset()
    return [Fault(_pointer(error.instance_path, names), _rule(written, error)) for error in errors]


def incompatible(producer: Schema | None, consumer: Schema | None) -> Fault | None:
    """Tells why not every value of one contract keeps the other; None where it is proved that every one does.

    Both must have passed `check_schema`. A missing schema constrains nothing and is not checked. The proof is
    structural and errs on the safe side: a keyword that it cannot reason about must stand in both alike.
    """
    if producer is None or consumer is None:
        return None
    written = [_compiled(_canonical(schema))[0] for schema in (producer, consumer)]
    return covered(*written, lambda schema: _validator(schema).is_valid)


def _canonical(value: object) -> str:
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError):
        raise SchemaProblem("", "a schema is JSON") from None
    return text


@functools.lru_cache(maxsize=VALIDATORS_MAX)
def _compiled(canonical: str) -> tuple[Schema, jsonschema_rs.Draft202012Validator]:
    """Returns a schema without references and annotations, a reference replaced by what it names, and its validator."""
    schema = json.loads(canonical)
    definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    written = _Expansion(definitions).of(schema, "", 1, ())
    return written, _validator(written)


def _validator(schema: Schema) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        schema,
        validate_formats=True,
        offline=True,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES_MAX, dfa_size_limit=PATTERN_BYTES_MAX * 16),
    )


def _shape(value: object, stop: int) -> tuple[int, bool]:
    """Levels of nesting, counted without recursion until just past a limit, and whether all numbers are finite."""
    level, depth, finite = [value], 0, True
    while depth <= stop:
        finite = finite and all(math.isfinite(node) for node in level if isinstance(node, float))
        inner = [node for node in level if isinstance(node, (dict, list, tuple))]
        if not inner:
            break
        depth += 1
        level = [x for node in inner for x in (node.values() if isinstance(node, dict) else node)]
    return depth, finite


def _check_keywords(schema: Schema) -> None:
    """Refuses keywords that are unknown, or that reach out of the schema; checks all definitions, used or not."""
    stack: list[tuple[str, Schema, bool]] = [("", schema, True)]
    while stack:
        path, node, is_root = stack.pop()
        if isinstance(node, bool):
            continue
        for keyword, value in node.items():
            where = f"{path}/{escaped(keyword)}"
            if keyword == "$ref":
                if not isinstance(value, str) or not value.startswith(REFERENCE) or "/" in value[len(REFERENCE) :]:
                    raise SchemaProblem(where, f"a reference is local: {REFERENCE}name")
            elif keyword == "$schema":
                if value != DRAFT:
                    raise SchemaProblem(where, f"the draft is {DRAFT}")
            elif keyword == "$defs":
                if not is_root:
                    raise SchemaProblem(where, "definitions stand at the top")
            elif keyword not in ANNOTATIONS and keyword not in ASSERTIONS and not keyword.startswith("x-"):
                raise SchemaProblem(where, "is no keyword that a contract may use")
        stack.extend((path + step, child, False) for step, child in children(node))
        if is_root:
            stack.extend((f"/$defs/{escaped(k)}", child, False) for k, child in node.get("$defs", {}).items())


class _Expansion:
    """Writes references out, and counts what comes of it."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._nodes = 0
        self._patterns = 0

    def of(self, node: Schema, path: str, level: int, within: tuple[str, ...]) -> Schema:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise SchemaProblem(path, f"a schema has at most {NODES_MAX} parts, references written out")
        if level > LEVELS_MAX:
            raise SchemaProblem(path, f"a schema has at most {LEVELS_MAX} levels, references written out")
        if isinstance(node, bool):
            return node
        self._patterns += ("pattern" in node) + len(node.get("patternProperties", ()))
        if self._patterns > PATTERNS_MAX:
            raise SchemaProblem(path, f"a schema has at most {PATTERNS_MAX} patterns, references written out")
        kept = {k: v for k, v in node.items() if k not in ANNOTATIONS and not k.startswith(("$", "x-"))}
        for step, child in children(kept):
            _place(kept, step, self.of(child, path + step, level + 1, within))
        if "$ref" not in node:
            return kept
        name = _unescaped(node["$ref"][len(REFERENCE) :])
        if name not in self._definitions:
            raise SchemaProblem(f"{path}/$ref", "there is no such definition")
        if name in within:
            raise SchemaProblem(f"{path}/$ref", "a reference must not lead back to itself")
        target = self.of(self._definitions[name], f"/$defs/{escaped(name)}", level, (*within, name))
        # The neighbours of a reference stay at its side: `unevaluatedProperties` must see what it evaluates.
        return {**kept, "allOf": [target, *kept.get("allOf", ())]} if kept else target


def _place(node: dict[str, Any], step: str, child: Schema) -> None:
    """Puts a child back where `children` found it, without touching what the node was copied from."""
    keyword, *rest = (_unescaped(part) for part in step.removeprefix("/").split("/"))
    if not rest:
        node[keyword] = child
    elif isinstance(node[keyword], list):
        node[keyword] = [child if str(i) == rest[0] else old for i, old in enumerate(node[keyword])]
    else:
        node[keyword] = {**node[keyword], rest[0]: child}


def _unescaped(name: str) -> str:
    return name.replace("~1", "/").replace("~0", "~")


def _pointer(path: list[str | int], names: frozenset[str] | None = None) -> str:
    known = (p if isinstance(p, int) or names is None or p in names else "*" for p in path)
    return "".join("/" + escaped(str(part)) for part in known)


def _names(schema: Schema) -> frozenset[str]:
    """Every name of a property that a schema itself says."""
    found: set[str] = set()
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            found.update(node.get("properties", ()), node.get("required", ()))
            stack.extend(child for _, child in children(node))
    return frozenset(found)


def _rule(schema: Schema, error: jsonschema_rs.ValidationError) -> str:
    """Says the rule in the schema's own words, which hold nothing of the value."""
    if not error.schema_path:
        return "no value is allowed here"
    keyword = str(error.schema_path[-1])
    if keyword == "required":
        return f"required: “{error.kind.as_dict()['property']}” is missing"
    node: Any = schema
    for step in error.schema_path:
        try:
            node = node[step]
        except (LookupError, TypeError):
            return keyword
    if node is False and keyword not in ASSERTIONS:
        return "no value is allowed here"
    text = f"{keyword}: {json.dumps(node, ensure_ascii=False)}"
    return text if len(text) <= RULE_CHARS_MAX else keyword
