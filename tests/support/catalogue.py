"""Rows for any table, made from the catalogue: what a test must hold for all tables, it asks of all tables."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

#: A value that the table's CHECK accepts, where the type alone does not tell; `g` is the row's number.
_CHECKED = {
    ("plans", "state"): "'created'",
    ("tasks_read", "status"): "'planned'",
    ("plan_commands", "kind"): "'run'",
    ("plan_commands", "decided_at"): "NULL",
    ("plan_commands", "result"): "NULL",
    ("events", "hash"): "sha256(int8send(g))",
}
_BY_TYPE = {
    "text": "'v' || g", "int8": "g", "int4": "g", "int2": "(g % 16)", "timestamptz": "now()", "bool": "false",
    "json": "'{}'", "bytea": "int8send(g)", "_text": "'{}'", "_int4": "ARRAY[g]", "xid8": "pg_current_xact_id()",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A column that an INSERT has to fill."""

    name: str
    type: str


def tenant_tables(connection: psycopg.Connection) -> list[str]:
    """Returns every table of the schema that has a tenant_id."""
    rows = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped"
        " WHERE n.nspname = 'haas' AND c.relkind IN ('r', 'p') ORDER BY 1"
    ).fetchall()
    return [str(row[0]) for row in rows]


def columns(connection: psycopg.Connection, table: str) -> list[Column]:
    """Returns the columns that are not generated."""
    rows = connection.execute(
        "SELECT a.attname, coalesce(base.typname, t.typname) FROM pg_attribute a"
        " JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type base ON base.oid = nullif(t.typbasetype, 0)"
        " WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = ''"
        " AND a.attgenerated = '' ORDER BY a.attnum",
        (f"haas.{table}",),
    ).fetchall()
    return [Column(str(name), str(type_)) for name, type_ in rows]


def fill(connection: psycopg.Connection, table: str, tenant: str, project: str, count: int = 1) -> None:
    """Inserts rows as the superuser, foreign keys and policies aside.

    Args:
        connection: the superuser's.
        table: of the schema `haas`.
        tenant: an SQL expression of the row's number `g`, e.g. "'t-' || g % 50".
        project: the same.
        count: how many rows.
    """
    statement = insertion(connection, table, tenant, project, count)
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(statement)


def insertion(connection: psycopg.Connection, table: str, tenant: str, project: str, count: int = 1) -> sql.Composed:
    """Returns the INSERT of `fill`, for whoever is to run it."""
    made = columns(connection, table)
    scope = {"tenant_id": tenant, "project_id": project}
    values = [scope.get(c.name) or _CHECKED.get((table, c.name)) or _BY_TYPE[c.type] for c in made]
    names = sql.SQL(", ").join(sql.Identifier(c.name) for c in made)
    picked = sql.SQL(", ").join(sql.SQL(value) for value in values)  # type: ignore[arg-type]
    return sql.SQL("INSERT INTO haas.{} ({}) SELECT {} FROM generate_series(1, {}) AS g").format(
        sql.Identifier(table), names, picked, sql.Literal(count)
    )
