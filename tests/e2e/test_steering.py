"""A plan that waits, asks and changes, steered over REST through the edge from its estimate to its fork."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.apps import App, Edge
from tests.support.cli import Cli

OBJECTIVE = "Describe nuestro público objetivo"
BRIEF = {"name": "brief", "type": "doc.brief"}


def wait(task_id: str, signal: str, **more: Any) -> dict[str, Any]:
    writes = [{"name": f"{signal}_value", "type": "value.signal"}]
    control = f'{{"signal": "{signal}"}}'
    return {
        "task_id": task_id,
        "kind": "TASK_KIND_WAIT",
        "skill": "wait",
        "writes": writes,
        "control_json": control,
        **more,
    }


AUDIENCE = {
    "task_id": "T-1", "kind": "TASK_KIND_SPECIALIST", "skill": "audience.describe", "title": "Who", "reads": [BRIEF],
    "writes": [{"name": "audience", "type": "doc.audience"}], "policy": {"priority": 0, "tokens_max": 100},
}  # fmt: skip
APPROVAL = {
    "task_id": "T-3", "kind": "TASK_KIND_APPROVAL", "skill": "approval", "title": "Approve",
    "reads": [{"name": "paid_value", "type": "value.signal", "from_task": "T-2"}],
    "writes": [{"name": "approved", "type": "value.approval"}],
    "control_json": '{"role": "legal", "text": "Is it paid?", "expires_s": 3600}',
}  # fmt: skip
FAQ = {
    "task_id": "T-5", "kind": "TASK_KIND_SPECIALIST", "skill": "faq.answer", "title": "Questions", "reads": [BRIEF],
    "writes": [{"name": "faq", "type": "doc.faq"}],
}  # fmt: skip
GRAPH = {"tasks": [AUDIENCE, wait("T-2", "paid"), APPROVAL, wait("T-4", "late")], "inputs": []}


@pytest.fixture(scope="module")
def edge(fleet: Cli) -> Iterator[Edge]:
    with Edge(fleet) as found:
        yield found


@pytest.fixture(scope="module")
def app(edge: Edge) -> App:
    return edge.example("medluxe")


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["details"][0]["reason"]


def states(app: App, plan_id: str) -> dict[str, str]:
    tasks = app.get(f"/v1/plans/{plan_id}/tasks")["tasks"]
    return {task["task_id"]: task["state"].removeprefix("TASK_STATE_") for task in tasks}


def until(app: App, plan_id: str, event: str, task_id: str) -> None:
    """Follows a plan until something happened to a task."""
    with app.stream(f"/v1/plans/{plan_id}/events") as frames:
        for frame in frames:
            if (frame.data.get("type"), frame.data.get("task_id")) == (event, task_id):
                return
    raise AssertionError(f"{plan_id} ended before {event} of {task_id}")


@pytest.fixture(scope="module")
def steered(edge: Edge, app: App) -> str:
    """A plan that was paused, changed, signalled, decided and completed: its id."""
    graph = {**GRAPH, "inputs": [{**BRIEF, "ref": "artf-brief"}]}
    estimate = app.post("/v1/plans:estimate", graph=graph, budget={"tokens": 50})["estimate"]
    assert (estimate["expected"]["tokens"], estimate["open_ended"], estimate["exceeds"]) == (
        "100",
        ["T-2", "T-4"],
        ["tokens"],
    )

    made = app.create(OBJECTIVE, graph=GRAPH, budget={"tokens": 10_000}, repairs_max=0)
    plan_id = made["plan_id"]
    path = f"/v1/plans/{plan_id}"
    assert app.post(f"{path}:estimate")["estimate"]["budget"]["tokens"] == "10000"
    app.run(plan_id)
    until(app, plan_id, "TaskWaiting", "T-2")

    # Paused: the graph changes, signals are taken, nothing starts.
    paused = {"reason": "a moment", "request_id": "pause-1"}
    assert app.post(f"{path}:pause", **paused)["state"] == "PLAN_STATE_PAUSED"
    assert app.post(f"{path}:pause", **paused)["state"] == "PLAN_STATE_PAUSED"
    assert refused(app.client.post(f"{path}:pause", json=app.scope)) == (400, "PLAN_STATE_CONFLICT")
    app.post(f"{path}:replan", tasks=[FAQ], explanation="questions are asked")
    diff = app.get(f"{path}/diff")["diff"]
    assert ([t["task_id"] for t in diff["added"]], diff["from_revision"], diff["to_revision"]) == (["T-5"], 1, 2)
    shown = {t["task_id"]: t for t in app.get(path)["graph"]["tasks"]}
    assert shown["T-1"]["policy"]["priority"] == 0
    assert shown["T-3"]["control_json"]
    assert "T-5" in shown
    assert refused(app.client.post(f"{path}:signal", json={**app.scope, "name": "unheard"})) == (
        400,
        "SIGNAL_UNEXPECTED",
    )
    app.post(f"{path}:signal", name="paid", value={"sum": 7})
    assert states(app, plan_id)["T-5"] == "PLANNED"
    assert app.post(f"{path}:resume")["state"] == "PLAN_STATE_RUNNING"

    # The approval: by its role, and never by a body that says nothing.
    until(app, plan_id, "TaskWaiting", "T-3")
    decide = f"{path}/tasks/T-3:decide"
    assert refused(app.client.post(decide, json={**app.scope, "approved": True})) == (403, "APPROVAL_ROLE_MISSING")
    asked = {**app.scope, "subject": "luis", "role": "member", "decides": ["legal"]}
    with edge.operator() as operator:
        token = operator.post("/v1/tokens:issue", json=asked).json()["token"]
    with edge.rest(token) as legal:
        assert refused(legal.post(decide, json=app.scope)) == (400, "FIELD_INVALID")
        decided = legal.post(decide, json={**app.scope, "approved": True, "comment": "it is"})
        assert decided.json()["state"] == "PLAN_STATE_RUNNING"
    assert refused(app.client.post(f"{path}/tasks/T-3:retry", json=app.scope)) == (400, "TASK_STATE_CONFLICT")
    assert refused(app.client.post(f"{path}/tasks/T-4:skip", json=app.scope)) == (400, "FIELD_INVALID")
    app.post(f"{path}/tasks/T-4:skip", reason="nobody calls")
    app.finish(plan_id)
    status = app.status(plan_id)
    assert (status["state"], status["tasks"]["completed"], status["tasks"]["skipped"]) == ("PLAN_STATE_COMPLETED", 4, 1)

    return plan_id


def test_a_fork_takes_over_what_was_complete_and_does_the_rest(app: App, steered: str) -> None:
    path = f"/v1/plans/{steered}"
    fork = app.post(f"{path}:fork", request_id="fork-1")
    assert fork == app.post(f"{path}:fork", request_id="fork-1")
    assert sorted(fork["done"]) == ["T-1", "T-2", "T-3", "T-5"]
    app.run(fork["plan_id"])
    until(app, fork["plan_id"], "TaskWaiting", "T-4")
    app.post(f"/v1/plans/{fork['plan_id']}:signal", name="late")
    app.finish(fork["plan_id"])
    assert app.status(fork["plan_id"])["state"] == "PLAN_STATE_COMPLETED"


def test_a_task_of_a_complete_plan_is_done_again(app: App, steered: str) -> None:
    path, status = f"/v1/plans/{steered}", app.status(steered)
    assert app.post(f"{path}/tasks/T-1:rerun", reason="newer brief")["state"] == "PLAN_STATE_RUNNING"
    app.finish(steered, last=int(status["seq"]))
    assert app.status(steered)["state"] == "PLAN_STATE_COMPLETED"
