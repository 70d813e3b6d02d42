"""The supervisor of `haas up --detach`: tells its starter one JSON event a line, then goes on in silence.

Its arguments are those of `haas up --scale`.
"""

import json
import os
import sys

from haas_cli.commands.up import parse_scale, run_supervisor
from haas_cli.errors import CliError
from haas_cli.fleet.home import Home


def _tell(event: dict[str, object]) -> None:
    try:
        print(json.dumps(event), flush=True)
    except BrokenPipeError:
        _fall_silent()
    if event["event"] == "ready":
        _fall_silent()


def _fall_silent() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def main(arguments: list[str]) -> int:
    """Runs the fleet until SIGTERM, with so many of a service as the arguments say; returns the exit status."""
    try:
        run_supervisor(Home.from_env(), _tell, parse_scale(arguments))
    except CliError as error:
        _tell({"event": "failed", "reason": error.reason, "message": error.message})
        return int(error.exit_status)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
