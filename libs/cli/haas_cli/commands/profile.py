"""`haas profile`: put, get, list, document put."""

import re
from pathlib import Path

import click

from haas_cli import api
from haas_cli.errors import Exit, UsageError

_PROFILE_ID = re.compile(r"^profile_id:\s*[\"']?([A-Za-z0-9_.-]+)", re.MULTILINE)


@click.group()
def command() -> None:
    """Publish and read a project's profile and its own documents."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@api.scoped
@api.json_option
def put(scope: tuple[str, str], file: Path, as_json: bool) -> int:
    """Publish the profile in FILE; the same content again changes nothing. Needs the role admin."""
    text = api.read_text(file)
    found = _PROFILE_ID.search(text)
    if found is None:
        raise UsageError(f"{file} names no profile_id.")
    with api.client(scope, role="admin") as client:
        kept = client.put_profile(found[1], text)
    if as_json:
        api.print_json(api.as_dict(kept))
    else:
        click.echo(f"{kept.profile_id} version {kept.version} {kept.hash}")
    return int(Exit.OK)


@command.command()
@click.argument("profile_id")
@api.scoped
@api.json_option
def get(scope: tuple[str, str], profile_id: str, as_json: bool) -> int:
    """Print the newest version of a profile."""
    with api.client(scope) as client:
        found = client.get_profile(profile_id)
    if as_json:
        api.print_json(api.as_dict(found))
    else:
        click.echo(found.yaml, nl=not found.yaml.endswith("\n"))
    return int(Exit.OK)


@command.command("list")
@api.scoped
@api.json_option
def list_(scope: tuple[str, str], as_json: bool) -> int:
    """List the project's profiles, the newest version of each."""
    with api.client(scope) as client:
        found = client.list_profiles()
    api.print_rows(found, ("profile_id", "version", "publish_time", "hash"), as_json, "profiles")
    return int(Exit.OK)


@command.group()
def document() -> None:
    """The project's own documents, which texts are drawn from and cite."""


@document.command("put")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Its name; the file's own unless given.")
@api.scoped
@api.json_option
def put_document(scope: tuple[str, str], file: Path, name: str | None, as_json: bool) -> int:
    """Keep the document in FILE; the same text again changes nothing. Needs the role admin."""
    text = api.read_text(file)
    with api.client(scope, role="admin") as client:
        kept = client.put_document(name or file.name, text)
    if as_json:
        api.print_json(api.as_dict(kept))
    else:
        click.echo(f"{name or file.name} version {kept.version} {kept.hash}")
    return int(Exit.OK)
