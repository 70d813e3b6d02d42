"""A plan that nobody can decide on, in a running fleet: it is left alone, and whatever shares its shard goes on."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from haas_cli.errors import Exit
from haas_cli.fleet.prepare import admin_url
from haas_common.ids import SHARDS, shard_of
from haas_common.sockets import short_url
from tests.support.apps import App, Edge
from tests.support.cli import Cli
from tests.support.processes import kill, restarted
from tests.support.storms import storm_app

#: What makes a plan's history one that cannot be folded, or whose next decision raises; and what undoes it.
OF_A_NEWER_RELEASE = (
    "UPDATE haas.events SET schema_version = 99 WHERE stream = %s AND version = 1",
    "UPDATE haas.events SET schema_version = 1 WHERE stream = %s AND version = 1",
)
CHANGED = (
    "UPDATE haas.events SET payload = replace(payload::text, {0}, {1})::json"
    " WHERE stream = %s AND event_type = 'TaskPlanned' AND task_id = 'T-2'"
)
WITHOUT_A_ROLE = (CHANGED.format("'\"wait\"'", "'\"approval\"'"), CHANGED.format("'\"approval\"'", "'\"wait\"'"))


@pytest.fixture(scope="module")
def edge(victims: Cli) -> Iterator[Edge]:
    with Edge(victims) as found:
        yield found


def waiting(number: int, control: dict[str, Any]) -> dict[str, Any]:
    """A wait; the second one reads the first."""
    before = [{"name": "v1", "type": "value.signal", "from_task": "T-1"}] if number > 1 else []
    return {
        "task_id": f"T-{number}", "kind": "TASK_KIND_WAIT", "skill": "wait", "reads": before,
        "writes": [{"name": f"v{number}", "type": "value.signal"}], "control_json": json.dumps(control),
    }  # fmt: skip


GRAPH = {"tasks": [waiting(1, {"signal": "go"}), waiting(2, {"for_s": 0.1})], "inputs": []}


def two_of_a_shard(app: App) -> tuple[str, str]:
    """Two plans that wait for a signal and that the same owner decides on."""
    seen: dict[int, str] = {}
    for _ in range(SHARDS + 1):
        plan_id = app.create("Describe nuestro público objetivo", graph=GRAPH)["plan_id"]
        shard = shard_of(app.tenant, app.project, plan_id)
        if shard in seen:
            for one in (seen[shard], plan_id):
                app.run(one)
            return seen[shard], plan_id
        seen[shard] = plan_id
    raise AssertionError("more plans than shards, and no two of one")


def reborn(edge: Edge) -> None:
    """Gives the plans to an owner that has to fold them."""
    restarted(edge.home, "planner", kill(edge.home, "planner"))


def quarantined(cli: Cli) -> float:
    told = cli.json("metrics", "planner")["planner"]
    return next(one["value"] for one in told if one["name"] == "haas_planner_quarantined")


@pytest.mark.parametrize("poison", [OF_A_NEWER_RELEASE, WITHOUT_A_ROLE], ids=["cannot be folded", "cannot be decided"])
def test_a_poisoned_plan_is_left_alone_its_shard_goes_on_and_once_cured_so_does_it(
    poison: tuple[str, str], victims: Cli, edge: Edge
) -> None:
    app = storm_app(edge, "127.0.0.1:1")
    one, other = two_of_a_shard(app)
    log = edge.home.log / "planner.log"
    before = log.stat().st_size
    with psycopg.connect(short_url(admin_url(edge.home)), autocommit=True) as admin:
        assert admin.execute(poison[0].encode(), (f"plan/{one}",)).rowcount == 1
        reborn(edge)
        refused = app.client.post(f"/v1/plans/{one}:signal", json={**app.scope, "name": "go"})
        assert (refused.status_code, refused.json()["details"][0]["reason"]) == (500, "INTERNAL_ERROR")
        app.post(f"/v1/plans/{other}:signal", name="go")
        assert app.finish(other)[-1].data == {"state": "completed"}
        assert app.status(one)["state"] == "PLAN_STATE_RUNNING"
        assert f"plan {one} is quarantined" in log.read_text()[before:]
        assert quarantined(victims) == 1
        doctor = victims.call("doctor")
        assert (doctor.returncode, "1 plan is quarantined" in doctor.stdout) == (Exit.FAILED, True)
        assert admin.execute(poison[1].encode(), (f"plan/{one}",)).rowcount == 1
    reborn(edge)
    app.post(f"/v1/plans/{one}:signal", name="go")
    assert app.finish(one)[-1].data == {"state": "completed"}
    assert quarantined(victims) == 0
    assert victims.call("doctor").returncode == Exit.OK
