"""One run of a plan by an engine, seen from inside its tasks, and what several runs come to."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.load.dags import Dag
from tests.load.figures import percentile

LIMIT_S = 20.0
#: How long a run's end may be in coming once it is out of time.
GRACE_S = 10.0


class OutOfTime(Exception):
    """The run's limit has passed; what ran until then counts."""


class Run:
    """Notes when each task ran; refuses a second time, or before what it reads.

    Attributes:
        late: Whether it was stopped by its limit.
    """

    def __init__(self, dag: Dag, limit_s: float = LIMIT_S) -> None:
        """The clock starts with `begin`."""
        self.dag, self.limit_s, self.late = dag, limit_s, False
        self._reads = dict(dag.tasks)
        self._ran: dict[str, float] = {}
        self._began = self._ended = 0.0
        self._fault = ""
        # Engines run tasks on threads of their own.
        self._lock = threading.Lock()

    def begin(self) -> None:
        """The engine is open and warm: time counts from here."""
        self._began = time.perf_counter()

    def end(self, *, is_checked: bool = True) -> None:
        """The engine has said that the plan is done; `check` follows later where its tasks are not known yet.

        Raises RuntimeError as `check` does.
        """
        self._ended = time.perf_counter()
        if is_checked:
            self.check()

    def check(self) -> None:
        """Makes sure that the plan is done.

        Raises:
            RuntimeError: it is not, or a task was refused; an engine may have kept that to itself.
        """
        if self._fault:
            raise RuntimeError(self._fault)
        if not self.late and not self.done:
            raise RuntimeError(f"{self.dag.name}: ended after {len(self._ran)} of {len(self.dag.tasks)} tasks")

    @property
    def done(self) -> bool:
        """Whether every task has run."""
        return len(self._ran) == len(self.dag.tasks)

    def task(self, task: str) -> None:
        """The task itself: it does nothing.

        Raises:
            OutOfTime: the limit has passed.
            RuntimeError: it ran before, or what it reads did not.
        """
        with self._lock:
            now = time.perf_counter()
            if now - self._began > self.limit_s:
                self.late = True
                raise OutOfTime(self.dag.name)
            if task in self._ran or any(read not in self._ran for read in self._reads[task]):
                self._fault = f"{self.dag.name}: {task} ran twice or before its inputs"
                raise RuntimeError(self._fault)
            self._ran[task] = now

    def per_s(self) -> float:
        """Tasks a second, of those that ran."""
        return len(self._ran) / (self._ended - self._began)

    def share(self) -> str:
        """How far it came, "" for the whole plan."""
        if self.done:
            return ""
        return f"stopped after {self.limit_s:.0f} s, {len(self._ran):,} of {len(self.dag.tasks):,} tasks"

    def lags_ms(self) -> list[float]:
        """For each task with inputs, from the last of these to its own start."""
        return [
            (at - max(self._ran[read] for read in self._reads[task])) * 1000
            for task, at in self._ran.items()
            if self._reads[task]
        ]


@dataclass(frozen=True, slots=True)
class PeerFigure:
    """What several runs of one plan by one engine come to.

    Attributes:
        tasks_per_s: The median of the runs.
        slowest_per_s: The slowest run.
        fastest_per_s: The fastest one.
        lag_ms_p50: From the last input's run to a task's own; on the chain this is a step. The median run's.
        lag_ms_p99: The same, 99 of 100.
        note: The road that was taken, and how far it came.
    """

    tasks_per_s: float
    slowest_per_s: float
    fastest_per_s: float
    lag_ms_p50: float
    lag_ms_p99: float
    note: str


class Engine(Protocol):
    """A peer on a database of its own. `roads` are the ways in which it can run a plan; the best one counts."""

    def roads(self, dag: Dag) -> Sequence[str]:
        """Returns their names."""

    def open(self, dsn: str) -> None:
        """Makes its tables and connects; not timed."""

    def run(self, road: str, run: Run) -> None:
        """Runs the plan: `begin`, every task, `end`. Raises OutOfTime when a task did."""

    def close(self) -> None:
        """Ends threads and connections."""


def figure(road: str, runs: Sequence[Run]) -> PeerFigure:
    """Sums runs up; at least one."""
    ordered = sorted(runs, key=Run.per_s)
    rates = [run.per_s() for run in ordered]
    middle = ordered[(len(ordered) - 1) // 2]
    lags = middle.lags_ms() or [0.0]
    note = "; ".join(part for part in (road, middle.share()) if part)
    return PeerFigure(middle.per_s(), rates[0], rates[-1], percentile(lags, 0.5), percentile(lags, 0.99), note)
