"""Starts the parts in order, keeps them alive, stops them in reverse; the parent that reaps them.

One thread, one event loop: children are forked from the main thread (the kernel ends a child whose death signal is set,
and Envoy always, when the thread that forked it ends), pidfds and pipes are watched by the loop, nothing is polled.
"""

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

from haas_cli.errors import FleetError
from haas_cli.fleet import state
from haas_cli.fleet.home import Home
from haas_cli.fleet.logs import PartLog
from haas_cli.fleet.notices import NoticeSocket
from haas_cli.fleet.parts import Part
from haas_cli.fleet.process import Command, spawn

BACKOFF_MIN_S, BACKOFF_MAX_S = 0.1, 5.0
# A part that lived this long has recovered: its next death starts at the shortest pause again. Twice the longest pause:
# with 30 s, a database that was killed once in 20 s soon stayed away for 5 s each time.
_HEALTHY_S = 10.0
_FIRST_STARTS_MAX = 3
_READ_BYTES = 64 * 1024

Reporter = Callable[[str, state.PartState], None]


class _Child:
    """A started process: its output goes to the log, its end and its readiness are futures."""

    def __init__(self, part: Part, command: Command, log: PartLog) -> None:
        loop = asyncio.get_running_loop()
        self.part = part
        self.command = command
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._log = log
        self._process = spawn(command, stdout=subprocess.PIPE)
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        output = self._process.stdout
        assert output is not None
        self._output = output
        os.set_blocking(output.fileno(), False)
        loop.add_reader(output.fileno(), self._read)
        loop.add_reader(self._pidfd, self._reap)

    def announce(self) -> None:
        """Notes that the process is ready."""
        if not self.ready.done():
            self.ready.set_result(None)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; a process that has ended gets none."""
        if not self.ended.done():
            signal.pidfd_send_signal(self._pidfd, number)

    def _read(self) -> None:
        try:
            data = os.read(self._output.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._output.fileno())
            return
        lines = self._log.feed(data)
        if self.part.ready_line and not self.ready.done() and any(self.part.ready_line in line for line in lines):
            self.announce()

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        # What it wrote last is still in the pipe; grandchildren may hold the pipe open, so no waiting for its end.
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._output.fileno(), _READ_BYTES):
                self._log.feed(data)
        loop.remove_reader(self._output.fileno())
        self._output.close()
        status = self._process.wait()
        os.close(self._pidfd)
        self.ended.set_result(status)
        if self.part.once and status == 0:
            self.announce()


class Supervisor:
    """Runs one fleet in one home.

    Attributes:
        state: What `haas status` shows, written to the home at each change.
    """

    def __init__(self, home: Home, parts: Sequence[Part], edge_port: int, report: Reporter) -> None:
        """Takes the parts.

        Args:
            home: The state folder; its folders exist and the caller holds its lock.
            parts: In the order of their start.
            edge_port: For the state.
            report: Hears of each change of a part's state.
        """
        self._home = home
        self._parts = parts
        self._report = report
        self._children: dict[str, _Child] = {}
        self._logs: dict[str, PartLog] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self._stop_asked = asyncio.Event()
        self._failure: FleetError | None = None
        self._notices = NoticeSocket()
        self.state = state.FleetState(os.getpid(), str(home.root), edge_port)

    def ask_to_stop(self) -> None:
        """Begins a clean stop; asked again, ends every process at once."""
        if self._stop_asked.is_set():
            for child in self._children.values():
                child.signal(signal.SIGKILL)
        self._stop_asked.set()

    async def run(self, when_ready: Callable[[], None]) -> bool:
        """Starts everything, keeps it alive until asked to stop, stops everything.

        Args:
            when_ready: Called once, when every part has been ready.

        Returns:
            Whether every part had been ready when the stop was asked for.

        Raises:
            FleetError: A part did not start; everything is stopped again.
        """
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._notices.fileno(), self._take_notices)
        for part in self._parts:
            self._ready[part.name] = asyncio.Event()
            self.state.parts[part.name] = state.PartState(port=part.port, step=part.once)
        keepers = [asyncio.create_task(self._keep(part), name=part.name) for part in self._parts]
        for keeper in keepers:
            keeper.add_done_callback(self._keeper_ended)
        all_ready = asyncio.create_task(self._all_ready())
        stop = asyncio.create_task(self._stop_asked.wait())
        try:
            await asyncio.wait({all_ready, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not self._stop_asked.is_set():
                self.state.ready, self.state.start_s = True, round(time.monotonic() - started, 2)
                self.state.write(self._home)
                when_ready()
                await stop
        finally:
            all_ready.cancel()
            stop.cancel()
            await self._stop_all(keepers)
            loop.remove_reader(self._notices.fileno())
            self._notices.close()
            for log in self._logs.values():
                log.close()
        if self._failure is not None:
            raise self._failure
        return self.state.ready

    async def _all_ready(self) -> None:
        for event in self._ready.values():
            await event.wait()

    async def _keep(self, part: Part) -> None:
        """A part's whole life: waits for what it needs, starts it, starts it again when it dies."""
        for name in part.after:
            if name in self._ready:
                await self._ready[name].wait()
        backoff_s, failed_starts = BACKOFF_MIN_S, 0
        shown = self.state.parts[part.name]
        while not self._stop_asked.is_set():
            began = time.monotonic()
            try:
                child = await self._start(part)
            except FleetError as error:
                failed_starts += 1
                if not self._ready[part.name].is_set() and (part.once or failed_starts >= _FIRST_STARTS_MAX):
                    self._fail(error)
                    return
            else:
                if part.once:
                    self._show(part, "done", pid=0)
                    if not part.again_s:
                        return
                    await asyncio.sleep(part.again_s)
                    continue
                # Not `await child.ended`: cancelling this task would cancel that future.
                await asyncio.wait({child.ended})
            if self._stop_asked.is_set():
                return
            if time.monotonic() - began > _HEALTHY_S:
                backoff_s = BACKOFF_MIN_S
            shown.restarts += 1
            self._show(part, "restarting", pid=0)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _start(self, part: Part) -> _Child:
        """Starts a part and waits until it is ready.

        Raises:
            FleetError: It ended before, or took too long.
        """
        began = time.monotonic()
        try:
            if part.before_start is not None:
                part.before_start()
            log = self._logs.get(part.name)
            if log is None:
                log = self._logs[part.name] = PartLog(self._home.log / f"{part.name}.log", part.name)
            log.tail.clear()
            command = part.command()
            environment = {**command.environment, "NOTIFY_SOCKET": self._notices.address}
            child = _Child(part, dataclasses.replace(command, environment=environment), log)
        except OSError as error:
            raise FleetError(f"The part {part.name} could not be started: {error}.") from error
        self._children[part.name] = child
        self._show(part, "starting", pid=child.pid)
        await asyncio.wait({child.ready, child.ended}, timeout=part.start_s, return_when=asyncio.FIRST_COMPLETED)
        if not child.ready.done():
            if not child.ended.done():
                child.signal(signal.SIGKILL)
                await asyncio.wait({child.ended})
                reason = f"was not ready within {part.start_s:.0f} s"
            else:
                reason = f"ended with status {child.ended.result()}"
            raise FleetError(_sentence(part, reason, log), part=part.name)
        self.state.parts[part.name].start_s = round(time.monotonic() - began, 2)
        self._ready[part.name].set()
        if not part.once:
            self._show(part, "ready")
        return child

    def _take_notices(self) -> None:
        for pid in self._notices.receive():
            for child in self._children.values():
                if child.pid == pid:
                    child.announce()

    async def _stop_all(self, keepers: Sequence["asyncio.Task[None]"]) -> None:
        """Stops each part after everything that was started after it and needs it."""
        self._stop_asked.set()
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        stopping: dict[str, asyncio.Task[None]] = {}
        needed = _needed_by(self._parts)
        for part in reversed(self._parts):
            child = self._children.get(part.name)
            if child is None or child.ended.done():
                continue
            needing = [task for name, task in stopping.items() if part.name in needed[name]]
            stopping[part.name] = asyncio.create_task(self._stop(child, needing))
        await asyncio.gather(*stopping.values())

    async def _stop(self, child: _Child, needing: Sequence["asyncio.Task[None]"]) -> None:
        for task in needing:
            await asyncio.shield(task)
        self._show(child.part, "stopping")
        child.signal(child.command.stop_signal)
        await asyncio.wait({child.ended}, timeout=child.part.stop_s)
        if not child.ended.done():
            child.signal(signal.SIGKILL)
            await child.ended
        self._show(child.part, "stopped", pid=0)

    def _keeper_ended(self, keeper: "asyncio.Task[None]") -> None:
        """Stops the fleet when the keeping of a part fails by a fault of ours: a part that nobody keeps is no fleet."""
        if keeper.cancelled():
            return
        error = keeper.exception()
        if error is not None:
            self._fail(FleetError(f"The part {keeper.get_name()} cannot be kept running: {error!r}."))

    def _fail(self, error: FleetError) -> None:
        if self._failure is None:
            self._failure = error
        self._stop_asked.set()

    def _show(self, part: Part, name: str, *, pid: int | None = None) -> None:
        shown = self.state.parts[part.name]
        shown.state = name
        if pid is not None:
            shown.pid = pid
        self.state.write(self._home)
        self._report(part.name, shown)


def _needed_by(parts: Sequence[Part]) -> dict[str, set[str]]:
    """Returns what each part needs, directly or through others."""
    needed: dict[str, set[str]] = {}
    for part in parts:
        needed[part.name] = set(part.after).union(*(needed.get(name, set()) for name in part.after))
    return needed


def _sentence(part: Part, reason: str, log: PartLog) -> str:
    """Says why a part did not start: a step's own last line is a sentence already."""
    last = log.tail[-1].decode(errors="replace").strip() if log.tail else ""
    if part.once and last:
        return last
    said = f": {last[:500]}" if last else ""
    return f"The part {part.name} {reason}{said} (see log/{part.name}.log in the state folder)."


def supervise(
    home: Home, parts: Sequence[Part], edge_port: int, report: Reporter, when_ready: Callable[[], None]
) -> bool:
    """Runs the fleet until SIGTERM or SIGINT; the caller's thread must be the main thread.

    Returns:
        Whether the fleet had been ready when the signal came.

    Raises:
        FleetError: Another fleet holds the home, or a part did not start.
    """

    async def body() -> bool:
        supervisor = Supervisor(home, parts, edge_port, report)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.ask_to_stop)
        return await supervisor.run(when_ready)

    with state.exclusive(home):
        return asyncio.run(body())
