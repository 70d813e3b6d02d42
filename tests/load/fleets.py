"""A fleet of the benchmark's own: how fast it starts, what it takes, how long the demo's job is."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from haas_cli.fleet.home import Home
from tests.load.figures import Table, percentile, shown
from tests.support.apps import App, Edge
from tests.support.cli import Cli

STARTS = 3
JOBS = 5
COLD_S, JOB_S = 10.0, 5.0
ALL_MIB, SERVICE_MIB = 650.0, 90.0
_SERVICES = ("gateway", "orchestrator", "planner", "notifier", "mcp")


@contextlib.contextmanager
def fleet() -> Iterator[Cli]:
    """A running fleet with a fresh home."""
    with _home() as cli:
        _up(cli)
        try:
            yield cli
        finally:
            cli.call("down")


@contextlib.contextmanager
def _home() -> Iterator[Cli]:
    with tempfile.TemporaryDirectory(prefix="haas-bench-") as folder:
        yield Cli.on(Home(Path(folder) / "home"))


def _up(cli: Cli) -> float:
    began = time.monotonic()
    done = cli.call("up", "--detach")
    took_s = time.monotonic() - began
    if done.returncode != 0:
        raise RuntimeError(f"the fleet did not start: {done.stderr}")
    return took_s


def starts() -> Table:
    """`haas up --detach` to the end of the command, which waits for every part: in a fresh home, and again in it."""
    cold, warm = [], []
    for _ in range(STARTS):
        with _home() as cli:
            for times in (cold, warm):
                times.append(_up(cli))
                cli.call("down")
    rows = [
        (name, shown(min(times)), shown(max(times)), limit)
        for name, times, limit in (("cold: keys, initdb, migrations", cold, shown(COLD_S)), ("warm", warm, "-"))
    ]
    return Table(
        "Start: `haas up --detach` until every part is healthy", ("", "best s", "worst s", "limit s"), tuple(rows)
    )


def jobs(app: App) -> Table:
    """The demo's job over REST: CreatePlan, RunPlan, events to the end, every artifact verified."""
    times, tasks, artifacts = [], 0, 0
    for _ in range(JOBS):
        began = time.monotonic()
        plan_id = app.create()["plan_id"]
        app.run(plan_id)
        app.finish(plan_id)
        found = app.artifacts(plan_id)
        for artifact in found:
            if not app.get(f"/v1/artifacts/{artifact['artifact_id']}:verify")["valid"]:
                raise RuntimeError(f"{artifact['path']} is not valid")
        times.append(time.monotonic() - began)
        tasks, artifacts = app.status(plan_id)["tasks"]["total"], len(found)
    row = (f"{tasks} tasks, {artifacts} artifacts", *map(shown, (percentile(times, 0.5), max(times), JOB_S)))
    return Table(
        f"The demo's job, {JOBS} runs",
        ("CreatePlan to the last artifact verified", "p50 s", "max s", "limit s"),
        (row,),
    )


def memory(cli: Cli, when: str) -> Table:
    """What every part takes, as PSS with its children."""
    status = cli.json("status")
    sizes = {name: float(part["pss_mib"]) for name, part in status["parts"].items()}
    rows = [(name, shown(size), shown(SERVICE_MIB) if name in _SERVICES else "-") for name, size in sizes.items()]
    rows.append(("in all", shown(float(status["pss_mib"])), shown(ALL_MIB)))
    return Table(f"Memory, {when}", ("part", "PSS MiB", "limit MiB"), tuple(rows))


@contextlib.contextmanager
def example(cli: Cli, name: str = "medluxe") -> Iterator[App]:
    """An example's app in a running fleet."""
    with Edge(cli) as edge:
        yield edge.example(name)
