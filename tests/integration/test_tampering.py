"""Artifacts whose bytes change behind our back: found, told once, refused as input; and what else is done to them."""

import asyncio
import dataclasses
import datetime
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from haas_common import errors
from haas_common.artifacts import chunks as artifact_chunks
from haas_common.artifacts.faults import PER_VERSION_MAX, FaultLog
from haas_common.artifacts.file import Draft
from haas_common.artifacts.records import ArtifactRecord, Placing
from haas_common.artifacts.store import ArtifactStore, artifact_id_of
from haas_common.auth import Claims
from haas_common.blobs import BlobStore
from haas_common.calls import Call
from haas_common.db import Database, Scope
from haas_common.db.queries import Query
from haas_common.doorbell import Doorbell
from haas_orchestrator.artifacts.operations import Artifacts
from haas_planner.attempts import Assignment
from tests.integration.conftest import TestDatabase
from tests.integration.test_planner_shard import done, fleet_of, task
from tests.support.keys import fleet_keys

ONE = Scope("t-one", "p-main")
NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
PLACING = Placing("artf-1-t-1-report", "specialist.report", plan_id="pl-00000001", task_id="T-1")
FAULTS = Query(
    "faults", "", "SELECT payload, plan_id, task_id, actor FROM events WHERE event_type = 'AuditFailed' ORDER BY seq"
)
BODY = "\n".join(f"line {number}" for number in range(2000))


@dataclasses.dataclass
class World:
    """A store over a real database and a real folder."""

    database: Database
    blobs: BlobStore
    store: ArtifactStore
    use: Artifacts

    async def write(self, body: str = BODY) -> ArtifactRecord:
        draft = Draft("report.md", "doc.report", "report", "Informe", body)
        async with self.database.tenant_tx(ONE) as tx:
            return await self.store.write(tx, ONE, draft, PLACING, NOW)

    def change(self, record: ArtifactRecord, at: int) -> int:
        path = self.blobs.path(ONE, record.ref)
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)
        return len(data)

    async def faults(self) -> list[dict[str, object]]:
        async with self.database.tenant_tx(ONE) as tx:
            return await tx.all(FAULTS)


@pytest.fixture
async def world(database: TestDatabase, tmp_path: Path) -> AsyncIterator[World]:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO haas.tenants VALUES ('t-one')")
        connection.execute("INSERT INTO haas.projects VALUES ('t-one', 'p-main')")
    opened = await Database.open(database.app_dsn, database.context_key, "test")
    doorbell = Doorbell(opened)
    await doorbell.start()
    blobs = BlobStore(tmp_path / "store")
    store = ArtifactStore(blobs, fleet_keys(tmp_path / "secrets"), FaultLog(opened, doorbell, "test"))
    yield World(opened, blobs, store, Artifacts(opened, doorbell, store))
    await doorbell.stop()
    await opened.close()


def call(request_id: str = "rq") -> Call:
    claims = Claims(
        "ana", "t-one", ("p-main",), (), ("artifacts.write",), (), "haas-api", "", "", "", 2**40, 0, "token"
    )  # fmt: skip
    return Call(claims, ONE, "edge", 1e12, request_id, "")


@pytest.mark.parametrize("at", [0, 5000, -1], ids=["first byte", "middle", "last byte"])
async def test_a_changed_byte_is_found_by_a_read_and_its_range_named(
    world: World, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    record = await world.write()
    size = world.change(record, at)
    place, chunk = at % size, artifact_chunks.chunk_size(size)
    with caplog.at_level(logging.ERROR), pytest.raises(errors.HashMismatch) as failed:
        await world.use.get(ONE, record.artifact_id, 0)
    first, last = (int(failed.value.metadata[name]) for name in ("first_bad_byte", "last_bad_byte"))
    assert first <= place <= last < first + chunk
    assert [r.levelname for r in caplog.records if record.artifact_id in r.getMessage()] == ["ERROR"]
    [fault] = await world.faults()
    told = fault["payload"]
    assert (told["artifact_id"], told["version"]) == (record.artifact_id, 1)  # type: ignore[index]
    assert (told["first_bad_byte"], told["last_bad_byte"]) == (first, last)  # type: ignore[index]
    assert (fault["plan_id"], fault["task_id"]) == (PLACING.plan_id, PLACING.task_id)
    found = await world.use.verify(ONE, record.artifact_id)
    assert found.fault is not None
    assert (found.first_bad_version, found.fault.first_bad_byte, found.fault.last_bad_byte) == (1, first, last)


async def test_a_fault_is_told_once_however_often_and_by_how_many_it_is_read(world: World) -> None:
    record = await world.write()
    world.change(record, 300)
    reads = [world.use.get(ONE, record.artifact_id, 1) for _ in range(5)]
    found = await asyncio.gather(*reads, world.use.verify(ONE, record.artifact_id), return_exceptions=True)
    assert [type(f) for f in found[:5]] == [errors.HashMismatch] * 5
    assert len(await world.faults()) == 1
    world.change(record, 900)
    await world.use.verify(ONE, record.artifact_id)
    assert len(await world.faults()) == 2


async def test_whoever_changes_the_bytes_for_ever_makes_no_endless_history(world: World) -> None:
    record = await world.write("# Uno")
    for at in range(PER_VERSION_MAX + 4):
        world.change(record, at)
        with pytest.raises(errors.HashMismatch):
            await world.use.get(ONE, record.artifact_id, 0)
    assert len(await world.faults()) == PER_VERSION_MAX


@pytest.mark.parametrize("change", ["delete", "truncate", "swap"])
async def test_any_other_change_is_found_too(world: World, change: str) -> None:
    first, second = await world.write("# Uno"), await world.write("# Dos")
    path = world.blobs.path(ONE, first.ref)
    if change == "delete":
        path.unlink()
    elif change == "truncate":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.write_bytes(world.blobs.read(ONE, second.ref))
    with pytest.raises(errors.HashMismatch):
        await world.use.get(ONE, first.artifact_id, 1)
    found = await world.use.verify(ONE, first.artifact_id)
    assert (found.first_bad_version, bool(found.problem)) == (1, True)
    assert len(await world.faults()) == 1


async def test_a_changed_artifact_is_mended_by_its_own_bytes_and_written_on(world: World) -> None:
    record = await world.write()
    world.change(record, 10)
    with pytest.raises(errors.HashMismatch):
        await world.use.get(ONE, record.artifact_id, 0)
    world.change(record, 10)
    assert (await world.use.verify(ONE, record.artifact_id)).problem == ""
    assert (await world.write("# Dos")).version == 2


async def test_a_task_that_reads_a_changed_artifact_fails_at_once_and_is_not_tried_again(
    world: World, database: TestDatabase
) -> None:
    """The planner's own shard, attempts and store; the second task reads what the first one wrote."""
    attempts: list[int] = []

    async def work(assignment: Assignment) -> dict[str, str]:
        scope, number = assignment.scope, assignment.task.task_id
        if number == "T-1":
            placing = Placing(artifact_id_of(assignment.plan_id, number, "v1"), "agent-1", assignment.plan_id, number)
            async with world.database.tenant_tx(scope) as tx:
                draft = Draft("v1.md", "value.x", "v1", "V1", BODY)
                record = await world.store.write(tx, scope, draft, placing, NOW, once=True)
            world.change(record, 4000)
            return {"v1": record.artifact_id}
        attempts.append(assignment.attempt)
        async with world.database.tenant_tx(scope) as tx:
            head = await world.store.head(tx, scope, assignment.readable["v1"])
        await world.store.read(scope, head)
        return await done(assignment)

    async with fleet_of(database, work) as fleet:
        await fleet.create("pl-00000001", [task(1), task(2, 1)])
        await fleet.command("pl-00000001", "run", "r-run")
        over = await fleet.over("pl-00000001")
    assert over["state"] == "failed"
    assert attempts == [1]
    assert "no longer match their hash" in str(over["failure"])
    assert len(await world.faults()) == 1


# ── Worklog, difference, status ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_line_of_the_worklog_is_a_version_signed_by_who_wrote_it(world: World) -> None:
    await world.write("# Uno")
    record = await world.use.append_worklog(call(), PLACING.artifact_id, "added a check", "rq-1")
    again = await world.use.append_worklog(call(), PLACING.artifact_id, "added a check", "rq-1")
    assert (record.version, record.signer, record.status, record.plan_id) == (2, "ana", "final", PLACING.plan_id)
    assert again == record
    with pytest.raises(errors.RequestIdReused):
        await world.use.append_worklog(call(), PLACING.artifact_id, "another", "rq-1")
    _, file = await world.use.get(ONE, PLACING.artifact_id, 0)
    assert b"## Worklog\n\n- " in file
    assert file.endswith(b" ana: added a check\n")
    assert (await world.use.verify(ONE, PLACING.artifact_id)).problem == ""


async def test_lines_appended_at_once_are_all_kept(world: World) -> None:
    await world.write("# Uno")
    lines = [f"line-{number}" for number in range(3)]
    await asyncio.gather(*(world.use.append_worklog(call(), PLACING.artifact_id, line, line) for line in lines))
    record, file = await world.use.get(ONE, PLACING.artifact_id, 0)
    assert record.version == 4
    assert all(f"ana: {line}\n".encode() in file for line in lines)


async def test_two_versions_are_compared_by_text_and_front_matter(world: World) -> None:
    await world.write("# Uno\n\nsame")
    await world.use.append_worklog(call(), PLACING.artifact_id, "added", "rq-1")
    found = await world.use.diff(ONE, PLACING.artifact_id, 0, 0)
    assert (found.version_from, found.version_to) == (1, 2)
    assert [line for line in found.body.split("\n")[2:] if line.startswith("-")] == []
    assert {change.key for change in found.front} == {"signer", "signer_key"}
    same = await world.use.diff(ONE, PLACING.artifact_id, 1, 1)
    assert (same.body, same.front) == ("", [])


async def test_a_status_is_moved_once_per_request(world: World) -> None:
    await world.write("# Uno")
    record = await world.use.set_status(call(), PLACING.artifact_id, "superseded", "a better one", "rq-1")
    again = await world.use.set_status(call(), PLACING.artifact_id, "superseded", "a better one", "rq-1")
    assert (record.status, again) == ("superseded", record)
    with pytest.raises(errors.ArtifactStatusConflict):
        await world.use.append_worklog(call(), PLACING.artifact_id, "late", "rq-2")
