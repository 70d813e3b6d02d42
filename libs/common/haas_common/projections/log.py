"""How a rebuild reads the history: by projects' sequences, or in the log's order up to where a projector has read.

A project's sequence is gapless and whoever sees a seq has all below it, so that a writer's projection needs no horizon.
"""

import dataclasses
from collections import deque
from typing import Any, Protocol

from psycopg.rows import tuple_row

from haas_common.db import Scope
from haas_common.projections.shadow import Connection, named, rows, run

Events = list[tuple[Any, ...]]
#: What `decoded` takes apart, in the order of Past, with the payload as text.
_FIELDS = """e.tenant_id, e.project_id, e.seq, e.stream, e.version, e.event_type, e.plan_id, e.task_id, e.actor,
       CASE WHEN e.event_type <> ALL (%(bare)s) THEN e.payload::text END, e.recorded_at::text, e.schema_version"""
_BY_SEQ = f"""
SELECT {_FIELDS}
  FROM unnest(%(tenants)s::text[], %(projects)s::text[], %(afters)s::bigint[], %(uptos)s::bigint[])
       WITH ORDINALITY AS w(tenant_id, project_id, after, upto, n)
 CROSS JOIN LATERAL (
       SELECT * FROM haas.events AS i
        WHERE i.tenant_id = w.tenant_id AND i.project_id = w.project_id AND i.seq > w.after AND i.seq <= w.upto
          AND (%(all)s OR i.event_type = ANY (%(types)s)) ORDER BY i.seq) AS e
 ORDER BY w.n, e.seq"""
_HEADS = "SELECT tenant_id, project_id, last_seq FROM haas.project_heads ORDER BY 1, 2"
_BY_COMMIT = f"""
SELECT {_FIELDS}, e.xid::text, e.id
  FROM haas.events AS e
 WHERE (e.xid, e.id) > (%(xid)s::xid8, %(id)s) AND (e.xid, e.id) <= (%(to_xid)s::xid8, %(to_id)s)
 ORDER BY e.xid, e.id LIMIT %(limit)s"""
_CURSOR = "SELECT xid::text AS xid, id FROM haas.relay_cursors WHERE name = %s"
_STREAM = f"""
SELECT {_FIELDS} FROM haas.events AS e
 WHERE e.tenant_id = %(tenant)s AND e.project_id = %(project)s AND e.stream = %(stream)s AND e.version < %(below)s
 ORDER BY e.version"""


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A stretch of the history. `events`: how many it passes over; `places`: (tenant, project, xid, seq or id)."""

    rows: Events
    events: int
    places: tuple[tuple[str, str, str, int], ...]


class Reader(Protocol):
    """Where a rebuild has read to."""

    async def load(self, connection: Connection, schema: str) -> None:
        """Goes on where the shadow's cursors are."""

    async def next(self, connection: Connection, limit: int) -> Page | None:
        """Returns what follows, as far as the connection's snapshot sees; None at the end."""


async def _fetched(connection: Connection, text: str, **values: Any) -> Events:
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(text.encode(), values)
        return await cursor.fetchall()


async def make_cursors(connection: Connection, schema: str) -> None:
    """Makes the table of cursors beside the shadow tables: both move in one transaction."""
    await run(
        connection,
        f"CREATE TABLE {named(schema)}.cursors (tenant_id text, project_id text, xid text NOT NULL,"
        " place bigint NOT NULL, PRIMARY KEY (tenant_id, project_id))",
    )


async def keep_cursors(connection: Connection, schema: str, page: Page) -> None:
    """Moves the cursors to a page's end."""
    tenants, projects, xids, places = zip(*page.places, strict=True)
    text = (
        f"INSERT INTO {named(schema)}.cursors SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])"
        " ON CONFLICT (tenant_id, project_id) DO UPDATE SET xid = excluded.xid, place = excluded.place"
    )
    await connection.execute(text.encode(), (list(tenants), list(projects), list(xids), list(places)))


async def stream(connection: Connection, scope: Scope, name: str, below: int, bare: tuple[str, ...]) -> Events:
    """Returns the events of a stream before a version, oldest first."""
    values = {"tenant": scope.tenant_id, "project": scope.project_id, "stream": name, "below": below}
    return await _fetched(connection, _STREAM, bare=list(bare), **values)


class BySeq:
    """Every project's sequence, some projects a page."""

    def __init__(self, types: tuple[str, ...], bare: tuple[str, ...]) -> None:
        self._chosen = {"types": list(types), "bare": list(bare), "all": not types}
        self._at: dict[tuple[str, str], int] = {}
        self._due: deque[tuple[str, str, int]] = deque()

    async def load(self, connection: Connection, schema: str) -> None:
        """See Reader.load."""
        found = await rows(connection, f"SELECT tenant_id, project_id, place FROM {named(schema)}.cursors")
        self._at = {(r["tenant_id"], r["project_id"]): r["place"] for r in found}
        self._due.clear()

    async def next(self, connection: Connection, limit: int) -> Page | None:
        """See Reader.next."""
        if not self._due:
            for row in await rows(connection, _HEADS):
                place = (row["tenant_id"], row["project_id"])
                if row["last_seq"] > self._at.get(place, 0):
                    self._due.append((*place, row["last_seq"]))
        spans: list[tuple[str, str, int, int]] = []
        room = limit
        while self._due and room > 0:
            tenant, project, last = self._due.popleft()
            after = self._at.get((tenant, project), 0)
            upto = min(last, after + room)
            if upto < last:
                self._due.appendleft((tenant, project, last))
            spans.append((tenant, project, after, upto))
            self._at[tenant, project] = upto
            room -= upto - after
        if not spans:
            return None
        tenants, projects, afters, uptos = (list(column) for column in zip(*spans, strict=True))
        found = await _fetched(
            connection, _BY_SEQ, tenants=tenants, projects=projects, afters=afters, uptos=uptos, **self._chosen
        )
        return Page(found, limit - room, tuple((t, p, "", upto) for t, p, _, upto in spans))


class ByCommit:
    """The log's order, up to where the live projector has read: there, nothing can come before any more."""

    def __init__(self, cursor: str, bare: tuple[str, ...]) -> None:
        self._cursor = cursor
        self._bare = list(bare)
        self._at = ("0", 0)

    async def load(self, connection: Connection, schema: str) -> None:
        """See Reader.load."""
        found = await rows(connection, f"SELECT xid, place FROM {named(schema)}.cursors")
        self._at = (found[0]["xid"], found[0]["place"]) if found else ("0", 0)

    async def next(self, connection: Connection, limit: int) -> Page | None:
        """See Reader.next."""
        live = await rows(connection, _CURSOR, self._cursor)
        if not live:
            return None
        found = await _fetched(
            connection, _BY_COMMIT, xid=self._at[0], id=self._at[1], to_xid=live[0]["xid"], to_id=live[0]["id"],
            limit=limit, bare=self._bare,
        )  # fmt: skip
        if not found:
            return None
        self._at = found[-1][-2:]
        return Page([row[:-2] for row in found], len(found), (("", "", *self._at),))
