"""What the fleet is made of, as data for the supervisor."""

import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from haas_cli.errors import FleetError
from haas_cli.fleet import envoy, postgres, valkey
from haas_cli.fleet.home import Home
from haas_cli.fleet.postgres import Postgres
from haas_cli.fleet.process import Command
from haas_cli.fleet.valkey import Valkey

SERVICES = ("gateway", "orchestrator", "planner", "notifier", "mcp")
#: Services of which several may run, and how many: the planner's replicas share its sixteen shards.
SCALABLE = {"planner": 8}
# What services and steps may know of the caller's environment; HAAS_DATABASE_URL (an administrator's) is for the
# migration only.
_PASSED = (
    "HOME", "LANG", "LC_ALL", "PATH", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "HAAS_LOG_LEVEL", "HAAS_LLM_BASE_URL", "HAAS_LLM_API_KEY",
    "HAAS_LLM_MODEL", "HAAS_ARTIFACT_STORE_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "HAAS_CHECKPOINT_EVENTS", "HAAS_CHECKPOINT_S",
)  # fmt: skip
_PASSED_PREFIXES = ("OTEL_", "GRPC_")
_RENEW_S = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class Part:
    """A process of the fleet.

    Attributes:
        name: As `haas status` shows it.
        command: Builds the command, anew at each start.
        after: The parts that must be ready before this one starts; it stops before them.
        once: A step that has done its work when it ends with status 0; not restarted.
        again_s: A step is repeated so long after it was done; 0: never.
        ready_line: Output that says it is ready; empty: it announces itself by NOTIFY_SOCKET (steps: by ending).
        before_start: Runs before each start, in a moment.
        port: Where it listens, if on a port.
        start_s: How long a start may take.
        stop_s: How long a clean stop may take.
    """

    name: str
    command: Callable[[], Command]
    after: tuple[str, ...] = ()
    once: bool = False
    again_s: float = 0.0
    ready_line: bytes = b""
    before_start: Callable[[], object] | None = None
    port: int | None = None
    start_s: float = 30.0
    stop_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Ports:
    """The loopback ports of one run.

    Attributes:
        edge: Envoy's public port.
        services: The gRPC ports, by the part's name: a service's, or planner-2 and so on.
    """

    edge: int
    services: Mapping[str, int] = field(default_factory=dict)

    def peers(self) -> dict[str, str]:
        """Returns HAAS_PEER_<SERVICE> of every service: the addresses of its replicas, with commas between."""
        return {
            f"HAAS_PEER_{service.upper()}": ",".join(f"127.0.0.1:{self.services[name]}" for name in names)
            for service in SERVICES
            if (names := replicas(service, self.services))
        }


def part_names(scale: Mapping[str, int]) -> list[str]:
    """Returns the names of the services' parts: the first replica has the service's, the others planner-2 and so on."""
    return [
        name
        for service in SERVICES
        for name in (service, *(f"{service}-{n}" for n in range(2, scale.get(service, 1) + 1)))
    ]


def service_of(name: str) -> str:
    """Returns the service that a part is a replica of; of what is no service's part, its own name."""
    service, dash, number = name.rpartition("-")
    return service if dash and service in SCALABLE and number.isdigit() else name


def replicas(service: str, names: Iterable[str]) -> list[str]:
    """Returns which of the parts run a service, in their order."""
    return [name for name in names if service_of(name) == service]


def choose_ports(environ: Mapping[str, str] | None = None, scale: Mapping[str, int] = MappingProxyType({})) -> Ports:
    """Picks free loopback ports; the edge's comes from HAAS_EDGE_PORT.

    Args:
        environ: The caller's environment.
        scale: How many of a service run, where it is more than one.

    Raises:
        FleetError: HAAS_EDGE_PORT is no port, or somebody listens there.
    """
    text = (os.environ if environ is None else environ).get("HAAS_EDGE_PORT", "").strip() or str(envoy.EDGE_PORT)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise FleetError(f"HAAS_EDGE_PORT is {text!r}: it is a port number between 1 and 65535.")
    edge = int(text)
    try:
        with socket.socket() as probe:
            # As Envoy binds: a port that only lingers after an earlier run is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", edge))
    except PermissionError as error:
        raise FleetError(f"Port {edge} needs root: choose another one, such as HAAS_EDGE_PORT=8443.") from error
    except OSError as error:
        other = edge + 1000 if edge + 1000 < 65536 else envoy.EDGE_PORT
        raise FleetError(
            f"Port {edge} is taken: stop what listens there, or choose another one, such as HAAS_EDGE_PORT={other}.",
            reason="PORT_TAKEN",
        ) from error
    # All held open until the last is known, so that none is given twice; one more, since one may be the edge's.
    names = part_names(scale)
    sockets = [socket.socket() for _ in (*names, "spare")]
    try:
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        numbers = [number for held in sockets if (number := held.getsockname()[1]) != edge]
    finally:
        for held in sockets:
            held.close()
    return Ports(edge, dict(zip(names, numbers, strict=False)))


def fleet(home: Home, ports: Ports, environ: Mapping[str, str] | None = None) -> list[Part]:
    """Returns the parts of the embedded fleet, in the order of their start.

    Args:
        home: The state folder.
        ports: From `choose_ports`.
        environ: The caller's environment.
    """
    environ = os.environ if environ is None else environ
    external = bool(environ.get("HAAS_DATABASE_URL", "").strip())
    database, cache = embedded_postgres(home), embedded_valkey(home)
    # Certificates live 30 days and are renewed when fewer than 10 are left; a fleet may run longer than that.
    parts = [_step(home, ports, environ, "secrets", again_s=_RENEW_S)]
    if not external:
        parts += [
            _step(home, ports, environ, "database"),
            Part(
                "postgres", database.command, after=("database",), ready_line=postgres.READY_LINE,
                # A killed server's recovery replays at most max_wal_size.
                before_start=database.await_quiet, start_s=120.0, stop_s=20.0,
            ),
        ]  # fmt: skip
    parts += [
        Part("valkey", cache.command, ready_line=valkey.READY_LINE, before_start=cache.configure),
        _step(home, ports, environ, "migrate", after=("secrets",) if external else ("secrets", "postgres")),
        _step(home, ports, environ, "edge", after=("secrets",)),
    ]
    parts += [_service(home, ports, environ, name) for name in ports.services]
    edge = envoy.Envoy(home, ports.edge)
    parts.append(
        # After the services: its first round of health checks then passes, and it stops before them.
        Part("envoy", edge.command, after=("edge", *ports.services), ready_line=envoy.READY_LINE, port=ports.edge),
    )
    return parts


def embedded_postgres(home: Home) -> Postgres:
    """Returns the home's PostgreSQL."""
    return Postgres(home.root / "postgres", home.secrets / "postgres" / "superuser.password")


def embedded_valkey(home: Home) -> Valkey:
    """Returns the home's Valkey."""
    return Valkey(home.root / "valkey", home.secrets / "valkey" / "app.password")


def service_environment(home: Home, ports: Ports, environ: Mapping[str, str], name: str) -> dict[str, str]:
    """Returns the whole environment of a service's part."""
    found = _passed(environ)
    found |= {
        "HAAS_ENV": environ.get("HAAS_ENV", "").strip() or "dev",
        "HAAS_HOME": str(home.root),
        "HAAS_LISTEN": f"127.0.0.1:{ports.services[name]}",
        "HAAS_PART": name,
        "HAAS_SECRETS_DIR": str(home.secrets / service_of(name)),
        "HAAS_STORE_DIR": str(home.store),
        # The same after a restart, so that leases and claims of a dead process are taken over at once.
        "HAAS_INSTANCE": f"{name}@{socket.gethostname()}:{home.root}",
        # glibc's default of eight arenas per core costs each service several MiB.
        "MALLOC_ARENA_MAX": "2",
        "PYTHONUNBUFFERED": "1",
    }
    return found | ports.peers()


def _passed(environ: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environ.items() if key in _PASSED or key.startswith(_PASSED_PREFIXES)}


def _service(home: Home, ports: Ports, environ: Mapping[str, str], name: str) -> Part:
    def command() -> Command:
        # -P: the working directory stays out of sys.path.
        return Command(
            argv=(sys.executable, "-P", "-m", f"haas_{service_of(name)}"),
            cwd=home.root,
            environment=service_environment(home, ports, environ, name),
        )

    return Part(
        name, command, after=("migrate", "valkey"), port=ports.services[name], stop_s=15.0,
    )  # fmt: skip


def _step(
    home: Home,
    ports: Ports,
    environ: Mapping[str, str],
    name: str,
    after: tuple[str, ...] = (),
    again_s: float = 0.0,
) -> Part:
    def command() -> Command:
        found = _passed(environ)
        found |= {"HAAS_HOME": str(home.root), "HAAS_DATABASE_URL": environ.get("HAAS_DATABASE_URL", "")}
        found |= {"HAAS_EDGE_PORT": str(ports.edge), "HAAS_EDGE_HOSTS": environ.get("HAAS_EDGE_HOSTS", "")}
        found |= ports.peers()
        argv = (sys.executable, "-P", "-m", "haas_cli.fleet.prepare", name)
        return Command(argv=argv, cwd=Path("/"), environment=found)

    return Part(name, command, after=after, once=True, again_s=again_s, start_s=120.0)
