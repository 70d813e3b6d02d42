"""Contracts of values: what is a schema, what a value breaks, and which schema covers which."""

import contextlib
import itertools
import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from haas_planner import schemas
from haas_planner.schemas import Fault, SchemaProblem, check_schema, faults, incompatible

ORDER = {
    "$schema": schemas.DRAFT,
    "title": "An order",
    "$defs": {"money": {"type": "number", "minimum": 0}},
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^o-[0-9]+$"},
        "total": {"$ref": "#/$defs/money"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"price": {"$ref": "#/$defs/money"}}}},
    },
    "required": ["id", "total"],
    "additionalProperties": False,
    "x-owner": "sales",
}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels - 1):
        schema = {"properties": {"a": schema}}
    return schema


def doubling(count: int) -> dict[str, Any]:
    """Every definition names the next one twice: 2 ** count parts when written out."""
    defs = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(count)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{count}": {"type": "string"}}}


@pytest.mark.parametrize(
    "schema",
    [True, False, {}, ORDER, nested(schemas.LEVELS_MAX), {"$comment": "é" * 4_000}, {"not": {"required": ["a"]}}],
)
def test_a_schema_is_accepted(schema: Any) -> None:
    check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        (None, ""),
        ([], ""),
        ({"type": "text"}, "/type"),
        ({"properties": {"a/b": {"minLength": -1}}}, "/properties/a~1b/minLength"),
        ({"multipleOf": 0}, "/multipleOf"),
        ({"required": "a"}, "/required"),
        ({"const": float("nan")}, ""),
        ({"const": {1, 2}}, ""),
        ({"const": "\ud800"}, ""),
        ({"$comment": "x" * schemas.SCHEMA_BYTES_MAX}, ""),
        ({"$comment": "é" * 4_100}, ""),
        (nested(schemas.LEVELS_MAX + 1), "/properties/a" * schemas.LEVELS_MAX),
        (nested(50_000), ""),
        ({"const": json.loads("[" * 50 + "]" * 50)}, ""),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
        ({"$id": "https://example.org/s"}, "/$id"),
        ({"$anchor": "a"}, "/$anchor"),
        ({"$dynamicRef": "#a"}, "/$dynamicRef"),
        ({"requierd": ["a"]}, "/requierd"),
        ({"items": {"$defs": {}}}, "/items/$defs"),
        ({"$ref": "https://example.org/s"}, "/$ref"),
        ({"$ref": "file:///etc/passwd"}, "/$ref"),
        ({"$ref": "#"}, "/$ref"),
        ({"$ref": "#/properties/a", "properties": {"a": True}}, "/$ref"),
        ({"items": {"$ref": "#/$defs/none"}}, "/items/$ref"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "/$defs/a/items/$ref"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "/$defs/b/$ref"),
        ({"$defs": {"unused": {"requierd": []}}}, "/$defs/unused/requierd"),
        ({"pattern": "("}, "/pattern"),
        ({"pattern": "(a+)+(?=b)"}, "/pattern"),
        ({"pattern": r"(a)\1"}, "/pattern"),
        ({"properties": {"a": {"pattern": "(a{1000}){1000}"}}}, "/properties/a/pattern"),
        ({"items": {"patternProperties": {f"a{n}": True for n in range(33)}}}, "/items"),
        ({"patternProperties": {"(a{1000}){1000}": True}}, "/patternProperties/(a{1000}){1000}"),
    ],
)
def test_what_is_no_bounded_schema_is_refused_with_its_place(schema: Any, path: str) -> None:
    with pytest.raises(SchemaProblem) as caught:
        check_schema(schema)
    assert caught.value.path == path
    assert caught.value.rule


def test_references_that_multiply_are_counted_as_if_written_out() -> None:
    check_schema(doubling(3))
    for count in (10, 60):
        with pytest.raises(SchemaProblem, match=r"parts|levels"):
            check_schema(doubling(count))


def test_a_pattern_that_would_backtrack_runs_in_linear_time() -> None:
    schema = {"type": "string", "pattern": "^(a+)+$"}
    check_schema(schema)
    assert faults(schema, "a" * 200_000 + "b") == [Fault("", 'pattern: "^(a+)+$"')]


def test_a_value_that_keeps_its_contract_has_no_fault() -> None:
    assert faults(ORDER, {"id": "o-1", "total": 3.5, "lines": [{"price": 0}]}) == []
    assert faults(True, object.__name__) == []


def test_faults_name_path_and_rule_and_never_the_value() -> None:
    value = {"id": "secret", "total": "secret", "lines": [{"price": -77}], "secret": 1}
    found = faults(ORDER, value, limit=10)
    assert set(found) == {
        Fault("/id", 'pattern: "^o-[0-9]+$"'),
        Fault("/total", 'type: "number"'),
        Fault("/lines/0/price", "minimum: 0"),
        Fault("", "additionalProperties: false"),
    }
    assert faults(ORDER, {}, 1) == [Fault("", "required: “id” is missing")]
    assert len(faults(ORDER, value)) == 3


def test_a_name_that_the_schema_does_not_say_is_not_told() -> None:
    schema = {"properties": {"known": {"type": "object", "additionalProperties": {"type": "integer"}}}}
    assert faults(schema, {"known": {"ana@example.org": "x"}}) == [Fault("/known/*", 'type: "integer"')]
    assert faults({"propertyNames": {"maxLength": 3}}, {"ana@example.org": 1})[0].path in ("", "/*")
    assert "ana" not in str(faults({"propertyNames": {"maxLength": 3}}, {"ana@example.org": 1}))


@pytest.mark.parametrize("value", [{1: 2}, {1, 2}, b"x", "\ud800", float("nan"), {"a": [float("inf")]}, object()])
def test_what_is_no_json_is_a_fault(value: object) -> None:
    assert faults({}, value) == [Fault("", "is no JSON")]


def test_a_value_that_is_too_deep_is_a_fault() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert [fault.path for fault in faults({}, value)] == [""]


def test_a_closed_branch_is_a_fault_without_words_of_the_value() -> None:
    assert faults({"properties": {"a": False}}, {"a": "secret"}) == [Fault("/a", "no value is allowed here")]
    assert faults(False, "secret") == [Fault("", "no value is allowed here")]


def test_unevaluated_properties_see_through_a_reference_beside_them() -> None:
    schema = {"$defs": {"a": {"properties": {"x": True}}}, "$ref": "#/$defs/a", "unevaluatedProperties": False}
    check_schema(schema)
    assert faults(schema, {"x": 1}) == []
    assert faults(schema, {"y": 1}) != []


OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CLOSED = {**OBJECT, "additionalProperties": False}
CAT = {"type": "object", "properties": {"kind": {"const": "cat"}, "n": {"type": "integer"}}, "required": ["kind"]}
DOG = {"type": "object", "properties": {"kind": {"const": "dog"}, "n": {"type": "string"}}, "required": ["kind"]}


@pytest.mark.parametrize(
    ("producer", "consumer"),
    [
        (None, {"type": "string"}),
        ({"type": "string"}, None),
        (False, {"type": "string"}),
        ({"type": "string"}, True),
        ({"type": "integer"}, {"type": "number"}),
        ({"type": ["integer", "null"]}, {"anyOf": [{"type": "number"}, {"type": "null"}]}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": ["null", "string", "array"]}),
        ({"enum": [1, "a"]}, {"enum": ["a", 1.0, 2]}),
        ({"const": 4}, {"multipleOf": 2, "not": {"type": "string"}}),
        ({"type": "boolean"}, {"enum": [True, False, 1]}),
        ({"type": "string", "minLength": 2, "maxLength": 3}, {"minLength": 1, "maxLength": 3}),
        ({"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^a"}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"minimum": 1}),
        ({"type": "integer", "minimum": 1}, {"exclusiveMinimum": 0}),
        ({"type": "number", "maximum": 5}, {"exclusiveMaximum": 5.5}),
        ({"type": "integer", "multipleOf": 6}, {"multipleOf": 3}),
        ({"type": "integer"}, {"type": "number", "multipleOf": 1}),
        (CLOSED, OBJECT),
        (OBJECT, {"type": "object", "required": ["a"], "minProperties": 1}),
        (CLOSED, {"properties": {"a": {"type": "number"}, "b": {"type": "string"}}, "maxProperties": 1}),
        ({**OBJECT, "additionalProperties": {"type": "integer"}}, {"additionalProperties": {"type": "number"}}),
        ({"allOf": [OBJECT, {"properties": {"b": {"minimum": 3}}}]}, {"properties": {"b": {"minimum": 2}}}),
        ({"type": "array", "items": {"enum": [1, 2]}}, {"items": {"type": "integer", "minimum": 1}}),
        (
            {"type": "array", "prefixItems": [{"type": "string"}], "items": False},
            {"prefixItems": [{"type": "string"}, {"type": "null"}], "items": {"type": "null"}, "maxItems": 1},
        ),
        (CAT, {"oneOf": [CAT, DOG]}),
        ({"oneOf": [CAT, DOG]}, {"oneOf": [DOG, CAT]}),
        ({"type": "string"}, {"oneOf": [{"type": "string"}, {"type": "null"}]}),
        ({"not": {"type": "null"}}, {"not": {"type": "null"}, "title": "x"}),
        ({"type": "integer"}, {"type": "integer", "patternProperties": {"a": {"type": "null"}}}),
        (
            {"$ref": "#/$defs/x", "$defs": {"x": {"type": "integer"}}},
            {"$ref": "#/$defs/y", "$defs": {"y": {"type": "number"}}},
        ),
    ],
)  # fmt: skip
def test_a_producer_that_is_narrower_fits(producer: Any, consumer: Any) -> None:
    assert incompatible(producer, consumer) is None


@pytest.mark.parametrize(
    ("producer", "consumer", "path", "rule"),
    [
        ({"type": "number"}, {"type": "integer"}, "", "type"),
        (True, {"type": "string"}, "", "type"),
        ({"type": "string"}, False, "", "no value"),
        ({"type": "string"}, {"enum": ["a"]}, "", "enum"),
        ({"enum": ["a", "b"]}, {"const": "a"}, "", "a value"),
        ({"enum": [True]}, {"const": 1}, "", "a value"),
        ({"type": "string"}, {"maxLength": 3}, "", "maxLength"),
        ({"type": "string", "pattern": "^a"}, {"pattern": "^b"}, "", "pattern"),
        ({"type": "string"}, {"format": "date"}, "", "format"),
        ({"type": "number", "minimum": 0}, {"exclusiveMinimum": 0}, "", "exclusiveMinimum"),
        ({"type": "number", "multipleOf": 0.3}, {"multipleOf": 0.1}, "", "multipleOf"),
        (OBJECT, {"required": ["b"]}, "", "required: “b”"),
        (OBJECT, CLOSED, "/*", "no value"),
        (OBJECT, {"properties": {"a": {"type": "string"}}}, "/a", "type"),
        (OBJECT, {"properties": {"b": {"type": "string"}}}, "/b", "type"),
        ({"type": "object"}, {"maxProperties": 3}, "", "maxProperties"),
        ({"type": "object"}, {"minProperties": 1}, "", "minProperties"),
        ({"type": "array", "items": {"type": "integer"}}, {"items": {"type": "string"}}, "/*", "type"),
        ({"type": "array", "prefixItems": [{"type": "null"}]}, {"prefixItems": [{"type": "string"}]}, "/0", "type"),
        ({"type": "array"}, {"minItems": 1}, "", "minItems"),
        ({"type": "array"}, {"maxItems": 1}, "", "maxItems"),
        ({"type": "array"}, {"uniqueItems": True}, "", "uniqueItems"),
        ({"type": "array", "maxItems": 2}, {"uniqueItems": True}, "", "uniqueItems"),
        ({"type": "integer", "minimum": 1}, {"minimum": 2}, "", "minimum"),
        ({"type": "integer", "maximum": 1}, {"exclusiveMaximum": 1}, "", "exclusiveMaximum"),
        ({"type": "integer", "not": {"const": True}}, {"type": "integer", "not": {"const": 1}}, "", "not"),
        ({"type": ["string", "array"]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "", "anyOf"),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "", "a value"),
        ({"type": "integer"}, {"oneOf": [{"type": "integer"}, {"type": "number"}]}, "", "oneOf"),
        ({"type": "string"}, {"not": {"const": "a"}}, "", "not"),
        ({"type": "object"}, {"patternProperties": {"^a": {"type": "null"}}}, "", "patternProperties"),
        ({"type": "object"}, {"propertyNames": {"maxLength": 3}}, "", "propertyNames"),
        ({"type": "array"}, {"contains": {"type": "null"}}, "", "contains"),
        ({"type": "string"}, {"newKeyword": 1}, "", "newKeyword"),
        (
            {"type": "object", "patternProperties": {"^x": True}, "additionalProperties": False},
            {"additionalProperties": False}, "/*", "no value",
        ),
    ],
)  # fmt: skip
def test_a_producer_that_is_wider_is_told_where_and_why(producer: Any, consumer: Any, path: str, rule: str) -> None:
    fault = incompatible(producer, consumer)
    assert fault is not None
    assert fault.path == path
    assert rule in fault.rule


def test_what_is_too_intricate_to_compare_is_a_fault() -> None:
    choice = {"anyOf": [{"minimum": n} for n in range(5)]}
    fault = incompatible({"allOf": [choice] * 20}, {"type": "integer"})
    assert fault is not None
    assert "intricate" in fault.rule
    wide = {"enum": [f"{n}" for n in range(800)]}
    assert incompatible({"allOf": [wide] * 1}, {"minLength": 1}) is None


def test_rules_that_refer_to_each_other_do_not_leave_out_what_they_allow() -> None:
    """`unevaluatedProperties` says more alone than beside what evaluates."""
    given_schema = {
        "anyOf": [{"properties": {"a": True}}], "unevaluatedProperties": False, "enum": [{"a": 1}], "type": "object",
    }  # fmt: skip
    assert incompatible(given_schema, {"properties": {"a": {"type": "string"}}}) is not None


# A small world: schemas of few words, and every small value that they can tell apart.
SCALARS = [None, True, False, -1, 0, 1, 2, 3, 4, 6, 1.0, 0.5, 2.5, "", "a", "ab", "abc"]
FEW: list[Any] = [None, 0, 1, 2.5, "a", "ab", [], {}]
WORLD: list[Any] = [
    *SCALARS,
    *([x] for x in SCALARS),
    *(list(pair) for pair in itertools.product(FEW, FEW)),
    [1, 2, 3], ["a", "a", "a"], [[1], ["a"]], [{"a": 1}], [0, "a", None],
    *(
        {k: v for k, v in zip("abc", chosen, strict=True) if v != "-"}
        for chosen in itertools.product(["-", None, 1, 2.5, "a", [1]], ["-", 1, "ab", True], ["-", 0, {"a": 1}])
    ),
    {"a": {"a": 1}}, {"a": {"a": "a", "b": 1}}, {"a": [1, "a"]}, {"d": 1}, {"a": 1, "d": "a"},
]  # fmt: skip
numbers = st.sampled_from([-1, 0, 1, 2, 3, 0.5, 2.5])
counts = st.integers(0, 3)
kinds = st.sampled_from(["null", "boolean", "string", "array", "object", "integer", "number"])


names = st.sampled_from("abc")
KEYWORDS: dict[str, st.SearchStrategy[Any]] = {
    "type": kinds | st.lists(kinds, min_size=1, max_size=3, unique=True),
    "minimum": numbers, "maximum": numbers, "exclusiveMinimum": numbers, "exclusiveMaximum": numbers,
    "multipleOf": st.sampled_from([1, 2, 3, 0.5]), "minLength": counts, "maxLength": counts,
    "pattern": st.sampled_from(["^a", "b$"]), "minItems": counts, "maxItems": counts, "uniqueItems": st.booleans(),
    "required": st.lists(names, unique=True, max_size=2), "minProperties": counts, "maxProperties": counts,
    "enum": st.lists(st.sampled_from(WORLD), min_size=1, max_size=4), "const": st.sampled_from(WORLD),
}  # fmt: skip
WITHIN = (
    "items", "contains", "additionalProperties", "not", "if", "then", "unevaluatedProperties", "unevaluatedItems",
    "prefixItems", "anyOf", "oneOf", "allOf", "properties", "patternProperties",
)  # fmt: skip
# Those that are reasoned about most come up most.
OFTEN = (
    "type",
    "type",
    "type",
    "properties",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "oneOf",
)


@st.composite
def schemas_(draw: st.DrawFn, depth: int = 2) -> Any:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.booleans())
    simple = tuple(KEYWORDS)
    choice = simple if depth == 0 else (*simple, *WITHIN, *OFTEN)
    found: dict[str, Any] = {}
    for keyword in draw(st.lists(st.sampled_from(choice), min_size=1, max_size=4, unique=True)):
        if keyword in KEYWORDS:
            found[keyword] = draw(KEYWORDS[keyword])
        elif keyword in ("prefixItems", "anyOf", "oneOf", "allOf"):
            found[keyword] = draw(st.lists(schemas_(depth - 1), min_size=1, max_size=2))
        elif keyword == "properties":
            found[keyword] = draw(st.dictionaries(names, schemas_(depth - 1), max_size=2))
        elif keyword == "patternProperties":
            found[keyword] = draw(st.dictionaries(st.sampled_from(["a", "^b", "d"]), schemas_(depth - 1), max_size=1))
        else:
            found[keyword] = draw(schemas_(depth - 1))
    return found


@st.composite
def weaker(draw: st.DrawFn, schema: Any) -> Any:
    """A schema that often allows more: keywords left out, types added, bounds moved, alternatives added."""
    if isinstance(schema, bool):
        return draw(st.sampled_from([True, schema]))
    found = {}
    for keyword, value in schema.items():
        move = draw(st.integers(0, 5))
        if move == 0:
            continue
        if move == 1 and keyword == "type":
            found[keyword] = [*([value] if isinstance(value, str) else value), "null"]
            found[keyword] = list(dict.fromkeys(found[keyword]))
        elif move <= 2 and keyword in ("items", "additionalProperties", "contains"):
            found[keyword] = draw(weaker(value))
        elif move <= 2 and keyword == "properties":
            found[keyword] = {k: draw(weaker(v)) for k, v in value.items()}
        elif move <= 2 and keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            found[keyword] = [draw(weaker(v)) for v in value]
        elif move == 3 and keyword in ("minimum", "minItems", "minLength", "minProperties"):
            found[keyword] = max(0, value - 1) if keyword != "minimum" else value - 1
        else:
            found[keyword] = value
    shape = draw(st.integers(0, 6))
    if shape == 0:
        return {"anyOf": [found, draw(schemas_())]}
    if shape == 1:
        return {"oneOf": [found, draw(schemas_())]}
    return found


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    producer = draw(schemas_())
    if draw(st.integers(0, 3)) == 0:
        producer = {"allOf": [producer, draw(schemas_())]}
    return producer, draw(weaker(producer) | schemas_())


@settings(max_examples=500, deadline=None)
@given(pairs())
def test_what_is_called_compatible_is_so_for_every_value_of_a_small_world(pair: tuple[Any, Any]) -> None:
    producer, consumer = pair
    fault = incompatible(producer, consumer)
    event("compatible" if fault is None else "incompatible")
    if fault is not None:
        return
    gives = jsonschema_rs.Draft202012Validator(producer)
    takes = jsonschema_rs.Draft202012Validator(consumer)
    wrong = [value for value in WORLD if gives.is_valid(value) and not takes.is_valid(value)]
    assert wrong == []


@settings(max_examples=300, deadline=None)
@given(schemas_())
def test_every_schema_is_compatible_with_itself_and_with_no_constraint(schema: Any) -> None:
    assert incompatible(schema, schema) is None
    assert incompatible(schema, True) is None
    assert incompatible(False, schema) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_any_json_is_a_schema_or_a_schema_problem(schema: Any) -> None:
    with contextlib.suppress(SchemaProblem):
        check_schema(schema)


@settings(max_examples=300, deadline=None)
@given(schemas_(), st.sampled_from(WORLD) | json_values)
def test_faults_agree_with_the_validator_whatever_the_schema(schema: Any, value: Any) -> None:
    check_schema(schema)
    found = faults(schema, value)
    assert len(found) <= 3
    if Fault("", "is no JSON") not in found:
        assert (found == []) == jsonschema_rs.Draft202012Validator(schema).is_valid(value)
