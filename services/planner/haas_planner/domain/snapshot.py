"""A plan as bytes and back: what a long one is folded from, instead of its first event. Pure.

The form is that of the code that folds: a snapshot of another release is not read, its plan is folded from the start.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json

from haas_common import events
from haas_planner import graph
from haas_planner.domain import fold, state
from haas_planner.domain.state import Early, Plan, Spent, TaskRun
from haas_planner.graph import Input, Slot, Task, policy_from_json


def _form() -> str:
    sources = [Path(str(module.__file__)).read_bytes() for module in (fold, state, graph, events, events.plans)]
    return hashlib.sha256(b"".join([*sources, Path(__file__).read_bytes()])).hexdigest()


#: Of the code that writes and reads, and of that which brings old events to their newest form: its sources' SHA-256.
FORM = _form()


@cache
def _writer() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)


def dump(plan: Plan) -> bytes:
    """Returns a plan as JSON without what is as it was when it was planned: some 300 bytes and 3 µs a task."""
    return _writer().dump_json(plan, exclude_defaults=True, fallback=dict, warnings=False)


def load(data: bytes) -> Plan:
    """Returns the plan that `dump` of the same form was given."""
    told: dict[str, Any] = from_json(data)
    told["tasks"] = {
        task_id: TaskRun(_task(kept.pop("task")), **kept) for task_id, kept in told.get("tasks", {}).items()
    }
    told["inputs"] = tuple(Input(**kept) for kept in told.get("inputs", ()))
    told["signals"] = {name: [Early(*one) for one in kept] for name, kept in told.get("signals", {}).items()}
    told["joined"] = {group: tuple(counts) for group, counts in told.get("joined", {}).items()}
    for name in ("spent", "reserved"):
        told[name] = Spent(**told.get(name, {}))
    return Plan(**told)


def _task(kept: dict[str, Any]) -> Task:
    """Rebuilds a contract; nothing is validated: it was, before it was planned."""
    policy: Mapping[str, Any] = kept.pop("policy", {})
    reads, writes = (tuple(Slot(**slot) for slot in kept.pop(name)) for name in ("reads", "writes"))
    return Task(**kept, reads=reads, writes=writes, policy=policy_from_json(policy))
