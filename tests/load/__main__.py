"""Measures the figures of docs/reference/performance.md: `python -m tests.load [up|demo|idle|api|append …] [--write]`.

Bounded in count and time, never asserted. `--write` puts the report into the page.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.load import appends, calls, fleets, memory, planner
from tests.load.figures import Table, with_section, written

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "performance.md"
WHAT = ("up", "idle", "demo", "api", "append", "memory", "planner")
#: The planner's figures stand in a section of their own, and can be written alone.
PLANNER = ("<!-- planner: begin -->", "<!-- planner: end -->")


def machine() -> str:
    """Says where, when and of what the figures are."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.machine()}, Python {platform.python_version()}; "
        f"{today}, commit {commit or 'unknown'}, load average at the end {load}."
    )


def measure(wanted: set[str]) -> list[Table]:
    """Measures what is wanted; the fleet idles before it works."""
    tables = memory.tables() if "memory" in wanted else []
    if "up" in wanted:
        tables.append(fleets.starts())
    if not wanted - {"up", "memory"}:
        return tables
    with fleets.fleet() as cli:
        if "idle" in wanted:
            tables.append(fleets.memory(cli, "idle after the start"))
        if not wanted - {"up", "idle", "memory"}:
            return tables
        with fleets.example(cli) as app:
            if "demo" in wanted:
                tables.append(fleets.jobs(app))
            if "api" in wanted:
                tables.append(calls.detect(cli, app))
            if "append" in wanted:
                tables.append(appends.appends(cli, app))
        tables.append(fleets.memory(cli, "after all of this"))
    return tables


def main(arguments: list[str]) -> int:
    """Prints the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description="Measures a fleet of its own.")
    parser.add_argument("what", nargs="*", help=f"some of {', '.join(WHAT)}; all of them unless given")
    parser.add_argument("--write", action="store_true", help=f"put the report into {PAGE.relative_to(ROOT)}")
    given = parser.parse_args(arguments)
    unknown = set(given.what) - set(WHAT)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if given.write and given.what not in ([], ["planner"]):
        parser.error("--write takes the whole report, or the planner's")
    wanted = set(given.what) or set(WHAT)
    # The planner's come first: nothing else is up.
    if "planner" in wanted:
        report = _said(planner.tables())
        if given.write:
            page = with_section(PAGE.read_text(), "The planner", *PLANNER)
            PAGE.write_text(written(page, report, *PLANNER))
    if others := wanted - {"planner"}:
        report = _said(measure(others))
        if given.write:
            PAGE.write_text(written(PAGE.read_text(), report))
    return 0


def _said(tables: list[Table]) -> str:
    """Prints tables; returns what was printed."""
    report = "\n\n".join([machine(), *(table.markdown() for table in tables)])
    print(report)
    return report


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
