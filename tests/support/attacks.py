"""Every way to read or write a table by SQL, made from the catalogue: what the canary tries through each door."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.support import catalogue
from tests.support.intruder import FOREIGN, MINE, NOBODYS, THEIRS

Connection = psycopg.AsyncConnection[Any]
#: Names no other tenant: what comes back of one is a find.
_OTHERS = "(tenant_id <> 't-one'{project})"
READS = {
    "select": "SELECT x::text FROM {t} AS x WHERE {o}",
    "everything": "TABLE {t}",
    "only": "SELECT x::text FROM ONLY {t} AS x",
    "count": "SELECT 'p-two' FROM {t} WHERE {o} HAVING count(*) > 0",
    "exists": "SELECT 'p-two' WHERE EXISTS (SELECT FROM {t} WHERE {o})",
    "scalar": "SELECT (SELECT max(x::text) FROM {t} AS x WHERE {o})",
    "common table": "WITH w AS MATERIALIZED (SELECT * FROM {t}) SELECT w::text FROM w WHERE {o}",
    "lateral": "SELECT l.* FROM (VALUES (1)) AS v, LATERAL (SELECT x::text FROM {t} AS x WHERE {o}) AS l",
    "self join": "SELECT a.tenant_id, b::text FROM {t} AS a RIGHT JOIN {t} AS b ON true",
    "union": "SELECT 'x' UNION ALL SELECT x::text FROM {t} AS x",
    "window": "SELECT first_value(x::text) OVER (ORDER BY x::text DESC) FROM {t} AS x",
    "aggregate": "SELECT json_agg(x)::text FROM {t} AS x",
    "for update": "SELECT x::text FROM {t} AS x WHERE {o} FOR UPDATE",
    "by place": "SELECT x::text FROM {t} AS x WHERE ctid = ANY (ARRAY['(0,1)', '(0,2)', '(0,3)']::tid[])",
    "sample": "SELECT x::text FROM {t} AS x TABLESAMPLE SYSTEM (100)",
    "plan": "EXPLAIN (ANALYZE, VERBOSE, COSTS) SELECT * FROM {t} WHERE {o}",
    "cursor": "DECLARE c CURSOR FOR SELECT x::text FROM {t} AS x; FETCH ALL FROM c",
    "prepared": "DEALLOCATE ALL; PREPARE p AS SELECT x::text FROM {t} AS x; EXECUTE p",
    "as a query's text": "SELECT * FROM ts_stat($$ SELECT to_tsvector('simple', x::text) FROM {t} AS x $$)",
    "an error's text": "SELECT tenant_id::text::int FROM {t}",
    "an error's condition": "SELECT 1 / (CASE WHEN {o} THEN 0 ELSE 1 END) FROM {t}",
    "copy out": "COPY {t} TO STDOUT",
    "copy a query out": "COPY (SELECT * FROM {t}) TO STDOUT",
}
WRITES = {
    "insert": "{insert}",
    "insert returning": "{insert} RETURNING *",
    "insert unless there": "{insert} ON CONFLICT DO NOTHING",
    "insert under their key": "{theirs} ON CONFLICT DO NOTHING",
    "insert or update": "{theirs} ON CONFLICT ({key}) DO UPDATE SET {c} = excluded.{c}",
    "update": "UPDATE {t} SET {c} = {c} WHERE {o} RETURNING *",
    "update from": "UPDATE {t} AS a SET {c} = b.{c} FROM {t} AS b WHERE a.tenant_id || b.tenant_id <> 't-onet-one'",
    "move away": "UPDATE {t} SET tenant_id = 't-two'",
    "merge": "MERGE INTO {t} AS a USING (VALUES (1)) AS v ON {oa} WHEN MATCHED THEN UPDATE SET {c} = a.{c}",
    "delete": "DELETE FROM {t} WHERE {o} RETURNING *",
    "delete using": "DELETE FROM {t} AS a USING {t} AS b WHERE a.tenant_id <> 't-one'",
    "truncate": "TRUNCATE {t} CASCADE",
    "lock": "LOCK TABLE {t} IN ACCESS EXCLUSIVE MODE",
    "copy in": "COPY {t} FROM STDIN",
}
#: Refusals that say nothing of a row: no right, not with row security, no such form or key for this relation.
_REFUSED = {"42501", "0A000", "42809", "42P10"}


@dataclass(frozen=True)
class Target:
    """A table, partition or view, and the statements that are tried on it."""

    name: str
    reads: Mapping[str, str]
    writes: Mapping[str, str]


def targets(admin: psycopg.Connection) -> list[Target]:
    """Everything in the schema that has a tenant_id, as the catalogue has it now."""
    return [_target(admin, name) for name in catalogue.relations(admin)]


def _target(admin: psycopg.Connection, name: str) -> Target:
    columns = [c.name for c in catalogue.columns(admin, name)]
    key = admin.execute(
        "SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_index x, pg_attribute a"
        " WHERE x.indrelid = %s::regclass AND x.indisprimary AND a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)",
        (f"haas.{name}",),
    ).fetchone()
    project = "" if "project_id" not in columns else " OR {a}project_id <> 'p-one'"
    others = _OTHERS.format(project=project.format(a=""))
    other_rows = [
        catalogue.insertion(admin, name, "'t-two'", "'p-two'", first=n).as_string(admin) for n in (NOBODYS, 2)
    ]
    parts = {
        "{t}": f"haas.{name}", "{oa}": f"(a.tenant_id <> 't-one'{project.format(a='a.')})", "{o}": others,
        "{insert}": other_rows[0], "{theirs}": other_rows[1], "{key}": str(key[0]) if key and key[0] else "tenant_id",
        "{c}": columns[-1],
    }  # fmt: skip

    def spelled(template: str) -> str:
        for place, text in parts.items():
            template = template.replace(place, text)
        return template

    return Target(name, {k: spelled(v) for k, v in READS.items()}, {k: spelled(v) for k, v in WRITES.items()})


async def findings(connection: Connection, target: Target, *, seen: bool = False) -> list[str]:
    """Tries everything on a target, each in a savepoint that is kept; returns what was won.

    Args:
        connection: the app's, in a transaction whose context is MINE.
        target: what is tried.
        seen: whether this door may see others' rows of it (a shard's plans, a relay's projects).
    """
    found = []
    for form, statement in [*target.reads.items(), *target.writes.items()]:
        shown, count, state = await _tried(connection, statement)
        reads = form in target.reads
        told = re.search(FOREIGN, shown) and not (reads and seen)
        if told or (not reads and count > 0):
            found.append(f"{form}: {target.name}: {shown[:200]}")
        elif state and state not in _REFUSED | ({"22P02"} if reads else set()) and not seen:
            found.append(f"{form}: {target.name}: ended with {state}, which depends on others' rows: {shown[:200]}")
    return found


async def _tried(connection: Connection, statement: str) -> tuple[str, int, str]:
    """What came back, as text; how many rows; the SQLSTATE."""
    shown, count = "", 0
    try:
        async with connection.transaction():
            cursor = connection.cursor()
            if re.match("COPY .* TO", statement, re.DOTALL):
                async with cursor.copy(statement.encode()) as copy:
                    shown = b"".join([bytes(part) async for part in copy]).decode()
            elif statement.startswith("COPY"):
                async with cursor.copy(statement.encode()) as copy:
                    await copy.write(b"t-two\tp-two\n")
            else:
                await cursor.execute(statement.encode())
                while cursor.nextset():
                    continue
                shown = str(await cursor.fetchall()) if cursor.description else ""
                count = cursor.rowcount
    except psycopg.Error as error:
        # What a caller may see of it; the detail of a refused row names the row that was given.
        return str(error.diag.message_primary), 0, str(error.sqlstate)
    return shown, count, ""


def others_rows(admin: psycopg.Connection) -> dict[str, list[Any]]:
    """Every row that is not MINE, where it lies and which transaction wrote it; and the fleet's own."""
    rows: dict[str, list[Any]] = {}
    for table in catalogue.tenant_tables(admin):
        everything = admin.execute(f"SELECT ctid::text, xmin::text, x::text FROM haas.{table} AS x ORDER BY 3".encode())
        rows[table] = [row for row in everything.fetchall() if f"({MINE.tenant_id},{MINE.project_id}," not in row[2]]
    for table in ("leases", "relay_cursors", "members", "context_keys"):
        rows[table] = admin.execute(
            f"SELECT ctid::text, xmin::text, x::text FROM haas.{table} AS x ORDER BY 3".encode()
        ).fetchall()
    assert any(THEIRS.tenant_id in str(row) for row in rows["plans"])
    return rows
