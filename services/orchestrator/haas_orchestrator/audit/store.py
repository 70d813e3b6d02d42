"""What is read to sign and to export, a named query each."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from haas_common.audit import checkpoints
from haas_common.audit.checkpoints import TENANT_PROJECT, Checkpoint, Record
from haas_common.audit.merkle import Fold, stream_leaf
from haas_common.audit.rows import line_of
from haas_common.db import Database, Scope, Tx, load_queries
from haas_common.events import upcast

SQL = load_queries("haas_orchestrator")
#: Heads are folded so many at a time, a few milliseconds each; the loop has other work meanwhile.
HEADS_PAGE = 2000
_NEVER = 2**62


async def projects_page(tx: Tx, after: tuple[str, str], limit: int, tenant_id: str = "") -> list[Scope]:
    """Returns a page of the projects that there are, of one tenant where one is named."""
    rows = await tx.all(
        SQL.audit_projects, after_tenant=after[0], after_project=after[1], tenant_id=tenant_id, limit=limit
    )
    return [Scope(row["tenant_id"], row["project_id"]) for row in rows]


async def scopes_of(database: Database, tenant_id: str, limit: int = 1000) -> list[Scope]:
    """Returns all projects of a tenant, its own among them."""
    own, found, after = Scope(tenant_id, TENANT_PROJECT), list[Scope](), ""
    while True:
        async with database.tenant_tx(own) as tx:
            page = await projects_page(tx, (tenant_id, after), limit, tenant_id)
        found += page
        if len(page) < limit:
            return sorted({own, *found})
        after = page[-1].project_id


async def heads(tx: Tx, scopes: Sequence[Scope]) -> list[dict[str, Any]]:
    """Returns {tenant_id, project_id, last_seq, streams} of the projects that have events."""
    rows = json.dumps([{"tenant_id": s.tenant_id, "project_id": s.project_id} for s in scopes])
    return await tx.all(SQL.audit_heads, rows=rows)


async def records(tx: Tx, tenant_id: str, projects: Sequence[str]) -> dict[str, Record]:
    """Returns what a checkpoint says of projects, all of one moment."""
    found: dict[str, Record] = {}
    folds: dict[str, Fold] = {}
    last: dict[str, tuple[int, int]] = {}
    pages = tx.each(SQL.audit_stream_heads, HEADS_PAGE, tenant_id=tenant_id, projects=list(projects))
    async for rows in pages:
        for row in rows:
            project = row["project_id"]
            fold = folds.setdefault(project, Fold())
            if row["ordinal"] != fold.count:
                raise LookupError(f"the streams of {tenant_id}/{project} are not numbered without a gap")
            fold.add(stream_leaf(project, row["stream"], row["version"], row["hash"]))
            last[project] = (row["last_seq"], row["streams"])
    for project, fold in folds.items():
        last_seq, streams = last[project]
        if fold.count != streams:
            raise LookupError(f"{tenant_id}/{project} has {fold.count} streams and counts {streams}")
        found[project] = Record(project, last_seq, streams, fold.root())
    return found


async def now(tx: Tx) -> str:
    """Returns the database's time, RFC 3339."""
    at = (await tx.one(SQL.audit_now))["at"]
    return str(at.isoformat(timespec="microseconds").replace("+00:00", "Z"))


async def keep_tenant_project(tx: Tx, tenant_id: str) -> None:
    """Makes the project that a tenant's own events stand in, unless it is there."""
    await tx.run(SQL.audit_tenant_project, tenant_id=tenant_id)


async def checkpoints_page(tx: Tx, tenant_id: str, before: int, limit: int) -> list[Checkpoint]:
    """Returns a page of checkpoints below a number (0: the newest), newest first."""
    rows = await tx.all(SQL.audit_checkpoints, tenant_id=tenant_id, before=before or _NEVER, limit=limit)
    return [checkpoints.read(tenant_id, row["payload"]) for row in rows]


async def genesis_ref(tx: Tx, tenant_id: str) -> str:
    """Returns the address of the document that a tenant's history begins from; empty where nothing was dropped."""
    row = await tx.maybe(SQL.audit_dropped, tenant_id=tenant_id)
    return upcast("HistoryDropped", row["schema_version"], row["payload"])["genesis_ref"] if row else ""


async def lines(
    database: Database, scope: Scope, after: int, until: int, page: int, bytes_max: int
) -> AsyncIterator[bytes]:
    """Yields a project's events as lines, some 256 KiB at a time, each page in a transaction of its own.

    A reader that takes its time holds nothing open: events are never changed, so that pages fit together.
    """
    while after < until:
        async with database.tenant_tx(scope) as tx:
            rows = await tx.all(
                SQL.audit_events, tenant_id=scope.tenant_id, project_id=scope.project_id, after=after, until=until,
                limit=page,
            )  # fmt: skip
        if not rows:
            return
        after = rows[-1]["seq"]
        piece, size = list[bytes](), 0
        for row in rows:
            piece.append(line_of(row).encode() + b"\n")
            size += len(piece[-1])
            if size >= bytes_max:
                yield b"".join(piece)
                piece, size = [], 0
        if piece:
            yield b"".join(piece)


async def profile(tx: Tx, scope: Scope, ref: str) -> bytes | None:
    """Returns the text of a profile by its hash."""
    row = await tx.maybe(SQL.audit_profile, tenant_id=scope.tenant_id, project_id=scope.project_id, hash=ref)
    return row["yaml"].encode() if row else None
