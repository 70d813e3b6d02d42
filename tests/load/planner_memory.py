"""What a planner's process takes, idle and with many plans that wait: run as a process of its own, asked over stdin."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from haas_cli.fleet.memory import family_pss_mib
from haas_common.db import Database, Lease, Scope
from haas_planner import domain, store
from haas_planner.domain import Plan
from haas_planner.graph import Slot, Task
from haas_planner.store import Change
from tests.load.databases import SCOPES, Bench
from tests.load.planners import FACTS, Planner, planner

PLANS = 10_000
_ASKED = 2_000
_AT_ONCE = 64
# Nobody holds it here; those of the shards are the planner's.
_LEASE = Lease("relay/notifier", 0)
_NEVER_S = 30 * 86_400


def waiting() -> list[Task]:
    """Returns a plan that waits for a signal, and a task behind it."""
    wait = Task(
        "T-1", "wait", "wait", "", "bench", (), (Slot("v1", "value.x"),),
        control={"signal": "go", "timeout_s": _NEVER_S, "on_timeout": "fail"},
    )  # fmt: skip
    after = Task(
        "T-2", "specialist", "bench.nothing", "", "bench", (Slot("v1", "value.x", "T-1"),), (Slot("v2", "value.x"),)
    )
    return [wait, after]


async def measured(bench: Bench) -> dict[str, float]:
    """Returns MiB idle, MiB with the plans, and how many timers the event loop held before and with them."""
    async with planner(bench) as engine:
        idle, timers = _pss(), _timers()
    # As many as its memory keeps whole come to it one by one; the others it finds, as after a restart.
    await _written(bench, PLANS - _ASKED)
    async with planner(bench) as engine:
        room = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(_wait(engine, SCOPES[n % len(SCOPES)], room) for n in range(_ASKED)))
        return {"idle": idle, "waiting": _pss(), "timers_idle": timers, "timers_waiting": _timers()}


async def _written(bench: Bench, number: int) -> None:
    """Writes plans that wait, a hundred a transaction, as their shard's owner did."""
    database = await Database.open(bench.app_dsn, bench.context_key, "haas-bench", data_key=bench.data_key)
    try:
        for first in range(0, number, 100):
            changes = []
            for n in range(first, min(first + 100, number)):
                scope = SCOPES[n % len(SCOPES)]
                plan = Plan(scope.tenant_id, scope.project_id, f"pl-found{n:08d}")
                told = domain.create(plan, FACTS, waiting(), "bench")
                changes.append(Change(plan, 0, [*told, *domain.run(plan, "bench", time.time_ns() // 1000)]))
            async with database.batch_tx(_LEASE, SCOPES, timeout_s=60) as tx:
                await store.save(tx, _LEASE, changes)
    finally:
        await database.close()


async def _wait(engine: Planner, scope: Scope, room: asyncio.Semaphore) -> None:
    async with room:
        plan_id = engine.name()
        await engine.create(scope, plan_id, waiting())
        await engine.start(scope, plan_id)


def _pss() -> float:
    own = os.getpid()
    return family_pss_mib([own])[own] or 0.0


def _timers() -> int:
    """Counts what the loop has scheduled and nobody has called off; the standard library's own loop keeps a list."""
    loop = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]


if __name__ == "__main__":
    given = json.load(sys.stdin)
    made = Bench(
        given["admin_dsn"], given["app_dsn"], bytes.fromhex(given["context_key"]), Path(given["data_key"]), None
    )  # type: ignore[arg-type]
    print(json.dumps(asyncio.run(measured(made))))
