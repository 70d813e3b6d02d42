"""The `haas` command as a user calls it, on a home of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from haas_cli.fleet.home import Home
from tests.support.ports import free_port

WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Cli:
    """Calls `haas`.

    Attributes:
        home: The fleet's state folder.
        environment: Of every call.
    """

    home: Home
    environment: dict[str, str]

    @classmethod
    def on(cls, home: Home) -> "Cli":
        """Returns the command line of a home, with a free port for its edge."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HAAS_")}
        return cls(home, {**inherited, "HAAS_HOME": str(home.root), "HAAS_EDGE_PORT": str(free_port())})

    def command(self, *arguments: str) -> list[str]:
        """Returns what to execute."""
        return [sys.executable, "-m", "haas_cli", *arguments]

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=WAIT_S, check=False
        )

    def json(self, *arguments: str) -> Any:
        """Returns the JSON document that a command prints; it must succeed."""
        done = self.call(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
