"""A tenant's plan takes about as long beside a neighbour's huge one as alone, in the simulation's time."""

import asyncio
import random

from haas_common.db import Scope
from haas_planner.attempts import Assignment, Made
from haas_planner.graph import Slot, Task, task_to_json
from haas_planner.log import PlanKey
from haas_planner.store import Command
from tests.simulation import virtual
from tests.simulation.fleet import Process, SimDoorbell
from tests.simulation.storage import Faults, Storage
from tests.simulation.world import surroundings
from tests.support.random_plans import FACTS, slot_of, written

#: As many as the run affords: the simulation's storage checks every event.
HUGE = 4000
#: What a commit takes for each event, and an attempt; measured on PostgreSQL, an event takes about as long.
EVENT_S, ATTEMPT_S = 0.00005, 0.02
SMALL, BIG = (Scope("t-small", "p"), "pl-small"), (Scope("t-big", "p"), "pl-big")


def task(number: int, *after: int) -> Task:
    name = f"T-{number}"
    reads = tuple(Slot(slot_of(f"T-{n}"), "value.x", f"T-{n}") for n in after)
    return Task(name, "specialist", "s", "", "agent", reads, (Slot(slot_of(name), "value.x"),))


class Work:
    """Attempts that take a moment and end well."""

    async def work(self, assignment: Assignment) -> Made:
        await asyncio.sleep(ATTEMPT_S)
        return Made({}, written(assignment.task, 0)[1])


async def took_s(neighbour: int) -> tuple[float, float]:
    """Returns what a chain of ten took, and when the neighbour's plan was over."""
    storage = Storage(random.Random(5), Faults())
    storage.event_s = EVENT_S
    bells = SimDoorbell(storage)
    process = Process("a", storage, bells, Work(), 64)  # type: ignore[arg-type]
    process.own(0)
    if neighbour:
        _ask(storage, bells, BIG, [task(n) for n in range(1, neighbour + 1)])
        await asyncio.sleep(1.0)
    began = asyncio.get_running_loop().time()
    _ask(storage, bells, SMALL, [task(n, *([n - 1] if n > 1 else [])) for n in range(1, 11)])
    ends = {key: await _over(storage, key) for key in ([SMALL, BIG] if neighbour else [SMALL])}
    assert not storage.violations
    return ends[SMALL] - began, ends.get(BIG, began) - began


def _ask(storage: Storage, bells: SimDoorbell, key: PlanKey, tasks: list[Task]) -> None:
    storage.shard_of[key] = 0
    body = {"facts": FACTS, "tasks": [task_to_json(t) for t in tasks]}
    storage.add_command(Command(key[0], key[1], f"{key[1]}-create", "create", body, "ana", ""))
    storage.add_command(Command(key[0], key[1], f"{key[1]}-run", "run", {}, "ana", ""))
    bells.ring("shard/0")


async def _over(storage: Storage, key: PlanKey) -> float:
    while storage.stream(key).plan.state != "completed":
        storage.kept.clear()
        await storage.kept.wait()
    return asyncio.get_running_loop().time()


def test_a_neighbours_huge_plan_hardly_delays_a_small_one() -> None:
    with surroundings():
        alone_s, _ = virtual.run(took_s(0))
        beside_s, huge_s = virtual.run(took_s(HUGE))
    assert huge_s > 5 * beside_s, "the neighbour was busy all the while"
    assert beside_s < 2 * alone_s, f"{alone_s:.3f} s alone, {beside_s:.3f} s beside {HUGE} tasks"
