"""The planner's figures: tasks that do nothing beside other engines on the same server, memory, fairness."""

import asyncio
import dataclasses
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import psycopg
import uvloop

from haas_common.db import Scope
from haas_common.ids import shard_of
from haas_planner.attempts import Assignment
from haas_planner.domain import snapshot
from haas_planner.graph import Slot, Task
from tests.load import engines, remote
from tests.load.dags import Dag, all_shapes, chain, fan, layered
from tests.load.databases import Bench, database, settle
from tests.load.engines.runs import PeerFigure, Run
from tests.load.figures import Table, percentile, shown
from tests.load.planner_memory import PLANS
from tests.load.planners import KINDS, Planner, planner, taken_up, tenants
from tests.support.remote import job

TENANTS = (1, 10, 100)
ROUNDS = 3
TASKS_TARGET, CHAIN_MS_TARGET = 10_000.0, 3.0
#: Times a peer's tasks a second: on the chain, which is bound by latency, and else.
CHAIN_TARGET, WIDE_TARGET = 4.0, 10.0
IDLE_MIB, WAITING_MIB, FAIR_TARGET = 90.0, 100.0, 5.0
NEIGHBOUR = 100_000
REMOTE_TARGET = 2_000.0
#: How many tasks a long plan has, and how many seconds its next owner may take to fold it.
LONG, TAKEN_UP_S = 100_000, 5.0
#: How a task that does nothing is done, by its kind.
_HOW = {"specialist": "an attempt each", "transform": "small transforms"}
#: How long the small tenant is measured, alone and beside the neighbour.
_FAIR_S = 8.0
_SLOW_US = 2000
_PEER_LIMIT_S = 20.0


#: Tasks a second of all plans, and the runs.
Round = tuple[float, list[Run]]


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """Ours: tasks a second (the median round), ready → started; no such times where nothing is started."""

    per_s: float
    slowest: float
    fastest: float
    p50_ms: float | None
    p99_ms: float | None


def tables() -> list[Table]:
    """All of them, on a server of their own."""
    shapes = all_shapes()
    with database() as bench, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        scopes = tenants(bench, max(TENANTS))
        figures, peers = _beside(bench, runner, scopes[:1], shapes)
        figures |= runner.run(_figures(bench, scopes, shapes))
        slow = runner.run(_slow(bench, scopes))
        through = runner.run(_remote(bench, scopes[:1]))
        # The neighbour's plan goes on wherever its shard is owned: nothing of ours is measured after that.
        limits = [*_memory(bench), *runner.run(_folding(bench, scopes[0])), *runner.run(_fairness(bench, scopes))]
    return [
        _ratios(shapes, figures, peers),
        _own(figures),
        _disk(slow, figures),
        _through(through),
        _limits(limits),
        _peers(shapes, peers),
    ]


# ── Ours ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _beside(
    bench: Bench, runner: asyncio.Runner, scopes: Sequence[Scope], shapes: Sequence[Dag]
) -> tuple[dict[tuple[str, str, int], Figure], dict[tuple[str, str], PeerFigure | None]]:
    """One plan of each shape by every engine, ours before and after the peers: the machine's minutes are not alike."""
    ours: dict[tuple[str, str, int], Figure] = {}
    peers: dict[tuple[str, str], PeerFigure | None] = {}
    for dag in shapes:
        before = runner.run(_several(bench, scopes, dag))
        for name in engines.NAMES:
            peers[dag.name, name] = engines.measure(name, bench.admin_dsn, dag, ROUNDS, _PEER_LIMIT_S)
        after = runner.run(_several(bench, scopes, dag))
        for kind in KINDS:
            ours[dag.name, kind, len(scopes)] = _middle([*before[kind], *after[kind]], kind)
    return ours, peers


async def _several(bench: Bench, scopes: Sequence[Scope], dag: Dag) -> dict[str, list[Round]]:
    settle(bench.admin_dsn)
    async with planner(bench) as engine:
        found = {}
        for kind in KINDS:
            await engine.together(scopes, layered(), kind)
            found[kind] = [await engine.together(scopes, dag, kind) for _ in range(ROUNDS)]
        return found


async def _figures(bench: Bench, scopes: Sequence[Scope], shapes: Sequence[Dag]) -> dict[tuple[str, str, int], Figure]:
    async with planner(bench) as engine:
        for kind in KINDS:
            await engine.together(scopes[:1], layered(), kind)
        return {
            (dag.name, kind, number): await _figure(engine, scopes[:number], dag, kind)
            for number in TENANTS[1:]
            for kind in KINDS
            for dag in shapes
        }


async def _figure(engine: Planner, scopes: Sequence[Scope], dag: Dag, kind: str) -> Figure:
    """A few plans are over in a blink: they are run several times."""
    rounds = [await engine.together(scopes, dag, kind) for _ in range(ROUNDS if len(scopes) <= 10 else 1)]
    return _middle(rounds, kind)


def _middle(rounds: list[Round], kind: str) -> Figure:
    rounds.sort(key=lambda found: found[0])
    per_s, runs = rounds[(len(rounds) - 1) // 2]
    p50, p99 = _lags(runs) if kind == "specialist" else (None, None)
    return Figure(per_s, rounds[0][0], rounds[-1][0], p50, p99)


def _lags(runs: Sequence[Run]) -> tuple[float, float]:
    lags = [lag for run in runs for lag in run.lags_ms()]
    return percentile(lags, 0.5), percentile(lags, 0.99)


async def _slow(bench: Bench, scopes: Sequence[Scope]) -> dict[tuple[str, str], Figure]:
    """The same on a disk that takes longer: the server waits that long before each flush."""
    settings = {"commit_delay": str(_SLOW_US), "commit_siblings": "0"}
    with psycopg.connect(bench.admin_dsn, autocommit=True) as admin:
        for name, value in settings.items():
            admin.execute(f"ALTER DATABASE haas SET {name} = {value}".encode())
    try:
        async with planner(bench) as engine:
            await engine.together(scopes[:1], layered())
            return {
                (dag.name, kind): await _figure(engine, scopes[:1], dag, kind) for kind in KINDS for dag in all_shapes()
            }
    finally:
        with psycopg.connect(bench.admin_dsn, autocommit=True) as admin:
            for name in settings:
                admin.execute(f"ALTER DATABASE haas RESET {name}".encode())


async def _remote(bench: Bench, scopes: Sequence[Scope]) -> list[tuple[str, list[float]]]:
    """Tasks by a remote worker: over its stream alone, and as attempts of a plan that are kept before and after it."""
    with tempfile.TemporaryDirectory() as folder:
        alone = await remote.measure(Path(folder), runs=ROUNDS)
    numbers = itertools.count(1)
    with tempfile.TemporaryDirectory() as folder:
        async with remote.worked(Path(folder)) as stream, planner(bench) as engine:

            async def done(_: Assignment) -> None:
                await stream.pool.do(job(next(numbers)))

            engine.remote = done
            await engine.together(scopes, layered())
            whole = {
                dag: [(await engine.together(scopes, dag))[0] for _ in range(ROUNDS)] for dag in (fan(), layered())
            }
    return [("the stream alone", alone.tasks_per_s), *((f"{dag.name}, an attempt each", w) for dag, w in whole.items())]


def _memory(bench: Bench) -> list[tuple[str, str, str]]:
    """A planner's process of its own: idle, then with plans that only wait."""
    given = {
        "admin_dsn": bench.admin_dsn, "app_dsn": bench.app_dsn, "context_key": bench.context_key.hex(),
        "data_key": str(bench.data_key),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.planner_memory"],
        input=json.dumps(given), capture_output=True, text=True, check=True, timeout=240,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    more = found["waiting"] - found["idle"]
    timers = f"{found['timers_waiting']:.0f} (idle {found['timers_idle']:.0f})"
    return [
        ("idle planner, PSS MiB", shown(found["idle"]), f"≤ {IDLE_MIB:.0f}"),
        (f"{PLANS:,} waiting plans, more PSS MiB", shown(more), f"≤ {WAITING_MIB:.0f}"),
        (f"{PLANS:,} waiting plans, timers of the loop", timers, "one a shard"),
    ]


async def _fairness(bench: Bench, scopes: Sequence[Scope]) -> list[tuple[str, str, str]]:
    """A small tenant's plans, one after another, alone and beside a neighbour's large one on the same shard."""
    small, neighbour = scopes[0], scopes[1]
    async with planner(bench) as engine:
        await engine.together([small], fan(8))
        alone = await _small(engine, small, 3)
        plan_id = engine.name(3, neighbour)
        await engine.create(neighbour, plan_id, _large(NEIGHBOUR))
        await engine.start(neighbour, plan_id)
        beside = await _small(engine, small, 3)
        left = shard_of(neighbour.tenant_id, neighbour.project_id, plan_id)
        known = next(iter(engine.shards[left]._plans), None)
    ratio = f"{shown(beside / alone)} ({shown(alone)} → {shown(beside)} ms)"
    name = f"small tenant's ready→started p99 beside {NEIGHBOUR:,} tasks ÷ alone"
    return [(name if known else f"{name} (the neighbour ended first)", ratio, f"≤ {FAIR_TARGET:.0f}")]


async def _small(engine: Planner, scope: Scope, shard: int) -> float:
    runs, end = [], time.perf_counter() + _FAIR_S
    while time.perf_counter() < end:
        runs.append(await engine.run(*await engine.drafted(scope, fan(8), shard)))
    return _lags(runs)[1]


async def _folding(bench: Bench, scope: Scope) -> list[tuple[str, str, str]]:
    """A long plan half-way, as the next owner of its shard takes it up: from its snapshot, and as if it had none."""
    async with planner(bench) as engine:
        plan_id = engine.name()
        await engine.create(scope, plan_id, _large(LONG))
        await engine.start(scope, plan_id)
        await engine.until(scope, plan_id, LONG // 2)
        await engine.pause(scope, plan_id)
    found = [await taken_up(bench, scope, plan_id) for _ in range(3)]
    with mock.patch.object(snapshot, "FORM", "none"):
        whole_s, whole = await taken_up(bench, scope, plan_id)
    taken_s, folded = sorted(found, key=lambda one: one[0])[1]
    plan = folded.plan
    name = f"a plan of {len(plan.tasks):,} tasks and {plan.version:,} events, folded by its next owner, s"
    first = f"the same from its first event, s ({shown(whole.plan.version / whole_s)} events/s)"
    return [
        (f"{name} ({folded.snapshot:,} events in its snapshot)", shown(taken_s), f"≤ {TAKEN_UP_S:.0f}"),
        (first, shown(whole_s), "-"),
    ]


def _large(items: int) -> list[Task]:
    item = {"kind": "specialist", "skill": "bench.nothing", "writes_type": "value.x"}
    source = Task("T-1", "specialist", "bench.nothing", "", "bench", (), (Slot("v1", "value.x"),))
    spread = Task(
        "T-2", "map", "map", "", "bench", (Slot("v1", "value.x", "T-1"),), (Slot("v2", "value.x"),),
        {"items": items},
        control={"over": "v1", "path": "items", "limit": 1000, "join": "all", "item": item},
    )  # fmt: skip
    return [source, spread]


# ── The tables ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _ratios(
    shapes: Sequence[Dag], ours: dict[tuple[str, str, int], Figure], peers: dict[tuple[str, str], PeerFigure | None]
) -> Table:
    rows = []
    for kind, dag in itertools.product(KINDS, shapes):
        mine = ours[dag.name, kind, 1].per_s
        target = CHAIN_TARGET if dag.name == chain().name else WIDE_TARGET
        found = [peers[dag.name, name] for name in engines.NAMES]
        rows.append(
            (f"{dag.name}, {_HOW[kind]}", *(shown(mine / one.tasks_per_s) if one else "-" for one in found),
             f"≥ {target:.0f}", shown(mine), *(shown(one.tasks_per_s) if one else "not installed" for one in found))
        )  # fmt: skip
    head = (
        "plan", *(f"times {name}" for name in engines.NAMES), "target", "ours tasks/s",
        *(f"{name} tasks/s" for name in engines.NAMES),
    )  # fmt: skip
    note = (
        "Ours runs before and after the others, shape by shape, each on a quiet disk. A step of dbos and LangGraph runs"
        " where the plan runs and is kept once it is done, as our transforms; a job of procrastinate is claimed first,"
        " as our attempts, which are kept before they begin."
    )
    return Table("The planner beside other engines: tasks that do nothing, one plan", head, tuple(rows), note)


def _own(figures: dict[tuple[str, str, int], Figure]) -> Table:
    rows = []
    for (name, kind, number), one in figures.items():
        is_chain = name == chain().name
        target = f"p50 ≤ {CHAIN_MS_TARGET:.0f} ms" if is_chain else f"≥ {shown(TASKS_TARGET)}/s"
        spread = f"{shown(one.slowest)}-{shown(one.fastest)}"
        rows.append((f"{name}, {_HOW[kind]}", str(number), shown(one.per_s), spread, *_times(one), target))
    note = (
        "Each tenant runs one plan of the shape at the same time, from RunPlan to PlanCompleted in the read model;"
        " every task's value is sealed. Creating the plans is not counted. On the chain, ready→started is a step;"
        " small transforms are not started: a step of theirs is 1 s ÷ tasks/s."
    )
    head = ("plan", "tenants", "tasks/s", "min-max", "ready→started p50 ms", "p99 ms", "target")
    return Table("The planner: tasks that do nothing", head, tuple(rows), note)


def _times(one: Figure) -> tuple[str, str]:
    return ("-" if one.p50_ms is None else shown(one.p50_ms), "-" if one.p99_ms is None else shown(one.p99_ms))


def _disk(slow: dict[tuple[str, str], Figure], figures: dict[tuple[str, str, int], Figure]) -> Table:
    rows = [
        (f"{name}, {_HOW[kind]}", shown(one.per_s / figures[name, kind, 1].per_s), shown(one.per_s), *_times(one))
        for (name, kind), one in slow.items()
    ]
    head = ("plan", "of the usual", "tasks/s", "ready→started p50 ms", "p99 ms")
    return Table(f"The planner where a flush takes {_SLOW_US / 1000:.0f} ms more, one tenant", head, tuple(rows))


def _through(figures: Sequence[tuple[str, list[float]]]) -> Table:
    target = f"≥ {shown(REMOTE_TARGET)}/s"
    rows = [
        (name, shown(statistics.median(rates)), f"{shown(min(rates))}-{shown(max(rates))}", target)
        for name, rates in figures
    ]
    note = f"One worker in a process of its own, {remote.CONCURRENCY} tasks at a time, gRPC over mTLS; they do nothing."
    head = ("what", "tasks/s", "min-max", "target")
    return Table("The planner: tasks through a remote worker", head, tuple(rows), note)


def _limits(rows: Sequence[tuple[str, str, str]]) -> Table:
    return Table("The planner: memory and fairness", ("what", "figure", "target"), tuple(rows))


def _peers(shapes: Sequence[Dag], peers: dict[tuple[str, str], PeerFigure | None]) -> Table:
    rows, notes = [], []
    for dag in shapes:
        for name in engines.NAMES:
            got = peers[dag.name, name]
            if got is None:
                rows.append((f"{dag.name}, {name}", "not installed", "-", "-", "-"))
                continue
            spread = f"{shown(got.slowest_per_s)}-{shown(got.fastest_per_s)}"
            rows.append(
                (f"{dag.name}, {name}", shown(got.tasks_per_s), spread, shown(got.lag_ms_p50), shown(got.lag_ms_p99))
            )
            notes.append(f"{dag.name}, {name}: {got.note}.")
    head = ("plan, engine", "tasks/s", "min-max", "ready→started p50 ms", "p99 ms")
    return Table("The other engines, each on a database of its own", head, tuple(rows), " ".join(notes))
