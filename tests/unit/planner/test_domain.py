"""The DAG engine's rules: random graphs, random outcomes, one fold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haas_planner import domain
from haas_planner.domain import Event, Failure, Plan, Refused
from haas_planner.domain.steps import LOSSES_MAX
from haas_planner.graph import Slot, Task

FACTS = {
    "objective": "o", "intent": "i", "language": "es", "slots": {}, "brief_artifact_id": "", "profile_id": "p",
    "profile_version": 1, "goals": [], "inputs": [],
}  # fmt: skip


def task(task_id: str, *after: str, kind: str = "specialist", attempts_max: int = 3) -> Task:
    reads = tuple(Slot("v_" + a.lower().replace("-", "").replace(".", "_"), "t.x", a) for a in after)
    writes = (Slot("v_" + task_id.lower().replace("-", "").replace(".", "_"), "t.x"),)
    return Task(task_id, kind, "s.k", task_id, f"agent.{task_id}", reads, writes, {}, attempts_max)


def outputs(wanted: Task) -> dict[str, str]:
    return {slot.name: f"artf-{wanted.task_id.lower()}" for slot in wanted.writes}


def fresh() -> Plan:
    return Plan("t", "p", "pl-1")


@st.composite
def graphs(draw: st.DrawFn) -> list[Task]:
    size = draw(st.integers(1, 12))
    tasks = []
    for n in range(1, size + 1):
        before = [f"T-{m}" for m in range(1, n)]
        after = draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if before else []
        kind = "leader" if draw(st.integers(0, 5)) == 0 else "specialist"
        tasks.append(task(f"T-{n}", *after, kind=kind, attempts_max=draw(st.integers(1, 3))))
    # A task may be planned before what it reads from.
    return draw(st.permutations(tasks))


class Runner:
    """Drives a plan with chosen outcomes and checks, step by step, what must always hold."""

    def __init__(self, tasks: list[Task], choose: st.DataObject) -> None:
        self.plan = fresh()
        self.events: list[Event] = []
        self.choose = choose
        self.now_us = 0
        self.take(domain.create(self.plan, FACTS, tasks, "ana"))
        self.take(domain.run(self.plan, "ana", 0))

    def take(self, events: list[Event]) -> None:
        self.events.extend(events)

    def step(self) -> bool:
        """One start and one outcome; False when the plan is over."""
        self.now_us += 60_000_000
        started = domain.start(self.plan, self.now_us, self.choose.draw(st.integers(1, 4)))
        self.take(started)
        for event in started:
            run = self.plan.tasks[event.task_id]
            for upstream in run.task.depends_on():
                assert self.plan.tasks[upstream].state == "completed", "a task started before what it reads was there"
        running = sorted(t for t, run in self.plan.tasks.items() if run.state == "running")
        if not running:
            return False
        task_id = self.choose.draw(st.sampled_from(running))
        run = self.plan.tasks[task_id]
        outcome = self.choose.draw(st.sampled_from(["done", "done", "done", "fail", "lose", "stale"]))
        if outcome == "stale":
            assert domain.complete(self.plan, task_id, run.attempt - 1, {}, 0) == []
        elif outcome in ("fail", "lose"):
            failure = Failure("TOOL_FAILED", "broke", lost=outcome == "lose")
            self.take(domain.fail(self.plan, task_id, run.attempt, failure, self.now_us, 0.5))
        elif run.task.kind == "leader" and run.phase == "run":
            children = [task(f"{task_id}.1"), task(f"{task_id}.2", f"{task_id}.1")]
            self.take(domain.expand(self.plan, task_id, run.attempt, children, 0))
        else:
            self.take(domain.complete(self.plan, task_id, run.attempt, outputs(run.task), 0))
        return self.plan.state == "running"


@settings(max_examples=150, deadline=None)
@given(graphs(), st.data())
def test_a_plan_ends_and_its_history_is_its_state(tasks: list[Task], choose: st.DataObject) -> None:
    runner = Runner(tasks, choose)
    for _ in range(2000):
        if not runner.step():
            break
    plan = runner.plan
    assert plan.state in ("completed", "failed")
    assert all(run.state in domain.TERMINAL for run in plan.tasks.values())
    if plan.state == "completed":
        assert {run.state for run in plan.tasks.values()} == {"completed"}
    ends = [e.task_id for e in runner.events if e.type == "TaskCompleted"]
    assert len(ends) == len(set(ends)), "a task completed twice"
    replayed = fresh()
    for event in runner.events:
        domain.apply(replayed, event)
    assert replayed == plan


def test_a_leader_reports_once_its_whole_sub_plan_is_complete() -> None:
    plan = fresh()
    domain.create(plan, FACTS, [task("T-1", kind="leader"), task("T-2", "T-1")], "ana")
    domain.run(plan, "ana", 0)
    domain.start(plan, 0, 9)
    domain.expand(plan, "T-1", 1, [task("T-1.1"), task("T-1.2")], 0)
    domain.start(plan, 0, 9)
    domain.complete(plan, "T-1.1", 1, {"v_t1_1": "artf-a"}, 0)
    assert plan.tasks["T-1"].state == "expanded"
    domain.complete(plan, "T-1.2", 1, {"v_t1_2": "artf-b"}, 0)
    assert (plan.tasks["T-1"].state, plan.tasks["T-1"].phase) == ("ready", "report")
    assert plan.tasks["T-2"].state == "planned"
    domain.start(plan, 0, 9)
    domain.complete(plan, "T-1", 2, {"v_t1": "artf-r"}, 0)
    assert plan.tasks["T-2"].state == "ready"


def test_a_failure_hits_what_reads_from_it_and_the_leaders_above() -> None:
    plan = fresh()
    domain.create(plan, FACTS, [task("T-1", kind="leader"), task("T-2", "T-1"), task("T-3")], "ana")
    domain.run(plan, "ana", 0)
    domain.start(plan, 0, 9)
    domain.expand(plan, "T-1", 1, [task("T-1.1"), task("T-1.2", "T-1.1")], 0)
    assert sorted(domain.descendants(plan, "T-1.1")) == ["T-1", "T-1.2", "T-2"]


def test_a_lost_attempt_is_not_counted_as_the_tasks_failure_but_not_forever() -> None:
    plan = fresh()
    domain.create(plan, FACTS, [task("T-1", attempts_max=1)], "ana")
    domain.run(plan, "ana", 0)
    for attempt in range(1, LOSSES_MAX + 1):
        domain.start(plan, 10**18, 9)
        domain.fail(plan, "T-1", attempt, Failure("OWNER_LOST", "gone", lost=True), 0, 0.5)
    assert plan.state == "failed"
    assert plan.tasks["T-1"].attempt == LOSSES_MAX


def test_the_first_loss_is_made_good_at_once_and_later_ones_after_growing_pauses() -> None:
    plan = fresh()
    domain.create(plan, FACTS, [task("T-1", attempts_max=1)], "ana")
    domain.run(plan, "ana", 0)
    delays = []
    for attempt in range(1, 5):
        domain.start(plan, 10**18, 9)
        [scheduled, _] = domain.fail(plan, "T-1", attempt, Failure("LIMITER_UNAVAILABLE", "away", lost=True), 0, 1.0)
        delays.append(scheduled.payload["delay_s"])
    assert delays == [0.0, 0.5, 1.0, 2.0]


@pytest.mark.parametrize("state", ["", "running", "completed", "failed", "cancelled"])
def test_only_a_created_plan_can_be_run(state: str) -> None:
    plan = fresh()
    plan.state = state
    with pytest.raises(Refused) as refused:
        domain.run(plan, "ana", 0)
    assert refused.value.reason == ("PLAN_STATE_CONFLICT" if state else "RESOURCE_NOT_FOUND")


def test_cancelling_ends_every_open_task_and_later_results_are_dropped() -> None:
    plan = fresh()
    domain.create(plan, FACTS, [task("T-1"), task("T-2", "T-1")], "ana")
    domain.run(plan, "ana", 0)
    domain.start(plan, 0, 9)
    domain.cancel(plan, "ana", "changed my mind", 0)
    assert {run.state for run in plan.tasks.values()} == {"cancelled"}
    assert domain.complete(plan, "T-1", 1, {}, 0) == []


def test_a_retry_waits_until_its_time() -> None:
    plan = fresh()
    domain.create(plan, FACTS, [task("T-1")], "ana")
    domain.run(plan, "ana", 0)
    domain.start(plan, 0, 9)
    domain.fail(plan, "T-1", 1, Failure("TOOL_FAILED", "broke"), 1_000_000, 1.0)
    assert domain.start(plan, 1_400_000, 9) == []
    assert [e.type for e in domain.start(plan, 1_500_000, 9)] == ["TaskStarted"]
