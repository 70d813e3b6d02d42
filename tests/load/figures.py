"""What is measured, as numbers and as a table. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least this share of the values does not exceed (nearest rank).

    Args:
        values: At least one, in any order.
        share: Above 0, at most 1; 0.5 for the median.
    """
    if not values or not 0 < share <= 1:
        raise ValueError("a percentile needs a value, and a share above 0 and at most 1")
    ordered = sorted(values)
    # Rounded first: 0.07 * 100 is 7.000000000000001, whose rank is 7.
    return ordered[max(1, math.ceil(round(share * len(ordered), 9))) - 1]


def shown(value: float) -> str:
    """Returns a figure with as many digits as say something: 12,345 · 87.1 · 4.21 · 0.052."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the report.

    Attributes:
        note: A sentence below it, "" for none.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """Returns it in Markdown, columns aligned; all but the first are figures."""
        lines = [self.head, *self.rows]
        if any(len(line) != len(self.head) for line in lines):
            raise ValueError(f"a row of “{self.title}” has another number of columns than its head")
        widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(self.head))]
        rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
        body = [_row(self.head, widths), f"| {' | '.join(rule)} |", *(_row(row, widths) for row in self.rows)]
        return "\n".join([f"### {self.title}", "", *body, *(["", self.note] if self.note else [])])


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return f"| {' | '.join([first, *rest])} |"


def written(page: str, report: str, begin: str = BEGIN, end: str = END) -> str:
    """Returns a page with the report between its two markers, in place of what stood there.

    Raises:
        ValueError: the page lacks them.
    """
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the page has no {begin} … {end}")
    return f"{before}{begin}\n\n{report}\n\n{end}{after}"


def with_section(page: str, title: str, begin: str, end: str) -> str:
    """Returns a page that has a section with these markers, at its end unless there is one."""
    return page if begin in page else f"{page.rstrip()}\n\n## {title}\n\n{begin}\n\n{end}\n"
