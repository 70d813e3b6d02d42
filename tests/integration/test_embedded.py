"""The embedded servers: made once, survive a kill, live at any depth, stop with their parent."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis

from haas_cli.fleet import postgres, valkey
from haas_cli.fleet.postgres import Postgres
from haas_cli.fleet.process import Command, spawn
from haas_cli.fleet.valkey import Valkey
from haas_common.sockets import short_path, short_url

Start = Callable[[Command, bytes], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command, waits for its ready line, kills it at the end."""
    processes: list[subprocess.Popen[bytes]] = []

    def starter(command: Command, ready_line: bytes) -> subprocess.Popen[bytes]:
        process = spawn(command)
        processes.append(process)
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if ready_line in line:
                return process
        pytest.fail(f"it ended before it was ready: {b''.join(seen).decode()}")

    yield starter
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_the_database_outlives_a_kill_and_keeps_what_was_committed(tmp_path: Path, start: Start) -> None:
    server = Postgres(tmp_path / "postgres", tmp_path / "secrets/password")
    assert server.initialise() is True
    first = start(server.command(), postgres.READY_LINE)
    with closing(psycopg.connect(short_url(server.dsn()))) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        connection.commit()
        connection.execute("INSERT INTO kept VALUES (2)")
        first.send_signal(signal.SIGKILL)
        first.wait()
    server.await_quiet()
    assert server.initialise() is False
    start(server.command(), postgres.READY_LINE)
    with psycopg.connect(short_url(server.dsn())) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]


def test_the_database_refuses_a_wrong_password_and_has_checksums_and_no_port(tmp_path: Path, start: Start) -> None:
    server = Postgres(tmp_path / "postgres", tmp_path / "secrets/password")
    server.initialise()
    start(server.command(), postgres.READY_LINE)
    with psycopg.connect(short_url(server.dsn())) as connection:
        shown = connection.execute(
            "SELECT current_setting('data_checksums'), current_setting('listen_addresses'),"
            " current_setting('password_encryption')"
        ).fetchone()
    assert shown == ("on", "", "scram-sha-256")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(short_url(server.dsn()).replace(server.password(), "wrong"))


def test_an_interrupted_initdb_is_repaired_by_the_next_run(tmp_path: Path, start: Start) -> None:
    server = Postgres(tmp_path / "postgres", tmp_path / "secrets/password")
    half = tmp_path / "postgres/data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")
    assert server.initialise() is True
    start(server.command(), postgres.READY_LINE)
    with psycopg.connect(short_url(server.dsn())) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_both_servers_run_below_a_path_longer_than_a_socket_address(tmp_path: Path, start: Start) -> None:
    home = tmp_path / ("d" * 100) / ("e" * 100)
    home.mkdir(parents=True)
    server, cache = Postgres(home / "postgres", home / "password"), Valkey(home / "valkey", home / "valkey.password")
    server.initialise()
    cache.configure()
    start(server.command(), postgres.READY_LINE)
    start(cache.command(), valkey.READY_LINE)
    assert len(str(cache.socket)) > 107
    with psycopg.connect(short_url(server.dsn())) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with redis.Redis.from_url(short_url(cache.url())) as client:
        assert client.ping() is True
    assert len(short_path(cache.socket)) < 107


def test_the_app_user_of_the_cache_may_not_empty_or_reconfigure_it(tmp_path: Path, start: Start) -> None:
    cache = Valkey(tmp_path / "valkey", tmp_path / "password")
    cache.configure()
    start(cache.command(), valkey.READY_LINE)
    with redis.Redis.from_url(short_url(cache.url())) as client:
        assert client.set("bucket", 1) is True
        assert client.eval("return redis.call('incr', KEYS[1])", 1, "bucket") == 2
        for refused in (client.flushall, client.config_get, client.keys):
            with pytest.raises(redis.exceptions.NoPermissionError):
                refused()
    with (
        redis.Redis.from_url(short_url(cache.url()).replace(cache.password(), "wrong")) as client,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.ping()


def test_a_fresh_database_is_migrated_and_the_app_role_logs_in(database: object) -> None:
    with psycopg.connect(short_url(database.app_dsn)) as connection:  # type: ignore[attr-defined]
        assert connection.execute("SELECT current_user").fetchone() == ("haas_app",)
    with psycopg.connect(short_url(database.admin_dsn)) as connection:  # type: ignore[attr-defined]
        assert connection.execute("SELECT count(*) > 0 FROM haas_migrations").fetchone() == (True,)


def test_the_cache_of_a_test_starts_empty(valkey_url: str) -> None:
    with redis.Redis.from_url(short_url(valkey_url)) as client:
        assert client.dbsize() == 0
        client.set("left", "over")
