"""A peer with replicas: what its variable may hold, and what the edge makes of it."""

from pathlib import Path

import pytest

from haas_common.config import Config, ConfigInvalid
from haas_gateway.edge.clusters import clusters
from haas_gateway.edge.settings import EdgeSettings

SET = {"HAAS_HOME": "/h", "HAAS_SECRETS_DIR": "/s", "HAAS_LISTEN": "127.0.0.1:1"}


def config(**more: str) -> Config:
    return Config.from_env("planner", {**SET, **more})


def test_a_peer_has_one_address_of_any_kind_or_several_ipv4_ones() -> None:
    assert config(HAAS_PEER_MCP="mcp.internal:9000").peer("mcp") == "mcp.internal:9000"
    assert config(HAAS_PEER_MCP="[::1]:9000").peer("mcp") == "[::1]:9000"
    assert config(HAAS_PEER_MCP="10.0.0.1:1, 10.0.0.2:2").peer("mcp") == "10.0.0.1:1,10.0.0.2:2"


@pytest.mark.parametrize("text", ["10.0.0.1:1,", "10.0.0.1:1,mcp:2", "[::1]:1,[::1]:2", "10.0.0.1:1,10.0.0.2"])
def test_several_addresses_that_grpc_cannot_balance_over_are_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="HAAS_PEER_MCP"):
        config(HAAS_PEER_MCP=text)


def test_a_process_has_the_name_of_its_part() -> None:
    assert [config().part, config(HAAS_PART="planner").part, config(HAAS_PART="planner-2").part] == [
        "planner", "planner", "planner-2"
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["mcp", "planner-1", "planner-", "planner-x", "../planner", "planner2"])
def test_a_part_that_is_none_of_the_service_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="HAAS_PART"):
        config(HAAS_PART=text)


@pytest.mark.parametrize(
    ("addresses", "kind", "places"),
    [
        ("127.0.0.1:1", "STATIC", [("127.0.0.1", 1)]),
        ("127.0.0.1:1,127.0.0.1:2", "STATIC", [("127.0.0.1", 1), ("127.0.0.1", 2)]),
        ("[::1]:1", "STATIC", [("::1", 1)]),
        ("planner:1,planner-2:1", "STRICT_DNS", [("planner", 1), ("planner-2", 1)]),
    ],
)
def test_a_cluster_of_the_edge_has_every_replica(addresses: str, kind: str, places: list[tuple[str, int]]) -> None:
    settings = EdgeSettings(Path("/h"), Path("/h/secrets"), "127.0.0.1", 1, {"planner": addresses})
    cluster = clusters(settings)[0]
    found = [
        (address["address"], address["port_value"])
        for group in cluster["load_assignment"]["endpoints"]
        for address in (endpoint["endpoint"]["address"]["socket_address"] for endpoint in group["lb_endpoints"])
    ]
    assert (cluster["type"], found) == (kind, places)
