"""A model takes the seats of the offline engine behind the same contracts; what breaks them is a typed failure."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from haas_cli.fleet.home import Home
from tests.support.apps import App, Edge
from tests.support.cli import Cli
from tests.support.model_server import MARK, NAME, ModelServer, serving

pytestmark = pytest.mark.xdist_group("model")


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def app(model: ModelServer) -> Iterator[App]:
    """A tenant of a fleet whose environment names the model."""
    with tempfile.TemporaryDirectory(prefix="haas-model-") as folder:
        cli = Cli.on(Home(Path(folder) / "home"))
        cli = replace(cli, environment={**cli.environment, "HAAS_LLM_BASE_URL": model.url, "HAAS_LLM_MODEL": NAME})
        started = cli.call("up", "--detach")
        assert started.returncode == 0, started.stderr
        with Edge(cli) as edge:
            yield edge.example("medluxe")
        assert cli.call("down").returncode == 0


def test_the_model_words_the_texts_and_the_figures_stay_computed(app: App, model: ModelServer) -> None:
    model.answers = "good"
    detected = app.post("/v1/intents:detect", text=app.objective)
    assert (detected["engine"], detected["confidence"], detected["slots"]["tono"]) == (NAME, 0.99, "cercano")
    done = app.job()
    assert done.status["state"] == "PLAN_STATE_COMPLETED", done.status
    assert {"intent", "brief", "skill_team_report"} <= set(model.asked)
    for path in ("brief.md", "team_report.md"):
        document = done.documents[path]
        assert MARK in document.body, path
        assert document.front["engine"] == NAME
        assert NAME in document.body
        assert "Sin modelo" not in document.body
    # What a model does not word says so still, and no model computes.
    assert done.documents["team_report.md"].front["kpis"]["cpl"] == "50.74"
    (kpis,) = done.of_type("kpi.report")
    assert kpis.front["engine"] in ("offline", NAME)
    assert "50,74 €" in kpis.body


@pytest.mark.parametrize("answers", ["garbage", "wrong", "down"])
def test_an_answer_outside_the_contract_is_a_typed_failure_that_writes_nothing(
    app: App, model: ModelServer, answers: str
) -> None:
    before = app.events()
    model.answers = answers
    asked = app.client.post("/v1/intents:detect", json={**app.scope, "text": app.objective})
    model.answers = "good"
    assert asked.status_code == 503
    info = asked.json()["details"][0]
    assert (info["reason"], info["metadata"]["seat"]) == ("MODEL_FAILED", "intent")
    assert app.events() == before


def test_a_task_whose_model_invents_figures_is_tried_again(app: App, model: ModelServer) -> None:
    model.answers = "good"
    created = app.create()
    model.answers = "invented"
    app.run(created["plan_id"])
    with app.stream(f"/v1/plans/{created['plan_id']}/events") as frames:
        retried = next(f for f in frames if f.event == "TaskRetryScheduled")
        model.answers = "good"
        reason = json.loads(retried.data["payload_json"])
        assert reason["reason"] == "MODEL_FAILED"
        assert "987654" in reason["message"]
        *_, end = frames
    assert end.data == {"state": "completed"}
    for artifact in app.artifacts(created["plan_id"]):
        assert "987654" not in app.get(f"/v1/artifacts/{artifact['artifact_id']}")["content"]
