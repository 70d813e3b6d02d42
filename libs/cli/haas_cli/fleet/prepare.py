"""The steps before the services: secrets, initdb, migrations, the edge's configuration.

Each runs as a process of its own (`python -m haas_cli.fleet.prepare STEP`), so that the supervisor, which lives on,
never imports cryptography, psycopg or protobuf. A failure is one sentence on standard output and status 1.
"""

import os
import sys
from collections.abc import Callable
from urllib.parse import quote, urlsplit, urlunsplit

from haas_cli.errors import CliError, FleetError
from haas_cli.fleet.home import Home, kept_password
from haas_cli.fleet.parts import SERVICES, embedded_postgres, embedded_valkey

_DATABASE = "haas"
_APP_ROLE = "haas_app"
#: Roles that do one thing, and the file that says how to log in as them.
_NARROW_ROLES = {"haas_projector": "gateway/projector.url", "haas_backup": "authority/backup.url"}


def secrets(home: Home) -> None:
    """Writes keys and certificates, and each service's database.url and valkey.url."""
    from haas_common.pki import write_fleet_secrets, write_secret

    hosts = [host for host in os.environ.get("HAAS_EDGE_HOSTS", "").split(",") if host]
    write_fleet_secrets(home.secrets, SERVICES, hosts)
    written = {
        "database.url": _as_role(admin_url(home), _APP_ROLE, _password(home, _APP_ROLE)),
        "valkey.url": embedded_valkey(home).url(),
    }
    files = {home.secrets / service / name: text for service in SERVICES for name, text in written.items()}
    for role, path in _NARROW_ROLES.items():
        files[home.secrets / path] = _as_role(admin_url(home), role, _password(home, role))
    for path, text in files.items():
        if not path.is_file() or path.read_text() != text:
            write_secret(path, text.encode())


def database(home: Home) -> None:
    """Makes the embedded PostgreSQL's data directory unless it is there."""
    embedded_postgres(home).initialise()


def migrate(home: Home) -> None:
    """Makes the database unless it is there, and brings it to this version's schema."""
    import psycopg

    from haas_common.db import migrate as migrations
    from haas_common.sockets import short_url

    key = bytes.fromhex((home.secrets / "authority" / "context.key").read_text().strip())
    try:
        if not _external():
            with psycopg.connect(short_url(embedded_postgres(home).dsn()), autocommit=True) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_DATABASE,)).fetchone()
                if found is None:
                    connection.execute(f"CREATE DATABASE {_DATABASE}".encode())
        others = {role: _password(home, role) for role in _NARROW_ROLES}
        migrations.migrate(admin_url(home), _password(home, _APP_ROLE), key, others)
    except migrations.MigrationError as error:
        raise FleetError(str(error)) from error
    except psycopg.OperationalError as error:
        where = "HAAS_DATABASE_URL" if _external() else "the embedded PostgreSQL"
        first = str(error).strip().splitlines()[0] if str(error).strip() else "no connection"
        raise FleetError(f"The database of {where} does not answer: {first}") from error


def edge(home: Home) -> None:
    """Generates Envoy's configuration."""
    from haas_gateway.envoy import EdgeSettings, write_config

    settings = EdgeSettings(
        home=home.root,
        secrets=home.secrets,
        listen_host="127.0.0.1",
        listen_port=int(os.environ["HAAS_EDGE_PORT"]),
        upstreams={service: os.environ[f"HAAS_PEER_{service.upper()}"] for service in SERVICES},
        otlp_endpoint=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip() or None,
        # Through the supervisor, which rotates it.
        access_log="/dev/stdout",
    )
    write_config(settings)


STEPS: dict[str, Callable[[Home], None]] = {"secrets": secrets, "database": database, "migrate": migrate, "edge": edge}


def _external() -> str:
    return os.environ.get("HAAS_DATABASE_URL", "").strip()


def admin_url(home: Home) -> str:
    """Returns the administrator's URL of the fleet's database."""
    return _external() or embedded_postgres(home).dsn(_DATABASE)


def _password(home: Home, role: str) -> str:
    return kept_password(home.secrets / "authority" / f"{role.removeprefix('haas_')}.password")


def _as_role(url: str, role: str, password: str) -> str:
    """Returns the same address with another role's credentials."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise FleetError("HAAS_DATABASE_URL is no URL: it reads postgresql://user:password@host:5432/database.")
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{quote(password)}@{address}"))


def main(arguments: list[str]) -> int:
    """Runs one step; returns the exit status."""
    try:
        STEPS[arguments[0]](Home.from_env())
    except CliError as error:
        print(error.message, flush=True)
        return int(error.exit_status)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
