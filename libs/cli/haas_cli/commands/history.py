"""`haas history`: ranges of the history, on the fleet's machine and as its owner."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from haas_cli import api
from haas_cli.errors import Exit, FleetError, Refused, Unverified, UsageError
from haas_cli.fleet.home import Home

if TYPE_CHECKING:
    from haas_common.history.listing import Listed


@click.group()
def command() -> None:
    """List, drop and move old parts of the history (docs/howto/grow.md)."""


@command.command()
@api.json_option
def ranges(as_json: bool) -> int:
    """List the ranges: five million ids each, in a cell of all tenants' or of one's own."""
    from haas_cli.fleet import growth

    with _told():
        found = growth.ranges(Home.from_env())
    if as_json:
        api.print_json([_fields(row) for row in found])
        return int(Exit.OK)
    click.echo(f"{'range':<10}{'ids':<24}{'events':>10}{'MiB':>8}  {'first':<17}{'last':<17}checkpoints")
    for row in found:
        first, end = row.range.ids
        times = [at.strftime("%Y-%m-%d %H:%M") if at else "" for at in (row.first_at, row.last_at)]
        state = "" if row.range.state == "attached" else f" ({row.range.state})"
        click.echo(
            f"{row.range.name:<10}{f'{first}–{end - 1}':<24}{max(0, row.range.events):>10}"
            f"{row.range.size_bytes / 2**20:>8.1f}  {times[0]:<17}{times[1]:<17}"
            f"{'all' if row.covered else 'not all'}{state}"
        )
    return int(Exit.OK)


@command.command()
@click.option(
    "--before", "until", required=True, metavar="RANGE|DATE", help="What is older goes, in a range's own cell."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@api.json_option
def drop(until: str, yes: bool, as_json: bool) -> int:
    """Drop old ranges for good. What is left is signed first and verifies from there."""
    from haas_cli.fleet import growth

    home = Home.from_env()
    with _told():
        names = [found.name for found in growth.before(home, until)]
    if names and not yes:
        _ask(f"Drop {', '.join(names)} for good?", as_json)
    with _told():
        events = growth.drop(home, names, None, _telling(as_json)) if names else 0
    _say(names, events, as_json)
    return int(Exit.OK)


@command.command()
@click.argument("name", metavar="RANGE")
@click.option("--into", required=True, type=click.Path(path_type=Path), help="The file; its manifest lies beside it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@api.json_option
def detach(name: str, into: Path, yes: bool, as_json: bool) -> int:
    """Write the oldest range of a cell into a file (gzipped CSV) and drop it."""
    from haas_cli.fleet import growth

    home, target = Home.from_env(), into.absolute()
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {target.parent}.")
    with _told():
        growth.named(home, name)
    if not yes:
        _ask(f"Write {name} into {target} and drop it?", as_json)
    with _told():
        events = growth.drop(home, [name], target, _telling(as_json))
    _say([name], events, as_json)
    return int(Exit.OK)


@command.command()
@click.option("--tenant", "tenant_id", required=True, help="Whose events get a cell of their own from now on.")
@api.json_option
def isolate(tenant_id: str, as_json: bool) -> int:
    """Give a big tenant ranges of its own. Nothing is copied: what there is stays where it is."""
    from haas_cli.fleet import growth

    with _told():
        cell = growth.isolate(Home.from_env(), tenant_id)
    if as_json:
        api.print_json({"tenant_id": tenant_id, "cell": cell})
    else:
        click.echo(f"the events of {tenant_id} go to cell {cell} from now on")
    return int(Exit.OK)


def _ask(question: str, as_json: bool) -> None:
    if as_json:
        raise UsageError("With --json nobody is asked: give --yes.")
    click.confirm(question, abort=True)


def _telling(as_json: bool) -> Callable[[str], None]:
    return lambda step: click.echo(step, err=True) if not as_json else None


def _say(names: list[str], events: int, as_json: bool) -> None:
    if as_json:
        api.print_json({"ranges": names, "events": events})
    else:
        click.echo(f"dropped {events} events in {', '.join(names)}" if names else "nothing is as old as that")


def _fields(row: "Listed") -> dict[str, object]:
    first, end = row.range.ids
    return {
        "range": row.range.name, "cell": row.range.cell, "first_id": first, "last_id": end - 1,
        "state": row.range.state, "events": max(0, row.range.events), "size_bytes": row.range.size_bytes,
        "first_time": row.first_at.isoformat() if row.first_at else "",
        "last_time": row.last_at.isoformat() if row.last_at else "", "covered": row.covered,
    }  # fmt: skip


@contextmanager
def _told() -> Iterator[None]:
    """A refusal ends the command with 5; evidence that does not verify with 7."""
    from haas_common.history.refusals import DatabaseFailed, Refusal, Tampered

    try:
        yield
    except DatabaseFailed as error:
        raise FleetError(error.message, reason=error.reason) from error
    except Tampered as error:
        raise Unverified(error.message, reason=error.reason) from error
    except Refusal as error:
        raise Refused(error.message, reason=error.reason) from error
