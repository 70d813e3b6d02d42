"""Every table, partition and view through both doors and past them: no row of others is read, and none is touched."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from haas_common.db import Database, Lease
from haas_common.sockets import short_url
from tests.integration.conftest import TestDatabase, copied
from tests.support import attacks, embedded, intruder
from tests.support.intruder import MINE
from tests.support.mutants import ROWS, SOUND

#: What a door sees of others by design: the owner of a shard its plans, a relay the projects that there are.
SEEN = {"shard/2": {"plans", "plan_commands"}, "relay/notifier": {"projects"}}
DOORS = ("tenant_tx", "relay/notifier", "shard/2", "bare")


@pytest.fixture(scope="module")
def database(servers: embedded.Servers, template: str) -> Iterator[TestDatabase]:
    """One database for all of these tests, with rows of three scopes in every table."""
    with copied(servers, template) as found:
        with psycopg.connect(short_url(found.admin_dsn), autocommit=True) as admin:
            intruder.seed(admin)
        yield found


@pytest.fixture
def admin(database: TestDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as connection:
        yield connection


@pytest.fixture
async def doors(database: TestDatabase) -> AsyncIterator[Database]:
    opened = await Database.open(short_url(database.app_dsn), database.context_key, "test")
    yield opened
    await opened.close()


@asynccontextmanager
async def inside(database: TestDatabase, doors: Database, door: str) -> AsyncIterator[attacks.Connection]:
    """The connection behind a door, inside its transaction, which commits."""
    if door == "bare":
        async with await psycopg.AsyncConnection.connect(short_url(database.app_dsn)) as connection:
            context = intruder.context(connection.info.backend_pid, database.context_key, MINE)
            await connection.execute("SELECT set_config('haas.ctx', %s, true)", (context,))
            yield connection
        return
    opened = doors.tenant_tx(MINE) if door == "tenant_tx" else doors.batch_tx(Lease(door, 1), [MINE])
    async with opened as tx:
        yield tx._connection


@pytest.mark.parametrize("door", DOORS)
async def test_no_row_of_others_is_read_or_touched(
    database: TestDatabase, doors: Database, admin: psycopg.Connection, door: str
) -> None:
    before, found = attacks.others_rows(admin), []
    for target in attacks.targets(admin):
        async with inside(database, doors, door) as connection:
            found += await attacks.findings(connection, target, seen=target.name in SEEN.get(door, ()))
    assert found == []
    assert attacks.others_rows(admin) == before


async def test_without_a_context_there_is_an_error_and_never_rows(
    database: TestDatabase, admin: psycopg.Connection
) -> None:
    """Never set, and set and gone with its transaction: NULL and the empty text are the same to the policies."""
    async with await psycopg.AsyncConnection.connect(short_url(database.app_dsn), autocommit=True) as connection:
        for setting in (None, ""):
            if setting is not None:
                async with connection.transaction():
                    context = intruder.context(connection.info.backend_pid, database.context_key, MINE)
                    await connection.execute("SELECT set_config('haas.ctx', %s, true)", (context,))
            now = await (await connection.execute("SELECT current_setting('haas.ctx', true)")).fetchone()
            assert now == (setting,)
            for target in attacks.targets(admin):
                with pytest.raises(
                    (psycopg.errors.InvalidAuthorizationSpecification, psycopg.errors.InsufficientPrivilege)
                ):
                    await connection.execute(target.reads["everything"].encode())


async def test_a_new_table_is_tried_the_day_it_is_made(servers: embedded.Servers, template: str) -> None:
    """Nobody lists it anywhere: a sound one gives nothing, one with a mistake is found out."""
    with copied(servers, template) as fresh:
        doors = await Database.open(short_url(fresh.app_dsn), fresh.context_key, "test")
        with psycopg.connect(short_url(fresh.admin_dsn), autocommit=True) as admin:
            admin.execute(f"{SOUND} {ROWS} GRANT UPDATE, DELETE ON haas.notes TO haas_app".encode())
            notes = next(target for target in attacks.targets(admin) if target.name == "notes")
            async with doors.tenant_tx(MINE) as tx:
                assert await attacks.findings(tx._connection, notes) == []
            admin.execute("CREATE POLICY open ON haas.notes USING (true)")
            async with doors.tenant_tx(MINE) as tx:
                found = {line.split(":")[0] for line in await attacks.findings(tx._connection, notes)}
        await doors.close()
    assert found >= {
        "select",
        "count",
        "exists",
        "copy out",
        "cursor",
        "prepared",
        "insert",
        "update",
        "move away",
        "delete",
    }
