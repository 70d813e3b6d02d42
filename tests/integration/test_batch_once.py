"""One query in a transaction of its own and one round trip: the same door, with the same rules."""

from collections.abc import AsyncIterator

import psycopg
import pytest

from haas_common import errors
from haas_common.db import Database, Lease, Scope
from haas_common.db.queries import Query
from haas_common.eventstore import SQL, NewEvent, _document, event_text
from tests.integration.conftest import TestDatabase

ONE, TWO = Scope("t-one", "p-main"), Scope("t-two", "p-main")
NAMES = Query("names", "", "SELECT tenant_id, %(tag)s::text AS tag FROM projects ORDER BY tenant_id")
SLOW = Query("slow", "", "SELECT pg_sleep(%(s)s) AS slept")
LEASE = Lease("shard/1", 0)


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        for scope in (ONE, TWO):
            admin.execute("INSERT INTO haas.tenants (tenant_id) VALUES (%s)", (scope.tenant_id,))
            admin.execute("INSERT INTO haas.projects (tenant_id, project_id) VALUES (%s, 'p-main')", (scope.tenant_id,))
    found = await Database.open(database.app_dsn, database.context_key, "test", pool_max=1)
    yield found
    await found.close()


def appended(epoch: int) -> dict[str, object]:
    event = NewEvent(ONE, "plan/pl-1", "PlanStarted", {}, "ana")
    return {"doc": _document([event], [event_text("PlanStarted", {})], ""), "lease": LEASE.name, "epoch": epoch}


async def test_it_sees_what_its_scopes_name_and_nothing_else(opened: Database) -> None:
    rows = await opened.batch_once(LEASE, [TWO, ONE], NAMES, {"tag": "x"})
    assert rows == [{"tenant_id": "t-one", "tag": "x"}, {"tenant_id": "t-two", "tag": "x"}]
    assert await opened.batch_once(LEASE, [TWO], NAMES, {"tag": "x"}) == rows[1:]
    assert await opened.batch_once(LEASE, [], NAMES, {"tag": "x"}) == []


async def test_what_it_writes_is_committed_and_a_lost_lease_writes_nothing(opened: Database) -> None:
    assert await opened.batch_once(LEASE, [ONE], SQL.append, appended(0))
    with pytest.raises(errors.LeaseLost):
        await opened.batch_once(LEASE, [ONE], SQL.append, appended(7))
    # The only connection is clean: it serves the next transaction, of another tenant.
    async with opened.tenant_tx(TWO) as tx:
        assert [r["tenant_id"] for r in await tx.all(NAMES, tag="")] == ["t-two"]
    async with opened.tenant_tx(ONE) as tx:
        head = await tx.one(SQL.stream_version, tenant_id="t-one", project_id="p-main", stream="plan/pl-1")
    assert head["version"] == 1


async def test_a_deadline_ends_it_and_the_pool_goes_on(opened: Database) -> None:
    with pytest.raises(errors.DeadlinePassed):
        await opened.batch_once(LEASE, [ONE], SLOW, {"s": 30}, timeout_s=0.2)
    assert await opened.batch_once(LEASE, [ONE], NAMES, {"tag": "y"}) == [{"tenant_id": "t-one", "tag": "y"}]


async def test_its_query_is_planned_once_and_others_are_left_to_the_server(opened: Database) -> None:
    """Planning a shard's commit anew took half as long as running it."""
    mode = Query("mode", "", "SELECT current_setting('plan_cache_mode') AS mode, %(tag)s::text AS tag")
    assert await opened.batch_once(LEASE, [ONE], mode, {"tag": ""}) == [{"mode": "force_generic_plan", "tag": ""}]
    async with opened.tenant_tx(ONE) as tx:
        assert (await tx.one(mode, tag=""))["mode"] == "auto"
