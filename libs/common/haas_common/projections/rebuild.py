"""Builds a read model anew beside the live one and swaps the two while the fleet works.

What was folded and how far it was read are committed together: a rebuild that died goes on where it was. At the end the
live tables are locked for a moment. Writers project in the append's own transaction, under a lock on the live table, so
that holding it alone proves that nothing is under way: what the log then shows is all there is.
"""

import asyncio
import dataclasses
import gc
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from haas_common.db import Scope, Tx
from haas_common.db.doors import connection_parameters
from haas_common.db.translate import translate
from haas_common.events import EVENT_TYPES, upcast
from haas_common.key_ring import KeyRing
from haas_common.projections import Key, Past, Projection, Row, log, shadow
from haas_common.projections.shadow import Connection, named, rows, run
from haas_common.sealing import Stored, Vault

PAGE = 20_000
#: Rows that one piece of a COPY holds: each is waited for.
COPIED = 5_000
#: What may still have to be folded when the live tables are locked.
TAIL_MAX = 2_000
LOCK_S = 0.4
SHOWN = 20
_LOCK_FOR_S = 120.0
_PAUSE_S = 0.1
# Without what json.loads looks after at each call: the history's text begins with its payload and ends with it.
_decode = json.JSONDecoder().raw_decode
_NOTHING: Mapping[str, Any] = {}
Report = Callable[[dict[str, Any]], None]


class RebuildRunning(Exception):
    """Another rebuild of the same read model is under way."""


class TablesBusy(Exception):
    """The live tables could not be locked: somebody holds them without end."""


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a rebuild came to: the events that it folded, and how the live tables differ from the history."""

    events: int
    differing: int
    differences: list[dict[str, Any]]
    swapped: bool


class _Erased(Exception):
    """Somebody's data was erased while it was folded: what was folded may still hold it."""


class Rebuild:
    """One rebuild of one projection."""

    def __init__(
        self,
        made: Callable[[], Projection],
        admin_url: str,
        ring: KeyRing | None,
        *,
        rate: int = 0,
        report: Report = lambda line: None,
    ) -> None:
        """Keeps what it works with.

        Args:
            made: gives the projection, without state.
            admin_url: a role that sees every tenant and may make the owner's tables.
            ring: opens personal data; None where nothing is sealed.
            rate: events a second at most; 0: as fast as it goes.
            report: takes a line of progress.
        """
        self._made = made
        self._url = admin_url
        self._ring = ring
        self._rate = rate
        self._report = report
        self._reset()
        self._schema = f"haas_rebuild_{self._projection.name}"
        self._old = f"{self._schema}_old"

    def _reset(self) -> None:
        self._projection = projection = self._made()
        # A fresh one: it keeps keys for a while, and what they opened must not outlive them.
        self._vault = Vault(self._ring)
        kind = log.ByCommit(projection.cursor, projection.bare) if projection.cursor else None
        self._reader: log.Reader = kind or log.BySeq(projection.types, projection.bare)
        self._events = self._before = self._total = self._destroyed = 0
        self._began = time.monotonic()

    async def run(self, *, swap: bool = True) -> Found:
        """Rebuilds; with `swap` the result takes the live tables' place, otherwise they are only compared.

        Raises RebuildRunning, TablesBusy, haas_common.projections.shadow.Unsupported, DatabaseUnavailable.
        """
        async with self._connection() as writer, self._connection() as reader:
            lock = await rows(writer, "SELECT pg_try_advisory_lock(hashtext(%s)) AS held", self._schema)
            if not lock[0]["held"]:
                raise RebuildRunning(f"A rebuild of {self._projection.name} is under way.")
            with _uncollected():
                while True:
                    try:
                        return await self._once(writer, reader, swap=swap)
                    except _Erased:
                        self._reset()

    async def _once(self, writer: Connection, reader: Connection, *, swap: bool) -> Found:
        await self._begin(writer)
        await self._catch_up(writer, reader)
        await shadow.finish(writer, self._schema, self._projection.tables)
        differing, differences = await self._compare(writer)
        if swap:
            await self._swap(writer, reader)
        await self._drop(writer, self._old)
        await self._drop(writer, self._schema)
        return Found(self._events, differing, differences, swap)

    async def _erasures(self, writer: Connection) -> int:
        """Returns how many keys of personal data were destroyed; their rows stay, so that it only grows."""
        text = "SELECT count(*) AS n FROM haas.data_keys WHERE destroyed_at IS NOT NULL"
        return int((await rows(writer, text))[0]["n"])

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        parameters = connection_parameters(self._url, f"haas-rebuild-{self._projection.name}")
        # The cursor and the rows are lost together or not at all: nothing has to wait for the disk.
        parameters["options"] = (
            "-c search_path=haas,public -c timezone=UTC -c synchronous_commit=off -c lock_timeout=60s"
            " -c statement_timeout=0 -c transaction_timeout=0 -c idle_in_transaction_session_timeout=0 -c jit=off"
        )
        try:
            connection = await psycopg.AsyncConnection.connect(**parameters, autocommit=True, row_factory=dict_row)
        except psycopg.OperationalError as error:
            raise translate(error) from error
        try:
            able = await rows(
                connection, "SELECT rolsuper OR rolbypassrls AS all FROM pg_roles WHERE rolname = current_user"
            )
            if not able[0]["all"]:
                raise shadow.Unsupported("A rebuild reads every tenant: it needs a role that bypasses row security.")
            yield connection
        finally:
            await connection.close()

    async def _begin(self, writer: Connection) -> None:
        """Goes on where a rebuild died, unless tables were changed or data erased since; else begins anew."""
        tables = self._projection.tables
        await self._drop(writer, self._old)
        async with writer.transaction():
            wanted = await shadow.description(writer, tables)
        kept = await rows(
            writer, "SELECT obj_description(to_regnamespace(%s), 'pg_namespace') AS mark", named(self._schema)
        )
        self._destroyed = await self._erasures(writer)
        mark = f"{hashlib.sha256(wanted.encode()).hexdigest()} {self._destroyed}"
        if kept[0]["mark"] != mark:
            await self._drop(writer, self._schema)
            async with writer.transaction():
                await run(writer, f"CREATE SCHEMA {named(self._schema)} AUTHORIZATION haas_owner")
                await run(writer, "SET LOCAL ROLE haas_owner")
                await shadow.create(writer, self._schema, tables)
                await log.make_cursors(writer, self._schema)
                await run(writer, f"COMMENT ON SCHEMA {named(self._schema)} IS '{mark}'")
        await self._reader.load(writer, self._schema)
        text = "SELECT coalesce(sum(last_seq), 0)::bigint AS n FROM haas.project_heads"
        self._total = (await rows(writer, text))[0]["n"]
        text = f"SELECT coalesce(sum(place), 0)::bigint AS n FROM {named(self._schema)}.cursors WHERE xid = ''"
        self._before = (await rows(writer, text))[0]["n"]
        self._tell("begun")

    async def _catch_up(self, writer: Connection, reader: Connection) -> int:
        """Folds page after page until nothing is left; the next is read and decoded while the server takes one in."""
        folded = 0
        ahead = asyncio.ensure_future(self._read(reader, self._page()))
        try:
            while (found := await ahead) is not None:
                ahead = asyncio.ensure_future(self._read(reader, self._page()))
                async with writer.transaction():
                    await self._fold(writer, *found)
                folded += found[0].events
                self._tell("folding")
                await self._throttle()
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)
        return folded

    def _page(self) -> int:
        return min(PAGE, max(1, self._rate // 2)) if self._rate else PAGE

    def _tables(self, connection: Connection) -> "_Tables":
        return _Tables(connection, self._schema, self._vault, self._projection)

    async def _read(self, connection: Connection, limit: int) -> tuple[log.Page, list[Past]] | None:
        page = await self._reader.next(connection, limit)
        return None if page is None else (page, await self._tables(connection).decoded(page.rows))

    async def _fold(self, writer: Connection, page: log.Page, events: list[Past]) -> None:
        tables = self._tables(writer)
        await self._projection.fold(events, tables)
        await self._projection.flush(tables)
        await log.keep_cursors(writer, self._schema, page)
        self._events += page.events

    async def _fold_rest(self, writer: Connection) -> None:
        """Folds what this transaction sees and was not folded yet."""
        while (found := await self._read(writer, PAGE)) is not None:
            await self._fold(writer, *found)

    async def _compare(self, writer: Connection) -> tuple[int, list[dict[str, Any]]]:
        """Compares both tables as one snapshot shows them, the shadow brought to exactly that point."""
        count, listed = 0, []
        async with writer.transaction():
            await run(writer, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await self._fold_rest(writer)
            # What is taken over changes with the live tables until the swap: here it is put in to be compared alone.
            async with writer.transaction(force_rollback=True):
                await shadow.take_over(writer, self._schema, self._projection.tables, self._projection.by_day)
                for table in self._projection.tables:
                    n, some = await shadow.differences(writer, self._schema, table, SHOWN)
                    count += n
                    listed += [{"table": table, **row} for row in some[: max(0, SHOWN - len(listed))]]
            if await self._erasures(writer) != self._destroyed:
                raise _Erased
        self._tell("compared")
        return count, listed

    async def _swap(self, writer: Connection, reader: Connection) -> None:
        await run(writer, f"CREATE SCHEMA {named(self._old)} AUTHORIZATION haas_owner")
        give_up = time.monotonic() + _LOCK_FOR_S
        while True:
            while await self._catch_up(writer, reader) > TAIL_MAX:
                continue
            try:
                async with writer.transaction():
                    await self._lock(writer)
                    await self._fold_rest(writer)
                    # An erasure scrubs the live tables: it is over, or it waits for this lock and scrubs the new ones.
                    if await self._erasures(writer) != self._destroyed:
                        raise _Erased
                    tables = self._projection.tables
                    await shadow.take_over(writer, self._schema, tables, self._projection.by_day)
                    await shadow.swap(writer, self._schema, self._old, tables)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
                await self._reader.load(writer, self._schema)
                if time.monotonic() > give_up:
                    raise TablesBusy(f"{self._projection.name}: somebody holds the live tables.") from error
                await asyncio.sleep(_PAUSE_S)
            else:
                self._tell("swapped")
                return

    async def _lock(self, writer: Connection) -> None:
        """Locks in the writers' own order, and gives up before the writers' own deadlock_timeout (1 s)."""
        await run(writer, f"SET LOCAL lock_timeout = {int(LOCK_S * 1000)}")
        if self._projection.cursor:
            await rows(writer, "SELECT 1 FROM haas.relay_cursors WHERE name = %s FOR UPDATE", self._projection.cursor)
        live = ", ".join(named(shadow.LIVE, table) for table in self._projection.tables)
        await run(writer, f"LOCK TABLE {live} IN ACCESS EXCLUSIVE MODE")

    async def _drop(self, writer: Connection, schema: str) -> None:
        """Removes a schema of ours. It locks what the tables refer to: for a moment or not at all."""
        give_up = time.monotonic() + _LOCK_FOR_S
        while True:
            try:
                async with writer.transaction():
                    await run(writer, f"SET LOCAL lock_timeout = {int(LOCK_S * 1000)}")
                    await run(writer, f"DROP SCHEMA IF EXISTS {named(schema)} CASCADE")
            except psycopg.errors.LockNotAvailable as error:
                if time.monotonic() > give_up:
                    raise TablesBusy(f"{schema}: somebody holds a table that it refers to.") from error
                await asyncio.sleep(_PAUSE_S)
            else:
                return

    async def _throttle(self) -> None:
        if self._rate:
            await asyncio.sleep(max(0.0, self._events / self._rate - (time.monotonic() - self._began)))

    def _tell(self, state: str) -> None:
        took_s = max(1e-6, time.monotonic() - self._began)
        done = self._before + self._events
        self._report(
            {
                "projection": self._projection.name, "state": state, "events": done, "total": max(self._total, done),
                "events_per_s": round(self._events / took_s), "took_s": round(took_s, 3),
            }
        )  # fmt: skip


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leaves the collector of cycles off: nothing here makes any, and going over every plan took half of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Tables:
    """The shadow tables of a transaction (haas_common.projections.Shadow)."""

    def __init__(self, connection: Connection, schema: str, vault: Vault, projection: Projection) -> None:
        self._connection = connection
        self._schema = schema
        self._vault = vault
        self._projection = projection

    async def decoded(self, found: log.Events) -> list[Past]:
        """Returns rows of the log as events: payloads parsed, opened, in the form of today."""
        events: list[Past] = []
        sealed: list[int] = []
        left_out, known = self._projection.left_out, EVENT_TYPES
        for row in found:
            text = row[9]
            if text is None:
                events.append(Past._make((*row[:9], _NOTHING, *row[10:])))
                continue
            payload = _decode(text)[0]
            if '"$sealed"' in text:
                if row[5] in left_out:
                    _leave_out(payload, left_out[row[5]])
                sealed.append(len(events))
            elif row[11] != known[row[5]].schema_version:
                payload = upcast(row[5], row[11], payload)
            events.append(Past._make((*row[:9], payload, *row[10:])))
        if sealed:
            await self._open(events, sealed)
        return events

    async def _open(self, events: list[Past], sealed: Sequence[int]) -> None:
        scopes: dict[tuple[str, str], Scope] = {}
        stored = []
        for n in sealed:
            event = events[n]
            scope = scopes.setdefault(event[:2], Scope(event[0], event[1]))
            stored.append(Stored(scope, event.stream, event.type, event.payload))  # type: ignore[arg-type]
        opened = await self._vault.open_all(Tx(self._connection, self._vault), stored)
        for n, payload in zip(sealed, opened, strict=True):
            event = events[n]
            events[n] = event._replace(payload=upcast(event.type, event.schema_version, payload))

    async def rows(self, table: str, keys: Sequence[Key]) -> list[Row]:
        """See Shadow.rows. Times come as PostgreSQL writes them, as the log's do."""
        types, key = await shadow.columns(self._connection, table)
        listed = ", ".join(
            f"t.{named(n)}::text AS {named(n)}" if kind.startswith("timestamp") else f"t.{named(n)}"
            for n, kind in types.items()
        )
        here = named(self._schema, table)
        text = f"SELECT {listed} FROM {here} AS t JOIN {_listed(key, types)} USING ({_names(key)})"
        return await rows(self._connection, text, *_columns(keys))

    async def stream(self, scope: Scope, stream: str, below: int) -> list[Past]:
        """See Shadow.stream."""
        return await self.decoded(await log.stream(self._connection, scope, stream, below, self._projection.bare))

    async def write(
        self, table: str, fresh: Sequence[Row] = (), changed: Sequence[Row] = (), gone: Sequence[Key] = ()
    ) -> None:
        """See Shadow.write."""
        types, key = await shadow.columns(self._connection, table)
        here = named(self._schema, table)
        if gone:
            where = " AND ".join(f"t.{named(n)} = k.{named(n)}" for n in key)
            text = f"DELETE FROM {here} AS t USING {_listed(key, types)} WHERE {where}"
            await self._connection.execute(text.encode(), _columns(gone))
        if changed:
            values = ", ".join(f"{named(n)} = excluded.{named(n)}" for n in types if n not in key)
            text = (
                f"INSERT INTO {here} SELECT * FROM json_populate_recordset(NULL::{here}, %s::json)"
                f" ON CONFLICT ({_names(key)}) DO UPDATE SET {values}"
            )
            await self._connection.execute(text.encode(), (json.dumps(list(changed), ensure_ascii=False),))
        if fresh:
            order = list(types)
            text = f"COPY {here} ({_names(order)}) FROM STDIN"
            async with self._connection.cursor().copy(text.encode()) as copy:
                for at in range(0, len(fresh), COPIED):
                    await copy.write("".join([_line(row, order) for row in fresh[at : at + COPIED]]))

    async def add(self, table: str, rows: Sequence[Row], amount: str) -> None:
        """See Shadow.add."""
        if not rows:
            return
        _, key = await shadow.columns(self._connection, table)
        here, record = named(self._schema, table), json.dumps(list(rows), ensure_ascii=False)
        text = (
            f"INSERT INTO {here} AS t SELECT r.* FROM json_populate_recordset(NULL::{here}, %s::json) AS r"
            f" ON CONFLICT ({_names(key)}) DO UPDATE SET {named(amount)} = t.{named(amount)} + excluded.{named(amount)}"
        )
        await self._connection.execute(text.encode(), (record,))

    async def keep(self, table: str, keys: Sequence[Key]) -> None:
        """See Shadow.keep."""
        types, key = await shadow.columns(self._connection, table)
        here, live = named(self._schema, table), named(shadow.LIVE, table)
        text = (
            f"INSERT INTO {here} SELECT t.* FROM {live} AS t JOIN {_listed(key, types)} USING ({_names(key)})"
            " ON CONFLICT DO NOTHING"
        )
        await self._connection.execute(text.encode(), _columns(keys))


def _leave_out(payload: dict[str, Any], paths: tuple[tuple[str, ...], ...]) -> None:
    """Empties what no row shows: it would be opened for nothing."""
    for *above, last in paths:
        part = payload
        for name in above:
            part = part[name]
        part[last] = type(part[last])()


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(named, names))


def _listed(key: Sequence[str], types: dict[str, str]) -> str:
    """Keys as a table that a query joins: an array a column."""
    arrays = ", ".join(f"%s::{'text' if 'scope_id' in types[n] else types[n]}[]" for n in key)
    return f"unnest({arrays}) AS k({_names(key)})"


def _columns(keys: Sequence[Key]) -> list[list[Any]]:
    return [list(column) for column in zip(*keys, strict=True)]


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _line(row: Row, order: Sequence[str]) -> str:
    """A row as COPY reads it; texts of arrays and documents are given as such."""
    cells = [_cell(row[name]) for name in order]
    return "\t".join(cells) + "\n"


def _cell(value: Any) -> str:
    if type(value) is str:
        return value.translate(_ESCAPES) if "\\" in value or "\n" in value or "\t" in value or "\r" in value else value
    if value is None:
        return "\\N"
    if isinstance(value, dict):
        return _cell(json.dumps(value, ensure_ascii=False))
    if isinstance(value, (list, tuple)):
        return _cell("{" + ",".join(_item(item) for item in value) + "}")
    return str(value)


def _item(value: Any) -> str:
    """An array's element; a text in quotes, whatever it holds."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)
