"""What the edge is told: addresses, folders, limits."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BODY_BYTES_MAX = 1024 * 1024
#: Bodies are read up to here before they are refused: curl over HTTP/2 fails on an answer that comes earlier.
#: Uploads (8 MiB) are counted exactly by their service.
REFUSED_BYTES_MAX = 12 * 1024 * 1024
#: What all bodies together may hold: above it, Envoy resets the fattest streams first, then takes no more requests.
HEAP_BYTES_MAX = 512 * 1024 * 1024
#: A page of answers is one message; it has to fit into the windows, or Envoy answers 500.
RESPONSE_BYTES_MAX = 4 * 1024 * 1024
WINDOW_BYTES = 4 * 1024 * 1024
HEALTH_INTERVAL_S = 2
TENANT_CALLS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """The edge of one fleet.

    Attributes:
        home: the fleet's state folder; Envoy runs in it, so that paths in the configuration stay short.
        secrets: the folder of secrets; its `edge/` holds what Envoy needs.
        listen_host: where clients connect to.
        listen_port: see listen_host; one TLS port for gRPC, REST and gRPC-Web.
        upstreams: host:port by the service's name; of one with replicas several, with commas between.
        admin_socket: Envoy's admin, a 0600 unix socket, relative to the home.
        concurrency: Envoy's worker threads, for who starts it (`--concurrency`).
        otlp_endpoint: where traces go (OTLP over HTTP), None for nowhere.
        cors_origins: the origins whose scripts may call.
        access_log: where the JSON lines go, relative to the home.
    """

    home: Path
    secrets: Path
    listen_host: str
    listen_port: int
    upstreams: Mapping[str, str]
    admin_socket: str = "envoy/admin.sock"
    concurrency: int = 2
    otlp_endpoint: str | None = None
    cors_origins: tuple[str, ...] = ()
    access_log: str = "envoy/access.log"

    def path(self, path: Path) -> str:
        """The path as the configuration names it: relative to the home where it lies inside."""
        absolute, home = os.path.abspath(path), os.path.abspath(self.home)
        inside = os.path.commonpath([absolute, home]) == home
        return os.path.relpath(absolute, home) if inside else absolute
