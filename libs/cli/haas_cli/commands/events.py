"""`haas events`: tail."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from haas_cli import api
from haas_cli.errors import Exit

if TYPE_CHECKING:
    from haas.notifier.v1.notifier_pb2 import Event
    from haas_client import HaasClient

_BEYOND = 2**62


@click.group()
def command() -> None:
    """Read the history."""


@command.command()
@click.option("--plan", "plan_id", default="", help="Only this plan's, from its beginning.")
@click.option(
    "--since", type=click.IntRange(0), help="Events after this seq; unless given the last --lines, or a plan's."
)
@click.option("--lines", default=20, type=click.IntRange(1, 10_000), show_default=True, help="How many to begin with.")
@click.option("--type", "types", multiple=True, help="Only events of this type.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes; ends with the plan where one is given.")
@api.scoped
@api.lines_option
def tail(
    scope: tuple[str, str], plan_id: str, since: int | None, lines: int, types: tuple[str, ...], follow: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Print events, a line each."""
    from haas_cli.progress import line

    with api.following(), api.client(scope) as client:
        after = since if since is not None else 0 if plan_id else max(0, _head(client) - lines)
        events: Iterator[Event] = client.watch(plan_id, after) if follow else client.list_events(plan_id, after)
        for event in events:
            if types and event.type not in types:
                continue
            if as_json:
                api.print_line(event)
            else:
                click.echo(line(event))
    return int(Exit.OK)


def _head(client: "HaasClient") -> int:
    """The last seq: asking for what lies beyond every history is refused with it."""
    from haas_client.errors import BY_REASON

    try:
        next(client.list_events(from_seq=_BEYOND), None)
    except BY_REASON["CURSOR_OUT_OF_RANGE"] as error:
        return int(error.metadata.get("last_seq", "0"))
    return 0
