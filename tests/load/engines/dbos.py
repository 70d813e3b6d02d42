"""DBOS Transact: a plan as steps of one workflow, or as child workflows on a queue."""

import asyncio
import importlib
from collections.abc import Sequence
from typing import Any

import uvloop

from tests.load.dags import Dag
from tests.load.engines.runs import Run

# 1 s unless told: a child would wait for half of that.
_POLL_S = 0.05
_QUEUE = "bench"


class Dbos:
    """One instance for the process; a database a run."""

    def __init__(self) -> None:
        """Loads the package, nothing else."""
        self._api: Any = importlib.import_module("dbos")
        self._now: Run | None = None
        self._by_road: dict[str, Any] = {}

    def roads(self, dag: Dag) -> Sequence[str]:
        """A queue's poll is paid by each layer, so the chain is not sent through one."""
        wide = max(len(layer) for layer in dag.layers()) > 1
        return ("steps", "gathered steps", "queue") if wide else ("steps", "async steps")

    def open(self, dsn: str) -> None:
        """Registers the workflows and launches."""
        dbos = self._api.DBOS
        # CRITICAL: a run that is out of time fails a thousand tasks, and a run knows its own faults.
        dbos(
            config={
                "name": "bench", "system_database_url": dsn, "run_admin_server": False, "log_level": "CRITICAL",
                "application_version": "1", "notification_listener_polling_interval_sec": _POLL_S,
            }
        )  # fmt: skip
        self._register(dbos)
        dbos.launch()
        dbos.register_queue(_QUEUE, polling_interval_sec=_POLL_S)

    def _register(self, dbos: Any) -> None:
        def body(task: str) -> None:
            assert self._now is not None
            self._now.task(task)

        step = dbos.step(name="step")(body)

        @dbos.step(name="async_step")
        async def async_step(task: str) -> None:
            body(task)

        child = dbos.workflow(name="child")(lambda task: body(task))

        @dbos.workflow(name="steps")
        def steps(tasks: list[str]) -> None:
            for task in tasks:
                step(task)

        @dbos.workflow(name="gathered")
        async def gathered(layers: list[list[str]]) -> None:
            for layer in layers:
                await asyncio.gather(*(async_step(task) for task in layer))

        @dbos.workflow(name="queued")
        def queued(layers: list[list[str]]) -> None:
            for layer in layers:
                for handle in [dbos.enqueue_workflow(_QUEUE, child, task) for task in layer]:
                    handle.get_result(polling_interval_sec=_POLL_S)

        self._by_road = {"steps": steps, "gathered steps": gathered, "async steps": gathered, "queue": queued}

    def run(self, road: str, run: Run) -> None:
        """The workflow's call returns when its end is recorded."""
        self._now, work = run, self._by_road[road]
        layers = run.dag.layers()
        if road == "steps":
            # In the order of the plan: a step's inputs have run before it.
            tasks = [task for task, _ in run.dag.tasks]
            run.begin()
            work(tasks)
        elif road == "queue":
            run.begin()
            work(layers)
        else:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.get_loop()
                run.begin()
                runner.run(work(layers))
        run.end()

    def close(self) -> None:
        """Forgets the workflows too: the next run registers its own."""
        self._api.DBOS.destroy(destroy_registry=True)


ENGINE = Dbos
