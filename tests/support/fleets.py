"""Runs a supervisor inside a test and waits for what it reports."""

import asyncio
from collections.abc import Callable, Sequence

from haas_cli.fleet import state
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import Part
from haas_cli.fleet.supervisor import Supervisor

WAIT_S = 30.0


class Fleet:
    """A supervisor in this process.

    Attributes:
        seen: (part, state) in the order of the reports.
        supervisor: The supervisor itself.
    """

    def __init__(self, home: Home, parts: Sequence[Part]) -> None:
        """Takes the parts; nothing starts yet."""
        self.seen: list[tuple[str, str]] = []
        self._ready = asyncio.Event()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Event]] = []
        self.supervisor = Supervisor(home, parts, 1, self._report)

    def _report(self, name: str, part: state.PartState) -> None:
        self.seen.append((name, part.state))
        for condition, event in self._waiting:
            if condition():
                event.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a report after which the condition holds."""
        event = asyncio.Event()
        self._waiting.append((condition, event))
        async with asyncio.timeout(WAIT_S):
            await event.wait()

    async def start(self) -> "asyncio.Task[bool]":
        """Starts everything; returns when every part is ready.

        Raises:
            FleetError: A part did not start.
        """
        task = asyncio.create_task(self.supervisor.run(self._ready.set))
        ready = asyncio.create_task(self._ready.wait())
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if task.done():
            await task
        return task
