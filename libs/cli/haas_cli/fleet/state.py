"""What a running fleet tells about itself: `run/fleet.json`, and the lock that says it is true."""

import errno
import fcntl
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from haas_cli.errors import FleetError, NotRunning
from haas_cli.fleet.home import Home

# struct flock (fcntl(2)): type, whence, start, length, pid. Open-file-description locks, since a plain POSIX lock is
# lost when its process closes any other descriptor of the file.
_FLOCK = struct.Struct("hhqqi4x")


@dataclass(slots=True)
class PartState:
    """One part as its supervisor sees it.

    Attributes:
        state: "waiting", "starting", "ready", "done" (a step), "restarting", "stopping" or "stopped".
        pid: The process, 0 when there is none.
        port: Where it listens; None when not on a port.
        restarts: How often it was started again after it died.
        start_s: How long its last start took, in seconds.
        step: True for a step of the set-up, which ends.
    """

    state: str = "waiting"
    pid: int = 0
    port: int | None = None
    restarts: int = 0
    start_s: float = 0.0
    step: bool = False


@dataclass(slots=True)
class FleetState:
    """The whole fleet.

    Attributes:
        pid: The supervisor.
        home: The state folder.
        edge_port: Envoy's public port.
        ready: Whether every part has been ready.
        start_s: How long the whole start took, in seconds.
        parts: By name, in the order of their start.
    """

    pid: int
    home: str
    edge_port: int
    ready: bool = False
    start_s: float = 0.0
    parts: dict[str, PartState] = field(default_factory=dict)

    def write(self, home: Home) -> None:
        """Replaces the file by rename, 0600."""
        fresh = home.state_file.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file, indent=1)
        fresh.replace(home.state_file)


@contextmanager
def exclusive(home: Home) -> Iterator[None]:
    """Holds the home for one supervisor.

    Raises:
        FleetError: Another supervisor holds it.
    """
    with open(home.lock_file, "a") as lock:
        try:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise already_running(home) from error
        try:
            home.state_file.unlink(missing_ok=True)
            yield
        finally:
            home.state_file.unlink(missing_ok=True)


def already_running(home: Home) -> FleetError:
    """Returns what a second supervisor of one home says."""
    return FleetError(f"The fleet of {home.root} is already running: see `haas status`.", reason="ALREADY_RUNNING")


def is_running(home: Home) -> bool:
    """Tells whether a supervisor holds the home."""
    try:
        with open(home.lock_file) as lock:
            # Asks without taking, so that a look never makes a start fail.
            found = fcntl.fcntl(lock, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except FileNotFoundError:
        return False
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def read(home: Home) -> FleetState:
    """Returns the state of the running fleet.

    Raises:
        NotRunning: There is none.
    """
    if is_running(home):
        try:
            found = json.loads(home.state_file.read_text())
            found["parts"] = {name: PartState(**part) for name, part in found["parts"].items()}
            return FleetState(**found)
        except FileNotFoundError:
            # It holds the lock and has not come to write, or has just gone.
            raise NotRunning(f"The fleet of {home.root} is only just starting or stopping: try again.") from None
    raise NotRunning(f"No fleet runs in {home.root}: start it with `haas up`.")
