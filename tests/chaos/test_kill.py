"""The demo job while one part of the fleet is killed: it ends with the same artifacts, and nothing happened twice."""

import json
import logging
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from haas_cli.errors import Exit
from haas_cli.fleet import state
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import SERVICES
from tests.support.apps import App, Done, Edge, Frame, frames_of
from tests.support.cli import WAIT_S, Cli
from tests.support.processes import kill, processes_of, restarted, until

SEED = int(os.environ.get("HAAS_CHAOS_SEED", "1"))
VICTIMS = (*SERVICES, "envoy", "valkey", "postgres")
#: What a client waits before it connects again, in seconds (an EventSource: the stream's `retry:`).
RECONNECT_S = 0.1
#: The first events after PlanStarted: tools are called at the beginning of the job, the rest goes on for some 80.
CALLS_TOOLS = ("mcp", "valkey")


@contextmanager
def opened(app: App, path: str, last: int) -> Iterator[httpx.Response]:
    """A stream of server-sent events from behind an event on."""
    with (
        app.edge.rest(app.token, WAIT_S) as client,
        client.stream("GET", path, params=app.scope, headers={"last-event-id": str(last)}) as response,
    ):
        yield response


def follow(app: App, path: str, over: Callable[[Frame], bool]) -> Iterator[Frame]:
    """Follows a stream through every fault of the fleet, as an EventSource does: it comes back with the last id."""
    last, give_up = 0, time.monotonic() + WAIT_S
    while True:
        try:
            with opened(app, path, last) as response:
                if response.status_code != 200:
                    assert response.status_code in (503, 504), response.read()
                    response.read()
                else:
                    for frame in frames_of(response):
                        if frame.event == "error":
                            assert frame.data["code"] in (4, 14), frame
                            break
                        yield frame
                        last = frame.id or last
                        if over(frame):
                            return
        except httpx.TransportError as error:
            logging.getLogger(__name__).info("the stream broke: %s", error)
        assert time.monotonic() < give_up, "the stream did not come back"
        time.sleep(RECONNECT_S)


def plan_events(app: App, plan_id: str) -> Iterator[Frame]:
    return follow(app, f"/v1/plans/{plan_id}/events", lambda f: f.event == "end")


def plain(value: Any, plan_id: str) -> Any:
    """A document's content without what names this very plan: its ids, and the hashes of files that hold them."""
    text = json.dumps(value, ensure_ascii=False).replace(plan_id.removeprefix("pl-"), "PLAN")
    return re.sub(r"(artf-[\w-]+) sha256:[0-9a-f]{64}", r"\1 HASH", text)


def artifacts_of(app: App, created: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Returns the verified artifacts of a job that went well: front matter, data and body, without ids and times."""
    plan_id = created["plan_id"]
    done = Done.of(app, created)
    assert done.status["state"] == "PLAN_STATE_COMPLETED", (done.status, app.get(f"/v1/plans/{plan_id}/tasks"))
    own = ("tenant_id", "hash_prev", "hash_curr", "signer_key", "signature", "created_at", "updated_at")
    found = {}
    for path, document in done.documents.items():
        assert app.get(f"/v1/artifacts/{done.artifacts[path]['artifact_id']}:verify")["valid"] is True
        front = {k: v for k, v in document.front.items() if k not in own}
        found[path] = tuple(plain(v, plan_id) for v in (front, document.data, document.body))
    return found


def check_notifications(app: App, plan_id: str) -> None:
    """Who was to hear of something heard of it, once; nobody else did."""
    tasks = {t["task_id"]: t for t in app.get(f"/v1/plans/{plan_id}/tasks", page_size=500)["tasks"]}
    owners = {t["owner_agent_id"] for t in tasks.values()}
    heard = app.edge.app(app.tenant, app.project)
    heard.token = app.edge.token(app.tenant, [app.project], "viewer", sorted(owners))
    list(follow(heard, "/v1/notifications:stream", lambda f: f.data["receiver_id"] == "requester:ana"))
    with app.edge.rest(heard.token) as client:
        page = client.get("/v1/notifications", params={**app.scope, "page_size": 500}).json()["notifications"]
    sent = Counter((n["content"]["task_id"], n["receiver_id"]) for n in page)
    assert set(sent.values()) == {1}, sent
    edges = {(before, name) for name, t in tasks.items() for before in t.get("depends_on", [])}
    # A reader that its leader planned after the result was there may hear of it or not.
    at_once = {(a, b) for a, b in edges if a.rpartition(".")[0] == b.rpartition(".")[0]}
    end = {("", owner) for owner in owners} | {("", "requester:ana")}
    assert end | {(a, tasks[b]["owner_agent_id"]) for a, b in at_once} <= set(sent)
    assert set(sent) <= end | {(a, tasks[b]["owner_agent_id"]) for a, b in edges}


def check_history(app: App, plan_id: str) -> list[dict[str, Any]]:
    """Nothing is missing, nothing happened twice."""
    events = app.events()
    assert [int(e["seq"]) for e in events] == list(range(1, len(events) + 1))
    own = [e for e in events if e["plan_id"] == plan_id]
    counted = Counter(e["type"] for e in own)
    assert counted["PlanStarted"] == counted["PlanCompleted"] == 1
    tasks = [t["task_id"] for t in app.get(f"/v1/plans/{plan_id}/tasks", page_size=500)["tasks"]]
    assert Counter(e["task_id"] for e in own if e["type"] == "TaskCompleted") == Counter(tasks)
    produced = Counter(e["stream"] for e in own if e["type"] == "ArtifactProduced")
    assert set(produced.values()) == {1}
    assert len(produced) == len(app.status(plan_id)["artifact_ids"])
    calls = [json.loads(e["payload_json"]) for e in own if e["type"] == "ToolInvoked"]
    assert calls
    assert max(Counter(c["request_id"] for c in calls if c["outcome"] == "OK").values()) == 1
    return own


@pytest.fixture(scope="module")
def edge(victims: Cli) -> Iterator[Edge]:
    with Edge(victims) as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(edge: Edge) -> dict[str, tuple[str, ...]]:
    app = edge.example("medluxe")
    created = app.create()
    app.run(created["plan_id"])
    list(plan_events(app, created["plan_id"]))
    check_history(app, created["plan_id"])
    check_notifications(app, created["plan_id"])
    return artifacts_of(app, created)


def recorded_at(event: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(event["record_time"].replace("Z", "+00:00"))


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_part_that_is_killed_during_the_job_changes_nothing_of_its_outcome(
    victim: str, edge: Edge, undisturbed: dict[str, tuple[str, ...]]
) -> None:
    moment = random.Random(f"{SEED}/{victim}").randrange(5 if victim in CALLS_TOOLS else 40)
    app = edge.example("medluxe")
    created = app.create()
    plan_id = created["plan_id"]
    seen = plan_events(app, plan_id)
    while next(seen).event != "PlanValidated":
        pass
    app.run(plan_id)
    for _ in range(moment + 1):
        next(seen)
    before = kill(edge.home, victim)
    killed_at = datetime.now(UTC)
    assert [f.data for f in seen][-1] == {"state": "completed"}
    restarted(edge.home, victim, before)

    own = check_history(app, plan_id)
    assert recorded_at(own[-1]) > killed_at, "the job had ended before the kill"
    assert artifacts_of(app, created) == undisturbed
    check_notifications(app, plan_id)


def refused_tool(app: App) -> dict[str, Any]:
    arguments = {"ref": app.inputs["campaign_results"]}
    answer = app.client.post("/v1/tools/data.table:invoke", json={**app.scope, "arguments": arguments})
    assert answer.status_code == 503, answer.text
    return answer.json()["details"][0]


def test_without_valkey_limited_calls_are_refused_and_the_rest_works(
    edge: Edge, undisturbed: dict[str, tuple[str, ...]]
) -> None:
    app = edge.example("medluxe")
    created = app.create()
    plan_id = created["plan_id"]
    valkey = state.read(edge.home).parts["valkey"].pid
    os.kill(valkey, signal.SIGSTOP)
    try:
        assert refused_tool(app)["reason"] == "LIMITER_UNAVAILABLE"
        assert app.post("/v1/intents:detect", text=app.objective)["intent"] == "campaign.plan"
        app.run(plan_id)
        read = {"artifact_id": created["brief_artifact_id"]}
        assert app.post("/v1/tools/artifact.read:invoke", arguments=read)["result"]["version"] == 1
        seen = plan_events(app, plan_id)
        retried = next(f for f in seen if f.event == "TaskRetryScheduled")
        assert json.loads(retried.data["payload_json"])["reason"] == "LIMITER_UNAVAILABLE"
        assert app.status(plan_id)["state"] == "PLAN_STATE_RUNNING"
    finally:
        os.kill(valkey, signal.SIGCONT)
    assert [f.data for f in seen][-1] == {"state": "completed"}
    check_history(app, plan_id)
    assert artifacts_of(app, created) == undisturbed
    check_notifications(app, plan_id)


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if "ready in" in line:
            return
    pytest.fail("the fleet did not start")


def test_ctrl_c_during_a_job_stops_cleanly_and_the_next_start_takes_it_up(
    victims: Cli, edge: Edge, undisturbed: dict[str, tuple[str, ...]]
) -> None:
    home: Home = victims.home
    assert victims.call("down").returncode == Exit.OK
    process = subprocess.Popen(
        victims.command("up"), env=victims.environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    ready(process)
    app = edge.example("medluxe")
    created = app.create()
    plan_id = created["plan_id"]
    seen = plan_events(app, plan_id)
    while next(seen).event != "PlanValidated":
        pass
    app.run(plan_id)
    next(seen)
    # The terminal sends it to the whole foreground group.
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout is not None
    with process.stdout as rest:
        rest.read()
    assert process.wait(WAIT_S) == Exit.OK
    assert processes_of(home) == []
    seen.close()

    assert victims.call("up", "--detach").returncode == Exit.OK
    until(home, lambda now: now.ready)
    assert list(plan_events(app, plan_id))[-1].data == {"state": "completed"}
    check_history(app, plan_id)
    assert artifacts_of(app, created) == undisturbed
    check_notifications(app, plan_id)
