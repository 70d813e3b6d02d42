"""Bytes by their hash, per tenant and project. What is written is whole, durable, and never changes.

Two stores keep the same promises (tests/integration/test_blobs.py runs both): a folder, and a bucket
(haas_common.blobs_s3). A blob that the garbage collection sets aside can still be read, and comes back when it is put
again or turns out to be referenced (haas_common.garbage).
"""

import abc
import contextlib
import dataclasses
import datetime
import hashlib
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator

from haas_common import errors
from haas_common.config import Config
from haas_common.db import Scope

_REF = re.compile(r"sha256:([0-9a-f]{64})\Z")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
_NAME = re.compile(r"[0-9a-f]{64}\Z")
_ASIDE = ".aside-"
#: The project that a tenant's own events stand in, and where the bytes that they name lie: no project can be named so.
_TENANT_PROJECT, _TENANT_FOLDER = "*", "_tenant"


def ref_of(data: bytes) -> str:
    """Returns the address of some bytes: "sha256:" and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def key_of(scope: Scope, ref: str) -> str:
    """Returns where a blob lies below the root: <tenant>/<project, or _tenant>/<2 digits>/<64 digits>.

    Raises:
        ResourceNotFound: it is no address, or the scope no tenant's project.
    """
    match = _REF.match(ref)
    own = scope.project_id == _TENANT_PROJECT
    if not match or not _ID.match(scope.tenant_id) or not (own or _ID.match(scope.project_id)):
        raise not_there(ref)
    return f"{scope.tenant_id}/{_TENANT_FOLDER if own else scope.project_id}/{match[1][:2]}/{match[1]}"


def not_there(ref: str) -> errors.ResourceNotFound:
    """Returns the error of a blob that is not there."""
    return errors.ResourceNotFound("There is no such input in this project.", resource="blob", id=ref[:100])


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """A blob as the store lists it; `changed_at` is when it was last put, or set aside."""

    ref: str
    size_bytes: int
    changed_at: datetime.datetime


class Blobs(abc.ABC):
    """A store of bytes by their hash. Its methods block: a coroutine calls them in a thread."""

    #: Whether a blob that was set aside may be dropped in the same run: nobody can have put it unseen meanwhile.
    drops_at_once: bool

    @abc.abstractmethod
    def put(self, scope: Scope, data: bytes) -> str:
        """Keeps bytes, durable before it returns; returns their address. The same bytes again only renew their time."""

    @abc.abstractmethod
    def load(self, scope: Scope, ref: str) -> bytes:
        """Returns a blob's bytes as they are now, unchecked. Raises ResourceNotFound."""

    @abc.abstractmethod
    def size(self, scope: Scope, ref: str) -> int:
        """Returns how many bytes a blob has. Raises ResourceNotFound."""

    def read(self, scope: Scope, ref: str) -> bytes:
        """Returns a blob. Raises ResourceNotFound, and HashMismatch for bytes that were tampered with."""
        data = self.load(scope, ref)
        if ref_of(data) != ref:
            raise errors.HashMismatch("Stored bytes no longer match their hash.", ref=ref)
        return data

    @abc.abstractmethod
    def listed(self, scope: Scope) -> Iterator[Kept]:
        """Yields a project's blobs, in no order."""

    @abc.abstractmethod
    def aside(self, scope: Scope) -> Iterator[Kept]:
        """Yields what was set aside and neither restored nor dropped."""

    @abc.abstractmethod
    def set_aside(self, scope: Scope, kept: Kept) -> bool:
        """Takes a blob out of sight of `put`; False where it was put again since it was listed: it stays."""

    @abc.abstractmethod
    def restore(self, scope: Scope, ref: str) -> None:
        """Puts back what was set aside."""

    @abc.abstractmethod
    def drop(self, scope: Scope, ref: str) -> None:
        """Removes what was set aside, for good."""


class BlobStore(Blobs):
    """Files at <root>/<tenant>/<project>/<2 digits>/<64 digits>, 0600."""

    drops_at_once = True

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def path(self, scope: Scope, ref: str) -> pathlib.Path:
        """Returns where a blob lies. Raises ResourceNotFound for what is no address, or is not there."""
        path = self._root / key_of(scope, ref)
        if not path.is_file():
            # Set aside by a collection that is under way, or was cut short: whoever asks for it, has it back.
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                os.link(_aside(path), path)
                return path
            if not path.is_file():
                raise not_there(ref)
        return path

    def load(self, scope: Scope, ref: str) -> bytes:
        """See Blobs."""
        return self.path(scope, ref).read_bytes()

    def size(self, scope: Scope, ref: str) -> int:
        """See Blobs."""
        return self.path(scope, ref).stat().st_size

    def put(self, scope: Scope, data: bytes) -> str:
        """See Blobs."""
        ref = ref_of(data)
        path = self._root / key_of(scope, ref)
        # Renewed and still there: what a collection sets aside from now on shows that its time has moved.
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
            path.stat()
            return ref
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except BaseException:
            pathlib.Path(scratch).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return ref

    def listed(self, scope: Scope) -> Iterator[Kept]:
        """See Blobs."""
        return self._files(scope, "")

    def aside(self, scope: Scope) -> Iterator[Kept]:
        """See Blobs."""
        return self._files(scope, _ASIDE)

    def set_aside(self, scope: Scope, kept: Kept) -> bool:
        """See Blobs. A put before the rename shows in the time; one after it finds no file and writes its own."""
        path = self._root / key_of(scope, kept.ref)
        # A reader may have linked the two: a rename of one name of a file over its other one does nothing.
        _aside(path).unlink(missing_ok=True)
        try:
            os.rename(path, _aside(path))
        except FileNotFoundError:
            return False
        if _time(_aside(path).stat()) == kept.changed_at:
            return True
        self.restore(scope, kept.ref)
        return False

    def restore(self, scope: Scope, ref: str) -> None:
        """See Blobs. What was put meanwhile has the same bytes and stays."""
        path = self._root / key_of(scope, ref)
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            os.link(_aside(path), path)
        _aside(path).unlink(missing_ok=True)
        _sync_folder(path.parent)

    def drop(self, scope: Scope, ref: str) -> None:
        """See Blobs."""
        _aside(self._root / key_of(scope, ref)).unlink(missing_ok=True)

    def _files(self, scope: Scope, prefix: str) -> Iterator[Kept]:
        for path in (self._root / key_of(scope, f"sha256:{'0' * 64}")).parent.parent.glob(f"??/{prefix}*"):
            name = path.name.removeprefix(prefix)
            if not _NAME.match(name):
                continue
            # It may be gone by now: another collection, or a put over what was set aside.
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                yield Kept(f"sha256:{name}", stat.st_size, _time(stat))


def _aside(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{_ASIDE}{path.name}")


def _time(stat: os.stat_result) -> datetime.datetime:
    whole, rest = divmod(stat.st_mtime_ns // 1000, 1_000_000)
    return datetime.datetime.fromtimestamp(whole, datetime.UTC).replace(microsecond=rest)


def _sync_folder(folder: pathlib.Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_blobs(config: Config) -> Blobs:
    """Opens the store that the environment names: a bucket (HAAS_ARTIFACT_STORE_URL), else a folder (HAAS_STORE_DIR).

    Raises:
        ConfigInvalid: the URL is wrong, or the package for buckets is not installed.
    """
    if not config.artifact_store_url:
        return BlobStore(config.store_dir)
    # The library for buckets is 20 MiB that a fleet without one never pays for.
    from haas_common.blobs_s3 import open_bucket

    return open_bucket(config)
