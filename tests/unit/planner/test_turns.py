"""Whose turn it is, and how much room a tenant may take: pure, by small examples."""

import collections

import pytest

from haas_planner.fair import Room, Turns


def popped(turns: Turns[str]) -> list[str]:
    return [turns.pop() for _ in range(len(turns))]


def test_of_a_tenants_plans_the_one_that_was_served_longest_ago_comes_first() -> None:
    turns: Turns[str] = Turns()
    for key in ("large", "other", "small"):
        turns.push("t", key)
    assert turns.pop() == "large"
    turns.served("large", 3)
    turns.push("t", "large")
    assert turns.pop() == "other"
    turns.served("other", 0)
    turns.push("t", "other")
    # Who had its turn and got nothing is behind nobody but those that wait longer.
    assert popped(turns) == ["small", "other", "large"]


def test_results_push_a_plan_forward_before_nobody_that_was_not_served() -> None:
    turns: Turns[str] = Turns()
    served = []
    for _ in range(10):
        turns.push("t", "large")
        turns.push("t", "small")
        served.append(turns.pop())
        turns.served(served[-1], 1)
        turns.pop()
    assert collections.Counter(served) == {"large": 5, "small": 5}


def test_priority_comes_before_it_all_and_is_raised_in_place() -> None:
    turns: Turns[str] = Turns()
    turns.push("t", "first")
    turns.push("t", "second")
    turns.served("second", 1)
    turns.push("t", "second", priority=9)
    assert (len(turns), turns.place("second") < turns.place("first")) == (2, True)
    turns.push("t", "second", priority=1)
    assert popped(turns) == ["second", "first"], "a lower one changes nothing"


def test_what_was_dropped_has_no_turn_and_no_past() -> None:
    turns: Turns[str] = Turns()
    turns.push("t", "a")
    turns.served("a", 1)
    turns.drop("a")
    assert (len(turns), "a" in turns) == (0, False)
    with pytest.raises(LookupError):
        turns.pop()
    turns.push("t", "a")
    assert turns.place("a")[1] == 0


@pytest.mark.parametrize(("weight", "share"), [(1, 4), (3, 6), (7, 7)])
def test_tenants_that_wait_share_by_weight(weight: int, share: int) -> None:
    room = Room(8, lambda tenant: weight if tenant == "heavy" else 1)
    room.take("s", "light", 100)
    room.give("light", 7)
    assert room.take("s", "heavy", 100) == share
    assert room.take("s", "light", 100) == 8 - share
