"""Brings a database to the schema: roles, ordered SQL files under an advisory lock, the context's key.

`python -m haas_common.db.migrate` reads HAAS_ADMIN_DATABASE_URL, HAAS_APP_PASSWORD, HAAS_CONTEXT_KEY (hex) and, where
they are set, HAAS_PROJECTOR_PASSWORD and HAAS_BACKUP_PASSWORD.
"""

import importlib.resources
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import LiteralString

import psycopg
from psycopg import sql

from haas_common.db.doors import connection_parameters

_LOCK = 0x4841_4153  # "HAAS"
_PADDED = 64  # SHA-256's block, RFC 2104
_ROLES: dict[str, LiteralString] = {
    "haas_owner": "NOLOGIN",
    "haas_writer": "NOLOGIN",
    "haas_app": "LOGIN",
    "haas_projector": "LOGIN",
    "haas_backup": "LOGIN BYPASSRLS",
}


class MigrationError(Exception):
    """The database cannot be used, or not brought to this version."""


def migrations() -> list[tuple[str, str]]:
    """Returns (name, text) of every migration, in order."""
    folder = importlib.resources.files("haas_common.db").joinpath("migrations")
    files = sorted(f.name for f in folder.iterdir() if f.name.endswith(".sql"))
    return [(name.removesuffix(".sql"), folder.joinpath(name).read_text()) for name in files]


def migrate(
    admin_url: str, app_password: str, context_key: bytes, others: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """Migrates; returns the names of what was applied. Safe to run at any time and by several at once.

    Args:
        admin_url: a role that may create roles and extensions.
        app_password: the password that haas_app gets.
        context_key: 32 bytes that sign tenant contexts.
        others: passwords of haas_projector and haas_backup; without one a role cannot log in.

    Raises MigrationError for a server that is too old, or a database that is newer than this code.
    """
    parameters = connection_parameters(admin_url, "haas-migrate")
    parameters["options"] = "-c lock_timeout=60s"
    with psycopg.connect(**parameters, autocommit=True) as connection:
        _check_server(connection)
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        _roles(connection, {"haas_app": app_password, **others})
        applied = _apply(connection)
        _keep_context_key(connection, context_key)
        _keep_room(connection)
        return applied


def _check_server(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    version = connection.info.server_version
    if version < 170000:
        raise MigrationError(f"HAAS needs PostgreSQL 17 or newer; this server is {version // 10000}.")
    row = connection.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    found = tuple(int(part) for part in str(row[0]).split(".")[:2]) if row else (0, 0)
    if found < (0, 8):
        raise MigrationError("HAAS needs the extension pgvector 0.8 or newer on the PostgreSQL server.")


def _roles(connection: psycopg.Connection[tuple[object, ...]], passwords: Mapping[str, str]) -> None:
    database = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    # Servers that were initialised before PostgreSQL 15 let everyone create here.
    connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    for role, how in _ROLES.items():
        _role(connection, role, how)
        grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")
        if how == "NOLOGIN":
            member = sql.SQL("GRANT {} TO CURRENT_USER WITH INHERIT FALSE, SET TRUE")
            connection.execute(member.format(sql.Identifier(role)))
            grant = sql.SQL("GRANT CREATE ON DATABASE {} TO {}")
        connection.execute(grant.format(database, sql.Identifier(role)))
    for role, password in passwords.items():
        change = sql.SQL("ALTER ROLE {} PASSWORD {}")
        connection.execute(change.format(sql.Identifier(role), sql.Literal(password)))


def _role(connection: psycopg.Connection[tuple[object, ...]], role: str, how: LiteralString) -> None:
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is not None:
        return
    try:
        connection.execute(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role), sql.SQL(how)))
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        # Roles belong to the whole server: another database's migration made it meanwhile.
        return
    except psycopg.errors.InsufficientPrivilege as error:
        raise MigrationError(
            f"This server's administrator may not make the role {role} ({how}): have a superuser make it."
        ) from error


def _apply(connection: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS public.haas_migrations"
        " (name text PRIMARY KEY, applied_at timestamptz DEFAULT now())"
    )
    done = {str(row[0]) for row in connection.execute("SELECT name FROM public.haas_migrations").fetchall()}
    known = migrations()
    newer = done - {name for name, _ in known}
    if newer:
        raise MigrationError(f"The database is newer than this HAAS: it has {', '.join(sorted(newer))}.")
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    applied = []
    for name, text in known:
        if name in done:
            continue
        with connection.transaction():
            connection.execute(text.encode())
            connection.execute("RESET ROLE")
            connection.execute("INSERT INTO public.haas_migrations (name) VALUES (%s)", (name,))
        connection.execute("RESET search_path")
        applied.append(name)
    return applied


def _keep_context_key(connection: psycopg.Connection[tuple[object, ...]], key: bytes) -> None:
    padded = key.ljust(_PADDED, b"\0")
    inner, outer = bytes(b ^ 0x36 for b in padded), bytes(b ^ 0x5C for b in padded)
    with connection.transaction():
        connection.execute("SET LOCAL ROLE haas_writer")
        connection.execute(
            "INSERT INTO haas.context_keys (inner_pad, outer_pad) VALUES (%s, %s)"
            " ON CONFLICT (only_one) DO UPDATE SET inner_pad = excluded.inner_pad, outer_pad = excluded.outer_pad",
            (inner, outer),
        )


def _keep_room(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Makes the ranges that the next events need: a fleet that was down for long begins with room."""
    with connection.transaction():
        connection.execute("SET LOCAL ROLE haas_owner")
        connection.execute("SELECT haas.keep_partitions()")


def main() -> None:
    """Runs from the environment, for compose and other databases."""
    environment = os.environ
    narrow = ("haas_projector", "haas_backup")
    others = {role: environment.get(f"{role.upper()}_PASSWORD", "") for role in narrow}
    applied = migrate(
        environment["HAAS_ADMIN_DATABASE_URL"],
        environment["HAAS_APP_PASSWORD"],
        bytes.fromhex(environment["HAAS_CONTEXT_KEY"]),
        {role: password for role, password in others.items() if password},
    )
    print("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


if __name__ == "__main__":
    main()
