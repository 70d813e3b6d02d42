"""Plans that wait in memory: the latest of them, within a bound."""

from haas_planner.idle import Idle


def test_the_plan_that_waits_longest_goes_first_when_there_are_too_many_tasks() -> None:
    idle: Idle[str] = Idle(10)
    for key in ("a", "b", "c"):
        idle.put(key, 4)
    assert idle.surplus() == "a"
    assert idle.surplus() is None
    idle.put("b", 4)
    idle.put("d", 4)
    assert idle.surplus() == "c"


def test_one_plan_may_stay_however_large_it_is() -> None:
    idle: Idle[str] = Idle(10)
    idle.put("large", 50)
    assert idle.surplus() is None
    idle.put("small", 1)
    assert idle.surplus() == "large"
    assert idle.surplus() is None


def test_what_goes_on_or_ends_counts_no_more() -> None:
    idle: Idle[str] = Idle(10)
    idle.put("a", 8)
    idle.drop("a")
    idle.drop("never there")
    idle.put("b", 8)
    assert idle.surplus() is None
