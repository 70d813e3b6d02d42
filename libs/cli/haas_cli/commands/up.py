"""`haas up`: starts the fleet, in the foreground or detached."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import click

from haas_cli.errors import Exit, FleetError
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import SCALABLE, choose_ports, fleet, replicas
from haas_cli.fleet.state import PartState, already_running, is_running, read
from haas_cli.fleet.supervisor import Reporter, supervise


@click.command()
@click.option("--detach", is_flag=True, help="Return when every part is ready; the fleet runs on.")
@click.option(
    "--scale", "scale", multiple=True, metavar="SERVICE=N", callback=lambda _, __, given: parse_scale(given),
    help="How many of a service run, such as planner=2: 1 to 8, the planner alone. They share its plans.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(detach: bool, scale: dict[str, int], as_json: bool) -> int:
    """Start the fleet: PostgreSQL, Valkey, Envoy and the services.

    The port of the edge is HAAS_EDGE_PORT (8443); HAAS_DATABASE_URL names another PostgreSQL (an administrator's
    URL); HAAS_HOME is where the state lies.
    """
    home = Home.from_env()
    hear = _printer(as_json)
    return start_detached(home, hear, scale) if detach else _foreground(home, hear, scale)


def parse_scale(given: Sequence[str]) -> dict[str, int]:
    """Reads SERVICE=N of each.

    Raises:
        click.BadParameter: It reads otherwise, or the service cannot be scaled so far.
    """
    found: dict[str, int] = {}
    for text in given:
        service, _, number = text.partition("=")
        most = SCALABLE.get(service)
        if most is None:
            raise click.BadParameter(f"{text!r}: several can run of the {', '.join(SCALABLE)} alone, as in planner=2.")
        if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= most:
            raise click.BadParameter(f"{text!r}: the number is 1 to {most}, as in {service}=2.")
        found[service] = int(number)
    return found


def start_detached(
    home: Home, hear: Callable[[dict[str, object]], None], scale: Mapping[str, int] = MappingProxyType({})
) -> int:
    """Starts a supervisor in the background and returns when every part is ready; a running fleet is left alone.

    Args:
        home: The state folder.
        hear: Gets each event, see `run_supervisor`.
        scale: How many of a service run, where that was said.

    Raises:
        FleetError: A part did not start, or the running fleet has another number of them.
    """
    home.make()
    if is_running(home) and (found := read(home)).ready:
        for service, number in scale.items():
            if (running := len(replicas(service, found.parts))) != number:
                raise FleetError(
                    f"The fleet of {home.root} runs already, with {service}={running}: stop it by `haas down` first.",
                    reason="ALREADY_RUNNING",
                )
        hear(_ready_event(home))
        return int(Exit.OK)
    argv = [sys.executable, "-P", "-m", "haas_cli.fleet.background", *(f"{s}={n}" for s, n in scale.items())]
    with (home.log / "supervisor.log").open("ab") as log:
        # A session of its own: neither the terminal's Ctrl-C nor its closing reaches the fleet.
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            env={**os.environ, "HAAS_HOME": str(home.root)}, cwd="/", start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "failed":
                process.wait()
                raise FleetError(event["message"], reason=event["reason"])
            hear(event)
            if event["event"] == "ready":
                # It outlives this command by design.
                process.returncode = 0
                return int(Exit.OK)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    finally:
        process.stdout.close()
    raise FleetError(f"The supervisor ended with status {process.wait()}: see {home.log}/supervisor.log.")


def _foreground(home: Home, hear: Callable[[dict[str, object]], None], scale: Mapping[str, int]) -> int:
    return int(Exit.OK if run_supervisor(home, hear, scale) else Exit.INTERRUPTED)


def run_supervisor(home: Home, tell: Callable[[dict[str, object]], None], scale: Mapping[str, int]) -> bool:
    """Runs the fleet in this process until it is asked to stop.

    Args:
        home: The state folder.
        tell: Gets {"event": "part", "name", "state", "start_s", …} at each change and one {"event": "ready", …}.
        scale: How many of a service run, where it is more than one.

    Returns:
        Whether the fleet had been ready when it was asked to stop.

    Raises:
        FleetError: A part did not start, or another fleet holds the home.
    """
    home.make()
    if is_running(home):
        # Before the ports are looked at: its edge holds one of them.
        raise already_running(home)
    ports = choose_ports(scale=scale)
    parts = fleet(home, ports)
    return supervise(home, parts, ports.edge, _reporter(tell), lambda: tell(_ready_event(home)))


def _reporter(tell: Callable[[dict[str, object]], None]) -> Reporter:
    def report(name: str, part: PartState) -> None:
        tell({
            "event": "part", "name": name, "state": part.state, "pid": part.pid, "start_s": part.start_s,
            "restarts": part.restarts,
        })  # fmt: skip

    return report


def _ready_event(home: Home) -> dict[str, object]:
    found = read(home)
    starts = {name: part.start_s for name, part in found.parts.items()}
    return {"event": "ready", "start_s": found.start_s, "parts": starts, "url": f"https://127.0.0.1:{found.edge_port}"}


def _printer(as_json: bool) -> Callable[[dict[str, object]], None]:
    def as_lines(event: dict[str, object]) -> None:
        with contextlib.suppress(BrokenPipeError):
            if as_json:
                click.echo(json.dumps(event))
            elif event["event"] == "ready":
                click.echo(f"ready in {event['start_s']} s at {event['url']}")
            elif event["state"] in ("ready", "done"):
                click.echo(f"  {event['name']!s:<14} {event['state']!s:<6} {event['start_s']:>6} s")
            elif event["state"] in ("restarting", "stopped"):
                click.echo(f"  {event['name']!s:<14} {event['state']}")

    return as_lines
