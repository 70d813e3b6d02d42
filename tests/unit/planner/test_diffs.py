"""A plan's revisions are what its events say, and what differs between two is named."""

import dataclasses

from haas_planner import domain
from haas_planner.diffs import Revision, Revisions, compare
from haas_planner.domain import Event, Plan
from haas_planner.graph import Graph, Input, Slot, Task

FACTS = {
    "objective": "o", "intent": "i", "language": "es", "slots": {}, "brief_artifact_id": "", "profile_id": "p",
    "profile_version": 1, "goals": [], "inputs": [["budget", "value.number", "7"]],
}  # fmt: skip


def task(task_id: str, *after: str, kind: str = "specialist", skill: str = "some.skill", **fields: object) -> Task:
    def name(one: str) -> str:
        return "v" + one.removeprefix("T-").replace(".", "_")

    reads = tuple(Slot(name(one), "value.x", one) for one in after)
    return Task(task_id, kind, skill, "", "agent", reads, (Slot(name(task_id), "value.x"),), **fields)


def created(*tasks: Task) -> tuple[Plan, list[Event]]:
    plan = Plan("t", "p", "pl-00000001")
    return plan, domain.create(plan, FACTS, list(tasks), "ana")


def revisions(events: list[Event], *wanted: int, last_two: bool = False) -> Revisions:
    found = Revisions(wanted, last_two=last_two)
    for event in events:
        found.take(event)
    return found


def ids(revision: Revision | None) -> list[str]:
    assert revision is not None
    return sorted(revision.tasks)


def test_a_new_plan_is_its_first_revision() -> None:
    _, events = created(task("T-1"), task("T-2", "T-1"))
    found = revisions(events)
    assert found.number == 1
    assert ids(found.revision(1)) == ["T-1", "T-2"]
    assert found.revision(1).inputs == (Input("budget", "value.number", "7"),)
    assert (found.revision(0), found.revision(2)) == (None, None)


def test_a_replan_makes_a_revision_and_the_one_before_stays_as_it_was() -> None:
    plan, events = created(task("T-1"), task("T-2", "T-1"), task("T-3"))
    more = [task("T-2", "T-1", skill="other.skill"), task("T-4", "T-2")]
    events += domain.replan(plan, "ana", more, ["T-3"], "why", 1)
    found = revisions(events, 1)
    assert found.number == plan.revision == 2
    assert ids(found.revision(1)) == ["T-1", "T-2", "T-3"]
    assert ids(found.revision(2)) == ["T-1", "T-2", "T-4"]
    diff = compare(found.revision(1), found.revision(2))
    assert [t.task_id for t in diff.added] == ["T-4"]
    assert [t.task_id for t in diff.removed] == ["T-3"]
    assert [(c.fields, c.before.skill, c.after.skill) for c in diff.changed] == [
        (("skill",), "some.skill", "other.skill")
    ]
    assert (diff.from_revision, diff.to_revision, diff.unchanged) == (1, 2, 1)


def test_the_one_before_the_newest_is_kept_without_its_number() -> None:
    plan, events = created(task("T-1"), task("T-2"))
    events += domain.replan(plan, "ana", [], ["T-1"], "why", 1)
    events += domain.replan(plan, "ana", [task("T-3")], [], "why", 1)
    found = revisions(events, last_two=True)
    assert (ids(found.revision(2)), ids(found.revision(3))) == (["T-2"], ["T-2", "T-3"])
    assert found.revision(1) is None


def expanded(plan: Plan, children: list[Task], planned_max: int | None = None) -> list[Event]:
    events = domain.run(plan, "ana", 1)
    events += domain.start(plan, 1, 10)
    while plan.tasks["T-1"].state != "expanded":
        events += domain.expand(plan, "T-1", 1, children, 1, planned_max=planned_max)
    return events


def test_a_sub_plan_belongs_to_the_revision_that_its_expansion_makes_however_many_commits_it_takes() -> None:
    plan, events = created(task("T-1", kind="leader"), task("T-2"))
    events += expanded(plan, [task("T-1.1"), task("T-1.2", "T-1.1"), task("T-1.3")], planned_max=1)
    found = revisions(events, 1)
    assert ids(found.revision(1)) == ["T-1", "T-2"]
    assert ids(found.revision(2)) == ["T-1", "T-1.1", "T-1.2", "T-1.3", "T-2"]


def test_every_revision_that_is_followed_is_what_the_fold_says() -> None:
    plan, events = created(task("T-1", kind="leader"), task("T-2", "T-1"))
    events += expanded(plan, [task("T-1.1"), task("T-1.2")])
    events += domain.cancel(plan, "ana", "", 2)
    events += domain.rerun(plan, "ana", "T-1", "", 3)
    found = revisions(events)
    assert found.number == plan.revision
    assert dict(found.revision(found.number).tasks) == {
        t: run.task for t, run in plan.tasks.items() if run.state != "superseded"
    }


def test_what_undoes_a_task_is_no_part_of_the_graph() -> None:
    found = revisions(created(task("T-1"))[1])
    found.take(Event("TaskPlanned", {"task": domain.task_to_json(task("T-1.0")), "parent": "", "compensates": "T-1"}))
    assert ids(found.revision(1)) == ["T-1"]


def test_tasks_and_inputs_are_compared_by_all_that_they_are() -> None:
    one = Revision(1, {"T-1": task("T-1"), "T-10": task("T-10")}, (Input("a", "value.x", "1"),))
    same = compare(one, one)
    assert (same.added, same.removed, same.changed, same.unchanged) == ((), (), (), 2)
    policy = dataclasses.replace(task("T-1").policy, priority=9)
    other = Revision(
        4, {"T-1": task("T-1", policy=policy, params={"a": 1}), "T-2": task("T-2"), "T-3": task("T-3")},
        (Input("a", "value.x", "2"),),
    )  # fmt: skip
    diff = compare(one, other)
    assert [c.fields for c in diff.changed] == [("params", "policy")]
    assert ([t.task_id for t in diff.added], [t.task_id for t in diff.removed]) == (["T-2", "T-3"], ["T-10"])
    assert (diff.inputs_added[0].ref, diff.inputs_removed[0].ref) == ("2", "1")


def test_a_graph_says_the_same_whichever_way_its_tasks_stand() -> None:
    tasks = (task("T-1"), task("T-2"))
    assert (
        compare(
            Revision(1, {t.task_id: t for t in Graph(tasks).tasks}, ()),
            Revision(1, {t.task_id: t for t in Graph(tasks[::-1]).tasks}, ()),
        ).unchanged
        == 2
    )
