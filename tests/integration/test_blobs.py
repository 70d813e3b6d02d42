"""The blob stores: a folder and a bucket keep the same promises."""

import datetime
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from haas_common import errors
from haas_common.blobs import Blobs, BlobStore, open_blobs, ref_of
from haas_common.config import Config, ConfigInvalid
from haas_common.db import Scope
from tests.support import s3_server
from tests.support.s3_server import Account

ONE, TWO = Scope("t-one", "p-main"), Scope("t-two", "p-main")


@pytest.fixture
def account() -> Iterator[Account]:
    with s3_server.running() as found:
        yield found


def config(tmp_path: Path, url: str = "") -> Config:
    return Config(
        "orchestrator", "dev", tmp_path, "127.0.0.1:0", tmp_path, tmp_path / "store",
        artifact_store_url=url, aws_access_key_id="key-of-tests", aws_secret_access_key="secret-of-tests",
    )  # fmt: skip


def bucket(tmp_path: Path, account: Account) -> Blobs:
    return open_blobs(config(tmp_path, f"s3://{account.bucket}/fleet/one?endpoint={account.url}&region=eu-west-1"))


@pytest.fixture(params=["folder", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, account: Account) -> Blobs:
    return open_blobs(config(tmp_path)) if request.param == "folder" else bucket(tmp_path, account)


@pytest.mark.parametrize("data", [b"", b"x", b"\0\xff" * 1000, b"y" * 3_000_000])
def test_what_is_put_is_read_by_its_hash(blobs: Blobs, data: bytes) -> None:
    ref = blobs.put(ONE, data)
    assert ref == ref_of(data) == blobs.put(ONE, data)
    assert blobs.read(ONE, ref) == blobs.load(ONE, ref) == data
    assert blobs.size(ONE, ref) == len(data)


@pytest.mark.parametrize("ref", ["", "sha256:", "../../etc/passwd", "sha256:" + "a" * 63 + "/", ref_of(b"never put")])
def test_what_is_not_there_or_no_address_is_not_found(blobs: Blobs, ref: str) -> None:
    for asked in (blobs.load, blobs.read, blobs.size):
        with pytest.raises(errors.ResourceNotFound):
            asked(ONE, ref)


def test_another_tenant_finds_nothing(blobs: Blobs) -> None:
    ref = blobs.put(ONE, b"mine")
    with pytest.raises(errors.ResourceNotFound):
        blobs.read(TWO, ref)
    assert list(blobs.listed(TWO)) == []


@pytest.mark.parametrize("scope", [Scope("..", "p"), Scope("t-one", "../t-two"), Scope("*", "*"), Scope("", "p")])
def test_a_scope_never_leaves_its_folder(blobs: Blobs, scope: Scope) -> None:
    with pytest.raises(errors.ResourceNotFound):
        blobs.put(scope, b"x")
    with pytest.raises(errors.ResourceNotFound):
        list(blobs.listed(scope))


def test_a_blob_is_listed_with_its_size_and_a_time_that_a_put_renews(blobs: Blobs) -> None:
    refs = {blobs.put(ONE, data): len(data) for data in (b"a", b"bb", b"ccc")}
    before = {kept.ref: kept for kept in blobs.listed(ONE)}
    assert {ref: kept.size_bytes for ref, kept in before.items()} == refs
    ref = ref_of(b"a")
    blobs.put(ONE, b"a")
    after = {kept.ref: kept for kept in blobs.listed(ONE)}
    assert after[ref].changed_at > before[ref].changed_at
    assert after[ref_of(b"bb")] == before[ref_of(b"bb")]


def test_what_is_set_aside_can_still_be_read_until_it_is_dropped(blobs: Blobs) -> None:
    ref = blobs.put(ONE, b"a")
    kept = next(iter(blobs.listed(ONE)))
    assert blobs.set_aside(ONE, kept)
    assert [k.ref for k in blobs.aside(ONE)] == [ref]
    assert list(blobs.listed(ONE)) == []
    assert blobs.size(ONE, ref) == 1
    assert blobs.read(ONE, ref) == b"a"
    for left in list(blobs.listed(ONE)):
        assert blobs.set_aside(ONE, left)
    blobs.drop(ONE, ref)
    with pytest.raises(errors.ResourceNotFound):
        blobs.read(ONE, ref)
    assert list(blobs.aside(ONE)) == []


def test_what_was_put_since_it_was_listed_is_not_set_aside(blobs: Blobs) -> None:
    ref = blobs.put(ONE, b"a")
    kept = next(iter(blobs.listed(ONE)))
    blobs.put(ONE, b"a")
    assert not blobs.set_aside(ONE, kept)
    assert [k.ref for k in blobs.listed(ONE)] == [ref]
    assert list(blobs.aside(ONE)) == []


@pytest.mark.parametrize("again", [False, True], ids=["gone", "put again meanwhile"])
def test_what_is_restored_is_there_as_before(blobs: Blobs, again: bool) -> None:
    ref = blobs.put(ONE, b"a")
    assert blobs.set_aside(ONE, next(iter(blobs.listed(ONE))))
    if again:
        blobs.put(ONE, b"a")
    blobs.restore(ONE, ref)
    assert list(blobs.aside(ONE)) == []
    assert blobs.read(ONE, ref) == b"a"


# ── The folder ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_changed_file_is_found(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    ref = blobs.put(ONE, b"a")
    blobs.path(ONE, ref).write_bytes(b"b")
    with pytest.raises(errors.HashMismatch):
        blobs.read(ONE, ref)
    assert blobs.load(ONE, ref) == b"b"


def _writer(root: str, started: "multiprocessing.connection.Connection") -> None:
    blobs, number = BlobStore(Path(root)), 0
    started.send(True)
    while True:
        number += 1
        blobs.put(ONE, number.to_bytes(4, "big") * 100_000)


def test_no_partial_blob_is_ever_seen_after_a_kill(tmp_path: Path) -> None:
    """A writer is killed at whatever it is doing; every file with an address has the bytes of that address."""
    context, seen = multiprocessing.get_context("spawn"), 0
    for _ in range(3):
        ours, theirs = context.Pipe()
        writer = context.Process(target=_writer, args=(str(tmp_path), theirs))
        writer.start()
        assert ours.recv()
        before = seen
        while seen < before + 5:
            seen = len(list(BlobStore(tmp_path).listed(ONE)))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        writer.close()
        ours.close()
        theirs.close()
    found = list(BlobStore(tmp_path).listed(ONE))
    assert len(found) >= 15
    assert all(BlobStore(tmp_path).read(ONE, kept.ref) for kept in found)


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = BlobStore(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        blobs.put(ONE, b"a")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_collection_cut_short_hides_nothing_for_good(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    ref = blobs.put(ONE, b"a")
    assert blobs.set_aside(ONE, next(iter(blobs.listed(ONE))))
    assert BlobStore(tmp_path).read(ONE, ref) == b"a"
    assert [kept.ref for kept in BlobStore(tmp_path).listed(ONE)] == [ref]


# ── The bucket ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_request_to_the_bucket_is_signed_and_stays_below_the_prefix(tmp_path: Path, account: Account) -> None:
    blobs = bucket(tmp_path, account)
    ref = blobs.put(ONE, b"a")
    assert blobs.read(ONE, ref) == b"a"
    assert account.requests == [(verb, f"fleet/one/t-one/p-main/{ref[7:9]}/{ref[7:]}") for verb in ("PUT", "GET")]


def test_a_key_that_the_bucket_refuses_is_a_typed_error(tmp_path: Path, account: Account) -> None:
    url = f"s3://{account.bucket}?endpoint={account.url}"
    blobs = open_blobs(replace(config(tmp_path, url), aws_access_key_id="another"))
    with pytest.raises(errors.ServiceUnavailable) as failed:
        blobs.put(ONE, b"a")
    assert account.objects == {}
    assert "secret" not in str(failed.value.metadata) + failed.value.message


def test_the_secrets_folder_comes_before_the_environment(tmp_path: Path, account: Account) -> None:
    (tmp_path / "s3.access_key_id").write_text(f"{account.access_key_id}\n")
    (tmp_path / "s3.secret_access_key").write_text("another\n")
    url = f"s3://{account.bucket}?endpoint={account.url}"
    blobs = open_blobs(replace(config(tmp_path, url), aws_access_key_id="wrong"))
    assert blobs.read(ONE, blobs.put(ONE, b"a")) == b"a"


@pytest.mark.parametrize(
    "url",
    [
        "file:///tmp",
        "s3:///x",
        "s3://user:secret-of-tests@haas/x",
        "s3://haas?endpoint=ftp://x",
        "s3://haas?acl=public",
    ],
)
def test_a_wrong_url_is_refused_by_a_sentence_without_secrets(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigInvalid, match="HAAS_ARTIFACT_STORE_URL") as failed:
        open_blobs(config(tmp_path, url))
    assert "secret-of-tests" not in str(failed.value)


def test_a_bucket_needs_credentials(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="credentials"):
        open_blobs(replace(config(tmp_path, "s3://haas"), aws_secret_access_key=""))


def test_a_config_shows_no_credential(tmp_path: Path) -> None:
    shown = repr(config(tmp_path, "s3://haas"))
    assert "key-of-tests" not in shown
    assert "secret-of-tests" not in shown


def test_the_times_of_a_folder_and_of_a_bucket_are_aware(blobs: Blobs) -> None:
    blobs.put(ONE, b"a")
    assert [kept.changed_at.tzinfo for kept in blobs.listed(ONE)] == [datetime.UTC]
