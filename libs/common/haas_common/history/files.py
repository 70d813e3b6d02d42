"""A range as a file: its rows as gzipped CSV, and beside it a manifest with the hashes that tell whether it is whole.

The manifest is there first: one without its file is a write that was cut short, and is written again.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from haas_common.history.partitions import Part, Partitions, Range
from haas_common.history.refusals import FileInTheWay

FORMAT = "haas.range.v1"


def manifest_of(file: Path) -> Path:
    """Returns where a file's manifest lies."""
    return file.with_name(f"{file.name}.json")


def write_out(partitions: Partitions, found: Range, parts: Iterable[Part], file: Path) -> dict[str, Any]:
    """Writes a range into a file, durable before it returns; returns the manifest. Once written it stays.

    Raises FileInTheWay.
    """
    if file.exists():
        return check(found, file)
    if manifest_of(file).exists() and _manifest(file).get("range") != found.name:
        raise FileInTheWay(f"{manifest_of(file)} exists and is not that of {found.name}: name another file.")
    scratch = file.with_name(f".{file.name}.new")
    rows = hashlib.sha256()
    with scratch.open("wb") as raw:
        os.fchmod(raw.fileno(), 0o600)
        with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0, filename="") as packed:
            for block in partitions.copied(found):
                rows.update(block)
                packed.write(block)
        raw.flush()
        os.fsync(raw.fileno())
    first, end = found.ids
    manifest = {
        "format": FORMAT,
        "range": found.name,
        "ids": [first, end - 1],
        "columns": partitions.columns(found),
        "file_sha256": _digest(scratch),
        "rows_sha256": rows.hexdigest(),
        "projects": [
            {
                "tenant_id": p.tenant_id,
                "project_id": p.project_id,
                "first_seq": p.first_seq,
                "last_seq": p.last_seq,
                "events": p.events,
            }
            for p in parts
        ],
    }
    _write_durably(manifest_of(file), json.dumps(manifest, indent=1).encode() + b"\n")
    os.rename(scratch, file)
    _sync_folder(file.parent)
    return manifest


def check(found: Range, file: Path) -> dict[str, Any]:
    """Returns the manifest of a file that holds this range, whole. Raises FileInTheWay."""
    manifest = _manifest(file)
    if manifest.get("range") != found.name or manifest.get("file_sha256") != _digest(file):
        raise FileInTheWay(f"{file} holds something else than the range {found.name}: name another file.")
    return manifest


def _manifest(file: Path) -> dict[str, Any]:
    """Reads a manifest; what is none reads as empty."""
    try:
        manifest = json.loads(manifest_of(file).read_bytes())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else {}


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _write_durably(path: Path, data: bytes) -> None:
    scratch = path.with_name(f".{path.name}.new")
    with scratch.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(scratch, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
