"""`haas intent`: detect."""

import click

from haas_cli import api
from haas_cli.errors import Exit


@click.group()
def command() -> None:
    """Say what a text asks for."""


@command.command()
@click.argument("text")
@api.scoped
@api.json_option
def detect(scope: tuple[str, str], text: str, as_json: bool) -> int:
    """Detect the intent of TEXT and its slots."""
    with api.client(scope) as client:
        found = client.detect_intent(text)
    if as_json:
        api.print_json(api.as_dict(found))
    else:
        click.echo(f"{found.intent}  {found.confidence:.2f}  {found.language}  {found.engine}")
        for name, value in sorted(found.slots.items()):
            click.echo(f"  {name}: {value}")
    return int(Exit.OK)
