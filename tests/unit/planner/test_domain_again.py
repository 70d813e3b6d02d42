"""What is done again, revised, left out or undone leaves a plan that still ends: cases that the model found."""

import dataclasses

import pytest

from haas_planner import domain
from haas_planner.domain import Failure, Plan, Proposal, Refused, snapshot
from haas_planner.graph import Policy, Slot, Task
from tests.support.plan_model import check_counts
from tests.support.random_plans import FACTS, slot_of

BROKE = Failure("FIELD_INVALID", "broke", retryable=False)


def task(task_id: str, *after: str, kind: str = "specialist", policy: Policy | None = None, **control: object) -> Task:
    reads = tuple(Slot(slot_of(a), "value.x", a) for a in after)
    writes = (Slot(slot_of(task_id), "value.x"),)
    return Task(task_id, kind, "s", "", "agent", reads, writes, {}, 1, 60, policy or Policy(), control)


def running(*tasks: Task, **facts: object) -> Plan:
    plan = Plan("t", "p", "pl-1")
    domain.create(plan, {**FACTS, **facts}, tasks, "ana")
    domain.run(plan, "ana", 0)
    domain.start(plan, 0, 20)
    return plan


def done(plan: Plan, *task_ids: str) -> None:
    for task_id in task_ids:
        run = plan.tasks[task_id]
        assert domain.complete(plan, task_id, run.attempt, {}, 0, values={s.name: 1 for s in run.task.writes})
        domain.start(plan, 0, 20)
        check_counts(plan)


def fail(plan: Plan, task_id: str) -> None:
    domain.fail(plan, task_id, plan.tasks[task_id].attempt, BROKE, 0, 0.5)
    check_counts(plan)


def map_of(task_id: str, over: str, join: str = "all", **more: object) -> Task:
    item = {"kind": "specialist", "skill": "each", "params": {}, "attempts_max": 1}
    return task(task_id, over, kind="map", over=slot_of(over), path="items", limit=5, join=join, item=item, **more)


def test_a_signal_that_came_early_ends_the_wait_for_it() -> None:
    plan = running(task("T-1"), task("T-2", "T-1", kind="wait", signal="paid"))
    domain.signal(plan, "ana", "paid", {"n": 7}, "", 0)
    done(plan, "T-1")
    assert (plan.state, plan.tasks["T-2"].values) == ("completed", {"v_2": {"n": 7}})


def test_a_signal_that_came_early_for_one_task_is_taken_by_no_other() -> None:
    waits = (task("T-2", "T-1", kind="wait", signal="paid"), task("T-3", "T-1", kind="wait", signal="paid"))
    plan = running(task("T-1"), *waits)
    domain.signal(plan, "ana", "paid", {"n": 3}, "T-3", 0)
    plan = snapshot.load(snapshot.dump(plan))
    done(plan, "T-1")
    assert (plan.tasks["T-2"].state, plan.tasks["T-3"].values) == ("waiting", {"v_3": {"n": 3}})
    domain.signal(plan, "ana", "paid", {"n": 3}, "", 0)
    assert (plan.state, plan.tasks["T-2"].values, plan.signals) == ("completed", {"v_2": {"n": 3}}, {"paid": []})


def test_a_leader_that_is_left_out_with_its_tasks_keeps_no_plan_open() -> None:
    plan = running(task("T-1", kind="leader"), task("T-2"))
    domain.expand(plan, "T-1", 1, [task("T-1.1"), task("T-1.2")], 0)
    domain.skip(plan, "ana", "T-1", "", "", {}, {}, 0)
    done(plan, "T-2")
    assert plan.state == "completed"


def test_a_schedule_that_cancels_its_last_run_goes_on_after_the_next() -> None:
    item = {"kind": "specialist", "skill": "each", "params": {}}
    plan = running(task("T-1", kind="schedule", cron="* * * * *", overlap="cancel", runs_max=2, item=item))
    domain.tick(plan, 60_000_000)
    domain.start(plan, 60_000_000, 20)
    domain.tick(plan, 120_000_000)
    domain.start(plan, 120_000_000, 20)
    done(plan, "T-1.2")
    done(plan, "T-1")
    assert plan.state == "completed"


def test_a_task_of_a_map_that_is_over_is_not_retried_but_done_again_with_the_map() -> None:
    plan = running(task("T-1"), map_of("T-2", "T-1", join="any"), task("T-3"))
    done(plan, "T-1")
    domain.expand(plan, "T-2", 1, [task("T-2.1"), task("T-2.2")], 0)
    domain.start(plan, 0, 20)
    fail(plan, "T-2.1")
    done(plan, "T-2.2", "T-2")
    with pytest.raises(Refused) as refused:
        domain.retry(plan, "ana", "T-2.1", "", 0)
    assert refused.value.reason == "TASK_STATE_CONFLICT"
    domain.rerun(plan, "ana", "T-2.1", "", 0)
    domain.start(plan, 0, 20)
    done(plan, "T-2.1", "T-2", "T-3")
    assert plan.state == "completed"


def test_a_retry_leaves_the_repair_of_another_task_under_way() -> None:
    plan = running(task("T-1"), task("T-2"), repairs_max=1)
    fail(plan, "T-1")
    assert list(plan.replanning) == ["T-1"]
    domain.rerun(plan, "ana", "T-2", "", 0)
    assert list(plan.replanning) == ["T-1"]
    domain.unrepaired(plan, "T-1", 0)
    assert plan.state == "failed"


def test_a_retry_of_a_failed_plan_takes_up_whatever_else_failed() -> None:
    plan = running(task("T-1"), task("T-2"), repairs_max=1)
    fail(plan, "T-1")
    fail(plan, "T-2")
    assert plan.state == "failed"
    domain.retry(plan, "ana", "T-2", "", 0)
    domain.start(plan, 0, 20)
    done(plan, "T-1", "T-2")
    assert plan.state == "completed"


def test_what_reads_a_value_that_still_does_not_come_is_left_out_again() -> None:
    plan = running(task("T-1", policy=Policy(on_failure="continue")), task("T-2"), task("T-3", "T-1", "T-2"))
    fail(plan, "T-1")
    done(plan, "T-2")
    assert plan.state == "completed"
    domain.rerun(plan, "ana", "T-2", "", 0)
    domain.start(plan, 0, 20)
    done(plan, "T-2")
    assert (plan.state, plan.tasks["T-3"].state) == ("completed", "skipped")


def test_a_leader_whose_own_input_is_made_anew_expands_anew() -> None:
    plan = running(task("T-1"), task("T-2", "T-1", kind="leader"))
    done(plan, "T-1")
    domain.expand(plan, "T-2", 1, [task("T-2.1", "T-1")], 0)
    domain.start(plan, 0, 20)
    done(plan, "T-2.1", "T-2")
    domain.rerun(plan, "ana", "T-1", "", 0)
    assert {t: r.state for t, r in plan.tasks.items()} == {"T-1": "ready", "T-2": "planned", "T-2.1": "superseded"}


def test_a_schedule_goes_on_while_one_of_its_runs_is_done_again() -> None:
    item = {"kind": "specialist", "skill": "each", "params": {}}
    plan = running(task("T-1", kind="schedule", cron="* * * * *", runs_max=2, item=item))
    domain.tick(plan, 60_000_000)
    domain.start(plan, 60_000_000, 20)
    done(plan, "T-1.1")
    domain.rerun(plan, "ana", "T-1.1", "", 60_000_000)
    assert plan.tasks["T-1"].state == "waiting"


def test_a_revised_map_lets_go_of_what_it_had_expanded_into() -> None:
    plan = running(task("T-1"), map_of("T-2", "T-1"), repairs_max=1)
    done(plan, "T-1")
    domain.expand(plan, "T-2", 1, [task("T-2.1"), task("T-2.2")], 0)
    domain.start(plan, 0, 20)
    done(plan, "T-2.1", "T-2.2")
    fail(plan, "T-2")
    revised = dataclasses.replace(plan.tasks["T-2"].task, skill="other")
    domain.replanned(plan, "T-2", Proposal("other_skill", [revised], "another way"), 0)
    domain.start(plan, 0, 20)
    domain.expand(plan, "T-2", plan.tasks["T-2"].attempt, [task("T-2.1")], 0)
    domain.start(plan, 0, 20)
    done(plan, "T-2.1", "T-2")
    assert (plan.state, plan.tasks["T-2.2"].state) == ("completed", "superseded")


def test_a_repair_that_leaves_the_failed_task_as_it_was_ends_the_plan() -> None:
    plan = running(task("T-1"), task("T-2", "T-1"), repairs_max=1)
    fail(plan, "T-1")
    domain.replanned(plan, "T-1", Proposal("human", [task("T-9")], "beside it"), 0)
    assert plan.state == "failed"


def test_taking_the_last_open_task_out_completes_the_plan() -> None:
    plan = running(task("T-1"), task("T-2", kind="wait", signal="paid"))
    done(plan, "T-1")
    domain.replan(plan, "ana", [], ["T-2"], "", 0)
    assert plan.state == "completed"


def undoable(task_id: str, *after: str) -> Task:
    return task(task_id, *after, policy=Policy(compensation={"kind": "tool", "skill": "undo", "params": {}}))


def test_what_was_undone_is_done_again_and_can_be_undone_again() -> None:
    plan = running(undoable("T-1"), task("T-2", "T-1", policy=Policy(on_failure="fail")))
    done(plan, "T-1")
    fail(plan, "T-2")
    assert plan.state == "compensating"
    domain.start(plan, 0, 20)
    done(plan, "T-1.0")
    assert plan.state == "failed"
    domain.retry(plan, "ana", "T-2", "", 0)
    assert (plan.tasks["T-1"].state, plan.tasks["T-1.0"].state) == ("ready", "superseded")
    domain.start(plan, 0, 20)
    done(plan, "T-1")
    domain.cancel(plan, "ana", "", 0)
    domain.start(plan, 0, 20)
    done(plan, "T-1.0")
    assert (plan.state, plan.tasks["T-1.0"].completions) == ("cancelled", 2)


def test_an_undoing_is_not_retried_by_itself() -> None:
    plan = running(undoable("T-1"), task("T-2", policy=Policy(on_failure="fail")))
    done(plan, "T-1")
    fail(plan, "T-2")
    domain.start(plan, 0, 20)
    for _ in range(5):
        domain.fail(plan, "T-1.0", plan.tasks["T-1.0"].attempt, Failure("TOOL_FAILED", "broke"), 0, 0.5)
        domain.start(plan, 10**15, 20)
    assert (plan.state, plan.tasks["T-1.0"].state) == ("failed", "failed")
    for ask in (domain.retry, domain.rerun):
        with pytest.raises(Refused):
            ask(plan, "ana", "T-1.0", "", 0)


def test_a_plan_whose_time_ran_out_while_it_undoes_is_not_due_for_it() -> None:
    plan = running(undoable("T-1"), task("T-2"), budget={"tokens": 0, "money_micros": 0, "time_s": 10})
    done(plan, "T-1")
    domain.cancel(plan, "ana", "", 0)
    assert plan.due_us() == 0


def test_a_refused_revision_leaves_nothing_behind() -> None:
    plan = running(task("T-1"), task("T-2"))
    done(plan, "T-1")
    fail(plan, "T-2")
    version = plan.version
    with pytest.raises(Refused):
        domain.replan(plan, "ana", [task("T-1")], [], "", 0)
    assert (plan.state, plan.version) == ("failed", version)


def test_a_map_that_was_called_off_before_its_report_reports_once_the_plan_goes_on() -> None:
    plan = running(task("T-1"), map_of("T-2", "T-1"), task("T-3", policy=Policy(on_failure="fail")))
    done(plan, "T-1")
    domain.expand(plan, "T-2", 1, [task("T-2.1")], 0)
    domain.start(plan, 0, 20)
    done(plan, "T-2.1")
    fail(plan, "T-3")
    assert (plan.state, plan.tasks["T-2"].state) == ("failed", "cancelled")
    domain.retry(plan, "ana", "T-3", "", 0)
    domain.start(plan, 0, 20)
    done(plan, "T-2", "T-3")
    assert plan.state == "completed"
