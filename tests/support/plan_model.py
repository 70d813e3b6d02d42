"""What must hold of any plan, told without the engine's fold: a model of its history, a recount of its state."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from haas_planner.domain import Event, Plan, TaskRun

OPEN = ("ready", "running", "expanded", "waiting")
OVER = ("completed", "skipped")
ENDED = ("completed", "failed", "cancelled")
#: From which states an event may take a task.
MOVES: Mapping[str, tuple[str, ...]] = {
    "TaskReady": ("planned", "retrying", "expanded", "waiting"),
    "TaskStarted": ("ready",),
    "TaskExpanded": ("running", "waiting"),
    "TaskWaiting": ("planned", "waiting"),
    "TaskCompleted": ("running", "waiting", "planned"),
    "TaskRetryScheduled": ("running",),
    "TaskFailed": ("running", "waiting", "ready", "expanded"),
    "TaskSkipped": ("planned", "ready", "running", "waiting", "expanded", "failed", "cancelled"),
    "TaskReset": ("ready", "running", "waiting", "expanded", "completed", "skipped", "failed", "cancelled"),
    "TaskCancelled": ("planned", "ready", "running", "waiting", "expanded"),
    "TaskSuperseded": (
        "planned",
        "ready",
        "running",
        "waiting",
        "expanded",
        "completed",
        "skipped",
        "failed",
        "cancelled",
    ),
}
INTO = {
    "TaskReady": "ready", "TaskStarted": "running", "TaskExpanded": "expanded", "TaskWaiting": "waiting",
    "TaskCompleted": "completed", "TaskRetryScheduled": "retrying", "TaskFailed": "failed", "TaskSkipped": "skipped",
    "TaskReset": "planned", "TaskCancelled": "cancelled", "TaskSuperseded": "superseded",
}  # fmt: skip


class Broken(AssertionError):
    """Something that must always hold does not."""


@dataclasses.dataclass
class Known:
    """What the model knows of a task."""

    task: Mapping[str, Any]
    parent: str
    compensates: str
    state: str = "planned"
    attempt: int = 0
    done: int = 0
    # What a person gave in place of its values when it was left out.
    given: frozenset[str] = frozenset()


class Watch:
    """Follows a plan's history and objects to what must not happen."""

    def __init__(self) -> None:
        self.state = ""
        self.tasks: dict[str, Known] = {}
        self.budget: Mapping[str, int] = {}
        self.spent: collections.Counter[str] = collections.Counter()
        self.started: set[tuple[str, int]] = set()
        self.replanning: set[str] = set()
        self.validated = False
        self.repairs_left = 0

    def see(self, event: Event) -> None:
        """Takes the next event."""
        kind, payload = event.type, event.payload
        if self.state in ENDED and kind != "PlanReopened":
            raise Broken(f"{kind} after the plan was {self.state}")
        if kind == "TaskPlanned":
            self._planned(event.task_id, payload)
        elif kind in MOVES:
            self._move(event)
        elif kind == "PlanCreated":
            self.state, self.budget = "created", payload.get("budget") or {}
            self.repairs_left = payload.get("repairs_max", 0)
        elif kind in ("PlanStarted", "PlanResumed", "PlanReopened"):
            self.state = "running"
            self.budget = payload.get("budget") or self.budget
        elif kind == "PlanValidated":
            self.validated = True
        elif kind == "ReplanRequired":
            self.replanning.add(payload["failed_task"])
        elif kind == "PlanReplanned":
            self._repaired(payload["failed_task"])
        elif kind in ("PlanPaused", "CompensationStarted"):
            self.state = "paused" if kind == "PlanPaused" else "compensating"
        elif kind in ("PlanCompleted", "PlanFailed", "PlanCancelled"):
            self._ended(kind)

    def _repaired(self, failed: str) -> None:
        self.repairs_left -= bool(failed)
        if self.repairs_left < 0:
            raise Broken(f"{failed} was planned anew once too often")

    def _planned(self, task_id: str, payload: Mapping[str, Any]) -> None:
        known = self.tasks.get(task_id)
        if known is None:
            self.tasks[task_id] = Known(payload["task"], payload["parent"], payload.get("compensates", ""))
            return
        if known.state in ("running", "completed", "expanded") and not known.compensates:
            raise Broken(f"{task_id} got another contract while it was {known.state}")
        known.task, known.state = payload["task"], "planned"

    def _move(self, event: Event) -> None:
        task_id, known, payload = event.task_id, self.tasks[event.task_id], event.payload
        if known.state not in MOVES[event.type]:
            raise Broken(f"{event.type} of {task_id} while it was {known.state}")
        if known.state == "running" and event.type in (
            "TaskCompleted",
            "TaskExpanded",
            "TaskRetryScheduled",
            "TaskFailed",
        ):
            self._same_attempt(task_id, known, payload)
        if payload.get("usage"):
            self.spent.update({k: v for k, v in payload["usage"].items() if k != "duration_ms"})
        if event.type == "TaskStarted":
            self._started(task_id, known, payload)
        elif event.type == "TaskCompleted":
            self._completed(task_id, known, payload)
        elif event.type == "TaskSkipped":
            known.given = frozenset({*payload.get("outputs", ()), *payload.get("values", ())})
        elif event.type in ("TaskWaiting", "TaskReady") and known.state == "planned":
            self._inputs_are_there(task_id, known)
            if event.type == "TaskReady" and self.state == "paused" and not known.compensates:
                raise Broken(f"{task_id} became ready while the plan was paused")
        if event.type == "TaskReady" and known.state == "expanded" and payload.get("phase") == "report":
            self._collects(task_id, known)
        known.state = payload.get("state", "planned") if event.type == "TaskReset" else INTO[event.type]
        if known.state == "ready" or event.type == "TaskExpanded":
            self._within_limit(known.parent)

    def _same_attempt(self, task_id: str, known: Known, payload: Mapping[str, Any]) -> None:
        if payload["attempt"] != known.attempt:
            raise Broken(f"{task_id}: attempt {payload['attempt']} ended while {known.attempt} was under way")

    def _started(self, task_id: str, known: Known, payload: Mapping[str, Any]) -> None:
        if self.state not in ("running", "compensating"):
            raise Broken(f"{task_id} started while the plan was {self.state}")
        if payload["attempt"] != known.attempt + 1:
            raise Broken(f"{task_id}: attempt {payload['attempt']} after {known.attempt}")
        if payload.get("phase", "run") == "run":
            self._inputs_are_there(task_id, known)
        known.attempt = payload["attempt"]
        self.started.add((task_id, known.attempt))
        self._within_budget(task_id)

    def _within_budget(self, starting: str) -> None:
        if self.state != "running":
            return
        for which, field in (("tokens", "tokens_max"), ("money_micros", "money_micros_max")):
            limit = self.budget.get(which, 0)
            under_way = [k for t, k in self.tasks.items() if k.state == "running" or t == starting]
            reserved = sum(k.task.get("policy", {}).get(field, 0) for k in under_way)
            if limit and self.spent[which] + reserved > limit:
                raise Broken(f"{starting} started beyond the budget of {which}")

    def _within_limit(self, parent_id: str) -> None:
        parent = self.tasks.get(parent_id)
        if parent is None or parent.task["kind"] != "map":
            return
        taking = sum(k.state in OPEN or k.state == "retrying" for k in self.tasks.values() if k.parent == parent_id)
        if taking > parent.task["control"]["limit"]:
            raise Broken(f"{taking} tasks of {parent_id} at once")

    def _inputs_are_there(self, task_id: str, known: Known) -> None:
        for name, _, source in known.task["reads"]:
            if not source or known.compensates == source:
                continue
            upstream = self.tasks[source]
            if upstream.state not in OVER or (upstream.state == "skipped" and name not in upstream.given):
                raise Broken(f"{task_id} went on before {source} was there")
        parent = self.tasks.get(known.parent)
        if parent is not None and parent.state not in ("expanded", "waiting"):
            raise Broken(f"{task_id} went on while {known.parent} was {parent.state}")

    def _collects(self, task_id: str, known: Known) -> None:
        """What expanded collects once enough of its tasks are complete; a map's join says how many that is."""
        below = [k for k in self.tasks.values() if k.parent == task_id and k.state != "superseded"]
        complete, needed = sum(k.state == "completed" for k in below), 0
        if known.task["kind"] == "map":
            control = known.task["control"]
            needed = {"all": len(below), "any": 1, "quorum": control["quorum"]}[control["join"]]
        elif any(k.state in (*OPEN, "planned", "retrying") for k in below):
            raise Broken(f"{task_id} reports before its tasks are over")
        if complete < min(needed, len(below)):
            raise Broken(f"{task_id} reports with {complete} of {needed} tasks complete")

    def _completed(self, task_id: str, known: Known, payload: Mapping[str, Any]) -> None:
        if known.state == "planned" and self.validated:
            self._done_at_once(task_id, known, payload)
        known.done += 1

    def _done_at_once(self, task_id: str, known: Known, payload: Mapping[str, Any]) -> None:
        """Only a transform of values that is bound by no limit is done without having begun, and only while it may."""
        policy = known.task.get("policy", {})
        limited = policy.get("tokens_max") or policy.get("money_micros_max") or policy.get("concurrency_key")
        if known.task["kind"] != "transform" or limited or self.state != "running":
            raise Broken(f"{task_id} was completed without having begun")
        self._inputs_are_there(task_id, known)
        if payload["attempt"] != known.attempt:
            raise Broken(f"{task_id}: it had no attempt {payload['attempt']}")
        if list(payload["values"].values()) != [len(known.task["reads"])]:
            raise Broken(f"{task_id} gave {payload['values']}")

    def _ended(self, kind: str) -> None:
        self.state = {"PlanCompleted": "completed", "PlanFailed": "failed", "PlanCancelled": "cancelled"}[kind]
        left = [t for t, k in self.tasks.items() if k.state in (*OPEN, "planned", "retrying")]
        if left:
            raise Broken(f"{kind}, and {left[0]} is {self.tasks[left[0]].state}")
        tolerated = ("completed", "skipped", "superseded", "failed", "cancelled")
        odd = [t for t, k in self.tasks.items() if k.state not in tolerated]
        if odd:
            raise Broken(f"{kind}, and {odd[0]} is {self.tasks[odd[0]].state}")


# ── The state, counted anew ──────────────────────────────────────────────────────────────────────────────────────────


def group_of(plan: Plan, run: TaskRun) -> str:
    """Returns the map that a task is under."""
    return run.parent if run.parent and plan.tasks[run.parent].task.kind == "map" else ""


def over(plan: Plan, run: TaskRun) -> bool:
    """Tells whether nothing more comes of a task."""
    if run.state == "failed":
        group = group_of(plan, run)
        some = bool(group) and plan.tasks[group].task.control.get("join", "all") != "all"
        return run.task.policy.on_failure == "continue" or some
    return run.state in ("completed", "skipped", "superseded") or (run.state == "cancelled" and run.parent != "")


def recount(plan: Plan) -> dict[str, Any]:
    """Returns every count and index of a plan, from its tasks alone."""
    runs = plan.tasks
    joined: dict[str, list[int]] = {}
    for run in runs.values():
        if group := group_of(plan, run):
            kept = joined.setdefault(group, [0, 0, 0])
            kept[0] += run.state == "completed"
            kept[1] += run.state in ("failed", "skipped")
            kept[2] += run.state == "superseded"
    unmet = {
        t: sum(runs[up].state not in OVER for up in run.task.depends_on()) for t, run in runs.items()
    }  # fmt: skip
    unblocked = {
        (group_of(plan, run), t) for t, run in runs.items()
        if run.state == "planned" and not run.compensates and unmet[t] == 0
        and (not run.parent or runs[run.parent].state == "expanded" or runs[run.parent].task.kind == "schedule")
    }  # fmt: skip
    left = [run for run in runs.values() if not run.compensates and not over(plan, run)]
    return {
        "by_state": dict(collections.Counter(run.state for run in runs.values())),
        "ready": {t for t, run in runs.items() if run.state == "ready"},
        "unblocked": unblocked,
        "open_in": dict(collections.Counter(g for r in runs.values() if r.state in OPEN and (g := group_of(plan, r)))),
        "incomplete": dict(collections.Counter([*([""] * len(left)), *(r.parent for r in left if r.parent)])),
        "joined": {group: tuple(kept) for group, kept in joined.items() if any(kept)},
        "timers": {t: due for t, run in runs.items() if (due := due_of(run))},
        "reserved": tuple(
            sum(getattr(r.task.policy, name) for r in runs.values() if r.state == "running")
            for name in ("tokens_max", "money_micros_max")
        ),
        "unmet": unmet,
    }


def due_of(run: TaskRun) -> int:
    """Returns when something is due for a task."""
    times = [run.deadline_us] if run.state in OPEN else []
    if run.state == "ready":
        times.append(run.not_before_us)
    if run.state == "waiting":
        times.append(run.until_us)
        after = run.task.control.get("remind_s", ()) if run.task.kind == "approval" else ()
        if run.occurrence < len(after):
            asked_us = run.until_us - run.task.control["expires_s"] * 1_000_000
            times.append(asked_us + after[run.occurrence] * 1_000_000)
    return min((t for t in times if t), default=0)


def counted(plan: Plan) -> dict[str, Any]:
    """Returns the same as the plan itself says it."""
    return {
        "by_state": plan.counts(),
        "ready": set(plan.ready),
        "unblocked": {(group, t) for group, waiting in plan.unblocked.items() for t in waiting},
        "open_in": {group: n for group, n in plan.open_in.items() if n},
        "incomplete": {whole: n for whole, n in plan.incomplete.items() if n},
        "joined": {group: kept for group, kept in plan.joined.items() if any(kept)},
        "timers": dict(plan.timers),
        "reserved": (plan.reserved.tokens, plan.reserved.money_micros),
        "unmet": {t: run.unmet for t, run in plan.tasks.items()},
    }


def check_counts(plan: Plan) -> None:
    """Objects to a count that its tasks do not bear out."""
    wanted, said = recount(plan), counted(plan)
    for name, value in wanted.items():
        if said[name] != value:
            raise Broken(f"{name}: {_difference(said[name], value)}")


def _difference(said: Any, wanted: Any) -> str:
    if isinstance(said, dict):
        odd = [k for k in {**said, **wanted} if said.get(k) != wanted.get(k)]
        return ", ".join(f"{k} is {said.get(k)}, counted {wanted.get(k)}" for k in odd)
    return (
        f"{said} is counted {wanted}"
        if isinstance(said, Sequence)
        else f"{said - wanted} too many, {wanted - said} too few"
    )
