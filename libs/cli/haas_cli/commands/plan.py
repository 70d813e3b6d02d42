"""`haas plan`: create, run, watch, status, list, cancel, tasks, deps, and what `steering` adds."""

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from haas_cli import api
from haas_cli.commands import steering
from haas_cli.errors import Exit, UsageError

if TYPE_CHECKING:
    from haas_client import HaasClient


@click.group()
def command() -> None:
    """Create, run, watch, steer, compare and cancel plans."""


for _one in steering.COMMANDS:
    command.add_command(_one)


@command.command()
@click.argument("objective")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="A value, a ref, or @FILE to upload.")
@click.option("--lenient", is_flag=True, help="Leave out broken rows of uploaded tables and count them.")
@click.option("--graph", type=click.Path(path_type=Path), help="A JSON file with an explicit graph.")
@click.option("--profile", default="", help="The profile; the project's newest unless given.")
@steering.budget_options
@click.option("--repairs-max", type=click.IntRange(0, 20), help="How often a part that failed is planned anew; 2.")
@click.option("--request-id", help="For idempotency: the same id again gives the same plan.")
@click.option("--run", "then_run", is_flag=True, help="Run it at once.")
@api.scoped
@api.json_option
def create(
    scope: tuple[str, str], objective: str, inputs: tuple[str, ...], lenient: bool, graph: Path | None, profile: str,
    budget: dict[str, int] | None, repairs_max: int | None, request_id: str | None, then_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Make a plan from OBJECTIVE, in plain Spanish or English."""
    with api.client(scope) as client:
        made = client.create_plan(
            objective, _inputs(client, inputs, lenient), graph=_graph(graph), profile_id=profile, budget=budget,
            repairs_max=repairs_max, request_id=request_id,
        )  # fmt: skip
        if then_run:
            client.run_plan(made.plan_id)
    if as_json:
        api.print_json(api.as_dict(made))
    else:
        click.echo(f"{made.dag_summary}\n{made.plan_id}")
    return int(Exit.OK)


def _inputs(client: "HaasClient", given: tuple[str, ...], lenient: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--input {pair} is no NAME=VALUE.")
        if value.startswith("@"):
            try:
                found[name] = client.upload_input(Path(value[1:]), lenient=lenient).ref
            except OSError as error:
                raise UsageError(f"{value[1:]} cannot be read ({error.strerror}).") from error
        else:
            found[name] = _number(value)
    return found


def _number(text: str) -> float | str:
    """A plain value: a number where it reads as one (not "nan", not "1_000")."""
    try:
        return float(text) if text.lstrip("-").replace(".", "", 1).isdecimal() else text
    except ValueError:
        return text


def _graph(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        graph = json.loads(api.read_text(path))
    except ValueError as error:
        raise UsageError(f"{path} is no JSON ({error}).") from error
    if not isinstance(graph, dict):
        raise UsageError(f"{path} is no graph: a JSON object with `tasks` and `inputs`.")
    return graph


@command.command()
@click.argument("plan_id")
@click.option("--wait", is_flag=True, help="Follow it until it is over.")
@api.scoped
@api.lines_option
def run(scope: tuple[str, str], plan_id: str, wait: bool, as_json: bool) -> int:
    """Run a plan. With --wait: exit status 0 when it was completed, 1 when it failed or was cancelled."""
    from haas_cli.progress import follow

    with api.client(scope) as client:
        started = client.run_plan(plan_id)
        if wait:
            with api.following():
                return follow(plan_id, client.watch(plan_id), as_json)
    if as_json:
        api.print_line(started)
    else:
        click.echo(f"{plan_id} {api.plain(api.as_dict(started)['state'])}; follow it: haas plan watch {plan_id}")
    return int(Exit.OK)


@command.command()
@click.argument("plan_id")
@click.option("--since", default=0, type=click.IntRange(0), help="Only events after this seq.")
@api.scoped
@api.lines_option
def watch(scope: tuple[str, str], plan_id: str, since: int, as_json: bool) -> int:
    """Follow a plan until it is over: live on a terminal, a line an event elsewhere."""
    from haas_cli.progress import follow

    with api.following(), api.client(scope) as client:
        return follow(plan_id, client.watch(plan_id, since), as_json)


@command.command()
@click.argument("plan_id")
@api.scoped
@api.json_option
def status(scope: tuple[str, str], plan_id: str, as_json: bool) -> int:
    """Show where a plan and its tasks stand."""
    with api.client(scope) as client:
        found = client.plan_status(plan_id)
    shown = api.as_dict(found)
    if as_json:
        api.print_json(shown)
        return int(Exit.OK)
    counts = ", ".join(f"{n} {name}" for name, n in shown.get("tasks", {}).items() if n and name != "total")
    click.echo(f"{plan_id}  {api.plain(shown['state'])}  {counts}")
    if found.failure:
        click.echo(found.failure)
    for artifact_id in found.artifact_ids:
        click.echo(f"  {artifact_id}")
    return int(Exit.OK)


@command.command("list")
@click.option("--limit", default=20, type=click.IntRange(1, 10_000), show_default=True, help="At most this many.")
@api.scoped
@api.json_option
def list_(scope: tuple[str, str], limit: int, as_json: bool) -> int:
    """List the project's plans, newest first."""
    with api.client(scope) as client:
        found = list(islice(client.list_plans(min(limit, 500)), limit))
    api.print_rows(found, ("plan_id", "state", "intent", "create_time", "objective"), as_json, "plans")
    return int(Exit.OK)


@command.command()
@click.argument("plan_id")
@api.scoped
@api.json_option
def tasks(scope: tuple[str, str], plan_id: str, as_json: bool) -> int:
    """List a plan's tasks."""
    with api.client(scope) as client:
        found = list(client.list_tasks(plan_id, 500))
    columns = ("task_id", "state", "attempt", "skill", "owner_agent_id", "depends_on", "title")
    api.print_rows(found, columns, as_json, "tasks")
    return int(Exit.OK)


@command.command()
@click.argument("plan_id")
@click.argument("task_id")
@click.option("--up", "upwards", is_flag=True, help="What it depends on, instead of what depends on it.")
@api.scoped
@api.json_option
def deps(scope: tuple[str, str], plan_id: str, task_id: str, upwards: bool, as_json: bool) -> int:
    """List what depends on a task, at any distance, with where each stands."""
    with api.client(scope) as client:
        found = list(client.task_dependencies(plan_id, task_id, upwards=upwards, page_size=500))
    api.print_rows(found, ("task_id", "state", "skill", "owner_agent_id", "title"), as_json, "tasks")
    return int(Exit.OK)


@command.command()
@click.argument("plan_id")
@click.option("--reason", default="", help="Why, for the history.")
@api.scoped
@api.json_option
def cancel(scope: tuple[str, str], plan_id: str, reason: str, as_json: bool) -> int:
    """Stop a plan."""
    with api.client(scope) as client:
        found = api.as_dict(client.cancel_plan(plan_id, reason))
    if as_json:
        api.print_json(found)
    else:
        click.echo(f"{plan_id} {api.plain(found['state'])}")
    return int(Exit.OK)
