"""`haas up --scale`: how many of a service run, what they are called, and how they are reached."""

import socket
from pathlib import Path

import click
import pytest

from haas_cli.__main__ import run
from haas_cli.commands.up import parse_scale
from haas_cli.errors import Exit
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import (
    SERVICES,
    Ports,
    choose_ports,
    fleet,
    part_names,
    replicas,
    service_environment,
    service_of,
)

PORTS = Ports(1, {name: 9000 + n for n, name in enumerate(part_names({"planner": 3}))})


def environment(tmp_path: Path, name: str) -> dict[str, str]:
    return service_environment(Home(tmp_path), PORTS, {}, name)


def test_a_fleet_has_one_of_each_unless_told_otherwise() -> None:
    assert part_names({}) == list(SERVICES)
    assert part_names({"planner": 1}) == list(SERVICES)


def test_replicas_are_numbered_from_two() -> None:
    names = part_names({"planner": 3})
    assert replicas("planner", names) == ["planner", "planner-2", "planner-3"]
    assert [service_of(name) for name in names] == [
        "gateway", "orchestrator", "planner", "planner", "planner", "notifier", "mcp"
    ]  # fmt: skip


def test_each_replica_has_its_own_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        edge = free.getsockname()[1]
    ports = choose_ports({"HAAS_EDGE_PORT": str(edge)}, {"planner": 8})
    assert len({ports.edge, *ports.services.values()}) == 1 + 4 + 8


def test_peers_are_named_by_all_their_addresses() -> None:
    assert PORTS.peers()["HAAS_PEER_PLANNER"] == "127.0.0.1:9002,127.0.0.1:9003,127.0.0.1:9004"
    assert PORTS.peers()["HAAS_PEER_MCP"] == "127.0.0.1:9006"


def test_replicas_differ_in_name_instance_and_port_and_share_their_secrets(tmp_path: Path) -> None:
    first, second = environment(tmp_path, "planner"), environment(tmp_path, "planner-2")
    assert {name for name in first if first[name] != second[name]} == {"HAAS_PART", "HAAS_INSTANCE", "HAAS_LISTEN"}
    assert second["HAAS_INSTANCE"].startswith("planner-2@")
    assert second == environment(tmp_path, "planner-2"), "the same after a restart"


def test_every_replica_is_a_part_that_envoy_waits_for(tmp_path: Path) -> None:
    parts = {part.name: part for part in fleet(Home(tmp_path), PORTS, {})}
    assert parts["planner-2"].command().argv[-1] == "haas_planner"
    assert {"planner", "planner-2", "planner-3"} <= set(parts["envoy"].after)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("mcp=2", "of the planner alone"),
        ("postgres=2", "of the planner alone"),
        ("2", "of the planner alone"),
        ("planner", "the number is 1 to 8"),
        ("planner=0", "the number is 1 to 8"),
        ("planner=9", "the number is 1 to 8"),
        ("planner=-1", "the number is 1 to 8"),
        ("planner=two", "the number is 1 to 8"),
        ("planner=²", "the number is 1 to 8"),
    ],
)
def test_what_cannot_be_scaled_is_refused(given: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.BadParameter, match=says):
        parse_scale([given])
    assert run(["up", "--scale", given]) == Exit.USAGE
    assert says in capsys.readouterr().err


def test_one_to_eight_planners_may_run() -> None:
    assert [parse_scale([f"planner={n}"]) for n in (1, 8)] == [{"planner": 1}, {"planner": 8}]
    assert parse_scale([]) == {}
