"""`haas inputs`: put."""

from pathlib import Path

import click

from haas_cli import api
from haas_cli.errors import Exit, UsageError


@click.group()
def command() -> None:
    """Upload files for plans."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Its name; the file's own unless given. The ending tells what it is.")
@click.option("--lenient", is_flag=True, help="Leave out a table's broken rows and count them.")
@api.scoped
@api.json_option
def put(scope: tuple[str, str], file: Path, name: str | None, lenient: bool, as_json: bool) -> int:
    """Keep FILE by its hash; prints the ref that a plan's inputs name."""
    with api.client(scope) as client:
        try:
            kept = client.upload_input(file, name, lenient=lenient)
        except OSError as error:
            raise UsageError(f"{file} cannot be read ({error.strerror}).") from error
    if as_json:
        api.print_json(api.as_dict(kept))
        return int(Exit.OK)
    click.echo(kept.ref)
    if kept.columns:
        broken = f", {kept.broken_rows} broken rows left out" if kept.broken_rows else ""
        click.echo(f"{kept.rows} rows, {len(kept.columns)} columns{broken}", err=True)
    return int(Exit.OK)
