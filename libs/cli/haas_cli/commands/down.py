"""`haas down`: stops the fleet."""

import json
import os
import select
import signal

import click

from haas_cli.errors import Exit, FleetError, NotRunning
from haas_cli.fleet.home import Home
from haas_cli.fleet.state import is_running, read

# Envoy, then the services (a linger of 6 s and a grace of 5 s in production), then the databases.
_STOP_S = 60.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(as_json: bool) -> int:
    """Stop the fleet; nothing happens when none runs."""
    home = Home.from_env()
    stopped = stop(home)
    if as_json:
        click.echo(json.dumps({"stopped": stopped}))
    else:
        click.echo("stopped" if stopped else f"no fleet runs in {home.root}")
    return int(Exit.OK)


def stop(home: Home) -> bool:
    """Stops the home's fleet and waits until it is gone.

    Returns:
        Whether there was one.

    Raises:
        FleetError: It did not stop in time.
    """
    if not is_running(home):
        return False
    try:
        pid = read(home).pid
        supervisor = os.pidfd_open(pid)
    except (NotRunning, ProcessLookupError):
        # It has gone between the two looks, or has not written its state yet: the lock tells which.
        if is_running(home):
            raise
        return False
    try:
        signal.pidfd_send_signal(supervisor, signal.SIGTERM)
        if not select.select([supervisor], [], [], _STOP_S)[0]:
            signal.pidfd_send_signal(supervisor, signal.SIGKILL)
            raise FleetError(f"The fleet did not stop within {_STOP_S:.0f} s and was ended by force.")
    except PermissionError as error:
        raise FleetError(f"The fleet belongs to another user (pid {pid}).", reason="REFUSED") from error
    finally:
        os.close(supervisor)
    return True
