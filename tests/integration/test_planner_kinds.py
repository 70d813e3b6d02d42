"""Every kind of task and every policy on a real PostgreSQL, with the real worker and artifacts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from haas_common import errors
from haas_common.artifacts import file as artifact_file
from haas_common.artifacts.store import ArtifactStore
from haas_common.blobs import BlobStore
from haas_planner.attempts import Assignment
from haas_planner.graph import Slot
from tests.integration.conftest import TestDatabase
from tests.support.keys import fleet_keys
from tests.support.kinds import SCOPE, Planner, constant, of, planner_of, task, tried

PLAN = "pl-00000001"


def types(history: list[tuple[str, str, dict[str, Any]]], task_id: str | None = None) -> list[str]:
    return [kind for kind, of_task, _ in history if task_id in (None, of_task)]


async def read(planner: Planner, folder: Path, artifact_id: str) -> artifact_file.Document:
    store = ArtifactStore(BlobStore(folder / "store"), fleet_keys(folder / "secrets"))
    async with planner.database.tenant_tx(SCOPE) as tx:
        record = await store.head(tx, SCOPE, artifact_id)
    return artifact_file.parse(await store.read(SCOPE, record))


async def test_a_transform_computes_from_what_others_wrote(database: TestDatabase, tmp_path: Path) -> None:
    numbers = constant(1, "[3, 4]")
    total = task(2, "transform", [of(1)], writes="data.total", params={"expression": "{sum: sum(inputs.v1)}"})
    async with planner_of(database, tmp_path) as planner:
        await planner.start(PLAN, [numbers, total])
        row = await planner.over(PLAN)
        document = await read(planner, tmp_path, row["artifacts"]["T-2"][0])
        plan = await planner.plan(PLAN)
    assert row["state"] == "completed"
    assert document.data == {"sum": 7}
    assert plan.tasks["T-1"].values == {"v1": [3, 4]}
    assert row["artifacts"]["T-1"] == []


FIRST = {"expression": "values(inputs)[0]"}
ITEM = {"kind": "transform", "skill": "transform", "params": {"expression": "params.item"}}


async def test_a_map_runs_over_a_list_known_only_at_run_time_a_few_at_a_time(
    database: TestDatabase, tmp_path: Path
) -> None:
    control = {"over": "v1", "path": "value", "limit": 3, "item": {**ITEM, "policy": {"tokens_max": 1}}}
    mapped = task(2, "map", [of(1)], writes="data.squares", control=control)
    async with planner_of(database, tmp_path) as planner:
        await planner.start(PLAN, [constant(1, str(list(range(20)))), mapped])
        row = await planner.over(PLAN)
        history = await planner.history(PLAN)
        document = await read(planner, tmp_path, row["artifacts"]["T-2"][0])
    assert row["state"] == "completed"
    assert document.data == {"items": list(range(20)), "completed": 20, "total": 20}
    open_now = most = 0
    for kind, task_id, _ in history:
        if task_id.startswith("T-2."):
            open_now += (kind == "TaskReady") - (kind == "TaskCompleted")
            most = max(most, open_now)
    assert most == 3


@pytest.mark.parametrize(("join", "needed"), [({"join": "any"}, 1), ({"join": "quorum", "quorum": 2}, 2)])
async def test_a_map_ends_when_enough_are_done_and_calls_the_others_off(
    database: TestDatabase, tmp_path: Path, join: dict[str, Any], needed: int
) -> None:
    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        if arguments["n"] >= needed:
            await asyncio.Event().wait()
        return {"n": arguments["n"]}

    item = {"kind": "tool", "skill": "shop.count", "params": {"n": {"$read": "none"}}}
    item = {**item, "params": {}, "writes_type": "value.item"}
    control = {"over": "v1", "path": "value", "limit": 10, "item": item, **join}

    async def call(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        return await tool(name, {"n": assignment.task.params["index"]}, assignment)

    async with planner_of(database, tmp_path, call) as planner:
        await planner.start(PLAN, [constant(1, "[0, 1, 2, 3]"), task(2, "map", [of(1)], control=control)])
        row = await planner.over(PLAN)
        plan = await planner.plan(PLAN)
    assert row["state"] == "completed"
    assert row["tasks_by_state"]["cancelled"] == 4 - needed
    assert plan.tasks["T-2"].values["v2"]["completed"] == needed


async def test_a_map_over_a_tool_hands_it_what_its_template_asks_for_and_nothing_else(
    database: TestDatabase, tmp_path: Path
) -> None:
    asked: list[dict[str, Any]] = []

    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        asked.append(arguments)
        return {"n": arguments["n"]}

    params = {"n": {"$param": "item", "path": "n"}, "nth": {"$param": "index"}, "shop": {"$read": "v3"}}
    control = {"over": "v1", "path": "value", "item": {"kind": "tool", "skill": "shop.count", "params": params}}
    missing = {**control, "item": {**control["item"], "params": {"n": {"$param": "other"}}}}
    listed = constant(1, '[{"n": 7}, {"n": 8}]')
    async with planner_of(database, tmp_path, tool) as planner:
        whole = [listed, constant(3, "5"), task(2, "map", [of(1), of(3)], control=control)]
        await planner.start(PLAN, whole)
        assert (await planner.over(PLAN))["state"] == "completed"
        await planner.start("pl-0000000b", [listed, task(2, "map", [of(1)], control=missing)], repairs_max=0)
        assert (await planner.over("pl-0000000b"))["state"] == "failed"
    assert sorted(asked, key=lambda one: one["n"]) == [{"n": 7, "nth": 0, "shop": 5}, {"n": 8, "nth": 1, "shop": 5}]


async def test_a_tool_is_handed_an_uploaded_files_address_and_a_plain_inputs_value(
    database: TestDatabase, tmp_path: Path
) -> None:
    asked: list[dict[str, Any]] = []

    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        asked.append(arguments)
        return {}

    ref = "sha256:" + "0" * 64
    inputs = [["results", "table.campaign", ref], ["budget", "value.number", "900"]]
    params = {"ref": {"$read": "results"}, "limit": {"$read": "budget"}}
    called = task(
        1,
        "tool",
        [Slot("results", "table.campaign"), Slot("budget", "value.number")],
        skill="shop.count",
        params=params,
    )
    async with planner_of(database, tmp_path, tool) as planner:
        await planner.start(PLAN, [called], inputs=inputs)
        assert (await planner.over(PLAN))["state"] == "completed"
    assert asked == [{"ref": ref, "limit": 900.0}]


async def test_a_wait_ends_by_time_or_by_a_signal_even_one_that_came_early(
    database: TestDatabase, tmp_path: Path
) -> None:
    timer = task(1, "wait", control={"for_s": 0.05})
    paid = task(2, "wait", [of(1)], writes="doc.payment", control={"signal": "paid", "timeout_s": 60})
    late = task(3, "wait", [of(2, "doc.payment")], control={"signal": "shipped"})
    async with planner_of(database, tmp_path) as planner:
        await planner.start(PLAN, [timer, paid, late])
        await planner.tell(PLAN, "signal", "s-1", name="shipped", value={"box": 7})
        await planner.until(PLAN, lambda row: row["tasks"].get("T-2") == "waiting")
        await planner.tell(PLAN, "signal", "s-2", name="paid", value={"amount": 12})
        row = await planner.over(PLAN)
        document = await read(planner, tmp_path, row["artifacts"]["T-2"][0])
        plan = await planner.plan(PLAN)
        with pytest.raises(errors.PlanStateConflict):
            await planner.tell(PLAN, "signal", "s-3", name="paid", value={})
    assert row["state"] == "completed"
    assert document.data == {"amount": 12}
    assert plan.tasks["T-3"].values == {"v3": {"box": 7}}


async def test_a_signal_that_does_not_come_in_time_fails_the_task(database: TestDatabase, tmp_path: Path) -> None:
    async with planner_of(database, tmp_path) as planner:
        await planner.start(PLAN, [task(1, "wait", control={"signal": "paid", "timeout_s": 1})])
        with pytest.raises(errors.SignalUnexpected):
            await planner.tell(PLAN, "signal", "s-1", name="other", value={})
        row = await planner.over(PLAN)
    assert row["state"] == "failed"
    assert "paid" in row["failure"]


async def test_a_person_with_the_role_decides_and_is_reminded(database: TestDatabase, tmp_path: Path) -> None:
    control = {"role": "finance", "text": "Spend 12?", "expires_s": 60, "remind_s": [0.05, 0.1]}
    asked = task(1, "approval", writes="doc.approval", control=control)
    async with planner_of(database, tmp_path) as planner:
        await planner.start(PLAN, [asked, constant(2, "1", [of(1, "doc.approval")])])
        with planner.doorbell.bell("events") as bell:
            while types(await planner.history(PLAN)).count("ApprovalReminded") < 2:
                await bell.wait(0.2)
        with pytest.raises(errors.ApprovalRoleMissing):
            await planner.tell(PLAN, "approve", "a-1", task_id="T-1", approved=True, comment="", role="intern")
        await planner.tell(PLAN, "approve", "a-2", task_id="T-1", approved=True, comment="go", role="finance")
        row = await planner.over(PLAN)
        document = await read(planner, tmp_path, row["artifacts"]["T-1"][0])
    assert row["state"] == "completed"
    assert document.data["comment"] == "go"
    assert "finance" in document.body


@pytest.mark.parametrize(("on_expiry", "state"), [("reject", "failed"), ("approve", "completed")])
async def test_an_approval_that_nobody_decides_expires_as_it_says(
    database: TestDatabase, tmp_path: Path, on_expiry: str, state: str
) -> None:
    control = {"role": "finance", "text": "Spend?", "expires_s": 1, "on_expiry": on_expiry}
    async with planner_of(database, tmp_path) as planner:
        await planner.start(PLAN, [task(1, "approval", control=control)])
        row = await planner.over(PLAN)
        history = await planner.history(PLAN)
    assert row["state"] == state
    assert "ReplanRequired" not in types(history)


async def test_what_was_done_is_undone_in_reverse_when_the_plan_is_cancelled(
    database: TestDatabase, tmp_path: Path
) -> None:
    called: list[tuple[str, Any]] = []
    reached = asyncio.Event()

    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        called.append((name, arguments.get("order")))
        if name == "shop.count":
            reached.set()
            await asyncio.Event().wait()
        return {"order": assignment.task.task_id}

    undo = {"kind": "tool", "skill": "shop.cancel"}
    first = task(1, "tool", skill="shop.order", compensation={**undo, "params": {"order": {"$read": "v1"}}})
    second = task(2, "tool", [of(1)], skill="shop.order", compensation={**undo, "params": {"order": {"$read": "v2"}}})
    async with planner_of(database, tmp_path, tool) as planner:
        await planner.start(PLAN, [first, second, task(3, "tool", [of(2)], skill="shop.count")])
        await reached.wait()
        await planner.tell(PLAN, "cancel", reason="no longer")
        row = await planner.over(PLAN)
        history = await planner.history(PLAN)
    assert row["state"] == "cancelled"
    assert called[3:] == [("shop.cancel", {"order": "T-2"}), ("shop.cancel", {"order": "T-1"})]
    assert history[-1][0] == "PlanCancelled"


async def test_a_failed_tool_is_replaced_by_the_alternative_that_the_task_names(
    database: TestDatabase, tmp_path: Path
) -> None:
    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        if name == "shop.order":
            raise errors.ToolFailed("The shop is closed.", tool=name)
        return {"by": name}

    control = {"alternatives": [{"skill": "shop.other"}]}
    failing = task(1, "tool", skill="shop.order", attempts_max=1, control=control)
    async with planner_of(database, tmp_path, tool) as planner:
        await planner.start(PLAN, [failing, constant(2, "1", [of(1)])])
        row = await planner.over(PLAN)
        history = await planner.history(PLAN)
        plan = await planner.plan(PLAN)
    assert row["state"] == "completed"
    assert plan.tasks["T-1"].values == {"v1": {"by": "shop.other"}}
    told = types(history)
    for earlier, later in zip(
        ["TaskFailed", "ErrorDetected", "ReplanRequired"], ["ErrorDetected", "ReplanRequired", "PlanReplanned"],
        strict=True,
    ):  # fmt: skip
        assert told.index(earlier) < told.index(later)


async def test_a_plan_that_nothing_repairs_fails_with_a_report_to_act_on(
    database: TestDatabase, tmp_path: Path
) -> None:
    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        raise errors.ToolFailed("The shop is closed.", tool=name)

    async with planner_of(database, tmp_path, tool) as planner:
        await planner.start(PLAN, [task(1, "tool", skill="shop.order", attempts_max=1), constant(2, "1", [of(1)])])
        assert (await planner.over(PLAN))["state"] == "failed"
        told, _, payload = (await planner.history(PLAN))[-1]
    assert told == "PlanFailed"
    assert payload["failed_task"] == "T-1"


async def test_a_failed_plan_goes_on_after_a_retry_a_skip_and_a_rerun_reuses_what_is_upstream(
    database: TestDatabase, tmp_path: Path
) -> None:
    closed, called = True, []

    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        called.append(assignment.task.task_id)
        if closed and name == "shop.order":
            raise errors.ToolFailed("The shop is closed.", tool=name)
        return {"n": len(called)}

    count = task(1, "tool", skill="shop.count", writes="doc.count")
    order = task(2, "tool", [of(1, "doc.count")], skill="shop.order", attempts_max=1, writes="doc.order")
    after = constant(3, "1", [of(2, "doc.order")])
    async with planner_of(database, tmp_path, tool) as planner:
        await planner.start(PLAN, [count, order, after], repairs_max=0)
        assert (await planner.over(PLAN))["state"] == "failed"
        closed = False
        await planner.tell(PLAN, "retry", task_id="T-2", reason="it is open again")
        row = await planner.over(PLAN)
        assert row["state"] == "completed"
        assert called == ["T-1", "T-2", "T-2"]
        await planner.tell(PLAN, "rerun", task_id="T-2", reason="once more")
        row = await planner.until(PLAN, lambda r: r["state"] == "completed" and r["attempts"]["T-2"] == 3)
        assert called == ["T-1", "T-2", "T-2", "T-2"]
        document = await read(planner, tmp_path, row["artifacts"]["T-2"][0])
    assert document.front["version"] == 2
    assert document.data == {"n": 4}


async def test_what_reads_from_a_task_that_may_fail_is_left_out_and_the_rest_goes_on(
    database: TestDatabase, tmp_path: Path
) -> None:
    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        raise errors.ToolFailed("The shop is closed.", tool=name)

    failing = task(1, "tool", skill="shop.order", attempts_max=1, on_failure="continue")
    async with planner_of(database, tmp_path, tool) as planner:
        await planner.start(PLAN, [failing, constant(2, "1", [of(1)]), constant(3, "1")])
        row = await planner.over(PLAN)
    assert row["state"] == "completed"
    assert row["tasks"] == {"T-1": "failed", "T-2": "skipped", "T-3": "completed"}


async def test_a_result_that_breaks_its_contract_is_a_failed_attempt_and_kept_as_evidence(
    database: TestDatabase, tmp_path: Path
) -> None:
    answers = [{"total": "seven"}, {"total": 7}]

    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        return answers[assignment.attempt - 1]

    schema = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}
    counted = task(1, "tool", skill="shop.count", schemas={"v1": schema}, backoff_s=0)
    async with planner_of(database, tmp_path, tool) as planner:
        await planner.start(PLAN, [counted])
        assert (await planner.over(PLAN))["state"] == "completed"
        store = BlobStore(tmp_path / "store")
        retried = next(p for kind, _, p in await planner.history(PLAN) if kind == "TaskRetryScheduled")
    assert retried["reason"] == "CONTRACT_BROKEN"
    assert b"seven" in store.read(SCOPE, retried["evidence"])


async def test_no_more_run_under_a_concurrency_key_than_it_allows_over_all_plans(
    database: TestDatabase, tmp_path: Path
) -> None:
    running = most = 0

    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return {}

    plans = [f"pl-0000010{n}" for n in range(4)]
    keyed = [task(n, "tool", skill="shop.count", concurrency_key="account-7", concurrency_max=2) for n in range(1, 6)]
    async with planner_of(database, tmp_path, tool) as planner:
        await asyncio.gather(*(planner.start(p, keyed) for p in plans))
        rows = await asyncio.gather(*(planner.over(p) for p in plans))
    assert {row["state"] for row in rows} == {"completed"}
    assert most == 2


@pytest.mark.parametrize(
    "away",
    [
        errors.LimiterUnavailable(),
        errors.Overloaded(retry_after_s=1),
        errors.DatabaseUnavailable(),
        errors.ServiceUnavailable(),
    ],
    ids=lambda error: error.reason,
)
async def test_a_part_of_the_fleet_that_is_away_for_a_while_is_not_the_tasks_failure(
    database: TestDatabase, tmp_path: Path, away: errors.HaasError
) -> None:
    calls = 0

    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls < 5:
            raise away
        return {"n": calls}

    async with planner_of(database, tmp_path, tool) as planner:
        await planner.start(PLAN, [task(1, "tool", skill="shop.count", attempts_max=1, backoff_s=0)])
        row = await planner.over(PLAN)
    assert (row["state"], calls) == ("completed", 5)


async def test_a_tool_that_fails_too_often_is_left_alone_for_a_while_and_tried_again(
    database: TestDatabase, tmp_path: Path
) -> None:
    failing, called = True, 0

    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        nonlocal called
        called += 1
        if failing:
            raise errors.ToolFailed("The shop is closed.", tool=name)
        return {}

    ordered = task(1, "tool", skill="shop.order", attempts_max=10, backoff_s=0)
    async with planner_of(database, tmp_path, tool) as planner:
        await planner.start(PLAN, [ordered])
        with planner.doorbell.bell("events", "slots") as bell:
            while await planner.breakers("shop.order") != ["BreakerOpened"]:
                await bell.wait(0.2)
        assert called == 2
        failing = False
        assert (await planner.over(PLAN))["state"] == "completed"
        assert await planner.breakers("shop.order") == ["BreakerOpened", "BreakerClosed"]
    assert called == 3


async def test_a_budget_that_is_used_up_pauses_the_plan_until_it_gets_another(
    database: TestDatabase, tmp_path: Path
) -> None:
    chain = [constant(1, "1", tokens_max=60), constant(2, "2", [of(1)], tokens_max=60)]
    async with planner_of(database, tmp_path) as planner:
        await planner.start(PLAN, chain, budget={"tokens": 100, "money_micros": 0, "time_s": 0})
        row = await planner.over(PLAN)
        assert row["state"] == "completed"  # what was reserved and not used is given back
        other = "pl-00000002"
        both = [constant(1, "1", tokens_max=60), constant(2, "2", tokens_max=60)]
        await planner.start(other, both, budget={"tokens": 50, "money_micros": 0, "time_s": 0})
        await planner.until(other, lambda r: r["state"] == "paused")
        history = await planner.history(other)
        assert "BudgetExceeded" in types(history)
        await planner.tell(other, "resume", budget={"tokens": 500, "money_micros": 0, "time_s": 0})
        assert (await planner.over(other))["state"] == "completed"


async def test_a_paused_plan_starts_nothing_and_keeps_what_ends_meanwhile(
    database: TestDatabase, tmp_path: Path
) -> None:
    reached, gate = asyncio.Event(), asyncio.Event()

    async def tool(name: str, arguments: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
        reached.set()
        await gate.wait()
        return {}

    async with planner_of(database, tmp_path, tool) as planner:
        await planner.start(PLAN, [task(1, "tool", skill="shop.count"), tried(2, "1", [of(1)])])
        await reached.wait()
        assert await planner.tell(PLAN, "pause", reason="lunch") == "paused"
        gate.set()
        row = await planner.until(PLAN, lambda r: r["tasks"]["T-1"] == "completed")
        assert (row["state"], row["tasks"]["T-2"]) == ("paused", "planned")
        assert await planner.tell(PLAN, "resume") == "running"
        assert (await planner.over(PLAN))["state"] == "completed"


async def test_a_long_chain_of_small_transforms_takes_no_attempt_and_few_commits(
    database: TestDatabase, tmp_path: Path
) -> None:
    chain = [constant(1, "7"), *(task(n, "transform", [of(n - 1)], params=FIRST) for n in range(2, 1001))]
    async with planner_of(database, tmp_path) as planner:
        await planner.start(PLAN, chain)
        row = await planner.over(PLAN)
        plan = await planner.plan(PLAN)
        history = await planner.history(PLAN)
        times = await planner.commits(PLAN)
    assert row["state"] == "completed"
    assert set(row["tasks"].values()) == {"completed"}
    assert set(row["attempts"].values()) == {0}
    assert plan.tasks["T-1000"].values == {"v1000": 7}
    assert [task_id for kind, task_id, _ in history if kind == "TaskCompleted"] == [f"T-{n}" for n in range(1, 1001)]
    assert not {"TaskReady", "TaskStarted"} & set(types(history))
    assert times <= 1000 // 20


async def test_a_plan_of_thousands_of_tasks_is_created_in_several_commits_and_runs(
    database: TestDatabase, tmp_path: Path
) -> None:
    tasks = [constant(n, "1") for n in range(1, 1301)]
    async with planner_of(database, tmp_path, room=64) as planner:
        await planner.start(PLAN, tasks)
        row = await planner.over(PLAN)
    assert row["tasks_by_state"] == {"completed": 1300}


def test_the_slot_of_a_value_reads_as_such() -> None:
    assert of(3) == Slot("v3", "value.x", "T-3")
