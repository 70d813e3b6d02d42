"""An auditor's day: a job, a checkpoint, an export, its verification without a fleet; then somebody tampers."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from haas.orchestrator.v1 import audit_pb2, audit_pb2_grpc
from haas_cli.errors import Exit
from haas_common.errors import from_rpc
from tests.support.apps import App, Edge
from tests.support.cli import Cli


@pytest.fixture(scope="module")
def edge(fleet: Cli) -> Iterator[Edge]:
    with Edge(fleet) as found:
        yield found


@pytest.fixture(scope="module")
def app(edge: Edge) -> App:
    found = edge.example("medluxe")
    found.inputs = {"budget": 1234}
    done = found.job("Describe nuestro público objetivo")
    assert done.status["state"] == "PLAN_STATE_COMPLETED", done.status
    return found


@pytest.fixture(scope="module")
def exported(fleet: Cli, app: App, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the job's tenant, with the keys beside it."""
    folder = tmp_path_factory.mktemp("audit")
    assert fleet.json("audit", "checkpoint", "--tenant", app.tenant)["checkpoint"]["number"] >= "1"
    keys = fleet.call("audit", "keys", "--json")
    (folder / "keys.json").write_text(keys.stdout)
    done = fleet.call("audit", "export", "--tenant", app.tenant, str(folder / "export"))
    assert done.returncode == 0, done.stderr
    assert "Personal fields stay sealed" in done.stdout
    assert not (folder / "export" / "data-keys.json").exists()
    return folder


def verified(fleet: Cli, folder: Path, *more: str) -> tuple[int, dict[str, object]]:
    done = fleet.call(
        "audit", "verify", "--offline", str(folder / "export"), "--keys", str(folder / "keys.json"), "--json", *more
    )
    return done.returncode, json.loads(done.stdout)


def test_the_running_fleets_history_verifies(fleet: Cli, app: App) -> None:
    found = fleet.json("audit", "verify", "--tenant", app.tenant)
    assert (found["valid"], found["findings"]) == (True, [])
    assert found["events"] > 20
    assert found["artifacts"] > 1


def test_an_export_verifies_without_a_fleet_and_names_what_to_keep(fleet: Cli, exported: Path) -> None:
    status, found = verified(fleet, exported)
    assert (status, found["valid"], found["findings"]) == (Exit.OK, True, [])
    assert found["keys_pinned"] is True
    assert 1 <= found["not_covered"] <= 4  # the event that tells of the checkpoint, and the tokens issued since
    assert verified(fleet, exported, "--expect", str(found["checkpoint"]))[0] == Exit.OK
    assert verified(fleet, exported, "--expect", "9:sha256:" + "0" * 64)[0] == Exit.UNVERIFIED


def test_the_keys_that_an_export_brings_are_told_with_their_fingerprints(fleet: Cli, exported: Path) -> None:
    done = fleet.call("audit", "verify", "--offline", str(exported / "export"))
    assert done.returncode == Exit.OK
    shown = fleet.call("audit", "keys").stdout
    prints = [line.split("  ")[-1].strip() for line in done.stderr.splitlines()[1:]]
    assert len(prints) >= 2
    assert all(print_ in shown for print_ in prints)


def test_a_changed_row_and_a_changed_file_end_with_7_and_are_named(fleet: Cli, exported: Path, app: App) -> None:
    path = exported / "export" / "events" / f"{app.project}.jsonl"
    before = path.read_bytes()
    lines = before.split(b"\n")
    lines[4] = lines[4].replace(b'"actor":"', b'"actor":"x', 1)
    path.write_bytes(b"\n".join(lines))
    status, found = verified(fleet, exported)
    assert (status, found["valid"]) == (Exit.UNVERIFIED, False)
    assert found["findings"][0]["seq"] == 5  # type: ignore[index]
    refused = fleet.call("audit", "import", str(exported / "export"))
    assert refused.returncode == Exit.UNVERIFIED
    path.write_bytes(before)

    produced = next(row for row in map(json.loads, before.splitlines()) if row["event_type"] == "ArtifactProduced")
    digits = json.loads(produced["payload"])["ref"].removeprefix("sha256:")
    file = exported / "export" / "artifacts" / digits
    data = file.read_bytes()
    assert hashlib.sha256(data).hexdigest() == digits
    file.write_bytes(data + b"x")
    status, found = verified(fleet, exported)
    assert status == Exit.UNVERIFIED
    assert found["findings"][0]["seq"] == produced["seq"]  # type: ignore[index]
    file.write_bytes(data)
    assert verified(fleet, exported)[0] == Exit.OK


def test_a_tenant_that_is_there_is_not_imported_over(fleet: Cli, exported: Path) -> None:
    done = fleet.call("audit", "import", str(exported / "export"), "--keys", str(exported / "keys.json"))
    assert done.returncode == Exit.REFUSED
    assert "has a history here" in done.stderr


def test_checkpoints_are_listed_newest_first(fleet: Cli, app: App) -> None:
    made = fleet.json("audit", "checkpoint", "--tenant", app.tenant)["checkpoint"]
    again = fleet.json("audit", "checkpoint", "--tenant", app.tenant)
    listed = fleet.json("audit", "checkpoints", "--tenant", app.tenant)["checkpoints"]
    assert {made["digest"], again["checkpoint"]["digest"]} <= {c["digest"] for c in listed}
    numbers = [int(c["number"]) for c in listed]
    assert numbers == sorted(numbers, reverse=True)


def test_another_role_opens_no_history(fleet: Cli, edge: Edge, app: App) -> None:
    for role in ("viewer", "member", "admin"):
        token = edge.token(app.tenant, [app.project], role)
        with edge.channel() as channel, pytest.raises(grpc.RpcError) as refused:
            audit_pb2_grpc.AuditStub(channel).ListHistories(
                audit_pb2.ListHistoriesRequest(tenant_id=app.tenant, project_id=app.project),
                metadata=(("authorization", f"Bearer {token}"),), timeout=10,
            )  # fmt: skip
        assert from_rpc(refused.value).reason == "SCOPE_MISSING"
