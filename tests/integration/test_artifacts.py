"""Artifacts on a real PostgreSQL and a real folder: chain, signatures, statuses, links, retries, isolation."""

import base64
import dataclasses
import datetime
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import psycopg.types.json
import pytest
from cryptography.exceptions import InvalidSignature

from haas_common import errors, pki
from haas_common.artifacts import file as artifact_file
from haas_common.artifacts import rules as artifact_rules
from haas_common.artifacts.file import Draft
from haas_common.artifacts.records import ArtifactRecord, Placing
from haas_common.artifacts.rules import Link
from haas_common.artifacts.signing import agent_key
from haas_common.artifacts.store import ArtifactStore
from haas_common.audit.signatures import ROTATION_SLACK
from haas_common.blobs import BlobStore
from haas_common.db import Database, Scope
from haas_common.db.queries import Query
from haas_common.eventstore import SQL, NewEvent, append
from haas_common.fleet_keys import FleetKeys
from tests.integration.conftest import TestDatabase
from tests.support.keys import SERVICES, fleet_keys, signed_by_the_fleet

ONE, TWO = Scope("t-one", "p-main"), Scope("t-two", "p-main")
NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
PLACING = Placing("artf-1-t-1-report", "specialist.report", plan_id="pl-00000001", task_id="T-1")
EVENTS = Query("events", "", "SELECT event_type, payload FROM events WHERE stream = %(s)s ORDER BY version")


def draft(body: str, status: str = "final", **extra: object) -> Draft:
    data = {"kpis": {"cpl": 3.1, "leads": 180}}
    return Draft("report.md", "doc.report", "report", "Informe", body, data, ["a.csv"], status, "", extra)


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        for tenant in ("t-one", "t-two"):
            connection.execute("INSERT INTO haas.tenants VALUES (%s)", (tenant,))
            connection.execute("INSERT INTO haas.projects VALUES (%s, 'p-main')", (tenant,))
    found = await Database.open(database.app_dsn, database.context_key, "test")
    yield found
    await found.close()


@pytest.fixture
def keys(tmp_path: Path) -> FleetKeys:
    return fleet_keys(tmp_path / "secrets")


@pytest.fixture
def store(tmp_path: Path, keys: FleetKeys) -> ArtifactStore:
    return ArtifactStore(BlobStore(tmp_path / "store"), keys)


async def write(
    database: Database, store: ArtifactStore, given: Draft | str, placing: Placing = PLACING, *, once: bool = False
) -> ArtifactRecord:
    wanted = draft(given) if isinstance(given, str) else given
    async with database.tenant_tx(ONE) as tx:
        return await store.write(tx, ONE, wanted, placing, NOW, once=once)


async def move(database: Database, store: ArtifactStore, status: str) -> ArtifactRecord:
    async with database.tenant_tx(ONE) as tx:
        return await store.set_status(tx, ONE, PLACING.artifact_id, status, "as agreed", "ana")


async def verified(database: Database, store: ArtifactStore) -> str:
    async with database.tenant_tx(ONE) as tx:
        return (await store.verify(tx, ONE, PLACING.artifact_id)).problem


# ── Versions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_versions_chain_and_read_back_as_they_were_written(opened: Database, store: ArtifactStore) -> None:
    brief = await write(opened, store, "# Brief", Placing("artf-brief", "prompt_engineer"))
    placing = dataclasses.replace(PLACING, links=(Link("depends_on", "artf-brief"),))
    first = await write(opened, store, "# Uno", placing)
    second = await write(opened, store, "# Dos\n\n---\nhash_curr: not this\n", placing)
    assert (first.version, second.version, second.hash_prev) == (1, 2, first.hash_curr)
    file = await store.read(ONE, second)
    document = artifact_file.parse(file)
    assert document.front["hash_prev"] == first.hash_curr
    assert document.front["hash_curr"] == second.hash_curr == artifact_file.hash_of(file)
    assert document.front["links"] == [{"type": "depends_on", "ref": brief.artifact_id}]
    assert document.data == {"kpis": {"cpl": 3.1, "leads": 180}}
    async with opened.tenant_tx(ONE) as tx:
        old = await store.at_version(tx, ONE, PLACING.artifact_id, 1)
        found = await store.verify(tx, ONE, PLACING.artifact_id)
    assert old.ref == first.ref
    assert (found.versions, found.problem) == (2, "")


@pytest.mark.parametrize("text", ["a\u2028b", "a\u0085b", "a\r\nb", "---\n", "hash_curr: x\n", 'ñ “x” \\ "'])
def test_data_of_any_text_reads_back(text: str) -> None:
    front = {"artifact_id": "artf-1", "hash_prev": "", "title": text}
    file = artifact_file.seal(artifact_file.render(front, {"text": text}, "# Uno"), "sha256:x", "s")
    document = artifact_file.parse(file)
    assert document.data == {"text": text}
    assert document.front["title"] == text


async def test_a_retry_finds_what_an_earlier_attempt_wrote(opened: Database, store: ArtifactStore) -> None:
    first = await write(opened, store, "# Uno", once=True)
    assert await write(opened, store, "# another text of a later attempt", once=True) == first


async def test_a_writer_that_read_an_older_version_is_refused(opened: Database, store: ArtifactStore) -> None:
    for body in ("# Uno", "# Dos"):
        await write(opened, store, body)
    stale = Placing(PLACING.artifact_id, PLACING.signer, expected_version=1)
    with pytest.raises(errors.StreamVersionConflict):
        await write(opened, store, "# Tres", stale)


async def test_unknown_keys_of_the_front_matter_are_kept_as_they_are(opened: Database, store: ArtifactStore) -> None:
    extra = {"answer": "no", "at": "12:30:45", "number": "017", "nested": {"a": ["1.10"]}}
    record = await write(opened, store, draft("# Uno", **extra))
    front = artifact_file.parse(await store.read(ONE, record)).front
    assert {name: front[name] for name in extra} == extra


async def test_a_draft_cannot_say_what_the_store_says(opened: Database, store: ArtifactStore) -> None:
    for name in sorted(artifact_file.OWN):
        with pytest.raises(errors.FieldInvalid) as failed:
            await write(opened, store, dataclasses.replace(draft("# Uno"), extra={name: "x"}))
        assert failed.value.metadata["field"] == name


# ── Signatures ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_agent_signs_with_a_key_of_its_own_in_each_project(
    opened: Database, store: ArtifactStore, keys: FleetKeys
) -> None:
    record = await write(opened, store, "# Uno")
    front = artifact_file.parse(await store.read(ONE, record)).front
    fleet = keys.signer("artifact")[1]
    signature = base64.b64decode(record.signature)
    agent_key(fleet, ONE, PLACING.signer).public_key().verify(signature, record.hash_curr.encode())
    for scope, agent in ((TWO, PLACING.signer), (ONE, "another"), (Scope("t-one", "p-other"), PLACING.signer)):
        with pytest.raises(InvalidSignature):
            agent_key(fleet, scope, agent).public_key().verify(signature, record.hash_curr.encode())
    assert len(base64.b64decode(front["signer_key"])) == 32
    assert await verified(opened, store) == ""


async def test_what_was_signed_before_a_rotation_verifies_after_it(
    opened: Database, store: ArtifactStore, tmp_path: Path
) -> None:
    await write(opened, store, "# Uno")
    pki.rotate_fleet_key(tmp_path / "secrets", "artifact", SERVICES)
    await write(opened, store, "# Dos")
    assert await verified(opened, store) == ""
    async with opened.tenant_tx(ONE) as tx:
        rows = await tx.all(EVENTS, s=f"artifact/{PLACING.artifact_id}")
    assert len({row["payload"]["signer_key"] for row in rows}) == 2
    notifier = ArtifactStore(store.blobs, fleet_keys(tmp_path / "secrets", "notifier"))
    assert await verified(opened, notifier) == ""


async def test_another_fleets_signature_is_found(opened: Database, store: ArtifactStore, tmp_path: Path) -> None:
    await write(opened, store, "# Uno")
    other = ArtifactStore(store.blobs, fleet_keys(tmp_path / "another"))
    assert await verified(opened, other) == "its signer's certificate is not the fleet's"


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("signer", "somebody", "its signer's certificate is not the fleet's"),
        ("signer_key", base64.b64encode(bytes(32)).decode(), "its signer's certificate is not the fleet's"),
        ("signer_key", "x", "its signer's key is none"),
        ("signer_key", "", "its signature is not the fleet's"),
        ("certificate", "", "its signer's certificate is not the fleet's"),
        ("signature", base64.b64encode(bytes(64)).decode(), "its signature is not its signer's"),
        ("version", 7, "it does not follow the version before it"),
        ("hash_prev", "sha256:" + "0" * 64, "it does not follow the version before it"),
        ("hash_curr", "sha256:" + "0" * 64, "its hash is not that of its bytes"),
    ],
)
async def test_an_event_that_was_rewritten_is_found(
    opened: Database, database: TestDatabase, store: ArtifactStore, field: str, value: object, problem: str
) -> None:
    await write(opened, store, "# Uno")
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        patch = psycopg.types.json.Jsonb({field: value})
        admin.execute("UPDATE haas.events SET payload = (payload::jsonb || %s)::json", (patch,))
    assert await verified(opened, store) == problem


async def test_a_key_that_was_retired_signs_nothing_new(
    opened: Database, store: ArtifactStore, database: TestDatabase, tmp_path: Path
) -> None:
    await write(opened, store, "# Uno")
    pki.rotate_fleet_key(tmp_path / "secrets", "artifact", SERVICES)
    assert await verified(opened, store) == ""
    later = datetime.datetime.now(datetime.UTC) + ROTATION_SLACK + datetime.timedelta(minutes=5)
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("UPDATE haas.events SET recorded_at = %s", (later,))
    assert await verified(opened, store) == "its signer's certificate is by a key that was retired before"


async def test_an_artifact_of_before_agents_had_keys_verifies(
    opened: Database, store: ArtifactStore, keys: FleetKeys, tmp_path: Path
) -> None:
    """Signed by the fleet's own key: the event is of version 1, and so it stays, also when that key is retired."""
    artifact_id = "artf-old"
    front = {
        "artifact_id": artifact_id, "tenant_id": "t-one", "project_id": "p-main", "version": 1, "hash_prev": "",
        "signer": "agent", "status": "final", "type": "doc.report", "title": "Old", "sources": [], "links": [],
    }  # fmt: skip
    file, hash_curr, signature = signed_by_the_fleet(keys, front, "# Old")
    facts = {
        "artifact_id": artifact_id, "path": "old.md", "type": "doc.report", "version": 1, "hash_prev": "",
        "hash_curr": hash_curr, "ref": store.blobs.put(ONE, file), "signer": "agent", "signature": signature,
        "status": "final", "size_bytes": len(file),
    }  # fmt: skip
    async with opened.tenant_tx(ONE) as tx:
        event = NewEvent(
            ONE, f"artifact/{artifact_id}", "ArtifactProduced", {**facts, "links": [], "sources": []}, "agent",
            schema_version=1,
        )  # fmt: skip
        at = (await append(tx, [event]))[0].recorded_at
        scope = {"tenant_id": "t-one", "project_id": "p-main"}
        await tx.run(SQL.project_artifact, **scope, **facts, plan_id="", task_id="", created_at=at, updated_at=at)
    pki.rotate_fleet_key(tmp_path / "secrets", "artifact", SERVICES)
    await write(opened, store, "# New", Placing(artifact_id, "agent"))
    async with opened.tenant_tx(ONE) as tx:
        found = await store.verify(tx, ONE, artifact_id)
    assert (found.versions, found.problem) == (2, "")


# ── Statuses ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_status_moves_along_the_machine_and_the_history_tells_of_it(
    opened: Database, store: ArtifactStore
) -> None:
    await write(opened, store, draft("# Uno", "draft"))
    for status in ("in_progress", "final", "superseded"):
        assert (await move(opened, store, status)).status == status
    async with opened.tenant_tx(ONE) as tx:
        assert (await store.head(tx, ONE, PLACING.artifact_id)).status == "superseded"
        rows = await tx.all(EVENTS, s=f"artifact/{PLACING.artifact_id}")
    moves = [(r["payload"]["status_from"], r["payload"]["status_to"]) for r in rows[1:]]
    assert moves == [("draft", "in_progress"), ("in_progress", "final"), ("final", "superseded")]
    assert {r["event_type"] for r in rows[1:]} == {"ArtifactStatusChanged"}
    assert await verified(opened, store) == ""


@pytest.mark.parametrize("status", artifact_rules.STATUSES)
async def test_a_move_that_the_machine_has_not_is_refused(opened: Database, store: ArtifactStore, status: str) -> None:
    way = {"draft": [], "in_progress": ["in_progress"], "final": ["in_progress", "final"]}
    way |= {"superseded": [*way["final"], "superseded"], "invalid": ["invalid"]}
    await write(opened, store, draft("# Uno", "draft"))
    for step in way[status]:
        await move(opened, store, step)
    for to in (*artifact_rules.STATUSES, "x"):
        if to not in artifact_rules.MOVES[status]:
            with pytest.raises(errors.ArtifactStatusConflict) as failed:
                await move(opened, store, to)
            assert failed.value.metadata["status"] == status


async def test_a_new_version_of_a_final_one_supersedes_it(opened: Database, store: ArtifactStore) -> None:
    await write(opened, store, draft("# Uno", "draft"))
    await write(opened, store, draft("# Dos", "in_progress"))
    await move(opened, store, "final")
    await write(opened, store, draft("# Tres", "in_progress"))
    await move(opened, store, "invalid")
    await write(opened, store, draft("# Cuatro", "final"))
    async with opened.tenant_tx(ONE) as tx:
        whole, end = await store.versions(tx, ONE, PLACING.artifact_id, 0, 10)
        first, after = await store.versions(tx, ONE, PLACING.artifact_id, 0, 2)
        rest, last = await store.versions(tx, ONE, PLACING.artifact_id, after, 2)
        each = [await store.at_version(tx, ONE, PLACING.artifact_id, n) for n in range(1, 5)]
    assert [(r.version, r.status) for r in whole] == [(1, "draft"), (2, "superseded"), (3, "invalid"), (4, "final")]
    assert first + rest == whole == each
    assert (end, last) == (0, 0)


@pytest.mark.parametrize(("before", "status"), [("in_progress", "draft"), ("final", "superseded"), ("final", "x")])
async def test_a_version_that_cannot_follow_is_refused(
    opened: Database, store: ArtifactStore, before: str, status: str
) -> None:
    await write(opened, store, draft("# Uno", before))
    with pytest.raises(errors.ArtifactStatusConflict):
        await write(opened, store, draft("# Dos", status))


async def test_a_superseded_artifact_has_no_further_version(opened: Database, store: ArtifactStore) -> None:
    await write(opened, store, "# Uno")
    await move(opened, store, "superseded")
    with pytest.raises(errors.ArtifactStatusConflict):
        await write(opened, store, "# Dos")


def test_the_read_model_keeps_no_other_status(database: TestDatabase) -> None:
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        row = admin.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'artifacts_read_status_check'"
        ).fetchone()
    assert row is not None
    assert all(f"'{status}'" in row[0] for status in artifact_rules.STATUSES)


# ── Links and limits ─────────────────────────────────────────────────────────────────────────────────────────────────


def linked(*links: tuple[str, str]) -> Placing:
    return Placing(PLACING.artifact_id, "agent", plan_id="pl-00000001", links=tuple(Link(*link) for link in links))


HASH, OTHER_HASH = "sha256:" + "a" * 64, "sha256:" + "b" * 64


async def test_links_lead_to_artifacts_tasks_inputs_and_documents(
    opened: Database, database: TestDatabase, store: ArtifactStore
) -> None:
    await write(opened, store, "# Brief", Placing("artf-brief", "agent"))
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        scope = ("t-one", "p-main")
        admin.execute(
            "INSERT INTO haas.plans VALUES"
            " (%s, %s, 'pl-00000001', 0, 'running', '', '', 'es', '', '', 1, 1, 1, '{}', '', 1, now(), now())",
            scope,
        )
        admin.execute(
            "INSERT INTO haas.tasks_read (tenant_id, project_id, plan_id, task_id, status, kind, skill, title,"
            " owner_agent_id, order_key, updated_at)"
            " VALUES (%s, %s, 'pl-00000001', 'T-1.2', 'ready', 'tool', '', '', '', '{1,2}', now())",
            scope,
        )
        admin.execute(
            "INSERT INTO haas.inputs (tenant_id, project_id, ref, name, size_bytes) VALUES (%s, %s, %s, 'a', 1)",
            (*scope, HASH),
        )
        admin.execute("INSERT INTO haas.documents VALUES (%s, %s, 'b.md', 1, %s, 1)", (*scope, OTHER_HASH))
    links = [
        ("depends_on", "artf-brief"), ("reports", "T-1.2"), ("derived_from", HASH), ("derived_from", OTHER_HASH),
    ]  # fmt: skip
    record = await write(opened, store, "# Uno", linked(*links))
    front = artifact_file.parse(await store.read(ONE, record)).front
    assert front["links"] == [{"type": kind, "ref": ref} for kind, ref in links]


@pytest.mark.parametrize(
    ("link", "field"),
    [
        (("depends_on", "artf-nothing"), "links[1].ref"),
        (("depends_on", "T-9"), "links[1].ref"),
        (("derived_from", HASH), "links[1].ref"),
        (("depends_on", ""), "links[1].ref"),
        (("depends_on", "x" * 201), "links[1].ref"),
        (("knows", "artf-brief"), "links[1].type"),
    ],
)
async def test_a_link_that_leads_nowhere_is_named(
    opened: Database, store: ArtifactStore, link: tuple[str, str], field: str
) -> None:
    await write(opened, store, "# Brief", Placing("artf-brief", "agent"))
    with pytest.raises(errors.FieldInvalid) as failed:
        await write(opened, store, "# Uno", linked(("depends_on", "artf-brief"), link))
    assert failed.value.metadata["field"] == field


async def test_a_link_to_another_tenants_artifact_leads_nowhere(opened: Database, store: ArtifactStore) -> None:
    async with opened.tenant_tx(TWO) as tx:
        await store.write(tx, TWO, draft("# Theirs"), Placing("artf-theirs", "agent"), NOW)
    with pytest.raises(errors.FieldInvalid):
        await write(opened, store, "# Uno", linked(("depends_on", "artf-theirs")))


async def test_200_links_are_asked_for_in_one_query_and_201_are_too_many(
    opened: Database, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(opened, store, "# Brief", Placing("artf-brief", "agent"))
    many = [("depends_on", "artf-brief")] * 200
    async with opened.tenant_tx(ONE) as tx:
        asked, real = [], tx.all

        async def counted(query: Query, **params: object) -> list[dict[str, object]]:
            asked.append(query.name)
            return await real(query, **params)

        monkeypatch.setattr(tx, "all", counted)
        await store.write(tx, ONE, draft("# Uno"), linked(*many), NOW)
    assert asked.count("dangling_links") == 1
    with pytest.raises(errors.FieldInvalid):
        await write(opened, store, "# Dos", linked(*many, many[0]))


@pytest.mark.parametrize(
    "given",
    [
        draft("x" * artifact_rules.BYTES_MAX),
        draft("# Uno", long="y" * 300_000),
        Draft("report.md", "doc.report", "report", "t", "# Uno", {"a": "z" * 300_000}),
        Draft("report.md", "doc.report", "report", "t", "# Uno", {}, ["source " + "s" * 500] * 100),
    ],
    ids=["body", "front matter", "data", "sources"],
)
async def test_what_is_too_large_is_refused(opened: Database, store: ArtifactStore, given: Draft) -> None:
    with pytest.raises(errors.PayloadTooLarge):
        await write(opened, store, given)
    async with opened.tenant_tx(ONE) as tx:
        assert await tx.all(EVENTS, s=f"artifact/{PLACING.artifact_id}") == []


async def test_a_plan_has_so_many_artifacts(
    opened: Database, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact_rules, "PER_PLAN_MAX", 2)
    for number in (1, 2):
        await write(opened, store, "# Uno", Placing(f"artf-{number}", "agent", plan_id="pl-00000001"))
    with pytest.raises(errors.PayloadTooLarge) as failed:
        await write(opened, store, "# Uno", Placing("artf-3", "agent", plan_id="pl-00000001"))
    assert failed.value.metadata["artifacts_max"] == "2"
    await write(opened, store, "# Dos", Placing("artf-2", "agent", plan_id="pl-00000001"))
    await write(opened, store, "# Uno", Placing("artf-3", "agent", plan_id="pl-00000002"))


# ── Isolation ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_another_tenant_sees_neither_artifact_nor_bytes(opened: Database, store: ArtifactStore) -> None:
    record = await write(opened, store, "# Uno")
    async with opened.tenant_tx(TWO) as tx:
        with pytest.raises(errors.ResourceNotFound):
            await store.head(tx, TWO, record.artifact_id)
    with pytest.raises(errors.ResourceNotFound):
        store.blobs.read(TWO, record.ref)


async def test_a_transaction_that_fails_leaves_no_artifact(opened: Database, store: ArtifactStore) -> None:

    async def broken() -> None:
        async with opened.tenant_tx(ONE) as tx:
            await store.write(tx, ONE, draft("# Uno"), PLACING, NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await broken()
    async with opened.tenant_tx(ONE) as tx:
        with pytest.raises(errors.ResourceNotFound):
            await store.head(tx, ONE, PLACING.artifact_id)
