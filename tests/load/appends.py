"""Events a second through `haas_common.eventstore`, beside a bare INSERT of the same rows into a like table."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import psycopg

from haas_cli.fleet.parts import embedded_postgres
from haas_common.db import Database, Scope
from haas_common.eventstore import NewEvent, append
from haas_common.sockets import short_url
from tests.load.figures import Table, shown
from tests.support.apps import App
from tests.support.cli import Cli

SIZES = (1, 10, 100, 1000)
ROUNDS = 3
ROUND_S = 2.0
_RAW = """
CREATE SCHEMA IF NOT EXISTS bench;
DROP TABLE IF EXISTS bench.raw;
CREATE TABLE bench.raw (LIKE haas.events INCLUDING ALL);
"""
#: The same rows, of what the real append wrote; only the numbers that a unique index needs move on.
_INSERT = """
INSERT INTO bench.raw (tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id, actor,
                       causation_id, correlation_id, trace_id, payload, recorded_at, hash)
SELECT tenant_id, project_id, seq + %(on)s, stream, version + %(on)s, event_type, schema_version, plan_id, task_id,
       actor, causation_id, correlation_id, trace_id, payload, recorded_at, hash
  FROM json_populate_recordset(NULL::bench.raw, %(rows)s::json)
"""
_ROWS = """
SELECT json_agg(e)::text FROM (SELECT * FROM haas.events WHERE tenant_id = %s ORDER BY seq DESC LIMIT %s) AS e
"""


def appends(cli: Cli, app: App) -> Table:
    """The table, the best of several rounds each, in turns."""
    return asyncio.run(_appends(cli, Scope(app.tenant, app.project)))


async def _appends(cli: Cli, scope: Scope) -> Table:
    secrets = cli.home.secrets / "orchestrator"
    key = bytes.fromhex((secrets / "context.key").read_text().strip())
    database = await Database.open((secrets / "database.url").read_text().strip(), key, "haas-bench")
    admin = await psycopg.AsyncConnection.connect(short_url(embedded_postgres(cli.home).dsn("haas")), autocommit=True)
    rows = []
    try:
        await admin.execute(_RAW.encode())
        for size in SIZES:
            events = _events(scope, size)

            async def through(events: list[NewEvent] = events) -> None:
                async with database.tenant_tx(scope) as tx:
                    await append(tx, events)

            await through()
            raw = await _raw(admin, scope, size)
            ours, bare = 0.0, 0.0
            for _ in range(ROUNDS):
                ours = max(ours, size * await _per_s(through))
                bare = max(bare, size * await _per_s(raw))
            rows.append((str(size), shown(ours), shown(bare), shown(ours / bare)))
    finally:
        await admin.close()
        await database.close()
    head = ("events a transaction", "append events/s", "bare INSERT events/s", "of bare")
    note = "One writer, one project, durable. Append also numbers, chains hashes, locks heads and checks the tenant."
    return Table("Appending to the history", head, tuple(rows), note)


def _events(scope: Scope, size: int) -> list[NewEvent]:
    """A batch as a shard writes it: eight events a plan."""
    payload = {"attempt": 1, "outputs": {"report": "artf-0123456789abcdef"}}
    return [
        NewEvent(
            scope, f"plan/pl-bench{i // 8:04d}", "TaskCompleted", payload, "planner",
            plan_id=f"pl-bench{i // 8:04d}", task_id=f"T-{i % 8 + 1}", trace_id="0" * 32,
        )
        for i in range(size)
    ]  # fmt: skip


async def _raw(admin: psycopg.AsyncConnection, scope: Scope, size: int) -> Callable[[], Awaitable[None]]:
    """What inserts the rows of the last append into the bare table."""
    cursor = await admin.execute(_ROWS.encode(), (scope.tenant_id, size))
    found = await cursor.fetchone()
    assert found is not None
    on = 0

    async def insert() -> None:
        nonlocal on
        on += 1_000_000
        async with admin.transaction():
            await admin.execute(_INSERT.encode(), {"on": on + size, "rows": found[0]})

    return insert


async def _per_s(work: Callable[[], Awaitable[None]]) -> float:
    """How often a second the work is done."""
    done, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < ROUND_S:
        await work()
        done += 1
    return done / took
