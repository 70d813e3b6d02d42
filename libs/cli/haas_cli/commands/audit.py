"""`haas audit`: verify, export and import a tenant's history, and what vouches for it (docs/howto/audit.md)."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from haas_cli import api
from haas_cli.errors import CliError, Exit, UsageError
from haas_cli.fleet.home import Home

if TYPE_CHECKING:
    from haas_cli.fleet.importing import Loaded
    from haas_cli.history import FleetHistory
    from haas_common.audit.data_keys import DataKey
    from haas_common.audit.export import Export
    from haas_common.audit.findings import Report
    from haas_common.audit.verify import Expected

tenant_option = click.option("--tenant", envvar="HAAS_TENANT", required=True, help="The tenant (HAAS_TENANT).")
_SHOWN = 20


@click.group()
def command() -> None:
    """Verify, export and import a tenant's history."""


@command.command()
@tenant_option
@api.json_option
def checkpoint(tenant: str, as_json: bool) -> int:
    """Sign a checkpoint over all that has happened until now."""
    from haas_cli import history

    with history.opened(tenant) as source:
        made = source.sign()
    if as_json:
        api.print_json(api.as_dict(made))
    else:
        said = "signed now" if made.signed_now else "nothing has happened since"
        click.echo(f"{made.checkpoint.number}:{made.checkpoint.digest}  {said}")
    return int(Exit.OK)


@command.command()
@tenant_option
@click.option("--limit", default=20, type=click.IntRange(1, 500), show_default=True, help="At most this many.")
@api.json_option
def checkpoints(tenant: str, limit: int, as_json: bool) -> int:
    """List checkpoints, newest first."""
    from haas_cli import history

    with history.opened(tenant) as source:
        found = source.checkpoints(limit)
    api.print_rows(found, ("number", "sign_time", "kid", "digest"), as_json, "checkpoints")
    return int(Exit.OK)


@command.command()
@click.option("--tenant", envvar="HAAS_TENANT", help="Ask the fleet, as this tenant; else read this machine's.")
@api.json_option
def keys(tenant: str | None, as_json: bool) -> int:
    """Print the fleet's public keys; with --json as the file that `verify --keys` reads."""
    from haas_cli import history

    if tenant:
        with history.opened(tenant) as source:
            found = source.keys()
    else:
        found = _local_keys()
    if as_json:
        api.print_json({"keys": found})
        return int(Exit.OK)
    for key in found:
        until = f"until {key['retired_at']}" if key["retired_at"] else "current"
        click.echo(f"{key['kid']}  {key['use']}  since {key['created_at']}  {until}")
        click.echo(f"  {history.fingerprint(key['public'])}")
    return int(Exit.OK)


@command.command()
@click.argument("out", type=click.Path(path_type=Path))
@tenant_option
@click.option("--project", "projects", multiple=True, help="Only this project (may be given again); unless given, all.")
@click.option("--with-personal-data", "personal", is_flag=True, help="Bring the keys of personal fields, in the clear.")
@api.json_option
def export(out: Path, tenant: str, projects: tuple[str, ...], personal: bool, as_json: bool) -> int:
    """Write a history and all that it names into a folder, or a file that ends with .tar.gz."""
    from haas_cli import history
    from haas_common.audit.export import ExportInvalid, Writer

    if personal and os.environ.get("HAAS_TOKEN", "").strip():
        raise UsageError("--with-personal-data is for the fleet's owner, on its machine and without HAAS_TOKEN.")
    try:
        with history.opened(tenant) as source, Writer(out.absolute()) as writer:
            told = _exported(source, writer, projects, personal)
    except ExportInvalid as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}).") from error
    if as_json:
        api.print_json({"out": str(out), "projects": told})
    else:
        for project in told:
            click.echo(f"{project['project_id']:<24} {project['events']} events, {project['blobs']} files")
        if personal:
            click.echo(f"{out} brings the keys of personal fields: whoever holds it reads them.")
        else:
            click.echo(
                "Personal fields stay sealed and read as erased elsewhere, unless --with-personal-data is given."
            )
        click.echo(f"{out}: verify it with `haas audit verify --offline {out} --keys FILE`")
    return int(Exit.OK)


def _exported(source: "FleetHistory", writer: Any, wanted: tuple[str, ...], personal: bool) -> list[dict[str, Any]]:
    """Writes the tenant's own events first: what later checkpoints vouch for is then in the projects that follow."""
    from haas_common.audit.checkpoints import TENANT_PROJECT

    heads = source.heads()
    missing = set(wanted) - {head.project_id for head in heads}
    if missing:
        raise UsageError(f"{source.tenant_id} has no history of {', '.join(sorted(missing))}.")
    told, keys = [], list["DataKey"]()
    for head in heads:
        project_id = head.project_id
        if wanted and project_id not in (*wanted, TENANT_PROJECT):
            continue
        # Before the events, so that the export itself says who took the keys.
        found = _keys_for(source.tenant_id, project_id) if personal else {}
        written = writer.events(project_id, source.blocks(project_id))
        if personal and written.sealed - found.keys():
            found |= _keys_for(source.tenant_id, project_id)  # of whoever came meanwhile
        keys += found.values()
        gone = 0
        for ref in written.refs:
            data = None if writer.has(ref) else source.blob(project_id, ref)
            if data is not None:
                writer.blob(ref, data)
            elif not writer.has(ref):
                gone += 1
        told.append(
            {
                "project_id": project_id, "events": written.events, "last_seq": written.last_seq,
                "blobs": len(written.refs) - gone, "blobs_gone": gone,
            }
        )  # fmt: skip
    brought = {"data_keys": writer.data_keys(source.tenant_id, keys)} if personal else {}
    about = {"tenant_id": source.tenant_id, "whole": not wanted, "projects": told, "keys": source.keys()}
    writer.finish({**about, **brought})
    return told


def _keys_for(tenant_id: str, project_id: str) -> dict[str, "DataKey"]:
    from haas_cli import history
    from haas_common.audit.checkpoints import TENANT_PROJECT

    found = history.data_keys(tenant_id, project_id) if project_id != TENANT_PROJECT else []
    return {one.key_id: one for one in found}


@command.command()
@click.option("--tenant", envvar="HAAS_TENANT", help="Verify the running fleet's history of this tenant.")
@click.option("--offline", type=click.Path(path_type=Path), help="Verify an export; no fleet is asked.")
@click.option("--partial", is_flag=True, help="The export holds some of the projects only, and that is meant.")
@click.option("--keys", "key_file", type=click.Path(path_type=Path), help="The fleet's keys: `haas audit keys --json`.")
@click.option("--expect", help="A checkpoint that you kept (NUMBER:sha256:…): it must be in the chain.")
@click.option("--jobs", default=1, type=click.IntRange(1, 64), help="Projects at a time, of an export.")
@api.json_option
def verify(
    tenant: str | None, offline: Path | None, partial: bool, key_file: Path | None, expect: str | None, jobs: int,
    as_json: bool,
) -> int:  # fmt: skip
    """Recompute every hash, root and signature. Exit status 7 when something does not hold."""
    from haas_common.audit import verify as library
    from haas_common.audit.export import ExportInvalid, opened

    try:
        expected = library.Expected.of(expect) if expect else None
    except ValueError:
        raise UsageError("--expect reads NUMBER:sha256:…, as `haas audit verify` prints it.") from None
    if offline is not None:
        try:
            with opened(offline) as found:
                keys_found, trusted = _keys_of(key_file, list(found.manifest.get("keys", ())))
                report = library.verify(found, *_both(keys_found), expected, jobs, partial=partial)
                _check_data_keys(found, report)
        except ExportInvalid as error:
            raise UsageError(str(error)) from error
        except OSError as error:
            raise UsageError(f"{offline} cannot be read ({error.strerror}).") from error
    elif tenant:
        report, keys_found, trusted = _verified(tenant, key_file, expected)
    else:
        raise UsageError("Say what to verify: --tenant, or --offline EXPORT.")
    _show(report, keys_found, trusted, as_json)
    return int(Exit.OK if report.valid else Exit.UNVERIFIED)


@command.command("import")
@click.argument("export_path", metavar="EXPORT", type=click.Path(path_type=Path))
@click.option("--keys", "key_file", type=click.Path(path_type=Path), help="The keys of the fleet that it is from.")
@api.json_option
def import_(export_path: Path, key_file: Path | None, as_json: bool) -> int:
    """Verify an export and take it in as a tenant that is not there yet; on the fleet's machine, as its owner.

    Read models are rebuilt after it. An export with a plan that is not over is refused: it would run in two fleets.
    """
    from haas_cli.fleet import importing, rebuilding
    from haas_common.audit import verify as library
    from haas_common.audit.export import ExportInvalid, opened

    try:
        with opened(export_path) as found:
            keys_found, trusted = _keys_of(key_file, list(found.manifest.get("keys", ())))
            report = library.verify(found, *_both(keys_found), partial=True)
            _check_data_keys(found, report)
            if not report.valid:
                _show(report, keys_found, trusted, as_json)
                return int(Exit.UNVERIFIED)
            if report.dropped:
                raise UsageError("The oldest events of a project were dropped: such a history stays where it is.")
            home = Home.from_env()
            environment = rebuilding.environment_of(home)
            loaded = importing.load(home, found)
    except ExportInvalid as error:
        raise UsageError(str(error)) from error
    if trusted:
        # What came with the export vouches for nothing: only keys that were given are trusted from now on.
        importing.trust(home, keys_found)
    _rebuild(found.tenant_id, environment)
    _tell(found.tenant_id, loaded, trusted, as_json)
    return int(Exit.OK)


def _rebuild(tenant_id: str, environment: dict[str, str]) -> None:
    """Makes the read models of what was taken in. Raises CliError."""
    from haas_cli.fleet import rebuilding

    for model in rebuilding.READ_MODELS:
        try:
            rebuilding.rebuild(model, environment)
        except CliError as error:
            sentence = f"{tenant_id} is taken in, its read models are not: call `haas projections rebuild`. "
            raise type(error)(sentence + error.message, reason=error.reason) from error


def _tell(tenant_id: str, loaded: "Loaded", trusted: bool, as_json: bool) -> None:
    if as_json:
        api.print_json(
            {"tenant_id": tenant_id, "events": loaded.events, "blobs": loaded.blobs, "data_keys": loaded.keys}
        )
        return
    click.echo(f"{tenant_id}: {loaded.events} events, {loaded.blobs} files, {loaded.keys} keys of personal data")
    if not loaded.keys:
        click.echo("No key of personal data came along: what was sealed reads as erased.")
    if not trusted:
        click.echo("Its artifacts' signatures are another fleet's, which --keys would have made known here.")


def _check_data_keys(found: "Export", report: "Report") -> None:
    """Holds the keys of personal data against the manifest; they are no part of the history itself."""
    from haas_common.audit.checkpoints import TENANT_PROJECT

    problem = found.data_keys_problem()
    if problem:
        report.findings.add(TENANT_PROJECT, 0, "", 0, problem)


def _verified(
    tenant: str, key_file: Path | None, expected: "Expected | None"
) -> tuple["Report", list[dict[str, Any]], bool]:
    from haas_cli import history
    from haas_common.audit import verify as library

    with history.opened(tenant) as source:
        keys_found, trusted = _keys_of(key_file, source.keys())
        return library.verify(source, *_both(keys_found), expected), keys_found, trusted


def _keys_of(path: Path | None, brought: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
    """Returns the keys to trust, and whether they came another way than what is verified."""
    if path is None:
        return brought, False
    try:
        return list(json.loads(api.read_text(path))["keys"]), True
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} holds no keys: `haas audit keys --json` writes such a file.") from error


def _both(entries: list[dict[str, Any]]) -> tuple[Any, Any]:
    from haas_common.audit.export import ExportInvalid, keys_of

    try:
        return keys_of(entries, "checkpoint"), keys_of(entries, "artifact")
    except ExportInvalid as error:
        raise UsageError(str(error)) from error


def _local_keys() -> list[dict[str, Any]]:
    path = Home.from_env().secrets / "orchestrator" / "fleet-keys.json"
    return list(json.loads(api.read_text(path))["keys"])


def _show(report: "Report", keys_found: list[dict[str, Any]], trusted: bool, as_json: bool) -> None:
    import dataclasses

    if as_json:
        document = {
            "valid": report.valid, "tenant_id": report.tenant_id, **dataclasses.asdict(report.counts),
            "checkpoint": f"{report.newest}:{report.digest}" if report.newest else "", "signed_at": report.signed_at,
            "keys_pinned": trusted, "not_checked": report.not_checked, "dropped": report.dropped,
            "findings_count": report.findings.count,
            "findings": [dataclasses.asdict(finding) for finding in report.findings.first],
        }  # fmt: skip
        api.print_json(document)
        return
    if not trusted:
        from haas_cli.history import fingerprint

        click.echo("The keys came with what was verified; compare their fingerprints with the fleet's:", err=True)
        for key in keys_found:
            click.echo(f"  {key['kid']}  {fingerprint(key['public'])}", err=True)
    counts = report.counts
    click.echo(f"{report.tenant_id}: {counts.events} events, {counts.streams} streams, {counts.projects} projects")
    click.echo(f"{counts.checkpoints} checkpoints, {counts.artifacts} artifacts, {counts.erased} erased")
    if report.newest:
        click.echo(f"newest checkpoint, keep it: {report.newest}:{report.digest}  {report.signed_at}")
    click.echo(f"not yet under a checkpoint: {counts.not_covered} events")
    for project, seq in report.dropped.items():
        click.echo(f"project {project} begins after seq {seq}: what was before was dropped by the fleet")
    if report.not_checked:
        click.echo(f"not read, though vouched for: {', '.join(report.not_checked)}")
    for finding in report.findings.first[:_SHOWN]:
        click.echo(f"BAD   {finding}")
    if report.findings.count > _SHOWN:
        click.echo(f"BAD   and {report.findings.count - _SHOWN} more (--json shows up to {len(report.findings.first)})")
    click.echo("ok" if report.valid else "the history does not hold")
