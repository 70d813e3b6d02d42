"""What decisions are made of: events emitted and folded at once, and what follows when a task is over."""

import collections
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from haas_planner.domain import inline, reports
from haas_planner.domain.fold import apply
from haas_planner.domain.relations import descendants
from haas_planner.domain.state import OPEN, TERMINAL, Event, Plan, TaskRun, early_for, is_over, map_of, undo_order
from haas_planner.domain.templates import child_of, instant_us, join_needs, schedule_next, undoing_of, wait_until
from haas_planner.graph import WAITING, Task, task_to_json

#: How many of a list an event names.
NAMED_MAX = 200
#: How many tasks one decision makes ready; the rest follow with the next batches (haas_planner.worker).
READY_MAX = 64
_US = 1_000_000


class Decision:
    """The events that one input leads to, each folded as it is emitted.

    What is decided is what a replay gives. A plan whose events did not reach the log is thrown away and folded anew,
    never mended.
    """

    def __init__(self, plan: Plan, now_us: int, actor: str = "planner", ready_max: int = READY_MAX) -> None:
        self.plan = plan
        self.now_us = now_us
        self.events: list[Event] = []
        self._actor = actor
        self._ready_max = ready_max
        # Where to go on making tasks ready: each a group and, unless all of it, which of its tasks.
        self._due: collections.deque[tuple[str, Iterable[str] | None]] = collections.deque()
        self._is_advancing = False

    def emit(self, type_: str, task_id: str = "", actor: str = "", **payload: Any) -> None:
        """Adds an event and folds it."""
        event = Event(type_, payload, task_id, actor or self._actor)
        apply(self.plan, event)
        self.events.append(event)

    def plan_task(self, task: Task, parent: str = "", compensates: str = "") -> None:
        """Adds a task to the plan, or gives it another contract."""
        more = {"compensates": compensates} if compensates else {}
        self.emit("TaskPlanned", task.task_id, task=task_to_json(task), parent=parent, **more)

    # ── What waits for nothing becomes ready ─────────────────────────────────────────────────────────────────────────

    def advance(self) -> None:
        """Makes tasks ready that wait for nothing, as far as a map's limit and this decision's bound allow."""
        if self.plan.state == "running":
            for group in list(self.plan.unblocked):
                self._advance(group, None)

    def _advance(self, group: str, only: Iterable[str] | None) -> None:
        """The same for the tasks under one map ("" for all others), or for some of them.

        What is done as it is released has dependents of its own: they follow, one after another and not within.
        """
        self._due.append((group, only))
        if self._is_advancing:
            return
        self._is_advancing = True
        while self._due:
            self._make_ready(*self._due.popleft())
        self._is_advancing = False

    def _make_ready(self, group: str, only: Iterable[str] | None) -> None:
        plan = self.plan
        waiting = plan.unblocked.get(group)
        if plan.state != "running" or not waiting:
            return
        room = self._ready_max
        if group:
            room = min(room, int(plan.tasks[group].task.control.get("limit", 10)) - plan.open_in.get(group, 0))
        candidates = (t for t in only if t in waiting) if only is not None else iter(waiting)
        for task_id in list(itertools.islice(candidates, max(0, room))):
            if task_id in waiting and plan.state == "running":
                self._ready_max -= 1
                self.release(task_id)

    def release(self, task_id: str) -> None:
        """Makes a task ready, lets it wait for what it waits for, or does it."""
        run = self.plan.tasks[task_id]
        task = run.task
        values = inline.values_of(self.plan, run)
        if values is not None:
            self.emit("TaskCompleted", task_id, run.doer(), attempt=run.attempt, outputs={}, values=values)
            self.settled(task_id)
            return
        deadline = {}
        if task.policy.schedule_to_close_s:
            deadline = {"deadline_us": self.now_us + task.policy.schedule_to_close_s * _US}
        if task.kind not in WAITING:
            self.emit("TaskReady", task_id, **deadline)
            return
        control = task.control
        if task.kind == "approval":
            until_us = self.now_us + int(control["expires_s"]) * _US
            self.emit("ApprovalRequested", task_id, role=control["role"], text=control["text"], expires_us=until_us)
            self.emit("TaskWaiting", task_id, until_us=until_us)
        elif task.kind == "schedule":
            self.emit("TaskWaiting", task_id, until_us=schedule_next(task, self.now_us))
        else:
            self._wait(task_id, control)

    def _wait(self, task_id: str, control: Mapping[str, Any]) -> None:
        name = control.get("signal", "")
        until_us = wait_until(control, self.now_us)
        self.emit("TaskWaiting", task_id, until_us=until_us, **({"signal": name} if name else {}))
        early = early_for(self.plan, name, task_id)
        if early is not None:
            # Its event takes it out of the list.
            self.emit("SignalReceived", task_id, name=name, value=early.value)
            self.finish_waiting(task_id, early.value)

    def finish_waiting(self, task_id: str, value: Mapping[str, Any]) -> None:
        """Ends a wait well: with the value itself, or with an attempt that writes its artifact."""
        run = self.plan.tasks[task_id]
        if not run.task.only_values():
            self.emit("TaskReady", task_id, phase="report")
            return
        values = {slot.name: dict(value) for slot in run.task.writes}
        self.emit("TaskCompleted", task_id, attempt=run.attempt, outputs={}, values=values)
        self.settled(task_id)

    # ── What follows when a task is over ─────────────────────────────────────────────────────────────────────────────

    def settled(self, task_id: str) -> None:
        """Goes on from a task that is over: its dependents, the task above it, the plan."""
        plan, run = self.plan, self.plan.tasks[task_id]
        if plan.state == "compensating":
            self.undo_next()
            return
        self._close_parent(run)
        self._close_plan()
        self._advance("", plan.dependents.get(task_id, ()))
        self._advance(map_of(plan, run), None if run.parent else ())

    def _close_parent(self, run: TaskRun) -> None:
        plan, parent_id = self.plan, run.parent
        parent = plan.tasks.get(parent_id)
        if parent is None or parent.state not in ("expanded", "waiting"):
            return
        if parent.task.kind == "schedule":
            self._schedule_goes_on(parent)
            return
        if parent.task.kind == "map":
            self._join(parent)
            return
        if plan.incomplete.get(parent_id, 0) == 0:
            self.emit("TaskReady", parent_id, phase="report")

    def collect(self, task_id: str) -> None:
        """Goes on with what was put back to its tasks, where none of those is still to come."""
        run = self.plan.tasks[task_id]
        if run.state != "expanded" or self.plan.incomplete.get(task_id, 0) > 0:
            return
        if run.task.kind == "map":
            self._join(run)
        else:
            self.emit("TaskReady", task_id, phase="report")

    def _join(self, run: TaskRun) -> None:
        """A map ends when enough of its tasks are complete, and fails when too many never will be."""
        plan, map_id = self.plan, run.task.task_id
        completed, lost, gone = plan.joined.get(map_id, (0, 0, 0))
        total = len(plan.children.get(map_id, ())) - gone
        needed = join_needs(run.task.control, total)
        if completed >= needed:
            self.cancel_children(map_id)
            self.emit("TaskReady", map_id, phase="report")
        elif total - lost < needed and plan.tasks[map_id].state == "expanded":
            self.cancel_children(map_id)
            message = f"{lost} of {total} failed, and {needed} have to end well"
            self.fail_for_good(map_id, "QUORUM_UNREACHABLE", message)

    def _schedule_goes_on(self, run: TaskRun) -> None:
        plan, task_id = self.plan, run.task.task_id
        if plan.incomplete.get(task_id, 0) > 0:
            return
        if run.state == "expanded":
            self.emit("TaskReady", task_id, phase="report")
        elif run.queued:
            self.schedule_run(task_id, run.until_us, self.now_us)

    def schedule_run(self, task_id: str, next_us: int, fired_us: int) -> None:
        """Plans the next run of a schedule, and says when the one after it is due."""
        run = self.plan.tasks[task_id]
        number = run.occurrence + 1
        self.plan_task(child_of(run.task, number, fired_us), parent=task_id)
        last = int(run.task.control.get("runs_max", 0))
        ends_us = instant_us(run.task.control["until"]) if run.task.control.get("until") else 0
        if (last and number >= last) or (ends_us and next_us > ends_us):
            self.emit("TaskExpanded", task_id, attempt=max(run.attempt, 1), tasks=[], count=number)
        else:
            self.emit("TaskWaiting", task_id, until_us=next_us, occurrence=number)

    def cancel_children(self, task_id: str) -> None:
        """Calls off what a task expanded into and is not over."""
        plan = self.plan
        for child in plan.children.get(task_id, ()):
            run = plan.tasks[child]
            if not is_over(plan, run) and run.state not in TERMINAL:
                self.emit("TaskCancelled", child, actor=run.task.owner_agent_id)
                self.cancel_children(child)

    def _close_plan(self) -> None:
        plan = self.plan
        if plan.incomplete.get("", 0) == 0 and plan.state in ("running", "paused"):
            self.emit("PlanCompleted", tasks=len(plan.tasks))

    # ── What follows when a task fails for good ──────────────────────────────────────────────────────────────────────

    def fail_for_good(self, task_id: str, reason: str, message: str, *, repairable: bool = True, **more: Any) -> None:
        """Fails a task, tells whom it hits, and goes on as the task's policy says."""
        plan, run = self.plan, self.plan.tasks[task_id]
        self.emit("TaskFailed", task_id, attempt=run.attempt, reason=reason, message=message, **more)
        if plan.state == "compensating":
            self.undo_next()
            return
        parent = map_of(plan, run)
        if parent and run.task.policy.on_failure != "continue" and is_over(plan, run):
            self.settled(task_id)
            return
        affected = self._tell(task_id, reason, message)
        if run.task.policy.on_failure == "continue":
            self.skip_readers(task_id, f"it reads from {task_id}, which failed")
            self.settled(task_id)
        elif repairable and run.task.policy.on_failure == "repair" and self._may_repair(task_id):
            self.emit(
                "ReplanRequired", task_id, scope="sub_graph", failed_task=task_id, reason=reason,
                affected=affected[:NAMED_MAX], affected_count=len(affected),
            )  # fmt: skip
        else:
            self.fail_plan(task_id)

    def _may_repair(self, task_id: str) -> bool:
        plan = self.plan
        begun = sum(map(len, plan.repairs.values())) + len(plan.replanning)
        return plan.state in ("running", "paused") and begun < plan.repairs_max

    def _tell(self, task_id: str, reason: str, message: str) -> list[str]:
        """Says whom a failure hits: all that depend on it, and those of them whose work it stops."""
        plan = self.plan
        affected = descendants(plan, task_id)
        halted = [t for t in affected if plan.tasks[t].state in OPEN]
        self.emit(
            "ErrorDetected", task_id, error_code=reason, message=message, affected=affected[:NAMED_MAX],
            affected_count=len(affected), halted=[[t, plan.tasks[t].task.owner_agent_id] for t in halted[:NAMED_MAX]],
        )  # fmt: skip
        return affected

    def skip_readers(self, task_id: str, reason: str) -> None:
        """Leaves out what reads, at any distance, a value that will not come."""
        plan, frontier = self.plan, [task_id]
        while frontier:
            missing = frontier.pop()
            given = {*plan.tasks[missing].outputs, *plan.tasks[missing].values}
            for reader in list(plan.dependents.get(missing, ())):
                run = plan.tasks[reader]
                lacks = any(s.from_task == missing and s.name not in given for s in run.task.reads)
                if lacks and run.state in ("planned", "cancelled"):
                    self.emit("TaskSkipped", reader, reason=reason)
                    frontier.append(reader)
                    self._close_parent(run)

    def skip_unfed(self) -> None:
        """Leaves out again, of what was put back, what reads a value that still will not come."""
        for task_id, run in list(self.plan.tasks.items()):
            if run.state == "skipped" or (run.state == "failed" and is_over(self.plan, run)):
                self.skip_readers(task_id, f"it reads from {task_id}, which is {run.state}")

    def fail_plan(self, task_id: str) -> None:
        """Ends a plan without its goals; what was done is undone first where tasks say how."""
        plan, run = self.plan, self.plan.tasks[task_id]
        self.cancel_open()
        if undo_order(plan):
            self.start_undoing("failed", "")
            return
        self._failed(run)

    def _failed(self, run: TaskRun) -> None:
        plan, task_id = self.plan, run.task.task_id
        failure = f"{task_id} ({run.task.title}): {run.failure}"
        self.emit("PlanFailed", failure=failure, failed_task=task_id, report=reports.failure_report(plan, task_id))

    def cancel_open(self) -> None:
        """Calls off every task that is not over."""
        plan = self.plan
        for task_id, run in plan.tasks.items():
            if run.state not in TERMINAL and not is_over(plan, run):
                self.emit("TaskCancelled", task_id, actor=run.task.owner_agent_id)

    # ── Compensation ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start_undoing(self, state: str, reason: str) -> None:
        """Undoes what was completed, the latest first, each after the one before."""
        plan = self.plan
        order = undo_order(plan)
        self.emit("CompensationStarted", state=state, reason=reason, tasks=order[:NAMED_MAX], count=len(order))
        for task_id in reversed(order):
            self.plan_task(undoing_of(plan.tasks[task_id].task), compensates=task_id)
        self.undo_next()

    def undo_next(self) -> None:
        """Makes the next compensation ready, or ends the plan after the last."""
        plan = self.plan
        if plan.undoing:
            self.emit("TaskReady", plan.undoing[-1])
            return
        broken = [t for t, run in plan.tasks.items() if run.compensates and run.state == "failed"]
        if broken:
            self._failed(plan.tasks[broken[0]])
        elif plan.ending == "cancelled":
            self.emit("PlanCancelled", reason=plan.ending_reason)
        else:
            self._failed(plan.tasks[plan.failed_task])
