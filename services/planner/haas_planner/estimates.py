"""What the rest of a plan is going to take: tokens, money and the time of its critical path. Pure."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from graphlib import TopologicalSorter

from haas_planner.graph import Policy, Task

#: How many of a list an estimate names.
NAMED_MAX = 200
#: Nobody knows what they are going to expand into.
_EXPANDING = frozenset({"leader", "map", "schedule"})
_BUDGET = ("tokens", "money_micros", "time_s")


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What an attempt of a skill or a tool takes on average."""

    seconds: float
    tokens: float = 0.0
    money_micros: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What something takes: `seconds` when all that can be done at once is, `work_seconds` added up."""

    tokens: int = 0
    money_micros: int = 0
    seconds: float = 0.0
    work_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """What the tasks that are not over are going to take.

    Attributes:
        expected: by what was measured, else by what is reserved and allowed for one attempt; a signal or a person
            counts as if it came at once.
        at_most: with every attempt that is allowed, each up to its limit.
        spent: what the plan used up already.
        critical_path: the tasks that `expected.seconds` is made of.
        tasks: how many are not over.
        measured: how many of them are estimated by measured results.
        open_ended: tasks that add to this what nobody knows yet.
        budget: what it was compared with; a limit that is not there is not in it.
        exceeds: what of the budget `spent` and `expected` together exceed.
        may_exceed: the same for `spent` and `at_most`.
    """

    expected: Cost
    at_most: Cost
    spent: Cost
    critical_path: tuple[str, ...]
    tasks: int
    measured: int
    open_ended: tuple[str, ...]
    budget: Mapping[str, int]
    exceeds: tuple[str, ...]
    may_exceed: tuple[str, ...]


def estimate(
    tasks: Sequence[Task],
    measured: Mapping[str, Measured],
    budget: Mapping[str, int],
    now: datetime,
    *,
    spent: Cost = Cost(),
    expanded: Iterable[str] = (),
) -> Estimate:
    """Estimates tasks whose graph has no cycle.

    Args:
        tasks: those that are not over; what they read from others is there.
        measured: results of before, by skill or tool.
        budget: limits by name.
        now: for waits until a time of the day.
        spent: what the plan used up already.
        expanded: those of the tasks whose sub-plans are among the tasks.
    """
    known = frozenset(expanded)
    expected = {t.task_id: _expected(t, measured, now, known) for t in tasks}
    at_most = {t.task_id: _at_most(t, measured, now, known) for t in tasks}
    edges = _edges(tasks)
    likely_s, path = _longest(edges, {task_id: cost.work_seconds for task_id, cost in expected.items()})
    longest_s, _ = _longest(edges, {task_id: cost.work_seconds for task_id, cost in at_most.items()})
    likely, most = _total(expected.values(), likely_s), _total(at_most.values(), longest_s)
    limits = {name: budget[name] for name in _BUDGET if budget.get(name)}
    open_ended = [t.task_id for t in tasks if _is_open_ended(t, known)]
    return Estimate(
        likely,
        most,
        spent,
        tuple(path[:NAMED_MAX]),
        len(tasks),
        sum(t.skill in measured for t in tasks),
        tuple(open_ended[:NAMED_MAX]),
        limits,
        _over(limits, spent, likely),
        _over(limits, spent, most),
    )


# ── A task ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _expected(task: Task, measured: Mapping[str, Measured], now: datetime, expanded: frozenset[str]) -> Cost:
    if task.kind in ("wait", "approval", "schedule"):
        return Cost(work_seconds=_waits_s(task, now)[0])
    found, phases = measured.get(task.skill), _phases(task, expanded)
    if found is None:
        policy = task.policy
        return Cost(policy.tokens_max, policy.money_micros_max, 0.0, float(task.attempt_limit_s * phases))
    return Cost(round(found.tokens), round(found.money_micros), 0.0, found.seconds * phases)


def _at_most(task: Task, measured: Mapping[str, Measured], now: datetime, expanded: frozenset[str]) -> Cost:
    if task.kind in ("wait", "approval", "schedule"):
        return Cost(work_seconds=_waits_s(task, now)[1])
    found, policy, tries = measured.get(task.skill), task.policy, task.attempts_max
    seconds = task.attempt_limit_s * tries * _phases(task, expanded) + _pauses_s(policy, tries)
    if policy.schedule_to_close_s:
        seconds = min(seconds, policy.schedule_to_close_s)
    # Without a limit of its own an attempt may use any number; what was measured is the best that is known.
    tokens = policy.tokens_max or (found.tokens if found else 0)
    money = policy.money_micros_max or (found.money_micros if found else 0)
    return Cost(round(tokens * tries), round(money * tries), 0.0, float(seconds))


def _phases(task: Task, expanded: frozenset[str]) -> int:
    """A leader works twice: it expands, and it reports."""
    return 2 if task.kind == "leader" and task.task_id not in expanded else 1


def _pauses_s(policy: Policy, tries: int) -> float:
    """What all retries of a task wait, at most."""
    total, pause = 0.0, min(policy.backoff_s, policy.backoff_max_s)
    for _ in range(tries - 1):
        total += pause
        pause = min(pause * policy.backoff_factor, policy.backoff_max_s)
    return total


def _waits_s(task: Task, now: datetime) -> tuple[float, float]:
    """How long a task without attempts is expected to wait, and how long at most; nothing for what has no end."""
    control = task.control
    if "for_s" in control:
        return float(control["for_s"]), float(control["for_s"])
    if task.kind == "wait" and "until" in control:
        left_s = max(0.0, (datetime.fromisoformat(control["until"]) - now).total_seconds())
        return left_s, left_s
    if task.kind == "approval":
        return 0.0, float(control.get("expires_s", 0))
    return 0.0, float(control.get("timeout_s", 0))


def _is_open_ended(task: Task, expanded: frozenset[str]) -> bool:
    if task.kind == "schedule":
        return True
    if task.kind in _EXPANDING:
        return task.task_id not in expanded
    return task.kind == "wait" and "signal" in task.control and not task.control.get("timeout_s")


# ── All of them ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _total(costs: Iterable[Cost], seconds: float) -> Cost:
    found = list(costs)
    return Cost(
        sum(c.tokens for c in found),
        sum(c.money_micros for c in found),
        round(seconds, 3),
        round(sum(c.work_seconds for c in found), 3),
    )


def _edges(tasks: Sequence[Task]) -> dict[str, list[str]]:
    """Returns what each task waits for: what it reads from, its sub-plan, and what the task above it waits for."""
    there = {t.task_id for t in tasks}
    edges = {t.task_id: [up for up in t.depends_on() if up in there] for t in tasks}
    reads = {task_id: list(found) for task_id, found in edges.items()}
    for task_id in reads:
        parent = task_id.rpartition(".")[0]
        if parent in there:
            edges[parent].append(task_id)
        while parent in there:
            edges[task_id] += reads[parent]
            parent = parent.rpartition(".")[0]
    return edges


def _longest(edges: Mapping[str, Sequence[str]], seconds: Mapping[str, float]) -> tuple[float, list[str]]:
    """Returns the length of the longest path, and the path."""
    ends: dict[str, float] = {}
    came_from: dict[str, str] = {}
    for task_id in TopologicalSorter(edges).static_order():
        last = max(edges[task_id], key=ends.__getitem__, default="")
        came_from[task_id] = last
        ends[task_id] = seconds[task_id] + (ends[last] if last else 0.0)
    if not ends:
        return 0.0, []
    at = max(ends, key=ends.__getitem__)
    length, path = ends[at], []
    while at:
        path.append(at)
        at = came_from[at]
    return length, path[::-1]


def _over(limits: Mapping[str, int], spent: Cost, more: Cost) -> tuple[str, ...]:
    used = {
        "tokens": spent.tokens + more.tokens,
        "money_micros": spent.money_micros + more.money_micros,
        "time_s": spent.seconds + more.seconds,
    }
    return tuple(name for name in _BUDGET if name in limits and used[name] > limits[name])
