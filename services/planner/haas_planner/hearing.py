"""What a shard hears and rings: the topics of the doorbell."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from haas_planner.batch import Batch

#: A shard looks for commands, and for slots that were freed elsewhere, this often at least.
IDLE_S = 5.0


class Bells(Protocol):
    """What a shard asks of the doorbell."""

    def ring(self, topic: str) -> None:
        """Rings a topic."""

    def bell(self, *topics: str) -> Any:
        """Subscribes to topics."""


async def hear(doorbell: Bells, topic: str, heard: Callable[[], None]) -> None:
    """Calls `heard` whenever a topic was rung, and after a while in any case."""
    with doorbell.bell(topic) as bell:
        while True:
            await bell.wait(IDLE_S)
            heard()


async def listen(doorbell: Bells, name: str, commands: Callable[[], None], slots: Callable[[], None]) -> None:
    """Hears of a shard's commands and of slots, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(hear(doorbell, name, commands))
        group.create_task(hear(doorbell, "slots", slots))


def ring(doorbell: Bells, batch: Batch) -> None:
    """Tells who waits for what a batch brought."""
    if batch.has_events():
        doorbell.ring("events")
    if batch.freed or batch.trips:
        doorbell.ring("slots")
    for command, _ in batch.decided:
        doorbell.ring(f"reply/{command.plan_id}")
