"""There is always a range for the next events, and nothing shows that the history goes on in another one."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator

import pytest

from haas_common import errors
from haas_common.audit.history import Marks, ProjectVerifier
from haas_common.audit.rows import FIELDS, line_of
from haas_common.db import Database, Scope, load_queries
from haas_common.db.migrate import migrate
from haas_common.history import headroom
from tests.integration.conftest import TestDatabase
from tests.support.growth import KEEPER, RANGE, Growth
from tests.support.samples import sample

SCOPE, OTHER = Scope("t-one", "p-one"), Scope("t-one", "p-two")
NOTIFIER, PLANNER = load_queries("haas_notifier"), load_queries("haas_planner")


@pytest.fixture
async def grown(database: TestDatabase) -> AsyncIterator[Growth]:
    opened = await Database.open(database.app_dsn, database.context_key, "test", pool_max=8)
    found = Growth(database, opened)
    for scope in (SCOPE, OTHER):
        found.plans.project(scope)
    yield found
    found.close()
    await opened.close()


async def whole_history(grown: Growth, scope: Scope) -> list[dict]:
    """Reads a project by pages, as the outside does."""
    rows, after = [], 0
    async with grown.database.tenant_tx(scope) as tx:
        while True:
            page = await tx.all(
                NOTIFIER.events_page, tenant_id=scope.tenant_id, project_id=scope.project_id, after=after, limit=7,
                bytes_max=1 << 20,
            )  # fmt: skip
            if not page:
                return rows
            rows += page
            after = page[-1]["seq"]


def chain_problems(scope: Scope, rows: list[dict]) -> list[str]:
    """What the verifier says of these rows."""
    verifier = ProjectVerifier(scope.tenant_id, scope.project_id, Marks())
    lines = []
    for row in rows:
        at = row["recorded_at"]
        micros = int(at.timestamp()) * 1_000_000 + at.microsecond
        known = {**row, "tenant_id": scope.tenant_id, "project_id": scope.project_id, "recorded_at_us": micros}
        known |= {"payload": row["payload_text"], "hash": bytes(row["hash"]).hex()}
        lines.append(line_of({name: known[name] for name in FIELDS}))
    verifier.feed(lines)
    return [str(finding) for finding in verifier.findings.first]


async def test_a_range_is_made_ahead_of_the_one_that_is_written(grown: Growth) -> None:
    assert grown.ranges() == ["events_c0_p0", "events_c0_p1"]
    assert await headroom.make_room(grown.database, KEEPER) == 0
    grown.jump(RANGE)
    assert await headroom.make_room(grown.database, KEEPER) == 1
    assert await headroom.make_room(grown.database, KEEPER) == 0
    assert grown.ranges() == ["events_c0_p0", "events_c0_p1", "events_c0_p2"]


async def test_the_worker_makes_room_as_soon_as_a_range_is_begun(grown: Growth) -> None:
    worker = asyncio.create_task(headroom.keep_room(grown.database, KEEPER, every_s=0.01))
    try:
        for n in range(1, 4):
            grown.jump(n * RANGE)
            async with asyncio.timeout(10):
                while f"events_c0_p{n + 1}" not in grown.ranges():
                    await asyncio.wait({worker}, timeout=0.01)
            assert not worker.done()
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def test_a_fleet_that_comes_back_after_long_begins_with_room(grown: Growth, database: TestDatabase) -> None:
    grown.jump(7 * RANGE)
    with pytest.raises(errors.DatabaseUnavailable):
        await grown.append(SCOPE, ["plan/pl-1"])
    migrate(database.admin_dsn, "only-in-tests", database.context_key)
    assert (await grown.append(SCOPE, ["plan/pl-1"]))[0].seq == 1


async def test_appends_go_on_across_the_border_of_two_ranges(grown: Growth) -> None:
    streams = ["plan/pl-1", "plan/pl-2", "artifact/artf-1"]
    await grown.append(SCOPE, streams * 2)
    grown.jump(RANGE - 4)
    batches = await asyncio.gather(*(grown.append(scope, streams) for scope in (SCOPE, OTHER) for _ in range(4)))
    assert set(grown.counts()) == {"events_c0_p0", "events_c0_p1"}
    assert grown.counts()["events_c0_p1"] == 30 - 6 - 3
    assert all(b.seq == a.seq + 1 for batch in batches for a, b in itertools.pairwise(batch))
    for scope, count in ((SCOPE, 18), (OTHER, 12)):
        rows = await whole_history(grown, scope)
        assert [row["seq"] for row in rows] == list(range(1, count + 1))
        assert chain_problems(scope, rows) == []
        rows[-2]["hash"] = hashlib.sha256().digest()
        assert chain_problems(scope, rows) != []


async def test_a_stream_is_folded_over_the_border_of_two_ranges(grown: Growth) -> None:
    await grown.append(SCOPE, ["plan/pl-1"] * 3, plan_id="pl-1")
    await grown.next_range()
    await grown.append(SCOPE, ["plan/pl-1"] * 3, plan_id="pl-1")
    assert grown.counts() == {"events_c0_p0": 3, "events_c0_p1": 3}
    key = {"tenant_id": SCOPE.tenant_id, "project_id": SCOPE.project_id}
    async with grown.database.tenant_tx(SCOPE) as tx:
        rows = await tx.all(PLANNER.plan_events, **key, stream="plan/pl-1", after=1, limit=10)
        pages = await tx.all(NOTIFIER.plan_events_page, **key, plan_id="pl-1", after=2, limit=10, bytes_max=1 << 20)
    assert [row["version"] for row in rows] == [2, 3, 4, 5, 6]
    assert [row["seq"] for row in pages] == [3, 4, 5, 6]
    assert rows[-1]["payload"] == sample("TaskReady")


async def test_without_a_range_nothing_of_a_batch_is_written_and_the_error_is_typed(grown: Growth) -> None:
    grown.jump(2 * RANGE - 2)
    with pytest.raises(errors.DatabaseUnavailable, match="no room"):
        await grown.append(SCOPE, ["plan/pl-1"] * 3)
    assert grown.counts() == {}
    assert grown.plans.execute("SELECT 1 FROM project_heads") == []
    await headroom.make_room(grown.database, KEEPER)
    # The ids of what was not written are gone; numbers that the outside sees have no gap.
    assert [r.seq for r in await grown.append(SCOPE, ["plan/pl-1"] * 3)] == [1, 2, 3]
    assert set(grown.counts()) == {"events_c0_p2"}
