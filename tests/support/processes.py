"""A fleet's processes as the machine sees them, and what its supervisor says of them."""

import ctypes
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path

from haas_cli.fleet import state
from haas_cli.fleet.home import Home
from haas_cli.fleet.state import FleetState, PartState
from tests.support.cli import WAIT_S


def processes_of(home: Home) -> list[int]:
    """The processes whose environment names the home, or that work inside it."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            cwd = os.readlink(f"/proc/{entry}/cwd")
            environment = Path(f"/proc/{entry}/environ").read_bytes()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if cwd.startswith(str(home.root)) or f"HAAS_HOME={home.root}".encode() in environment:
            found.append(int(entry))
    return found


def left_behind(home: Home, timeout_s: float = 10) -> list[int]:
    """The same, once those that are on their way out have had their moment: a killed step's own child ends after it."""
    for pid in processes_of(home):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            select.select([descriptor], [], [], timeout_s)
        finally:
            os.close(descriptor)
    return processes_of(home)


class Notices:
    """Waits for changes of a folder (inotify), so that a test need not poll."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_CLOEXEC)
        moved_to = 0x80
        assert libc.inotify_add_watch(self._descriptor, os.fsencode(folder), moved_to) >= 0

    def __enter__(self) -> "Notices":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def wait(self) -> None:
        """Returns when something has changed since the last look."""
        assert select.select([self._descriptor], [], [], WAIT_S)[0], "nothing changed"
        os.read(self._descriptor, 65536)


def until(home: Home, holds: Callable[[FleetState], bool]) -> FleetState:
    """Waits until the supervisor's own account of the fleet is as wanted."""
    with Notices(home.run) as changed:
        while not holds(now := state.read(home)):
            changed.wait()
    return now


def kill(home: Home, name: str) -> PartState:
    """Ends a part without a warning; returns how it stood before."""
    before = state.read(home).parts[name]
    os.kill(before.pid, signal.SIGKILL)
    return before


def restarted(home: Home, name: str, before: PartState) -> FleetState:
    """Waits until the supervisor has started the part again and every part is ready."""
    return until(
        home,
        lambda now: (
            now.parts[name].restarts > before.restarts
            and all(part.state == "ready" for part in now.parts.values() if not part.step)
        ),
    )
