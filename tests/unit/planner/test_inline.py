"""Transforms that a decision does itself, and what makes one take an attempt instead."""

from collections.abc import Mapping
from typing import Any

import pytest

from haas_planner import domain
from haas_planner.domain import Event, Plan
from haas_planner.domain.decision import READY_MAX
from haas_planner.graph import Policy, Slot, Task
from tests.support.random_plans import FACTS

NUMBER = {"type": "number"}
READ = (Slot("v1", "value.x", "T-1"),)


def transform(task_id: str, expression: str, *reads: str, **more: Any) -> Task:
    """A transform of the values that other tasks write; its own is v<number>."""
    slots = tuple(Slot(f"v{t.removeprefix('T-')}", "value.x", t) for t in reads)
    given = {"reads": slots, "writes": (Slot(f"v{task_id.removeprefix('T-')}", "value.x"),), **more}
    params = {"expression": expression, **given.pop("params", {})}
    return Task(task_id, "transform", "transform", "", "planner", params=params, **given)


def source(task_id: str = "T-1", type_: str = "value.x") -> Task:
    """A specialist's task."""
    return Task(task_id, "specialist", "s", "", "a", (), (Slot(f"v{task_id.removeprefix('T-')}", type_),))


def running(*tasks: Task, **facts: Any) -> tuple[Plan, list[Event]]:
    """A plan that was started, and what its start led to."""
    plan = Plan("t", "p", "pl-1")
    domain.create(plan, {**FACTS, **facts}, tasks, "ana")
    return plan, domain.run(plan, "ana", 1)


def told(events: list[Event]) -> list[tuple[str, str]]:
    """What happened to which task."""
    return [(event.type, event.task_id) for event in events]


def test_a_plan_of_small_transforms_is_over_with_the_decision_that_starts_it() -> None:
    plan, events = running(
        transform("T-1", "params.n", params={"n": 20}),
        transform("T-2", "inputs.v1", "T-1"),
        transform("T-3", "sum([inputs.v1, inputs.v2])", "T-1", "T-2"),
    )

    assert told(events) == [
        ("PlanStarted", ""), *(("TaskCompleted", f"T-{n}") for n in (1, 2, 3)), ("PlanCompleted", ""),
    ]  # fmt: skip
    assert plan.tasks["T-3"].values == {"v3": 40}
    assert [e.payload["attempt"] for e in events[1:4]] == [0, 0, 0]
    assert (plan.state, plan.tasks["T-3"].attempt, plan.ready) == ("completed", 0, {})


@pytest.mark.parametrize(
    ("kept", "value"), [("value.number", 2.5), ("value.text", "2.5")]
)  # fmt: skip
def test_a_plain_input_is_read_as_an_attempt_reads_it(kept: str, value: object) -> None:
    doubled = transform("T-1", "inputs.n", reads=(Slot("n", kept),))
    plan, _ = running(doubled, inputs=[["n", kept, "2.5"]])

    assert plan.tasks["T-1"].values == {"v1": value}


@pytest.mark.parametrize(
    "task",
    [
        transform("T-2", "abs(inputs)", "T-1"),
        transform("T-2", "[" + ", ".join(["inputs.v1"] * 60) + "]", "T-1"),
        transform("T-2", "params.text", "T-1", params={"text": "x" * 2_048}),
        transform("T-2", "[params.text, params.text]", "T-1", params={"text": "x" * 1_100}),
        transform("T-2", "`1`" + " " * 254, "T-1"),
        transform("T-2", "`1`", "T-1", schemas={"v2": {"enum": [1, "x" * 500]}}),
        transform("T-2", "'a'", "T-1", schemas={"v2": {"type": "string", "pattern": "a"}}),
        transform("T-2", "`1`", "T-1", schemas={"v1": {"type": "string"}}),
        transform("T-2", "`1`", "T-1", schemas={"v2": {"type": "string"}}),
        transform("T-2", "`1`", "T-1", policy=Policy(concurrency_key="site")),
        transform("T-2", "`1`", "T-1", policy=Policy(tokens_max=1)),
        transform("T-2", "`1`", "T-1", policy=Policy(money_micros_max=1)),
        transform("T-2", "`1`", "T-1", writes=(Slot("v2", "doc.x"),)),
        transform("T-2", "`1`", "T-1", writes=(Slot("v2", "value.x"), Slot("v3", "value.x"))),
        transform("T-2", "`1`", reads=(*READ, Slot("file", "data.x"))),
        transform("T-2", "`1`", reads=(*READ, Slot("link", "data.x"))),
        transform("T-2", "`1`", reads=(*READ, Slot("absent", "value.x"))),
        transform("T-2", "`1`", reads=(*READ, Slot("odd", "value.number"))),
        Task("T-2", "transform", "transform", "", "planner", READ, (Slot("v2", "value.x"),)),
    ],
    ids=[
        "fails", "takes more steps", "reads too much", "writes too much", "a long expression", "a large schema",
        "a pattern", "reads what breaks its schema",
        "writes what breaks its schema", "a concurrency key", "tokens", "money", "an artifact", "two values",
        "an upload", "an artifact given", "an input that is not there", "a number that is none", "no expression",
    ],
)  # fmt: skip
def test_whatever_else_takes_an_attempt(task: Task) -> None:
    uploaded, linked = ["file", "data.x", "sha256:" + "0" * 64], ["link", "data.x", "artf-1"]
    inputs = [uploaded, linked, ["odd", "value.number", "many"]]
    plan, events = running(transform("T-1", "`1`"), task, inputs=inputs)

    assert told(events)[-2:] == [("TaskCompleted", "T-1"), ("TaskReady", "T-2")]
    assert plan.state == "running"


@pytest.mark.parametrize(
    ("made", "is_done"),
    [({"values": {"v1": 7}}, True), ({"values": {"v1": None}}, True), ({"outputs": {"v1": "artf-1"}}, False)],
)
def test_what_an_attempt_wrote_is_read_in_the_decision_that_takes_it(made: dict[str, Any], is_done: bool) -> None:
    reader = transform("T-2", "inputs.v1", "T-1", schemas={} if is_done else {"v1": NUMBER})
    plan, _ = running(source(), reader)
    domain.start(plan, 2, 9)
    events = domain.complete(plan, "T-1", 1, made.get("outputs", {}), 3, values=made.get("values", {}))

    ends = [("TaskCompleted", "T-2"), ("PlanCompleted", "")] if is_done else [("TaskReady", "T-2")]
    assert told(events) == [("TaskCompleted", "T-1"), *ends]


def test_nothing_is_computed_from_what_a_person_had_erased() -> None:
    plan, _ = running(source(), transform("T-2", "inputs.v1", "T-1"))
    domain.start(plan, 2, 9)
    domain.apply(plan, Event("TaskCompleted", {"attempt": 1, "outputs": {}, "values": {"v1": 1}}, "T-1", "a"))
    erased: Mapping[str, Any] = "[erased]"  # type: ignore[assignment]
    plan.tasks["T-1"].values = erased

    assert told(domain.advance(plan, 3)) == [("TaskReady", "T-2")]


def test_a_decision_does_so_many_and_the_next_goes_on() -> None:
    long = [transform("T-1", "`0`"), *(transform(f"T-{n}", f"inputs.v{n - 1}", f"T-{n - 1}") for n in range(2, 2_001))]
    plan, events = running(*long)

    assert len(events) == 1 + READY_MAX
    assert domain.can_advance(plan)
    # Far deeper than calls within calls could go.
    events = domain.advance(plan, 2, 5_000)
    assert told(events)[-2:] == [("TaskCompleted", "T-2000"), ("PlanCompleted", "")]
    assert len(events) == 2_000 - READY_MAX + 1


def test_a_paused_plan_does_none_until_it_goes_on() -> None:
    plan, _ = running(source(), transform("T-2", "inputs.v1", "T-1"))
    domain.start(plan, 2, 9)
    domain.pause(plan, "ana", "", 3)

    assert told(domain.complete(plan, "T-1", 1, {}, 4, values={"v1": 1})) == [("TaskCompleted", "T-1")]
    events = domain.resume(plan, "ana", "", None, 5)
    assert told(events) == [("PlanResumed", ""), ("TaskCompleted", "T-2"), ("PlanCompleted", "")]
