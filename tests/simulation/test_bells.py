"""Who rings while a shard's question is being answered is heard: the answer is from before."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

from haas_common.db import Scope
from haas_planner.attempts import Assignment, Made
from haas_planner.graph import Policy, Slot, Task, task_to_json
from haas_planner.store import Command, OpenBreaker
from tests.simulation import virtual
from tests.simulation.fleet import Process, SimDoorbell
from tests.simulation.storage import Faults, Storage
from tests.simulation.world import surroundings
from tests.support import random_plans as some

#: An answer takes this long; who waits for the shard's own look round waits ten times as long at least.
ANSWER_S, SOON_S = 0.5, 3.0
SCOPE = Scope("t-one", "p")


class World:
    """A shard whose questions are answered slowly, and what its plans do: a task each, at once."""

    def __init__(self) -> None:
        self.storage = Storage(random.Random(1), Faults())
        self.storage.answer_s = ANSWER_S
        self.bells = SimDoorbell(self.storage)
        self.process = Process("a", self.storage, self.bells, self, 64)  # type: ignore[arg-type]

    async def work(self, assignment: Assignment) -> Made:
        """See Doings.work."""
        return Made({}, {slot.name: 1 for slot in assignment.task.writes})

    async def begin(self) -> None:
        """Takes the shard; returns when it has looked at everything once."""
        self.process.own(0)
        await asyncio.sleep(5 * ANSWER_S)

    def ask(self, plan_id: str, policy: Policy, kind: str = "specialist", skill: str = "s") -> None:
        """Creates and runs a plan of one task."""
        key = (SCOPE, plan_id)
        self.storage.shard_of[key] = 0
        task = Task("T-1", kind, skill, "", "agent", (), (Slot("v1", "value.x"),), policy=policy)
        body = {"facts": some.facts(random.Random(1)), "tasks": [task_to_json(task)]}
        for name, of in (("create", body), ("run", {})):
            self.storage.add_command(Command(SCOPE, plan_id, f"{plan_id}-{name}", name, of, "ana", ""))
        self.bells.ring("shard/0")

    async def ends_soon(self, plan_id: str) -> None:
        """Returns when a plan is over. Raises TimeoutError where nobody was told of it."""
        async with asyncio.timeout(SOON_S):
            while self.storage.stream((SCOPE, plan_id)).plan.state != "completed":
                self.storage.kept.clear()
                await self.storage.kept.wait()
        assert not self.storage.violations


def run(what: Coroutine[Any, Any, None]) -> None:
    with surroundings():
        virtual.run(what)


def test_a_command_that_comes_while_commands_are_read() -> None:
    async def story() -> None:
        world = World()
        await world.begin()
        world.ask("pl-1", Policy())
        await asyncio.sleep(ANSWER_S / 2)
        world.ask("pl-2", Policy())
        await world.ends_soon("pl-2")

    run(story())


def test_a_slot_that_is_given_back_while_slots_are_asked_for() -> None:
    async def story() -> None:
        world = World()
        await world.begin()
        where = (SCOPE.tenant_id, SCOPE.project_id, "key/account", 1)
        world.storage.slots[where] = (SCOPE, "pl-elsewhere", "T-1")
        taken = asyncio.Event()
        take = world.storage.take

        def told(wishes: Any) -> Any:
            taken.set()
            return take(wishes)

        world.storage.take = told  # type: ignore[method-assign]
        world.ask("pl-1", Policy(concurrency_key="account", concurrency_max=1))
        await taken.wait()
        del world.storage.slots[where]
        world.bells.ring("slots")
        await world.ends_soon("pl-1")

    run(story())


def test_a_tool_that_works_again_while_breakers_are_read() -> None:
    async def story() -> None:
        world = World()
        await world.begin()
        tool, asked = some.TOOLS[0], asyncio.Event()
        far_us = world.storage.now_us() + 3_600_000_000

        class Read(dict[Any, Any]):
            def values(self) -> Any:
                asked.set()
                return super().values()

        world.storage.breakers = Read({(SCOPE, tool): OpenBreaker(SCOPE, tool, 5, far_us)})
        world.ask("pl-1", Policy(), "tool", tool)
        await asked.wait()
        world.storage.breakers.clear()
        world.bells.ring("slots")
        await world.ends_soon("pl-1")

    run(story())
