"""No tenant sees another: the doors hold from inside the app's own role."""

from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest

from haas_common.db import Database, Lease, Query, Scope
from haas_common.eventstore import NewEvent, append
from haas_common.sockets import short_url
from tests.integration.conftest import TestDatabase, copied
from tests.support import catalogue, embedded, intruder
from tests.support.intruder import MINE, THEIRS


@pytest.fixture(scope="module")
def database(servers: embedded.Servers, template: str) -> Iterator[TestDatabase]:
    """One database for all of these tests, with a row of two tenants in every table; no test leaves a trace in it."""
    with copied(servers, template) as found:
        with psycopg.connect(short_url(found.admin_dsn), autocommit=True) as admin:
            for scope in (MINE, THEIRS):
                for table in catalogue.tenant_tables(admin):
                    catalogue.fill(admin, table, f"'{scope.tenant_id}'", f"'{scope.project_id}'")
            admin.execute("ANALYZE")
        yield found


@pytest.fixture
def app(database: TestDatabase) -> Iterator[psycopg.Connection]:
    """A bare connection of the app's role: what an intruder in a service would hold."""
    with psycopg.connect(short_url(database.app_dsn), options="-c search_path=haas,public") as connection:
        yield connection
        connection.rollback()


@pytest.fixture
async def doors(database: TestDatabase) -> AsyncIterator[Database]:
    opened = await Database.open(short_url(database.app_dsn), database.context_key, "test")
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def tables(database: TestDatabase) -> list[str]:
    with psycopg.connect(short_url(database.admin_dsn)) as admin:
        return catalogue.tenant_tables(admin)


def signed(
    connection: psycopg.Connection, key: bytes, *scopes: Scope, lease: str = "", life_s: int = 60, pid: int = 0
) -> str:
    """A context as the doors sign it."""
    return intruder.context(pid or connection.info.backend_pid, key, *scopes, lease=lease, life_s=life_s)


def use(connection: psycopg.Connection, context: str) -> None:
    connection.execute("SELECT set_config('haas.ctx', %s, true)", (context,))


# ── The context ─────────────────────────────────────────────────────────────────────────────────────────────────────

REFUSED = pytest.raises(psycopg.errors.InvalidAuthorizationSpecification)


def test_every_tenant_table_has_rows_of_both_tenants(database: TestDatabase, tables: list[str]) -> None:
    """Or else what follows would prove nothing."""
    assert len(tables) >= 14
    with psycopg.connect(short_url(database.admin_dsn)) as admin:
        for table in tables:
            rows = admin.execute(f"SELECT DISTINCT tenant_id FROM haas.{table}".encode()).fetchall()
            assert {row[0] for row in rows} == {"t-one", "t-two"}, table


def test_without_a_context_no_tenant_table_can_be_read(app: psycopg.Connection, tables: list[str]) -> None:
    for table in tables:
        with REFUSED:
            app.execute(f"SELECT count(*) FROM {table}".encode())
        app.rollback()


CONTEXTS: dict[str, Callable[[psycopg.Connection, bytes], str]] = {
    "empty": lambda app, key: "",
    "no signature": lambda app, key: signed(app, key, THEIRS)[65:],
    "another key": lambda app, key: signed(app, bytes(32), THEIRS),
    "a borrowed signature": lambda app, key: signed(app, key, MINE)[:65] + signed(app, key, THEIRS)[65:],
    "a widened one": lambda app, key: f"{signed(app, key, MINE)}|{THEIRS}",
    "a narrowed head": lambda app, key: signed(app, key, MINE, THEIRS).removesuffix(f"|{THEIRS}"),
    "an expired one": lambda app, key: signed(app, key, MINE, life_s=-1),
    "another connection's": lambda app, key: signed(app, key, MINE, pid=app.info.backend_pid + 1),
}


@pytest.mark.parametrize("kind", CONTEXTS)
def test_a_context_that_no_door_signed_opens_nothing(
    app: psycopg.Connection, database: TestDatabase, kind: str
) -> None:
    use(app, CONTEXTS[kind](app, database.context_key))
    with REFUSED:
        app.execute("SELECT count(*) FROM plans")


def test_a_signed_context_opens_its_scope(app: psycopg.Connection, database: TestDatabase) -> None:
    """The same forms as above, whole: what is refused there is refused for its fault."""
    use(app, signed(app, database.context_key, MINE))
    assert app.execute("SELECT tenant_id FROM plans").fetchall() == [("t-one",)]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_context_ends_with_its_transaction(app: psycopg.Connection, database: TestDatabase, end: str) -> None:
    use(app, signed(app, database.context_key, MINE))
    app.execute(end.encode())
    with REFUSED:
        app.execute("SELECT count(*) FROM plans")


# ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def every(table: str) -> Query:
    return Query("every", "", f"SELECT tenant_id::text AS tenant_id FROM {table}")


async def test_a_tenant_sees_its_own_rows_and_no_others_in_every_table(doors: Database, tables: list[str]) -> None:
    for scope in (MINE, THEIRS):
        async with doors.tenant_tx(scope) as tx:
            for table in tables:
                seen = [row["tenant_id"] for row in await tx.all(every(table))]
                assert seen == [scope.tenant_id], table


async def test_another_project_of_the_same_tenant_sees_nothing(doors: Database, tables: list[str]) -> None:
    async with doors.tenant_tx(Scope("t-one", "p-other")) as tx:
        for table in set(tables) - {"tenants"}:
            assert await tx.all(every(table)) == [], table


async def test_a_batch_sees_its_scopes_and_no_others(doors: Database, tables: list[str]) -> None:
    async with doors.batch_tx(Lease("relay/notifier", 1), [MINE]) as tx:
        for table in set(tables) - {"projects"}:
            assert [row["tenant_id"] for row in await tx.all(every(table))] == ["t-one"], table
    async with doors.batch_tx(Lease("relay/notifier", 1), [MINE, THEIRS]) as tx:
        assert len(await tx.all(every("events"))) == 2


async def test_a_shards_owner_finds_its_plans_and_nothing_else_of_them(doors: Database, tables: list[str]) -> None:
    async with doors.batch_tx(Lease("shard/1", 1), []) as tx:
        for table in tables:
            found = {row["tenant_id"] for row in await tx.all(every(table))}
            assert found == ({"t-one", "t-two"} if table in {"plans", "plan_commands"} else set()), table
    async with doors.batch_tx(Lease("shard/2", 1), []) as tx:
        assert await tx.all(every("plans")) == []


async def test_the_operator_sees_tenants_and_projects_and_nothing_of_theirs(doors: Database, tables: list[str]) -> None:
    async with doors.tenant_tx(Scope("*", "*")) as tx:
        for table in tables:
            found = {row["tenant_id"] for row in await tx.all(every(table))}
            assert found == ({"t-one", "t-two"} if table in {"tenants", "projects"} else set()), table


# ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

HISTORY = ("UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}", "TRUNCATE {}")


@pytest.mark.parametrize("statement", HISTORY)
@pytest.mark.parametrize("table", ["events", "project_heads", "stream_heads"])
async def test_nobody_rewrites_the_history(doors: Database, table: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with doors.tenant_tx(MINE) as tx:
            await tx.run(Query("rewrite", "", statement.format(table)))


async def test_nobody_adds_to_the_history_but_by_append(app: psycopg.Connection, database: TestDatabase) -> None:
    with psycopg.connect(short_url(database.admin_dsn)) as admin:
        forged = catalogue.insertion(admin, "events", "'t-one'", "'p-one'")
    use(app, signed(app, database.context_key, MINE))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        app.execute(forged)


async def test_append_takes_no_event_of_another_tenant(doors: Database) -> None:
    event = NewEvent(THEIRS, "plan/pl-x", "PlanStarted", {}, "intruder")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        async with doors.tenant_tx(MINE) as tx:
            await append(tx, [event])


@pytest.mark.parametrize("tenant", ["t-two", "t-nobody"], ids=["that exists", "that does not"])
def test_no_row_is_written_for_another_tenant(
    app: psycopg.Connection, database: TestDatabase, tables: list[str], tenant: str
) -> None:
    """The answer is the same whether the tenant, the project or the key exist: keys are no side channel."""
    for table in tables:
        with psycopg.connect(short_url(database.admin_dsn)) as admin:
            row = catalogue.insertion(admin, table, f"'{tenant}'", "'p-two'")
        for suffix in (b"", b" ON CONFLICT DO NOTHING"):
            use(app, signed(app, database.context_key, MINE))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(row.as_bytes(app) + suffix)
            app.rollback()


async def test_a_row_cannot_be_moved_to_another_tenant(doors: Database) -> None:
    for table in ("plans", "tasks_read", "artifacts_read", "requests", "resource_locks", "notifications"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            async with doors.tenant_tx(MINE) as tx:
                await tx.run(Query("move", "", f"UPDATE {table} SET tenant_id = 't-two', project_id = 'p-two'"))


async def test_another_tenants_rows_are_neither_updated_nor_deleted(doors: Database) -> None:
    async with doors.tenant_tx(MINE) as tx:
        for table in ("requests", "resource_locks"):
            assert await tx.run(Query("gone", "", f"DELETE FROM {table} WHERE tenant_id = 't-two'")) == 0
        for table, column in (("plans", "failure"), ("tasks_read", "failure"), ("artifacts_read", "status")):
            assert await tx.run(Query("mark", "", f"UPDATE {table} SET {column} = 'x' WHERE tenant_id = 't-two'")) == 0


async def test_a_shards_lease_alone_writes_no_tenants_row(doors: Database) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        async with doors.batch_tx(Lease("shard/1", 1), []) as tx:
            await tx.run(Query("mark", "", "UPDATE plans SET failure = 'x'"))


# ── From inside an injected statement ───────────────────────────────────────────────────────────────────────────────


async def test_an_injected_condition_reads_no_other_tenant(doors: Database) -> None:
    injected = Query("injected", "", "SELECT tenant_id::text AS t FROM plans WHERE plan_id = 'x' OR true --'")
    async with doors.tenant_tx(MINE) as tx:
        assert [row["t"] for row in await tx.all(injected)] == ["t-one"]


async def test_an_injected_error_does_not_tell_of_other_tenants_rows(doors: Database) -> None:
    """The policy is asked before a condition that fails on another tenant's row."""
    probe = "SELECT count(*) AS n FROM plans WHERE 1 / (CASE WHEN tenant_id = 't-two' THEN 0 ELSE 1 END) = 1"
    async with doors.tenant_tx(MINE) as tx:
        assert (await tx.one(Query("probe", "", probe)))["n"] == 1


WAYS_OUT = {
    "the owner's role": ("SET ROLE haas_owner", psycopg.errors.InsufficientPrivilege),
    "the writer's role": ("SET ROLE haas_writer", psycopg.errors.InsufficientPrivilege),
    "the key": ("SELECT * FROM context_keys", psycopg.errors.InsufficientPrivilege),
    "the signing function": ("SELECT haas.context()", psycopg.errors.InsufficientPrivilege),
    "a temporary table": ("CREATE TEMP TABLE t (n int)", psycopg.errors.InsufficientPrivilege),
    "a function": (
        "CREATE FUNCTION haas.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        psycopg.errors.InsufficientPrivilege,
    ),
    "a program": ("COPY plans TO PROGRAM 'cat'", psycopg.errors.InsufficientPrivilege),
    "a server's file": ("COPY plans TO '/tmp/plans'", psycopg.errors.InsufficientPrivilege),
    "a file's text": ("SELECT pg_read_file('/etc/passwd')", psycopg.errors.InsufficientPrivilege),
    "a trigger's mode": ("SET session_replication_role = replica", psycopg.errors.InsufficientPrivilege),
    "row security off": ("SET row_security = off; SELECT count(*) FROM plans", psycopg.errors.InsufficientPrivilege),
    "a made-up context": (
        "SELECT set_config('haas.ctx', repeat('0', 64) || '|' || pg_backend_pid() || '|9999999999||t-two/p-two', true);"
        "SELECT count(*) FROM plans",
        psycopg.errors.InvalidAuthorizationSpecification,
    ),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_an_injected_statement_finds_no_way_out(app: psycopg.Connection, database: TestDatabase, way: str) -> None:
    use(app, signed(app, database.context_key, MINE))
    statement, refusal = WAYS_OUT[way]
    with pytest.raises(refusal):
        app.execute(statement.encode())


def test_a_copy_carries_only_the_tenants_rows(
    app: psycopg.Connection, database: TestDatabase, tables: list[str]
) -> None:
    for table in tables:
        use(app, signed(app, database.context_key, MINE))
        with app.cursor().copy(f"COPY (SELECT tenant_id FROM {table}) TO STDOUT".encode()) as out:
            assert b"".join(bytes(part) for part in out) == b"t-one\n", table
        # Behind row security it copies FROM ONLY: nothing of a partitioned table.
        whole = b"" if table == "events" else b"t-one\n"
        with app.cursor().copy(f"COPY {table} (tenant_id) TO STDOUT".encode()) as out:
            assert b"".join(bytes(part) for part in out) == whole, table
        app.rollback()


def test_the_planners_statistics_tell_nothing(app: psycopg.Connection, tables: list[str]) -> None:
    """Histograms hold other tenants' values; the view hides them where row security is on."""
    shown = {
        row[0] for row in app.execute("SELECT DISTINCT tablename FROM pg_stats WHERE schemaname = 'haas'").fetchall()
    }
    assert shown & set(tables) == set()


# ── Leases ──────────────────────────────────────────────────────────────────────────────────────────────────────────

MOVES = {
    "a lease": "UPDATE leases SET owner = 'me', epoch = epoch + 1",
    "a cursor": "UPDATE relay_cursors SET id = 0",
    "a new cursor": "INSERT INTO relay_cursors VALUES ('mine', '1', 0)",
}


@pytest.mark.parametrize("what", MOVES)
async def test_nobody_moves_without_a_lease(doors: Database, database: TestDatabase, what: str) -> None:
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
        admin.execute("INSERT INTO haas.relay_cursors VALUES ('notifier', '1', 0) ON CONFLICT DO NOTHING")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        async with doors.tenant_tx(MINE) as tx:
            await tx.run(Query("move", "", MOVES[what]))


async def test_a_relay_moves_its_own_cursor_and_a_shard_none(doors: Database, database: TestDatabase) -> None:
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
        admin.execute("INSERT INTO haas.relay_cursors VALUES ('notifier', '1', 0) ON CONFLICT DO NOTHING")
    own = Query("move", "", "UPDATE relay_cursors SET id = id WHERE name = 'notifier'")
    async with doors.batch_tx(Lease("relay/notifier", 1), []) as tx:
        assert await tx.run(own) == 1
    for other in ("relay/usage", "shard/1"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            async with doors.batch_tx(Lease(other, 1), []) as tx:
                await tx.run(own)


async def test_a_shards_owner_takes_shards_and_no_relay(doors: Database) -> None:
    async with doors.batch_tx(Lease("shard/1", 1), []) as tx:
        assert await tx.run(Query("take", "", "UPDATE leases SET owner = owner WHERE name = 'shard/2'")) == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        async with doors.batch_tx(Lease("shard/1", 1), []) as tx:
            await tx.run(Query("take", "", "UPDATE leases SET owner = owner WHERE name = 'relay/notifier'"))
