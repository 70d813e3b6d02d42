"""The text of artifacts: a worklog that grows, and what differs between two versions. Pure."""

import dataclasses
import datetime
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

WORKLOG = "## Worklog"
#: More changed lines than this are shown as one block: finding the smallest difference takes their square.
DIFF_LINES_MAX = 2_000
_HEADING = re.compile(r"#{1,2}(?:\s|\Z)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
#: What differs between any two versions and says nothing.
_OF_VERSION = frozenset({"version", "hash_prev", "hash_curr", "signature", "created_at", "updated_at"})


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A key of the front matter; None stands for its absence, and what is no text is JSON."""

    key: str
    before: str | None
    after: str | None


def with_worklog(body: str, at: datetime.datetime, agent: str, text: str) -> str:
    """Returns a body with a line more in its section `## Worklog`, which is made at the end where it is missing."""
    said = " ".join(text.split())
    line = f"- {at.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%SZ} {agent}: {said}"
    lines = body.rstrip("\n").split("\n")
    begin, end = _section(lines, WORKLOG)
    if begin < 0:
        return "\n".join([*lines, "", WORKLOG, "", line]).lstrip("\n") + "\n"
    while end > begin + 1 and not lines[end - 1].strip():
        end -= 1
    entry = [line] if end > begin + 1 else ["", line]
    rest = lines[end:] or [""]
    return "\n".join([*lines[:end], *entry, *rest]).rstrip("\n") + "\n"


def headings(body: str) -> list[str]:
    """Returns the headings of the first two levels, as they stand; those in blocks of code are none."""
    return [text for _, text in _headings(body.split("\n"))]


def _section(lines: Sequence[str], heading: str) -> tuple[int, int]:
    """Returns the lines of a section: its heading's, and the one after its last; (-1, -1) where there is none."""
    found = list(_headings(lines))
    for n, (at, text) in enumerate(found):
        if text.rstrip().casefold() == heading.casefold():
            return at, found[n + 1][0] if n + 1 < len(found) else len(lines)
    return -1, -1


def _headings(lines: Sequence[str]) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    fence = ""
    for at, line in enumerate(lines):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif mark:
            fence = mark[1]
        elif _HEADING.match(line):
            found.append((at, line))
    return found


def front_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Returns which keys of the front matter differ, but for those that every version has of its own."""
    keys = [key for key in dict.fromkeys([*before, *after]) if key not in _OF_VERSION]
    return [
        Change(key, _shown(before, key), _shown(after, key))
        for key in keys
        if before.get(key) != after.get(key) or (key in before) != (key in after)
    ]


def _shown(front: Mapping[str, Any], key: str) -> str | None:
    if key not in front:
        return None
    value = front[key]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def unified(before: str, after: str, name_before: str, name_after: str) -> str:
    """Returns the unified difference of two texts; empty where they are the same."""
    old, new = _lines(before), _lines(after)
    head = _same(old, new)
    tail = _same(old[head:][::-1], new[head:][::-1])
    gone, come = old[head : len(old) - tail], new[head : len(new) - tail]
    if max(len(gone), len(come)) <= DIFF_LINES_MAX:
        return "".join(_ended(difflib.unified_diff(old, new, name_before, name_after)))
    mark = f"@@ -{_span(head, gone)} +{_span(head, come)} @@\n"
    block = [*(f"-{line}" for line in gone), *(f"+{line}" for line in come)]
    return "".join(_ended([f"--- {name_before}\n", f"+++ {name_after}\n", mark, *block]))


def _lines(text: str) -> list[str]:
    """Splits at line feeds alone: other characters that str.splitlines takes for an end are part of a line."""
    lines = [f"{line}\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _same(old: Sequence[str], new: Sequence[str]) -> int:
    return next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))


def _span(start: int, lines: Sequence[str]) -> str:
    return f"{start + bool(lines)},{len(lines)}"


def _ended(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
