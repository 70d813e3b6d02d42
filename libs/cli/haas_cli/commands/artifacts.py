"""`haas artifacts`: list, get, verify."""

from pathlib import Path

import click

from haas_cli import api
from haas_cli.errors import Exit, UsageError


@click.group()
def command() -> None:
    """List, read and verify artifacts."""


@command.command("list")
@click.option("--plan", "plan_id", default="", help="Only this plan's.")
@api.scoped
@api.json_option
def list_(scope: tuple[str, str], plan_id: str, as_json: bool) -> int:
    """List artifacts, the newest version of each."""
    with api.client(scope) as client:
        found = list(client.list_artifacts(plan_id, 500))
    columns = ("artifact_id", "path", "version", "status", "task_id", "size_bytes", "hash_curr")
    api.print_rows(found, columns, as_json, "artifacts")
    return int(Exit.OK)


@command.command()
@click.argument("artifact_id")
@click.option("--version", default=0, type=click.IntRange(0), help="The newest unless given.")
@click.option("--out", type=click.Path(path_type=Path), help="Write it into this file.")
@api.scoped
@api.json_option
def get(scope: tuple[str, str], artifact_id: str, version: int, out: Path | None, as_json: bool) -> int:
    """Print an artifact as it is stored, front matter included."""
    with api.client(scope) as client:
        found = client.get_artifact(artifact_id, version)
    if out is not None:
        try:
            # Bytes: the hash is over them, so no line end may change.
            out.write_bytes(found.content.encode())
        except OSError as error:
            raise UsageError(f"{out} cannot be written ({error.strerror}).") from error
    if as_json:
        api.print_json(api.as_dict(found))
    elif out is None:
        click.echo(found.content, nl=False)
    return int(Exit.OK)


@command.command()
@click.argument("artifact_ids", nargs=-1)
@click.option("--plan", "plan_id", default="", help="All of this plan's.")
@api.scoped
@api.json_option
def verify(scope: tuple[str, str], artifact_ids: tuple[str, ...], plan_id: str, as_json: bool) -> int:
    """Recompute hashes and signatures of all versions. Exit status 7 when one does not hold."""
    if not artifact_ids and not plan_id:
        raise UsageError("Say what to verify: artifacts' ids, or --plan.")
    verdicts = {}
    with api.client(scope) as client:
        of_plan = [a.artifact_id for a in client.list_artifacts(plan_id, 500)] if plan_id else []
        for artifact_id in dict.fromkeys([*artifact_ids, *of_plan]):
            verdicts[artifact_id] = client.verify_artifact(artifact_id)
    if as_json:
        shown = [{"artifact_id": name, **api.as_dict(verdict)} for name, verdict in verdicts.items()]
        api.print_json({"valid": all(v.valid for v in verdicts.values()), "artifacts": shown})
    else:
        for name, verdict in verdicts.items():
            said = "ok" if verdict.valid else f"BAD   version {verdict.first_bad_version}: {verdict.problem}"
            click.echo(f"{name}  {verdict.versions_checked} versions  {verdict.hash_curr}  {said}")
    return int(Exit.OK if all(v.valid for v in verdicts.values()) else Exit.UNVERIFIED)
