"""Artifacts by the command line and by REST on a running fleet: versions, worklog, status, tampering, garbage."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from haas_cli.errors import Exit
from tests.support.apps import App, Done, Edge
from tests.support.cli import Cli


@pytest.fixture(scope="module")
def edge(fleet: Cli) -> Iterator[Edge]:
    with Edge(fleet) as found:
        yield found


@pytest.fixture(scope="module")
def done(edge: Edge) -> Done:
    return edge.example("medluxe").job()


def named(done: Done, path: str) -> str:
    return next(a["artifact_id"] for a in done.app.artifacts(done.plan_id) if a["path"] == path)


def scoped(app: App) -> tuple[str, ...]:
    return ("--tenant", app.tenant, "--project", app.project)


def test_a_note_a_difference_and_a_status_by_the_command_line(fleet: Cli, done: Done) -> None:
    artifact, scope = named(done, "paid_plan.md"), scoped(done.app)
    noted = fleet.json("artifacts", "log", artifact, "agreed with the client", *scope)
    assert (noted["version"], noted["status"]) == ("2", "final")
    shown = fleet.json("artifacts", "versions", artifact, *scope)["versions"]
    assert [(v["version"], v["status"]) for v in shown] == [("1", "superseded"), ("2", "final")]
    compared = fleet.json("artifacts", "diff", artifact, *scope)
    assert "agreed with the client" in compared["body_diff"]
    assert (compared["version_from"], compared["version_to"]) == ("1", "2")
    moved = fleet.json("artifacts", "status", artifact, "invalid", "--reason", "wrong period", *scope)
    assert moved["status"] == "invalid"
    again = fleet.call("artifacts", "status", artifact, "final", *scope, "--json")
    assert again.returncode != 0
    assert "ARTIFACT_STATUS_CONFLICT" in again.stdout + again.stderr
    assert fleet.json("artifacts", "verify", artifact, *scope)["valid"] is True


def test_the_fleets_own_brief_and_report_hold_what_the_plan_asks_for(fleet: Cli, done: Done, tmp_path: Path) -> None:
    for path in ("brief.md", "team_report.md"):
        file = tmp_path / path
        assert fleet.call("artifacts", "get", named(done, path), "--out", str(file), *scoped(done.app)).returncode == 0
        assert fleet.json("artifacts", "check", str(file)) == {"valid": True, "problem": ""}
        file.write_text(file.read_text().replace("\n# ", "\n#### ").replace("\n## ", "\n#### "))
        assert fleet.call("artifacts", "check", str(file)).returncode == Exit.FAILED


def test_a_changed_file_is_refused_told_and_its_bytes_named(fleet: Cli, done: Done) -> None:
    artifact = named(done, "content_calendar.md")
    stored = done.app.get(f"/v1/artifacts/{artifact}")["content"].encode()
    (path,) = [p for p in fleet.home.store.rglob("*") if p.is_file() and p.read_bytes() == stored]
    path.write_bytes(stored[:-2] + b"~\n")
    with done.app.stream("/v1/notifications:stream") as frames:
        refused = done.app.client.get(f"/v1/artifacts/{artifact}", params=done.app.scope)
        told = next(f.data for f in frames if f.event == "notification" and artifact in json.dumps(f.data))
    assert (told["performative"], told["content"]["error_code"]) == ("PERFORMATIVE_INFORM", "E_HASH_MISMATCH")
    assert "no debe usarse" in told["nl_summary"]
    assert refused.status_code == 500
    assert refused.json()["details"][0]["reason"] == "HASH_MISMATCH"
    verdict = fleet.call("artifacts", "verify", artifact, *scoped(done.app))
    assert verdict.returncode == Exit.UNVERIFIED
    assert "its bytes were changed, within bytes" in verdict.stdout
    tail = ("events", "tail", "--plan", done.plan_id, "--type", "AuditFailed", "--lines", "10000", "--json")
    failed = fleet.call(*tail, *scoped(done.app)).stdout.splitlines()
    assert [artifact in line for line in failed] == [True]


def test_a_blob_that_nothing_refers_to_is_removed_beside_the_running_fleet(fleet: Cli, done: Done) -> None:
    found = fleet.json("artifacts", "gc", "--dry-run", "--older-than", "1h")
    assert found["blobs"] > 0
    assert found["unreferenced"] == 0
    assert fleet.call("artifacts", "gc", "--older-than", "5m").returncode == Exit.USAGE
