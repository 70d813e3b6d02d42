"""`haas projections`: list and rebuild the read models (docs/howto/rebuild-projections.md)."""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from haas_cli import api
from haas_cli.errors import Exit
from haas_cli.fleet import rebuilding
from haas_cli.fleet.home import Home
from haas_cli.fleet.rebuilding import READ_MODELS, ReadModel

NAMES = [model.name for model in READ_MODELS]


@click.group()
def command() -> None:
    """List and rebuild the read models."""


@command.command("list")
@api.json_option
def list_(as_json: bool) -> int:
    """List the read models: their tables, and who keeps them."""
    if as_json:
        shown = [{"name": m.name, "tables": m.tables.split(", "), "kept": m.kept} for m in READ_MODELS]
        api.print_json({"projections": shown})
    else:
        for model in READ_MODELS:
            click.echo(f"{model.name:<14} {model.tables:<30} {model.kept}")
    return int(Exit.OK)


@command.command()
@click.argument("name", required=False, type=click.Choice(NAMES))
@click.option("--shadow", is_flag=True, help="Build and compare only; exit status 7 where the live table differs.")
@click.option("--rate", default=0, type=click.IntRange(0), help="Events a second at most; 0: as fast as it goes.")
@api.lines_option
def rebuild(name: str | None, shadow: bool, rate: int, as_json: bool) -> int:
    """Build a read model (or all of them) anew from the history, beside the live one, and swap the two.

    The fleet goes on meanwhile. A rebuild that was interrupted goes on where it was.
    """
    status = int(Exit.OK)
    for model in READ_MODELS:
        if name in (None, model.name):
            status = max(status, _rebuild(model, shadow, rate, as_json))
    return status


def _rebuild(model: ReadModel, shadow: bool, rate: int, as_json: bool) -> int:
    environment = rebuilding.environment_of(Home.from_env())
    with _progress(model.name, as_json) as show:
        status, last = rebuilding.rebuild(model, environment, shadow=shadow, rate=rate, show=show)
    if not as_json:
        _say(model, last)
    return status


def _say(model: ReadModel, last: dict[str, Any]) -> None:
    done = "rebuilt and swapped" if last["swapped"] else "compared"
    click.echo(f"{model.name}: {done}; {last['events']} events folded, {last['differing']} rows differed")
    for row in last["differences"]:
        named = {k: v for k, v in row.items() if k not in ("table", "how", "columns")}
        key = " ".join(f"{k}={v}" for k, v in named.items())
        click.echo(f"  {row['how']:<8} {row['table']}  {key}  {','.join(row['columns'])}".rstrip())


@contextlib.contextmanager
def _progress(name: str, as_json: bool) -> Iterator[Any]:
    """Yields what shows a line of progress: as it is, as a bar on a terminal, or not at all."""
    if as_json:
        yield lambda line: click.echo(json.dumps(line, ensure_ascii=False))
        return
    if not sys.stderr.isatty():
        yield lambda line: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)

        def show(line: dict[str, Any]) -> None:
            if "total" in line:
                bar.update(task, description=f"{name} {line['state']}", completed=line["events"], total=line["total"])

        yield show
