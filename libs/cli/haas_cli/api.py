"""What the commands that call the API share: options, a client, the words for its errors, and how results are shown."""

import functools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from haas_cli.errors import CliError, Exit, UsageError
from haas_cli.fleet.home import Home

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from haas_client import HaasClient, HaasError, OperatorClient

SUBJECT = "user@cli"
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
lines_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


def scoped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --tenant and --project, and HAAS_TENANT and HAAS_PROJECT behind them, as the argument `scope`."""

    @click.option("--tenant", envvar="HAAS_TENANT", help="The tenant (HAAS_TENANT).")
    @click.option("--project", envvar="HAAS_PROJECT", help="Its project (HAAS_PROJECT).")
    @functools.wraps(function)
    def wrapped(*, tenant: str | None, project: str | None, **options: Any) -> Any:
        if not tenant or not project:
            raise UsageError(
                'Say for which project: --tenant and --project, or eval "$(haas env --tenant … --project …)".'
            )
        return function(scope=(tenant, project), **options)

    return wrapped


@contextmanager
def client(
    scope: tuple[str, str],
    role: str = "member",
    agents: Sequence[str] = (),
    *,
    here: bool = False,
    decides: Sequence[str] = (),
) -> Iterator["HaasClient"]:
    """Yields a client of a tenant's project, with the token of HAAS_TOKEN or, on the fleet's machine, one of its own.

    Args:
        scope: the tenant and the project.
        role: of a token of its own.
        agents: whose notifications a token of its own receives.
        here: the fleet of this machine and a token of its own, whatever the environment names.
        decides: the roles in which a token of its own decides approvals.

    Raises:
        CliError: the call failed; the class fits the status, the reason is the contract's.
    """
    from haas_cli import remote
    from haas_client import HaasClient, HaasError

    home = Home.from_env()
    target = remote.local_address(home) if here else remote.address(home)
    token = "" if here else os.environ.get("HAAS_TOKEN", "").strip()
    if not token:
        tenant, project = scope
        token = remote.issue_token(
            home, tenant=tenant, project=project, subject=SUBJECT, role=role, agents=agents, decides=decides
        ).token
    try:
        with HaasClient(target.url, token, *scope, _authority(target.cacert)) as opened:
            yield opened
    except HaasError as error:
        raise told(error) from error


@contextmanager
def following() -> Iterator[None]:
    """Lets Ctrl-C end a command that only reads, and at once.

    One that comes while gRPC takes one of its locks may be lost in there, and nothing would ever wake the command.
    """

    def end(number: int, frame: object) -> None:
        guard = threading.Timer(1.0, os._exit, (int(Exit.INTERRUPTED),))
        guard.daemon = True
        guard.start()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def operator() -> Iterator["OperatorClient"]:
    """Yields the operator's client, on the fleet's machine as its owner. Raises CliError, see `client`."""
    from haas_cli import remote
    from haas_client import HaasError, OperatorClient

    home = Home.from_env()
    target = remote.local_address(home)
    try:
        with OperatorClient(target.url, remote.operator_token(home), _authority(target.cacert)) as opened:
            yield opened
    except HaasError as error:
        raise told(error) from error


def _authority(path: os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"The certificate {path} cannot be read ({error.strerror}).") from error


def told(error: "HaasError") -> CliError:
    """Returns a failed call as what the command line says about it."""
    from haas_cli.remote import BY_STATUS

    details = {name: value for name, value in error.metadata.items() if name not in ("reason", "message")}
    return BY_STATUS.get(error.code, CliError)(error.message, reason=error.reason or error.code.name, **details)


def as_dict(message: "Message") -> dict[str, Any]:
    """Returns a message as the REST API shows it."""
    from google.protobuf import json_format

    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def print_json(document: object) -> None:
    """Prints one JSON document."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=1))


def print_line(message: "Message") -> None:
    """Prints a message as one line of JSON."""
    click.echo(json.dumps(as_dict(message), ensure_ascii=False))


def print_rows(rows: Iterable["Message"], columns: Sequence[str], as_json: bool, name: str) -> None:
    """Prints messages as a table of some of their fields, or as {name: […]}."""
    shown = [as_dict(row) for row in rows]
    if as_json:
        print_json({name: shown})
        return
    print_table([tuple(columns), *(tuple(plain(row.get(column, "")) for column in columns) for row in shown)])


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Prints rows of cells, the first of them the head, column under column."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def plain(value: object) -> str:
    """Returns a value of a message for a table: an enum without its prefix, a list in one line."""
    if isinstance(value, list):
        return ",".join(map(plain, value)) or "-"
    text = str(value)
    for prefix in ("PLAN_STATE_", "TASK_STATE_", "TASK_KIND_", "PERFORMATIVE_"):
        text = text.removeprefix(prefix)
    return " ".join(text.split())[:100] or "-"


def read_text(path: os.PathLike[str]) -> str:
    """Returns a file's text. Raises UsageError."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text ({error}).") from error
