"""`haas projections`: list and rebuild the read models (docs/howto/rebuild-projections.md)."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from haas_cli import api
from haas_cli.errors import CliError, Exit, Refused
from haas_cli.fleet.home import Home


@dataclass(frozen=True, slots=True)
class ReadModel:
    """A read model, the module that folds it, and who keeps it up."""

    name: str
    tables: str
    module: str
    kept: str


_WRITERS = "in the append's transaction"
READ_MODELS = (
    ReadModel("plans", "plans, tasks_read, task_edges", "haas_planner.projection", _WRITERS),
    ReadModel("artifacts", "artifacts_read", "haas_orchestrator.projection", _WRITERS),
    ReadModel("locks", "resource_locks", "haas_mcp.projection", _WRITERS),
    ReadModel("notifications", "notifications", "haas_notifier.projection", _WRITERS),
    ReadModel("usage", "usage", "haas_gateway.projection", "by a projector that tails the history"),
)
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
    options = [*(["--shadow"] if shadow else []), "--rate", str(rate)]
    argv = [sys.executable, "-P", "-m", model.module, model.name, *options]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=_environment(), text=True) as step:
        assert step.stdout is not None
        last: dict[str, Any] = {}
        with _progress(model.name, as_json) as show:
            for text in step.stdout:
                last = json.loads(text)
                show(last)
        status = step.wait()
    if last.get("state") == "failed":
        kind = Refused if status == Exit.REFUSED else CliError
        raise kind(last["message"], reason=last["reason"])
    if last.get("state") != "done":
        raise CliError(f"The rebuild of {model.name} ended in the middle; call it again and it goes on.")
    if not as_json:
        _say(model, last)
    return status


def _environment() -> dict[str, str]:
    """What the step may know: the administrator's way into the database, and the key of personal data."""
    from haas_cli.fleet.parts import embedded_postgres
    from haas_cli.fleet.state import read

    home = Home.from_env()
    read(home)
    external = os.environ.get("HAAS_DATABASE_URL", "").strip()
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TZ") if name in os.environ}
    return {
        **kept,
        "HAAS_ADMIN_DATABASE_URL": external or embedded_postgres(home).dsn("haas"),
        "HAAS_DATA_KEY": str(home.secrets / "planner" / "data.key"),
        "PYTHONUNBUFFERED": "1",
    }


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
