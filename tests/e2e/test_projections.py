"""Read models from the command line: what a job left behind is what a rebuild makes of its history."""

import psycopg
import pytest

from haas_cli.errors import Exit
from haas_cli.fleet.parts import embedded_postgres
from haas_common.sockets import short_url
from tests.support.apps import App, Done, Edge
from tests.support.cli import Cli


@pytest.fixture(scope="module")
def job(fleet: Cli) -> tuple[App, Done]:
    with Edge(fleet) as edge:
        app = edge.example("medluxe")
        done = app.job("Describe nuestro público objetivo")
        assert done.status["state"] == "PLAN_STATE_COMPLETED", done.status
        return app, done


def test_a_spoilt_row_is_found_by_comparing_and_mended_by_rebuilding(fleet: Cli, job: tuple[App, Done]) -> None:
    app, done = job
    scope = ("--tenant", app.tenant, "--project", app.project)
    before = fleet.json("plan", "tasks", done.plan_id, *scope)
    with psycopg.connect(short_url(embedded_postgres(fleet.home).dsn("haas")), autocommit=True) as admin:
        admin.execute("UPDATE haas.tasks_read SET title = 'x' WHERE plan_id = %s", (done.plan_id,))
    compared = fleet.call("projections", "rebuild", "plans", "--shadow")
    assert compared.returncode == Exit.UNVERIFIED, compared.stderr
    assert f"plan_id={done.plan_id}" in compared.stdout
    assert fleet.json("plan", "tasks", done.plan_id, *scope) != before
    rebuilt = fleet.call("projections", "rebuild")
    assert rebuilt.returncode == Exit.OK, rebuilt.stderr
    assert fleet.json("plan", "tasks", done.plan_id, *scope) == before


def test_what_depends_on_a_task_and_what_it_depends_on(fleet: Cli, job: tuple[App, Done]) -> None:
    app, done = job
    scope = ("--tenant", app.tenant, "--project", app.project)
    tasks = [row["task_id"] for row in fleet.json("plan", "tasks", done.plan_id, *scope)["tasks"]]
    edges = {
        (below["task_id"], task)
        for task in tasks
        for below in fleet.json("plan", "deps", done.plan_id, task, *scope)["tasks"]
    }
    upwards = {
        (task, above["task_id"])
        for task in tasks
        for above in fleet.json("plan", "deps", done.plan_id, task, "--up", *scope)["tasks"]
    }
    assert edges == upwards
    assert fleet.call("plan", "deps", done.plan_id, "T-999", *scope).returncode == Exit.NOT_FOUND


def test_usage_counts_the_job(fleet: Cli, job: tuple[App, Done]) -> None:
    app, _ = job
    for _ in range(30):  # the projector comes after the commit: asked again until it has, each call takes a while
        days = fleet.json("usage", "--tenant", app.tenant, "--project", app.project)["days"]
        if any(int(day["plans_completed"]) for day in days):
            break
    assert sum(int(day["plans_completed"]) for day in days) == sum(int(day["plans_created"]) for day in days) >= 1
    assert sum(int(day["artifact_bytes"]) for day in days) > 0
