"""When a plan's snapshot is due, and when it goes."""

import pytest

from haas_common.db import Scope
from haas_planner import snapshots
from haas_planner.domain import Plan
from haas_planner.snapshots import Due, Folded

KEY = (Scope("t", "p"), "pl-1")


def plan(version: int, state: str = "running") -> Plan:
    return Plan("t", "p", "pl-1", state=state, subject="ana", version=version)


@pytest.mark.parametrize(("last", "due"), [(0, 20_000), (20_000, 40_000), (40_000, 60_000), (90_000, 135_000)])
def test_the_longer_a_plan_the_later_the_next_one(last: int, due: int) -> None:
    found = Due()
    found.know(KEY, Folded(plan(100_000), "", last))
    assert found.take(plan(due - 1), "") is None
    taken = found.take(plan(due), "trace")
    assert taken is not None
    assert (taken.key, taken.subject, taken.version, taken.trace_id) == (KEY, "ana", due, "trace")
    assert found.take(plan(due), "") is None


def test_what_is_folded_after_a_crash_is_a_third_of_a_long_plan_at_most() -> None:
    found, last = Due(), 0
    for version in range(0, 1_000_000, 400):
        if found.take(plan(version), "") is not None:
            last = version
        assert version - last <= max(snapshots.EVENTS_MIN, version // 3) + 400


def test_one_that_was_folded_without_a_snapshot_has_one_with_its_next_commit() -> None:
    found = Due()
    found.know(KEY, Folded(plan(30_000), "", 0))
    assert found.take(plan(30_001), "") is not None


def test_a_short_plan_that_is_over_has_nothing_to_take_away() -> None:
    found = Due()
    found.know(KEY, Folded(plan(10), "", 0))
    assert found.take(plan(11), "") is None
    assert found.over([plan(12, "completed")]) == []


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_the_snapshot_of_a_plan_that_is_over_goes_once(state: str) -> None:
    found = Due()
    found.take(plan(20_000), "")
    assert found.over([plan(20_001)]) == []
    assert found.over([plan(50_000, state)]) == [KEY]
    assert found.over([plan(50_000, state)]) == []
    assert found.take(plan(90_000, state), "") is None
