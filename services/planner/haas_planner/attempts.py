"""Attempts under way in this process: bounded, with a limit in time, each ending in exactly one outcome."""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from haas_common import errors, logs, tracing
from haas_common.db import Scope
from haas_planner.domain import Plan
from haas_planner.graph import Input, Task

_log = logging.getLogger(__name__)
# Errors that another attempt would meet again.
_FINAL = frozenset(
    {
        "FIELD_INVALID", "TOOL_UNKNOWN", "TOOL_NOT_ALLOWED", "TOOL_ARGUMENTS_INVALID", "EGRESS_DENIED", "SCOPE_MISSING",
        "INPUT_MISSING", "TABLE_ROWS_BROKEN", "GRAPH_INVALID", "GRAPH_CYCLE", "GRAPH_DANGLING", "PROFILE_MISSING",
        "PROFILE_INVALID", "PAYLOAD_TOO_LARGE", "RESOURCE_NOT_FOUND", "HASH_MISMATCH", "ARTIFACT_INVALID",
        "ARTIFACT_STATUS_CONFLICT", "DATA_ERASED",
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Assignment:
    """What an attempt is given: facts of the plan as they stood when it was started."""

    scope: Scope
    plan_id: str
    task: Task
    attempt: int
    phase: str
    objective: str
    intent: str
    language: str
    slots: Mapping[str, str]
    inputs: Mapping[str, Input]
    profile_id: str
    profile_version: int
    # The artifacts that can be read, by the name of their slot.
    readable: Mapping[str, str]
    # For a leader: the tasks of its sub-plan, in order.
    children: Sequence[Task]
    # For a leader: every task of the plan, which its sub-plan has to fit.
    whole: Sequence[Task]
    trace_id: str

    @classmethod
    def of(cls, plan: Plan, task_id: str, trace_id: str) -> "Assignment":
        """Takes what the attempt needs out of the plan; the plan moves on without it."""
        run = plan.tasks[task_id]
        children = [plan.tasks[child] for child in plan.children.get(task_id, ())]
        readable = {i.name: i.ref for i in plan.inputs if i.ref.startswith("artf-")}
        for slot in run.task.reads:
            if slot.from_task:
                readable[slot.name] = plan.tasks[slot.from_task].outputs[slot.name]
        for child in children:
            readable |= child.outputs
        return cls(
            Scope(plan.tenant_id, plan.project_id), plan.plan_id, run.task, run.attempt, run.phase, plan.objective,
            plan.intent, plan.language, dict(plan.slots), {i.name: i for i in plan.inputs}, plan.profile_id,
            plan.profile_version, readable, [child.task for child in children],
            [other.task for other in plan.tasks.values()] if run.task.kind == "leader" else (), trace_id,
        )  # fmt: skip

    @property
    def key(self) -> tuple[Scope, str]:
        """The plan's key."""
        return (self.scope, self.plan_id)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended."""

    scope: Scope
    plan_id: str
    task_id: str
    attempt: int


@dataclasses.dataclass(frozen=True, slots=True)
class Succeeded(Outcome):
    """With artifacts, by slot."""

    outputs: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Expanded(Outcome):
    """With a leader's sub-plan, validated."""

    tasks: Sequence[Task]


@dataclasses.dataclass(frozen=True, slots=True)
class Failed(Outcome):
    """Without a result."""

    reason: str
    message: str
    retryable: bool


Result = Mapping[str, str] | Sequence[Task]
Work = Callable[[Assignment], Awaitable[Result]]


class Attempts:
    """The attempts of this process. `reserve` before the commit that starts them, `begin` after it."""

    def __init__(self, work: Work, limit: int = 16) -> None:
        self._work = work
        self._room = limit
        self._under_way: dict[tuple[tuple[Scope, str], str, int], asyncio.Task[None]] = {}
        self._waiting: set[Callable[[], None]] = set()

    def reserve(self, wanted: int) -> int:
        """Takes room for at most `wanted` attempts; returns for how many."""
        granted = min(wanted, self._room)
        self._room -= granted
        return granted

    def release(self, unused: int) -> None:
        """Gives room back."""
        self._room += unused
        if unused:
            for wake in list(self._waiting):
                wake()

    def on_room(self, wake: Callable[[], None]) -> None:
        """Calls `wake` whenever there is room again."""
        self._waiting.add(wake)

    def off_room(self, wake: Callable[[], None]) -> None:
        """Ends that."""
        self._waiting.discard(wake)

    def alive(self, key: tuple[Scope, str], task_id: str, attempt: int) -> bool:
        """Tells whether an attempt is under way here."""
        return (key, task_id, attempt) in self._under_way

    def begin(self, assignment: Assignment, report: Callable[[Outcome], None]) -> None:
        """Starts an attempt in reserved room; `report` gets its outcome."""
        key = (assignment.key, assignment.task.task_id, assignment.attempt)
        self._under_way[key] = asyncio.create_task(self._attempt(assignment, report), name=assignment.task.task_id)

    def drop(self, plans: Iterable[tuple[Scope, str]]) -> None:
        """Cancels the attempts of plans that are over, or of another owner now; their outcomes are not wanted."""
        gone = set(plans)
        for key, task in list(self._under_way.items()):
            if key[0] in gone:
                task.cancel()

    async def stop(self) -> None:
        """Cancels all, waits for their end."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempt(self, assignment: Assignment, report: Callable[[Outcome], None]) -> None:
        task = assignment.task
        head = (assignment.scope, assignment.plan_id, task.task_id, assignment.attempt)
        scope = assignment.scope
        ids = {"tenant_id": scope.tenant_id, "project_id": scope.project_id, "plan_id": head[1], "task_id": head[2]}
        trace = tracing.resumed(assignment.trace_id)
        try:
            with logs.bind(**ids, trace_id=trace.trace_id), tracing.within(trace), tracing.span(f"task {task.skill}"):
                outcome = await self._outcome(assignment, head)
                if isinstance(outcome, Failed):
                    _log.info("attempt %d failed", outcome.attempt, extra={"reason": outcome.reason})
        finally:
            del self._under_way[(assignment.key, task.task_id, assignment.attempt)]
            self.release(1)
        report(outcome)

    async def _outcome(self, assignment: Assignment, head: tuple[Scope, str, str, int]) -> Outcome:
        limit_s = assignment.task.attempt_limit_s
        try:
            async with asyncio.timeout(limit_s):
                result = await self._work(assignment)
        except TimeoutError:
            return Failed(*head, "DEADLINE_PASSED", f"the attempt took longer than {limit_s} s", True)
        except errors.HaasError as error:
            return Failed(*head, error.reason, error.message, error.reason not in _FINAL)
        except Exception as error:  # noqa: BLE001 - a skill's fault is an outcome
            # The text stays in the log: it may hold anything.
            _log.exception("the skill raised")
            return Failed(*head, "INTERNAL_ERROR", f"the skill failed ({type(error).__name__})", True)
        if isinstance(result, Mapping):
            return Succeeded(*head, result)
        return Expanded(*head, result)
