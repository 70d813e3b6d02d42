"""Work on the fleet's data that is no part of a run: a step of a service's own code, as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from haas_cli.errors import FleetError
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import Ports, service_environment
from haas_cli.fleet.state import read


def service_step(service: str, module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Runs a module of a service with its secrets, beside the running fleet; returns the JSON that it prints last.

    Raises:
        NotRunning: No fleet runs here: its database does not answer.
        FleetError: It failed; the sentence is its own last line.
    """
    home = Home.from_env()
    state = read(home)
    # It listens nowhere, but a service's environment names where it would.
    environment = service_environment(home, Ports(state.edge_port, {service: 0}), os.environ, service)
    argv = [sys.executable, "-P", "-m", module, *arguments]
    done = subprocess.run(argv, env=environment, cwd=home.root, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise FleetError(f"{module} failed: {lines[-1] if lines else done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
