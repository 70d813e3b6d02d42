"""A database of an earlier version becomes one of this version: nothing of its history is lost or rewritten."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.rows import dict_row

from haas_common.db import Database, Scope
from haas_common.db import migrate as migrations
from haas_common.eventstore import NewEvent, append
from haas_common.sockets import short_url
from tests.integration.conftest import TestDatabase
from tests.support import embedded
from tests.support.hashing import GENESIS, event_hash

ONE, TWO = Scope("t-one", "p-one"), Scope("t-one", "p-two")


@pytest.fixture
def first_version(servers: embedded.Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestDatabase]:
    """A database as the first version made it."""
    name = "upgraded"
    with psycopg.connect(short_url(servers.pg_admin_dsn), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        admin.execute(f"CREATE DATABASE {name}".encode())
    dsn = urlunsplit(urlsplit(servers.pg_admin_dsn)._replace(path=f"/{name}"))
    address = urlsplit(dsn).netloc.rpartition("@")[2]
    key = bytes(range(32))
    with monkeypatch.context() as only:
        known = migrations.migrations()
        only.setattr(migrations, "migrations", lambda: known[:1])
        # Its history has no ranges yet.
        only.setattr(migrations, "_keep_room", lambda connection: None)
        assert migrations.migrate(dsn, "only-in-tests", key) == ["0001_base"]
    app = urlunsplit(urlsplit(dsn)._replace(netloc=f"haas_app:only-in-tests@{address}"))
    yield TestDatabase(dsn, app, key)
    with psycopg.connect(short_url(servers.pg_admin_dsn), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def old_append(database: TestDatabase, batch: list[dict[str, object]]) -> None:
    """Appends as the first version did: a JSON array in a signed context."""
    with psycopg.connect(short_url(database.app_dsn)) as app:
        facts = "|".join([str(app.info.backend_pid), str(int(time.time()) + 60), "", str(ONE), str(TWO)])
        signature = hmac.new(database.context_key, facts.encode(), hashlib.sha256).hexdigest()
        app.execute("SELECT set_config('haas.ctx', %s, true)", (f"{signature}|{facts}",))
        app.execute("SELECT count(*) FROM haas.append(%s::json)", (json.dumps(batch),))


def rows(database: TestDatabase) -> list[tuple]:
    with psycopg.connect(short_url(database.admin_dsn)) as admin:
        return admin.execute(
            "SELECT id, xid::text, tenant_id, project_id, seq, stream, version, event_type, actor, payload::text,"
            " recorded_at, hash FROM haas.events ORDER BY id"
        ).fetchall()


def assert_chained(admin: psycopg.Connection) -> None:
    with admin.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            "SELECT tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id,"
            " actor, causation_id, correlation_id, trace_id, hash,"
            " (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at_us, payload::text AS payload"
            " FROM haas.events ORDER BY id"
        )
        last: dict[tuple[str, str], bytes] = {}
        for event in cursor.fetchall():
            stream = event["project_id"], event["stream"]
            assert event["hash"] == event_hash(last.get(stream, GENESIS), event)
            last[stream] = event["hash"]
    assert len(last) == 6


async def test_an_upgrade_keeps_the_history_and_goes_on_with_it(first_version: TestDatabase) -> None:
    with psycopg.connect(short_url(first_version.admin_dsn), autocommit=True) as admin:
        admin.execute("INSERT INTO haas.tenants VALUES ('t-one')")
        for scope in (ONE, TWO):
            admin.execute("INSERT INTO haas.projects VALUES (%s, %s)", (scope.tenant_id, scope.project_id))
    for n in range(3):
        old_append(
            first_version,
            [
                {
                    "tenant_id": scope.tenant_id, "project_id": scope.project_id, "stream": f"plan/pl-{stream}",
                    "event_type": "PlanValidated", "actor": "planner", "payload": {"tasks": n},
                }
                for scope in (ONE, TWO) for stream in ("b", "a")[: 1 + n % 2]
            ],
        )  # fmt: skip
    before = rows(first_version)
    applied = migrations.migrate(first_version.admin_dsn, "only-in-tests", first_version.context_key)
    assert applied[0] == "0002_memory"
    assert rows(first_version) == before

    database = await Database.open(short_url(first_version.app_dsn), first_version.context_key, "test")
    try:
        for scope in (ONE, TWO):
            async with database.tenant_tx(scope) as tx:
                events = [
                    NewEvent(scope, s, "PlanValidated", {"tasks": 1}, "planner") for s in ("plan/pl-b", "plan/pl-c")
                ]
                recorded = await append(tx, events)
            assert [(r.seq, r.version) for r in recorded] == [(5, 4), (6, 1)]
    finally:
        await database.close()
    with psycopg.connect(short_url(first_version.admin_dsn)) as admin:
        assert_chained(admin)
        heads = admin.execute(
            "SELECT project_id, stream, ordinal, version, last_seq FROM haas.stream_heads ORDER BY 1, 3"
        ).fetchall()
        assert heads == [
            (project, stream, ordinal, version, seq)
            for project in ("p-one", "p-two")
            for ordinal, (stream, version, seq) in enumerate(
                [("plan/pl-b", 4, 5), ("plan/pl-a", 1, 3), ("plan/pl-c", 1, 6)]
            )
        ]
        assert admin.execute(
            "SELECT bool_and(h.hash = e.hash) FROM haas.stream_heads AS h JOIN haas.events AS e"
            " USING (tenant_id, project_id, stream, version)"
        ).fetchone() == (True,)
        assert admin.execute("SELECT DISTINCT streams FROM haas.project_heads").fetchall() == [(3,)]
