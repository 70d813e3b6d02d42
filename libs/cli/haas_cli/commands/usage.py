"""`haas usage`: what a project used, by day."""

import click

from haas_cli import api
from haas_cli.errors import Exit

_COLUMNS = (
    "day", "events", "plans_created", "plans_completed", "plans_failed", "tasks_completed", "tasks_failed",
    "tool_calls", "artifact_versions", "artifact_bytes", "input_bytes",
)  # fmt: skip


@click.command()
@click.option("--from", "first_day", default="", metavar="DAY", help="The first day, e.g. 2026-11-01.")
@click.option("--to", "last_day", default="", metavar="DAY", help="The last day; today unless given.")
@api.scoped
@api.json_option
def command(scope: tuple[str, str], first_day: str, last_day: str, as_json: bool) -> int:
    """Show what a project used, by day in UTC; the last thirty days unless told otherwise."""
    with api.client(scope) as client:
        found = client.usage(first_day, last_day)
    api.print_rows(found.days, _COLUMNS, as_json, "days")
    return int(Exit.OK)
