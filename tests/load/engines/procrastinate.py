"""Procrastinate: a queue; a driver beside its worker defers a task once what it reads has run."""

import asyncio
import importlib
import logging
from collections.abc import Sequence
from typing import Any

import uvloop

from tests.load.dags import Dag
from tests.load.engines.runs import GRACE_S, OutOfTime, Run

_CONCURRENCY = 16
# The driver's, the listener's and the fetcher's own.
_CONNECTIONS = _CONCURRENCY + 4
# 5 s unless told: what is told of while the worker looks in vain is forgotten, and waits for the next look.
_POLL_S = 0.01
_DRIVER, _TASKS = "a driver defers", "tasks defer"


class Procrastinate:
    """The worker is in this process, woken by notifications; jobs stay in the table, as it does unless told."""

    def __init__(self) -> None:
        """Loads the package, nothing else."""
        self._api: Any = importlib.import_module("procrastinate")
        # Its records of each job are built even where nobody reads them; a run that is out of time fails a thousand
        # tasks, and a run knows its own faults.
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
        self._dsn = ""

    def roads(self, dag: Dag) -> Sequence[str]:
        """Who puts a task on the queue, and how many run at once."""
        concurrency = min(_CONCURRENCY, max(len(layer) for layer in dag.layers()))
        return tuple(f"{who}, {concurrency} at a time" for who in (_DRIVER, _TASKS))

    def open(self, dsn: str) -> None:
        """Applies the schema; the run connects."""
        self._dsn = dsn
        with self._api.App(connector=self._api.SyncPsycopgConnector(conninfo=dsn)).open() as app:
            app.schema_manager.apply_schema()

    def run(self, road: str, run: Run) -> None:
        """On the services' own loop."""
        who, _, concurrency = road.partition(", ")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run(who == _TASKS, int(concurrency.split()[0]), run))

    def close(self) -> None:
        """A run leaves nothing open."""

    async def _run(self, by_tasks: bool, concurrency: int, run: Run) -> None:
        connector = self._api.PsycopgConnector(conninfo=self._dsn, min_size=_CONNECTIONS, max_size=_CONNECTIONS)
        app = self._api.App(connector=connector)
        ended: asyncio.Queue[str] = asyncio.Queue()
        ready = _Ready(run.dag)

        @app.task(name="task")
        async def task(name: str) -> None:
            # The first one only shows that the worker listens.
            if name:
                run.task(name)
                if by_tasks and (following := ready.after([name])):
                    await task.batch_defer_async(*following)
            ended.put_nowait(name)

        async with app.open_async():
            worker = asyncio.create_task(
                app.run_worker_async(
                    concurrency=concurrency, fetch_job_polling_interval=_POLL_S, install_signal_handlers=False
                )
            )
            try:
                await task.defer_async(name="")
                await ended.get()
                run.begin()
                async with asyncio.timeout(run.limit_s):
                    await _drive(task, run, ended, None if by_tasks else ready)
                run.end()
            except TimeoutError as error:
                run.late = True
                raise OutOfTime(run.dag.name) from error
            finally:
                worker.cancel()
                await asyncio.wait([worker], timeout=GRACE_S)


class _Ready:
    """Knows what still waits."""

    def __init__(self, dag: Dag) -> None:
        self._readers = dag.readers()
        self._waits = {name: len(reads) for name, reads in dag.tasks}
        self.first = [{"name": name} for name, left in self._waits.items() if not left]

    def after(self, over: Sequence[str]) -> list[dict[str, str]]:
        """Takes what has run; returns what may run now."""
        found = []
        for reader in (reader for name in over for reader in self._readers[name]):
            self._waits[reader] -= 1
            if not self._waits[reader]:
                found.append({"name": reader})
        return found


async def _drive(task: Any, run: Run, ended: asyncio.Queue[str], ready: _Ready | None) -> None:
    """Defers what has become ready in one statement; what ends meanwhile is in the next one.

    Without `ready` the tasks do that, but for the first ones.
    """
    following = (ready or _Ready(run.dag)).first
    while not run.done:
        if following:
            await task.batch_defer_async(*following)
        over = [await ended.get()]
        while not ended.empty():
            over.append(ended.get_nowait())
        following = ready.after(over) if ready is not None else []


ENGINE = Procrastinate
