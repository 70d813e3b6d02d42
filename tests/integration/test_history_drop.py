"""An old range is dropped without a long lock, and what is left proves itself from what the fleet signed."""

import asyncio
import csv
import dataclasses
import gzip
import hashlib
import io
import json
import pkgutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from haas_common.audit.checkpoints import TENANT_PROJECT
from haas_common.db import load_queries
from haas_common.history import files, refusals
from haas_common.history.partitions import Partitions
from haas_common.history.refusals import Refusal
from haas_common.sockets import short_url
from tests.integration.conftest import TestDatabase
from tests.support.droppable import ONE, TENANTS, Old, old_history


@pytest.fixture
async def old(database: TestDatabase, tmp_path: Path) -> AsyncIterator[Old]:
    async with old_history(database, tmp_path) as found:
        yield found


async def drop(old: Old, name: str = "c0_p0", into: Path | None = None) -> int:
    return await old.dropper.drop(old.partitions.range(name), into)


async def test_what_is_left_verifies_and_tells_what_went(old: Old) -> None:
    before = {tenant: old.verified(tenant) for tenant in TENANTS}
    assert all(report.valid and not report.dropped for report in before.values())
    held = old.growth.counts()
    assert await drop(old) == held["events_c0_p0"]
    assert old.growth.counts().keys() == {"events_c0_p1"}
    for tenant in TENANTS:
        report = old.verified(tenant)
        assert report.findings.first == []
        assert report.dropped == {
            p["project_id"]: p["first_seq"] - 1 for p in old.dropped_events(tenant)[0]["projects"]
        }
        assert report.newest == before[tenant].newest
    assert set(old.verified().dropped) == {"p-one", "p-two", TENANT_PROJECT}


async def test_the_history_goes_on_and_the_next_range_is_dropped_too(old: Old) -> None:
    await drop(old)
    await old.write()
    await old.sign()
    await old.growth.next_range()
    await old.write()
    await old.sign()
    old.read_by_relays()
    await drop(old, "c0_p1")
    await old.write()
    await old.sign()
    for tenant in TENANTS:
        report = old.verified(tenant)
        assert (report.findings.first, len(old.dropped_events(tenant))) == ([], 1)
    assert set(old.growth.counts()) == {"events_c0_p2"}


REFUSED = {
    "a plan that is not over": ("UPDATE plans SET state = 'running'", refusals.PlanNotOver),
    "a relay that has not read it": ("UPDATE relay_cursors SET xid = '3'", refusals.CursorBehind),
    "a relay that never read": ("DELETE FROM relay_cursors", refusals.CursorBehind),
    "an event that was changed": ("UPDATE events_c0_p0 SET actor = 'eva' WHERE seq = 3", refusals.Tampered),
    "an event that is gone": ("DELETE FROM events_c0_p0 WHERE seq = 3", refusals.Tampered),
    "a checkpoint that was changed": (
        "UPDATE events_c0_p0 SET payload = replace(payload::text, '2026', '2027')::json WHERE project_id = '*'",
        refusals.Tampered,
    ),
}


@pytest.mark.parametrize("why", sorted(REFUSED))
async def test_a_range_is_kept_for(old: Old, why: str) -> None:
    old.growth.plans.plan(ONE, "pl-1", {})
    old.growth.plans.state(ONE, "pl-1", "completed")
    old.growth.plans.execute("UPDATE events_c0_p0 SET plan_id = 'pl-1' WHERE stream = 'plan/pl-1'")
    statement, refusal = REFUSED[why]
    old.growth.plans.execute(statement)
    with pytest.raises(refusal):
        await drop(old)
    assert old.growth.ranges()[0] == "events_c0_p0"
    assert old.dropped_events() == []


async def test_a_range_is_kept_while_no_checkpoint_vouches_for_all_of_it(old: Old) -> None:
    await old.write(1)
    await old.growth.next_range()
    old.read_by_relays()
    await drop(old)
    with pytest.raises(refusals.NotCovered, match=r"t-one/p-one has events up to \d+ in the range"):
        await drop(old, "c0_p1")
    await old.sign()
    old.read_by_relays()
    await drop(old, "c0_p1")
    assert old.verified().valid


async def test_a_range_that_is_written_or_has_an_older_one_is_kept(old: Old) -> None:
    with pytest.raises(refusals.RangeInUse, match="not full"):
        await drop(old, "c0_p1")
    await old.growth.next_range()
    with pytest.raises(refusals.RangeInUse, match="older events"):
        await drop(old, "c0_p1")
    with pytest.raises(refusals.RangeUnknown):
        await drop(old, "c7_p0")
    with pytest.raises(Refusal):
        old.dropper.older(old.partitions, "c7_p0")


async def test_an_empty_range_goes_without_a_word(old: Old) -> None:
    for _ in range(3):
        await old.growth.next_range()
    empty = [found for found in old.partitions.ranges() if found.name == "c0_p2"]
    assert await old.dropper.drop(empty[0]) == 0
    assert "events_c0_p2" not in old.growth.ranges()
    assert old.dropped_events() == []


# ── Crashes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Killed(BaseException):
    """The process ended here."""


#: Where a run ends, and whether what it was about to do was done.
STEPS = [
    ("haas_common.blobs.BlobStore.put", True), ("haas_common.history.drop.append", False),
    ("haas_common.history.drop.append", True), ("haas_common.history.drop.Dropper._make_sure", True),
    ("haas_common.history.partitions.Partitions.detach", True),
    ("haas_common.history.partitions.Partitions.drop", False), ("haas_common.history.files.write_out", True),
    ("haas_common.history.files._write_durably", False), ("haas_common.history.files._write_durably", True),
]  # fmt: skip


@pytest.mark.parametrize(("step", "done"), STEPS)
async def test_a_run_that_ends_anywhere_loses_nothing_and_is_gone_on_with(
    old: Old, step: str, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = old.folder / "c0_p0.csv.gz"
    events = old.growth.counts()["events_c0_p0"]
    with monkeypatch.context() as dying:
        owner, _, name = step.rpartition(".")
        original = pkgutil.resolve_name(step)

        def ending(*args: object, **kwargs: object) -> object:
            if done:
                found = original(*args, **kwargs)
                if asyncio.iscoroutine(found):
                    return _then_end(found)
            raise Killed

        dying.setattr(f"{owner}.{name}", ending)
        with pytest.raises(Killed):
            await drop(old, into=target)
    for tenant in TENANTS:
        assert old.verified(tenant).findings.first == []
    assert await drop(old, into=target) == events
    for tenant in TENANTS:
        assert old.verified(tenant).findings.first == []
        assert len(old.dropped_events(tenant)) == 1
    assert old.partitions.ranges()[0].name == "c0_p1"
    assert len(rows_in(target)) == events


async def _then_end(found: object) -> None:
    await found  # type: ignore[misc]
    raise Killed


@contextmanager
def hasty(database: TestDatabase) -> Iterator[Partitions]:
    """A superuser's connection that waits for nobody."""
    with psycopg.connect(
        short_url(database.admin_dsn), autocommit=True, row_factory=dict_row,
        options="-c search_path=haas,public -c lock_timeout=100",
    ) as connection:  # fmt: skip
        yield Partitions(connection)


async def test_a_detachment_that_was_cut_short_is_finished(old: Old, database: TestDatabase) -> None:
    with psycopg.connect(short_url(database.admin_dsn)) as reader, hasty(database) as partitions:
        reader.execute("SELECT count(*) FROM haas.events")
        with pytest.raises(refusals.RangeInUse, match="reads the history"):
            await dataclasses.replace(old, partitions=partitions).dropper.drop(partitions.range("c0_p0"))
    assert old.partitions.range("c0_p0").state == "detaching"
    assert old.verified().findings.first == []
    await drop(old)
    assert old.verified().findings.first == []
    assert old.partitions.ranges()[0].name == "c0_p1"


async def test_a_range_that_somebody_detached_by_hand_is_not_dropped(old: Old) -> None:
    old.growth.plans.execute("ALTER TABLE events_c0 DETACH PARTITION events_c0_p0")
    with pytest.raises(refusals.RangeInUse, match="nothing was signed"):
        await drop(old)
    assert old.partitions.range("c0_p0").state == "detached"


async def test_a_reader_that_does_not_end_delays_the_drop_and_nobody_else(old: Old, database: TestDatabase) -> None:
    found = old.partitions.range("c0_p0")
    with psycopg.connect(short_url(database.admin_dsn)) as reader:
        reader.execute("SELECT count(*) FROM haas.events")
        detaching = asyncio.create_task(asyncio.to_thread(old.partitions.detach, found))
        async with asyncio.timeout(20):
            while not old.growth.plans.execute("SELECT 1 FROM pg_inherits WHERE inhdetachpending"):
                await asyncio.wait({detaching}, timeout=0.01)
            before = len(await page(old, after=0))
            for _ in range(5):
                await old.write(1)
            assert len(await page(old, after=0)) == before + 10
        assert not detaching.done()
    await detaching
    assert "events_c0_p0" not in old.growth.ranges()


async def page(old: Old, after: int) -> list[dict]:
    """A page of p-one's history."""
    async with old.growth.database.tenant_tx(ONE) as tx:
        return await tx.all(
            load_queries("haas_notifier").events_page, tenant_id=ONE.tenant_id, project_id=ONE.project_id, after=after,
            limit=500, bytes_max=1 << 20,
        )  # fmt: skip


# ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def rows_in(target: Path) -> list[dict[str, str]]:
    """The rows of a file."""
    return list(csv.DictReader(io.TextIOWrapper(gzip.open(target), newline="")))


async def test_a_range_is_written_out_whole_before_it_goes(old: Old) -> None:
    target = old.folder / "old.csv.gz"
    kept = old.growth.plans.execute("SELECT id, encode(hash, 'hex'), payload::text FROM events_c0_p0 ORDER BY id")
    await drop(old, into=target)
    rows = sorted(rows_in(target), key=lambda row: int(row["id"]))
    assert [(int(r["id"]), r["hash"].removeprefix("\\x"), r["payload"]) for r in rows] == kept
    manifest = json.loads(files.manifest_of(target).read_text())
    assert manifest["file_sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert manifest["rows_sha256"] == hashlib.sha256(gzip.decompress(target.read_bytes())).hexdigest()
    assert (manifest["range"], sum(p["events"] for p in manifest["projects"])) == ("c0_p0", len(kept))


async def test_a_file_that_is_something_else_keeps_the_range(old: Old) -> None:
    target = old.folder / "old.csv.gz"
    target.write_bytes(b"mine")
    with pytest.raises(refusals.FileInTheWay, match="something else"):
        await drop(old, into=target)
    files.manifest_of(target).write_text("[]")
    with pytest.raises(refusals.FileInTheWay, match="something else"):
        await drop(old, into=target)
    assert target.read_bytes() == b"mine"
    target.unlink()
    with pytest.raises(refusals.FileInTheWay, match="not that of c0_p0"):
        await drop(old, into=target)
    assert old.growth.ranges()[0] == "events_c0_p0"


async def test_ranges_are_named_by_age_or_date(old: Old) -> None:
    assert [found.name for found in old.dropper.older(old.partitions, "c0_p1")] == ["c0_p0"]
    assert [found.name for found in old.dropper.older(old.partitions, "2999-01-01")] == ["c0_p0"]
    assert old.dropper.older(old.partitions, "2001-01-01") == []
