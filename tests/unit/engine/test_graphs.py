"""Drafting and contracts: what is drafted always holds, and every planted mistake is found."""

import dataclasses
import random
from graphlib import TopologicalSorter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_common.errors import (
    GraphCycle,
    GraphDangling,
    GraphInvalid,
    HaasError,
    InputMissing,
    PlanUnreachable,
    ToolNotAllowed,
    ToolUnknown,
)
from haas_common.profiles import Profile, load_profile
from haas_planner import contracts, drafting, translate
from haas_planner.graph import Graph, Input, Slot, Task
from haas_planner.skills.registry import SPECS
from haas_planner.skills.spec import matches

PROFILE = load_profile(
    """
profile_id: any_v1
policies: {tools_allowed: [data.table, mcp.http]}
inputs: {results: {type: table.campaign}}
"""
)
INPUTS = (Input("brief", "doc.brief", "artf-1"), Input("results", "table.campaign", "sha256:00"))
GOALS = sorted({t for s in SPECS for _, t in s.writes})
SLOTS = {"period": "2025-10-01..2025-12-31", "budget": "900"}


def drafted(*goals: str, profile: Profile = PROFILE, inputs: tuple[Input, ...] = INPUTS) -> Graph:
    return drafting.draft(goals, profile, SPECS, inputs, SLOTS, "en")


def check(graph: Graph, profile: Profile = PROFILE) -> None:
    contracts.validate(graph, profile, SPECS, INPUTS)


@given(st.lists(st.sampled_from(GOALS), min_size=1, max_size=6), st.booleans())
def test_whatever_is_drafted_is_acyclic_complete_and_reaches_its_goals(goals: list[str], with_table: bool) -> None:
    inputs = INPUTS if with_table else INPUTS[:1]
    try:
        graph = drafted(*goals, inputs=inputs)
    except (InputMissing, PlanUnreachable):
        # Everything can be reached from a table and a brief.
        assert not with_table
        return
    contracts.validate(graph, PROFILE, SPECS, inputs)
    written = {s.type for t in graph.tasks for s in t.writes}
    assert set(goals) <= written
    edges = {t.task_id: [s.from_task for s in t.reads if s.from_task] for t in graph.tasks}
    assert len(list(TopologicalSorter(edges).static_order())) == len(graph.tasks)
    read = {s.from_task for t in graph.tasks for s in t.reads}
    for task in graph.tasks:
        assert task.task_id in read or any(s.type in goals for s in task.writes), "a task that nobody needs"


@given(st.lists(st.sampled_from(GOALS), min_size=1, max_size=4), st.randoms())
def test_the_same_wish_makes_the_same_graph_whatever_the_order_of_inputs(
    goals: list[str], chance: random.Random
) -> None:
    shuffled = list(INPUTS)
    chance.shuffle(shuffled)
    assert drafted(*goals).tasks == drafted(*goals, inputs=tuple(shuffled)).tasks


def test_an_input_that_is_absent_changes_the_graph_where_it_is_optional() -> None:
    full, bare = drafted("doc.content_calendar"), drafted("doc.content_calendar", inputs=INPUTS[:1])
    assert [t.skill for t in bare.tasks] == ["calendar.plan"]
    assert {"kpi.compute", "channel.select"} <= {t.skill for t in full.tasks}


def test_the_profile_puts_its_leaders_first() -> None:
    leading = PROFILE.model_copy(update={"leaders": ["team.content"]})
    assert drafted("doc.team_report", profile=leading).tasks[-1].skill == "team.content"
    assert drafted("doc.team_report").tasks[-1].skill == "team.paid_media"


def test_a_tool_that_the_profile_forbids_makes_its_skills_unreachable() -> None:
    closed = load_profile("profile_id: closed_v1\ninputs: {results: {type: table.campaign}}")
    with pytest.raises(HaasError) as refused:
        drafted("kpi.report", profile=closed)
    assert refused.value.reason == "PLAN_UNREACHABLE"
    assert "data.table" in refused.value.message


def changed(graph: Graph, index: int, **changes: object) -> Graph:
    tasks = list(graph.tasks)
    tasks[index] = dataclasses.replace(tasks[index], **changes)
    return Graph(tuple(tasks), graph.inputs)


BASE = drafted("doc.paid_plan")
LAST = len(BASE.tasks) - 1


@given(st.integers(0, LAST), st.data())
def test_a_read_from_a_task_that_does_not_write_it_is_dangling(index: int, data: st.DataObject) -> None:
    task = BASE.tasks[index]
    which = data.draw(st.integers(0, len(task.reads) - 1))
    others = [t.task_id for t in BASE.tasks if all(w.name != task.reads[which].name for w in t.writes)]
    wrong = data.draw(st.sampled_from([*others, "T-99"]))
    reads = tuple(dataclasses.replace(s, from_task=wrong) if i == which else s for i, s in enumerate(task.reads))
    with pytest.raises(GraphDangling) as refused:
        check(changed(BASE, index, reads=reads))
    assert refused.value.metadata["task"] == task.task_id


@given(st.integers(0, LAST), st.data())
def test_a_read_of_another_type_than_was_written_is_refused(index: int, data: st.DataObject) -> None:
    task = BASE.tasks[index]
    which = data.draw(st.integers(0, len(task.reads) - 1))
    reads = tuple(dataclasses.replace(s, type="doc.other") if i == which else s for i, s in enumerate(task.reads))
    with pytest.raises(GraphInvalid):
        check(changed(BASE, index, reads=reads))


@given(st.integers(1, LAST))
def test_a_cycle_is_found_wherever_it_begins_and_names_a_task_of_it(index: int) -> None:
    first = BASE.tasks[0]
    back = BASE.tasks[index].writes[0]
    graph = changed(BASE, 0, reads=(*first.reads, Slot(back.name, back.type, BASE.tasks[index].task_id)))
    with pytest.raises(GraphCycle) as refused:
        check(graph)
    assert refused.value.metadata["task"] in {t.task_id for t in BASE.tasks}


MISTAKES = {
    "an unknown skill": {"skill": "moon.walk"},
    "another kind": {"kind": "leader"},
    "no writes": {"writes": ()},
    "another write": {"writes": (Slot("kpi_report", "doc.copy"),)},
    "a bad name": {"writes": (Slot("Kpi", "kpi.report"),)},
    "too many attempts": {"attempts_max": 11},
    "too long": {"attempt_limit_s": 4000},
    "deep parameters": {"params": {"a": [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}},
    "large parameters": {"params": {"a": "x" * 20_000}},
    "a bad id": {"task_id": "task-1"},
    "an id of no leader": {"task_id": "T-7.1"},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_task_that_breaks_a_rule_is_refused(mistake: str) -> None:
    check(BASE)
    with pytest.raises(GraphInvalid):
        check(changed(drafted("kpi.report"), 0, **MISTAKES[mistake]))


def test_a_value_that_two_tasks_write_is_refused() -> None:
    twice = dataclasses.replace(BASE.tasks[0], task_id="T-50")
    with pytest.raises(GraphInvalid, match="written by"):
        check(Graph((*BASE.tasks, twice), BASE.inputs))


def test_an_input_that_is_not_there_is_dangling() -> None:
    with pytest.raises(GraphDangling):
        contracts.validate(BASE, PROFILE, SPECS, INPUTS[:1])


def test_a_tool_is_checked_against_the_profile_and_the_catalogue() -> None:
    task = Task("T-1", "tool", "mcp.drive", "List", "", (), (Slot("files", "tool.result"),))
    with pytest.raises(ToolNotAllowed):
        check(Graph((task,), ()))
    with pytest.raises(ToolUnknown):
        contracts.validate(Graph((task,), ()), PROFILE, SPECS, (), known_tools={"data.table"})
    contracts.validate(Graph((dataclasses.replace(task, skill="mcp.http"),), ()), PROFILE, SPECS, ())


def test_a_skill_that_the_profile_does_not_offer_is_refused() -> None:
    narrow = PROFILE.model_copy(update={"skills": ["kpi.compute"]})
    with pytest.raises(GraphInvalid, match="offers no skill"):
        check(BASE, narrow)


def test_a_sub_plan_may_not_wait_for_its_own_leader() -> None:
    graph = drafted("doc.team_report")
    leader = graph.tasks[-1]
    child = Task(f"{leader.task_id}.1", "specialist", "risk.list", "Risks", "", (), (Slot("more_risks", "doc.risks"),))
    check(contracts.expand(graph, leader.task_id, [child]))
    waiting = dataclasses.replace(child, reads=(Slot("team_report", "doc.team_report", leader.task_id),))
    with pytest.raises(GraphCycle):
        contracts.expand(graph, leader.task_id, [waiting])
    with pytest.raises(GraphInvalid):
        contracts.expand(graph, "T-1", [child])


def test_a_cycle_through_a_leader_is_found() -> None:
    graph = drafted("doc.team_report")
    leader = graph.tasks[-1]
    after = Task(
        "T-60",
        "specialist",
        "moon.walk",
        "After",
        "",
        (Slot("team_report", "doc.team_report", leader.task_id),),
        (Slot("x", "doc.x"),),
    )
    child = Task(
        f"{leader.task_id}.1", "specialist", "moon.walk", "In", "", (Slot("x", "doc.x", "T-60"),), (Slot("z", "doc.z"),)
    )
    with pytest.raises(GraphCycle):
        check(Graph((*graph.tasks, after, child), graph.inputs))


@given(st.lists(st.sampled_from(GOALS), min_size=1, max_size=4))
def test_a_graph_survives_the_wire(goals: list[str]) -> None:
    graph = drafted(*goals)
    assert translate.graph_from_proto(translate.graph_to_proto(graph)) == graph


def test_absent_limits_and_owner_become_the_defaults() -> None:
    message = translate.graph_to_proto(drafted("kpi.report"))
    message.tasks[0].attempts_max = message.tasks[0].attempt_limit_s = 0
    message.tasks[0].owner_agent_id = ""
    task = translate.graph_from_proto(message, SPECS).tasks[0]
    assert (task.attempts_max, task.attempt_limit_s, task.owner_agent_id) == (3, 60, "specialist.analytics")


@pytest.mark.parametrize("text", ["[1]", "{", "NaN", '{"a": NaN}', "[" * 9000])
def test_parameters_that_are_no_json_object_are_refused(text: str) -> None:
    message = translate.graph_to_proto(drafted("kpi.report"))
    message.tasks[0].params_json = text
    with pytest.raises(GraphInvalid):
        translate.graph_from_proto(message)


def test_the_summary_has_a_line_a_task_in_the_order_in_which_they_run() -> None:
    lines = contracts.summary(BASE).splitlines()
    assert len(lines) == len(BASE.tasks)
    order = [line.split()[0] for line in lines]
    for task in BASE.tasks:
        assert all(order.index(s.from_task) < order.index(task.task_id) for s in task.reads if s.from_task)


def test_the_registry_keeps_its_own_rules() -> None:
    assert len(SPECS) >= 14
    assert len({s.name for s in SPECS}) == len(SPECS)
    for spec in SPECS:
        assert set(spec.titles) == {"es", "en"}
        assert (spec.run is None) == (spec.kind == "leader") == (spec.expand is not None) == (spec.report is not None)
        for _, read_type in spec.reads:
            made = any(matches(read_type, t) for s in SPECS for _, t in s.writes)
            assert made or read_type.startswith(("table.", "doc.brief")), (spec.name, read_type)


@pytest.mark.parametrize("kind", ["map", "schedule"])
def test_a_template_that_transforms_is_given_what_the_map_or_the_schedule_adds(kind: str) -> None:
    expression = {"map": "params.item", "schedule": "params.run"}[kind]
    item = {"kind": "transform", "skill": "transform", "params": {"expression": expression, "more": 1}}
    control = {"map": {"over": "items"}, "schedule": {"cron": "* * * * *", "runs_max": 1}}[kind]
    listed = Task(
        "T-1", "transform", "transform", "", "", (), (Slot("items", "value.items"),), {"expression": "`1`"}
    )  # fmt: skip
    reads = (Slot("items", "value.items", "T-1"),)
    each = Task("T-2", kind, kind, "", "", reads, (Slot("v", "data.v"),), control={**control, "item": item})
    check(Graph((listed, each), INPUTS))
