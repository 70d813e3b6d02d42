"""`haas plan`: pause, resume, signal, approve, reject, retry, skip, rerun, fork, replan, diff, estimate."""

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from haas_cli import api
from haas_cli.errors import Exit, UsageError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from haas_client import HaasClient

_ROLES = ("viewer", "member", "admin")
_BUDGET = ("tokens", "money_micros", "time_s")
reason_option = click.option("--reason", default="", help="Why, for the history.")
request_option = click.option("--request-id", help="For idempotency: the same id again is the same request.")
role_option = click.option("--role", default="", help="The role to act in; without HAAS_TOKEN, of a token of its own.")


def budget_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --tokens, --money-micros and --time-s as the argument `budget`; None where none of them is given."""

    @click.option("--tokens", type=click.IntRange(0), help="Budget: tokens of models.")
    @click.option("--money-micros", type=click.IntRange(0), help="Budget: money, in millionths of the currency.")
    @click.option("--time-s", type=click.IntRange(0), help="Budget: seconds from the start to the end.")
    @functools.wraps(function)
    def wrapped(**options: Any) -> Any:
        given = {name: options.pop(name) for name in _BUDGET}
        budget = {name: value for name, value in given.items() if value is not None}
        return function(budget=budget or None, **options)

    return wrapped


def json_of(text: str, what: str) -> Any:
    """Returns a JSON text's value, or that of @FILE. Raises UsageError."""
    source = api.read_text(Path(text[1:])) if text.startswith("@") else text
    try:
        return json.loads(source)
    except ValueError as error:
        raise UsageError(f"{what} is no JSON ({error}).") from error


def object_of(text: str, what: str) -> dict[str, Any]:
    """Returns a JSON object. Raises UsageError."""
    found = json_of(text, what)
    if not isinstance(found, dict):
        raise UsageError(f"{what} is no JSON object.")
    return found


def _pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    found = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {pair} is no NAME=VALUE.")
        found[name] = value
    return found


def _told(answer: "Message", as_json: bool) -> int:
    """Says where the plan stands."""
    shown = api.as_dict(answer)
    if as_json:
        api.print_json(shown)
    else:
        click.echo(f"{shown['plan_id']} {api.plain(shown['state'])}")
    return int(Exit.OK)


def acting(scope: tuple[str, str], role: str, agents: tuple[str, ...] = ()) -> AbstractContextManager["HaasClient"]:
    """Returns a client whose token, where it is one of its own, holds a role: one of the fleet's, or of approvals."""
    if role in ("", *_ROLES):
        return api.client(scope, role or "member", agents=agents)
    return api.client(scope, decides=(role,), agents=agents)


# ── The plan ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@click.command()
@click.argument("plan_id")
@reason_option
@request_option
@api.scoped
@api.json_option
def pause(scope: tuple[str, str], plan_id: str, reason: str, request_id: str | None, as_json: bool) -> int:
    """Start nothing new until the plan is resumed."""
    with api.client(scope) as client:
        return _told(client.pause_plan(plan_id, reason, request_id=request_id), as_json)


@click.command()
@click.argument("plan_id")
@reason_option
@budget_options
@request_option
@api.scoped
@api.json_option
def resume(
    scope: tuple[str, str], plan_id: str, reason: str, budget: dict[str, int] | None, request_id: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Go on with a paused plan, with another budget where one is given."""
    with api.client(scope) as client:
        return _told(client.resume_plan(plan_id, reason, budget=budget, request_id=request_id), as_json)


@click.command()
@click.argument("plan_id")
@click.argument("name")
@click.option("--value", metavar="JSON", default="{}", help="What comes with it: a JSON object, or @FILE.")
@click.option("--task", "task_id", default="", help="The only task that it is for.")
@request_option
@api.scoped
@api.json_option
def signal(
    scope: tuple[str, str], plan_id: str, name: str, value: str, task_id: str, request_id: str | None, as_json: bool
) -> int:
    """Tell a plan that something happened outside: the signal NAME."""
    found = object_of(value, "--value")
    with api.client(scope) as client:
        return _told(client.signal(plan_id, name, found, task_id=task_id, request_id=request_id), as_json)


# ── Its tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _decision(name: str, approved: bool, help_: str) -> click.Command:
    @click.command(name, help=help_)
    @click.argument("plan_id")
    @click.argument("task_id")
    @click.option("--comment", default="", help="Why.")
    @role_option
    @request_option
    @api.scoped
    @api.json_option
    def decide(
        scope: tuple[str, str], plan_id: str, task_id: str, comment: str, role: str, request_id: str | None,
        as_json: bool,
    ) -> int:  # fmt: skip
        with acting(scope, role) as client:
            return _told(client.decide(plan_id, task_id, approved, comment, request_id=request_id), as_json)

    return decide


approve = _decision("approve", True, "Approve what a task asks a person for; it takes the role that the task names.")
reject = _decision("reject", False, "Reject what a task asks a person for; it takes the role that the task names.")


@click.command()
@click.argument("plan_id")
@click.argument("task_id")
@reason_option
@request_option
@api.scoped
@api.json_option
def retry(
    scope: tuple[str, str], plan_id: str, task_id: str, reason: str, request_id: str | None, as_json: bool
) -> int:
    """Try a failed task again; a plan that failed by it goes on."""
    with api.client(scope) as client:
        return _told(client.retry_task(plan_id, task_id, reason, request_id=request_id), as_json)


@click.command()
@click.argument("plan_id")
@click.argument("task_id")
@click.option("--reason", required=True, help="Why, for the history.")
@click.option("--output", "outputs", multiple=True, metavar="NAME=ARTIFACT", help="An artifact in place of its own.")
@click.option("--value", "values", multiple=True, metavar="NAME=JSON", help="A value in place of its own, or @FILE.")
@role_option
@request_option
@api.scoped
@api.json_option
def skip(
    scope: tuple[str, str], plan_id: str, task_id: str, reason: str, outputs: tuple[str, ...], values: tuple[str, ...],
    role: str, request_id: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Leave a task out; what reads a value that is not given is left out too."""
    artifacts = _pairs(outputs, "--output")
    given = {name: json_of(text, f"--value {name}") for name, text in _pairs(values, "--value").items()}
    with acting(scope, role) as client:
        answer = client.skip_task(
            plan_id, task_id, reason, role=role, outputs=artifacts, values=given, request_id=request_id
        )
    return _told(answer, as_json)


@click.command()
@click.argument("plan_id")
@click.argument("task_id")
@reason_option
@request_option
@api.scoped
@api.json_option
def rerun(
    scope: tuple[str, str], plan_id: str, task_id: str, reason: str, request_id: str | None, as_json: bool
) -> int:
    """Do a task again, and all that depends on it; what is upstream is used as it is."""
    with api.client(scope) as client:
        return _told(client.rerun(plan_id, task_id, reason, request_id=request_id), as_json)


# ── Graphs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@click.command()
@click.argument("plan_id")
@click.option("--at", "at_version", default=0, type=click.IntRange(0), help="After this event: its version.")
@click.option("--run", "then_run", is_flag=True, help="Run it at once.")
@request_option
@api.scoped
@api.json_option
def fork(
    scope: tuple[str, str], plan_id: str, at_version: int, then_run: bool, request_id: str | None, as_json: bool
) -> int:
    """Make a new plan of one as it stood after an event; what was complete is taken over."""
    with api.client(scope) as client:
        made = client.fork_plan(plan_id, at_version, request_id=request_id)
        if then_run:
            client.run_plan(made.plan_id)
    if as_json:
        api.print_json(api.as_dict(made))
    else:
        click.echo(f"{len(made.done)} of {len(made.graph.tasks)} tasks are done, as of version {made.forked_at}")
        click.echo(made.plan_id)
    return int(Exit.OK)


@click.command()
@click.argument("plan_id")
@click.option("--explanation", required=True, help="What is changed and why, for the history.")
@click.option(
    "--tasks", type=click.Path(path_type=Path), help="A JSON file: a list of tasks, new ones and changed ones."
)
@click.option(
    "--remove", "removed", multiple=True, metavar="TASK_ID", help="A task that is no longer part of the plan."
)
@role_option
@request_option
@api.scoped
@api.json_option
def replan(
    scope: tuple[str, str], plan_id: str, explanation: str, tasks: Path | None, removed: tuple[str, ...], role: str,
    request_id: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Give a part of a plan another graph; what runs or is complete stays as it is."""
    found = json_of(f"@{tasks}", str(tasks)) if tasks else []
    if not isinstance(found, list) or not all(isinstance(task, dict) for task in found):
        raise UsageError(f"{tasks} is no JSON list of tasks.")
    with acting(scope, role) as client, _readable(str(tasks)):
        return _told(client.replan(plan_id, explanation, found, removed, request_id=request_id), as_json)


@click.command()
@click.argument("plan_id")
@click.option("--from", "from_revision", default=0, type=click.IntRange(0), help="The revision to compare from.")
@click.option("--to", "to_revision", default=0, type=click.IntRange(0), help="The revision to compare with.")
@click.option("--other", "other_plan_id", default="", metavar="PLAN_ID", help="The plan that --to is of.")
@api.scoped
@api.json_option
def diff(
    scope: tuple[str, str], plan_id: str, from_revision: int, to_revision: int, other_plan_id: str, as_json: bool
) -> int:
    """Compare two revisions of a plan, the newest with the one before it unless given, or two plans."""
    with api.client(scope) as client:
        found = client.diff_plan(plan_id, from_revision, to_revision, other_plan_id=other_plan_id)
    if as_json:
        api.print_json(api.as_dict(found))
        return int(Exit.OK)
    click.echo(f"revision {found.from_revision} → {found.to_revision}; {found.unchanged} tasks are the same")
    for sign, tasks in (("-", found.removed), ("+", found.added)):
        for task in tasks:
            click.echo(f"{sign} {task.task_id} {task.skill}: {task.title}")
    for change in found.changed:
        click.echo(f"~ {change.task_id} {change.after.skill}: {', '.join(change.fields)}")
    for sign, inputs in (("-", found.inputs_removed), ("+", found.inputs_added)):
        for one in inputs:
            click.echo(f"{sign} input {one.name} ({one.type})")
    return int(Exit.OK)


@click.command()
@click.argument("plan_id", default="")
@click.option("--graph", type=click.Path(path_type=Path), help="A JSON file with a graph that is no plan yet.")
@click.option("--profile", default="", help="The profile that a graph is checked against; the project's newest.")
@budget_options
@api.scoped
@api.json_option
def estimate(
    scope: tuple[str, str], plan_id: str, graph: Path | None, profile: str, budget: dict[str, int] | None, as_json: bool
) -> int:
    """Say what the rest of a plan, or a graph, is going to take. Exit status 1 when a budget is exceeded."""
    if bool(plan_id) == (graph is not None):
        raise UsageError("Name a plan, or --graph.")
    read = object_of(f"@{graph}", str(graph)) if graph else None
    with api.client(scope) as client, _readable(str(graph)):
        found = client.estimate(plan_id, graph=read, profile_id=profile, budget=budget)
    if as_json:
        api.print_json(api.as_dict(found))
    else:
        _print_estimate(found)
    return int(Exit.FAILED if found.exceeds else Exit.OK)


def _print_estimate(found: Any) -> None:
    click.echo(f"{found.tasks} tasks are to be done, {found.measured} of them estimated by what was measured")
    for name, cost in (("expected", found.expected), ("at most", found.at_most), ("spent", found.spent)):
        click.echo(
            f"{name:<9} {cost.seconds:>10g} s  {cost.work_seconds:>10g} s of work  {cost.tokens:>10} tokens"
            f"  {cost.money_micros / 1e6:>10g} money"
        )
    if found.critical_path:
        click.echo(f"critical path: {' → '.join(found.critical_path)}")
    if found.open_ended:
        click.echo(f"not in it, because nobody knows yet: {', '.join(found.open_ended)}")
    if found.exceeds:
        click.echo(f"exceeds the budget: {', '.join(found.exceeds)}")
    elif found.may_exceed:
        click.echo(f"may exceed the budget: {', '.join(found.may_exceed)}")


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Says of a file that no message can be made of what it holds."""
    from google.protobuf.json_format import ParseError

    try:
        yield
    except ParseError as error:
        raise UsageError(f"{path}: {error}") from error


COMMANDS = (pause, resume, signal, approve, reject, retry, skip, rerun, fork, replan, diff, estimate)
