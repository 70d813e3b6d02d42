"""Takes a verified export in, as the database's superuser: all of it in one transaction, or nothing.

Events keep their numbers, hashes and times, so that the history verifies here as it did there. Their `xid` is 0: relays
stand behind it, so that nobody is told again of what happened long ago. The keys that the export brings are wrapped
under this fleet's data.key; what was sealed under others reads as erased.
"""

import dataclasses
import datetime
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from haas_cli.errors import FleetError, Refused
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import SERVICES
from haas_cli.fleet.personal import Personal, table_of
from haas_cli.fleet.prepare import admin_url
from haas_common.audit.blobs import REF_FIELDS, ref_in
from haas_common.audit.data_keys import DataKey
from haas_common.audit.export import Export, ExportInvalid
from haas_common.audit.rows import FIELDS, time_of
from haas_common.blobs import Blobs, open_blobs
from haas_common.config import Config
from haas_common.db import Scope
from haas_common.fleet_keys import read_set
from haas_common.key_ring import KeyRing
from haas_common.pki import trust_artifact_keys
from haas_common.sockets import short_url

#: Partitions hold five million ids; the next one is made between two pieces of the copy.
_PIECE = 1_000_000
_COPY = b"""COPY haas.events (xid, cell, tenant_id, project_id, seq, stream, version, event_type, schema_version,
    plan_id, task_id, actor, causation_id, correlation_id, trace_id, recorded_at, payload, hash) FROM STDIN"""
_PROFILE = b"""INSERT INTO haas.profiles (tenant_id, project_id, profile_id, version, yaml, hash, published_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s)"""
_DOCUMENT = b"""INSERT INTO haas.documents (tenant_id, project_id, name, version, ref, size_bytes, published_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s)"""
_INPUT = b"""INSERT INTO haas.inputs (tenant_id, project_id, ref, name, size_bytes, row_count, columns, broken_rows,
    lenient, uploaded_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (tenant_id, project_id, ref) DO UPDATE SET name = excluded.name, uploaded_at = excluded.uploaded_at"""
_KEY = b"""INSERT INTO haas.data_keys (tenant_id, project_id, key_id, subject, wrapped, created_at, destroyed_at)
    VALUES (%s, %s, %s, %s, %s, coalesce(%s, now()), CASE WHEN %s THEN coalesce(%s, now()) END)"""
_ERASED_BLOB = b"""INSERT INTO haas.erased_blobs (tenant_id, project_id, ref, erased_at, deleted_at)
    VALUES (%s, %s, %s, %s, now())"""
#: What a plan's history ends with.
_OVER = ("PlanCompleted", "PlanFailed", "PlanCancelled")
_NAMED_MAX = 5


@dataclasses.dataclass(slots=True)
class Loaded:
    """What was taken in; `keys` opens personal fields."""

    events: int = 0
    blobs: int = 0
    keys: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Named:
    """An event that names bytes; `payload` of an upload, whose facts stand nowhere else."""

    kind: str
    name: str
    version: int
    ref: str
    at: datetime.datetime
    payload: dict[str, Any]


@dataclasses.dataclass(slots=True)
class _Project:
    """What is learnt of a project while its events go by."""

    scope: Scope
    personal: Personal
    display_name: str = ""
    last_seq: int = 0
    #: (version, hash, seq, ordinal) by stream.
    heads: dict[str, tuple[int, bytes, int, int]] = dataclasses.field(default_factory=dict)
    published: list[_Named] = dataclasses.field(default_factory=list)
    #: Plans that are not over.
    open_plans: set[str] = dataclasses.field(default_factory=set)


def load(home: Home, export: Export) -> Loaded:
    """Takes an export in that was verified before.

    Raises:
        Refused: the tenant has a history here, or a plan is not over.
        ExportInvalid: its keys are not what its manifest says.
        Unverified: a personal field does not open with the key that came along for it.
        FleetError: the database does not answer, or its schema is another one.
    """
    blobs, loaded, keys = _blobs(home), Loaded(), export.data_keys()
    if {one.project_id for one in keys} - set(export.projects()):
        raise ExportInvalid("data-keys.json has keys of a project that is not there.")
    ring = KeyRing(home.secrets / "orchestrator" / "data.key")
    try:
        with psycopg.connect(short_url(admin_url(home)), autocommit=True) as connection:
            # It takes as long as it takes; the server's own limits are for services.
            connection.execute("SET transaction_timeout = 0")
            connection.execute("SET idle_in_transaction_session_timeout = 0")
            with connection.transaction():
                _begin(connection, export)
                projects = [_project(export, project_id, keys) for project_id in export.projects()]
                for project in projects:
                    _take(connection, export, project, loaded)
                _check_over(projects)
                for project in projects:
                    loaded.keys += _keep_keys(connection, project, ring)
                    loaded.blobs += _publish_all(connection, export, project, blobs)
    except psycopg.Error as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FleetError(f"The database took nothing in: {first}") from error
    return loaded


def _project(export: Export, project_id: str, keys: Sequence[DataKey]) -> _Project:
    scope = Scope(export.tenant_id, project_id)
    return _Project(scope, Personal(scope, {one.key_id: one for one in keys if one.project_id == project_id}))


def _check_over(projects: Sequence[_Project]) -> None:
    """Refuses what would go on in two fleets. Raises Refused."""
    open_ = [f"{p.scope.project_id}/{plan_id}" for p in projects for plan_id in sorted(p.open_plans)]
    if open_:
        names = ", ".join(open_[:_NAMED_MAX]) + (", …" if len(open_) > _NAMED_MAX else "")
        raise Refused(
            f"{len(open_)} plans are not over ({names}): let them end or cancel them where they are, and export again.",
            reason="PLAN_STATE_CONFLICT",
        )


def _blobs(home: Home) -> Blobs:
    given = {"HAAS_HOME": str(home.root), "HAAS_STORE_DIR": str(home.store), "HAAS_LISTEN": "127.0.0.1:0"}
    given["HAAS_SECRETS_DIR"] = str(home.secrets / "orchestrator")
    return open_blobs(Config.from_env("orchestrator", {**os.environ, **given}))


def _begin(connection: psycopg.Connection[Any], export: Export) -> None:
    tenant_id = export.tenant_id
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('haas.import'))")
    found = connection.execute("SELECT 1 FROM haas.project_heads WHERE tenant_id = %s LIMIT 1", (tenant_id,)).fetchone()
    if found is not None:
        raise Refused(f"The tenant {tenant_id} has a history here: an import makes a tenant, it changes none.")
    connection.execute("INSERT INTO haas.tenants (tenant_id) VALUES (%s) ON CONFLICT DO NOTHING", (tenant_id,))
    # A relay that has read nothing yet begins behind what is taken in.
    connection.execute(
        "INSERT INTO haas.relay_cursors (name, xid, id) VALUES ('notifier', '1', 0), ('usage', '1', 0),"
        " ('agents', '1', 0)"
        " ON CONFLICT (name) DO UPDATE SET xid = '1' WHERE relay_cursors.xid = '0'"
    )


def _take(connection: psycopg.Connection[Any], export: Export, project: _Project, loaded: Loaded) -> None:
    scope = project.scope
    ids = (scope.tenant_id, scope.project_id)
    connection.execute("INSERT INTO haas.projects (tenant_id, project_id) VALUES (%s, %s) ON CONFLICT DO NOTHING", ids)
    rows = _rows(export, project)
    first = next(rows, None)
    while first is not None:
        connection.execute("SELECT haas.keep_partitions()")
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            count = 0
            while first is not None and count < _PIECE:
                copy.write_row(first)
                first, count = next(rows, None), count + 1
        loaded.events += count
    connection.execute(
        "INSERT INTO haas.project_heads (tenant_id, project_id, last_seq, streams) VALUES (%s, %s, %s, %s)",
        (*ids, project.last_seq, len(project.heads)),
    )
    columns = "tenant_id, project_id, stream, version, hash, last_seq, ordinal"
    with connection.cursor() as cursor, cursor.copy(f"COPY haas.stream_heads ({columns}) FROM STDIN".encode()) as copy:
        for stream, head in project.heads.items():
            copy.write_row((*ids, stream, *head))
    connection.execute(
        "UPDATE haas.projects SET display_name = %s WHERE tenant_id = %s AND project_id = %s",
        (project.display_name, *ids),
    )


def _keep_keys(connection: psycopg.Connection[Any], project: _Project, ring: KeyRing) -> int:
    """Wraps the keys that came along anew, and keeps the others as destroyed; returns how many open something."""
    scope, personal = project.scope, project.personal
    ids = (scope.tenant_id, scope.project_id)
    for one in personal.living:
        wrapped = ring.wrap(one.key, scope, one.key_id)
        connection.execute(_KEY, (*ids, one.key_id, one.subject, wrapped, one.created_at, False, None))
    for key_id, at in personal.gone.items():
        # Whose it was is not in the history: it stands there as a hash.
        connection.execute(_KEY, (*ids, key_id, "", None, at, True, at))
    for ref, at in personal.refs.items():
        connection.execute(_ERASED_BLOB, (*ids, ref, at))
    return len(personal.living)


def _publish_all(connection: psycopg.Connection[Any], export: Export, project: _Project, blobs: Blobs) -> int:
    """Puts bytes back, and the tables that are no read models; returns how many files."""
    scope, count = project.scope, 0
    for named in project.published:
        data = export.blob(scope.project_id, named.ref)
        if data is None:
            continue  # erased at its subject's wish, or the export would not have verified
        _publish(connection, (scope.tenant_id, scope.project_id), named, data)
        if named.kind != "ProfilePublished":
            blobs.put(scope, data)
            count += 1
    return count


def _rows(export: Export, project: _Project) -> Iterator[tuple[Any, ...]]:
    """Yields a project's events as COPY takes them, and learns what its heads are."""
    for lines in export.events(project.scope.project_id):
        for line in lines:
            if not line:
                continue
            row = json.loads(line)
            at, stored = time_of(row["recorded_at_us"]), bytes.fromhex(row["hash"])
            ordinal = project.heads[row["stream"]][3] if row["stream"] in project.heads else len(project.heads)
            project.heads[row["stream"]] = (row["version"], stored, row["seq"], ordinal)
            project.last_seq = row["seq"]
            _learn(project, row, at)
            values = [row[name] for name in FIELDS if name not in ("recorded_at_us", "payload", "hash")]
            yield ("0", 0, *values, at, row["payload"], stored)


def _learn(project: _Project, row: dict[str, Any], at: Any) -> None:
    kind, name = row["event_type"], row["stream"].partition("/")[2]
    if kind == "PlanCreated":
        project.open_plans.add(name)
    elif kind in _OVER:
        project.open_plans.discard(name)
    if kind not in ("ProjectCreated", "DataErased") and kind not in REF_FIELDS and "$sealed" not in row["payload"]:
        return
    payload = project.personal.opened(row)
    if kind == "ProjectCreated":
        project.display_name = payload["display_name"]
    elif kind == "DataErased":
        project.personal.erased(payload, at)
        gone = set(payload.get("refs", ()))
        # The same bytes may be a document too, and stay; an upload is forgotten.
        project.published = [p for p in project.published if p.kind != "InputUploaded" or p.ref not in gone]
    elif kind in REF_FIELDS and (ref := ref_in(kind, payload)):
        facts = payload if kind == "InputUploaded" else {}
        project.published.append(_Named(kind, name, int(payload.get("version", 0)), ref, at, facts))


def _publish(connection: psycopg.Connection[Any], ids: tuple[str, str], named: _Named, data: bytes) -> None:
    """Puts back what is read from tables and is no read model: profiles, documents, uploads."""
    name, version, ref, at, said = named.name, named.version, named.ref, named.at, named.payload
    if named.kind == "ProfilePublished":
        connection.execute(_PROFILE, (*ids, name, version, data.decode(), ref, at))
    elif named.kind == "DocumentPublished":
        connection.execute(_DOCUMENT, (*ids, name, version, ref, len(data), at))
    elif named.kind == "InputUploaded":
        facts = table_of(said["name"], data)
        columns, broken = (list(facts.columns), facts.broken_rows) if facts else ([], 0)
        sizes = (said["size_bytes"], said["rows"], columns, broken, said["lenient"])
        connection.execute(_INPUT, (*ids, ref, said["name"], *sizes, at))


def trust(home: Home, keys: Sequence[dict[str, Any]]) -> None:
    """Makes the artifact keys of the fleet that a history is from known here, as retired ones.

    Its checkpoint keys are not: what this fleet signed stays what one of its own keys vouches for.
    """
    trust_artifact_keys(home.secrets, SERVICES, read_set(json.dumps({"keys": list(keys)}).encode()))
