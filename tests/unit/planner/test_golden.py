"""Golden histories: the same inputs lead to the same events, and what was once recorded folds to the same plan.

A difference is no accident to be recorded over. An event with another payload needs a new version and its step in
UPCASTERS (haas_common/events); another decision on purpose is recorded anew: `python -m tests.golden.record`.
"""

import json
from typing import Any

import pytest

from haas_common.events import upcast
from haas_planner import domain
from haas_planner.domain import Event
from tests.golden import record, replay

TODAY = sorted(p.stem for p in replay.FOLDER.glob("*.json") if not p.stem.startswith("v1_"))
BEFORE = sorted(p.stem for p in replay.FOLDER.glob("v1_*.json"))
HINT = "see the first lines of tests/unit/planner/test_golden.py for what to do"


def told(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((replay.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", TODAY)
def test_the_same_inputs_lead_to_the_same_events(name: str) -> None:
    plan = replay.plan()
    for number, step in enumerate(told(name)["steps"]):
        events = replay.as_json(replay.play(plan, step["do"], step["said"], step["now_us"]))
        assert events == step["events"], f"{name}, step {number}, {step['do']}: {HINT}"


@pytest.mark.parametrize("name", TODAY)
def test_a_recorded_history_folds_to_the_plan_that_it_was(name: str) -> None:
    plan, golden = replay.plan(), told(name)
    for step in golden["steps"]:
        for type_, task_id, actor, payload in step["events"]:
            domain.apply(plan, Event(type_, payload, task_id, actor))
    assert replay.summary(plan) == golden["ends"], HINT
    assert replay.digest(plan) == golden["digest"], HINT


@pytest.mark.parametrize("name", BEFORE)
def test_a_history_of_the_release_before_folds_as_it_did_there(name: str) -> None:
    plan, golden = replay.plan(), told(name)
    for type_, task_id, actor, payload in golden["events"]:
        domain.apply(plan, Event(type_, upcast(type_, 1, payload), task_id, actor))
    found = {
        "state": plan.state, "revision": plan.revision, "failure": plan.failure,
        "tasks": {
            t: [r.state, r.attempt, r.phase, r.unmet, r.parent, dict(r.outputs), r.failures, r.losses]
            for t, r in plan.tasks.items()
        },
        "ready": list(plan.ready), "incomplete": plan.incomplete,
    }  # fmt: skip
    if plan.state in domain.TERMINAL:
        # What is left to do of a plan that is over has no meaning; it counted what was called off, and no longer does.
        del found["incomplete"], golden["ends"]["incomplete"]
    assert found == golden["ends"], HINT


def test_the_golden_histories_hold_every_kind_of_task_and_every_event_of_a_plan() -> None:
    assert {s.__name__ for s in record.SCENARIOS} == set(TODAY)
    steps = [step for name in TODAY for step in told(name)["steps"]]
    events = {e[0] for step in steps for e in step["events"]}
    assert set(domain.TYPES) == events
    kinds = {e[3]["task"]["kind"] for step in steps for e in step["events"] if e[0] == "TaskPlanned"}
    assert kinds == {"specialist", "tool", "leader", "transform", "map", "wait", "approval", "schedule"}
