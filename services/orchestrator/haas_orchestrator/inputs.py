"""Uploaded files: read in pieces, checked, kept by their hash."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator

from haas_common import errors, tables
from haas_common.blobs import Blobs
from haas_common.db import Database, Scope
from haas_common.doorbell import Doorbell
from haas_common.eventstore import NewEvent, append
from haas_orchestrator import store

INPUT_BYTES_MAX = 8 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KINDS = {".csv": "csv", ".json": "json", ".md": "text", ".txt": "text"}


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """What was kept."""

    ref: str
    size_bytes: int
    facts: tables.TableFacts | None


async def gather(pieces: AsyncIterator[bytes]) -> bytes:
    """Joins the pieces of an upload. Raises PayloadTooLarge as soon as they pass 8 MiB."""
    whole = bytearray()
    async for piece in pieces:
        if len(whole) + len(piece) > INPUT_BYTES_MAX:
            raise errors.PayloadTooLarge("An input has at most 8 MiB.", bytes_max=INPUT_BYTES_MAX)
        whole += piece
    return bytes(whole)


def check(name: str, data: bytes, *, lenient: bool) -> tables.TableFacts | None:
    """Checks a file by its name's ending; returns a table's facts. Raises FieldInvalid, TableRowsBroken."""
    kind = _KINDS.get(name[name.rfind(".") :].lower()) if _NAME.fullmatch(name) else None
    if kind is None:
        sentence = "name: a file's name that ends in .csv, .json, .md or .txt."
        raise errors.FieldInvalid(sentence, field="name", rule="file")
    if not data:
        raise errors.FieldInvalid("file: the body is empty.", field="file", rule="not empty")
    if kind == "text":
        try:
            data.decode()
        except UnicodeDecodeError:
            raise errors.FieldInvalid("file: the text is not UTF-8.", field="file", rule="UTF-8") from None
        return None
    try:
        facts = tables.check_table(data, kind)
    except tables.TableUnreadable as error:
        raise errors.FieldInvalid(f"file: {error}", field="file", rule=error.rule) from None
    if facts.broken_rows and not lenient:
        rows = ", ".join(map(str, facts.broken_row_numbers))
        raise errors.TableRowsBroken(
            f"{facts.broken_rows} rows are broken (row {rows}; the header is row 1); mend them or upload with lenient.",
            rows=rows,
            broken_rows=facts.broken_rows,
        )
    return facts


async def keep(
    database: Database, doorbell: Doorbell, blobs: Blobs, scope: Scope, actor: str, name: str, data: bytes, *,
    lenient: bool,
) -> Kept:  # fmt: skip
    """Checks and keeps a file; the same file again changes nothing. Raises what `check` does."""
    facts = await asyncio.to_thread(check, name, data, lenient=lenient)
    ref = await asyncio.to_thread(blobs.put, scope, data)
    rows = {
        "row_count": facts.rows if facts else 0,
        "columns": list(facts.columns) if facts else [],
        "broken_rows": facts.broken_rows if facts else 0,
    }
    async with database.tenant_tx(scope) as tx:
        if await store.keep_input(tx, scope, ref=ref, name=name, size_bytes=len(data), lenient=lenient, **rows):
            payload = {"ref": ref, "name": name, "size_bytes": len(data), "rows": rows["row_count"], "lenient": lenient}
            await append(tx, [NewEvent(scope, f"input/{ref[7:39]}", "InputUploaded", payload, actor, subject=actor)])
    doorbell.ring("events")
    return Kept(ref, len(data), facts)
