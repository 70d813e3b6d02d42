"""Somebody who holds the app's database role inside one tenant's transaction, and tries for the others' rows.

`findings` is the canary in the small: it asks the catalogue what there is, so that a new table, partition, view or
function is tried the day it is made.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Sequence
from typing import Any

import psycopg

from haas_common.db import Scope
from tests.support import catalogue

MINE, THEIRS, SIBLING = Scope("t-one", "p-one"), Scope("t-two", "p-two"), Scope("t-one", "p-sib")
#: What only others' rows have in them; `seed` gives each scope rows of its own numbers.
FOREIGN = "t-two|p-two|p-sib"
NUMBERS = {MINE: 1, THEIRS: 2, SIBLING: 3}
#: A number that nobody's rows have.
NOBODYS = 777
Connection = psycopg.AsyncConnection[dict[str, Any]]


def seed(admin: psycopg.Connection) -> None:
    """Gives every tenant table a row of each scope; `admin` is the superuser's connection in autocommit."""
    for table in catalogue.tenant_tables(admin):
        for scope, number in NUMBERS.items():
            # A tenant has one row, whatever its projects.
            if (table, scope) != ("tenants", SIBLING):
                catalogue.fill(admin, table, f"'{scope.tenant_id}'", f"'{scope.project_id}'", first=number)


def context(pid: int, key: bytes, *scopes: Scope, lease: str = "", life_s: int = 60) -> str:
    """A context as the doors sign it, for the connection of a backend."""
    facts = "|".join([str(pid), str(int(time.time()) + life_s), lease, *map(str, scopes)])
    return f"{hmac.new(key, facts.encode(), hashlib.sha256).hexdigest()}|{facts}"


#: What the app must be refused, whatever the catalogue holds.
REFUSED = {
    "reads the key of the contexts": "SELECT * FROM haas.context_keys",
    "reads half of the key": "SELECT inner_pad FROM haas.context_keys",
    "changes the key of the contexts": "UPDATE haas.context_keys SET only_one = true",
    "reads the statistics": "SELECT * FROM pg_catalog.pg_statistic",
    "reads the server's files": "SELECT pg_catalog.pg_read_file('PG_VERSION')",
    "copies the server's files": "COPY haas.relay_cursors (name) FROM 'PG_VERSION'",
    "makes a table": "CREATE TABLE haas.mine (n int)",
    "makes a table elsewhere": "CREATE TABLE public.mine (n int)",
    "makes a schema": "CREATE SCHEMA mine",
    "makes a temporary table": "CREATE TEMP TABLE mine (n int)",
    "makes a role": "CREATE ROLE mine",
    "switches triggers off": "SET LOCAL session_replication_role = replica",
    "becomes the owner": "SET LOCAL ROLE haas_owner",
    "becomes the writer": "SET LOCAL ROLE haas_writer",
    "reads as the server's monitor": "SET LOCAL ROLE pg_read_all_data",
    "changes the history": "UPDATE haas.events SET actor = actor WHERE false",
    "deletes the history": "DELETE FROM haas.events WHERE false",
    "moves a head": "UPDATE haas.project_heads SET last_seq = last_seq WHERE false",
    "deletes where a lease sees more": "DELETE FROM haas.plans WHERE false",
    "drops a table": "DROP TABLE haas.leases",
    "drives the history's sequence": "SELECT nextval('haas.events_id_seq')",
}
_ROWS = "[1-9][0-9]* rows"
_TRIGGER = "pg_catalog.suppress_redundant_updates_trigger"
# Runs a statement as the caller and undoes it; says how many rows it had, or its SQLSTATE and message.
_ATTEMPT = """
CREATE FUNCTION public.attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
  EXECUTE statement;
  GET DIAGNOSTICS n = ROW_COUNT;
  RAISE EXCEPTION USING ERRCODE = 'HA999', MESSAGE = n || ' rows';
EXCEPTION WHEN OTHERS THEN
  RETURN CASE WHEN SQLSTATE = 'HA999' THEN SQLERRM ELSE SQLSTATE || ' ' || SQLERRM END;
END $$"""


class Intruder:
    """The app's role on a superuser's connection, in a transaction that the caller rolls back.

    Args:
        connection: in a transaction.
        key: signs contexts, as the doors do.
    """

    def __init__(self, connection: Connection, key: bytes) -> None:
        self._connection = connection
        self._mine = context(connection.info.backend_pid, key, MINE)
        self._notices: list[str] = []
        connection.add_notice_handler(lambda notice: self._notices.append(str(notice.message_primary)))

    async def findings(self) -> list[str]:
        """Tries everything; returns what was won."""
        await self._connection.execute("RESET ROLE")
        await self._connection.execute(_ATTEMPT.encode())
        await self._connection.execute("SET LOCAL SESSION AUTHORIZATION haas_app")
        relations = await self._relations()
        bare = [f"reads {name} without a context" for name in relations]
        found = _won(bare, await self._try([_foreign(name) for name in relations]), _ROWS)
        await self._connection.execute("SELECT set_config('haas.ctx', %s, true)", (self._mine,))
        tries: list[tuple[str, str, str]] = [(f"reads {name}", _foreign(name), _ROWS) for name in relations]
        for name, facts in relations.items():
            tries += _writes(name, facts)
        tries += [(what, statement, "(?!42501)") for what, statement in REFUSED.items()]
        outcomes = await self._try([statement for _, statement, _ in tries])
        found += [what for (what, _, won), said in zip(tries, outcomes, strict=True) if re.match(won, said)]
        return found + await self._keys(relations) + await self._functions(relations)

    async def _try(self, statements: Sequence[str]) -> list[str]:
        cursor = await self._connection.execute(
            "SELECT public.attempt(s) AS said FROM unnest(%s::text[]) WITH ORDINALITY AS t(s, n) ORDER BY n",
            (list(statements),),
        )
        return [row["said"] for row in await cursor.fetchall()]

    async def _relations(self) -> dict[str, dict[str, Any]]:
        """Everything outside of PostgreSQL's own schemas of which the app may read or write something."""
        rows = await self._connection.execute(
            "SELECT format('%I.%I', n.nspname, c.relname) AS name,"
            " array_agg(a.attname::text ORDER BY a.attnum) AS columns,"
            " array_agg(a.attname::text ORDER BY a.attnum) FILTER ("
            "   WHERE has_column_privilege(c.oid, a.attnum, 'UPDATE') AND a.attidentity = '') AS settable"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
            " AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
            " AND has_schema_privilege(n.oid, 'USAGE') AND (has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE')"
            "   OR has_table_privilege(c.oid, 'DELETE, TRUNCATE, TRIGGER')) GROUP BY 1 ORDER BY 1"
        )
        return {row["name"]: row for row in await rows.fetchall()}

    async def _keys(self, relations: dict[str, dict[str, Any]]) -> list[str]:
        """Adds rows of its own under a key that others have, and one that nobody has: the outcome is the same."""
        tables = [name for name, facts in relations.items() if _is_tenants(name, facts)]
        outcomes = []
        for number in (NUMBERS[THEIRS], NOBODYS):
            outcomes.append(await self._try([await self._row(name, MINE, number) for name in tables]))
        theirs, nobodys = ([re.sub(r"\b(v?)(2|777)\b", r"\1N", said) for said in each] for each in outcomes)
        found = [f"tells keys apart of {t}" for t, a, b in zip(tables, theirs, nobodys, strict=True) if a != b]
        for scope in (THEIRS, SIBLING):
            others = [name for name in tables if (name, scope) != ("haas.tenants", SIBLING)]
            said = await self._try([await self._row(name, scope, NOBODYS) for name in others])
            found += _won([f"adds to {name} for {scope}" for name in others], said, "(?!42501)")
        return found

    async def _row(self, name: str, scope: Scope, number: int) -> str:
        table = name.removeprefix("haas.")
        made = await self._connection.execute(catalogue.COLUMNS, (name,))
        columns = [catalogue.Column(**row) for row in await made.fetchall()]
        statement = catalogue.row(table, columns, f"'{scope.tenant_id}'", f"'{scope.project_id}'", 1, number)
        return statement.as_string(self._connection)

    async def _functions(self, relations: dict[str, dict[str, Any]]) -> list[str]:
        """Calls what may be called: without arguments, and with a text as a condition on every row."""
        rows = await self._connection.execute(
            "SELECT format('%I.%I', n.nspname, p.proname) AS name, p.pronargs AS n FROM pg_proc p"
            " JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname IN ('haas', 'public') AND p.prokind = 'f'"
            " AND has_function_privilege(p.oid, 'EXECUTE') AND (p.pronargs = 0 AND p.prorettype <> 'trigger'::regtype"
            "   OR p.pronargs = 1 AND p.proargtypes[0] = 'text'::regtype AND p.prorettype = 'bool'::regtype)"
        )
        found = []
        for name, arguments in [(row["name"], row["n"]) for row in await rows.fetchall()]:
            if arguments == 0:
                said = await self._try([f"SELECT FROM {name}() AS x WHERE x::text ~ '{FOREIGN}'"])
                found += _won([f"calls {name}"], said, _ROWS)
                continue
            self._notices.clear()
            tables = [relation for relation, facts in relations.items() if "tenant_id" in facts["columns"]]
            await self._try([f"SELECT 1 FROM {relation} WHERE {name}(tenant_id::text)" for relation in tables])
            if re.search(FOREIGN, " ".join(self._notices)):
                found.append(f"hears {name}")
        return found


def _won(labels: Sequence[str], outcomes: Sequence[str], won: str) -> list[str]:
    return [label for label, said in zip(labels, outcomes, strict=True) if re.match(won, said)]


def _foreign(name: str) -> str:
    return f"SELECT FROM {name} AS x WHERE x::text ~ '{FOREIGN}'"


def _is_tenants(name: str, facts: dict[str, Any]) -> bool:
    return name.startswith("haas.") and "tenant_id" in facts["columns"]


def _writes(name: str, facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What is tried on a table beside adding: a label, the statement, and how the outcome of a success begins."""
    if not _is_tenants(name, facts):
        return []
    others = "tenant_id = 't-two'" + (" OR project_id = 'p-sib'" if "project_id" in facts["columns"] else "")
    tries = [
        (f"deletes from {name}", f"DELETE FROM {name} WHERE {others}", _ROWS),
        (f"locks {name}", f"SELECT FROM {name} WHERE {others} FOR UPDATE", _ROWS),
        (f"empties {name}", f"TRUNCATE {name}", "0 rows|0A000"),
        (f"puts a trigger on {name}",
         f"CREATE TRIGGER t BEFORE UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION {_TRIGGER}()", "0 rows"),
    ]  # fmt: skip
    if facts["settable"]:
        column = facts["settable"][0]
        tries.append((f"changes {name}", f'UPDATE {name} SET "{column}" = "{column}" WHERE {others}', _ROWS))
    return tries
