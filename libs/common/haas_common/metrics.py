"""What a service counts, and the socket where it tells: docs/reference/metrics.md lists every metric.

Prometheus text over HTTP/1.0 on `$HAAS_HOME/run/metrics/<part>.sock` (a service, or planner-2 and so on), 0600: no
port, and nobody but the fleet's own user. `haas metrics` prints it; an agent such as Telegraf or Vector scrapes the
socket.
"""

import asyncio
import contextlib
import os
import pathlib
import socket
from collections.abc import AsyncIterator

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from haas_common import sockets
from haas_common.config import ConfigInvalid

prometheus_client.disable_created_metrics()
#: Our own: the library's default one also collects what the garbage collector does, at each collection.
REGISTRY = CollectorRegistry()

APPENDED = Counter("haas_append_events", "Events appended to the history.", registry=REGISTRY)
APPEND_BATCH = Histogram(
    "haas_append_batch_events", "Events of one append.", registry=REGISTRY,
    buckets=(1, 2, 5, 10, 20, 50, 100, 500, 1000),
)  # fmt: skip
APPEND_S = Histogram(
    "haas_append_seconds", "How long an append took, its project's head awaited, its commit not counted.",
    registry=REGISTRY, buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)  # fmt: skip
RELAY_LAG_S = Gauge(
    "haas_relay_lag_seconds", "Age of the oldest event that a relay has not read; 0 when it has read all.", ["relay"],
    registry=REGISTRY,
)  # fmt: skip
RELAY_LAG_EVENTS = Gauge(
    "haas_relay_lag_events", "Events beyond a relay's cursor when it last looked, counted up to 1,000.", ["relay"],
    registry=REGISTRY,
)  # fmt: skip
RELAY_LOOKED = Gauge(
    "haas_relay_last_look_timestamp_seconds", "When a relay last looked how far it is behind.", ["relay"],
    registry=REGISTRY,
)  # fmt: skip
OLDEST_WRITE_S = Gauge(
    "haas_oldest_write_transaction_seconds",
    "Age of the services' oldest open transaction that has written, when a relay last looked: no relay reads past it.",
    registry=REGISTRY,
)
RUNG = Counter("haas_doorbell_rings", "Topics rung here.", registry=REGISTRY)
SENT = Counter("haas_doorbell_notifies", "Statements that carried rings to other processes.", registry=REGISTRY)
HEARD = Counter("haas_doorbell_heard", "Rings heard from the database, our own among them.", registry=REGISTRY)
DOORBELL_LOST = Counter(
    "haas_doorbell_connections_lost", "Times that a connection of the doorbell was lost; it polls meanwhile.",
    registry=REGISTRY,
)  # fmt: skip
QUARANTINED = Gauge(
    "haas_planner_quarantined", "Plans that a fault keeps from being decided; the others of their shards go on.",
    registry=REGISTRY,
)  # fmt: skip

_REQUEST_BYTES_MAX = 8192
_ANSWER_S = 2.0


def text() -> bytes:
    """Returns all metrics in Prometheus' text format."""
    return prometheus_client.generate_latest(REGISTRY)


@contextlib.asynccontextmanager
async def served(home: pathlib.Path, part: str) -> AsyncIterator[pathlib.Path]:
    """Answers on the part's socket while the block runs; yields its path. Raises ConfigInvalid."""
    path = home / "run" / "metrics" / f"{part}.sock"
    server = await asyncio.start_unix_server(_answer, sock=_bound(path), limit=_REQUEST_BYTES_MAX)
    async with server:
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def _bound(path: pathlib.Path) -> socket.socket:
    """Makes the socket, in place of what a dead process left behind."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        listener.bind(sockets.short_path(path))
        os.chmod(path, 0o600)
    except OSError as error:
        listener.close()
        raise ConfigInvalid(f"{path}, the socket of the metrics, cannot be made: {error.strerror}.") from error
    return listener


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request, one answer; whatever was asked for."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            await reader.readuntil(b"\r\n\r\n")
            body = text()
            kind = prometheus_client.CONTENT_TYPE_LATEST
            writer.write(f"HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            writer.write(body)
            await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        writer.transport.abort()  # it asked for nothing, or went
    finally:
        writer.close()
