"""The engines that the planner is measured against, each on a database of its own on the benchmark's server.

They run in this process, their tasks are functions that do nothing. What they keep is durable before a dependent task
starts. They are the extra `bench`; without it `measure` returns None.
"""

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import replace

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.load.dags import Dag
from tests.load.databases import settle
from tests.load.engines.runs import LIMIT_S, Engine, OutOfTime, PeerFigure, Run, figure
from tests.load.figures import Table, shown

#: The package each needs beside its driver of PostgreSQL.
NAMES = ("dbos", "procrastinate", "langgraph")
ROUNDS = 3
_CLOSE = 0.75


def measure(name: str, admin_dsn: str, dag: Dag, rounds: int = ROUNDS, limit_s: float = LIMIT_S) -> PeerFigure | None:
    """Runs a plan by each road the engine knows, the faster ones as often as told; the best median counts.

    Args:
        name: One of NAMES.
        admin_dsn: The superuser's, any database of the server.
        dag: The plan.
        rounds: At least 1.
        limit_s: A run's; what takes longer is measured in part.

    Returns:
        The figure of the best road, or None where the package is not installed.
    """
    if importlib.util.find_spec(name) is None:
        return None
    module = importlib.import_module(f"tests.load.engines.{name}")
    engine: Engine = module.ENGINE()
    taken = {road: [_run(engine, name, admin_dsn, dag, road, limit_s)] for road in engine.roads(dag)}
    fastest = max(runs[0].per_s() for runs in taken.values())
    # One run does not tell roads apart that are close to each other.
    close = [road for road, runs in taken.items() if runs[0].per_s() >= _CLOSE * fastest]
    for _ in range(1, rounds):
        for road in close:
            taken[road].append(_run(engine, name, admin_dsn, dag, road, limit_s))
    figures = {road: figure(road, runs) for road, runs in taken.items()}
    best = max(close, key=lambda road: figures[road].tasks_per_s)
    slower = [f"{road} {shown(got.tasks_per_s)}/s" for road, got in figures.items() if road != best]
    got = figures[best]
    return replace(got, note=f"{got.note} (else {', '.join(slower)})") if slower else got


def tables(admin_dsn: str, dags: tuple[Dag, ...]) -> list[Table]:
    """The peers' own figures, a table a plan."""
    found = []
    for dag in dags:
        rows, notes = [], []
        for name in NAMES:
            got = measure(name, admin_dsn, dag)
            if got is None:
                rows.append((name, "not installed", "-", "-", "-"))
                continue
            spread = f"{shown(got.slowest_per_s)}-{shown(got.fastest_per_s)}"
            rows.append((name, shown(got.tasks_per_s), spread, shown(got.lag_ms_p50), shown(got.lag_ms_p99)))
            notes.append(f"{name}: {got.note}.")
        head = ("engine", "tasks/s", "min-max", "ready→started p50 ms", "p99 ms")
        found.append(Table(f"Peers: {dag.name}", head, tuple(rows), " ".join(notes)))
    return found


def _run(engine: Engine, name: str, admin_dsn: str, dag: Dag, road: str, limit_s: float) -> Run:
    """One run, on a new database: what the ones before left would slow it."""
    run = Run(dag, limit_s)
    with _database(admin_dsn, f"peer_{name}") as dsn:
        engine.open(dsn)
        settle(admin_dsn)
        try:
            engine.run(road, run)
        except OutOfTime:
            run.end()
        finally:
            engine.close()
    return run


@contextlib.contextmanager
def _database(admin_dsn: str, name: str) -> Iterator[str]:
    """Makes a database and yields its address; it goes with the block."""
    identifier = sql.Identifier(name)
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    try:
        # As an address, which SQLAlchemy needs; the host is a folder, and goes with the parameters.
        given = conninfo_to_dict(admin_dsn)
        yield (
            f"postgresql://{given['user']}:{given['password']}@/{name}"
            f"?host={str(given['host']).replace('/', '%2F')}&port={given['port']}"
        )
    finally:
        with psycopg.connect(admin_dsn, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))
