"""The two doors, and the connections behind them."""

import asyncio
import contextlib
import dataclasses
import hashlib
import hmac
import os
import pathlib
import socket
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import psycopg_pool
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Escaping
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads
from pydantic_core import from_json

from haas_common import deadlines, errors, sockets, tracing
from haas_common.config import Config
from haas_common.db import lint
from haas_common.db.pool import Connection, Pool
from haas_common.db.queries import Query
from haas_common.db.translate import translate

if TYPE_CHECKING:
    from haas_common.sealing import Vault

# Whoever folds a long stream reads little else: half as long as json.loads, and equal names are one object.
set_json_loads(from_json)
DEFAULT_TIMEOUT_S = 10.0
# Of one query that is prepared: planned for its parameters, it was planned anew each time, for as long as it then ran.
_CONTEXT = (
    b"SELECT set_config('haas.ctx', %s, true), set_config('statement_timeout', %s, true),"
    b" set_config('transaction_timeout', %s, true), set_config('plan_cache_mode', 'force_generic_plan', true)"
)
# A signed context outlives its transaction's own limit by this much, and no more.
_CONTEXT_SLACK_S = 30
# The socket is cut this long after the deadline: a black-holed connection held `asyncio.timeout(1)` for 11 s.
_CUT_AFTER_S = 0.25
# The server ends a transaction this long after its deadline, whatever its client does (a frozen process, a lost
# machine): while one that has written is open, no relay reads past it.
_END_AFTER_S = 1.0


class Scope(NamedTuple):
    """A tenant and one of its projects. Either may be "*" for what belongs to all of them (plan §1).

    A tuple: as a part of keys it is hashed and compared some forty times for each task of a plan.
    """

    tenant_id: str
    project_id: str

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.project_id}"


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """What a shard's writer or a relay holds: the row's name and the epoch it was taken at."""

    name: str
    epoch: int


class Tx:
    """An open transaction. Runs named queries only.

    Attributes:
        vault: seals personal data that is appended, and opens what is read.
    """

    def __init__(self, connection: psycopg.AsyncConnection[dict[str, Any]], vault: "Vault") -> None:
        self._connection = connection
        self.vault = vault

    async def all(self, query: Query, **params: Any) -> list[dict[str, Any]]:
        """Runs a query, returns its rows."""
        cursor = await self._execute(query, params)
        return await cursor.fetchall()

    async def each(self, query: Query, rows_max: int, **params: Any) -> AsyncIterator[list[dict[str, Any]]]:
        """Yields a query's rows, `rows_max` at a time, all of one snapshot; for what is too much to hold at once."""
        async with self._connection.cursor(name="each") as cursor:
            await cursor.execute(query.sql.encode(), params)
            while rows := await cursor.fetchmany(rows_max):
                yield rows

    async def maybe(self, query: Query, **params: Any) -> dict[str, Any] | None:
        """Runs a query, returns its first row or None."""
        cursor = await self._execute(query, params)
        return await cursor.fetchone()

    async def one(self, query: Query, **params: Any) -> dict[str, Any]:
        """Runs a query that always gives a row. Raises LookupError otherwise (a fault of ours)."""
        row = await self.maybe(query, **params)
        if row is None:
            raise LookupError(f"query {query.name} gave no row")
        return row

    async def run(self, query: Query, **params: Any) -> int:
        """Runs a query, returns how many rows it touched."""
        cursor = await self._execute(query, params)
        return cursor.rowcount

    async def _execute(self, query: Query, params: dict[str, Any]) -> psycopg.AsyncCursor[dict[str, Any]]:
        """Sends a query; its span names it and says nothing of what it says."""
        # Without parameters psycopg would send the text as it is, and the server run every statement of it: PREPARE and
        # DECLARE … WITH HOLD of an injected one would stay on the connection for the next to borrow it.
        prepare = None if params else True
        if not tracing.active():
            return await self._connection.execute(query.sql.encode(), params, prepare=prepare)
        with tracing.span(f"sql {query.name}"):
            return await self._connection.execute(query.sql.encode(), params, prepare=prepare)


class Database:
    """The pool of a service, and its doors."""

    def __init__(self, url: str, context_key: bytes, application: str, vault: "Vault", *, pool_max: int = 6) -> None:
        self._key = context_key
        self.vault = vault
        self.conninfo = connection_parameters(url, application)
        self._pool = Pool(
            kwargs={**self.conninfo, "autocommit": True, "row_factory": dict_row},
            min_size=1,
            max_size=pool_max,
            max_waiting=256,
            timeout=5,
            reconnect_timeout=60,
            open=False,
        )

    @classmethod
    async def open(
        cls,
        url: str,
        context_key: bytes,
        application: str,
        *,
        data_key: pathlib.Path | None = None,
        pool_max: int = 6,
    ) -> "Database":
        """Opens the pool and refuses to go on where the catalogue breaks a rule of isolation (design 8).

        Args:
            url: the service's own role.
            context_key: 32 bytes that sign tenant contexts.
            application: what the server shows.
            data_key: the file that wraps the keys of personal data; without it that is neither written nor read.
            pool_max: how many connections at most.

        Raises DatabaseUnavailable, or haas_common.db.lint.CatalogueError.
        """
        # Not above: the vault works through these doors.
        from haas_common.key_ring import KeyRing
        from haas_common.sealing import Vault

        vault = Vault(KeyRing(data_key) if data_key is not None else None)
        database = cls(url, context_key, application, vault, pool_max=pool_max)
        try:
            await database._pool.open(wait=True, timeout=15)
            async with database._pool.connection() as connection:
                await lint.check(connection)
        except psycopg_pool.PoolTimeout as error:
            await database.close()
            raise errors.DatabaseUnavailable("The database cannot be reached.") from error
        except BaseException:
            await database.close()
            raise
        return database

    @classmethod
    async def of(cls, config: Config, *, pool_max: int = 6) -> "Database":
        """Opens a service's database by its secrets `database.url`, `context.key` and `data.key`; see `open`."""
        return await cls.open(
            config.secret_text("database.url"),
            bytes.fromhex(config.secret_text("context.key")),
            f"haas-{config.service}",
            data_key=config.secret_path("data.key"),
            pool_max=pool_max,
        )

    async def close(self) -> None:
        """Closes every connection; what is under way has two seconds."""
        await self._pool.close(timeout=2)

    def tenant_tx(
        self, scope: Scope, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> contextlib.AbstractAsyncContextManager[Tx]:
        """Opens a transaction that sees one tenant and project. Commits at the end, rolls back on any exception.

        Raises DatabaseUnavailable, DeadlinePassed, Overloaded, and what haas_common.db.translate says.
        """
        return self._tx("", [scope], timeout_s)

    def batch_tx(
        self, lease: Lease, scopes: Iterable[Scope], *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> contextlib.AbstractAsyncContextManager[Tx]:
        """Opens a transaction over several tenants and projects, for the holder of a lease."""
        return self._tx(lease.name, sorted(set(scopes)), timeout_s)

    async def batch_once(
        self,
        lease: Lease,
        scopes: Iterable[Scope],
        query: Query,
        params: Mapping[str, Any],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> list[dict[str, Any]]:
        """Runs one query in a transaction of its own and returns its rows, all in one round trip.

        For the holder of a lease, as `batch_tx`, where nothing of what it gives decides on what follows: a shard's
        commit takes three round trips otherwise. Raises what `batch_tx` does.
        """
        left_s = deadlines.remaining_s(timeout_s)
        if left_s <= 0:
            raise errors.DeadlinePassed("The deadline passed before the work began.")
        ends = time.monotonic() + left_s
        connection = await self._taken(ends)
        async with self._bounded(connection, left_s, ends):
            context = self._signed(connection.pgconn.backend_pid, lease.name, sorted(set(scopes)), left_s)
            limit_ms, end_ms = str(int(left_s * 1000) + 1), str(int((left_s + _END_AFTER_S) * 1000))
            # What a pipeline holds is one transaction, without BEGIN and COMMIT: a twentieth of a small commit.
            async with connection.pipeline():
                await connection.execute(_CONTEXT, (context, limit_ms, end_ms))
                cursor = await connection.execute(query.sql.encode(), params, prepare=True)
            return await cursor.fetchall()

    @contextlib.asynccontextmanager
    async def _tx(self, lease: str, scopes: Sequence[Scope], timeout_s: float) -> AsyncIterator[Tx]:
        left_s = deadlines.remaining_s(timeout_s)
        if left_s <= 0:
            raise errors.DeadlinePassed("The deadline passed before the work began.")
        ends = time.monotonic() + left_s
        connection = await self._begin(lease, scopes, left_s)
        async with self._bounded(connection, left_s, ends):
            yield Tx(connection, self.vault)
            await connection.execute(b"COMMIT")

    @contextlib.asynccontextmanager
    async def _bounded(self, connection: Connection, left_s: float, ends: float) -> AsyncIterator[None]:
        """Cuts a connection behind its time, rolls back and translates what goes wrong, gives it back."""
        cut = asyncio.get_running_loop().call_later(left_s + _CUT_AFTER_S, _cut, connection)
        try:
            yield
        except BaseException as error:
            await _roll_back(connection)
            translated = _translated(error, ends)
            if translated is error:
                raise
            raise translated from error
        finally:
            cut.cancel()
            await self._pool.putconn(connection)

    async def _begin(self, lease: str, scopes: Sequence[Scope], left_s: float) -> Connection:
        """Takes a connection and begins. One that died in the pool (a restart) is replaced: nothing ran on it yet."""
        give_up = time.monotonic() + left_s
        while True:
            connection = await self._taken(give_up)
            try:
                context = self._signed(connection.pgconn.backend_pid, lease, scopes, left_s)
                # Never prepared: it is two statements.
                await connection.execute(_beginning(connection, context, left_s), prepare=False)
            except psycopg.OperationalError as error:
                await self._pool.putconn(connection)
                await self._pool.check()
                if time.monotonic() >= give_up:
                    raise translate(error) from error
            except BaseException:
                await _roll_back(connection)
                await self._pool.putconn(connection)
                raise
            else:
                return connection

    async def _taken(self, give_up: float) -> Connection:
        """Takes a connection, by a time of the monotonic clock. Raises DatabaseUnavailable, Overloaded."""
        try:
            return await self._pool.getconn(timeout=max(0.01, give_up - time.monotonic()))
        except (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests) as error:
            if self._pool.get_stats().get("pool_size", 0) == 0 or isinstance(error, psycopg_pool.PoolTimeout):
                raise errors.DatabaseUnavailable("The database gave no connection in time.") from error
            raise translate(error) from error

    def _signed(self, backend_pid: int, lease: str, scopes: Sequence[Scope], left_s: float) -> str:
        """Signs the context that the policies check: this connection, until shortly after the deadline."""
        expires = int(time.time() + left_s + _CONTEXT_SLACK_S)
        facts = "|".join([str(backend_pid), str(expires), lease, *map(str, scopes)])
        return hmac.new(self._key, facts.encode(), hashlib.sha256).hexdigest() + "|" + facts


def connection_parameters(url: str, application: str) -> dict[str, Any]:
    """Returns what to connect with; a socket's folder may lie deeper than the 107 bytes that its path can have."""
    parameters: dict[str, Any] = dict(conninfo_to_dict(url))
    host = str(parameters.get("host", ""))
    if host.startswith("/"):
        parameters["host"] = sockets.short_path(pathlib.Path(host))
    parameters["application_name"] = application
    parameters["connect_timeout"] = 3
    # transaction_timeout=0: each transaction sets its own, and a timer that runs since BEGIN is not set again.
    parameters["options"] = (
        "-c search_path=haas,public -c lock_timeout=5s -c idle_in_transaction_session_timeout=30s"
        " -c transaction_timeout=0"
    )
    return parameters


def _beginning(connection: Connection, context: str, left_s: float) -> bytes:
    """Returns what begins a transaction, in one round trip: 0.13 ms beside 0.23 of a pipeline, its COMMIT included."""
    quoted = Escaping(connection.pgconn).escape_literal(context.encode())
    limit_ms, end_ms = int(left_s * 1000) + 1, int((left_s + _END_AFTER_S) * 1000)
    return (
        b"BEGIN; SELECT set_config('haas.ctx', %b, true), set_config('statement_timeout', '%d', true),"
        b" set_config('transaction_timeout', '%d', true)" % (quoted, limit_ms, end_ms)
    )


def _translated(error: BaseException, ends: float) -> BaseException:
    """Returns what a transaction failed by as one of our errors; what is none of the driver's stays as it is."""
    translated = translate(error) if isinstance(error, Exception) else error
    # Who ended it, the server or we, is told too late or not at all.
    if isinstance(translated, errors.DatabaseUnavailable) and time.monotonic() > ends:
        return errors.DeadlinePassed("The transaction did not end before its deadline.")
    return translated


def _cut(connection: psycopg.AsyncConnection[Any]) -> None:
    """Shuts a connection's socket: whatever waits on it fails now."""
    if connection.closed:
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as handle, contextlib.suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


async def _roll_back(connection: psycopg.AsyncConnection[Any]) -> None:
    """Ends the transaction; a connection that cannot is closed, and the pool replaces it."""
    if connection.closed:
        return
    try:
        await connection.execute(b"ROLLBACK")
    except psycopg.Error:
        await connection.close()
