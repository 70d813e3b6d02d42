"""plans, tasks_read and task_edges as a fold of the plans' streams: the shard's owner and a rebuild use the same.

`python -m haas_planner.projection plans` rebuilds them.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from haas_common.db import Scope
from haas_common.ids import shard_of
from haas_common.projections import Key, Past, Row, Shadow, step
from haas_planner.domain import LIVE, TERMINAL, TYPES, Plan, apply
from haas_planner.graph import order_key

PlanKey = tuple[str, str, str]
#: Folded plans that a rebuild keeps, counted in tasks; one that is asked for again is folded anew.
_TASKS_KEPT_MAX = 200_000


def wake_us(plan: Plan) -> int:
    """Returns when a plan goes on by itself: 0 at once, -1 only by a command."""
    if plan.state not in LIVE:
        return -1
    if plan.by_state.get("running") or plan.replanning or (plan.ready and plan.state != "paused"):
        return 0
    if plan.state == "running" and any(plan.unblocked.values()):
        return 0
    return plan.due_us() or -1


def plan_row(plan: Plan, last_seq: int, created_at: str, at: str) -> Row:
    """Returns a plan as it stands after an event."""
    return {
        "tenant_id": plan.tenant_id,
        "project_id": plan.project_id,
        "plan_id": plan.plan_id,
        "shard": shard_of(plan.tenant_id, plan.project_id, plan.plan_id),
        "state": plan.state,
        "objective": plan.objective,
        "intent": plan.intent,
        "language": plan.language,
        "brief_artifact_id": plan.brief_artifact_id,
        "profile_id": plan.profile_id,
        "profile_version": plan.profile_version,
        "revision": plan.revision,
        "tasks_total": len(plan.tasks),
        "tasks_by_state": plan.counts(),
        "failure": plan.failure,
        "last_seq": last_seq,
        "created_at": created_at,
        "updated_at": at,
        "wake_us": wake_us(plan),
    }


def task_row(plan: Plan, task_id: str, at: str) -> Row:
    """Returns a task as it stands after an event."""
    run = plan.tasks[task_id]
    return {
        "tenant_id": plan.tenant_id,
        "project_id": plan.project_id,
        "plan_id": plan.plan_id,
        "task_id": task_id,
        "status": run.state,
        "kind": run.task.kind,
        "skill": run.task.skill,
        "title": run.task.title,
        "owner_agent_id": run.task.owner_agent_id,
        "attempt": run.attempt,
        "artifact_ids": list(run.outputs.values()),
        "failure": run.failure,
        "order_key": order_key(task_id),
        "updated_at": at,
    }


def edge_rows(plan: Plan, task_id: str) -> list[Row]:
    """Returns the edges of a task's data, and for one of a sub-plan the edge to its leader."""
    run = plan.tasks[task_id]
    whole = {"tenant_id": plan.tenant_id, "project_id": plan.project_id, "plan_id": plan.plan_id}
    pairs = [(upstream, task_id) for upstream in run.task.depends_on()]
    if run.parent:
        pairs.append((task_id, run.parent))
    return [{**whole, "from_task": a, "to_task": b} for a, b in pairs]


@dataclasses.dataclass(slots=True)
class Changed:
    """What events change of a plan's rows, read off when all of them are folded."""

    plan: Plan
    created_at: str = ""
    last_seq: int = 0
    at: str = ""
    fresh: bool = False
    # Task to when it changed last; those that are new; those with another contract, with the edges of the one before.
    tasks: dict[str, str] = dataclasses.field(default_factory=dict)
    planned: dict[str, None] = dataclasses.field(default_factory=dict)
    revised: dict[str, list[Row]] = dataclasses.field(default_factory=dict)

    def fold(self, event: Past) -> None:
        """Takes an event of the plan."""
        if event.type == "TaskPlanned":
            if event.task_id not in self.plan.tasks:
                self.planned[event.task_id] = None
            elif event.task_id not in self.planned:
                self.revised.setdefault(event.task_id, []).extend(edge_rows(self.plan, event.task_id))
        elif event.type == "PlanCreated":
            self.created_at, self.fresh = event.at, True
        apply(self.plan, event)
        self.last_seq, self.at = event.seq, event.at
        if event.task_id:
            self.tasks[event.task_id] = event.at

    def plan_row(self) -> Row:
        """Returns the plan's row."""
        return plan_row(self.plan, self.last_seq, self.created_at or self.at, self.at)

    def task_rows(self) -> list[Row]:
        """Returns the rows of the tasks that changed."""
        return [task_row(self.plan, task_id, at) for task_id, at in self.tasks.items()]

    def edge_rows(self) -> list[Row]:
        """Returns the edges of the tasks that are new or have another contract."""
        return [edge for task_id in (*self.planned, *self.revised) for edge in edge_rows(self.plan, task_id)]

    def edges_gone(self) -> list[Key]:
        """Returns the keys of the edges of contracts that no longer hold; one may be among those that do."""
        names = ("tenant_id", "project_id", "plan_id", "from_task", "to_task")
        return [tuple(edge[name] for name in names) for edges in self.revised.values() for edge in edges]

    def clear(self) -> None:
        """Forgets what was written."""
        self.fresh = False
        self.tasks, self.planned, self.revised = {}, {}, {}


#: What keeps the fields of a line apart, and the lines.
FIELD, LINE = "\x1f", "\x1e"
_TASK_FIELDS = 8


@dataclasses.dataclass(slots=True)
class Rows:
    """The rows of a batch as its statement reads them; times and numbers are given where the batch is appended.

    Attributes:
        plans: each plan, with the place of its last event in the batch.
        tasks: tasks that are new or have another contract, or that no line can hold.
        edges: of these.
        revised: those of them that had another contract before, whose edges are no more.
        moved: lines of the tasks that there were before.
        fresh: whether there is more than lines can tell.
    """

    plans: list[Row] = dataclasses.field(default_factory=list)
    tasks: list[Row] = dataclasses.field(default_factory=list)
    edges: list[Row] = dataclasses.field(default_factory=list)
    revised: list[Row] = dataclasses.field(default_factory=list)
    moved: list[str] = dataclasses.field(default_factory=list)
    fresh: bool = False

    def take(
        self, plan: Plan, last: int, planned: Mapping[str, None], touched: Mapping[str, None], *, created: bool
    ) -> None:
        """Takes a plan's rows, as it stands with the batch's events folded and no later ones."""
        row = plan_row(plan, 0, "", "")
        self.plans.append({**row, "last": last})
        self.fresh = self.fresh or created or bool(planned) or not _fits(plan.failure)
        start = f"{plan.tenant_id}{FIELD}{plan.project_id}{FIELD}{plan.plan_id}{FIELD}"
        for task_id in touched:
            run = plan.tasks[task_id]
            if task_id in planned:
                task = task_row(plan, task_id, "")
                self.tasks.append(task)
                self.edges += edge_rows(plan, task_id)
                if run.revised:
                    self.revised.append(task)
                continue
            ids = ",".join(run.outputs.values()) if run.outputs else ""
            line = f"{start}{task_id}{FIELD}{run.state}{FIELD}{run.attempt}{FIELD}{ids}{FIELD}{run.failure}"
            if line.count(FIELD) == _TASK_FIELDS - 1 and LINE not in line and ids.count(",") < max(1, len(run.outputs)):
                self.moved.append(line)
            else:
                self.tasks.append(task_row(plan, task_id, ""))
                self.fresh = True

    def plan_lines(self) -> str:
        """Returns the plans where nothing is fresh."""
        return LINE.join(
            FIELD.join(
                (
                    row["tenant_id"], row["project_id"], row["plan_id"], row["state"], str(row["revision"]),
                    str(row["tasks_total"]), json.dumps(row["tasks_by_state"]), row["failure"], str(row["last"]),
                    str(row["wake_us"]),
                )
            )
            for row in self.plans
        )  # fmt: skip


def _fits(text: str) -> bool:
    return FIELD not in text and LINE not in text


class Plans:
    """The rebuild's fold (haas_common.projections.Projection)."""

    name = "plans"
    tables = ("plans", "tasks_read", "task_edges")
    types = TYPES
    #: Their payloads say nothing that a row shows: they are not even read.
    bare = (
        "PlanValidated", "TaskCancelled", "TaskSuperseded", "ErrorDetected", "PlanCompleted",
        "PlanCancelled", "ApprovalRequested", "BudgetExceeded",
    )  # fmt: skip
    left_out: Mapping[str, tuple[tuple[str, ...], ...]] = {
        "PlanCreated": (("slots",), ("goals",), ("inputs",)),
        "TaskPlanned": (("task", "params"),),
        "TaskCompleted": (("values",),),
    }
    by_day = ""
    cursor = ""

    def __init__(self) -> None:
        # Plans whose beginning was dropped from the history: their rows are the live ones.
        self._lost: set[PlanKey] = set()
        self._plans: dict[PlanKey, Changed] = {}
        self._changed: dict[PlanKey, None] = {}

    async def fold(self, events: Sequence[Past], shadow: Shadow) -> None:
        """See Projection.fold; a plan that is not in memory is folded anew from its stream."""
        plans, changed = self._plans, self._changed
        for event in events:
            key = (event.tenant_id, event.project_id, event.plan_id)
            known = plans.get(key)
            if known is None:
                known = await self._known(event, shadow) if key not in self._lost else None
                if known is None:
                    self._lost.add(key)
                    continue
                plans[key] = known
            known.fold(event)
            changed[key] = None

    async def _known(self, event: Past, shadow: Shadow) -> Changed | None:
        """Returns a plan as it stood before an event; None where the history no longer says."""
        found = Changed(Plan(event.tenant_id, event.project_id, event.plan_id))
        if event.version > 1:
            told = await shadow.stream(Scope(event.tenant_id, event.project_id), event.stream, event.version)
            if len(told) != event.version - 1:
                return None
            for earlier in told:
                found.fold(earlier)
            found.clear()
        return found

    async def flush(self, shadow: Shadow) -> None:
        """See Projection.flush."""
        changed = [self._plans[key] for key in self._changed]
        new_plans = [one.plan_row() for one in changed if one.fresh]
        await shadow.write("plans", new_plans, [one.plan_row() for one in changed if not one.fresh])
        rows = [(row["task_id"] in one.planned, row) for one in changed for row in one.task_rows()]
        await shadow.write("tasks_read", [row for new, row in rows if new], [row for new, row in rows if not new])
        edges = [edge for one in changed for edge in one.edge_rows()]
        await shadow.write("task_edges", edges, gone=[edge for one in changed for edge in one.edges_gone()])
        for one in changed:
            one.clear()
        self._changed = {}
        for key in [key for key, one in self._plans.items() if one.plan.state in TERMINAL]:
            del self._plans[key]
        if sum(len(one.plan.tasks) for one in self._plans.values()) > _TASKS_KEPT_MAX:
            self._plans = {}


def _key(plan: Plan) -> PlanKey:
    return (plan.tenant_id, plan.project_id, plan.plan_id)


PROJECTIONS: dict[str, Any] = {"plans": Plans}

if __name__ == "__main__":
    sys.exit(step.main(PROJECTIONS, sys.argv[1:]))
