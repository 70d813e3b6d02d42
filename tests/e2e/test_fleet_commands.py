"""The fleet as a user starts and stops it: `haas up`, `status`, `env`, `down`, and Ctrl-C."""

import json
import os
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from haas_cli.errors import Exit
from haas_cli.fleet import state
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import SERVICES
from tests.support.cli import WAIT_S, Cli
from tests.support.processes import Notices, left_behind, processes_of

PARTS = ("postgres", "valkey", *SERVICES, "envoy")


@pytest.fixture
def haas(tmp_path: Path) -> Iterator[Cli]:
    """The command line with a deep home and a free port; whatever runs at the end is stopped."""
    found = Cli.on(Home(tmp_path / ("h" * 120)))
    yield found
    found.call("down")


def test_up_status_and_down_leave_nothing_behind(haas: Cli) -> None:
    up = haas.call("up", "--detach", "--json")
    assert up.returncode == Exit.OK, up.stderr
    ready = json.loads(up.stdout.splitlines()[-1])
    assert ready["event"] == "ready"
    assert set(PARTS) <= set(ready["parts"])

    status = haas.call("status", "--json")
    assert status.returncode == Exit.OK
    shown = json.loads(status.stdout)
    assert {name: shown["parts"][name]["state"] for name in PARTS} == dict.fromkeys(PARTS, "ready")
    assert all(row["pss_mib"] > 0 for row in shown["parts"].values())

    again = haas.call("up", "--detach", "--json")
    assert again.returncode == Exit.OK
    assert json.loads(again.stdout) == ready
    assert haas.json("status")["parts"]["gateway"]["pid"] == shown["parts"]["gateway"]["pid"]
    second = haas.call("up")
    assert second.returncode == Exit.FAILED
    assert "already running" in second.stderr

    assert haas.call("down").returncode == Exit.OK
    assert processes_of(haas.home) == []
    assert haas.call("status").returncode == Exit.NOT_RUNNING


def test_a_taken_port_is_one_sentence_and_starts_nothing(haas: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(haas.environment["HAAS_EDGE_PORT"])))
        taken.listen()
        up = haas.call("up", "--detach")
    assert up.returncode == Exit.FAILED
    assert up.stderr.count("\n") == 1
    assert "choose another" in up.stderr
    assert processes_of(haas.home) == []


@pytest.mark.parametrize(("wait_for", "status"), [("secrets", Exit.INTERRUPTED), ("ready in", Exit.OK)])
def test_ctrl_c_stops_everything_at_any_moment(haas: Cli, wait_for: str, status: Exit) -> None:
    process = subprocess.Popen(
        haas.command("up"), env=haas.environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if wait_for in line:
            break
    # The terminal sends it to the whole foreground group.
    os.killpg(process.pid, signal.SIGINT)
    process.stdout.read()
    process.stdout.close()
    assert process.wait(WAIT_S) == status
    assert left_behind(haas.home) == []


def test_a_service_that_is_killed_comes_back(haas: Cli) -> None:
    assert haas.call("up", "--detach").returncode == Exit.OK
    before = state.read(haas.home).parts["gateway"]
    with Notices(haas.home.run) as changed:
        os.kill(before.pid, signal.SIGKILL)
        while (now := state.read(haas.home).parts["gateway"]).restarts == 0 or now.state != "ready":
            changed.wait()
    assert now.pid != before.pid


def test_the_commands_of_the_tour_reach_the_edge_as_the_operator_and_as_a_tenant(fleet: Cli) -> None:
    operator = fleet.json("token", "--operator")["token"]
    edge = fleet.home.secrets / "edge" / "ca.pem"
    authority = ssl.create_default_context(cafile=edge)
    url = fleet.json("status")["url"]
    made = urllib.request.Request(
        f"{url}/v1/tenants",
        data=json.dumps({"tenant_id": "t-tour", "project_id": "p-main", "display_name": "Tour"}).encode(),
        headers={"authorization": f"Bearer {operator}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(made, context=authority) as reply:
        assert json.load(reply)["tenant"]["tenant_id"] == "t-tour"

    exported = fleet.call("env", "--tenant", "t-tour", "--project", "p-main")
    assert exported.returncode == Exit.OK, exported.stderr
    shown = subprocess.run(
        ["/bin/sh", "-c", 'eval "$1"; env -0', "sh", exported.stdout], capture_output=True, text=True, check=True
    ).stdout
    variables = dict(pair.split("=", 1) for pair in shown.split("\0") if "=" in pair)
    assert variables["HAAS_URL"] == url
    assert variables["HAAS_HOST"] == url.removeprefix("https://")
    assert (variables["HAAS_TENANT"], variables["HAAS_PROJECT"]) == ("t-tour", "p-main")
    assert Path(variables["HAAS_CACERT"]) == edge
    read = urllib.request.Request(
        f"{url}/v1/profiles?tenant_id=t-tour&project_id=p-main",
        headers={"authorization": f"Bearer {variables['HAAS_TOKEN']}"},
    )
    with urllib.request.urlopen(read, context=authority) as reply:
        assert reply.status == 200

    unknown = fleet.call("env", "--tenant", "t-nobody", "--project", "p-main", "--json")
    assert unknown.returncode == Exit.NOT_FOUND
    assert json.loads(unknown.stderr)["error"]["reason"] == "RESOURCE_NOT_FOUND"


def test_metrics_are_what_every_service_counts_itself(fleet: Cli) -> None:
    every = fleet.call("metrics")
    assert every.returncode == Exit.OK
    assert every.stdout.count("# TYPE haas_append_events_total counter") == len(SERVICES)
    one = fleet.call("metrics", "notifier")
    assert "haas_append_seconds_count" in one.stdout
    assert one.stdout.count("# TYPE haas_append_events_total counter") == 1
