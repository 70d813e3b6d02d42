"""Anyone can verify the history and the artifacts from docs/reference/hashing.md alone."""

import base64
import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from psycopg.rows import dict_row

from haas_common import errors
from haas_common.artifacts import file as artifact_file
from haas_common.audit import checkpoints, genesis, merkle, signatures
from haas_common.db import Database, Scope
from haas_common.eventstore import NewEvent, append
from haas_common.fleet_keys import FleetKey
from haas_common.sockets import short_url
from tests.integration.conftest import TestDatabase
from tests.support import hashing

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "docs/reference/hashing-vectors.json").read_text(encoding="utf-8")
)
PUBLIC = Ed25519PublicKey.from_public_bytes(base64.b64decode(VECTORS["ed25519_public_key"]))
SIGNED = datetime.datetime(2025, 11, 8, 12, 30, tzinfo=datetime.UTC)
FLEET = {"cp-vector": FleetKey("cp-vector", "checkpoint", PUBLIC, SIGNED - datetime.timedelta(days=1), None)}
STORED = """
    SELECT tenant_id::text, project_id::text, seq, stream, version, event_type, schema_version, plan_id, task_id, actor,
           causation_id, correlation_id, trace_id,
           (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at_us, payload::text, hash
      FROM haas.events ORDER BY stream, version"""


def broken(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """The (stream, version) of every event whose hash does not follow from what is stored."""
    before: dict[str, bytes] = {}
    found = []
    for row in rows:
        if hashing.event_hash(before.get(row["stream"], hashing.GENESIS), row) != bytes(row["hash"]):
            found.append((row["stream"], row["version"]))
        before[row["stream"]] = bytes(row["hash"])
    return found


def stored(database: TestDatabase) -> list[dict[str, Any]]:
    with psycopg.connect(short_url(database.admin_dsn), row_factory=dict_row) as admin:
        return admin.execute(STORED).fetchall()


# ── The vectors ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_events_vectors_follow_from_the_page() -> None:
    before = hashing.GENESIS
    for event in VECTORS["events"]:
        before = hashing.event_hash(before, event)
        assert before.hex() == event["hash"]


def test_the_events_vectors_follow_from_the_databases_functions(database: TestDatabase) -> None:
    with psycopg.connect(short_url(database.admin_dsn)) as admin:
        before = hashing.GENESIS
        for event in VECTORS["events"]:
            values = [event[name] for name in hashing.EVENT_FIELDS]
            row = admin.execute(
                "SELECT haas.chain_link(NULL, %s, haas.event_body(%s, %s, %s::bigint, %s, %s::bigint, %s, %s::smallint,"
                " %s, %s, %s, %s, %s, %s, %s::bigint, %s))",
                (before, *values),
            ).fetchone()
            assert row is not None
            before = row[0]
            assert before.hex() == event["hash"]


def test_the_artifacts_vectors_follow_from_the_page_and_from_the_store() -> None:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(VECTORS["ed25519_public_key"]))
    before = ""
    for artifact in VECTORS["artifacts"]:
        file = artifact["file"].encode()
        assert hashing.artifact_hash(file) == artifact_file.hash_of(file) == artifact["hash_curr"]
        assert (artifact_file.parse(file).front["hash_prev"] or "") == before
        key.verify(base64.b64decode(artifact["signature"]), artifact["hash_curr"].encode())
        before = artifact["hash_curr"]


def test_the_agents_vectors_follow_from_the_page() -> None:
    fleet = Ed25519PublicKey.from_public_bytes(base64.b64decode(VECTORS["ed25519_public_key"]))
    assert len(VECTORS["agents"]) == 2
    for agent in VECTORS["agents"]:
        who = (agent["tenant_id"], agent["project_id"], agent["agent"])
        key = Ed25519PrivateKey.from_private_bytes(hashing.agent_seed(bytes(range(32)), *who))
        public = key.public_key().public_bytes_raw()
        assert base64.b64encode(public).decode() == agent["public_key"]
        body = b"haas.agent.v1\0" + hashing.framed(*who, public)
        fleet.verify(base64.b64decode(agent["certificate"]), body)
        key.public_key().verify(base64.b64decode(agent["signature"]), agent["signed"].encode())


@pytest.mark.parametrize("at", ["version: 1", "leads", "Résumé", "not a field here", "signer"])
def test_any_other_byte_gives_another_hash(at: str) -> None:
    first = VECTORS["artifacts"][0]
    assert at in first["file"]
    assert artifact_file.hash_of(first["file"].replace(at, at[:-1] + "~", 1).encode()) != first["hash_curr"]


def test_the_trees_vectors_follow_from_the_page_and_from_the_library() -> None:
    for tree in VECTORS["trees"]:
        leaves = [hashing.stream_leaf(tree["project_id"], head) for head in tree["streams"]]
        assert [leaf.hex() for leaf in leaves] == tree["leaves"]
        assert hashing.tree_root(leaves).hex() == merkle.root_of(leaves).hex() == tree["root"]
        known = (tree["project_id"], tree["last_seq"], len(leaves), bytes.fromhex(tree["root"]))
        assert hashing.project_leaf(*known).hex() == merkle.project_leaf(*known).hex() == tree["project_leaf"]


def test_the_checkpoints_vectors_follow_from_the_page_and_from_the_library() -> None:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(VECTORS["ed25519_public_key"]))
    previous, projects = "", {}
    for vector in VECTORS["checkpoints"]:
        payload = vector["payload"]
        said = hashing.checkpoint_bytes(vector["tenant_id"], payload)
        assert (said.hex(), payload["previous"]) == (vector["signed_bytes"], previous)
        key.verify(base64.b64decode(payload["signature"]), said)
        projects |= {told["project_id"]: told for told in payload["projects"]}
        leaves = [
            hashing.project_leaf(p["project_id"], p["last_seq"], p["streams"], bytes.fromhex(p["root"][7:]))
            for _, p in sorted(projects.items())
        ]
        assert "sha256:" + hashing.tree_root(leaves).hex() == payload["root"]
        previous = "sha256:" + hashlib.sha256(said).hexdigest()
        found = checkpoints.read(vector["tenant_id"], payload)
        assert found.digest() == previous == vector["digest"]
        assert found.problem(FLEET) == ""


def _root_told(records: list[list[Any]]) -> str:
    """The root over projects as a document tells them: id, last seq, number of streams, root."""
    leaves = [hashing.project_leaf(p, last, streams, bytes.fromhex(r[7:])) for p, last, streams, r in sorted(records)]
    return "sha256:" + hashing.tree_root(leaves).hex()


def test_the_genesis_vector_follows_from_the_page_and_from_the_library() -> None:
    vector = VECTORS["genesis"]
    data, payload = vector["document"].encode(), vector["payload"]
    told = json.loads(data)
    assert payload["genesis_ref"] == "sha256:" + hashlib.sha256(data).hexdigest()
    assert (told["format"], told["tenant_id"]) == ("haas.genesis.v1", vector["tenant_id"])
    left = []
    for project in told["projects"]:
        heads = [dict(zip(("stream", "version", "hash"), head, strict=True)) for head in project["streams"]]
        root = hashing.tree_root([hashing.stream_leaf(project["project_id"], head) for head in heads])
        left.append([project["project_id"], project["last_seq"], len(heads), "sha256:" + root.hex()])
    assert (len(left), payload["root"]) == (2, _root_told(left))
    assert _root_told(told["records"]) == told["checkpoint"]["root"]
    PUBLIC.verify(base64.b64decode(payload["signature"]), hashing.genesis_bytes(vector["tenant_id"], payload))
    PUBLIC.verify(
        base64.b64decode(told["checkpoint"]["signature"]),
        hashing.checkpoint_bytes(vector["tenant_id"], told["checkpoint"]),
    )
    assert genesis.problem(vector["tenant_id"], payload, data, FLEET, SIGNED) == ""
    assert genesis.read(vector["tenant_id"], data).data() == data


def test_the_certificates_vector_follows_from_the_page_and_from_the_library() -> None:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(VECTORS["ed25519_public_key"]))
    said = VECTORS["certificate"]
    key.verify(base64.b64decode(said["certificate"]), hashing.certificate_bytes(said))
    agent = base64.b64decode(said["signer_key"])
    known = signatures.certificate_bytes(said["tenant_id"], said["project_id"], said["signer"], agent)
    assert known == hashing.certificate_bytes(said)


# ── The stored history ──────────────────────────────────────────────────────────────────────────────────────────────


async def _appended(database: TestDatabase) -> None:
    one, two = Scope("t-one", "p-one"), Scope("t-two", "p-one")
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
        for scope in (one, two):
            admin.execute("INSERT INTO haas.tenants (tenant_id) VALUES (%s)", (scope.tenant_id,))
            admin.execute(
                "INSERT INTO haas.projects (tenant_id, project_id) VALUES (%s, %s)", (scope.tenant_id, "p-one")
            )
    doors = await Database.open(short_url(database.app_dsn), database.context_key, "test")
    try:
        for scope in (one, two):
            for batch in range(3):
                events = [
                    NewEvent(
                        scope, f"plan/{n % 2}", "PlanCancelled", {"reason": f"{n} ñ «»"}, "ana", task_id=f"T-{batch}"
                    )
                    for n in range(4)
                ]
                async with doors.tenant_tx(scope) as tx:
                    await append(tx, events)
    finally:
        await doors.close()


async def test_every_stored_event_follows_from_the_one_before_it(database: TestDatabase) -> None:
    await _appended(database)
    rows = stored(database)
    assert len(rows) == 24
    by_tenant = [[r for r in rows if r["tenant_id"] == t] for t in ("t-one", "t-two")]
    assert [broken(part) for part in by_tenant] == [[], []]


@pytest.mark.parametrize("count", [1, 8, 9])
@pytest.mark.parametrize("streams", [1, 2])
async def test_batches_of_any_size_and_spread_are_numbered_and_linked_alike(
    database: TestDatabase, streams: int, count: int
) -> None:
    await _appended(database)
    doors = await Database.open(short_url(database.app_dsn), database.context_key, "test")
    scope = Scope("t-one", "p-one")
    try:
        for turn in range(2):
            before = turn * -(-count // streams)
            events = [
                NewEvent(scope, f"new/{n % streams}", "PlanCancelled", {"reason": "r"}, "ana",
                         expected_version=None if n % streams else before)
                for n in range(count)
            ]  # fmt: skip
            async with doors.tenant_tx(scope) as tx:
                places = await append(tx, events)
            assert [place.seq for place in places] == list(range(13 + turn * count, 13 + (turn + 1) * count))
        with pytest.raises(errors.StreamVersionConflict):
            async with doors.tenant_tx(scope) as tx:
                await append(tx, events)
    finally:
        await doors.close()
    rows = [row for row in stored(database) if row["tenant_id"] == "t-one"]
    assert broken(rows) == []
    last = {row["stream"]: (row["version"], row["seq"], bytes(row["hash"])) for row in rows}
    with psycopg.connect(short_url(database.admin_dsn)) as admin:
        heads = admin.execute(
            "SELECT stream, version, last_seq, hash FROM haas.stream_heads WHERE tenant_id = 't-one' ORDER BY ordinal"
        ).fetchall()
        project = admin.execute("SELECT last_seq, streams FROM haas.project_heads WHERE tenant_id = 't-one'").fetchone()
    assert {stream: (version, seq, bytes(link)) for stream, version, seq, link in heads} == last
    assert [stream for stream, *_ in heads] == ["plan/0", "plan/1", "new/0", "new/1"][: len(last)]
    assert project == (len(rows), len(last))


@pytest.mark.parametrize(
    "change",
    [
        "payload = '{\"reason\": \"2 ñ «»\"}'", "actor = 'eva'", "recorded_at = recorded_at + interval '1 us'",
        "seq = 100", "task_id = 'T-9'", "plan_id = 'pl-x'", "event_type = 'TaskReady'", "trace_id = 'x'",
        "causation_id = 'x'", "correlation_id = 'x'", "schema_version = 2",
        "tenant_id = 't-two', seq = 100, stream = 's'",
    ],
)  # fmt: skip
async def test_a_rewritten_event_no_longer_follows(database: TestDatabase, change: str) -> None:
    await _appended(database)
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
        admin.execute(
            f"UPDATE haas.events SET {change} WHERE tenant_id = 't-one' AND stream = 'plan/0' AND version = 2".encode()
        )
    assert broken([r for r in stored(database) if r["tenant_id"] == "t-one" or r["stream"] == "s"]) != []


async def test_a_removed_event_leaves_a_break(database: TestDatabase) -> None:
    await _appended(database)
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
        admin.execute("DELETE FROM haas.events WHERE tenant_id = 't-one' AND stream = 'plan/0' AND version = 2")
    assert broken([r for r in stored(database) if r["tenant_id"] == "t-one"]) == [("plan/0", 3)]
