"""Histories of earlier versions: what was kept before a type changed still folds."""

import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from haas_common.artifacts.file import Draft
from haas_common.artifacts.records import Placing
from haas_common.artifacts.store import ArtifactStore
from haas_common.blobs import BlobStore
from haas_common.db import Database, Scope
from haas_common.db.queries import Query
from haas_common.events import upcast
from haas_common.eventstore import SQL, NewEvent, append
from haas_common.sockets import short_url
from haas_notifier import store
from tests.integration.conftest import TestDatabase
from tests.support.keys import fleet_keys
from tests.support.plans import Plans
from tests.support.samples import sample

SCOPE = Scope("t-one", "p-one")
VERSIONS = Query("versions", "", "SELECT schema_version FROM events ORDER BY seq")
ADDED = ["signer_key", "certificate", "chunk_bytes", "chunks"]
NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)


@pytest.fixture
async def doors(database: TestDatabase) -> AsyncIterator[Database]:
    plans = Plans(database.admin_dsn)
    plans.project(SCOPE)
    plans.close()
    opened = await Database.open(database.app_dsn, database.context_key, "test")
    yield opened
    await opened.close()


async def kept(doors: Database, event: NewEvent) -> None:
    async with doors.tenant_tx(SCOPE) as tx:
        await append(tx, [event])


async def test_an_event_is_written_in_the_version_of_today_unless_it_names_another(doors: Database) -> None:
    for version in (0, 1, 2):
        payload = sample("ArtifactProduced")
        await kept(doors, NewEvent(SCOPE, "artifact/a", "ArtifactProduced", payload, "ana", schema_version=version))
    async with doors.tenant_tx(SCOPE) as tx:
        assert [row["schema_version"] for row in await tx.all(VERSIONS)] == [2, 1, 2]


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(BlobStore(tmp_path / "store"), fleet_keys(tmp_path / "secrets"))


async def test_an_artifact_of_version_one_reads_beside_its_later_versions(
    doors: Database, database: TestDatabase, artifacts: ArtifactStore
) -> None:
    placing = Placing("artf-a", "specialist.report", plan_id="pl-00000001", task_id="T-1")
    for title in ("one", "two"):
        draft = Draft("report.md", "doc.report", "report", title, f"# {title}")
        async with doors.tenant_tx(SCOPE) as tx:
            await artifacts.write(tx, SCOPE, draft, placing, NOW)
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
        admin.execute(
            "UPDATE haas.events SET schema_version = 1, payload = (payload::jsonb - %s::text[])::json"
            " WHERE version = 1",
            (ADDED,),
        )
    async with doors.tenant_tx(SCOPE) as tx:
        old = await artifacts.at_version(tx, SCOPE, "artf-a", 1)
        page = {"stream": "artifact/artf-a", "after": 0, "limit": 9}
        rows = await tx.all(SQL.artifact_versions, **SCOPE._asdict(), **page)
    assert (await artifacts.read(SCOPE, old)).endswith(b"# one\n")
    assert [row["schema_version"] for row in rows] == [1, 2]
    assert not set(ADDED) & rows[0]["payload"].keys()
    upcasted = upcast("ArtifactProduced", 1, rows[0]["payload"])
    assert [upcasted[name] for name in ADDED] == ["", "", 0, []]


async def test_a_notification_of_version_one_is_found_in_its_page(doors: Database) -> None:
    old = {"envelopes": [{"cause_seq": 7, "receivers": [["agent", "HALT"]]}]}
    await kept(doors, NewEvent(SCOPE, "notify/pl-1", "NotificationSent", old, "n", schema_version=1))
    async with doors.tenant_tx(SCOPE) as tx:
        assert await store.sent_page(tx, SCOPE, ["agent"], 0, 10) == (1, [])


async def test_a_payload_that_breaks_its_type_is_never_written(doors: Database) -> None:
    with pytest.raises(ValueError, match="PlanCompleted breaks its type"):
        await kept(doors, NewEvent(SCOPE, "plan/pl-1", "PlanCompleted", {"tasks": "1"}, "ana"))
    async with doors.tenant_tx(SCOPE) as tx:
        assert await tx.all(VERSIONS) == []
