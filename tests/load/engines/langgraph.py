"""LangGraph with its checkpoints in PostgreSQL, each step's kept before the next (durability "sync")."""

import importlib
import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import psycopg
from psycopg.rows import dict_row

from tests.load.dags import Dag
from tests.load.engines.runs import Run

# A join's channel is named after all that it waits for, and the name is in the saver's primary key: PostgreSQL refuses
# that of the fan's last task (an index row of 3,280 bytes of at most 2,704).
_JOINED_MAX = 100


class State(TypedDict):
    """How many tasks have run: the least that a node can write."""

    ran: Annotated[int, operator.add]


class Langgraph:
    """It keeps no queue: a graph runs in the process that invokes it."""

    def __init__(self) -> None:
        """Loads the packages, nothing else."""
        self._graphs: Any = importlib.import_module("langgraph.graph")
        self._send: Any = importlib.import_module("langgraph.types").Send
        self._savers: Any = importlib.import_module("langgraph.checkpoint.postgres")
        self._connection: Any = None

    def roads(self, dag: Dag) -> Sequence[str]:
        """The plan as a graph of nodes, or fewer nodes that run many times."""
        if max(len(layer) for layer in dag.layers()) == 1:
            return ("a node a task", "one node in a loop")
        joined = max(len(reads) for _, reads in dag.tasks)
        return ("sends a layer",) if joined > _JOINED_MAX else ("a node a task", "sends a layer")

    def open(self, dsn: str) -> None:
        """Connects as the saver's own `from_conn_string` does, and makes its tables."""
        self._connection = psycopg.connect(dsn, autocommit=True, prepare_threshold=0, row_factory=dict_row)
        self._savers.PostgresSaver(self._connection).setup()

    def run(self, road: str, run: Run) -> None:
        """Building and compiling the graph is not counted."""
        build = {
            "a node a task": self._declared, "sends a layer": self._sent, "one node in a loop": self._looped
        }[road]  # fmt: skip
        graph = build(run).compile(checkpointer=self._savers.PostgresSaver(self._connection))
        config = {"configurable": {"thread_id": "bench"}, "recursion_limit": 2 * len(run.dag.tasks) + 10}
        run.begin()
        graph.invoke({"ran": 0}, config, durability="sync")
        run.end()

    def close(self) -> None:
        """Disconnects."""
        self._connection.close()

    def _declared(self, run: Run) -> Any:
        graph = self._graphs.StateGraph(State)
        readers = run.dag.readers()
        for task, reads in run.dag.tasks:
            graph.add_node(task, _node(run, task))
            # A list waits for all of them.
            graph.add_edge(list(reads) if len(reads) > 1 else reads[0] if reads else self._graphs.START, task)
            if not readers[task]:
                graph.add_edge(task, self._graphs.END)
        return graph

    def _sent(self, run: Run) -> Any:
        layers = run.dag.layers()
        starts = [0]
        for layer in layers:
            starts.append(starts[-1] + len(layer))
        at = dict(zip(starts, [*layers, []], strict=True))

        def task(given: dict[str, str]) -> State:
            run.task(given["task"])
            return {"ran": 1}

        def following(state: State) -> Any:
            return [self._send("task", {"task": name}) for name in at[state["ran"]]] or self._graphs.END

        graph = self._graphs.StateGraph(State)
        graph.add_node("layer", lambda state: {"ran": 0})
        graph.add_node("task", task)
        graph.add_edge(self._graphs.START, "layer")
        graph.add_conditional_edges("layer", following, ["task", self._graphs.END])
        graph.add_edge("task", "layer")
        return graph

    def _looped(self, run: Run) -> Any:
        names = [name for name, _ in run.dag.tasks]

        def task(state: State) -> State:
            run.task(names[state["ran"]])
            return {"ran": 1}

        graph = self._graphs.StateGraph(State)
        graph.add_node("task", task)
        graph.add_edge(self._graphs.START, "task")
        graph.add_conditional_edges(
            "task", lambda state: "task" if state["ran"] < len(names) else self._graphs.END, ["task", self._graphs.END]
        )
        return graph


def _node(run: Run, task: str) -> Any:
    def node(_state: State) -> State:
        run.task(task)
        return {"ran": 1}

    return node


ENGINE = Langgraph
