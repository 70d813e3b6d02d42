"""A person's data is erased while the fleet runs; the history is what it was, byte for byte."""

import datetime
import json
from collections.abc import Iterator

import pytest

from tests.support.apps import App, Edge
from tests.support.cli import Cli
from tests.support.hashing import GENESIS, event_hash

TOGETHER = ("causation_id", "correlation_id", "trace_id")


@pytest.fixture
def app(fleet: Cli) -> Iterator[App]:
    with Edge(fleet) as edge:
        yield edge.example("medluxe")


def stored(app: App) -> list[dict[str, str]]:
    """The whole history with the bytes that its hashes cover."""
    return app.get("/v1/events", stored=True, page_size=1000)["events"]


def check(app: App) -> dict[str, str]:
    """Recomputes every chain from what the API gives and nothing else; returns the hashes by seq."""
    before: dict[str, bytes] = {}
    for event in stored(app):
        seconds, _, rest = event["record_time"].rstrip("Z").partition(".")
        facts = {
            "tenant_id": app.tenant, "project_id": app.project, "event_type": event["type"],
            "recorded_at_us": micros(seconds, rest), "payload": event["stored_payload_json"],
            **{name: event.get(name, "") for name in ("plan_id", "task_id", *TOGETHER)},
            **{name: event[name] for name in ("seq", "stream", "version", "schema_version", "actor")},
        }  # fmt: skip
        made = event_hash(before.get(event["stream"], GENESIS), facts)
        assert f"sha256:{made.hex()}" == event["hash"], event["seq"]
        before[event["stream"]] = made
    return {event["seq"]: event["hash"] for event in stored(app)}


def micros(seconds: str, rest: str) -> int:
    """A time of the API as hashes cover it."""
    whole = datetime.datetime.fromisoformat(f"{seconds}+00:00")
    return int(whole.timestamp()) * 1_000_000 + int(rest.ljust(6, "0")[:6] or 0)


def test_an_erased_job_is_gone_and_its_history_verifies_from_outside(fleet: Cli, app: App) -> None:
    scope = ("--tenant", app.tenant, "--project", app.project)
    said = app.objective
    done = app.job(said)
    artifact = next(iter(done.artifacts.values()))["artifact_id"]
    before = check(app)
    created = next(event for event in stored(app) if event["type"] == "PlanCreated")
    assert json.loads(created["payload_json"])["objective"] == said
    assert said not in json.dumps(json.loads(created["stored_payload_json"]), ensure_ascii=False)
    subjects = fleet.json("privacy", "subjects", *scope)["subjects"]
    mine = next(one for one in subjects if one.get("subject") == "ana")

    fleet.json("keys", "rotate", "--issuer", "data")
    assert app.get(f"/v1/plans/{done.plan_id}")["plan"]["objective"] == said, "every key still opens"

    erased = fleet.json("privacy", "erase", "--subject", "ana", "--reason", "test", "--yes", *scope)
    assert set(erased["key_ids"]) == {key["key_id"] for key in mine["keys"]}
    assert app.get(f"/v1/plans/{done.plan_id}")["plan"]["objective"] == "[erased]"
    refused = app.client.get(f"/v1/artifacts/{artifact}", params=app.scope)
    assert refused.json()["details"][0]["reason"] == "DATA_ERASED"
    after = check(app)
    assert {seq: after[seq] for seq in before} == before
    files = [p for p in (fleet.home.root / "store" / app.tenant).rglob("*") if p.is_file()]
    assert not [p for p in files if said.encode() in p.read_bytes()]
