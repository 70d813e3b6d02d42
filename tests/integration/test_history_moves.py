"""A tenant that moves to another fleet's database, with the keys of its personal data and without."""

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from haas_cli.errors import Refused, Unverified
from haas_cli.fleet import importing
from haas_cli.fleet.home import Home
from haas_common import errors
from haas_common.audit.data_keys import DataKey
from haas_common.audit.export import Export, ExportInvalid, Writer, opened
from haas_common.auth import Claims
from haas_common.calls import Call
from haas_common.db import Database, Scope
from haas_common.key_ring import KeyRing
from haas_common.projections.rebuild import Rebuild
from haas_common.sockets import short_url
from haas_orchestrator import inputs
from haas_orchestrator.audit import store
from haas_orchestrator.privacy import Order, Privacy
from haas_planner import domain
from haas_planner import store as planner
from haas_planner.domain import Plan
from haas_planner.store import Change
from tests.integration.conftest import TestDatabase, copied
from tests.integration.test_rebuild import KNOWN, LEASE, SCOPES, TABLES, World
from tests.integration.test_rebuild import world as world
from tests.support import embedded, histories

TENANT, MAIN = "t-one", SCOPES[0]
CSV = b"where,n\nMadrid,1\nLugo,2\n"
KEPT = "ref, name, size_bytes, row_count, columns, broken_rows, lenient, uploaded_at"


@dataclasses.dataclass
class There:
    """Another fleet: a database and a data.key of its own."""

    database: TestDatabase
    home: Home

    @property
    def ring(self) -> KeyRing:
        return KeyRing(self.home.secrets / "orchestrator" / "data.key")

    def take(self, export: Export) -> importing.Loaded:
        return importing.load(self.home, export)

    async def rebuild(self) -> None:
        for name, made in KNOWN.items():
            found = await Rebuild(made, self.database.admin_dsn, self.ring).run()
            assert (name, found.swapped) == (name, True)

    def rows(self, statement: str) -> list[Any]:
        return rows(self.database.admin_dsn, statement)


def rows(dsn: str, statement: str) -> list[Any]:
    with psycopg.connect(short_url(dsn), options="-c timezone=UTC -c search_path=haas,public") as admin:
        return admin.execute(statement.encode()).fetchall()


def read_models(dsn: str) -> dict[str, list[Any]]:
    """Every column of every row of the tenant's read models."""
    text = "SELECT to_jsonb(t)::text FROM haas.{} AS t WHERE t.tenant_id = 't-one' ORDER BY 1"
    return {table: rows(dsn, text.format(table)) for table in TABLES}


@pytest.fixture
def there(servers: embedded.Servers, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    with copied(servers, template) as database:
        home = Home(tmp_path / "there")
        home.make()
        (home.secrets / "orchestrator").mkdir()
        (home.secrets / "orchestrator" / "data.key").write_text(f"{bytes(range(64, 96)).hex()}\n")
        monkeypatch.setenv("HAAS_DATABASE_URL", database.admin_dsn)
        yield There(database, home)


@pytest.fixture
async def lived(world: World) -> World:
    """Plans that are over, artifacts, locks, envelopes, an upload, and somebody else's tenant."""
    chance = random.Random(20261122)
    for scope in SCOPES:
        for _ in range(3):
            await plan(world, scope, chance)
            await world.artifact(scope, chance)
            await world.lock(scope, chance)
        await world.agent(scope, chance)
    await upload(world, "ana", "clientes.csv", CSV)
    await upload(world, "luz", "luz.txt", b"Luz vive en Lugo")
    await world.tail()
    return world


async def plan(world: World, scope: Scope, chance: random.Random, *, ends: bool = True) -> None:
    world.plans += 1
    made = Plan(scope.tenant_id, scope.project_id, f"pl-{world.plans:08d}")
    graph = histories.graph(chance)
    decided = list(histories.steps(made, chance)) if ends else [domain.create(made, histories.FACTS, graph, "ana@x")]
    await save(world, scope, made, [event for events in decided for event in events])
    if ends and made.state not in ("completed", "failed", "cancelled"):
        await save(world, scope, made, domain.cancel(made, "ana@x", "Basta", 0))


async def save(world: World, scope: Scope, made: Plan, events: list[Any]) -> None:
    if events:
        async with world.database.batch_tx(LEASE, [scope]) as tx:
            await planner.save(tx, LEASE, [Change(made, made.version - len(events), events)])


async def upload(world: World, whose: str, name: str, data: bytes) -> None:
    await inputs.keep(world.database, world.doorbell, world.artifacts.blobs, MAIN, whose, name, data, lenient=False)


def privacy(world: World) -> Privacy:
    return Privacy(world.database, world.doorbell, world.artifacts.blobs)


def call(scope: Scope) -> Call:
    claims = Claims("boss", scope.tenant_id, (scope.project_id,), (), (), (), "haas-api", "", "", "", 0.0, 0.0, "")
    return Call(claims, scope, "edge", 0.0, "rq", "")


async def keys_of(world: World, scope: Scope, size: int = 200) -> list[DataKey]:
    found, after = list[DataKey](), ""
    while True:
        page = await privacy(world).export_keys(call(scope), after, size)
        found += [DataKey(scope.project_id, one.key_id, one.subject, one.created_at, one.key) for one in page]
        if len(page) < size:
            return found
        after = page[-1].key_id


async def exported(world: World, target: Path, *, personal: bool = True) -> Export:
    about: dict[str, Any] = {"tenant_id": TENANT, "keys": []}
    with Writer(target) as writer:
        keys = list[DataKey]()
        for scope in await store.scopes_of(world.database, TENANT):
            if personal and scope.project_id != "*":
                keys += await keys_of(world, scope)
            blocks = [piece async for piece in store.lines(world.database, scope, 0, 2**40, 50, 10_000)]
            for ref in writer.events(scope.project_id, blocks).refs if blocks else []:
                with contextlib.suppress(errors.ResourceNotFound):  # erased
                    writer.blob(ref, world.artifacts.blobs.load(scope, ref))
        if personal:
            about["data_keys"] = writer.data_keys(TENANT, keys)
        writer.finish(about)
    return Export.of(target)


async def test_every_row_is_there_as_it_was(lived: World, there: There, tmp_path: Path) -> None:
    export = await exported(lived, tmp_path / "export")
    await lived.tail()
    before = read_models(lived.dsn)
    assert [table for table, found in before.items() if not found] == []
    loaded = there.take(export)
    await there.rebuild()
    assert read_models(there.database.admin_dsn) == before
    kept = f"SELECT {KEPT} FROM inputs ORDER BY ref"
    # `uploaded_at` is the event's time, which is a moment after the row's.
    assert [row[:-1] for row in there.rows(kept)] == [row[:-1] for row in rows(lived.dsn, kept)]
    assert [row[1] for row in there.rows(kept) if row[4] == ["where", "n"]] == ["clientes.csv"]
    mine = "SELECT project_id::text, key_id, subject, destroyed_at FROM data_keys WHERE tenant_id = 't-one' ORDER BY 2"
    assert there.rows(mine) == rows(lived.dsn, mine)
    assert loaded.keys == len(there.rows(mine)) >= 3
    assert there.rows("SELECT count(*) FROM data_keys WHERE tenant_id <> 't-one'") == [(0,)]


async def test_who_works_on_there_seals_under_the_keys_that_came_along(
    lived: World, there: There, tmp_path: Path
) -> None:
    there.take(await exported(lived, tmp_path / "export"))
    count = there.rows("SELECT count(*) FROM data_keys")
    key = there.home.secrets / "orchestrator" / "data.key"
    app = there.database
    database = await Database.open(app.app_dsn, app.context_key, "test", data_key=key)
    try:
        moved = World([database, database], lived.admin, app, key, tmp_path / "moved")
        await upload(moved, "ana", "mas.txt", b"mas")
        assert there.rows("SELECT count(*) FROM data_keys") == count
    finally:
        await database.close()


async def test_a_sealed_value_opens_by_what_the_documentation_says(lived: World, tmp_path: Path) -> None:
    await exported(lived, tmp_path / "export")
    page = (Path(__file__).resolve().parents[2] / "docs/howto/audit.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    made = rows(lived.dsn, "SELECT objective FROM plans WHERE tenant_id = 't-one' AND project_id = 'p-main'")
    assert out.decode().splitlines() == [row[0] for row in made] != []


async def test_without_keys_everything_reads_as_erased(lived: World, there: There, tmp_path: Path) -> None:
    export = await exported(lived, tmp_path / "export", personal=False)
    assert not (export.folder / "data-keys.json").exists()
    assert there.take(export).keys == 0
    await there.rebuild()
    assert there.rows("SELECT DISTINCT objective FROM plans") == [("[erased]",)]
    assert there.rows("SELECT DISTINCT name FROM inputs") == [("[erased]",)]
    states = "SELECT plan_id, state FROM plans WHERE tenant_id = 't-one' ORDER BY 1"
    assert there.rows(states) == rows(lived.dsn, states)
    assert there.rows("SELECT count(*) FROM data_keys WHERE wrapped IS NOT NULL") == [(0,)]


async def test_what_was_erased_stays_so_whatever_the_file_brings(lived: World, there: There, tmp_path: Path) -> None:
    taken = await keys_of(lived, MAIN)
    await privacy(lived).erase(Order(MAIN, "luz", "asked for", "rq-1", "boss", ""))
    gone = [one for one in taken if one.subject == "luz"]
    export = await exported(lived, tmp_path / "export")
    left = export.data_keys()
    assert gone
    assert not {one.key_id for one in gone} & {one.key_id for one in left}
    # An older file with the key in it, under a manifest that fits.
    (export.folder / "data-keys.json").unlink()
    writer = Writer(tmp_path / "older")
    with writer:
        said = writer.data_keys(TENANT, [*left, *gone])
        writer.finish({"tenant_id": TENANT})
    (tmp_path / "older" / "data-keys.json").rename(export.folder / "data-keys.json")
    export = dataclasses.replace(export, manifest={**export.manifest, "data_keys": said})
    there.take(export)
    await there.rebuild()
    lost = "SELECT key_id FROM data_keys WHERE tenant_id = 't-one' AND wrapped IS NULL"
    assert there.rows(lost) == rows(lived.dsn, lost) == [(one.key_id,) for one in gone]
    assert [row[0] for row in there.rows("SELECT name FROM inputs")] == ["clientes.csv"]
    refs = "SELECT project_id::text, ref FROM erased_blobs"
    assert there.rows(refs) == rows(lived.dsn, refs)


async def test_a_plan_that_is_not_over_is_named_and_nothing_is_taken_in(
    lived: World, there: There, tmp_path: Path
) -> None:
    await plan(lived, MAIN, random.Random(5), ends=False)
    names = rows(lived.dsn, "SELECT plan_id FROM plans WHERE state NOT IN ('completed', 'failed', 'cancelled')")
    export = await exported(lived, tmp_path / "export")
    assert len(names) == 1
    with pytest.raises(Refused, match=names[0][0]) as refused:
        there.take(export)
    assert refused.value.reason == "PLAN_STATE_CONFLICT"
    assert there.rows("SELECT count(*) FROM events") == [(0,)]
    assert there.rows("SELECT count(*) FROM data_keys") == [(0,)]


async def test_keys_that_are_others_than_the_manifest_names_are_refused(
    lived: World, there: There, tmp_path: Path
) -> None:
    export = await exported(lived, tmp_path / "export")
    path = export.folder / "data-keys.json"
    assert export.data_keys_problem() == ""
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    path.write_bytes(before + b" ")
    assert "another one" in export.data_keys_problem()
    with pytest.raises(ExportInvalid):
        there.take(export)
    path.unlink()
    assert "not there" in export.data_keys_problem()
    path.write_bytes(before)
    unnamed = {name: value for name, value in export.manifest.items() if name != "data_keys"}
    assert "does not name" in dataclasses.replace(export, manifest=unnamed).data_keys_problem()
    assert there.rows("SELECT count(*) FROM events") == [(0,)]


async def test_a_key_that_does_not_open_what_it_sealed_is_refused(lived: World, there: There, tmp_path: Path) -> None:
    """It would stop every rebuild of the fleet that took it in."""
    export = await exported(lived, tmp_path / "export")
    path = export.folder / "data-keys.json"
    data = path.read_text().replace(export.data_keys()[0].key.hex(), "00" * 32).encode()
    path.write_bytes(data)
    said = {**export.manifest["data_keys"], "sha256": hashlib.sha256(data).hexdigest()}
    with pytest.raises(Unverified, match="does not open"):
        there.take(dataclasses.replace(export, manifest={**export.manifest, "data_keys": said}))


async def test_an_archive_brings_the_keys_and_is_its_owners(lived: World, tmp_path: Path) -> None:
    export = await exported(lived, tmp_path / "export")
    with Writer(tmp_path / "moved.tar.gz") as writer:
        said = writer.data_keys(TENANT, export.data_keys())
        writer.finish({"tenant_id": TENANT, "data_keys": said})
    assert (tmp_path / "moved.tar.gz").stat().st_mode & 0o777 == 0o600
    with opened(tmp_path / "moved.tar.gz") as found:
        assert found.data_keys() == export.data_keys()


async def test_the_history_says_who_took_the_keys_and_nobody_says_which(
    lived: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        taken = await keys_of(lived, MAIN, size=1)
    assert len(taken) >= 2
    assert [one.key_id for one in taken] == sorted({one.key_id for one in taken})
    told = rows(
        lived.dsn,
        "SELECT stream, actor, payload FROM events WHERE event_type = 'DataKeysExported' ORDER BY id",
    )
    assert {row[:2] for row in told} == {(f"privacy/{MAIN.project_id}", "boss")}
    # A page that is not full ends it: the last one here is empty, and told of too.
    assert [row[2] for row in told] == [
        *({"keys": 1, "key_ids": [one.key_id]} for one in taken),
        {"keys": 0, "key_ids": []},
    ]
    texts = [row[0] for row in rows(lived.dsn, "SELECT payload::text FROM events")] + [caplog.text, repr(taken)]
    for one in taken:
        assert not [text for text in texts if one.key.hex() in text or repr(one.key)[2:-1] in text]
