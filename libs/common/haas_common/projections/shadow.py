"""Tables beside the live ones, the same in every respect, until they take their place.

They have the live tables' very names, in a schema of their own: what a swap leaves is, to the catalogue's last word,
what the migrations made. A swap moves tables between schemas and copies nothing.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

Connection = psycopg.AsyncConnection[Any]
LIVE = "haas"
_KEYS = """
SELECT conname AS name, pg_get_constraintdef(oid) AS text FROM pg_constraint
 WHERE conrelid = to_regclass('haas.' || %s) AND contype = 'p'"""
_UNIQUE = """
SELECT conname AS name, pg_get_constraintdef(oid) AS text FROM pg_constraint
 WHERE conrelid = to_regclass('haas.' || %s) AND contype IN ('u', 'x') ORDER BY conname"""
_FOREIGN = """
SELECT conname AS name, pg_get_constraintdef(oid) AS text, confrelid::regclass::text AS target FROM pg_constraint
 WHERE conrelid = to_regclass('haas.' || %s) AND contype = 'f' ORDER BY conname"""
_INDEXES = """
SELECT c.relname AS name, pg_get_indexdef(x.indexrelid) AS text
  FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indexrelid
 WHERE x.indrelid = to_regclass('haas.' || %s)
   AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = x.indexrelid)
 ORDER BY x.indexrelid"""
_POLICIES = """
SELECT polname AS name, polpermissive AS permissive,
       CASE polcmd WHEN '*' THEN 'ALL' WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                   ELSE 'DELETE' END AS what,
       ARRAY(SELECT CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END FROM unnest(polroles) AS r) AS roles,
       pg_get_expr(polqual, polrelid) AS qual, pg_get_expr(polwithcheck, polrelid) AS checked
  FROM pg_policy WHERE polrelid = to_regclass('haas.' || %s) ORDER BY polname"""
_FLAGS = """
SELECT relrowsecurity AS enabled, relforcerowsecurity AS forced, array_to_string(reloptions, ', ') AS options
  FROM pg_class WHERE oid = to_regclass('haas.' || %s)"""
_GRANTS = """
SELECT a.privilege_type AS what, '' AS part,
       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS whom, a.is_grantable AS further,
       a.n AS n
  FROM pg_class AS c, aclexplode(c.relacl) WITH ORDINALITY AS a(grantor, grantee, privilege_type, is_grantable, n)
 WHERE c.oid = to_regclass('haas.' || %(t)s)
UNION ALL
SELECT a.privilege_type, t.attname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
       a.is_grantable, 1000 + a.n
  FROM pg_attribute AS t, aclexplode(t.attacl) WITH ORDINALITY AS a(grantor, grantee, privilege_type, is_grantable, n)
 WHERE t.attrelid = to_regclass('haas.' || %(t)s) AND t.attnum > 0
 ORDER BY n"""
_ODD = """
SELECT t.tgname AS name FROM pg_trigger AS t WHERE t.tgrelid = ANY (%(tables)s::regclass[]) AND NOT t.tgisinternal
UNION ALL
SELECT k.conname FROM pg_constraint AS k
 WHERE k.contype = 'f' AND k.confrelid = ANY (%(tables)s::regclass[]) AND NOT k.conrelid = ANY (%(tables)s::regclass[])
UNION ALL
SELECT d.objid::regclass::text FROM pg_depend AS d JOIN pg_rewrite AS w ON w.oid = d.objid
 WHERE d.refobjid = ANY (%(tables)s::regclass[])"""
_PRESENT = """
SELECT conname AS name FROM pg_constraint WHERE conrelid = %(here)s::regclass
UNION ALL
SELECT c.relname FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indexrelid WHERE x.indrelid = %(here)s::regclass
UNION ALL
SELECT polname FROM pg_policy WHERE polrelid = %(here)s::regclass"""
_CUT = """
SELECT h.tenant_id, h.project_id, coalesce(f.day, 'infinity') AS day
  FROM haas.project_heads AS h
  LEFT JOIN LATERAL (
       SELECT e.seq, e.recorded_at::date AS day FROM haas.events AS e
        WHERE e.tenant_id = h.tenant_id AND e.project_id = h.project_id ORDER BY e.seq LIMIT 1) AS f ON true
 WHERE coalesce(f.seq, h.last_seq + 1) > 1"""
_COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       coalesce(a.attnum = ANY (k.conkey), false) AS key, array_position(k.conkey, a.attnum) AS place
  FROM pg_attribute AS a LEFT JOIN pg_constraint AS k ON k.conrelid = a.attrelid AND k.contype = 'p'
 WHERE a.attrelid = to_regclass('haas.' || %s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""


class Unsupported(Exception):
    """A table has something that a copy of it would lack; the message names it."""


async def rows(connection: Connection, text: str, *values: Any, **named: Any) -> list[dict[str, Any]]:
    """Runs a query on the catalogue, or one that a caller has put together."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(text.encode(), named or values)
        return await cursor.fetchall()


async def run(connection: Connection, *statements: str) -> None:
    """Runs statements that are made of the catalogue's own words."""
    for statement in statements:
        await connection.execute(statement.encode())


def named(*parts: str) -> str:
    """Returns a name as SQL writes it."""
    return sql.Identifier(*parts).as_string(None)


async def columns(connection: Connection, table: str) -> tuple[dict[str, str], list[str]]:
    """Returns a table's columns with their types, and those of its primary key in their order."""
    found = await rows(connection, _COLUMNS, table)
    key = sorted((row for row in found if row["key"]), key=lambda row: row["place"])
    return {row["name"]: row["type"] for row in found}, [row["name"] for row in key]


async def description(connection: Connection, tables: Sequence[str]) -> str:
    """Returns everything that makes the live tables what they are: a rebuild of other ones is not gone on with."""
    await run(connection, "SET LOCAL search_path = ''")
    parts: list[Any] = []
    for table in tables:
        for query in (_COLUMNS, _KEYS, _UNIQUE, _FOREIGN, _INDEXES, _POLICIES, _FLAGS):
            parts += await rows(connection, query, table)
        parts += await rows(connection, _GRANTS, t=table)
    return repr(parts)


async def create(connection: Connection, schema: str, tables: Sequence[str]) -> None:
    """Makes empty tables with their columns, checks and primary keys, to be filled.

    Raises:
        Unsupported: a trigger, a view or another table's foreign key hangs on a live one.
    """
    odd = await rows(connection, _ODD, tables=[f"{LIVE}.{table}" for table in tables])
    if odd:
        raise Unsupported(f"{odd[0]['name']} hangs on a table that is to be replaced.")
    await run(connection, "SET LOCAL search_path = ''")
    for table in tables:
        here, live = named(schema, table), named(LIVE, table)
        flags = (await rows(connection, _FLAGS, table))[0]
        options = f" WITH ({flags['options']})" if flags["options"] else ""
        await run(connection, f"CREATE TABLE {here} (LIKE {live} INCLUDING ALL EXCLUDING INDEXES){options}")
        for key in await rows(connection, _KEYS, table):
            await run(connection, f"ALTER TABLE {here} ADD CONSTRAINT {named(key['name'])} {key['text']}")


async def finish(connection: Connection, schema: str, tables: Sequence[str]) -> None:
    """Gives filled tables what they still lack: indexes, foreign keys, row security, privileges, statistics.

    Each statement commits by itself: one long transaction would hold back whoever reads behind the log's horizon.
    """
    async with connection.transaction():
        await run(connection, "SET LOCAL search_path = ''")
        statements = [text for table in tables for text in await _missing(connection, schema, table, tables)]
    await run(connection, *statements)


async def _missing(connection: Connection, schema: str, table: str, tables: Sequence[str]) -> list[str]:
    """Returns the statements that make a shadow table whole; those that ran before a rebuild died are left out."""
    here = named(schema, table)
    there = {row["name"] for row in await rows(connection, _PRESENT, here=f"{schema}.{table}")}
    found = [
        f"ALTER TABLE {here} ADD CONSTRAINT {named(unique['name'])} {unique['text']}"
        for unique in await rows(connection, _UNIQUE, table)
        if unique["name"] not in there
    ]
    found += [
        index["text"].replace(f" ON {LIVE}.{table} ", f" ON {here} ", 1)
        for index in await rows(connection, _INDEXES, table)
        if index["name"] not in there
    ]
    for foreign in await rows(connection, _FOREIGN, table):
        text, target, name = foreign["text"], foreign["target"].removeprefix(f"{LIVE}."), named(foreign["name"])
        if target in tables:
            text = text.replace(f"REFERENCES {LIVE}.{target}(", f"REFERENCES {named(schema, target)}(", 1)
        # Validated apart: the check of all rows then keeps no writer of the other table out.
        if foreign["name"] not in there:
            found.append(f"ALTER TABLE {here} ADD CONSTRAINT {name} {text} NOT VALID")
        found.append(f"ALTER TABLE {here} VALIDATE CONSTRAINT {name}")
    return [*found, *await _guards(connection, here, table, there), f"ANALYZE {here}"]


async def _guards(connection: Connection, here: str, table: str, there: set[str]) -> list[str]:
    found = []
    for policy in await rows(connection, _POLICIES, table):
        using = f" USING ({policy['qual']})" if policy["qual"] else ""
        check = f" WITH CHECK ({policy['checked']})" if policy["checked"] else ""
        kind = "PERMISSIVE" if policy["permissive"] else "RESTRICTIVE"
        text = f"CREATE POLICY {named(policy['name'])} ON {here} AS {kind} FOR {policy['what']}"
        if policy["name"] not in there:
            found.append(f"{text} TO {', '.join(policy['roles'])}{using}{check}")
    flags = (await rows(connection, _FLAGS, table))[0]
    for wanted, what in ((flags["enabled"], "ENABLE"), (flags["forced"], "FORCE")):
        if wanted:
            found.append(f"ALTER TABLE {here} {what} ROW LEVEL SECURITY")
    for grant in await rows(connection, _GRANTS, t=table):
        part = f" ({named(grant['part'])})" if grant["part"] else ""
        further = " WITH GRANT OPTION" if grant["further"] else ""
        found.append(f"GRANT {grant['what']}{part} ON {here} TO {grant['whom']}{further}")
    return found


async def swap(connection: Connection, schema: str, old: str, tables: Sequence[str]) -> None:
    """Puts the tables in the place of the live ones, which go to the schema `old`. The caller holds the locks."""
    for table in tables:
        await run(connection, f"ALTER TABLE {named(LIVE, table)} SET SCHEMA {named(old)}")
    for table in tables:
        await run(connection, f"ALTER TABLE {named(schema, table)} SET SCHEMA {named(LIVE)}")


async def take_over(connection: Connection, schema: str, tables: Sequence[str], by_day: str) -> None:
    """Fills up the rows that the history cannot give: of projects whose old events were dropped.

    Where a row sums up a day, all days up to that of the first event left are the live table's.
    """
    await run(connection, f"CREATE TEMP TABLE cut ON COMMIT DROP AS {_CUT}")
    for table in tables:
        here, live = named(schema, table), named(LIVE, table)
        if by_day:
            await run(
                connection,
                f"DELETE FROM {here} AS s USING pg_temp.cut AS c WHERE s.tenant_id = c.tenant_id"
                f" AND s.project_id = c.project_id AND s.{named(by_day)} <= c.day",
            )
        await run(
            connection,
            f"INSERT INTO {here} SELECT l.* FROM {live} AS l JOIN pg_temp.cut AS c"
            " ON c.tenant_id = l.tenant_id AND c.project_id = l.project_id ON CONFLICT DO NOTHING",
        )


async def differences(connection: Connection, schema: str, table: str, limit: int) -> tuple[int, list[dict[str, Any]]]:
    """Compares a live table with its shadow, row by row and column by column.

    Returns:
        How many rows differ, and of the first `limit` of them the key, the tables that have it and what differs.
    """
    types, key = await columns(connection, table)
    others = [name for name in types if name not in key]
    same = " AND ".join(f"l.{named(name)} = s.{named(name)}" for name in key)
    # json has no equality of its own, and a document's keys no order.
    shown = {name: named(name) + ("::jsonb" if types[name] == "json" else "") for name in others}
    odd = [f"CASE WHEN l.{text} IS DISTINCT FROM s.{text} THEN '{name}' END" for name, text in shown.items()]
    first = named(key[0])
    found = f"""
        SELECT {", ".join(f"coalesce(l.{named(n)}, s.{named(n)}) AS {named(n)}" for n in key)},
               CASE WHEN l.{first} IS NULL THEN 'missing' WHEN s.{first} IS NULL THEN 'unknown' ELSE 'wrong' END AS how,
               array_remove(ARRAY[{", ".join(odd) or "NULL"}]::text[], NULL) AS columns
          FROM {named(LIVE, table)} AS l FULL JOIN {named(schema, table)} AS s ON {same}"""
    differ = " WHERE how <> 'wrong' OR columns <> '{}'"
    count = await rows(connection, f"SELECT count(*) AS n FROM ({found}) AS f{differ}")
    if not count[0]["n"]:
        return 0, []
    order = ", ".join(named(name) for name in key)
    listed = await rows(connection, f"SELECT * FROM ({found}) AS f{differ} ORDER BY {order} LIMIT {limit}")
    return count[0]["n"], listed
