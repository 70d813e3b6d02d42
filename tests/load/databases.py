"""A durable PostgreSQL of the benchmark's own, with nothing else on it: the fleet's binaries and settings."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from haas_cli.fleet import postgres
from haas_cli.fleet.postgres import Postgres
from haas_cli.fleet.process import spawn
from haas_common.db import Scope
from haas_common.db.migrate import migrate
from haas_common.sockets import short_url

_PASSWORD = "only-in-benchmarks"
SCOPES = [Scope("t-bench", f"p-{n}") for n in range(16)]


@dataclass(frozen=True, slots=True)
class Bench:
    """A migrated database with a tenant and its projects.

    Attributes:
        admin_dsn: The superuser's.
        app_dsn: The services' role.
        context_key: 32 bytes that sign tenant contexts.
        data_key: The file that wraps the keys of personal data.
        server: Its folder and password.
    """

    admin_dsn: str
    app_dsn: str
    context_key: bytes
    data_key: Path
    server: Postgres


@contextlib.contextmanager
def database() -> Iterator[Bench]:
    """Yields it; the server ends with the block."""
    # Where PostgreSQL's unprivileged user may enter, whatever the checkout's place.
    with tempfile.TemporaryDirectory(prefix="haas-bench-") as folder:
        os.chmod(folder, 0o755)
        server = Postgres(Path(folder) / "postgres", Path(folder) / "superuser.password")
        server.initialise()
        command = server.command()
        process = spawn(command)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if postgres.READY_LINE in line:
                    break
            else:
                raise RuntimeError(f"PostgreSQL ended with status {process.wait()}")
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield _made(server, Path(folder))
        finally:
            process.send_signal(command.stop_signal)
            process.wait()


def settle(admin_dsn: str) -> None:
    """Returns once server and disk have nothing left to do of what came before, such as a database that was dropped."""
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    os.sync()


def _made(server: Postgres, folder: Path) -> Bench:
    with psycopg.connect(short_url(server.dsn()), autocommit=True) as connection:
        connection.execute("CREATE DATABASE haas")
    admin, key = short_url(server.dsn("haas")), bytes(range(32))
    migrate(admin, _PASSWORD, key)
    data_key = folder / "data.key"
    data_key.write_text(f"{key.hex()}\n")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("INSERT INTO haas.tenants (tenant_id) VALUES (%s)", (SCOPES[0].tenant_id,))
        for scope in SCOPES:
            connection.execute(
                "INSERT INTO haas.projects (tenant_id, project_id) VALUES (%s, %s)", (scope.tenant_id, scope.project_id)
            )
    credentials, _, place = admin.removeprefix("postgresql://").partition("@")
    assert credentials
    return Bench(admin, f"postgresql://haas_app:{_PASSWORD}@{place}", key, data_key, server)
