"""`haas tools`: list, invoke."""

import json
from typing import Any

import click

from haas_cli import api
from haas_cli.errors import Exit, UsageError


@click.group()
def command() -> None:
    """List and call the tools that the profile allows."""


@command.command("list")
@api.scoped
@api.json_option
def list_(scope: tuple[str, str], as_json: bool) -> int:
    """List the tools that the project's profile allows."""
    with api.client(scope) as client:
        found = client.list_tools()
    api.print_rows(found, ("name", "rpm", "description"), as_json, "tools")
    return int(Exit.OK)


@command.command()
@click.argument("tool")
@click.argument("arguments", default="{}")
@click.option("--profile", default="", help="The profile; the project's newest unless given.")
@click.option("--request-id", help="For idempotency: the same id again gives the same result and runs nothing.")
@api.scoped
@api.json_option
def invoke(
    scope: tuple[str, str], tool: str, arguments: str, profile: str, request_id: str | None, as_json: bool
) -> int:
    """Call TOOL with ARGUMENTS, a JSON object; prints its result."""
    given = _object(arguments)
    with api.client(scope) as client:
        answer = client.invoke_tool(tool, given, profile_id=profile, request_id=request_id)
    shown = api.as_dict(answer)
    api.print_json(shown if as_json else shown.get("result", {}))
    return int(Exit.OK)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The arguments are no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise UsageError('The arguments are a JSON object, e.g. \'{"ref": "sha256:…"}\'.')
    return found
