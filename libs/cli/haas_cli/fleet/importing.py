"""Takes a verified export in, as the database's superuser: all of it in one transaction, or nothing.

Events keep their numbers, hashes and times, so that the history verifies here as it did there. Their `xid` is 0: relays
stand behind it, so that nobody is told again of what happened long ago. What personal fields were sealed with stays
with the fleet that sealed them.
"""

import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

import psycopg

from haas_cli.errors import FleetError, Refused
from haas_cli.fleet.home import Home
from haas_cli.fleet.prepare import admin_url
from haas_common.audit.blobs import REF_FIELDS, ref_in
from haas_common.audit.export import Export
from haas_common.audit.rows import FIELDS, time_of
from haas_common.blobs import Blobs, open_blobs
from haas_common.config import Config
from haas_common.db import Scope
from haas_common.sockets import short_url

#: Partitions hold five million ids; the next one is made between two pieces of the copy.
_PIECE = 1_000_000
_COPY = b"""COPY haas.events (xid, cell, tenant_id, project_id, seq, stream, version, event_type, schema_version,
    plan_id, task_id, actor, causation_id, correlation_id, trace_id, recorded_at, payload, hash) FROM STDIN"""
_PROFILE = b"""INSERT INTO haas.profiles (tenant_id, project_id, profile_id, version, yaml, hash, published_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s)"""
_DOCUMENT = b"""INSERT INTO haas.documents (tenant_id, project_id, name, version, ref, size_bytes, published_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s)"""


@dataclasses.dataclass(slots=True)
class Loaded:
    """What was taken in."""

    events: int = 0
    blobs: int = 0


@dataclasses.dataclass(slots=True)
class _Project:
    """What is learnt of a project while its events go by."""

    scope: Scope
    display_name: str = ""
    last_seq: int = 0
    #: (version, hash, seq, ordinal) by stream.
    heads: dict[str, tuple[int, bytes, int, int]] = dataclasses.field(default_factory=dict)
    #: What became of events that name bytes: type, stream, version, ref, time.
    published: list[tuple[str, str, int, str, Any]] = dataclasses.field(default_factory=list)


def load(home: Home, export: Export) -> Loaded:
    """Takes an export in that was verified before.

    Raises:
        Refused: the tenant has a history here.
        FleetError: the database does not answer, or its schema is another one.
    """
    blobs, loaded = _blobs(home), Loaded()
    try:
        with psycopg.connect(short_url(admin_url(home)), autocommit=True) as connection:
            # It takes as long as it takes; the server's own limits are for services.
            connection.execute("SET transaction_timeout = 0")
            connection.execute("SET idle_in_transaction_session_timeout = 0")
            with connection.transaction():
                _begin(connection, export)
                for project_id in export.projects():
                    _take(connection, export, _Project(Scope(export.tenant_id, project_id)), blobs, loaded)
    except psycopg.Error as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FleetError(f"The database took nothing in: {first}") from error
    return loaded


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
        "INSERT INTO haas.relay_cursors (name, xid, id) VALUES ('notifier', '1', 0), ('usage', '1', 0)"
        " ON CONFLICT (name) DO UPDATE SET xid = '1' WHERE relay_cursors.xid = '0'"
    )


def _take(connection: psycopg.Connection[Any], export: Export, project: _Project, blobs: Blobs, loaded: Loaded) -> None:
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
    for kind, stream, version, ref, at in project.published:
        data = export.blob(scope.project_id, ref)
        if data is None:
            continue  # erased at its subject's wish, or the export would not have verified
        _publish(connection, ids, kind, (stream.partition("/")[2], version, ref, at), data)
        if kind != "ProfilePublished":
            blobs.put(scope, data)
            loaded.blobs += 1


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
    kind = row["event_type"]
    if kind == "ProjectCreated":
        project.display_name = json.loads(row["payload"])["display_name"]
    elif kind in REF_FIELDS:
        payload = json.loads(row["payload"])
        ref = ref_in(kind, payload)
        if ref:
            project.published.append((kind, row["stream"], int(payload.get("version", 0)), ref, at))


def _publish(
    connection: psycopg.Connection[Any], ids: tuple[str, str], kind: str, facts: tuple[str, int, str, Any], data: bytes
) -> None:
    """Puts back what is read from tables and is no read model: profiles and documents."""
    name, version, ref, at = facts
    if kind == "ProfilePublished":
        connection.execute(_PROFILE, (*ids, name, version, data.decode(), ref, at))
    elif kind == "DocumentPublished":
        connection.execute(_DOCUMENT, (*ids, name, version, ref, len(data), at))
