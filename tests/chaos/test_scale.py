"""Two planners that share the shards: one of them dies or freezes during a job, and the other one goes on."""

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from haas_cli.errors import Exit
from haas_cli.fleet import state
from haas_cli.fleet.home import Home
from haas_cli.fleet.prepare import admin_url
from haas_common.ids import SHARDS, shard_of
from haas_common.sockets import short_url
from tests.chaos.test_kill import artifacts_of, check_history, plan_events, recorded_at
from tests.support.apps import App, Edge, Frame
from tests.support.cli import WAIT_S, Cli
from tests.support.processes import kill, restarted

# Beside the other fleet of these tests, after it: two at once are too many for a small machine.
pytestmark = pytest.mark.xdist_group("chaos")
#: Into a job of some 80 events.
MOMENT = 10
SHARED = {"planner": SHARDS // 2, "planner-2": SHARDS // 2}


@pytest.fixture(scope="module")
def planners() -> Iterator[Cli]:
    """A running fleet with two planners."""
    with tempfile.TemporaryDirectory(prefix="haas-scale-") as folder:
        found = Cli.on(Home(Path(folder) / "home"))
        started = found.call("up", "--detach", "--scale", "planner=2")
        assert started.returncode == 0, started.stderr
        yield found
        assert found.call("down").returncode == 0


@pytest.fixture(scope="module")
def edge(planners: Cli) -> Iterator[Edge]:
    with Edge(planners) as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(edge: Edge) -> dict[str, tuple[str, ...]]:
    app = edge.example("medluxe")
    created = app.create()
    app.run(created["plan_id"])
    list(plan_events(app, created["plan_id"]))
    check_history(app, created["plan_id"])
    return artifacts_of(app, created)


class Shards:
    """Which planner holds what, as the fleet's database says."""

    def __init__(self, home: Home) -> None:
        self._connection = psycopg.connect(short_url(admin_url(home)), autocommit=True)
        self._connection.execute("LISTEN haas")

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def owners(self) -> dict[int, str]:
        """The part that holds each shard; shards whose lease has ended are left out."""
        rows = self._connection.execute(
            "SELECT name, owner FROM haas.leases WHERE name LIKE 'shard/%' AND expires_at > clock_timestamp()"
        ).fetchall()
        return {int(name.removeprefix("shard/")): owner.partition("@")[0] for name, owner in rows}

    def until(self, counts: dict[str, int]) -> None:
        """Waits until each part holds so many: looks at every ring, and once a second (an end by time rings nobody)."""
        give_up = time.monotonic() + WAIT_S
        while (found := Counter(self.owners().values())) != counts:
            assert time.monotonic() < give_up, f"wanted {counts}, found {found}"
            list(self._connection.notifies(timeout=1.0, stop_after=1))


@pytest.fixture
def shards(planners: Cli) -> Iterator[Shards]:
    with Shards(planners.home) as found:
        found.until(SHARED)
        yield found


def begun(app: App) -> tuple[dict[str, str], str, Iterator[Frame]]:
    """Starts the job and follows it to the moment; returns it, its plan's shard's owner's name, and what follows."""
    created = app.create()
    plan_id = created["plan_id"]
    seen = plan_events(app, plan_id)
    while next(seen).event != "PlanValidated":
        pass
    app.run(plan_id)
    for _ in range(MOMENT):
        next(seen)
    with Shards(app.edge.home) as shards:
        owner = shards.owners()[shard_of(app.tenant, app.project, plan_id)]
    return created, owner, seen


def test_the_planner_that_decides_on_a_plan_is_killed_and_the_outcome_is_the_same(
    edge: Edge, shards: Shards, undisturbed: dict[str, tuple[str, ...]]
) -> None:
    app = edge.example("medluxe")
    created, owner, seen = begun(app)
    before = kill(edge.home, owner)
    killed_at = datetime.now(UTC)
    assert [f.data for f in seen][-1] == {"state": "completed"}
    restarted(edge.home, owner, before)
    own = check_history(app, created["plan_id"])
    assert recorded_at(own[-1]) > killed_at, "the job had ended before the kill"
    assert artifacts_of(app, created) == undisturbed
    shards.until(SHARED)


def test_the_survivor_holds_every_shard_and_shares_them_with_who_comes_back(
    edge: Edge, shards: Shards, undisturbed: dict[str, tuple[str, ...]]
) -> None:
    """Frozen first: a supervisor restarts what is dead, at once and under its name, but what is frozen it lets be."""
    app = edge.example("medluxe")
    created, owner, seen = begun(app)
    survivor = next(name for name in SHARED if name != owner)
    before = state.read(edge.home).parts[owner]
    os.kill(before.pid, signal.SIGSTOP)
    frozen_at = datetime.now(UTC)
    try:
        shards.until({survivor: SHARDS})
        assert [f.data for f in seen][-1] == {"state": "completed"}
    finally:
        os.kill(before.pid, signal.SIGKILL)
    restarted(edge.home, owner, before)
    shards.until(SHARED)
    own = check_history(app, created["plan_id"])
    assert recorded_at(own[-1]) > frozen_at, "the job had ended before the planner froze"
    assert artifacts_of(app, created) == undisturbed


def test_every_replica_is_shown_and_tells_what_it_counts(planners: Cli, shards: Shards) -> None:
    parts = planners.json("status")["parts"]
    assert {parts[name]["state"] for name in SHARED} == {"ready"}
    assert len({parts[name]["port"] for name in SHARED}) == 2
    assert set(planners.json("metrics", "planner")) == set(SHARED)
    assert set(SHARED) < set(planners.json("metrics"))
    assert (planners.home.log / "planner-2.log").stat().st_size > 0
    port = next(check for check in planners.json("doctor")["checks"] if check["name"] == "port")
    assert port["ok"], port


def test_another_number_needs_the_fleet_to_stop_first(planners: Cli, shards: Shards) -> None:
    again = planners.call("up", "--detach", "--scale", "planner=3")
    assert (again.returncode, "planner=2" in again.stderr) == (Exit.FAILED, True)
    assert planners.call("up", "--detach", "--scale", "planner=2").returncode == Exit.OK
    assert planners.call("up", "--detach").returncode == Exit.OK
