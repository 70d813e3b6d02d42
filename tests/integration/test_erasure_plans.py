"""Erasing a person whose plan used everything that a plan can be: nothing of it is left, and all of it still folds."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from haas_common import errors
from haas_common.blobs import BlobStore
from haas_common.db import Lease
from haas_common.key_ring import KeyRing
from haas_common.projections.rebuild import Rebuild
from haas_common.sockets import short_url
from haas_notifier.projection import PROJECTIONS as NOTIFICATIONS
from haas_notifier.worker import Relay
from haas_orchestrator.privacy import Privacy
from haas_planner.attempts import Assignment
from haas_planner.control import Asked, Control
from haas_planner.graph import Task, task_to_json
from haas_planner.projection import PROJECTIONS as PLANS
from tests.integration.conftest import TestDatabase
from tests.integration.test_erasure import CANARY, PLAN, World, order
from tests.support.kinds import SCOPE, Planner, constant, of, planner_of, task
from tests.support.relays import settled

TOLD = {"note": CANARY}
SCHEMA = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}
UNDONE = {"kind": "tool", "skill": "shop.cancel", "params": {"who": CANARY}}


async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
    """One breaks its contract first, one works, one never does; each speaks of the person."""
    if assignment.task.task_id == "T-6" and assignment.attempt == 1:
        return {"total": CANARY}
    if name in ("shop.other", "shop.order") and assignment.task.task_id == "T-9":
        raise errors.ToolFailed(f"There is no {CANARY}.", tool=name)
    return {"total": 7, "who": CANARY}


def graph() -> list[Task]:
    """A plan with something of the person in every place that a plan has for it."""
    each = {"kind": "transform", "skill": "transform", "title": f"of {CANARY}", "params": {"expression": "params.item"}}
    ask = {"role": "finance", "text": f"Pay {CANARY}?", "expires_s": 600, "remind_s": [0.01]}
    fired = {"cron": "* * * * *", "zone": "UTC", "runs_max": 1, "item": each, "until": "2020-01-01T00:00:00+00:00"}
    found = [
        constant(1, f'["{CANARY}"]'),
        task(2, "map", [of(1)], writes="data.each", control={"over": "v1", "path": "value", "limit": 2, "item": each}),
        task(3, "wait", writes="doc.paid", control={"signal": "paid", "timeout_s": 600}),
        task(4, "wait", control={"signal": "never"}),
        task(5, "approval", writes="doc.approval", control=ask),
        task(6, "tool", skill="shop.count", schemas={"v6": SCHEMA}, backoff_s=0),
        task(7, "tool", skill="shop.order", params={"who": CANARY}, compensation=UNDONE),
        task(8, "schedule", control=fired),
        task(
            9, "tool", [of(2, "data.each"), of(3, "doc.paid"), of(4), of(5, "doc.approval"), of(6), of(7)],
            skill="shop.order", attempts_max=1, control={"alternatives": [{"skill": "shop.other"}]},
        ),
        constant(10, "1", [of(9)]),
    ]  # fmt: skip
    return [dataclasses.replace(one, title=f"{one.title} {CANARY}") for one in found]


async def told(planner: Planner, type_: str) -> None:
    with planner.doorbell.bell("events") as bell:
        async with asyncio.timeout(20):
            while type_ not in [found for found, _, _ in await planner.history(PLAN)]:
                await bell.wait(0.2)


async def lived(planner: Planner) -> None:
    """A plan with everything that can be asked of one, to its failure, with what was done undone."""
    facts = {"objective": CANARY, "slots": {"where": CANARY}, "inputs": [["x", "value.text", CANARY]]}
    await planner.start(PLAN, graph(), **facts)
    await planner.tell(PLAN, "signal", "s-1", name="paid", value=TOLD)
    await told(planner, "ApprovalReminded")
    await planner.tell(PLAN, "pause", reason=f"{CANARY} is out")
    await planner.tell(PLAN, "resume", reason=f"{CANARY} is back")
    await planner.tell(PLAN, "skip", task_id="T-4", reason=f"no {CANARY}", role="", outputs={}, values={"v4": TOLD})
    await planner.tell(PLAN, "rerun", task_id="T-1", reason=f"again for {CANARY}")
    last = dataclasses.replace(graph()[-1], title=f"other {CANARY}")
    await planner.tell(PLAN, "replan", tasks=[task_to_json(last)], removed=[], explanation=f"for {CANARY}")
    await planner.until(PLAN, lambda row: row["tasks"]["T-2"] == row["tasks"]["T-6"] == "completed")
    approval = {"task_id": "T-5", "approved": True, "comment": f"good for {CANARY}", "role": "finance"}
    await planner.tell(PLAN, "approve", **approval)
    assert (await planner.over(PLAN))["state"] == "failed"


@contextlib.asynccontextmanager
async def world_of(database: TestDatabase, folder: Path) -> AsyncIterator[World]:
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
        async with planner_of(database, folder, tool) as planner:
            blobs = BlobStore(folder / "store")
            privacy = Privacy(planner.database, planner.doorbell, blobs)
            yield World(planner, admin, blobs, folder / "store", privacy)  # type: ignore[arg-type]


async def test_what_somebody_else_forked_from_a_persons_plan_goes_with_it(
    database: TestDatabase, tmp_path: Path
) -> None:
    forks = ["pl-0000000a", "pl-0000000b"]
    async with world_of(database, tmp_path) as world:
        planner: Any = world.fleet
        control = Control(planner.operations, planner.database)
        await planner.start(PLAN, [constant(1, f'"{CANARY}"')], objective=CANARY)
        await planner.over(PLAN)
        for source, fork, actor in ((PLAN, forks[0], "eva"), (forks[0], forks[1], "luz")):
            await control.fork(Asked(SCOPE, fork, f"r-{fork}", actor, ""), source, 0)
        with pytest.raises(errors.PlanStateConflict, match=forks[0]):
            await world.privacy.erase(order())
        for fork in forks:
            await planner.tell(fork, "cancel")
        done = await world.privacy.erase(order())
        assert (done.plans, world.where(CANARY)) == (3, [])


async def test_a_plan_of_every_kind_leaves_nothing_of_an_erased_person(
    database: TestDatabase, data_key: Path, tmp_path: Path
) -> None:
    async with world_of(database, tmp_path) as world:
        planner: Any = world.fleet
        await lived(planner)
        relay = Relay(Lease("relay/notifier", world.lease()), planner.database, planner.doorbell)
        await settled(relay, planner.doorbell)
        before = world.where(CANARY)
        tables = {place.rpartition(".")[2] for place in before if "/" not in place}
        assert tables == {"plans", "tasks_read", "plan_commands", "notifications"}, "the history holds it sealed alone"
        types = [type_ for type_, _, _ in await planner.history(PLAN)]
        wanted = {"TaskRetryScheduled", "ReplanRequired", "CompensationStarted", "ApprovalDecided", "TaskSkipped"}
        assert wanted | {"SignalReceived", "PlanReplanned", "PlanReopened", "TaskReset", "PlanResumed"} <= set(types)
        evidence = [p["evidence"] for type_, _, p in await planner.history(PLAN) if type_ == "TaskRetryScheduled"]
        assert CANARY in world.blobs.read(SCOPE, evidence[0]).decode()
        count = world.check_chain()
        await world.privacy.erase(order())
        assert world.where(CANARY) == []
        assert world.check_chain() == count + 1
        for made in (*PLANS.values(), *NOTIFICATIONS.values()):
            found = await Rebuild(made, database.admin_dsn, KeyRing(data_key)).run(swap=False)
            assert found.differences == [], "the read models say what the fold of the erased history says"
        plan = await planner.plan(PLAN)
        assert (plan.state, plan.tasks["T-5"].received["comment"]) == ("failed", "[erased]")
        for kind in ("retry", "rerun", "skip"):
            with pytest.raises(errors.DataErased):
                await planner.tell(PLAN, kind, f"late-{kind}", task_id="T-9", reason="once more")
