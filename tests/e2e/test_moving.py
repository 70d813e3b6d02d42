"""A tenant moves to another fleet, and everything answers there as it did where it came from."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from haas.orchestrator.v1 import privacy_pb2, privacy_pb2_grpc
from haas_cli.errors import Exit
from haas_cli.fleet.home import Home
from haas_common.errors import from_rpc
from tests.support.apps import App, Edge
from tests.support.cli import Cli


@pytest.fixture
def elsewhere() -> Iterator[Cli]:
    """Another fleet, with keys of its own."""
    with tempfile.TemporaryDirectory(prefix="haas-e2e-") as folder:
        found = Cli.on(Home(Path(folder) / "home"))
        started = found.call("up", "--detach")
        assert started.returncode == 0, started.stderr
        yield found
        assert found.call("down").returncode == 0


@pytest.fixture
def edge(fleet: Cli) -> Iterator[Edge]:
    with Edge(fleet) as found:
        yield found


def answers(cli: Cli, app: App, plan_id: str) -> dict[str, Any]:
    """What a user asks for, as `haas` prints it."""
    scope = ("--tenant", app.tenant, "--project", app.project)
    artifacts = cli.json("artifacts", "list", *scope)["artifacts"]
    return {
        "plans": cli.json("plan", "list", *scope),
        "tasks": cli.json("plan", "tasks", plan_id, *scope),
        "artifacts": artifacts,
        "verified": [cli.json("artifacts", "verify", one["artifact_id"], *scope) for one in artifacts],
        "bodies": [cli.json("artifacts", "get", one["artifact_id"], *scope) for one in artifacts],
        "notifications": cli.json("notifications", "list", *scope),
    }


def test_a_tenant_moves_with_its_personal_data(fleet: Cli, edge: Edge, elsewhere: Cli, tmp_path: Path) -> None:
    app = edge.example("medluxe")
    done = app.job(app.objective)
    assert done.status["state"] == "PLAN_STATE_COMPLETED", done.status
    before = answers(fleet, app, done.plan_id)
    assert app.objective in json.dumps(before["plans"], ensure_ascii=False)
    assert [one["valid"] for one in before["verified"]] == [True] * len(before["artifacts"])

    fleet.json("audit", "checkpoint", "--tenant", app.tenant)
    (tmp_path / "keys.json").write_text(fleet.call("audit", "keys", "--json").stdout)
    keys, export = ("--keys", str(tmp_path / "keys.json")), tmp_path / "export"
    told = fleet.json("audit", "export", "--tenant", app.tenant, str(export), "--with-personal-data")
    held = json.loads((export / "data-keys.json").read_text())["keys"]
    assert (export / "data-keys.json").stat().st_mode & 0o777 == 0o600
    assert {key["subject"] for key in held} >= {"ana"}
    took = [event for event in app.events() if event["type"] == "DataKeysExported"]
    assert [event["actor"] for event in took] == ["owner@cli"]
    said = json.loads(took[0]["payload_json"])
    assert sorted(said["key_ids"]) == sorted(key["key_id"] for key in held)
    logs = [path.read_text(errors="replace") for path in fleet.home.log.rglob("*") if path.is_file()]
    for key in held:
        assert not [text for text in (*logs, json.dumps(told), json.dumps(app.events())) if key["key"] in text]

    moved = elsewhere.json("audit", "import", str(export), *keys)
    assert moved["data_keys"] == len(held)
    assert answers(elsewhere, app, done.plan_id) == before
    usage = ("usage", "--tenant", app.tenant, "--project", app.project)
    there = elsewhere.json(*usage)["days"]
    assert sum(int(day["plans_completed"]) for day in there) == 1
    again = elsewhere.json("audit", "verify", "--tenant", app.tenant, *keys)
    assert (again["valid"], again["findings"]) == (True, [])

    path = export / "data-keys.json"
    path.write_bytes(path.read_bytes() + b" ")
    for command in (("verify", "--offline"), ("import",)):
        refused = elsewhere.call("audit", *command, str(export), *keys)
        assert refused.returncode == Exit.UNVERIFIED
        assert "another one than the manifest names" in refused.stdout


def test_only_an_admin_takes_keys(edge: Edge) -> None:
    app = edge.make("keys")
    for role in ("viewer", "member", "auditor"):
        token = edge.token(app.tenant, [app.project], role)
        with edge.channel() as channel, pytest.raises(grpc.RpcError) as refused:
            privacy_pb2_grpc.PrivacyStub(channel).ExportDataKeys(
                privacy_pb2.ExportDataKeysRequest(tenant_id=app.tenant, project_id=app.project),
                metadata=(("authorization", f"Bearer {token}"),), timeout=10,
            )  # fmt: skip
        assert from_rpc(refused.value).reason == "SCOPE_MISSING"
