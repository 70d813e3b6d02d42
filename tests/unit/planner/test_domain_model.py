"""The engine's rules against a model: random plans of every kind, random inputs, everything checked after each of them.

The same walk is driven twice: by hypothesis, which shrinks what fails, and by seeds, which cost a fifth of it. More of
those: `python -m tests.simulation walks 100000`; one again, with its history: `python -m tests.simulation walk SEED`.
"""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.support.plan_walk import COMMANDS, Walk, step, walked

#: Seeds of a run of the tests, in as many parts as share the processes.
SEEDS, PARTS = 4000, 4
#: Rare ones that showed a fault: what was called off between its tasks' ends and its report, and below another.
FOUND = (30683, 33357, 36349, 46455)
chances = st.randoms(use_true_random=False)


class AnyPlan(RuleBasedStateMachine):
    """A plan under random inputs; the walk checks after each, and the plan must end at teardown."""

    walk: Walk | None = None

    @initialize(chance=chances)
    def create(self, chance: random.Random) -> None:
        self.walk = Walk(chance)
        self.walk.begin()

    @rule(room=st.integers(1, 5))
    def start(self, room: int) -> None:
        assert self.walk is not None
        self.walk.start(room)

    @precondition(lambda self: self.walk and any(r.state == "running" for r in self.walk.plan.tasks.values()))
    @rule(chance=chances, how=st.sampled_from(("done", "done", "done", "fail", "final", "lost", "late")))
    def end(self, chance: random.Random, how: str) -> None:
        assert self.walk is not None
        step(self.walk, chance, how)

    @precondition(lambda self: self.walk and self.walk.plan.replanning)
    @rule(chance=chances)
    def repair(self, chance: random.Random) -> None:
        assert self.walk is not None
        self.walk.repair(chance)

    @rule(seconds=st.sampled_from((0.0, 1.0, 10.0, 61.0, 200.0)))
    def wait(self, seconds: float) -> None:
        assert self.walk is not None
        self.walk.wait(seconds)

    @rule(chance=chances, what=st.sampled_from(COMMANDS))
    def ask(self, chance: random.Random, what: str) -> None:
        assert self.walk is not None
        self.walk.ask(chance, what)

    def teardown(self) -> None:
        if self.walk is not None:
            self.walk.finish()


AnyPlan.TestCase.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyPlan = AnyPlan.TestCase


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_to_a_plan_its_counts_hold_a_replay_is_the_same_and_it_ends(part: int) -> None:
    for seed in (*range(part, SEEDS, PARTS), *FOUND[part::PARTS]):
        walked(seed)


def test_a_walk_is_the_same_again() -> None:
    assert walked(7).events == walked(7).events
