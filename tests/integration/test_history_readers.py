"""After an old range was dropped every reader says what it still has, and none takes a half for the whole."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from haas_common import clock, errors
from haas_common.artifacts.file import Draft
from haas_common.artifacts.records import ArtifactRecord, Placing
from haas_common.artifacts.store import ArtifactStore
from haas_common.blobs import BlobStore
from haas_common.db import Database, Query, Scope
from haas_common.doorbell import Doorbell
from haas_common.projections.rebuild import Rebuild
from haas_notifier.heads import Heads
from haas_notifier.operations import Operations
from haas_orchestrator import store as orchestrator
from haas_orchestrator.artifacts.garbage import Collector
from haas_planner import store as planner
from haas_planner.projection import Plans
from tests.integration.conftest import TestDatabase
from tests.integration.test_planner_shard import SCOPE as PLANS
from tests.integration.test_planner_shard import done, fleet_of, task
from tests.support.droppable import ONE, Old, old_history
from tests.support.growth import Growth
from tests.support.keys import fleet_keys


@pytest.fixture
async def growth(database: TestDatabase) -> AsyncIterator[Growth]:
    opened = await Database.open(database.app_dsn, database.context_key, "test", pool_max=4)
    found = Growth(database, opened)
    found.plans.project(ONE)
    yield found
    found.close()
    await opened.close()


def drop(growth: Growth) -> None:
    """Drops the first range, by hand."""
    growth.plans.execute("ALTER TABLE events_c0 DETACH PARTITION events_c0_p0")
    growth.plans.execute("DROP TABLE events_c0_p0")


# ── The history ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_cursor_below_the_first_event_is_refused_and_0_begins_with_it(growth: Growth) -> None:
    await growth.append(ONE, ["plan/pl-1"] * 5)
    await growth.next_range()
    await growth.append(ONE, ["plan/pl-1"] * 3)
    drop(growth)
    notifier = Operations(growth.database, Heads(growth.database, Doorbell(growth.database)))

    async def seqs(after: int) -> list[int]:
        return [event.seq for event in (await notifier.list_events(ONE, "", after, 10))[0]]

    assert [await seqs(after) for after in (0, 5, 7)] == [[6, 7, 8], [6, 7, 8], [8]]
    for after in (1, 4, 9):
        with pytest.raises(errors.CursorOutOfRange) as refused:
            await notifier.list_events(ONE, "", after, 10)
        assert refused.value.metadata == {"first_seq": "6", "last_seq": "8"}
        with pytest.raises(errors.CursorOutOfRange):
            await notifier.check_start(ONE, "", after)
    await notifier.check_start(ONE, "", 0)


async def test_a_project_of_which_nothing_is_left_goes_on_with_its_next_event(growth: Growth) -> None:
    await growth.append(ONE, ["plan/pl-1"] * 5)
    await growth.next_range()
    drop(growth)
    notifier = Operations(growth.database, Heads(growth.database, Doorbell(growth.database)))
    assert await notifier.list_events(ONE, "", 0, 10) == ([], False)
    with pytest.raises(errors.CursorOutOfRange) as refused:
        await notifier.list_events(ONE, "", 3, 10)
    assert refused.value.metadata == {"first_seq": "6", "last_seq": "5"}
    assert [r.seq for r in await growth.append(ONE, ["plan/pl-1"])] == [6]
    assert [event.seq for event in (await notifier.list_events(ONE, "", 5, 10))[0]] == [6]


# ── Plans ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_plan_whose_first_events_are_gone_is_never_folded(database: TestDatabase) -> None:
    async with fleet_of(database, done) as fleet:
        growth = Growth(database, fleet.database)
        for number in (1, 2):
            await fleet.create(f"pl-{number}", [task(1), task(2, 1)])
        await fleet.command("pl-1", "run", "r-run")
        await fleet.over("pl-1")
        await growth.next_range()
        await fleet.command("pl-2", "run", "r-run")
        await fleet.over("pl-2")
        drop(growth)
        for number in (1, 2):
            async with fleet.database.tenant_tx(PLANS) as tx:
                with pytest.raises(planner.PlanGone):
                    await planner.load_plan(tx, PLANS, f"pl-{number}")
            with pytest.raises(errors.PlanStateConflict, match="history was dropped"):
                await fleet.command(f"pl-{number}", "cancel", "r-cancel")
            with pytest.raises(errors.PlanStateConflict, match="history was dropped"):
                await fleet.create(f"pl-{number}", [task(1)], "r-again")
        # The shards go on, and a plan that was not there is none that is gone.
        await fleet.create("pl-3", [task(1)])
        await fleet.command("pl-3", "run", "r-run")
        assert (await fleet.over("pl-3"))["state"] == "completed"
        growth.close()


async def test_an_ended_plan_is_told_from_what_is_kept_of_it_with_no_half_of_a_graph(database: TestDatabase) -> None:
    async with fleet_of(database, done) as fleet:
        growth = Growth(database, fleet.database)
        await fleet.create("pl-1", [task(1), task(2, 1)])
        await growth.next_range()
        await fleet.command("pl-1", "run", "r-run")
        await fleet.over("pl-1")
        async with fleet.database.tenant_tx(PLANS) as tx:
            assert len((await orchestrator.graph_of(tx, PLANS, "pl-1"))[0]) == 2
        drop(growth)
        async with fleet.database.tenant_tx(PLANS) as tx:
            assert await orchestrator.graph_of(tx, PLANS, "pl-1") == ([], [])
            plan = await orchestrator.get_plan(tx, PLANS, "pl-1")
            tasks = await orchestrator.list_tasks(tx, PLANS, "pl-1", [], 10)
        assert plan is not None
        assert (plan["state"], [row["status"] for row in tasks]) == ("completed", ["completed", "completed"])
        growth.close()


async def test_a_rebuild_keeps_what_the_read_models_know_beyond_the_history(database: TestDatabase) -> None:
    everything = Query("e", "", "SELECT to_jsonb(t)::text AS row FROM tasks_read AS t ORDER BY 1")
    async with fleet_of(database, done) as fleet:
        growth = Growth(database, fleet.database)
        await fleet.create("pl-1", [task(1)])
        await growth.next_range()
        async with fleet.database.tenant_tx(PLANS) as tx:
            before = await tx.all(everything)
        drop(growth)
        found = await Rebuild(Plans, database.admin_dsn, None).run()
        assert (found.swapped, found.differing, bool(before)) == (True, 0, True)
        async with fleet.database.tenant_tx(PLANS) as tx:
            assert await tx.all(everything) == before
        growth.close()


# ── Artifacts ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def write(growth: Growth, store: ArtifactStore, artifact_id: str, body: str) -> ArtifactRecord:
    draft = Draft("notes.md", "doc.notes", "notes", "Notas", body, {}, [], "final", "", {})
    now = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
    async with growth.database.tenant_tx(ONE) as tx:
        return await store.write(tx, ONE, draft, Placing(artifact_id, "ana"), now)


async def test_artifacts_say_which_version_is_the_first_that_is_kept(growth: Growth, tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "store")
    store = ArtifactStore(blobs, fleet_keys(tmp_path / "secrets"))
    for body in ("# Uno", "# Dos"):
        await write(growth, store, "artf-split", body)
        old = await write(growth, store, "artf-old", body)
    await growth.next_range()
    await write(growth, store, "artf-split", "# Tres")
    drop(growth)
    async with growth.database.tenant_tx(ONE) as tx:
        assert (await store.at_version(tx, ONE, "artf-split", 3)).version == 3
        for artifact, version, first in (("artf-split", 1, 3), ("artf-split", 2, 3), ("artf-old", 1, 2)):
            with pytest.raises(errors.ResourceNotFound, match="went with old history") as refused:
                await store.at_version(tx, ONE, artifact, version)
            assert refused.value.metadata["first_version"] == str(first)
        with pytest.raises(errors.ResourceNotFound, match="has no version 4"):
            await store.at_version(tx, ONE, "artf-split", 4)
        split = await store.verify(tx, ONE, "artf-split")
        whole = await store.verify(tx, ONE, "artf-old")
    assert (split.versions, split.first_version, split.problem) == (1, 3, "")
    assert (whole.versions, whole.first_version, whole.problem) == (0, 3, "")
    assert await write(growth, store, "artf-old", "# Tres")
    blobs.path(ONE, old.ref).write_bytes(b"changed")
    async with growth.database.tenant_tx(ONE) as tx:
        assert (await store.verify(tx, ONE, "artf-old")).versions == 1


async def test_bytes_that_no_event_tells_of_any_more_are_still_checked(growth: Growth, tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "store")
    store = ArtifactStore(blobs, fleet_keys(tmp_path / "secrets"))
    record = await write(growth, store, "artf-old", "# Uno")
    await growth.next_range()
    await growth.append(ONE, ["plan/pl-1"])
    drop(growth)
    blobs.path(ONE, record.ref).write_bytes(b"changed")
    async with growth.database.tenant_tx(ONE) as tx:
        found = await store.verify(tx, ONE, "artf-old")
    assert (found.first_bad_version, found.problem) == (1, "its bytes were changed")


async def test_an_event_that_was_deleted_without_a_drop_is_no_dropped_version(growth: Growth, tmp_path: Path) -> None:
    store = ArtifactStore(BlobStore(tmp_path / "store"), fleet_keys(tmp_path / "secrets"))
    await growth.append(ONE, ["plan/pl-1"])
    for body in ("# Uno", "# Dos"):
        await write(growth, store, "artf-1", body)
    growth.plans.execute("DELETE FROM events WHERE stream = 'artifact/artf-1' AND version = 1")
    async with growth.database.tenant_tx(ONE) as tx:
        assert (await store.verify(tx, ONE, "artf-1")).problem != ""


# ── Garbage ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_garbage_is_what_neither_an_event_nor_a_read_model_names(database: TestDatabase, tmp_path: Path) -> None:
    async with old_history(database, tmp_path) as old:
        await _keep_newest_versions_and_the_genesis(old, tmp_path)


async def _keep_newest_versions_and_the_genesis(old: Old, tmp_path: Path) -> None:
    growth, store = old.growth, ArtifactStore(old.blobs, fleet_keys(tmp_path / "artifact-keys"))
    versions = [await write(growth, store, "artf-old", body) for body in ("# Uno", "# Dos")]
    await old.sign()
    await growth.next_range()
    old.read_by_relays()
    for name in ("c0_p0", "c0_p1"):
        await old.dropper.drop(old.partitions.range(name))
    genesis = [payload["genesis_ref"] for payload in old.dropped_events()]
    later = clock.utc_now() + datetime.timedelta(days=1)
    async with asyncio.timeout(30):
        for scope in (ONE, Scope(ONE.tenant_id, "*")):
            await Collector(growth.database, old.blobs).collect(scope, later, dry_run=False)
    assert {kept.ref for kept in old.blobs.listed(ONE)} == {versions[1].ref}
    assert {kept.ref for kept in old.blobs.listed(Scope(ONE.tenant_id, "*"))} == set(genesis)
    assert old.verified().findings.first == []
