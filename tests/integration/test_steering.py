"""A plan is steered from both clients and from the command line: what is asked for, what is shown, what is refused."""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf import json_format

from haas_cli.__main__ import run
from haas_cli.commands import steering
from haas_cli.errors import Exit
from haas_client import errors, retries
from haas_client.control import AsyncPlanControl, PlanControl
from haas_common import errors as ours
from tests.support.fake_control import DIFF, ESTIMATE
from tests.support.fake_fleet import World, running

PLAN = "pl-00000001"
TASK = {"task_id": "T-4", "kind": "TASK_KIND_SPECIALIST", "skill": "faq.answer", "policy": {"priority": 0}}
GRAPH = {"tasks": [TASK]}
#: Every method: what it is called with, and what it asks for.
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]] = {
    "pause_plan": ((PLAN, "why"), {}, {"reason": "why"}),
    "resume_plan": ((PLAN,), {"budget": {"tokens": 7}}, {"budget": {"tokens": "7"}}),
    "signal": (
        (PLAN, "paid", {"sum": 7.0}), {"task_id": "T-1"}, {"name": "paid", "value": {"sum": 7.0}, "task_id": "T-1"},
    ),
    "decide": ((PLAN, "T-1", False, "no"), {}, {"task_id": "T-1", "approved": False, "comment": "no"}),
    "retry_task": ((PLAN, "T-1", "why"), {}, {"task_id": "T-1", "reason": "why"}),
    "skip_task": (
        (PLAN, "T-1", "why"), {"role": "legal", "outputs": {"a": "artf-1"}, "values": {"b": {"n": 1.0}}},
        {"task_id": "T-1", "reason": "why", "role": "legal", "outputs": {"a": "artf-1"}, "values": {"b": {"n": 1.0}}},
    ),
    "rerun": ((PLAN, "T-1"), {}, {"task_id": "T-1"}),
    "replan": ((PLAN, "why", [TASK], ["T-2"]), {}, {"explanation": "why", "tasks": [TASK], "removed": ["T-2"]}),
    "fork_plan": ((PLAN, 5), {}, {"at_version": "5"}),
    "diff_plan": (
        (PLAN, 1, 2), {"other_plan_id": "pl-00000009"},
        {"from_revision": 1, "to_revision": 2, "other_plan_id": "pl-00000009"},
    ),
    "estimate": ((), {"graph": GRAPH, "budget": {"time_s": 5}}, {"graph": GRAPH, "budget": {"time_s": "5"}}),
}  # fmt: skip


@pytest.fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[World]:
    monkeypatch.setattr(retries, "PAUSE_FIRST_S", 0.001)
    async with running(tmp_path) as found:
        (tmp_path / "ca.pem").write_bytes(found.authority)
        settings = {
            "URL": found.url, "CACERT": str(tmp_path / "ca.pem"), "TOKEN": "t", "TENANT": "t-one", "PROJECT": "p-one",
            "HOME": str(tmp_path / "home"),
        }  # fmt: skip
        for name, value in settings.items():
            monkeypatch.setenv(f"HAAS_{name}", value)
        yield found


def methods(of: type) -> dict[str, str]:
    return {n: str(inspect.signature(f)) for n, f in vars(of).items() if not n.startswith("_")}


def test_both_clients_have_the_same_methods() -> None:
    assert methods(PlanControl) == methods(AsyncPlanControl)
    assert set(methods(PlanControl)) == set(CALLS)


async def ask(world: World, kind: str, name: str, *args: Any, **options: Any) -> Any:
    if kind == "aio":
        async with world.aio() as client:
            return await getattr(client, name)(*args, **options)
    with world.sync() as client:
        return await asyncio.to_thread(getattr(client, name), *args, **options)


@pytest.mark.parametrize("kind", ["sync", "aio"])
@pytest.mark.parametrize("name", sorted(CALLS))
async def test_a_call_asks_for_what_it_was_given_and_keeps_its_request_id(world, name, kind):
    args, options, asked = CALLS[name]
    world.fleet.failures = [ours.DatabaseUnavailable()]
    await ask(world, kind, name, *args, **options)
    first, second = world.fleet.seen
    assert first == second
    found = json_format.MessageToDict(first, preserving_proto_field_name=True)
    common = {"tenant_id": "t-one", "project_id": "p-one"} | ({"plan_id": PLAN} if args else {})
    request_id = found.pop("request_id", None)
    assert bool(request_id) == (name not in ("diff_plan", "estimate"))
    assert found == {**common, **asked}


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_what_is_read_is_what_it_is_about(world, kind):
    assert await ask(world, kind, "diff_plan", PLAN) == DIFF
    assert await ask(world, kind, "estimate", PLAN) == ESTIMATE
    assert not world.fleet.seen[-1].HasField("graph")
    assert not world.fleet.seen[-1].HasField("budget")


async def test_a_refusal_is_raised_as_its_reason(world):
    world.fleet.failures = [ours.ApprovalRoleMissing("No.", role="legal", task="T-1")]
    with pytest.raises(errors.BY_REASON["APPROVAL_ROLE_MISSING"]) as caught:
        await ask(world, "aio", "decide", PLAN, "T-1", True)
    assert caught.value.metadata["role"] == "legal"


async def test_a_plan_is_created_with_a_budget_and_repairs(world):
    await ask(world, "aio", "create_plan", "o", budget={"money_micros": 5}, repairs_max=0)
    asked = world.fleet.seen[-1]
    assert (asked.budget.money_micros, asked.repairs_max, asked.HasField("repairs_max")) == (5, 0, True)
    await ask(world, "sync", "create_plan", "o")
    assert not world.fleet.seen[-1].HasField("repairs_max")
    assert not world.fleet.seen[-1].HasField("budget")


# ── The command line ─────────────────────────────────────────────────────────────────────────────────────────────────


async def haas(*arguments: str) -> int:
    return await asyncio.to_thread(run, ["plan", *arguments])


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("pause", PLAN, "--reason", "why"), {"reason": "why"}),
        (("resume", PLAN, "--tokens", "7"), {"budget": {"tokens": "7"}}),
        (("signal", PLAN, "paid", "--value", '{"n": 1}', "--task", "T-1"), {"name": "paid", "value": {"n": 1.0}}),
        (("approve", PLAN, "T-1", "--comment", "c"), {"task_id": "T-1", "approved": True, "comment": "c"}),
        (("reject", PLAN, "T-1"), {"task_id": "T-1", "approved": False}),
        (("retry", PLAN, "T-1"), {"task_id": "T-1"}),
        (
            ("skip", PLAN, "T-1", "--reason", "r", "--output", "a=artf-1", "--value", "b=[1]", "--role", "legal"),
            {"reason": "r", "role": "legal", "outputs": {"a": "artf-1"}, "values": {"b": [1.0]}},
        ),
        (("rerun", PLAN, "T-1"), {"task_id": "T-1"}),
        (("replan", PLAN, "--explanation", "e", "--remove", "T-2"), {"explanation": "e", "removed": ["T-2"]}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
async def test_a_command_asks_for_what_it_was_given_and_says_where_the_plan_stands(world, capsys, arguments, asked):
    assert await haas(*arguments, "--request-id", "r-1") == Exit.OK
    found = json_format.MessageToDict(world.fleet.seen[-1], preserving_proto_field_name=True)
    assert {name: found[name] for name in asked} == asked
    assert found["request_id"] == "r-1"
    assert capsys.readouterr().out == f"{PLAN} {'PAUSED' if arguments[0] == 'pause' else 'RUNNING'}\n"
    assert await haas(*arguments, "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["plan_id"] == PLAN


async def test_a_revision_is_read_from_a_file_and_one_that_is_none_is_refused(world, tmp_path, capsys):
    good, bad, worse = tmp_path / "good.json", tmp_path / "bad.json", tmp_path / "worse.json"
    good.write_text(json.dumps([TASK]))
    bad.write_text(json.dumps([{**TASK, "unheard_of": 1}]))
    worse.write_text("{")
    assert await haas("replan", PLAN, "--explanation", "e", "--tasks", str(good)) == Exit.OK
    assert world.fleet.seen[-1].tasks[0].skill == "faq.answer"
    before = len(world.fleet.seen)
    for path in (bad, worse, tmp_path / "none.json"):
        assert await haas("replan", PLAN, "--explanation", "e", "--tasks", str(path)) == Exit.USAGE
        assert str(path) in capsys.readouterr().err
    assert len(world.fleet.seen) == before


async def test_a_fork_says_what_is_done_and_ends_with_the_new_plan(world, capsys):
    assert await haas("fork", PLAN, "--at", "5") == Exit.OK
    assert capsys.readouterr().out == "1 of 2 tasks are done, as of version 5\npl-00000002\n"


async def test_a_diff_is_a_line_a_change(world, capsys):
    assert await haas("diff", PLAN) == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "revision 1 → 2; 3 tasks are the same",
        "- T-2 copy.draft: Write",
        "+ T-4 faq.answer: Answer",
        "~ T-3 x.y: skill, policy",
        "+ input budget (value.number)",
    ]


async def test_an_estimate_says_what_it_takes_and_fails_where_a_budget_is_exceeded(world, tmp_path, capsys):
    assert await haas("estimate", PLAN) == Exit.OK
    said = capsys.readouterr().out
    assert "critical path: T-1 → T-3" in said
    assert "nobody knows yet: T-2" in said
    assert "may exceed the budget: tokens" in said
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps(GRAPH))
    assert await haas("estimate", "--graph", str(graph), "--tokens", "5", "--json") == Exit.FAILED
    assert json.loads(capsys.readouterr().out)["exceeds"] == ["tokens"]
    assert world.fleet.seen[-1].graph.tasks[0].task_id == "T-4"
    for arguments in ((), (PLAN, "--graph", str(graph))):
        assert await haas("estimate", *arguments) == Exit.USAGE


@pytest.mark.parametrize(
    "arguments",
    [
        ("signal", PLAN, "paid", "--value", "[1]"),
        ("signal", PLAN, "paid", "--value", "{"),
        ("signal", PLAN, "paid", "--value", "@/no/such/file"),
        ("skip", PLAN, "T-1", "--reason", "r", "--output", "artf-1"),
        ("skip", PLAN, "T-1", "--reason", "r", "--value", "a={"),
        ("skip", PLAN, "T-1"),
        ("resume", PLAN, "--tokens", "-1"),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anything_is_asked(world, capsys, arguments):
    assert await haas(*arguments) == Exit.USAGE
    assert world.fleet.seen == []
    assert capsys.readouterr().err


def test_every_way_to_steer_a_plan_is_a_command() -> None:
    assert {one.name for one in steering.COMMANDS} == {
        "pause", "resume", "signal", "approve", "reject", "retry", "skip", "rerun", "fork", "replan", "diff",
        "estimate",
    }  # fmt: skip
