"""What a running Envoy says about itself, over its admin socket."""

import http.client
import re
import socket
import time
from pathlib import Path

from haas_common.sockets import short_path

_RELOADS = re.compile(r"^extension_config_discovery\.http_filter\..*\.config_reload: (\d+)$", re.MULTILINE)
_LOOK_S = 0.01


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("admin", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(short_path(self._path))


def keys_taken(admin: Path, timeout_s: float = 2.0) -> int | None:
    """Returns how often this Envoy has taken a set of token keys, None where none runs."""
    connection = _Connection(admin, timeout_s)
    try:
        connection.request("GET", "/stats?filter=config_reload")
        found = _RELOADS.search(connection.getresponse().read().decode())
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    finally:
        connection.close()
    return int(found[1]) if found else 0


def await_keys(admin: Path, before: int | None, timeout_s: float = 10.0) -> None:
    """Waits until Envoy has taken a newer set of keys than at `before`; returns at once where none runs.

    Raises:
        TimeoutError: it has not, in time.
    """
    give_up = time.monotonic() + timeout_s
    while before is not None and keys_taken(admin) == before:
        if time.monotonic() > give_up:
            raise TimeoutError("Envoy has not taken the new keys in time")
        time.sleep(_LOOK_S)
