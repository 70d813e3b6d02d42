"""The sandboxed half of `data.table`: reads a request and a table from standard input, writes the result as JSON.

Input: a line with the request's length in bytes, the request (JSON), the table's bytes. Every aggregate is computed
from counts of different values in exact integers; nothing is evaluated as code. Standard library and
haas_common.tables only.
"""

import json
import sys
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import compress

from haas_common import tables

DISTINCT_MAX = 1000
GROUPS_MAX = 1000
EXAMPLES = 5
EXAMPLE_CHARS = 120


class BadQuery(ValueError):
    """A query asks for what the table cannot give. `field` names the place in the arguments."""

    def __init__(self, field, rule):
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


class Data:
    """A table whose columns are typed when first asked for."""

    def __init__(self, table):
        self.table = table
        self._positions = {name: position for position, name in enumerate(table.names)}
        self._typed = {}

    def column(self, name, field):
        """Returns a typed column."""
        if name not in self._positions:
            raise BadQuery(field, f"there is no column {name!r}")
        if name not in self._typed:
            self._typed[name] = tables.type_column(name, self.table.cells[self._positions[name]])
        return self._typed[name]


def describe(data):
    """Returns name, type, missing, distinct and examples of every column."""
    described = []
    for name in data.table.names:
        column = data.column(name, "describe")
        counts = Counter(column.cells)
        present = [cell for cell in column.values if column.values[cell] is not None]
        missing = sum(count for cell, count in counts.items() if column.values[cell] is None)
        distinct = len({column.values[cell] for cell in present})
        examples = [cell.strip()[:EXAMPLE_CHARS] for cell in present[:EXAMPLES]]
        described.append(
            {
                "name": name,
                "type": column.type,
                "missing": missing,
                "distinct": min(distinct, DISTINCT_MAX),
                "examples": examples,
            }
        )
    return described


def literal(column, given, field):
    """Returns a value of the request as a value of the column (numbers as Fraction)."""
    if given is None:
        return None
    text = ("true" if given else "false") if isinstance(given, bool) else str(given)
    if column.type == "number":
        found = tables.scaled_number(text)
        value = None if found is None else Fraction(found[0], 10 ** found[1])
    elif column.type == "date":
        value = tables.day(text)
    elif column.type == "bool":
        value = tables.truth(text)
    else:
        value = text
    if value is None:
        raise BadQuery(field, f"{text[:80]!r} is no {column.type} as column {column.name!r} holds")
    return value


def comparable(column, value):
    """Returns a column's value as `literal` gives it."""
    return Fraction(value, 10**column.scale) if column.type == "number" and value is not None else value


def predicate(column, condition, field):
    """Returns a function from a column's value to whether the condition holds."""
    op, given = condition["op"], condition.get("value")
    if op == "contains":
        part = str(given).casefold()
        return lambda value, cell: part in cell.casefold()
    if op == "in":
        wanted = {literal(column, one, field) for one in (given if isinstance(given, list) else [given])}
        return lambda value, cell: comparable(column, value) in wanted
    other = literal(column, given, field)
    if op in ("eq", "ne"):
        return lambda value, cell: (comparable(column, value) == other) is (op == "eq")
    if other is None:
        raise BadQuery(field, f"{op} needs a value")
    order = {
        "lt": lambda a: a < other,
        "le": lambda a: a <= other,
        "gt": lambda a: a > other,
        "ge": lambda a: a >= other,
    }[op]
    return lambda value, cell: value is not None and order(comparable(column, value))


def selection(data, conditions, field):
    """Returns which rows all conditions hold for, or None for all rows. Each different value is compared once."""
    mask = None
    for number, condition in enumerate(conditions):
        place = f"{field}.where[{number}]"
        column = data.column(condition["column"], f"{place}.column")
        holds = predicate(column, condition, f"{place}.value")
        verdict = {cell: holds(value, cell) for cell, value in column.values.items()}
        chosen = [verdict[cell] for cell in column.cells]
        mask = chosen if mask is None else [a and b for a, b in zip(mask, chosen, strict=True)]
    return mask


def group_labels(data, groups, field):
    """Returns [(name in the result, column, value of each different cell)]."""
    labels = []
    for number, group in enumerate(groups):
        place = f"{field}.group_by[{number}]"
        if isinstance(group, str):
            column = data.column(group, place)
            labels.append((group, column, column.values))
            continue
        column = data.column(group["column"], place)
        if column.type != "date":
            raise BadQuery(place, f"column {column.name!r} holds no dates")
        length = {"year": 4, "month": 7, "day": 10}[group["by"]]
        values = {cell: value and value[:length] for cell, value in column.values.items()}
        labels.append((group.get("name", column.name), column, values))
    return labels


def sums(pairs, column):
    """Returns {key: [scaled sum, count]} over the values that are present."""
    totals = defaultdict(lambda: [0, 0])
    for (key, cell), count in pairs.items():
        value = column.values[cell]
        if value is not None:
            total = totals[key]
            total[0] += value * count
            total[1] += count
    return totals


def aggregate(op, spec, pairs, column, keys, field):
    """Computes one aggregate of every group from the counts of (group, cell)."""
    if op in ("sum", "mean") and column.type != "number":
        raise BadQuery(field, f"column {column.name!r} holds no numbers")
    if op in ("min", "max") and column.type not in ("number", "date"):
        raise BadQuery(field, f"column {column.name!r} holds neither numbers nor dates")
    if op in ("sum", "mean"):
        totals = sums(pairs, column)
        if op == "sum":
            return {key: tables.number(totals[key][0], column.scale) for key in keys}
        unit = 10**column.scale
        return {key: tables.quotient(totals[key][0], totals[key][1] * unit) if totals[key][1] else None for key in keys}
    if op == "count":
        wanted = {cell for cell, value in column.values.items() if value is not None}
    elif op == "count_if":
        equals = literal(column, spec.get("equals"), field)
        wanted = {cell for cell, value in column.values.items() if comparable(column, value) == equals}
    if op in ("count", "count_if"):
        counts = dict.fromkeys(keys, 0)
        for (key, cell), count in pairs.items():
            if cell in wanted:
                counts[key] += count
        return counts
    present = defaultdict(set)
    for key, cell in pairs:
        value = column.values[cell]
        if value is not None:
            present[key].add(value)
    if op == "count_distinct":
        return {key: len(present[key]) for key in keys}
    pick = min if op == "min" else max
    return {key: shown(column, pick(present[key])) if present[key] else None for key in keys}


def shown(column, value):
    """Returns a column's value as JSON shows it."""
    return tables.number(value, column.scale) if column.type == "number" and value is not None else value


def answer(data, query, field):
    """Runs one query and returns its rows."""
    mask = selection(data, query.get("where", ()), field)
    labels = group_labels(data, query.get("group_by", ()), field)

    def chosen(cells):
        return list(cells) if mask is None else list(compress(cells, mask))

    rows = data.table.rows if mask is None else sum(mask)
    if labels:
        row_keys = list(
            zip(*([values[cell] for cell in chosen(column.cells)] for _, column, values in labels), strict=True)
        )
    else:
        row_keys = [()] * rows
    sizes = Counter(row_keys) if labels else {(): rows}
    if len(sizes) > GROUPS_MAX and "limit" not in query:
        raise BadQuery(f"{field}.limit", f"{len(sizes)} groups; say how many to return")
    results = {key: {} for key in sizes}
    for number, spec in enumerate(query.get("aggregates", ())):
        place = f"{field}.aggregates[{number}]"
        if "column" not in spec:
            if spec["op"] != "count":
                raise BadQuery(place, f"{spec['op']} needs a column")
            column_values = sizes
        else:
            column = data.column(spec["column"], f"{place}.column")
            pairs = Counter(zip(row_keys, chosen(column.cells), strict=True))
            column_values = aggregate(spec["op"], spec, pairs, column, sizes, place)
        for key, value in column_values.items():
            results[key][spec["name"]] = value
    named = [(name, column) for name, column, _ in labels]
    ordered = in_order(results, query, named, field)
    return [row(key, values, named) for key, values in ordered]


def row(key, values, named):
    """Returns a result's row: the group's values, then the aggregates."""
    return {**{name: shown(column, value) for (name, column), value in zip(named, key, strict=True)}, **values}


def in_order(results, query, named, field):
    """Sorts groups: by `order_by` where given, ties and the rest by the group's values; missing values come last."""
    items = sorted(
        results.items(), key=lambda item: tuple((1, 0) if value is None else (0, value) for value in item[0])
    )
    order_by = query.get("order_by")
    if order_by is not None:
        names = [name for name, _ in named]
        if order_by in names:
            position = names.index(order_by)
            value_of = lambda item: item[0][position]  # noqa: E731
        elif all(order_by in values for values in results.values()):
            value_of = lambda item: item[1][order_by]  # noqa: E731
        else:
            raise BadQuery(f"{field}.order_by", f"neither a group nor an aggregate is called {order_by!r}")
        present = [item for item in items if value_of(item) is not None]
        present.sort(key=value_of, reverse=bool(query.get("descending")))
        items = present + [item for item in items if value_of(item) is None]
    return items[: query["limit"]] if "limit" in query else items


def run(request, content):
    """Returns the tool's result, or {"error": …} with what the caller did wrong."""
    try:
        table = tables.read_table(content, request.get("format") or tables.format_of(content))
    except tables.TableUnreadable as error:
        return {"error": {"kind": "table", "rule": error.rule, "message": str(error)}}
    if table.broken.count and not request.get("lenient"):
        return {"error": {"kind": "rows", "rows": table.broken.numbers, "broken_rows": table.broken.count}}
    data = Data(table)
    try:
        results = {
            query["name"]: answer(data, query, f"queries[{number}]")
            for number, query in enumerate(request.get("queries", ()))
        }
        columns = describe(data) if request.get("describe", True) else []
    except BadQuery as error:
        return {"error": {"kind": "query", "field": error.field, "rule": error.rule}}
    return {"rows": table.rows, "broken_rows": table.broken.count, "columns": columns, "results": results}


def main():
    """Reads standard input, writes standard output."""
    source = sys.stdin.buffer
    request = json.loads(source.read(int(source.readline())))
    json.dump(run(request, source.read()), sys.stdout, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


if __name__ == "__main__":
    main()
