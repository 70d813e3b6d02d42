"""The garbage collection: what nothing refers to goes, what something refers to stays, whoever writes meanwhile."""

import asyncio
import datetime
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psycopg
import pytest

from haas_common import errors
from haas_common.artifacts.file import Draft
from haas_common.artifacts.records import Placing
from haas_common.artifacts.store import ArtifactStore
from haas_common.blobs import Blobs, BlobStore, Kept, open_blobs, ref_of
from haas_common.config import Config
from haas_common.db import Database, Scope
from haas_orchestrator import store
from haas_orchestrator.artifacts.garbage import Collected, Collector
from tests.integration.conftest import TestDatabase
from tests.support import s3_server
from tests.support.keys import fleet_keys

ONE, TWO = Scope("t-one", "p-main"), Scope("t-two", "p-main")
NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
SOON = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
DRAFT = Draft("report.md", "doc.report", "report", "Informe", "# Uno")


@pytest.fixture
async def doors(database: TestDatabase) -> AsyncIterator[Database]:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        for tenant in ("t-one", "t-two"):
            connection.execute("INSERT INTO haas.tenants VALUES (%s)", (tenant,))
            connection.execute("INSERT INTO haas.projects VALUES (%s, 'p-main')", (tenant,))
    found = await Database.open(database.app_dsn, database.context_key, "test")
    yield found
    await found.close()


class Watched(BlobStore):
    """A folder that calls a hook before or after each step of a collection, as a writer that comes in between."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.hooks: dict[str, Callable[[], None]] = {}

    def set_aside(self, scope: Scope, kept: Kept) -> bool:
        self.hooks.get("before set_aside", int)()
        done = super().set_aside(scope, kept)
        self.hooks.get("after set_aside", int)()
        return done

    def drop(self, scope: Scope, ref: str) -> None:
        self.hooks.get("before drop", int)()
        super().drop(scope, ref)
        self.hooks.get("after drop", int)()


@pytest.fixture
def blobs(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "store")


async def collect(doors: Database, blobs: Blobs, *, dry_run: bool = False) -> Collected:
    return await Collector(doors, blobs).run(SOON, dry_run=dry_run)


async def upload(doors: Database, data: bytes, ref: str) -> None:
    async with doors.tenant_tx(ONE) as tx:
        facts = {"row_count": 0, "columns": [], "broken_rows": 0, "lenient": False}
        await store.keep_input(tx, ONE, ref=ref, name="a.txt", size_bytes=len(data), **facts)


async def test_what_nothing_refers_to_is_removed_and_nothing_else(
    doors: Database, database: TestDatabase, blobs: Watched, tmp_path: Path
) -> None:
    """Referred to by an event, an older version, an input, a document, a kept request, another tenant's event."""
    artifacts = ArtifactStore(blobs, fleet_keys(tmp_path / "secrets"))
    placing, kept = Placing("artf-1", "agent"), []
    for scope in (ONE, ONE, TWO):
        async with doors.tenant_tx(scope) as tx:
            kept.append((scope, (await artifacts.write(tx, scope, DRAFT, placing, NOW)).ref))
    for data in (b"input", b"document", b"result"):
        kept.append((ONE, blobs.put(ONE, data)))
    await upload(doors, b"input", ref_of(b"input"))
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("INSERT INTO haas.documents VALUES ('t-one', 'p-main', 'b.md', 1, %s, 8)", (ref_of(b"document"),))
    async with doors.tenant_tx(ONE) as tx:
        await store.keep_request(tx, ONE, "m", "rq-1", "f", {"ref": ref_of(b"result"), "duration_ms": 1})
    garbage = [(ONE, blobs.put(ONE, b"nobody's")), (TWO, blobs.put(TWO, b"input"))]
    found = await collect(doors, blobs, dry_run=True)
    assert (found.blobs, found.unreferenced, found.removed) == (8, 2, 0)
    done = await collect(doors, blobs)
    assert (done.unreferenced, done.removed, done.removed_bytes) == (2, 2, len(b"nobody's") + len(b"input"))
    for scope, ref in kept:
        assert blobs.read(scope, ref)
    for scope, ref in garbage:
        with pytest.raises(errors.ResourceNotFound):
            blobs.read(scope, ref)
    assert await collect(doors, blobs) == Collected(6, 0, 0, 0)


async def test_what_was_put_lately_stays_whatever_refers_to_it(doors: Database, blobs: Watched) -> None:
    ref = blobs.put(ONE, b"a")
    hour = datetime.timedelta(hours=1)
    done = await Collector(doors, blobs).run(datetime.datetime.now(datetime.UTC) - hour, dry_run=False)
    assert done == Collected(1, 0, 0, 0)
    old = (datetime.datetime.now(datetime.UTC) - 2 * hour).timestamp()
    os.utime(blobs.path(ONE, ref), (old, old))
    done = await Collector(doors, blobs).run(datetime.datetime.now(datetime.UTC) - hour, dry_run=False)
    assert done.removed == 1


@pytest.mark.parametrize("step", ["before set_aside", "after set_aside", "before drop", "after drop"])
async def test_a_writer_between_any_two_steps_keeps_its_blob(doors: Database, blobs: Watched, step: str) -> None:
    """It puts the same bytes, and commits its reference only when the collection is over."""
    ref = blobs.put(ONE, b"a")
    blobs.hooks[step] = lambda: blobs.hooks.clear() or blobs.put(ONE, b"a")  # type: ignore[func-returns-value]
    await collect(doors, blobs)
    await upload(doors, b"a", ref)
    assert blobs.read(ONE, ref) == b"a"
    blobs.hooks.clear()
    assert (await collect(doors, blobs)).removed == 0
    assert blobs.read(ONE, ref) == b"a"
    assert list(blobs.aside(ONE)) == []


async def test_a_reference_committed_while_it_collects_is_seen(doors: Database, blobs: Watched) -> None:
    """The reference is made without a put: of a row that the collection has read past."""
    ref, loop = blobs.put(ONE, b"a"), asyncio.get_running_loop()

    def commit() -> None:
        asyncio.run_coroutine_threadsafe(upload(doors, b"a", ref), loop).result()

    blobs.hooks["after set_aside"] = commit
    done = await collect(doors, blobs)
    assert (done.unreferenced, done.removed) == (1, 0)
    assert blobs.read(ONE, ref) == b"a"


async def test_a_collection_that_was_killed_is_ended_by_the_next(doors: Database, blobs: Watched) -> None:
    wanted, garbage = blobs.put(ONE, b"wanted"), blobs.put(ONE, b"garbage")
    for kept in list(blobs.listed(ONE)):
        assert blobs.set_aside(ONE, kept)
    await upload(doors, b"wanted", wanted)
    assert (await collect(doors, blobs)).removed == 1
    assert [kept.ref for kept in blobs.listed(ONE)] == [wanted]
    assert list(blobs.aside(ONE)) == []
    with pytest.raises(errors.ResourceNotFound):
        blobs.read(ONE, garbage)


async def test_writers_and_collections_at_once_lose_nothing(doors: Database, blobs: Watched) -> None:
    """Real threads: four writers put blobs that are old garbage, and commit, while collections run without a pause."""
    writing, lost, start = True, [], datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1)
    for number in range(60):
        os.utime(blobs.path(ONE, blobs.put(ONE, f"{number}".encode())), (1e9, 1e9))

    async def writer(first: int) -> None:
        for number in range(first, 60, 4):
            data = f"{number}".encode()
            ref = await asyncio.to_thread(blobs.put, ONE, data)
            await upload(doors, data, ref)
            if await asyncio.to_thread(blobs.read, ONE, ref) != data:
                lost.append(ref)

    async def collector() -> int:
        rounds = 0
        while writing:
            await Collector(doors, blobs).run(start, dry_run=False)
            rounds += 1
        return rounds

    collecting = asyncio.create_task(collector())
    await asyncio.gather(*(writer(number) for number in range(4)))
    writing = False
    assert await collecting > 0
    assert lost == []
    assert {kept.ref for kept in blobs.listed(ONE)} == {ref_of(str(n).encode()) for n in range(60)}


async def test_a_bucket_drops_what_was_set_aside_in_a_later_run(doors: Database, tmp_path: Path) -> None:
    """Between a look and a copy somebody may put again: only a later run, after every transaction, can tell."""
    with s3_server.running() as account:
        config = Config(
            "orchestrator", "dev", tmp_path, "127.0.0.1:0", tmp_path, tmp_path, aws_access_key_id="key-of-tests",
            aws_secret_access_key="x", artifact_store_url=f"s3://{account.bucket}?endpoint={account.url}",
        )  # fmt: skip
        blobs = open_blobs(config)
        garbage, late = blobs.put(ONE, b"garbage"), blobs.put(ONE, b"late")
        assert (await collect(doors, blobs)).removed == 0
        assert blobs.read(ONE, late) == b"late"
        await upload(doors, b"late", late)
        assert (await collect(doors, blobs)).removed == 1
        assert [kept.ref for kept in blobs.listed(ONE)] == [late]
        with pytest.raises(errors.ResourceNotFound):
            blobs.read(ONE, garbage)
