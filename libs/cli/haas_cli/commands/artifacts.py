"""`haas artifacts`: list, get, verify; versions, what differs between them, worklog and status; check a file."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from haas_cli import api
from haas_cli.errors import Exit, UsageError

if TYPE_CHECKING:
    from haas.orchestrator.v1 import artifacts_pb2

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_GRACE_S_MIN = 3600


@click.group()
def command() -> None:
    """List, read, verify and move on artifacts."""


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
            said = "ok" if verdict.valid else f"BAD   version {verdict.first_bad_version}: {_problem(verdict)}"
            click.echo(f"{name}  {verdict.versions_checked} versions  {verdict.hash_curr}  {said}")
    return int(Exit.OK if all(v.valid for v in verdicts.values()) else Exit.UNVERIFIED)


def _problem(verdict: "artifacts_pb2.VerifyArtifactResponse") -> str:
    if not verdict.HasField("first_bad_byte"):
        return verdict.problem
    return f"{verdict.problem}, within bytes {verdict.first_bad_byte} to {verdict.last_bad_byte}"


@command.command()
@click.argument("artifact_id")
@api.scoped
@api.json_option
def versions(scope: tuple[str, str], artifact_id: str, as_json: bool) -> int:
    """List an artifact's versions, oldest first, each with the status that it has now."""
    with api.client(scope) as client:
        found = list(client.list_artifact_versions(artifact_id, 500))
    columns = ("version", "status", "signer", "create_time", "size_bytes", "hash_curr")
    api.print_rows(found, columns, as_json, "versions")
    return int(Exit.OK)


@command.command()
@click.argument("artifact_id")
@click.option("--from", "version_from", default=0, type=click.IntRange(0), help="The one before unless given.")
@click.option("--to", "version_to", default=0, type=click.IntRange(0), help="The newest unless given.")
@api.scoped
@api.json_option
def diff(scope: tuple[str, str], artifact_id: str, version_from: int, version_to: int, as_json: bool) -> int:
    """Show what differs between two versions: keys of the front matter, then the text."""
    with api.client(scope) as client:
        found = client.diff_artifact(artifact_id, version_from, version_to)
    if as_json:
        api.print_json(api.as_dict(found))
        return int(Exit.OK)
    for change in found.front_matter:
        before = change.before if change.HasField("before") else "(absent)"
        after = change.after if change.HasField("after") else "(absent)"
        click.echo(f"{change.key}: {before} -> {after}")
    click.echo(found.body_diff, nl=False)
    return int(Exit.OK)


@command.command()
@click.argument("artifact_id")
@click.argument("text")
@api.scoped
@api.json_option
def log(scope: tuple[str, str], artifact_id: str, text: str, as_json: bool) -> int:
    """Append a dated line to an artifact's worklog, as a new version."""
    with api.client(scope) as client:
        _show(client.append_worklog(artifact_id, text), as_json)
    return int(Exit.OK)


@command.command()
@click.argument("artifact_id")
@click.argument("status", type=click.Choice(["in_progress", "final", "superseded", "invalid"]))
@click.option("--reason", default="", help="Why, for the history.")
@api.scoped
@api.json_option
def status(scope: tuple[str, str], artifact_id: str, status: str, reason: str, as_json: bool) -> int:
    """Move the status of an artifact's newest version."""
    with api.client(scope) as client:
        _show(client.set_artifact_status(artifact_id, status, reason), as_json)
    return int(Exit.OK)


def _show(artifact: "artifacts_pb2.Artifact", as_json: bool) -> None:
    if as_json:
        api.print_json(api.as_dict(artifact))
    else:
        click.echo(f"{artifact.artifact_id}  version {artifact.version}  {artifact.status}  {artifact.hash_curr}")


@command.command()
@click.option("--older-than", default="24h", show_default=True, help="Last put before so long, e.g. 90m, 24h, 7d.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
@api.json_option
def gc(older_than: str, dry_run: bool, as_json: bool) -> int:
    """Remove blobs that nothing refers to, of every tenant; run it on the fleet's machine, as its owner."""
    from haas_cli.fleet.tools import service_step

    found = re.fullmatch(r"([0-9]{1,6})([smhd])", older_than)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if seconds < _GRACE_S_MIN:
        raise UsageError(f"--older-than {older_than!r}: a time of at least an hour, e.g. 90m, 24h or 7d.")
    arguments = [str(seconds), *(["dry"] if dry_run else [])]
    result = service_step("orchestrator", "haas_orchestrator.artifacts.garbage", arguments)
    if as_json:
        api.print_json(result)
        return int(Exit.OK)
    said = "would be removed" if dry_run else "removed"
    count = result["unreferenced"] if dry_run else result["removed"]
    click.echo(f"{result['blobs']} blobs, {count} {said} ({result['removed_bytes']} bytes)")
    return int(Exit.OK)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@api.json_option
def check(file: Path, as_json: bool) -> int:
    """Check a brief or a team report against its template (plan §17). Exit status 1 when it does not hold."""
    from haas_common.artifacts import checks as artifact_checks
    from haas_common.artifacts import file as artifact_file
    from haas_common.errors import ArtifactInvalid

    text = api.read_text(file)
    problem = ""
    try:
        document = artifact_file.parse(text.encode())
        template = artifact_checks.template_of(str(document.front.get("artifact_type", "")), file.name)
        if template is None:
            raise UsageError(f"{file} is neither a brief nor a team report: nothing says what it must hold.")
        artifact_checks.check(template, document.front, document.body)
    except ArtifactInvalid as error:
        problem = error.message
    except ValueError as error:
        problem = str(error)
    if as_json:
        api.print_json({"valid": not problem, "problem": problem})
    else:
        click.echo(f"{file}  {problem or 'ok'}")
    return int(Exit.FAILED if problem else Exit.OK)
