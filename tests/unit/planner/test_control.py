"""What a fork takes over, what a revision is checked as, and the role that somebody acts in."""

import dataclasses

import pytest

from haas_common.errors import ApprovalRoleMissing, ContractBroken
from haas_planner import domain
from haas_planner.control import check_given, kept_of, revised, role_of
from haas_planner.domain import Plan
from haas_planner.graph import Policy, Slot, Task

FACTS = {
    "objective": "o", "intent": "i", "language": "es", "slots": {}, "brief_artifact_id": "", "profile_id": "p",
    "profile_version": 1, "goals": [], "inputs": [["budget", "value.number", "7"]],
}  # fmt: skip
APPROVAL = Task("T-9", "approval", "approval", "", "", (), (), control={"role": "legal", "text": "?", "expires_s": 60})


def task(task_id: str, *after: str, kind: str = "specialist", **fields: object) -> Task:
    def name(one: str) -> str:
        return "v" + one.removeprefix("T-").replace(".", "_")

    reads = tuple(Slot(name(one), "doc.x", one) for one in after)
    return Task(task_id, kind, "some.skill", "", "agent", reads, (Slot(name(task_id), "doc.x"),), **fields)


def running(*tasks: Task) -> Plan:
    plan = Plan("t", "p", "pl-00000001")
    domain.create(plan, FACTS, list(tasks), "ana")
    domain.run(plan, "ana", 1)
    domain.start(plan, 1, 10)
    return plan


def complete(plan: Plan, task_id: str) -> None:
    run = plan.tasks[task_id]
    outputs = {slot.name: f"artf-{slot.name}" for slot in run.task.writes}
    domain.complete(plan, task_id, run.attempt, outputs, 2)
    domain.start(plan, 2, 10)


def test_a_fork_takes_over_what_is_complete() -> None:
    plan = running(task("T-1"), task("T-2", "T-1"), task("T-3"))
    complete(plan, "T-1")
    graph, done = kept_of(plan)
    assert [t.task_id for t in graph.tasks] == ["T-1", "T-2", "T-3"]
    assert done == {"T-1": {"attempt": 1, "outputs": {"v1": "artf-v1"}, "values": {}}}
    assert [i.ref for i in graph.inputs] == ["7"]


def expanded() -> Plan:
    plan = running(task("T-1", kind="leader"), task("T-2", "T-1"))
    domain.expand(plan, "T-1", 1, [task("T-1.1"), task("T-1.2", "T-1.1")], 2)
    domain.start(plan, 2, 10)
    return plan


def test_a_sub_plan_comes_with_its_leaders_result_or_is_expanded_anew() -> None:
    plan = expanded()
    complete(plan, "T-1.1")
    graph, done = kept_of(plan)
    assert ([t.task_id for t in graph.tasks], done) == (["T-1", "T-2"], {})
    for task_id in ("T-1.2", "T-1"):
        complete(plan, task_id)
    graph, done = kept_of(plan)
    assert ([t.task_id for t in graph.tasks], list(done)) == (["T-1", "T-2"], ["T-1"])


def test_a_task_that_was_left_out_is_done_by_a_fork_unless_values_stand_for_its_own() -> None:
    plan = running(task("T-1"), task("T-2"))
    domain.skip(plan, "ana", "T-1", "r", "", {}, {}, 2)
    domain.skip(plan, "ana", "T-2", "r", "", {"v2": "artf-given"}, {}, 2)
    graph, done = kept_of(plan)
    assert ([t.task_id for t in graph.tasks], list(done)) == (["T-1", "T-2"], ["T-2"])


def test_what_was_undone_is_done_again_by_a_fork_and_what_undid_it_is_no_part_of_it() -> None:
    undo = {"kind": "tool", "skill": "undo.it", "params": {}}
    plan = running(task("T-1", policy=Policy(compensation=undo)), task("T-2", "T-1"))
    complete(plan, "T-1")
    domain.cancel(plan, "ana", "", 4)
    assert [run.compensates for run in plan.tasks.values()] == ["", "", "T-1"]
    graph, done = kept_of(plan)
    assert ([t.task_id for t in graph.tasks], list(done)) == (["T-1", "T-2"], [])


def test_a_revision_is_checked_with_all_that_stays_and_without_what_goes() -> None:
    plan = expanded()
    changed = dataclasses.replace(task("T-2", "T-1"), title="other")
    graph = revised(plan, [changed, task("T-4")], ["T-1.2"])
    assert {t.task_id: t.title for t in graph.tasks} == {"T-1": "", "T-1.1": "", "T-2": "other", "T-4": ""}


def test_what_comes_from_a_template_is_checked_where_it_is_changed() -> None:
    plan = running(task("T-1", kind="map"), task("T-2"))
    for task_id in ("T-1.1", "T-1.2"):
        domain.apply(
            plan, domain.Event("TaskPlanned", {"task": domain.task_to_json(task(task_id)), "parent": "T-1"}, task_id)
        )
    graph = revised(plan, [dataclasses.replace(task("T-1.2"), title="other")], [])
    assert [t.task_id for t in graph.tasks] == ["T-1", "T-2", "T-1.2"]


@pytest.mark.parametrize(
    ("of", "roles", "asked", "found"),
    [
        (APPROVAL, ("member", "legal"), "", "legal"),
        (APPROVAL, ("member", "legal"), "legal", "legal"),
        (APPROVAL, ("member", "legal"), "member", None),
        (APPROVAL, ("member",), "", None),
        (APPROVAL, ("member",), "legal", None),
        (APPROVAL, (), "", None),
        (task("T-1"), ("member", "legal"), "", "member"),
        (task("T-1"), ("member", "legal"), "legal", "legal"),
        (task("T-1"), ("member",), "legal", None),
        (task("T-1"), (), "", ""),
        (None, ("member",), "", "member"),
        (None, ("member",), "legal", None),
    ],
)
def test_somebody_acts_in_a_role_that_the_token_holds_and_an_approval_in_its_own(of, roles, asked, found) -> None:
    if found is None:
        with pytest.raises(ApprovalRoleMissing):
            role_of(of, roles, asked)
    else:
        assert role_of(of, roles, asked) == found


def test_an_approval_that_names_no_role_is_decided_by_nobody() -> None:
    """The contracts let none through; an old history might."""
    with pytest.raises(ApprovalRoleMissing):
        role_of(dataclasses.replace(APPROVAL, control={}), ("member",))


def test_what_is_given_is_of_its_slots_kind_and_keeps_its_schema() -> None:
    one = dataclasses.replace(
        task("T-1"), writes=(Slot("a", "doc.x"), Slot("b", "value.x")), schemas={"b": {"type": "integer"}}
    )
    check_given(one, {"a": "artf-1"}, {"b": 7})
    check_given(one, {}, {})
    for outputs, values in [({"b": "artf-1"}, {}), ({}, {"a": 7}), ({}, {"b": "seven"}), ({"c": "artf-1"}, {})]:
        with pytest.raises(ContractBroken):
            check_given(one, outputs, values)
