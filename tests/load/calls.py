"""DetectIntent over every road to the orchestrator: calls a second, and how long one takes."""

import asyncio
import functools
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import grpc
import grpc.aio

from haas.orchestrator.v1 import orchestrator_pb2, orchestrator_pb2_grpc
from tests.load.figures import Table, percentile, shown
from tests.load.wire import Http1, Http2
from tests.support.apps import App
from tests.support.cli import Cli

CONCURRENCY = (1, 64)
ROUNDS = 3
#: A round ends at whichever comes first.
CALLS_MAX, ROUND_S = 1500, 4.0
#: Calls of a channel are spread over so many connections, as several clients would.
CONNECTIONS = 4
_PATH = "/v1/intents:detect"
_DIRECT = "gRPC, direct (mTLS)"
Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one round."""

    per_s: float
    p50_ms: float
    p99_ms: float


async def measured(calls: list[Call], calls_max: int = CALLS_MAX, limit_s: float = ROUND_S) -> Round:
    """Has one worker per entry call again and again, until so many calls are done or the time is over."""
    took: list[float] = []
    left = calls_max
    began = time.perf_counter()

    async def work(call: Call) -> None:
        nonlocal left
        while left > 0 and time.perf_counter() - began < limit_s:
            left -= 1
            start = time.perf_counter()
            await call()
            took.append(time.perf_counter() - start)

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(work(call))
    whole = time.perf_counter() - began
    return Round(len(took) / whole, percentile(took, 0.5) * 1000, percentile(took, 0.99) * 1000)


def detect(cli: Cli, app: App) -> Table:
    """The table, the best of several rounds each; the roads take turns, so that the machine's moods hit all alike."""
    return asyncio.run(_detect(cli, app))


async def _detect(cli: Cli, app: App) -> Table:
    roads, closing = await _roads(cli, app)
    best: dict[tuple[str, int], Round] = {}
    try:
        for name, calls in roads.items():
            await measured(calls[:8], 100)
            assert len(calls) == max(CONCURRENCY), name
        for _ in range(ROUNDS):
            for concurrency in CONCURRENCY:
                for name, calls in roads.items():
                    found = await measured(calls[:concurrency])
                    known = best.get((name, concurrency))
                    best[name, concurrency] = found if known is None or found.per_s > known.per_s else known
    finally:
        for close in closing:
            await close()
    rows = []
    for concurrency in CONCURRENCY:
        direct = best[_DIRECT, concurrency]
        for name in roads:
            found = best[name, concurrency]
            figures = (found.per_s, found.p50_ms, found.p99_ms, found.per_s / direct.per_s)
            rows.append((name, str(concurrency), *map(shown, figures)))
    head = ("DetectIntent", "at once", "calls/s", "p50 ms", "p99 ms", "of direct")
    return Table("Calls", head, tuple(rows), f"The best of {ROUNDS} rounds each; the client runs on the same cores.")


async def _roads(cli: Cli, app: App) -> tuple[dict[str, list[Call]], list[Callable[[], Awaitable[object]]]]:
    """As many callers as are ever wanted at once, for each road; and what closes them."""
    workers = max(CONCURRENCY)
    request = orchestrator_pb2.DetectIntentRequest(**app.scope, text=app.objective)
    metadata = (("authorization", f"Bearer {app.token}"),)
    closing: list[Callable[[], Awaitable[object]]] = []

    def over(channels: list[grpc.aio.Channel]) -> list[Call]:
        closing.extend(channel.close for channel in channels)
        methods = [orchestrator_pb2_grpc.OrchestratorStub(channel).DetectIntent for channel in channels]
        callers = [functools.partial(method, request, metadata=metadata, timeout=30) for method in methods]
        return [callers[i % len(callers)] for i in range(workers)]

    url = urlsplit(app.edge.url)
    body = json.dumps({**app.scope, "text": app.objective}).encode()
    where = (str(url.hostname), int(url.port or 443), app.edge.ca, _PATH, app.token, body)
    ones = [await Http1.open(*where) for _ in range(workers)]
    twos = [await Http2.open(*where) for _ in range(CONNECTIONS)]

    async def close() -> None:
        for connection in (*ones, *twos):
            connection.close()

    closing.append(close)
    roads = {
        _DIRECT: over([_direct(cli) for _ in range(CONNECTIONS)]),
        "gRPC, through Envoy": over([_edge(app) for _ in range(CONNECTIONS)]),
        "REST, HTTP/2, through Envoy": [twos[i % CONNECTIONS].call for i in range(workers)],
        "REST, HTTP/1.1, through Envoy": [one.call for one in ones],
    }
    return roads, closing


_OWN = ("grpc.use_local_subchannel_pool", 1)


def _edge(app: App) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(app.edge.ca.read_bytes())
    return grpc.aio.secure_channel(app.edge.host, credentials, options=(_OWN,))


def _direct(cli: Cli) -> grpc.aio.Channel:
    """To the orchestrator itself, with a service's certificate."""
    port = cli.json("status")["parts"]["orchestrator"]["port"]
    folder = cli.home.secrets / "gateway"
    credentials = grpc.ssl_channel_credentials(*((folder / n).read_bytes() for n in ("ca.pem", "tls.key", "tls.pem")))
    name = ("grpc.ssl_target_name_override", "orchestrator.haas.internal")
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=(name, _OWN))
