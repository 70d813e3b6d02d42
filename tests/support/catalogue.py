"""Rows for any table, made from the catalogue: what a test must hold for all tables, it asks of all tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

#: A value that the table's CHECK accepts, where the type alone does not tell; `g` is the row's number.
_CHECKED = {
    ("plan_commands", "decided_at"): "NULL",
    ("plan_commands", "result"): "NULL",
    ("data_keys", "wrapped"): "sha512(int8send(g))",
    ("data_keys", "destroyed_at"): "NULL",
}
_BY_TYPE = {
    "text": "'v' || g", "int8": "g", "int4": "g", "int2": "(g % 16)", "timestamptz": "now()", "bool": "false",
    "json": "'{}'", "bytea": "sha256(int8send(g))", "_text": "'{}'", "_int4": "ARRAY[g]",
    "xid8": "pg_current_xact_id()", "date": "'2026-01-01'::date + g::int",
}  # fmt: skip


#: There is one cell of the history to begin with.
_BY_NAME = {"cell": "0"}
#: A table's columns that are not generated, with the type that a domain stands for, and the first of the values where
#: a CHECK lists them.
COLUMNS = r"""
    SELECT a.attname AS name, coalesce(base.typname, t.typname) AS type,
           (SELECT substring(min(pg_get_constraintdef(k.oid)) FROM 'ANY \(\(?ARRAY\[(''[^'']*'')') FROM pg_constraint k
             WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
               AND strpos(pg_get_constraintdef(k.oid), 'ARRAY[''') > 0) AS listed
      FROM pg_attribute a
      JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type base ON base.oid = nullif(t.typbasetype, 0)
     WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = ''
       AND a.attgenerated = '' ORDER BY a.attnum"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column that an INSERT has to fill."""

    name: str
    type: str
    listed: str | None = None


def tenant_tables(connection: psycopg.Connection) -> list[str]:
    """Returns every table of the schema that has a tenant_id; a partition's rows are its parent's."""
    return [name for name, kind in relations(connection).items() if kind == "table"]


def relations(connection: psycopg.Connection) -> dict[str, str]:
    """Returns everything in the schema that has a tenant_id, by name: "table", "partition" or "view"."""
    rows = connection.execute(
        "SELECT c.relname, CASE WHEN c.relkind IN ('v', 'm') THEN 'view' WHEN c.relispartition THEN 'partition'"
        " ELSE 'table' END FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped"
        " WHERE n.nspname = 'haas' AND c.relkind IN ('r', 'p', 'v', 'm') ORDER BY 1"
    ).fetchall()
    return {str(name): str(kind) for name, kind in rows}


def columns(connection: psycopg.Connection, table: str) -> list[Column]:
    """Returns the columns that are not generated."""
    rows = connection.execute(COLUMNS, (f"haas.{table}",)).fetchall()
    return [Column(str(name), str(type_), listed) for name, type_, listed in rows]


def fill(connection: psycopg.Connection, table: str, tenant: str, project: str, count: int = 1, first: int = 1) -> None:
    """Inserts rows as the superuser, foreign keys and policies aside.

    Args:
        connection: the superuser's.
        table: of the schema `haas`.
        tenant: an SQL expression of the row's number `g`, e.g. "'t-' || g % 50".
        project: the same.
        count: how many rows.
        first: the first row's number.
    """
    statement = insertion(connection, table, tenant, project, count, first)
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(statement)


def insertion(
    connection: psycopg.Connection, table: str, tenant: str, project: str, count: int = 1, first: int = 1
) -> sql.Composed:
    """Returns the INSERT of `fill`, for whoever is to run it."""
    return row(table, columns(connection, table), tenant, project, count, first)


def row(table: str, made: Sequence[Column], tenant: str, project: str, count: int = 1, first: int = 1) -> sql.Composed:
    """Returns an INSERT into a table whose columns are known."""
    scope = {"tenant_id": tenant, "project_id": project}
    values = [
        scope.get(c.name) or _CHECKED.get((table, c.name)) or c.listed or _BY_NAME.get(c.name) or _BY_TYPE[c.type]
        for c in made
    ]
    names = sql.SQL(", ").join(sql.Identifier(c.name) for c in made)
    picked = sql.SQL(", ").join(sql.SQL(value) for value in values)  # type: ignore[arg-type]
    return sql.SQL("INSERT INTO haas.{} ({}) SELECT {} FROM generate_series({}, {}) AS g").format(
        sql.Identifier(table), names, picked, sql.Literal(first), sql.Literal(first + count - 1)
    )
