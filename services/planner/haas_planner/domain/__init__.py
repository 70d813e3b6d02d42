"""The DAG engine's rules, without a clock, chance or I/O: a plan is the fold of its events (design 1, 2).

`fold` makes a plan of its events; `commands` and `steps` decide: they check, emit events and fold each as it is
emitted, so that what is decided is what a replay gives.
"""

from haas_planner.domain.commands import approve, cancel, create, pause, replan, rerun, resume, retry, run, signal, skip
from haas_planner.domain.fold import TYPES, apply
from haas_planner.domain.relations import ancestors, descendants
from haas_planner.domain.state import LIVE, TERMINAL, Event, Plan, Refused, TaskRun, Told
from haas_planner.domain.steps import (
    Failure,
    Proposal,
    advance,
    can_advance,
    complete,
    expand,
    fail,
    replanned,
    start,
    tick,
    unrepaired,
)
from haas_planner.graph import task_from_json, task_to_json

__all__ = [
    "LIVE",
    "TERMINAL",
    "TYPES",
    "Event",
    "Failure",
    "Plan",
    "Proposal",
    "Refused",
    "TaskRun",
    "Told",
    "advance",
    "ancestors",
    "apply",
    "approve",
    "can_advance",
    "cancel",
    "complete",
    "create",
    "descendants",
    "expand",
    "fail",
    "pause",
    "replan",
    "replanned",
    "rerun",
    "resume",
    "retry",
    "run",
    "signal",
    "skip",
    "start",
    "task_from_json",
    "task_to_json",
    "tick",
    "unrepaired",
]  # fmt: skip
