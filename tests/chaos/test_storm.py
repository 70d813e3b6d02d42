"""A storm: parts are killed, two at once too, and a planner is stopped for longer than its leases, while a plan of a
thousand tasks is done. Nothing is lost, nothing happens twice, nothing is stuck (docs/reference/guarantees.md).

Three rounds unless HAAS_CHAOS_ROUNDS says more (`make chaos`); HAAS_CHAOS_SEED says which ones. Every figure that a
round came to is told at the end of the run.
"""

import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from haas_cli.fleet import state
from haas_cli.fleet.home import Home
from haas_cli.fleet.prepare import admin_url
from haas_common.ids import SHARDS, shard_of
from haas_common.sockets import short_url
from tests.chaos.test_kill import follow
from tests.chaos.test_scale import SHARED, Shards
from tests.support.apps import App, Edge
from tests.support.cli import Cli
from tests.support.processes import kill, restarted
from tests.support.storm_checks import check, pauses, recorded_at, standing
from tests.support.storms import ROUNDS, SEED, SIGNAL, Fault, Ledger, faults, gate, storm_app, storm_plan

# Beside the other fleets of these tests, after them: two at once are too many for a small machine.
#: A round that takes longer has failed: nothing in it waits for longer than a lease and a claim, 30 s.
ROUND_S = 120.0
pytestmark = [pytest.mark.xdist_group("chaos"), pytest.mark.timeout(ROUND_S)]


@pytest.fixture(scope="module")
def storm() -> Iterator[Cli]:
    """A running fleet with two planners."""
    with tempfile.TemporaryDirectory(prefix="haas-storm-") as folder:
        found = Cli.on(Home(Path(folder) / "home"))
        started = found.call("up", "--detach", "--scale", "planner=2")
        assert started.returncode == 0, started.stderr
        yield found
        assert found.call("down").returncode == 0


@pytest.fixture(scope="module")
def edge(storm: Cli) -> Iterator[Edge]:
    with Edge(storm) as found:
        yield found


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with Ledger() as found:
        yield found


def asked(call: Callable[[], httpx.Response]) -> dict[str, Any]:
    """Calls as a client does that knows of restarts: what was not answered, it asks again, by the same request_id."""
    while True:
        with suppress(httpx.TransportError):
            answer = call()
            if answer.status_code == 200:
                return answer.json()
            assert answer.status_code in (429, 503, 504), answer.text


class Storm:
    """A plan under way, and what goes wrong meanwhile.

    Attributes:
        bouts: (what, from, to) of each fault: to when the fleet's parts were ready again.
    """

    def __init__(self, app: App, plan_id: str, wanted: list[Fault]) -> None:
        self.app, self.plan_id = app, plan_id
        self.bouts: list[tuple[str, datetime, datetime]] = []
        self._wanted = wanted
        self._home = app.edge.home

    def ride_out(self) -> None:
        """Follows the plan to its end; at its moment, each fault, and after it a signal that gives the plan more to do.

        What the stream tells of the time before the end of a fault is no moment for the next one: the plan is further.
        """
        complete, calm = 0, datetime.now(UTC)
        for frame in follow(self.app, f"/v1/plans/{self.plan_id}/events", lambda f: f.event == "end"):
            if frame.event == "TaskCompleted":
                complete += 1
                if self._wanted and complete >= self._wanted[0].at and recorded_at(frame.data) > calm:
                    self._strike(self._wanted.pop(0))
                    calm = datetime.now(UTC)
                    self.tell(gate(len(self.bouts) - 1))
            elif frame.event == "end":
                assert frame.data == {"state": "completed"}, self.app.status(self.plan_id)
        assert not self._wanted, f"the plan was over before {self._wanted}"

    def tell(self, name: str) -> None:
        """Sends the plan a signal."""
        told = {**self.app.scope, "name": name, "request_id": name}
        asked(lambda: self.app.client.post(f"/v1/plans/{self.plan_id}:signal", json=told))

    def _strike(self, fault: Fault) -> None:
        begun = datetime.now(UTC)
        if fault.frozen:
            self._freeze()
            self.bouts.append(("freeze", begun, datetime.now(UTC)))
            return
        before = {name: kill(self._home, name) for name in fault.killed}
        for name, part in before.items():
            restarted(self._home, name, part)
        self.bouts.append(("+".join(fault.killed), begun, datetime.now(UTC)))

    def _freeze(self) -> None:
        """Stops whoever decides on the plan until another one holds all shards; then it wakes, late, and is refused."""
        with Shards(self._home) as shards:
            shards.until(SHARED)
            owner = shards.owners()[shard_of(self.app.tenant, self.app.project, self.plan_id)]
            pid = state.read(self._home).parts[owner].pid
            os.kill(pid, signal.SIGSTOP)
            try:
                shards.until({next(name for name in SHARED if name != owner): SHARDS})
            finally:
                os.kill(pid, signal.SIGCONT)
            shards.until(SHARED)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_whatever_dies_meanwhile_every_task_is_done_once_and_nothing_is_left_over(
    number: int, storm: Cli, edge: Edge, ledger: Ledger, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(f"{SEED}/{number}")
    app = storm_app(edge, ledger.host)
    # What takes long goes together: a frozen planner, and calls whose claims outlive the MCP service.
    wanted = faults(chance, freeze=number % 3 == 0)
    plan = storm_plan(chance, f"s{number}", ledger.host, len(wanted), calls=number % 3 == 0)
    began = time.monotonic()
    graph = {"tasks": plan.tasks, "inputs": []}
    body = {**app.scope, "objective": "Describe nuestro público objetivo", "graph": graph, "request_id": "create"}
    plan_id = asked(lambda: app.client.post("/v1/plans:create", json=body))["plan_id"]
    asked(lambda: app.client.post(f"/v1/plans/{plan_id}:run", json={**app.scope, "request_id": "run"}))
    weather = Storm(app, plan_id, wanted)
    weather.tell(SIGNAL)
    try:
        weather.ride_out()
    except BaseException as error:
        with psycopg.connect(short_url(admin_url(edge.home)), autocommit=True) as admin:
            error.add_note(standing(admin, plan_id))
        raise
    took_s = time.monotonic() - began
    with psycopg.connect(short_url(admin_url(edge.home)), autocommit=True) as admin:
        found = check(app, plan_id, plan, ledger, admin)
    verified = storm.call("audit", "verify", "--tenant", app.tenant)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    own = app.events(plan_id)
    measured = pauses(own, weather.bouts)
    counted = {"tasks": plan.count, "faults": len(weather.bouts), **asdict(found)}
    record_property("storm", {"round": number, "s": round(took_s, 1), "bouts": measured, **counted})
