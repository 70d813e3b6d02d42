"""`haas metrics`: what the services count, as Prometheus text."""

import http.client
import socket

import click

from haas_cli import api
from haas_cli.errors import Exit, Unavailable
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import SERVICES, replicas
from haas_cli.fleet.state import read
from haas_common.sockets import short_path

_ANSWER_S = 3.0


@click.command()
@click.argument("service", required=False, type=click.Choice(SERVICES))
@api.json_option
def command(service: str | None, as_json: bool) -> int:
    """Print what the services count, or one SERVICE, as Prometheus text (docs/reference/metrics.md).

    Of a service with replicas each tells its own.
    """
    home = Home.from_env()
    found = read(home)
    names = [name for wanted in ([service] if service else SERVICES) for name in replicas(wanted, found.parts)]
    texts = {name: told(home, name) for name in names}
    if as_json:
        api.print_json({name: samples(text) for name, text in texts.items()})
        return int(Exit.OK)
    for name, text in texts.items():
        if len(names) > 1:
            click.echo(f"# {name}")
        click.echo(text, nl=False)
    return int(Exit.OK)


def samples(text: str) -> list[dict[str, object]]:
    """Returns each sample of a Prometheus text: its name, labels and value."""
    from prometheus_client.parser import text_string_to_metric_families

    return [
        {"name": sample.name, "labels": sample.labels, "value": sample.value}
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def told(home: Home, part: str) -> str:
    """Returns what a part of the running fleet counts. Raises Unavailable where it does not answer."""
    path = home.run / "metrics" / f"{part}.sock"
    connection = http.client.HTTPConnection("localhost", timeout=_ANSWER_S)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(_ANSWER_S)
        connection.sock.connect(short_path(path))
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"The {part} service does not answer: see `haas status`.") from error
    finally:
        connection.close()
