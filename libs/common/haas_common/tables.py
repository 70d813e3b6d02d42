"""Tables that people upload, as CSV or JSON: read, checked, typed. Standard library only: the sandbox runs this file.

A row is broken when it has another number of cells than the header, bytes that are not UTF-8, a NUL, or quotes that do
not close. Rows are numbered as a spreadsheet shows them: the header is row 1. Rows without any value are not counted.
A column has one type: number, date, bool, or text when not all its values agree.
"""

import csv
import datetime
import decimal
import io
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

BYTES_MAX = 8 << 20
ROWS_MAX = 200_000
COLUMNS_MAX = 500
ROW_NUMBERS_SHOWN = 20

_DELIMITERS = ",;\t|"
_SNIFFED_RECORDS = 50
_SNIFFED_CHARS = 1 << 16
_CELL_CHARS_MAX = 1 << 17
_UNREADABLE = re.compile("[\0\ud800-\udfff]")
# Words for "no value" in columns of numbers, dates and bools; in a text column they may be categories.
_ABSENT = frozenset({"na", "n/a", "null", "nan", "-"})
_TRUE = frozenset({"yes", "true", "si", "sí"})
_FALSE = frozenset({"no", "false"})
_MONEY = re.compile(r"[€$£]\s*|\s*[€$£]")
_PLAIN = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{1,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,2})?")
_GROUPED_BY_COMMA = re.compile(r"[+-]?\d{1,3}(?:,\d{3}){1,9}(?:\.\d{1,30})?")
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d{1,30}|\d{1,3}(?:\.\d{3}){1,9})(?:,\d{1,30})?")
# A code such as a post code: as a number it would lose its zeros.
_LEADING_ZERO = re.compile(r"[+-]?0\d")
_ISO_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?")
_DAY_FIRST_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")


class TableUnreadable(ValueError):
    """The bytes are no table at all, or one above the limits. `rule` is a short name of what they break."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a check at upload tells: good rows, the columns' names, broken rows, and the numbers of the first 20."""

    rows: int
    columns: tuple[str, ...]
    broken_rows: int
    broken_row_numbers: tuple[int, ...]


@dataclass(slots=True)
class Broken:
    """Counts broken rows and remembers the first numbers."""

    count: int = 0
    numbers: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        """Counts one."""
        self.count += 1
        if len(self.numbers) < ROW_NUMBERS_SHOWN:
            self.numbers.append(number)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells by column, as text; `cells[c][r]` of good rows only."""

    names: tuple[str, ...]
    cells: list[tuple[str, ...]]
    rows: int
    broken: Broken

    def facts(self) -> TableFacts:
        """Returns the counts without the cells."""
        return TableFacts(self.rows, self.names, self.broken.count, tuple(self.broken.numbers))


@dataclass(frozen=True, slots=True)
class Column:
    """A typed column.

    `values` maps each different cell to its value: None (missing), an int scaled by 10**scale (number), an ISO day
    (date), a bool, or text. Exact: no float is involved.
    """

    name: str
    type: str
    cells: tuple[str, ...]
    values: dict[str, object]
    scale: int = 0


def format_of(content: bytes) -> str:
    """Tells "json" from "csv" by the first character that is not white space."""
    return "json" if content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{") else "csv"


def check_table(content: bytes, format: str = "csv") -> TableFacts:  # noqa: A002 - the field's name in the API
    """Reads an uploaded table and returns its counts. CPU-bound: up to a second for 8 MiB.

    Raises:
        TableUnreadable: not a table, or above a limit.
    """
    return read_table(content, format).facts()


def read_table(content: bytes, format: str = "csv") -> Table:  # noqa: A002
    """Reads a table; `format` is "csv" or "json".

    Raises:
        TableUnreadable: not a table, or above a limit.
    """
    if len(content) > BYTES_MAX:
        raise TableUnreadable("bytes_max", f"The table is larger than {BYTES_MAX} bytes.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TableUnreadable("encoding", "The table is UTF-16; save it as UTF-8.")
    return _read_json(content) if format == "json" else _read_csv(content)


def type_column(name: str, cells: tuple[str, ...]) -> Column:
    """Finds a column's type from its different values."""
    distinct = {cell: cell.strip() for cell in dict.fromkeys(cells)}
    present = [text for text in distinct.values() if text and text.lower() not in _ABSENT]
    if present:
        for type_, read in (("number", _numbers), ("date", _dates), ("bool", _bools)):
            found = read(present)
            if found is not None:
                values, scale = found
                return Column(name, type_, cells, {cell: values.get(text) for cell, text in distinct.items()}, scale)
    return Column(name, "text", cells, {cell: text or None for cell, text in distinct.items()})


def number(scaled: int, scale: int) -> int | float:
    """Returns a scaled integer as the JSON number nearest to it."""
    return quotient(scaled, 10**scale)


def quotient(numerator: int, denominator: int) -> int | float:
    """Divides exactly; an int where the result is whole, else the nearest float (Python rounds int / int once)."""
    whole, rest = divmod(numerator, denominator)
    return numerator / denominator if rest else whole


def scaled_number(text: str) -> tuple[int, int] | None:
    """Reads one number as (integer, scale); None when it is none."""
    found = _numbers([text.strip()])
    return None if found is None else (found[0][text.strip()], found[1])


def day(text: str) -> str | None:
    """Reads an ISO or dd/mm/yyyy date as an ISO day; None when it is none."""
    if match := _ISO_DATE.fullmatch(text):
        year, month, of_month = match.groups()
    elif match := _DAY_FIRST_DATE.fullmatch(text):
        of_month, month, year = match.groups()
    else:
        return None
    try:
        return datetime.date(int(year), int(month), int(of_month)).isoformat()
    except ValueError:
        return None


def truth(text: str) -> bool | None:
    """Reads yes/no/si/sí/true/false; None when it is none."""
    lowered = text.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None


def _numbers(texts: list[str]) -> tuple[dict[str, int], int] | None:
    """Reads all texts as numbers, in one style for the whole column: point or comma as the decimal sign."""
    bare = {text: _MONEY.sub("", text, count=1) if text[0] in "€$£" or text[-1] in "€$£" else text for text in texts}
    if any(_LEADING_ZERO.match(text) for text in bare.values()):
        return None
    if all(_PLAIN.fullmatch(text) or _GROUPED_BY_COMMA.fullmatch(text) for text in bare.values()):
        plain = {text: stripped.replace(",", "") for text, stripped in bare.items()}
    elif all(_DECIMAL_COMMA.fullmatch(text) for text in bare.values()):
        plain = {text: stripped.replace(".", "").replace(",", ".") for text, stripped in bare.items()}
    else:
        return None
    parts = {text: _without_exponent(digits).partition(".") for text, digits in plain.items()}
    scale = max(len(fraction) for _, _, fraction in parts.values())
    return {text: int(f"{whole}{fraction.ljust(scale, '0')}") for text, (whole, _, fraction) in parts.items()}, scale


def _without_exponent(digits: str) -> str:
    return format(decimal.Decimal(digits), "f") if "e" in digits or "E" in digits else digits


def _all(texts: list[str], read: Callable[[str], object]) -> tuple[dict[str, object], int] | None:
    values: dict[str, object] = {}
    for text in texts:
        value = read(text)
        if value is None:
            return None
        values[text] = value
    return values, 0


def _dates(texts: list[str]) -> tuple[dict[str, object], int] | None:
    return _all(texts, day)


def _bools(texts: list[str]) -> tuple[dict[str, object], int] | None:
    return _all(texts, truth)


def _read_csv(content: bytes) -> Table:
    content = content.removeprefix(b"\xef\xbb\xbf")
    suspicious = b"\0" in content
    try:
        text = content.decode()
    except UnicodeDecodeError:
        # Bad bytes become lone surrogates, so that the rows that hold them can be told from the others.
        text, suspicious = content.decode(errors="surrogateescape"), True
    csv.field_size_limit(_CELL_CHARS_MAX)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    names = _header(reader)
    broken = Broken()
    rows: list[list[str]] = []
    width, row_number = len(names), 1
    while True:
        try:
            for row in reader:
                row_number += 1
                if len(row) == width and not (suspicious and _unreadable(row)):
                    if any(row):
                        rows.append(row)
                elif row:
                    broken.add(row_number)
                if row_number > ROWS_MAX + 1:
                    raise TableUnreadable("rows_max", f"The table has more than {ROWS_MAX} rows.")
            break
        except csv.Error:
            row_number += 1
            broken.add(row_number)
    cells = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    return Table(names, cells, len(rows), broken)


def _header(reader: Iterable[list[str]]) -> tuple[str, ...]:
    try:
        first = next((row for row in reader if any(cell.strip() for cell in row)), None)
    except csv.Error as error:
        raise TableUnreadable("header", f"The header cannot be read: {error}.") from None
    if first is None:
        raise TableUnreadable("empty", "The table is empty.")
    return _names(first)


def _names(found: list[str]) -> tuple[str, ...]:
    """Checks and settles the columns' names: an empty one becomes column_<n>, a repeated one gets a number."""
    if len(found) > COLUMNS_MAX:
        raise TableUnreadable("columns_max", f"The table has more than {COLUMNS_MAX} columns.")
    if _unreadable(found):
        raise TableUnreadable("header", "The header is not UTF-8 text.")
    names: dict[str, None] = {}
    for position, raw in enumerate(found, 1):
        name = wanted = raw.strip()[:200] or f"column_{position}"
        repeat = 2
        while name in names:
            name, repeat = f"{wanted}_{repeat}", repeat + 1
        names[name] = None
    return tuple(names)


def _unreadable(row: list[str]) -> bool:
    return any(_UNREADABLE.search(cell) for cell in row)


def _delimiter(text: str) -> str:
    """Picks the delimiter under which the first records agree best with the header's width; a comma if none does."""
    sample = text[:_SNIFFED_CHARS]
    best, best_score = ",", (0.0, 1)
    for delimiter in _DELIMITERS:
        widths = _widths(sample, delimiter)
        if not widths or widths[0] < 2:
            continue
        score = (sum(width == widths[0] for width in widths) / len(widths), widths[0])
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _widths(sample: str, delimiter: str) -> list[int]:
    widths: list[int] = []
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
    while len(widths) < _SNIFFED_RECORDS:
        try:
            row = next(reader, None)
        except csv.Error:
            continue
        if row is None:
            break
        if row:
            widths.append(len(row))
    return widths


def _read_json(content: bytes) -> Table:
    """Reads a list of objects, or {"rows": [objects]}. Numbers keep their digits."""
    try:
        document = json.loads(content, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise TableUnreadable("json", "The table is not JSON.") from None
    rows = document.get("rows") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise TableUnreadable("json", "The table is not a list of objects.")
    if len(rows) > ROWS_MAX:
        raise TableUnreadable("rows_max", f"The table has more than {ROWS_MAX} rows.")
    keys = dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row)
    if not keys:
        raise TableUnreadable("empty", "The table is empty.")
    names = _names(list(keys))
    broken = Broken()
    good: list[list[str]] = []
    # The list's first element is row 1 here: JSON has no header.
    for position, row in enumerate(rows, 1):
        cells = [_cell(row.get(key)) for key in keys] if isinstance(row, dict) else [None]
        if None in cells or _unreadable(cells):
            broken.add(position)
        elif any(cells):
            good.append(cells)
    return Table(names, list(zip(*good, strict=True)) if good else [() for _ in names], len(good), broken)


def _cell(value: object) -> str | None:
    """Returns a JSON value as a cell's text; None when it is a list or an object."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    return value if isinstance(value, str) and len(value) <= _CELL_CHARS_MAX else None
