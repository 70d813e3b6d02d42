"""An export: a folder (or .tar.gz) with a manifest, each project's events as lines, and the bytes that they name.

    manifest.json              format, tenant, projects with their heads, the newest checkpoint, the fleet's public keys
    events/<project>.jsonl     an event a line, in order; `_tenant` stands for the tenant's own project ("*")
    artifacts/<64 hex digits>  bytes by their SHA-256
    data-keys.json             only where it was asked for: the keys of personal fields, in the clear

It appears whole or not at all. Whatever it holds is taken for what a stranger sent: nothing is followed out of it.
"""

import contextlib
import dataclasses
import gzip
import hashlib
import json
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from haas_common.audit import data_keys
from haas_common.audit.blobs import REF_FIELDS, ref_in
from haas_common.audit.checkpoints import TENANT_PROJECT
from haas_common.audit.data_keys import DataKey
from haas_common.audit.framing import digest_bytes
from haas_common.audit.rows import lines_of
from haas_common.fleet_keys import FleetKey, read_entries

FORMAT = "haas.history.v1"
BLOCK_BYTES = 1 << 20
MANIFEST_BYTES_MAX = 16 << 20
BLOB_BYTES_MAX = 64 << 20
ARCHIVE = ".tar.gz"
_TENANT_FILE = "_tenant"
_PROJECT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MEMBER = re.compile(
    r"(?:[^/]+/)?(manifest\.json|data-keys\.json|events/[a-z0-9_-]{1,64}\.jsonl|artifacts/[0-9a-f]{64})"
)
_NAMING = re.compile("|".join(f'"event_type":"{name}"' for name in sorted(REF_FIELDS)))

# Lines hold payloads as texts.
_SEALED = re.compile(r'\\"\$sealed\\": ?\\"([a-z0-9-]{1,64})\\"')
_ERASED = '"event_type":"DataErased"'


class ExportInvalid(ValueError):
    """What is no export, or cannot be written as one."""


def file_of(project_id: str) -> str:
    """Returns the name of a project's file."""
    return f"{_TENANT_FILE if project_id == TENANT_PROJECT else project_id}.jsonl"


@dataclasses.dataclass(slots=True)
class Written:
    """What was written of a project.

    Attributes:
        events: how many.
        last_seq: where it ends.
        refs: the addresses that its events name.
        sealed: the keys that its events need, without those that an erasure destroyed.
    """

    events: int = 0
    last_seq: int = 0
    refs: list[str] = dataclasses.field(default_factory=list)
    sealed: set[str] = dataclasses.field(default_factory=set)


class Writer:
    """Writes an export beside its place and moves it there at the end."""

    def __init__(self, target: Path) -> None:
        """Takes the place: a folder that does not exist, or a name that ends with .tar.gz. Raises ExportInvalid."""
        if target.exists():
            raise ExportInvalid(f"{target} exists: an export is written into a new place.")
        self._target = target
        self._folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        self._whole = self._folder / target.name.removesuffix(ARCHIVE)
        for name in ("events", "artifacts"):
            (self._whole / name).mkdir(parents=True)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def events(self, project_id: str, blocks: Iterable[bytes]) -> Written:
        """Writes a project's events as they come; returns what they were."""
        written, seen, last, destroyed = Written(), set[str](), "", set[str]()
        with (self._whole / "events" / file_of(project_id)).open("wb") as file:
            for lines in lines_of(_copied(blocks, file)):
                written.events += len(lines)
                last = lines[-1]
                for line in lines:
                    if "$sealed" in line:
                        written.sealed.update(_SEALED.findall(line))
                    if _ERASED in line:
                        destroyed.update(json.loads(json.loads(line)["payload"])["key_ids"])
                    if _NAMING.search(line):
                        row = json.loads(line)
                        seen.add(ref_in(row["event_type"], json.loads(row["payload"])))
        written.last_seq = json.loads(last)["seq"] if last else 0
        written.refs, written.sealed = sorted(seen - {""}), written.sealed - destroyed
        return written

    def has(self, ref: str) -> bool:
        """Tells whether the bytes of an address are written already."""
        return self._blob(ref).exists()

    def blob(self, ref: str, data: bytes) -> None:
        """Writes bytes under their address."""
        self._blob(ref).write_bytes(data)

    def data_keys(self, tenant_id: str, keys: Sequence[DataKey]) -> dict[str, Any]:
        """Writes the keys of personal fields, for this user alone to read; returns what the manifest says of it."""
        data = data_keys.write(tenant_id, keys)
        descriptor = os.open(self._whole / data_keys.FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        return {"file": data_keys.FILE, "sha256": hashlib.sha256(data).hexdigest(), "keys": len(keys)}

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Writes the manifest and moves everything to its place."""
        text = json.dumps({"format": FORMAT, **manifest}, ensure_ascii=False, indent=1)
        (self._whole / "manifest.json").write_text(text + "\n", encoding="utf-8")
        if not self._target.name.endswith(ARCHIVE):
            os.rename(self._whole, self._target)
            return
        packed = self._folder / "packed"
        packed.touch(0o600 if "data_keys" in manifest else 0o666)
        with (
            packed.open("wb") as raw,
            gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w") as archive,
        ):
            archive.add(self._whole, self._whole.name, filter=_nobody)
        os.rename(packed, self._target)

    def _blob(self, ref: str) -> Path:
        return self._whole / "artifacts" / digest_bytes(ref).hex()


def _copied(blocks: Iterable[bytes], file: IO[bytes]) -> Iterator[bytes]:
    for block in blocks:
        file.write(block)
        yield block


def _nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


@dataclasses.dataclass(frozen=True, slots=True)
class Export:
    """An export that lies in a folder; a Source of haas_common.audit.verify."""

    folder: Path
    tenant_id: str
    manifest: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path) -> "Export":
        """Reads the manifest. Raises ExportInvalid."""
        try:
            manifest = json.loads(_read(folder / "manifest.json", MANIFEST_BYTES_MAX) or b"")
            tenant_id = manifest["tenant_id"]
            if manifest["format"] != FORMAT or not _PROJECT.fullmatch(tenant_id):
                raise ExportInvalid(f"{folder} is an export of another format.")
        except (KeyError, TypeError, RecursionError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ExportInvalid(f"{folder} is no export: its manifest.json cannot be read.") from error
        return cls(folder, tenant_id, manifest)

    def projects(self) -> list[str]:
        """Returns the projects whose events are there, the tenant's own first."""
        names = {path.name.removesuffix(".jsonl") for path in (self.folder / "events").glob("*.jsonl")}
        found = sorted(name for name in names if _PROJECT.fullmatch(name))
        return [TENANT_PROJECT, *found] if _TENANT_FILE in names else found

    def events(self, project_id: str) -> Iterator[list[str]]:
        """Yields a project's events as lines."""
        with _opened(self.folder / "events" / file_of(project_id)) as file:
            yield from lines_of(iter(lambda: file.read(BLOCK_BYTES), b""))

    def blob(self, project_id: str, ref: str) -> bytes | None:
        """Returns the bytes of an address; None where they are not there. Raises ValueError for what is no address."""
        return _read(self.folder / "artifacts" / digest_bytes(ref).hex(), BLOB_BYTES_MAX)

    def data_keys(self) -> list[DataKey]:
        """Returns the keys of personal fields that it brings, none where it brings none. Raises ExportInvalid."""
        problem = self.data_keys_problem()
        if problem:
            raise ExportInvalid(problem)
        if "data_keys" not in self.manifest:
            return []
        try:
            return data_keys.read(_read(self.folder / data_keys.FILE, data_keys.BYTES_MAX) or b"", self.tenant_id)
        except ValueError as error:
            raise ExportInvalid(str(error)) from None

    def data_keys_problem(self) -> str:
        """Returns how data-keys.json is not what the manifest says; empty where it is."""
        data = _read(self.folder / data_keys.FILE, data_keys.BYTES_MAX)
        said = self.manifest.get("data_keys")
        if said is None:
            return "" if data is None else f"{data_keys.FILE} is there, and the manifest does not name it"
        if data is None:
            return f"{data_keys.FILE} is not there, though the manifest names it"
        found = hashlib.sha256(data).hexdigest()
        same = isinstance(said, dict) and said.get("sha256") == found
        return "" if same else f"{data_keys.FILE} is another one than the manifest names"

    def keys(self, use: str) -> dict[str, FleetKey]:
        """Returns the public keys of a use that the export itself brings. Raises ExportInvalid."""
        return keys_of(self.manifest.get("keys", ()), use)


def keys_of(entries: Sequence[Mapping[str, Any]], use: str) -> dict[str, FleetKey]:
    """Reads public keys as fleet-keys.json has them. Raises ExportInvalid."""
    try:
        return {key.kid: key for key in read_entries(entries) if key.use == use}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExportInvalid("The fleet's public keys cannot be read.") from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Export]:
    """Yields an export; an archive is unpacked into a folder that goes away again. Raises ExportInvalid."""
    if not path.is_file():
        yield Export.of(path)
        return
    with tempfile.TemporaryDirectory(prefix="haas-export-") as scratch:
        _unpack(path, Path(scratch))
        yield Export.of(Path(scratch))


def _unpack(path: Path, folder: Path) -> None:
    """Takes what an export has out of an archive, and nothing else: no link, no other name."""
    for name in ("events", "artifacts"):
        (folder / name).mkdir()
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                match = _MEMBER.fullmatch(member.name)
                data = archive.extractfile(member) if match and member.isreg() else None
                if match and data is not None:
                    with (folder / match[1]).open("wb") as file:
                        shutil.copyfileobj(data, file, BLOCK_BYTES)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise ExportInvalid(f"{path} is no archive of an export, or not a whole one.") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file that is one: no link, no pipe that never ends."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ExportInvalid(f"{path} is no file.")
        yield file


def _read(path: Path, bytes_max: int) -> bytes | None:
    try:
        with _opened(path) as file:
            return file.read(bytes_max)
    except OSError:
        return None
