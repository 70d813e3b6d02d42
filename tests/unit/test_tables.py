"""Tables: what is a row, what is broken, which type a column has, and that sums are exact."""

import contextlib
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_common import tables
from haas_common.tables import TableUnreadable, check_table, read_table, type_column
from haas_mcp.tools import table_program


def column(*cells: str) -> tables.Column:
    return type_column("c", cells)


def ask(content: bytes, **query: object) -> list[dict]:
    result = table_program.run({"queries": [{"name": "q", **query}]}, content)
    assert "error" not in result, result
    return result["results"]["q"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    content = f"fecha{delimiter}gasto\n01/11/2025{delimiter}12\n02/11/2025{delimiter}13\n".encode()
    assert check_table(content).columns == ("fecha", "gasto")
    assert check_table(content).rows == 2


def test_a_comma_inside_a_semicolon_table_is_a_decimal_sign() -> None:
    assert ask(b"a;b\nx;1,5\ny;2,25\n", aggregates=[{"name": "s", "op": "sum", "column": "b"}]) == [{"s": 3.75}]


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert check_table(b"\xef\xbb\xbfa,b\n1,2\n").columns == ("a", "b")


def test_broken_rows_are_numbered_as_a_spreadsheet_shows_them() -> None:
    content = b'a,b\n1,2\n1,2,3\n1\n1,\xff\n1,\0\n"x"y,2\n3,4\n'
    facts = check_table(content)
    assert (facts.rows, facts.broken_rows, facts.broken_row_numbers) == (2, 5, (3, 4, 5, 6, 7))


def test_only_the_first_twenty_broken_rows_are_named() -> None:
    facts = check_table(b"a,b\n" + b"1\n" * 50)
    assert facts.broken_rows == 50
    assert facts.broken_row_numbers == tuple(range(2, 22))


def test_a_line_break_inside_quotes_is_part_of_the_cell() -> None:
    assert check_table(b'a,b\n"x\ny",2\n').rows == 1


def test_an_unclosed_quote_is_one_broken_row_not_a_lost_table() -> None:
    facts = check_table(b'a,b\n1,2\n"x,2\n3,4\n')
    assert (facts.rows, facts.broken_rows) == (1, 1)


def test_rows_without_any_value_are_not_counted() -> None:
    assert check_table(b"a,b\n\n,\n1,2\n\n").rows == 1


def test_empty_and_repeated_names_are_settled() -> None:
    assert check_table(b"a,,a\n1,2,3\n").columns == ("a", "column_2", "a_2")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        ("a,b\n1,2".encode("utf-16"), "encoding"),
        (b"a" * (tables.BYTES_MAX + 1), "bytes_max"),
        (b",".join([b"a"] * 501), "columns_max"),
        (b"a\xff,b\n1,2\n", "header"),
        (b"a,b\n" + b"1,2\n" * (tables.ROWS_MAX + 1), "rows_max"),
    ],
)
def test_what_is_no_table_is_refused_by_rule(content: bytes, rule: str) -> None:
    with pytest.raises(TableUnreadable) as refused:
        check_table(content)
    assert refused.value.rule == rule


@pytest.mark.parametrize("content", [b"{", b"[[1]]", b"3", b'{"rows": 1}', b"[" * 100_000, b"[]", b"\xff"])
def test_what_is_no_json_table_is_refused(content: bytes) -> None:
    with pytest.raises(TableUnreadable):
        check_table(content, "json")


def test_a_json_table_keeps_the_digits_of_its_numbers() -> None:
    table = read_table(b'[{"a": 0.10, "b": true}, {"b": null, "c": "x"}, {"a": [1]}, 7]', "json")
    assert table.names == ("a", "b", "c")
    assert table.cells == [("0.10", ""), ("true", ""), ("", "x")]
    assert table.broken.numbers == [3, 4]


@pytest.mark.parametrize(
    ("cells", "type_", "values"),
    [
        (("1", "2.50", ""), "number", [100, 250, None]),
        (("1,234", "2,000.5"), "number", [12340, 20005]),
        (("1.234,5", "2"), "number", [12345, 20]),
        (("$ 5", "€7", "8 €"), "number", [5, 7, 8]),
        (("1e3", "-2"), "number", [1000, -2]),
        (("5", "N/A"), "number", [5, None]),
        (("007", "12"), "text", ["007", "12"]),
        (("1", "x"), "text", ["1", "x"]),
        (("nan", "x"), "text", ["nan", "x"]),
        (("2025-11-08", "08/11/2025", "2025-11-08T10:00:00Z"), "date", ["2025-11-08"] * 3),
        (("31/02/2025",), "text", ["31/02/2025"]),
        (("yes", "No", "SÍ", "si", "true"), "bool", [True, False, True, True, True]),
        (("", " "), "text", [None, None]),
        (("inf", "1"), "text", ["inf", "1"]),
    ],
)
def test_a_column_has_the_type_that_all_its_values_have(cells: tuple, type_: str, values: list) -> None:
    typed = column(*cells)
    assert typed.type == type_
    assert [typed.values[cell] for cell in cells] == values


@given(st.lists(st.decimals(-(10**9), 10**9, places=2, allow_nan=False), min_size=1, max_size=60))
def test_a_sum_of_money_is_the_exact_sum(amounts: list[Decimal]) -> None:
    content = "g,m\n" + "".join(f"x,{amount}\n" for amount in amounts)
    [row] = ask(content.encode(), group_by=["g"], aggregates=[{"name": "s", "op": "sum", "column": "m"}])
    assert row["s"] == float(sum(amounts))


@given(st.binary(max_size=300), st.sampled_from(["csv", "json"]))
def test_any_bytes_are_a_table_or_are_refused(content: bytes, format_: str) -> None:
    with contextlib.suppress(TableUnreadable):
        facts = check_table(content, format_)
        assert facts.rows >= 0
        assert facts.columns


SALES = (
    b"day,channel,spend,lead\n2025-10-01,ads,0.1,yes\n2025-10-02,ads,0.2,no\n2025-11-01,mail,,yes\n2025-11-03,,5,no\n"
)


def test_groups_count_and_sum_missing_values_apart() -> None:
    aggregates = [
        {"name": "rows", "op": "count"},
        {"name": "paid", "op": "count", "column": "spend"},
        {"name": "spend", "op": "sum", "column": "spend"},
        {"name": "mean", "op": "mean", "column": "spend"},
        {"name": "leads", "op": "count_if", "column": "lead", "equals": "YES"},
        {"name": "last", "op": "max", "column": "day"},
        {"name": "kinds", "op": "count_distinct", "column": "spend"},
    ]
    assert ask(SALES, group_by=["channel"], aggregates=aggregates) == [
        {
            "channel": "ads",
            "rows": 2,
            "paid": 2,
            "spend": 0.3,
            "mean": 0.15,
            "leads": 1,
            "last": "2025-10-02",
            "kinds": 2,
        },
        {
            "channel": "mail",
            "rows": 1,
            "paid": 0,
            "spend": 0,
            "mean": None,
            "leads": 1,
            "last": "2025-11-01",
            "kinds": 0,
        },
        {"channel": None, "rows": 1, "paid": 1, "spend": 5, "mean": 5, "leads": 0, "last": "2025-11-03", "kinds": 1},
    ]


def test_a_date_column_groups_by_month() -> None:
    rows = ask(SALES, group_by=[{"column": "day", "by": "month"}], aggregates=[{"name": "rows", "op": "count"}])
    assert rows == [{"day": "2025-10", "rows": 2}, {"day": "2025-11", "rows": 2}]


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ({"column": "channel", "op": "eq", "value": "ads"}, 2),
        ({"column": "channel", "op": "ne", "value": "ads"}, 2),
        ({"column": "channel", "op": "eq", "value": None}, 1),
        ({"column": "channel", "op": "contains", "value": "AI"}, 1),
        ({"column": "channel", "op": "in", "value": ["ads", "mail"]}, 3),
        ({"column": "spend", "op": "gt", "value": 0.1}, 2),
        ({"column": "spend", "op": "le", "value": 0.1}, 1),
        ({"column": "day", "op": "ge", "value": "01/11/2025"}, 2),
        ({"column": "lead", "op": "eq", "value": True}, 2),
    ],
)
def test_conditions_compare_by_the_columns_type(condition: dict, rows: int) -> None:
    assert ask(SALES, where=[condition], aggregates=[{"name": "n", "op": "count"}]) == [{"n": rows}]


def test_order_and_limit_keep_missing_values_last() -> None:
    query = {
        "group_by": ["channel"],
        "aggregates": [{"name": "mean", "op": "mean", "column": "spend"}],
        "order_by": "mean",
        "descending": True,
    }
    assert [row["mean"] for row in ask(SALES, **query)] == [5, 0.15, None]
    assert len(ask(SALES, **query, limit=1)) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"group_by": ["x"]}, "queries[0].group_by[0]"),
        ({"group_by": [{"column": "lead", "by": "month"}]}, "queries[0].group_by[0]"),
        ({"where": [{"column": "x", "op": "eq", "value": 1}]}, "queries[0].where[0].column"),
        ({"where": [{"column": "spend", "op": "gt", "value": "much"}]}, "queries[0].where[0].value"),
        ({"where": [{"column": "spend", "op": "gt", "value": None}]}, "queries[0].where[0].value"),
        ({"aggregates": [{"name": "s", "op": "sum", "column": "channel"}]}, "queries[0].aggregates[0]"),
        ({"aggregates": [{"name": "s", "op": "sum"}]}, "queries[0].aggregates[0]"),
        ({"aggregates": [{"name": "s", "op": "max", "column": "lead"}]}, "queries[0].aggregates[0]"),
        ({"order_by": "x", "aggregates": []}, "queries[0].order_by"),
    ],
)
def test_a_query_that_the_table_cannot_answer_names_its_place(query: dict, field: str) -> None:
    result = table_program.run({"queries": [{"name": "q", **query}]}, SALES)
    assert result["error"]["kind"] == "query"
    assert result["error"]["field"] == field


def test_too_many_groups_need_a_limit() -> None:
    content = b"a\n" + b"".join(b"v%d\n" % number for number in range(1001))
    result = table_program.run({"queries": [{"name": "q", "group_by": ["a"]}]}, content)
    assert result["error"]["field"] == "queries[0].limit"
    assert len(ask(content, group_by=["a"], limit=1001)) == 1001


def test_broken_rows_refuse_the_table_unless_lenient() -> None:
    content = b"a,b\n1,2\n1\n"
    assert table_program.run({}, content)["error"] == {"kind": "rows", "rows": [3], "broken_rows": 1}
    assert table_program.run({"lenient": True}, content)["broken_rows"] == 1


def test_the_description_gives_type_missing_and_distinct() -> None:
    columns = table_program.run({"describe": True}, SALES)["columns"]
    assert columns[2] == {
        "name": "spend",
        "type": "number",
        "missing": 1,
        "distinct": 3,
        "examples": ["0.1", "0.2", "5"],
    }
    assert json.dumps(columns)
