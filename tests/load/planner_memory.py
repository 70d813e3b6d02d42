"""What a planner's process takes, idle and with many plans that wait: run as a process of its own, asked over stdin."""

import asyncio
import json
import os
import sys
from pathlib import Path

from haas_cli.fleet.memory import family_pss_mib
from haas_common.db import Scope
from haas_planner.graph import Slot, Task
from tests.load.databases import SCOPES, Bench
from tests.load.planners import Planner, planner

PLANS = 10_000
_AT_ONCE = 64
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
        room = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(_wait(engine, SCOPES[n % len(SCOPES)], room) for n in range(PLANS)))
        return {"idle": idle, "waiting": _pss(), "timers_idle": timers, "timers_waiting": _timers()}


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
