"""The gRPC server of a service: mTLS with certificates that may rotate, the door, health, reflection, a clean stop.

class Greeter: ...
async def main(config: Config) -> None:
    await serve(config, lambda server: add_GreeterServicer_to_server(Greeter(), server), [GREETER])
sys.exit(run("planner", main))
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from haas_common import access, logs, metrics, tracing
from haas_common.auth import Verifier
from haas_common.calls import Call, current_call
from haas_common.config import Config, ConfigInvalid
from haas_common.db import CatalogueError, Scope
from haas_common.door import Door, Limits
from haas_common.readiness import announce_ready

__all__ = ["Call", "Limits", "Running", "Scope", "current_call", "run", "serve", "started"]

LOG = logging.getLogger(__name__)

#: How often the edge asks for health; a service that stops lingers three times as long, so that the edge has noticed.
EDGE_HEALTH_INTERVAL_S = 2.0
LINGER_S = {"prod": 3 * EDGE_HEALTH_INTERVAL_S, "dev": 0.2}
GRACE_S = 5.0
MESSAGE_BYTES_MAX = 16 * 1024 * 1024

#: A listener with a port that is taken fails instead of sharing it, and clients may ping every 10 s (they do every 30).
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
)

AddServices = Callable[[grpc.aio.Server], None]
Hook = Callable[[], Awaitable[None]]


def server_credentials(config: Config) -> grpc.ServerCredentials:
    """Credentials for mTLS; files that were replaced are used from the next handshake on."""
    paths: list[Path] = [config.secret_path(name) for name in ("tls.key", "tls.pem", "ca.pem")]

    def mark() -> list[tuple[int, int]]:
        return [(os.stat(path).st_mtime_ns, os.stat(path).st_ino) for path in paths]

    def load() -> grpc.ServerCertificateConfiguration:
        key, chain, authority = (path.read_bytes() for path in paths)
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authority)

    seen = mark()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        try:
            now = mark()
            if now == seen:
                return None
            fresh = load()
        except OSError as error:
            LOG.warning("certificates cannot be read; the known ones stay: %s", error)
            return None
        seen = now
        return fresh

    return grpc.dynamic_ssl_server_credentials(load(), changed, require_client_authentication=True)


@dataclass(slots=True)
class Running:
    """A server that answers.

    Attributes:
        port: where it listens.
    """

    port: int
    _server: grpc.aio.Server
    _health: health.aio.HealthServicer

    async def stop(self, linger_s: float, grace_s: float = GRACE_S) -> None:
        """NOT_SERVING, then a while of answering still, then no new calls, then the end of what is under way."""
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(linger_s)
        await self._server.stop(grace_s)


async def started(
    config: Config,
    add_services: AddServices,
    services: Sequence[ServiceDescriptor],
    *,
    on_start: Hook | None = None,
    reflected: Sequence[str] = (),
    limits: Limits | None = None,
) -> Running:
    """Starts the server; it says SERVING once `on_start` is through.

    Args:
        config: see Config.
        add_services: adds the servicers.
        services: what they implement; each method states its access.
        on_start: runs after the port is bound, before SERVING.
        reflected: further services that reflection lists; their descriptors are loaded.
        limits: see Limits.

    Raises:
        AccessUndeclared: a method states no access.
        ConfigInvalid: a file is missing, or the address is taken.
    """
    limits = limits or Limits()
    verifier = Verifier(config.secret_path("jwks.json"))
    door = Door(access.rules(services), verifier, limits, open_reflection=config.env == "dev")
    server = grpc.aio.server(
        interceptors=[door, *tracing.server_interceptors()],
        options=_OPTIONS,
        # The door refuses earlier, with a reason; this one guards against a flood that never reaches it.
        maximum_concurrent_rpcs=2 * limits.calls_max + limits.streams_max,
    )
    add_services(server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = [service.full_name for service in services]
    listed = sorted({*names, *reflected, health.SERVICE_NAME, reflection.SERVICE_NAME})
    reflection.enable_server_reflection(listed, server)
    try:
        port = server.add_secure_port(config.listen, server_credentials(config))
    except RuntimeError as error:
        raise ConfigInvalid(f"HAAS_LISTEN is {config.listen}; the address cannot be bound: it is taken.") from error
    for name in ("", *names):
        await checks.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    await server.start()
    if on_start is not None:
        await on_start()
    for name in ("", *names):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    return Running(port, server, checks)


@contextlib.asynccontextmanager
async def _stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def serve(
    config: Config,
    add_services: AddServices,
    services: Sequence[ServiceDescriptor],
    *,
    on_start: Hook | None = None,
    on_stopping: Hook | None = None,
    on_stop: Hook | None = None,
    reflected: Sequence[str] = (),
    limits: Limits | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then stops cleanly; see `started`.

    `on_stopping` runs first (streams say farewell), `on_stop` last, also after a failure.
    """
    try:
        async with _stop_signals() as stop, metrics.served(config.home, config.part or config.service):
            running = await started(
                config, add_services, services, on_start=on_start, reflected=reflected, limits=limits
            )
            LOG.info("%s serves on port %d", config.service, running.port)
            announce_ready()
            await stop.wait()
            LOG.info("%s stops", config.service)
            if on_stopping is not None:
                await on_stopping()
            await running.stop(LINGER_S[config.env])
    finally:
        if on_stop is not None:
            await on_stop()


def run(service: str, main: Callable[[Config], Awaitable[None]]) -> int:
    """The whole of a service's `__main__`: environment, logs, traces, loop; returns the process's exit code."""
    import uvloop

    try:
        config = Config.from_env(service)
        logs.configure(service, config.log_level)
        tracing.configure(service, config.otlp_endpoint)

        async def bounded() -> None:
            await main(config)

        uvloop.run(bounded())
    except (ConfigInvalid, CatalogueError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    finally:
        tracing.shutdown()
    return 0
