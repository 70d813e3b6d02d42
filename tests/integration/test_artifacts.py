"""Artifacts on a real PostgreSQL and a real folder: chain, signature, tampering, retries, isolation."""

import datetime
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from haas_common import artifact_file, errors
from haas_common.artifacts import ArtifactStore, BlobStore, Draft, Placing
from haas_common.db import Database, Scope
from tests.integration.conftest import TestDatabase

ONE, TWO = Scope("t-one", "p-main"), Scope("t-two", "p-main")
NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
PLACING = Placing("artf-1-t-1-report", "specialist.report", plan_id="pl-00000001", task_id="T-1", links=("artf-brief",))


def draft(body: str) -> Draft:
    return Draft("report.md", "doc.report", "report", "Informe", body, {"kpis": {"cpl": 3.1, "leads": 180}}, ["a.csv"])


@pytest.fixture
async def opened(database: TestDatabase):
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        for tenant in ("t-one", "t-two"):
            connection.execute("INSERT INTO haas.tenants VALUES (%s)", (tenant,))
            connection.execute("INSERT INTO haas.projects VALUES (%s, 'p-main')", (tenant,))
    found = await Database.open(database.app_dsn, database.context_key, "test")
    yield found
    await found.close()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return ArtifactStore(BlobStore(tmp_path), public, private)


async def write(database: Database, store: ArtifactStore, body: str, *, once: bool = False):
    async with database.tenant_tx(ONE) as tx:
        return await store.write(tx, ONE, draft(body), PLACING, NOW, once=once)


async def test_versions_chain_and_read_back_as_they_were_written(opened: Database, store: ArtifactStore) -> None:
    first = await write(opened, store, "# Uno")
    second = await write(opened, store, "# Dos\n\n---\nhash_curr: not this\n")
    assert (first.version, second.version, second.hash_prev) == (1, 2, first.hash_curr)
    file = await store.read(ONE, second)
    document = artifact_file.parse(file)
    assert document.front["hash_prev"] == first.hash_curr
    assert document.front["hash_curr"] == second.hash_curr == artifact_file.hash_of(file)
    assert document.front["links"] == [{"type": "depends_on", "ref": "artf-brief"}]
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


@pytest.mark.parametrize("change", ["flip", "delete", "truncate", "swap"])
async def test_any_change_of_the_bytes_is_found(opened: Database, store: ArtifactStore, change: str) -> None:
    first = await write(opened, store, "# Uno")
    second = await write(opened, store, "# Dos")
    path = store.blobs.path(ONE, first.ref)
    data = path.read_bytes()
    if change == "flip":
        path.write_bytes(data.replace(b"Uno", b"Una"))
    elif change == "delete":
        path.unlink()
    elif change == "truncate":
        path.write_bytes(data[:-3])
    else:
        path.write_bytes(store.blobs.read(ONE, second.ref))
    async with opened.tenant_tx(ONE) as tx:
        found = await store.verify(tx, ONE, PLACING.artifact_id)
    assert found.first_bad_version == 1
    assert found.problem


async def test_a_signature_of_another_key_is_found(opened: Database, store: ArtifactStore, tmp_path: Path) -> None:
    await write(opened, store, "# Uno")
    other = Ed25519PrivateKey.generate().public_key()
    public = other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    async with opened.tenant_tx(ONE) as tx:
        found = await ArtifactStore(store.blobs, public).verify(tx, ONE, PLACING.artifact_id)
    assert found.problem == "its signature is not the fleet's"


async def test_another_tenant_sees_neither_artifact_nor_bytes(opened: Database, store: ArtifactStore) -> None:
    record = await write(opened, store, "# Uno")
    async with opened.tenant_tx(TWO) as tx:
        with pytest.raises(errors.ResourceNotFound):
            await store.head(tx, TWO, record.artifact_id)
    with pytest.raises(errors.ResourceNotFound):
        store.blobs.read(TWO, record.ref)


@pytest.mark.parametrize("ref", ["", "sha256:", "../../etc/passwd", "sha256:" + "a" * 63 + "/", "sha256:" + "A" * 64])
def test_what_is_no_address_is_not_looked_up(store: ArtifactStore, ref: str) -> None:
    with pytest.raises(errors.ResourceNotFound):
        store.blobs.path(ONE, ref)


@pytest.mark.parametrize("scope", [Scope("..", "p"), Scope("t-one", "../t-two"), Scope("*", "*"), Scope("", "p")])
def test_a_scope_never_leaves_its_folder(store: ArtifactStore, scope: Scope) -> None:
    with pytest.raises(errors.ResourceNotFound):
        store.blobs.put(scope, b"x")


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
