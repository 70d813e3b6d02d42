"""One real PostgreSQL and one real Valkey for a whole test run, shared by all xdist workers.

The first worker that asks starts a keeper process, which owns the servers. Every worker holds a shared lock on one
file; the keeper waits for the exclusive lock, gets it from the kernel when the last worker is gone (however it went),
stops the servers and removes their folder.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from haas_cli.fleet import postgres, valkey
from haas_cli.fleet.postgres import Postgres
from haas_cli.fleet.process import Command, spawn
from haas_cli.fleet.valkey import Valkey

_ALL_RIGHTS = "~* &* +@all"


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the run's servers are.

    Attributes:
        pg_admin_dsn: The superuser's DSN of the database `postgres`.
        valkey_url: A user with all rights; `?db=N` is for the caller to choose.
        folder: The run's folder, for locks and marks between workers.
    """

    pg_admin_dsn: str
    valkey_url: str
    folder: str


def run_folder() -> Path:
    """Returns the folder of this test run, the same for all of its workers."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"p{os.getpid()}"
    return Path(tempfile.gettempdir()) / f"haas-test-{os.geteuid()}-{run[:16]}"


@contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """Yields the run's servers, started by whoever comes first.

    Args:
        folder: The run's folder, see `run_folder`.
    """
    folder.mkdir(mode=0o755, exist_ok=True)
    with open(f"{folder}.lock", "w") as starting, open(f"{folder}.used", "w") as used:
        fcntl.flock(starting, fcntl.LOCK_EX)
        # Waits here while an earlier keeper still stops.
        fcntl.flock(used, fcntl.LOCK_SH)
        folder.mkdir(mode=0o755, exist_ok=True)
        ready = folder / "ready.json"
        if not ready.exists():
            _start_keeper(folder)
        servers = Servers(**json.loads(ready.read_text()))
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield servers


def _start_keeper(folder: Path) -> None:
    """Starts the keeper and waits for its word on standard output."""
    # Not under the folder: the keeper removes that one.
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.support.embedded", str(folder)],
        cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert keeper.stdout is not None
    with keeper.stdout as words:
        said = words.readline()
    if said.strip() != b"ready":
        raise RuntimeError(f"the test servers did not start, see {folder}/keeper.log")
    # It outlives this process by design; nobody waits for it here.
    keeper.returncode = 0


def keep(folder: Path) -> None:
    """Runs the servers until no worker holds the folder's lock (the keeper's whole life)."""
    database = Postgres(folder / "postgres", folder / "secrets/postgres", durable=False)
    cache = Valkey(folder / "valkey", folder / "secrets/valkey", rights=_ALL_RIGHTS)
    database.initialise()
    cache.configure()
    with open(folder / "keeper.log", "ab", buffering=0) as log:
        started = [
            _start(database.command(), postgres.READY_LINE, log.fileno()),
            _start(cache.command(), valkey.READY_LINE, log.fileno()),
        ]
        servers = Servers(database.dsn(), cache.url(), str(folder))
        fresh = folder / "ready.new"
        fresh.write_text(json.dumps(asdict(servers)))
        fresh.rename(folder / "ready.json")
        print("ready", flush=True)
        with open(f"{folder}.used", "w") as used:
            fcntl.flock(used, fcntl.LOCK_EX)
            for process, command in started:
                process.send_signal(command.stop_signal)
            for process, _ in started:
                process.wait()
            shutil.rmtree(folder)
            for suffix in (".used", ".lock"):
                Path(f"{folder}{suffix}").unlink(missing_ok=True)


def _start(command: Command, ready_line: bytes, log: int) -> tuple[subprocess.Popen[bytes], Command]:
    """Starts a server, waits for its ready line, and copies its further output to the log."""
    process = spawn(command)
    assert process.stdout is not None
    for line in process.stdout:
        os.write(log, line)
        if ready_line in line:
            break
    else:
        raise RuntimeError(f"{command.argv[0]} ended with status {process.wait()}")
    threading.Thread(target=_copy, args=(process, log), daemon=True).start()
    return process, command


def _copy(process: subprocess.Popen[bytes], log: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        os.write(log, line)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
