"""What a run of another engine is held to, and what several runs come to."""

import pytest

from tests.load.dags import chain, fan
from tests.load.engines import NAMES, measure
from tests.load.engines.runs import OutOfTime, Run, figure


def _whole(limit_s: float = 60.0) -> Run:
    run = Run(chain(3), limit_s)
    run.begin()
    for task, _ in run.dag.tasks:
        run.task(task)
    run.end()
    return run


def test_a_task_that_runs_a_second_time_is_refused_and_ends_the_run() -> None:
    run = Run(chain(1))
    run.begin()
    run.task("T-1")
    with pytest.raises(RuntimeError, match="T-1 ran twice"):
        run.task("T-1")
    with pytest.raises(RuntimeError, match="T-1 ran twice"):
        run.end()


def test_a_task_that_runs_before_its_inputs_is_refused() -> None:
    run = Run(fan(2))
    run.begin()
    run.task("T-1")
    run.task("T-2")
    with pytest.raises(RuntimeError, match="T-4 ran twice or before its inputs"):
        run.task("T-4")


def test_a_run_that_ends_with_tasks_left_is_no_figure() -> None:
    run = Run(chain(2))
    run.begin()
    run.task("T-1")
    with pytest.raises(RuntimeError, match="1 of 2"):
        run.end()


def test_a_run_that_is_out_of_time_counts_what_ran_and_says_so() -> None:
    run = Run(chain(2), limit_s=60.0)
    run.begin()
    run.task("T-1")
    run.limit_s = 0.0
    with pytest.raises(OutOfTime):
        run.task("T-2")
    run.end()
    found = figure("steps", [run])
    assert found.tasks_per_s > 0
    assert found.note == "steps; stopped after 0 s, 1 of 2 tasks"


def test_a_figure_is_the_median_run_with_the_slowest_and_the_fastest() -> None:
    runs = [_whole() for _ in range(3)]
    found = figure("steps", runs)
    rates = sorted(run.per_s() for run in runs)
    assert [found.slowest_per_s, found.tasks_per_s, found.fastest_per_s] == rates
    assert 0 <= found.lag_ms_p50 <= found.lag_ms_p99


def test_each_task_with_inputs_has_a_lag() -> None:
    assert len(_whole().lags_ms()) == 2


def test_an_engine_that_is_not_installed_has_no_figure() -> None:
    assert measure("no_such_engine", "", chain(1)) is None
    assert NAMES == ("dbos", "procrastinate", "langgraph")
