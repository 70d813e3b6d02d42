"""Transforms: what JMESPath gives, and that no expression runs long, takes much memory or raises anything else."""

import contextlib
import copy
import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haas_planner import transform
from haas_planner.transform import DEPTH_MAX, EXPRESSION_BYTES_MAX, INPUT_BYTES_MAX, OUTPUT_BYTES_MAX, TransformFault

DOCUMENT = {
    "inputs": {
        "orders": [{"id": 2, "total": 10.5, "tags": ["a", "b"]}, {"id": 1, "total": 4, "tags": ["b"]}],
        "person": {"name": "Ana", "email": "ana@example.org"},
    },
    "params": {"limit": 5},
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("{ids: inputs.orders[*].id, n: length(inputs.orders)}", {"ids": [2, 1], "n": 2}),
        ("{total: sum(inputs.orders[].total)}", {"total": 14.5}),
        ("inputs.orders[?total > `5`].id | [0]", 2),
        ("sort_by(inputs.orders, &id)[*].total", [4, 10.5]),
        ("max_by(inputs.orders, &total).id", 2),
        ("inputs.orders[].tags[]", ["a", "b", "b"]),
        ("inputs.orders[::-1].id", [1, 2]),
        ("inputs.person.* | sort(@)", ["Ana", "ana@example.org"]),
        ("merge(inputs.person, {name: 'Eva'}).name", "Eva"),
        ("contains(inputs.orders[0].tags, 'b') && !contains('abc', 'd')", True),
        ("inputs.nothing", None),
        ("inputs.person == {email: 'ana@example.org', name: 'Ana'}", True),
        ("'a' == 'ab' || 'a' < 'b'", True),
        ("`1` == `true`", False),
        ("join(', ', inputs.orders[*].to_string(id))", "2, 1"),
        ("to_string({b: `1`, a: 'é'})", '{"a":"\\u00e9","b":1}'),
        ("map(&to_number(@), ['1', 'x', '2.5'])", [1, None, 2.5]),
        ("[`\"\\u00e9\\u0060\"`, 'it\\'s']", ["é`", "it's"]),
    ],
)
def test_an_expression_gives_what_jmespath_says(expression: str, value: object) -> None:
    transform.check(expression)
    assert transform.apply(expression, DOCUMENT) == value


@pytest.mark.parametrize(
    ("expression", "rule"),
    [
        ("", "no JMESPath"),
        ("inputs.", "no JMESPath"),
        ("inputs.#", "no JMESPath at character 8"),
        ("`foo`", "no JMESPath"),
        ("`1e999`", "out of range"),
        ("`NaN`", "out of range"),
        ('`"\\u0000"`', "NUL"),
        ("system('ls')", "no function “system”"),
        ("inputs[*].[evil(@)]", "no function “evil”"),
        ("length()", "takes 1 arguments"),
        ("length(@, @)", "takes 1 arguments"),
        ("not_null()", "takes 1 or more arguments"),
        ("inputs.orders[::0]", "step"),
        ("a" * (EXPRESSION_BYTES_MAX + 1), "bytes"),
        ("'" + "é" * 2_048 + "'", "bytes"),
        ("(" * 50 + "@" + ")" * 50, "nested"),
        ("(" * 2_000, "nested"),
        ("!" * 4_000 + "@", "nested"),
        ("@" + "[*]" * 1_000, "nested"),
        ("@" + " | @" * 500, "nested"),
        ("@" + " || @" * 500, "nested"),
        ("`" + "[" * 2_000 + "]" * 2_000 + "`", "no JMESPath|deeper"),
    ],
)
def test_what_can_never_be_evaluated_is_refused_at_creation(expression: str, rule: str) -> None:
    with pytest.raises(TransformFault, match=rule):
        transform.check(expression)
    with pytest.raises(TransformFault, match=rule):
        transform.apply(expression, DOCUMENT)


@pytest.mark.parametrize(
    "expression",
    [
        "length(`5`)", "&inputs", "[&inputs]", "to_string(&inputs)", "sort(inputs.orders)", "sum(['a'])",
        "to_number('1e999')", "ceil(to_number('inf'))", "to_number('nan')", "sort_by(inputs.orders, &tags)",
        "sort_by([`1`, 'a'], &@)", "max([`1`, 'a'])",
    ],
)  # fmt: skip
def test_what_fails_on_a_document_is_a_fault_that_tells_nothing_of_it(expression: str) -> None:
    transform.check(expression)
    with pytest.raises(TransformFault) as caught:
        transform.apply(expression, DOCUMENT)
    assert "ana" not in caught.value.rule.lower()


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": {"s": "x" * INPUT_BYTES_MAX}}, {"inputs": list(range(400_000))}, {"inputs": "\0"},
        {"inputs": "\ud800"}, {1: 2}, {"inputs": math.nan}, {"inputs": math.inf}, {"inputs": 10**400},
        {"inputs": {"s": {1, 2}}}, {"inputs": b"x"}, {"inputs": {"x": {2: 3}}},
    ],
)  # fmt: skip
def test_a_document_that_is_too_large_or_no_json_is_refused(document: dict[Any, Any]) -> None:
    with pytest.raises(TransformFault, match="document"):
        transform.apply("`1`", document)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_depth_is_limited_in_and_out() -> None:
    assert transform.apply("@", nested(DEPTH_MAX)) == nested(DEPTH_MAX)
    for depth in (DEPTH_MAX + 1, 100_000):
        with pytest.raises(TransformFault, match="document is deeper"):
            transform.apply("`1`", nested(depth))
    with pytest.raises(TransformFault, match="result is deeper"):
        transform.apply("[@]", nested(DEPTH_MAX))


def test_a_document_that_holds_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["inputs"] = loop
    with pytest.raises(TransformFault, match="deeper"):
        transform.apply("`1`", loop)


def test_a_result_that_is_too_large_is_refused_and_one_that_just_fits_is_given() -> None:
    fits = "x" * (OUTPUT_BYTES_MAX - 2)
    assert transform.apply("inputs", {"inputs": fits}) == fits
    for value in (fits + "x", "é" * (OUTPUT_BYTES_MAX // 2), list(range(100_000))):
        with pytest.raises(TransformFault, match="result is larger"):
            transform.apply("inputs", {"inputs": value})


BIG = {
    "inputs": {
        "n": [{"k": i, "t": "x" * 20} for i in range(15_000)],
        "s": "y" * 300_000,
        "m": {f"k{i}": i for i in range(9_000)},
    }
}
DOUBLE = "|".join(["[@,@]"] * 30)
BOMBS = [
    "|".join(["[@,@]"] * 39),
    "|".join(["{a:@,b:@}"] * 39),
    "inputs.n|" + "|".join(["[@,@][]"] * 19),
    "inputs|[" + DOUBLE + ",`1`]|[0]",
    "[" + DOUBLE + "," + DOUBLE + "] | [0] == [1]",
    "to_string(" + DOUBLE + ")",
    "contains(" + DOUBLE + ", " + DOUBLE + ")",
    "inputs.n[*].[@,@,@,@,@,@,@,@,@,@][].[k,k,k,k,k,k,k,k]",
    "map(&length(map(&k, @)), [" + ",".join(["inputs.n"] * 20) + "])",
    "inputs.[s,s,s,s,s,s,s,s,s,s] | [@,@,@,@,@,@,@,@,@,@][] | join('', @)",
    "inputs.[s,s,s,s,s,s,s,s,s,s] | [@,@,@,@,@,@,@,@,@,@][] | sort(@) | length(@)",
    "inputs.[s,s,s,s,s,s,s,s,s,s] | [@,@,@,@,@,@,@,@,@,@][] | max(@) | length(@)",
    "inputs.[s,s,s,s,s,s,s,s,s,s] | [@,@,@,@,@,@,@,@,@,@][] | map(&reverse(@), @) | length(@)",
    "inputs.[s,s,s,s,s,s,s,s,s,s] | [@,@,@,@,@,@,@,@,@,@][] | sort_by(@, &@) | length(@)",
    "inputs.{s: s, n: map(&' ', n)} | join(s, n)",
    "inputs.m | [@,@,@,@,@,@,@,@,@,@] | [@,@,@,@,@][] | map(&keys(@), @)",
    "inputs.m | [@,@,@,@,@,@,@,@,@,@] | [@,@,@,@,@][] | map(&merge(@, @), @)",
    "inputs.n | [@,@,@,@,@,@,@,@,@,@] | [@,@,@,@,@][] | map(&@[::2], @)",
    "inputs.n | [@,@,@,@,@,@,@,@,@,@] | [@,@,@,@,@][] | map(&reverse(@), @)",
    "|".join(["[[[[[[[[[[@]]]]]]]]]]"] * 38) + "| [@] == [@]",
]  # fmt: skip


@pytest.mark.parametrize("expression", BOMBS, ids=range(len(BOMBS)))
def test_no_expression_outgrows_its_budget(expression: str) -> None:
    transform.check(expression)
    with pytest.raises(TransformFault, match=r"steps|larger|deeper"):
        transform.apply(expression, BIG)


@pytest.mark.parametrize("expression", [BOMBS[n] for n in (0, 2, 9, 14, 15)], ids=(0, 2, 9, 14, 15))
def test_no_expression_takes_more_memory_than_its_document_and_budget_explain(expression: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TransformFault):
            transform.apply(expression, BIG)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 * 2**20


def test_the_result_shares_nothing_with_the_document_and_the_document_stays() -> None:
    document = copy.deepcopy(DOCUMENT)
    result = transform.apply("inputs.orders", document)
    result[0]["tags"].append("z")
    assert document == DOCUMENT
    assert transform.apply("`[1]`", {}) == [1]
    transform.apply("`[1]`", {}).append(2)
    assert transform.apply("`[1]`", {}) == [1]


def test_the_order_of_keys_changes_nothing() -> None:
    one, two = {"inputs": {"a": 1, "b": {"c": 1, "d": 2}}}, {"inputs": {"b": {"d": 2, "c": 1}, "a": 1}}
    for expression in ("keys(inputs)", "inputs.*", "to_string(inputs)", "values(inputs.b)"):
        assert json.dumps(transform.apply(expression, one)) == json.dumps(transform.apply(expression, two))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
names = sorted(transform._Functions.FUNCTION_TABLE)
atoms = st.sampled_from(
    ["@", "a", "b", "inputs", "'x'", "`1`", '`[1, "a", null]`', '`{"a": [1, 2]}`', '"c"', "*", "[*]", "[0]"]
)
expressions = st.recursive(
    atoms,
    lambda e: st.one_of(
        st.tuples(e, st.sampled_from([".", "|", "||", "&&", "==", "!=", "<", ">=", " "]), e).map("".join),
        st.tuples(e, st.sampled_from(["[*]", "[]", ".*", "[1:]", "[::-1]", "[-1]", ".a", "[?a]"])).map("".join),
        st.lists(e, min_size=1, max_size=3).map(lambda es: "[" + ",".join(es) + "]"),
        st.lists(e, min_size=1, max_size=3).map(lambda es: "{" + ",".join(f"k{i}:{x}" for i, x in enumerate(es)) + "}"),
        st.tuples(st.sampled_from(names), st.lists(e, max_size=2)).map(lambda f: f"{f[0]}({','.join(f[1])})"),
        st.tuples(st.sampled_from(["sort_by", "max_by", "min_by"]), e, e).map(lambda f: f"{f[0]}({f[1]}, &{f[2]})"),
        e.map(lambda x: f"!({x})"), st.tuples(e, e).map(lambda p: f"map(&{p[0]}, {p[1]})"),
        st.tuples(e, e).map(lambda p: f"{p[0]}[?{p[1]}]"),
    ),
    max_leaves=10,
)  # fmt: skip
garbage = st.text(alphabet="@ab.*[]{}()&|!=<>`'\"0:1-,\\ é", max_size=30) | st.text(max_size=30)


def outcome(expression: str, document: dict[str, Any]) -> tuple[bool, str]:
    try:
        return True, json.dumps(transform.apply(expression, document), allow_nan=False)
    except TransformFault as fault:
        return False, fault.rule


@settings(max_examples=1_000, deadline=None)
@given(expressions | garbage, st.dictionaries(st.sampled_from(["inputs", "a", "b"]), values, max_size=3))
def test_any_expression_over_any_document_gives_json_or_a_fault_and_always_the_same(
    expression: str, document: dict[str, Any]
) -> None:
    first = outcome(expression, document)
    transform._compiled.cache_clear()
    assert outcome(expression, copy.deepcopy(document)) == first
    if first[0]:
        assert len(first[1]) <= OUTPUT_BYTES_MAX * 6


@settings(max_examples=200, deadline=None)
@given(expressions, values)
def test_the_budget_is_never_overdrawn(expression: str, value: Any) -> None:
    budget = transform._Budget(transform.STEPS_MAX)
    with contextlib.suppress(Exception):  # which ones may leave is the other test's matter
        transform._Interpreter(budget).visit(transform._compiled(expression), value)
    assert 0 <= budget.left <= transform.STEPS_MAX


@settings(max_examples=500, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )
)
def test_a_value_is_as_large_as_its_json(value: Any) -> None:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    assert transform._plain(value, "value", size) == value
    with pytest.raises(TransformFault, match="larger"):
        transform._plain(value, "value", size - 1)
