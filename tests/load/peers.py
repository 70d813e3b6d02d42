"""What appends are measured against: plain INSERT and COPY of the same rows, and the PyPI package `eventsourcing`."""

import asyncio
import concurrent.futures
import importlib
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psycopg
import psycopg_pool

from tests.load.databases import Bench

TABLE = "CREATE TABLE public.raw (LIKE haas.events_c0_p0 INCLUDING ALL)"
_COLUMNS = (
    "id, cell, tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id, actor,"
    " causation_id, correlation_id, trace_id, payload, recorded_at, hash"
)
#: The rows of what the real append wrote; only the numbers that a unique index needs move on.
_MOVED = (
    "seq + %(on)s, 0, tenant_id, project_id, seq + %(on)s, stream, version + %(on)s, event_type, schema_version,"
    " plan_id, task_id, actor, causation_id, correlation_id, trace_id, payload, recorded_at, hash"
)
_ROWS = "SELECT json_agg(e)::text FROM (SELECT * FROM haas.events ORDER BY id DESC LIMIT %s) AS e"
INSERT = (
    f"INSERT INTO public.raw ({_COLUMNS}) OVERRIDING SYSTEM VALUE"
    f" SELECT {_MOVED} FROM json_populate_recordset(NULL::public.raw, %(rows)s::json)"
)
_TEXT = f"COPY (SELECT {_MOVED} FROM json_populate_recordset(NULL::public.raw, %(rows)s::json)) TO STDOUT"
_COPY = f"COPY public.raw ({_COLUMNS}) FROM STDIN"
Work = Callable[[], Awaitable[None]]


class Plain:
    """INSERT and COPY as the superuser: no policy, no heads, no chain; the same table, indexes and constraints."""

    def __init__(self, bench: Bench, writers_max: int) -> None:
        """Takes the database; `open` connects."""
        self._pool = psycopg_pool.AsyncConnectionPool(
            bench.admin_dsn, kwargs={"autocommit": True}, min_size=1, max_size=writers_max, open=False
        )
        self._on: Iterator[int] = itertools.count(10_000_000, 1_000_000)

    async def open(self) -> None:
        """Connects and makes the table."""
        await self._pool.open(wait=True)
        async with self._pool.connection() as connection:
            await connection.execute(TABLE.encode())

    async def close(self) -> None:
        """Disconnects."""
        await self._pool.close()

    async def insert(self, size: int) -> Work:
        """What inserts as many rows, a transaction each time."""
        rows = await self._rows(size)

        async def work() -> None:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(INSERT.encode(), {"on": next(self._on), "rows": rows})

        return work

    async def copied_per_s(self, size: int, for_s: float) -> float:
        """Rows a second by COPY; making the text is not counted."""
        rows, done, took = await self._rows(size), 0, 0.0
        async with self._pool.connection() as connection:
            while took < for_s:
                cursor = connection.cursor()
                async with cursor.copy(_TEXT.encode(), {"on": next(self._on), "rows": rows}) as out:
                    text = b"".join([bytes(block) async for block in out])
                began = time.perf_counter()
                async with connection.transaction(), cursor.copy(_COPY.encode()) as into:
                    await into.write(text)
                took += time.perf_counter() - began
                done += size
        return done / took

    async def _rows(self, size: int) -> str:
        async with self._pool.connection() as connection:
            found = await (await connection.execute(_ROWS.encode(), (size,))).fetchone()
        assert found is not None
        return str(found[0])


class Eventsourcing:
    """The recorder of `eventsourcing` with PostgreSQL, on the same server; payloads of the same size."""

    def __init__(self, bench: Bench, payload: bytes, threads_max: int, connections: int) -> None:
        """Makes its tables. Raises ImportError where the package is not installed (`make bench-memory` does)."""
        package = importlib.import_module("eventsourcing.postgres")
        self._stored: Any = importlib.import_module("eventsourcing.persistence").StoredEvent
        with psycopg.connect(bench.admin_dsn, autocommit=True) as connection:
            connection.execute("CREATE DATABASE peer")
            info = connection.info
            where = (info.host, info.port, info.user, info.password)
        self._datastore = package.PostgresDatastore("peer", *where, pool_size=connections, max_waiting=threads_max)
        self._recorder = package.PostgresApplicationRecorder(self._datastore)
        self._recorder.create_table()
        self._payload = payload
        self._threads = concurrent.futures.ThreadPoolExecutor(threads_max)

    def close(self) -> None:
        """Ends threads and connections."""
        self._threads.shutdown()
        self._datastore.close()

    def per_s(self, threads: int, size: int, for_s: float) -> float:
        """Events a second by so many threads, so many events a transaction."""
        end = time.perf_counter() + for_s

        def work() -> int:
            done = 0
            while time.perf_counter() < end:
                self._recorder.insert_events(
                    [self._stored(uuid.uuid4(), 1, "TaskCompleted", self._payload) for _ in range(size)]
                )
                done += size
            return done

        began = time.perf_counter()
        done = sum(future.result() for future in [self._threads.submit(work) for _ in range(threads)])
        return done / (time.perf_counter() - began)


async def per_s(work: Work, writers: int, for_s: float) -> float:
    """How often a second so many writers do the work, each one at a time."""
    end, done = time.perf_counter() + for_s, 0

    async def write() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await work()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(writers)))
    return done / (time.perf_counter() - began)
