"""A big tenant gets a cell of its own while it is written to: nothing is copied, nothing is locked for long."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from haas_common.db import Database, Scope
from haas_common.history import cells, refusals
from haas_common.history.partitions import Partitions
from tests.integration.conftest import TestDatabase
from tests.support.droppable import ONE, OTHER, TENANTS, TWO, Old, old_history
from tests.support.growth import Growth


@pytest.fixture
async def old(database: TestDatabase, tmp_path: Path) -> AsyncIterator[Old]:
    async with old_history(database, tmp_path) as found:
        yield found


async def test_appends_go_on_while_a_tenant_moves_and_its_history_has_no_break(old: Old) -> None:
    stop = asyncio.Event()

    async def write(scope: Scope, stream: str) -> int:
        count = 0
        while not stop.is_set():
            await old.growth.append(scope, [stream, f"{stream}-{count}"])
            count += 1
        return count

    writers = [asyncio.create_task(write(scope, f"plan/{n}")) for scope in (ONE, TWO, OTHER) for n in range(2)]
    cell = await asyncio.to_thread(cells.isolate, old.partitions, "t-one")
    await asyncio.gather(*(old.growth.append(scope, ["plan/after"]) for scope in (ONE, TWO, OTHER)))
    stop.set()
    assert min(await asyncio.gather(*writers)) > 0
    await old.sign()
    for tenant in TENANTS:
        report = old.verified(tenant)
        assert (report.findings.first, report.counts.not_covered <= 1) == ([], True)
    rows = old.growth.plans.execute(
        "SELECT tenant_id, stream, cell FROM events WHERE stream = 'plan/after' ORDER BY tenant_id, project_id"
    )
    assert [row[2] for row in rows] == [cell, cell, 0]
    # Once a project has moved nothing of it goes back.
    back = old.growth.plans.execute(
        "SELECT a.seq FROM events AS a JOIN events AS b ON b.tenant_id = a.tenant_id AND b.project_id = a.project_id"
        " AND b.seq < a.seq AND b.cell > a.cell LIMIT 1"
    )
    assert back == []


async def test_projects_that_come_later_begin_in_the_tenants_cell(old: Old) -> None:
    cell = cells.isolate(old.partitions, "t-one")
    for scope in (Scope("t-one", "p-new"), Scope("t-two", "p-new")):
        old.growth.plans.project(scope)
        await old.growth.append(scope, ["plan/1", "plan/2"])
        await old.growth.append(scope, ["plan/1", "plan/3"])
    rows = old.growth.plans.execute(
        "SELECT h.tenant_id, h.cell, h.streams, array_agg(DISTINCT e.cell)::int[] FROM project_heads AS h"
        " JOIN events AS e USING (tenant_id, project_id) WHERE project_id = 'p-new' GROUP BY 1, 2, 3 ORDER BY 1"
    )
    assert rows == [("t-one", cell, 3, [cell]), ("t-two", 0, 3, [0])]


async def test_it_may_be_run_again_and_ends_what_was_cut_short(old: Old) -> None:
    cell = cells.isolate(old.partitions, "t-one")
    old.growth.plans.execute("UPDATE project_heads SET cell = 0 WHERE project_id = 'p-two'")
    assert cells.isolate(old.partitions, "t-one") == cell
    assert old.growth.plans.execute("SELECT DISTINCT cell FROM project_heads WHERE tenant_id = 't-one'") == [(cell,)]
    assert cells.isolate(old.partitions, "t-two") == cell + 1
    with pytest.raises(refusals.RangeUnknown):
        cells.isolate(old.partitions, "t-none")


async def test_a_tenants_ranges_go_alone_once_its_older_ones_went(old: Old) -> None:
    cell = cells.isolate(old.partitions, "t-one")
    await old.write()
    await old.sign()
    for _ in range(2):
        await old.growth.next_range()
    old.read_by_relays()
    own = next(found for found in old.partitions.ranges() if found.cell == cell)
    with pytest.raises(refusals.RangeInUse, match="older events"):
        await old.dropper.drop(own)
    for name in ("c0_p0", "c0_p1", own.name):
        await old.dropper.drop(old.partitions.range(name))
    for tenant in TENANTS:
        assert old.verified(tenant).findings.first == []
    await old.write()
    await old.sign()
    assert old.verified().findings.first == []


async def test_a_move_waits_for_whoever_may_still_write_by_the_old_cell(database: TestDatabase) -> None:
    opened = await Database.open(database.app_dsn, database.context_key, "test", pool_max=4)
    growth = Growth(database, opened)
    growth.plans.project(ONE)
    with Partitions.opened(database.admin_dsn) as partitions:
        async with opened.tenant_tx(ONE) as tx:
            await growth.append_in(tx, ONE, ["plan/1"])
            moving = asyncio.create_task(asyncio.to_thread(cells.isolate, partitions, "t-one"))
            async with asyncio.timeout(10):
                while growth.plans.execute("SELECT cell FROM tenants WHERE tenant_id = 't-one'") == [(0,)]:
                    await asyncio.wait({moving}, timeout=0.01)
            assert not moving.done()
        assert await moving == 1
    assert growth.plans.execute("SELECT cell FROM project_heads") == [(1,)]
    growth.close()
    await opened.close()
