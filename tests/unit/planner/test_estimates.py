"""What a plan is going to take: by what was measured, else by what is reserved and allowed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_planner.estimates import Cost, Measured, estimate
from haas_planner.graph import NO_POLICY, Policy, Slot, Task

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def task(
    task_id: str, *after: str, kind: str = "specialist", skill: str = "s", limit_s: int = 10, tries: int = 1,
    policy: Policy = NO_POLICY, **control: object,
) -> Task:  # fmt: skip
    reads = tuple(Slot(f"v{one}", "value.x", one) for one in after)
    return Task(task_id, kind, skill, "", "", reads, (), {}, tries, limit_s, policy, control)


def test_time_is_that_of_the_critical_path_and_work_is_all_of_it() -> None:
    found = estimate(
        [task("T-1"), task("T-2", "T-1", limit_s=5), task("T-3", "T-1", limit_s=30), task("T-4", "T-2", "T-3")],
        {},
        {},
        NOW,
    )
    assert (found.expected.seconds, found.expected.work_seconds) == (50, 55)
    assert found.critical_path == ("T-1", "T-3", "T-4")


def test_what_is_over_is_not_waited_for() -> None:
    assert estimate([task("T-2", "T-1")], {}, {}, NOW).expected.seconds == 10
    nothing = estimate([], {}, {}, NOW)
    assert (nothing.expected, nothing.critical_path) == (Cost(), ())


def test_what_was_measured_counts_before_what_is_reserved() -> None:
    policy = Policy(tokens_max=1000, money_micros_max=50)
    tasks = [task("T-1", policy=policy), task("T-2", skill="other", policy=policy)]
    found = estimate(tasks, {"s": Measured(2.5, 300.4, 7)}, {}, NOW)
    assert (found.expected.tokens, found.expected.money_micros, found.expected.seconds) == (1300, 57, 10)
    assert (found.tasks, found.measured) == (2, 1)


def test_the_most_is_every_attempt_and_every_pause_between_them() -> None:
    policy = Policy(tokens_max=100, backoff_s=1, backoff_factor=10, backoff_max_s=5)
    found = estimate([task("T-1", tries=4, policy=policy)], {}, {}, NOW)
    assert (found.at_most.tokens, found.at_most.seconds) == (400, 4 * 10 + 1 + 5 + 5)
    capped = estimate([task("T-1", tries=4, policy=Policy(schedule_to_close_s=15))], {}, {}, NOW)
    assert capped.at_most.seconds == 15


def test_a_leader_works_twice_and_ends_after_its_sub_plan() -> None:
    leader = task("T-2", "T-1", kind="leader")
    found = estimate([task("T-1"), leader], {}, {}, NOW)
    assert (found.expected.seconds, found.open_ended) == (30, ("T-2",))
    tasks = [task("T-1"), leader, task("T-2.1", limit_s=7), task("T-2.2", "T-2.1", limit_s=4), task("T-3", "T-2")]
    found = estimate(tasks, {}, {}, NOW, expanded=["T-2"])
    assert found.open_ended == ()
    assert found.critical_path == ("T-1", "T-2.1", "T-2.2", "T-2", "T-3")
    assert found.expected.seconds == 10 + 7 + 4 + 10 + 10


@pytest.mark.parametrize(
    ("kind", "control", "expected", "most", "open_ended"),
    [
        ("wait", {"for_s": 30}, 30, 30, False),
        ("wait", {"until": "2026-03-01T12:01:00+00:00"}, 60, 60, False),
        ("wait", {"until": "2026-02-01T00:00:00Z"}, 0, 0, False),
        ("wait", {"signal": "paid", "timeout_s": 100}, 0, 100, False),
        ("wait", {"signal": "paid"}, 0, 0, True),
        ("approval", {"role": "legal", "expires_s": 3600}, 0, 3600, False),
        ("schedule", {"cron": "0 9 * * *", "item": {}}, 0, 0, True),
    ],
)
def test_what_waits_takes_the_time_that_it_waits(kind, control, expected, most, open_ended) -> None:
    found = estimate([task("T-1", kind=kind, **control)], {}, {}, NOW)
    assert (found.expected.seconds, found.at_most.seconds) == (expected, most)
    assert found.open_ended == (("T-1",) if open_ended else ())
    assert found.expected.tokens == 0


def test_a_budget_is_compared_with_what_is_spent_and_what_is_to_come() -> None:
    policy = Policy(tokens_max=100, money_micros_max=10)
    budget = {"tokens": 250, "money_micros": 19, "time_s": 60}
    found = estimate([task("T-1", tries=2, policy=policy)], {}, budget, NOW, spent=Cost(100, 10, 45.0))
    assert found.exceeds == ("money_micros",)
    assert found.may_exceed == ("tokens", "money_micros", "time_s")
    assert found.budget == budget


def test_a_budget_of_zero_limits_nothing() -> None:
    found = estimate([task("T-1", policy=Policy(tokens_max=10))], {}, {"tokens": 0}, NOW)
    assert (found.budget, found.exceeds, found.may_exceed) == ({}, (), ())


@given(st.lists(st.tuples(st.integers(1, 3600), st.lists(st.integers(0, 30), max_size=3)), min_size=1, max_size=30))
def test_no_path_is_longer_than_the_work_nor_shorter_than_a_task(drawn) -> None:
    tasks = [
        task(f"T-{n}", *{f"T-{up}" for up in ups if up < n}, limit_s=limit_s) for n, (limit_s, ups) in enumerate(drawn)
    ]
    found = estimate(tasks, {}, {}, NOW)
    assert max(t.attempt_limit_s for t in tasks) <= found.expected.seconds <= found.expected.work_seconds
    assert found.expected.seconds <= found.at_most.seconds
    by_id = {t.task_id: t for t in tasks}
    assert sum(by_id[t].attempt_limit_s for t in found.critical_path) == found.expected.seconds
