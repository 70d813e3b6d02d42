"""A real history, exported and tampered with as a superuser in the database; and an export taken in elsewhere."""

import asyncio
import dataclasses
import hashlib
import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from haas_cli.errors import Refused
from haas_cli.fleet import importing
from haas_cli.fleet.home import Home
from haas_common.audit.export import Export, Writer
from haas_common.audit.findings import Report
from haas_common.audit.verify import Expected, verify
from haas_common.blobs import BlobStore
from haas_common.db import Database, Scope
from haas_common.eventstore import NewEvent, append
from haas_common.fleet_keys import FleetKeys
from haas_common.pki import write_fleet_secrets
from haas_common.sockets import short_url
from haas_orchestrator.audit import store
from haas_orchestrator.audit.signer import Signer
from tests.integration.conftest import TestDatabase, copied
from tests.support import embedded

TENANT = "t-one"
SERVICES = ("gateway", "orchestrator", "planner", "notifier", "mcp")
DOCUMENT = b"# Manual\n"
PROFILE = b"profile_id: own_v1\n"


@dataclasses.dataclass
class World:
    """A fleet's database, keys and blobs, without its services."""

    dsn: str
    doors: Database
    home: Home
    keys: FleetKeys
    signer: Signer

    @property
    def blobs(self) -> BlobStore:
        return BlobStore(self.home.store)

    async def sign(self) -> Expected:
        checkpoint, _ = await self.signer.sign(TENANT, await store.scopes_of(self.doors, TENANT))
        assert checkpoint is not None
        return Expected(checkpoint.number, checkpoint.digest())

    async def export(self, target: Path) -> Export:
        with Writer(target) as writer:
            for scope in await store.scopes_of(self.doors, TENANT):
                blocks = [piece async for piece in store.lines(self.doors, scope, 0, 2**40, 50, 10_000)]
                if not blocks:
                    continue
                for ref in writer.events(scope.project_id, blocks).refs:
                    writer.blob(ref, PROFILE if ref == ref_of(PROFILE) else self.blobs.read(scope, ref))
            writer.finish({"tenant_id": TENANT, "keys": []})
        return Export.of(target)

    def verified(self, export: Export, expected: Expected | None = None) -> Report:
        return verify(export, self.keys.public("checkpoint"), self.keys.public("artifact"), expected)

    def tamper(self, *statements: str) -> None:
        with psycopg.connect(short_url(self.dsn), autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement.encode())


def ref_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture
async def world(database: TestDatabase, tmp_path: Path) -> AsyncIterator[World]:
    home = Home(tmp_path / "home")
    home.make()
    write_fleet_secrets(home.secrets, SERVICES, [])
    keys = FleetKeys.open(home.secrets / "orchestrator")
    doors = await Database.open(short_url(database.app_dsn), database.context_key, "test")
    try:
        found = World(database.admin_dsn, doors, home, keys, Signer(doors, keys, BlobStore(home.store)))
        await _lived(found)
        yield found
    finally:
        await doors.close()


async def _lived(world: World) -> None:
    """Two projects, a document, a profile, plans; two checkpoints, and a tail after the second."""
    with psycopg.connect(short_url(world.dsn), autocommit=True) as admin:
        admin.execute("INSERT INTO haas.tenants (tenant_id) VALUES (%s)", (TENANT,))
        for project in ("p-one", "p-two"):
            admin.execute("INSERT INTO haas.projects (tenant_id, project_id) VALUES (%s, %s)", (TENANT, project))
    one, two = Scope(TENANT, "p-one"), Scope(TENANT, "p-two")
    world.blobs.put(one, DOCUMENT)
    published = [
        NewEvent(one, "project/p-one", "ProjectCreated", {"display_name": "Uno"}, "ana"),
        NewEvent(one, "document/manual.md", "DocumentPublished", {"version": 1, "hash": ref_of(DOCUMENT)}, "ana"),
        NewEvent(one, "profile/own_v1", "ProfilePublished", {"version": 1, "hash": ref_of(PROFILE)}, "ana"),
    ]
    async with world.doors.tenant_tx(one) as tx:
        await append(tx, published)
    for _ in range(2):
        for scope in (one, two):
            async with world.doors.tenant_tx(scope) as tx:
                await append(tx, [NewEvent(scope, f"plan/{n % 3}", "TaskReady", {}, "ana") for n in range(9)])
        await world.sign()
    async with world.doors.tenant_tx(one) as tx:
        await append(tx, [NewEvent(one, "plan/1", "TaskReady", {}, "ana")])


# ── Somebody with all rights on the database ────────────────────────────────────────────────────────────────────────

ROW = "WHERE tenant_id = 't-one' AND project_id = 'p-one' AND seq = 8"
EDITS = [
    f"UPDATE haas.events SET payload = '{{ }}' {ROW}",
    f"UPDATE haas.events SET actor = 'eva' {ROW}",
    f"UPDATE haas.events SET recorded_at = recorded_at + interval '1 us' {ROW}",
    f"UPDATE haas.events SET event_type = 'TaskFailed' {ROW}",
    f"UPDATE haas.events SET stream = 'plan/9' {ROW}",
    f"UPDATE haas.events SET hash = sha256('x') {ROW}",
    f"DELETE FROM haas.events {ROW}",
    "DELETE FROM haas.events WHERE tenant_id = 't-one' AND project_id = 'p-one' AND seq >= 8",
    "UPDATE haas.events SET project_id = 'p-one', seq = 23, stream = 'moved' WHERE project_id = 'p-two' AND seq = 18",
]


@pytest.mark.parametrize("statement", EDITS)
async def test_what_a_superuser_does_behind_a_checkpoint_is_found(world: World, statement: str, tmp_path: Path) -> None:
    untouched = world.verified(await world.export(tmp_path / "before"))
    assert untouched.findings.first == []
    assert (untouched.newest, untouched.counts.projects, untouched.counts.not_covered) == (2, 3, 2)
    world.tamper(statement)
    report = world.verified(await world.export(tmp_path / "after"))
    first = report.findings.first[0]
    assert first.project_id in ("p-one", "p-two")
    assert first.seq in ((18, 23) if "'p-two'" in statement else (8, 9, 11))
    # What is signed from now on does not heal it.
    async with world.doors.tenant_tx(Scope(TENANT, "p-two")) as tx:
        await append(tx, [NewEvent(Scope(TENANT, "p-two"), "plan/x", "TaskReady", {}, "ana")])
    await world.sign()
    assert not world.verified(await world.export(tmp_path / "later")).valid


COLUMNS = {
    "seq": "seq + 100", "stream": "stream || 'x'", "version": "version + 100", "event_type": "event_type || 'x'",
    "schema_version": "schema_version + 1", "plan_id": "plan_id || 'x'", "task_id": "task_id || 'x'",
    "actor": "reverse(actor) || 'x'", "causation_id": "causation_id || 'x'", "trace_id": "trace_id || 'x'",
    "correlation_id": "correlation_id || 'x'", "payload": "(' ' || payload::text)::json",
    "recorded_at": "recorded_at - interval '1 us'", "hash": "set_byte(hash, 7, get_byte(hash, 7) # 1)",
    "project_id": "'p-three'", "tenant_id": "'t-two'",
}  # fmt: skip
COVERED = {"p-one": 21, "p-two": 18, "*": 1}


async def test_any_column_of_any_row_behind_a_checkpoint(world: World, tmp_path: Path) -> None:
    """Twenty random rows and columns, each changed and put back."""
    chance = random.Random(20261122)
    saved = rows(world.dsn, "SELECT id, project_id::text, seq, stream FROM haas.events WHERE tenant_id = 't-one'")
    saved = [row for row in saved if row[2] <= COVERED[row[1]]]
    for turn in range(20):
        number, project, seq, stream = chance.choice(saved)
        column = sorted(COLUMNS)[turn % len(COLUMNS)]
        kept = f"CREATE TABLE haas.kept_{turn} AS SELECT * FROM haas.events WHERE id = {number}"
        world.tamper(kept, f"UPDATE haas.events SET {column} = {COLUMNS[column]} WHERE id = {number}")
        report = world.verified(await world.export(tmp_path / str(turn)))
        first = report.findings.first[0]
        assert (first.project_id, column) == (project, column)
        assert first.seq in (seq, seq + 1) or first.stream == stream, (column, seq, str(first))
        back = f"UPDATE haas.events AS e SET {column} = k.{column} FROM haas.kept_{turn} AS k WHERE e.id = k.id"
        world.tamper(back, f"DROP TABLE haas.kept_{turn}")
    assert world.verified(await world.export(tmp_path / "back")).valid


FORGE = """
    DO $$
    DECLARE e record; before bytea;
    BEGIN
      FOR e IN SELECT * FROM haas.events WHERE tenant_id = 't-one' AND project_id = 'p-one' ORDER BY seq LOOP
        SELECT hash INTO before FROM haas.events
         WHERE tenant_id = e.tenant_id AND project_id = e.project_id AND stream = e.stream AND version = e.version - 1;
        UPDATE haas.events SET hash = haas.chain_link(NULL, coalesce(before, decode(repeat('00', 32), 'hex')),
                 haas.event_body(e.tenant_id, e.project_id, e.seq, e.stream, e.version, e.event_type, e.schema_version,
                                 e.plan_id, e.task_id, e.actor, e.causation_id, e.correlation_id, e.trace_id,
                                 (extract(epoch FROM e.recorded_at) * 1000000)::bigint, e.payload::text))
         WHERE tenant_id = e.tenant_id AND project_id = e.project_id AND seq = e.seq;
      END LOOP;
      UPDATE haas.stream_heads AS h SET hash = n.hash FROM haas.events AS n
       WHERE (n.tenant_id, n.project_id, n.stream, n.version) = (h.tenant_id, h.project_id, h.stream, h.version);
    END $$"""


async def test_a_forger_who_makes_the_chain_and_the_heads_anew_is_found_by_the_root(
    world: World, tmp_path: Path
) -> None:
    world.tamper(f"UPDATE haas.events SET actor = 'eva' {ROW}", FORGE)
    first = world.verified(await world.export(tmp_path / "forged")).findings.first[0]
    assert (first.project_id, first.seq) == ("p-one", 1)
    assert "checkpoint 1 vouches for another history" in first.what


async def test_checkpoints_that_were_taken_away_are_missed_by_who_kept_one(world: World, tmp_path: Path) -> None:
    kept = await world.sign()
    assert world.verified(await world.export(tmp_path / "whole"), kept).valid
    world.tamper(
        "DELETE FROM haas.events WHERE tenant_id = 't-one' AND project_id = '*' AND version > 2",
        "DELETE FROM haas.events WHERE tenant_id = 't-one' AND project_id = 'p-one' AND seq > 21",
    )
    cut = await world.export(tmp_path / "cut")
    assert world.verified(cut).valid
    assert not world.verified(cut, kept).valid


async def test_a_document_that_was_changed_on_disk_is_found(world: World, tmp_path: Path) -> None:
    export = await world.export(tmp_path / "export")
    path = export.folder / "artifacts" / ref_of(DOCUMENT).removeprefix("sha256:")
    path.write_bytes(DOCUMENT + b"!")
    first = world.verified(export).findings.first[0]
    assert (first.project_id, first.seq, first.stream) == ("p-one", 2, "document/manual.md")


# ── Import ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def elsewhere(servers: embedded.Servers, template: str, tmp_path: Path) -> Iterator[tuple[TestDatabase, Home]]:
    with copied(servers, template) as database:
        home = Home(tmp_path / "elsewhere")
        home.make()
        yield database, home


@pytest.fixture
def into(elsewhere: tuple[TestDatabase, Home], monkeypatch: pytest.MonkeyPatch) -> Callable[[Export], importing.Loaded]:
    database, home = elsewhere
    monkeypatch.setenv("HAAS_DATABASE_URL", database.admin_dsn)
    return lambda export: importing.load(home, export)


def rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(short_url(dsn)) as admin:
        return admin.execute(statement.encode()).fetchall()


async def test_an_import_has_the_same_history_and_its_chain_goes_on(
    world: World, elsewhere: tuple[TestDatabase, Home], into: Callable[[Export], importing.Loaded], tmp_path: Path
) -> None:
    database, home = elsewhere
    loaded = into(await world.export(tmp_path / "export"))
    assert loaded.events == 42
    stored = (
        "SELECT tenant_id::text, project_id::text, seq, stream, version, event_type, payload::text, recorded_at, hash"
        " FROM haas.events ORDER BY 1, 2, 3"
    )
    heads = "SELECT project_id::text, stream, version, hash, last_seq, ordinal FROM haas.stream_heads ORDER BY 1, 2"
    projects = "SELECT project_id::text, last_seq, streams FROM haas.project_heads ORDER BY 1"
    for statement in (stored, heads, projects):
        assert rows(database.admin_dsn, statement) == rows(world.dsn, statement)
    assert rows(database.admin_dsn, "SELECT yaml FROM haas.profiles") == [(PROFILE.decode(),)]
    assert rows(database.admin_dsn, "SELECT name, version, ref FROM haas.documents") == [
        ("manual.md", 1, ref_of(DOCUMENT))
    ]
    assert BlobStore(home.store).read(Scope(TENANT, "p-one"), ref_of(DOCUMENT)) == DOCUMENT
    doors = await Database.open(short_url(database.app_dsn), database.context_key, "test")
    try:
        there = dataclasses.replace(world, dsn=database.admin_dsn, doors=doors, home=home)
        there.signer = Signer(doors, world.keys, BlobStore(home.store))
        one = Scope(TENANT, "p-one")
        async with doors.tenant_tx(one) as tx:
            await append(tx, [NewEvent(one, "plan/1", "TaskReady", {}, "ana")])
        assert (await there.sign()).number == 3
        report = there.verified(await there.export(tmp_path / "again"))
        assert (report.findings.first, report.counts.events) == ([], 44)
    finally:
        await doors.close()


async def test_no_relay_reads_again_what_was_taken_in(
    world: World, elsewhere: tuple[TestDatabase, Home], into: Callable[[Export], importing.Loaded], tmp_path: Path
) -> None:
    into(await world.export(tmp_path / "export"))
    seen = rows(
        elsewhere[0].admin_dsn,
        "SELECT count(*) FROM haas.events AS e, haas.relay_cursors AS c WHERE c.name = 'notifier'"
        " AND (e.xid, e.id) > (c.xid, c.id)",
    )
    assert seen == [(0,)]
    assert rows(elsewhere[0].admin_dsn, "SELECT 1 FROM haas.relay_cursors WHERE name = 'notifier'") == [(1,)]


async def test_a_tenant_with_a_history_is_left_alone(
    world: World, into: Callable[[Export], importing.Loaded], tmp_path: Path
) -> None:
    export = await world.export(tmp_path / "export")
    into(export)
    with pytest.raises(Refused, match="has a history here"):
        into(export)


async def test_an_import_that_is_killed_leaves_no_row(
    world: World, elsewhere: tuple[TestDatabase, Home], tmp_path: Path
) -> None:
    """The process dies while the second project is copied."""
    export = await world.export(tmp_path / "export")
    database, home = elsewhere
    code = (
        "import os, sys; from pathlib import Path; from haas_cli.fleet import importing; "
        "from haas_cli.fleet.home import Home; from haas_common.audit.export import Export\n"
        "real = importing._learn\n"
        "def dying(project, row, at):\n"
        "    if project.scope.project_id == 'p-two' and row['seq'] == 5: os.kill(os.getpid(), 9)\n"
        "    real(project, row, at)\n"
        "importing._learn = dying\n"
        "importing.load(Home(Path(sys.argv[1])), Export.of(Path(sys.argv[2])))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(home.root), str(export.folder),
        env={**os.environ, "HAAS_DATABASE_URL": database.admin_dsn},
    )  # fmt: skip
    assert await process.wait() == -9
    counted = " + ".join(
        f"(SELECT count(*) FROM haas.{table} WHERE tenant_id = 't-one')"
        for table in ("events", "tenants", "projects", "project_heads", "stream_heads", "documents", "profiles")
    )
    assert rows(database.admin_dsn, f"SELECT {counted}") == [(0,)]
