"""The plans that engines are compared with have the shape that the tables name."""

import pytest

from tests.load.dags import Dag, all_shapes, chain, fan, layered


@pytest.mark.parametrize(
    ("dag", "tasks", "edges", "layers"), [(fan(), 1002, 2000, 3), (chain(), 200, 199, 200), (layered(), 1000, 3000, 10)]
)
def test_a_shape_has_as_many_tasks_edges_and_layers_as_it_says(dag: Dag, tasks: int, edges: int, layers: int) -> None:
    assert (len(dag.tasks), dag.edges, len(dag.layers())) == (tasks, edges, layers)


def test_the_three_shapes_are_named_after_their_sizes() -> None:
    assert [dag.name for dag in all_shapes()] == ["fan 1→1000→1", "chain 200", "layered 1000/3000"]


@pytest.mark.parametrize("dag", all_shapes(), ids=lambda dag: dag.name)
def test_a_task_stands_after_all_that_it_reads_and_reads_each_once(dag: Dag) -> None:
    seen: set[str] = set()
    for task, reads in dag.tasks:
        assert task not in seen
        assert seen.issuperset(reads)
        assert len(set(reads)) == len(reads)
        seen.add(task)


@pytest.mark.parametrize("dag", all_shapes(), ids=lambda dag: dag.name)
def test_the_layers_hold_every_task_once_and_after_the_layers_of_its_inputs(dag: Dag) -> None:
    at = {task: n for n, layer in enumerate(dag.layers()) for task in layer}
    assert sorted(at) == sorted(task for task, _ in dag.tasks)
    assert sum(len(layer) for layer in dag.layers()) == len(dag.tasks)
    assert all(at[read] < at[task] for task, reads in dag.tasks for read in reads)


def test_the_readers_of_a_task_are_those_that_name_it() -> None:
    assert fan(2).readers() == {"T-1": ["T-2", "T-3"], "T-2": ["T-4"], "T-3": ["T-4"], "T-4": []}


def test_a_seed_makes_the_same_plan_each_time_and_another_seed_another() -> None:
    assert layered(seed=1) == layered(seed=1)
    assert layered(seed=1) != layered(seed=2)


def test_a_layered_plan_reads_only_the_layer_before() -> None:
    number = {task: n for n, (task, _) in enumerate(layered().tasks)}
    assert {number[task] // 100 - number[read] // 100 for task, reads in layered().tasks for read in reads} == {1}
