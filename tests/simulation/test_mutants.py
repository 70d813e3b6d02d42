"""The simulation and the model find the mistakes that they are for: each is put in, and has to be caught."""

import pytest

from tests.simulation.mistakes import DOMAIN, SCHEDULER, Mistake
from tests.simulation.world import simulate
from tests.support.plan_walk import walked

#: After so many seeds a mistake counts as not found; most are after a few, one after a thousand.
SEEDS_MAX, WALKS_MAX = 2000, 6000


@pytest.mark.parametrize("mistake", SCHEDULER.values(), ids=SCHEDULER)
def test_a_mistake_of_the_scheduler_is_caught_by_the_simulation(mistake: Mistake) -> None:
    with mistake():
        assert any(simulate(seed).violations for seed in range(SEEDS_MAX))


@pytest.mark.parametrize("mistake", DOMAIN.values(), ids=DOMAIN)
def test_a_mistake_of_the_domain_is_caught_by_the_model(mistake: Mistake) -> None:
    with mistake(), pytest.raises(Exception, match=r".") as caught:  # noqa: PT012 - one of many walks breaks
        for seed in range(WALKS_MAX):
            walked(seed)
    assert caught.value.__notes__[0].startswith("seed ")
