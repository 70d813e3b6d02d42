"""The command line: light, lazy, with exit statuses that scripts may rely on."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from haas_cli.__main__ import COMMANDS, cli, run
from haas_cli.errors import CliError, Exit, FleetError
from haas_cli.fleet.parts import choose_ports

HEAVY = ("grpc", "rich", "psycopg", "redis", "cryptography", "google.protobuf", "asyncio", "httpx")


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAAS_HOME", str(tmp_path / "home"))


def test_help_imports_click_and_nothing_heavy() -> None:
    program = (
        "import sys; from haas_cli.__main__ import run; run(['--help']);"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "HEAVY []"
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_exists_and_takes_json(name: str) -> None:
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    for leaf in _leaves(command):
        assert "--json" in {option for parameter in leaf.params for option in parameter.opts}, leaf.name


def _leaves(command: click.Command) -> list[click.Command]:
    if not isinstance(command, click.Group):
        return [command]
    return [leaf for below in command.commands.values() for leaf in _leaves(below)]


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["launch"]) == Exit.USAGE
    assert "No such command" in capsys.readouterr().err


def test_status_without_a_fleet_is_one_sentence_and_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == Exit.NOT_RUNNING
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "haas up" in said.err


def test_errors_are_json_when_json_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--json"]) == Exit.NOT_RUNNING
    assert json.loads(capsys.readouterr().err)["error"]["reason"] == "NOT_RUNNING"


def test_down_without_a_fleet_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["down"]) == Exit.OK
    assert "no fleet runs" in capsys.readouterr().out


def test_every_kind_of_failure_has_a_status_of_its_own() -> None:
    kinds = [kind for kind in CliError.__subclasses__() if kind is not FleetError]
    statuses = [kind.exit_status for kind in kinds]
    assert len(set(statuses)) == len(statuses)
    assert FleetError.exit_status == Exit.FAILED


def test_a_taken_port_is_named_with_another_to_choose() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(FleetError) as caught:
            choose_ports({"HAAS_EDGE_PORT": str(port)})
    assert f"Port {port} is taken" in caught.value.message
    assert "HAAS_EDGE_PORT=" in caught.value.message


@pytest.mark.parametrize("text", ["0", "65536", "https", "-1"])
def test_a_port_that_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(FleetError, match="HAAS_EDGE_PORT"):
        choose_ports({"HAAS_EDGE_PORT": text})


def test_the_fleets_ports_differ() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        edge = free.getsockname()[1]
    ports = choose_ports({**os.environ, "HAAS_EDGE_PORT": str(edge)})
    numbers = [ports.edge, *ports.services.values()]
    assert len(set(numbers)) == len(numbers) == 6
