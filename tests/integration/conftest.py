"""Real servers for integration tests: one PostgreSQL and one Valkey a run, a database per test from a template."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis

from haas_common.db import Database
from haas_common.db.migrate import migrate
from haas_common.sockets import short_url
from tests.support import embedded

_TEMPLATE = "haas_template"
_APP_PASSWORD = "only-in-tests"
_CONTEXT_KEY = bytes(range(32))


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """A fresh, migrated database.

    Attributes:
        admin_dsn: The superuser's DSN.
        app_dsn: The services' role, behind row-level security.
        context_key: 32 bytes that sign tenant contexts.
    """

    __test__ = False

    admin_dsn: str
    app_dsn: str
    context_key: bytes

    @property
    def projector_dsn(self) -> str:
        """The tailing projectors' role: it reads the history and writes their tables alone."""
        return self.app_dsn.replace("//haas_app:", "//haas_projector:", 1)


@pytest.fixture(scope="session", autouse=True)
def data_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file that wraps the keys of personal data, for every database that a test opens without naming one."""
    path = tmp_path_factory.mktemp("keys") / "data.key"
    path.write_text(f"{bytes(range(32, 64)).hex()}\n")
    defaults = Database.open.__func__.__kwdefaults__
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(defaults, "data_key", path)
        yield path


@pytest.fixture(scope="session")
def servers() -> Iterator[embedded.Servers]:
    """The run's servers, shared by all workers."""
    with embedded.running(embedded.run_folder()) as found:
        yield found


@pytest.fixture(scope="session")
def pg_admin_dsn(servers: embedded.Servers) -> str:
    """The superuser's DSN of the database `postgres`."""
    return servers.pg_admin_dsn


@pytest.fixture
def valkey_url(servers: embedded.Servers) -> str:
    """A user with all rights on a logical database of this worker's own, empty at the test's start."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    url = servers.valkey_url.replace("?db=0", f"?db={int(worker) + 1}")
    with redis.Redis.from_url(short_url(url)) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="session")
def template(servers: embedded.Servers) -> str:
    """The name of the migrated database that tests copy, made once a run."""
    done = Path(servers.folder) / "template.done"
    with open(Path(servers.folder) / "template.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            with psycopg.connect(short_url(servers.pg_admin_dsn), autocommit=True) as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {_TEMPLATE}".encode())
                connection.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
            others = {"haas_projector": _APP_PASSWORD}
            migrate(_in_database(servers.pg_admin_dsn, _TEMPLATE), _APP_PASSWORD, _CONTEXT_KEY, others)
            done.touch()
    return _TEMPLATE


@contextmanager
def copied(servers: embedded.Servers, template: str) -> Iterator[TestDatabase]:
    """Yields a copy of the migrated database, dropped afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(short_url(servers.pg_admin_dsn), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        # A template's own access rules are not copied.
        connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC".encode())
        connection.execute(f"GRANT CONNECT ON DATABASE {name} TO haas_app, haas_projector".encode())
    admin = _in_database(servers.pg_admin_dsn, name)
    yield TestDatabase(admin, _as_user(admin, "haas_app", _APP_PASSWORD), _CONTEXT_KEY)
    with psycopg.connect(short_url(servers.pg_admin_dsn), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def database(servers: embedded.Servers, template: str) -> Iterator[TestDatabase]:
    """A migrated database of this test's own, dropped afterwards."""
    with copied(servers, template) as found:
        yield found


def _in_database(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


def _as_user(dsn: str, user: str, password: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}"))
