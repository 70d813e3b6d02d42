"""No-op tasks through the remote workers' stream: the planner's pool here, a worker in another process, mTLS between.

    python -m tests.load.remote

prints the figures of five runs. Events and contracts of plans are not part of it: what is measured is the stream.
"""

import asyncio
import contextlib
import dataclasses
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import grpc.aio

from haas_client import AsyncHaasClient
from haas_client.worker import Task, Worker, skill
from tests.load.figures import percentile, shown
from tests.support.mesh import Mesh
from tests.support.remote import Planner, job

TASKS, CONCURRENCY, RUNS, ALONE = 10_000, 200, 5, 500


class NothingKept:
    """In the place of the skills' table: no database is started here."""

    async def keep(self, registration: object) -> None:
        """Keeps nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteFigures:
    """What came out.

    Attributes:
        tasks_per_s: of each run, with `concurrency` tasks under way.
        alone_ms: of tasks given out one by one, from `do` to its result.
    """

    tasks_per_s: list[float]
    alone_ms: list[float]


async def measure(folder: Path, tasks: int = TASKS, concurrency: int = CONCURRENCY, runs: int = RUNS) -> RemoteFigures:
    """Runs it.

    Args:
        folder: an empty one, for keys.
        tasks: of each run.
        concurrency: how many are under way at once, which is the worker's credit too.
        runs: how often.
    """
    async with worked(folder, concurrency) as planner:
        rates = [await _rate(planner, tasks, concurrency) for _ in range(runs)]
        alone = [await _once(planner) for _ in range(ALONE)]
    return RemoteFigures(rates, alone)


@contextlib.asynccontextmanager
async def worked(folder: Path, concurrency: int = CONCURRENCY) -> AsyncIterator[Planner]:
    """Yields a planner's pool whose worker, in a process of its own, does `tests.support.remote.job`."""
    planner = Planner(Mesh(folder), NothingKept(), 15.0)  # type: ignore[arg-type]
    planner._skills = NothingKept()  # type: ignore[assignment]
    await planner.start()
    arguments = ("worker", str(folder), str(planner.running.port), planner.mesh.token("worker"), str(concurrency))
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.load.remote", *arguments)
    try:
        await planner.pool.do(job(0))
        yield planner
    finally:
        child.terminate()
        await child.wait()
        await planner.close()


async def _rate(planner: Planner, tasks: int, concurrency: int) -> float:
    left: Iterator[int] = iter(range(tasks))

    async def lane() -> None:
        for number in left:
            await planner.pool.do(job(number))

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(concurrency)))
    return tasks / (time.perf_counter() - began)


async def _once(planner: Planner) -> float:
    began = time.perf_counter()
    await planner.pool.do(job())
    return (time.perf_counter() - began) * 1000


@skill("text.count", reads={"text": "doc.note"}, writes={"count": "value.count"}, title="Counts nothing")
async def nothing(task: Task) -> int:
    """Does nothing."""
    return 3


async def _work(folder: Path, port: int, token: str, concurrency: int) -> None:
    """The other process."""

    class Direct(Worker):
        """Goes straight to the service, with the edge's certificate."""

        def _client(self) -> AsyncHaasClient:
            client = AsyncHaasClient(**self._settings)
            pair = [(folder / "secrets/edge/mesh" / name).read_bytes() for name in ("ca.pem", "tls.key", "tls.pem")]
            options = (("grpc.ssl_target_name_override", "planner.haas.internal"),)
            client._channel = grpc.aio.secure_channel(
                f"127.0.0.1:{port}", grpc.ssl_channel_credentials(*pair), options=options
            )
            return client

    given = {
        "base_url": "https://localhost:1", "token": token, "tenant_id": "t-one", "project_id": "p-one",
        "ca_cert": (folder / "secrets/edge/ca.pem").read_bytes(),
    }  # fmt: skip
    worker = Direct(given, skills=[nothing], agent_id="agent.nothing", concurrency=concurrency)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.work()


def main() -> None:
    """Prints the figures, or is the worker."""
    import uvloop

    if sys.argv[1:2] == ["worker"]:
        folder, port, token, concurrency = sys.argv[2:]
        uvloop.run(_work(Path(folder), int(port), token, int(concurrency)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = uvloop.run(measure(Path(folder)))
    rates = found.tasks_per_s
    load = os.getloadavg()[0]
    print(f"{shown(statistics.median(rates))} tasks/s (of {RUNS}: {shown(min(rates))} to {shown(max(rates))}), ")
    print(f"one by one {shown(percentile(found.alone_ms, 0.5))} ms, p99 {shown(percentile(found.alone_ms, 0.99))} ms; ")
    print(f"{CONCURRENCY} under way, load {load:.1f}")


if __name__ == "__main__":
    main()
