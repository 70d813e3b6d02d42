"""Attempts under way in this process: bounded, with a limit in time, each ending in exactly one outcome."""

import asyncio
import collections
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from haas_common import errors, logs, tracing
from haas_common.db import Scope
from haas_planner.domain import Plan, Proposal
from haas_planner.fair import Activity, Room
from haas_planner.graph import Input, Task
from haas_planner.timing import Timers

_log = logging.getLogger(__name__)
#: How many attempts a planner has under way at most.
ROOM = 128
# Errors that another attempt would meet again.
_FINAL = frozenset(
    {
        "FIELD_INVALID", "TOOL_UNKNOWN", "TOOL_NOT_ALLOWED", "TOOL_ARGUMENTS_INVALID", "EGRESS_DENIED", "SCOPE_MISSING",
        "INPUT_MISSING", "TABLE_ROWS_BROKEN", "GRAPH_INVALID", "GRAPH_CYCLE", "GRAPH_DANGLING", "PROFILE_MISSING",
        "PROFILE_INVALID", "PAYLOAD_TOO_LARGE", "RESOURCE_NOT_FOUND", "HASH_MISMATCH", "ARTIFACT_INVALID",
        "ARTIFACT_STATUS_CONFLICT", "DATA_ERASED",
    }
)  # fmt: skip
#: Errors that end an attempt with whoever did it, or for want of a part of the fleet: they are not the task's fault.
_LOST = frozenset(
    {"WORKER_LOST", "DATABASE_UNAVAILABLE", "LIMITER_UNAVAILABLE", "SERVICE_UNAVAILABLE", "OVERLOADED"}
)  # fmt: skip
#: The phase in which a failed part is planned anew.
REPLAN = "replan"


class Assignment(NamedTuple):
    """What an attempt is given: facts of the plan as they stood when it was started."""

    scope: Scope
    plan_id: str
    task: Task
    attempt: int
    # Who does it.
    agent: str
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
    # The values that stand in events, by the name of their slot.
    values: Mapping[str, Any]
    # What a signal or a person gave, for the report of a wait.
    received: Mapping[str, Any]
    # How many versions its artifacts have from completions before a rerun; how often it got another contract.
    completions: int
    revised: int
    # For a composite task: the tasks that it expanded into, in order, and what those of them that are complete wrote.
    children: Sequence[Task]
    results: Mapping[str, Mapping[str, Any]]
    # For what expands or is planned anew: every task of the plan, which the new ones have to fit.
    whole: Sequence[Task]
    # For what is planned anew: why it failed, and what was tried before.
    reason: str
    tried: Sequence[str]
    replaced: Sequence[str]
    settled: frozenset[str]
    trace_id: str

    @classmethod
    def of(cls, plan: Plan, task_id: str, trace_id: str, phase: str = "") -> "Assignment":
        """Takes what the attempt needs out of the plan; the plan moves on without it."""
        run = plan.tasks[task_id]
        composite = run.task.kind in ("leader", "map", "schedule") or phase == REPLAN
        below = plan.children.get(task_id, ())
        children = [plan.tasks[child] for child in below if plan.tasks[child].state != "superseded"] if below else []
        readable = {i.name: i.ref for i in plan.inputs if i.ref.startswith("artf-")}
        values: dict[str, Any] = {}
        for slot in run.task.reads:
            if slot.from_task:
                source = plan.tasks[slot.from_task]
                if slot.name in source.outputs:
                    readable[slot.name] = source.outputs[slot.name]
                elif slot.name in source.values:
                    values[slot.name] = source.values[slot.name]
        for child in children:
            readable |= child.outputs
        settled = [t for t, r in plan.tasks.items() if r.state == "completed"] if phase == REPLAN else ()
        return cls(
            Scope(plan.tenant_id, plan.project_id), plan.plan_id, run.task, run.attempt, run.doer(), phase or run.phase,
            plan.objective, plan.intent, plan.language, plan.slots, {i.name: i for i in plan.inputs}, plan.profile_id,
            plan.profile_version, readable, values, run.received, run.completions, run.revised,
            [child.task for child in children],
            {c.task.task_id: {**c.outputs, **c.values} for c in children if c.state == "completed"},
            [other.task for other in plan.tasks.values() if other.state != "superseded"] if composite else (),
            run.reason, tuple(plan.repairs.get(task_id, ())), tuple(plan.replaced.get(task_id, ())),
            frozenset(settled), trace_id,
        )  # fmt: skip

    def numbered(self, attempt: int) -> "Assignment":
        """Returns the same under another attempt's number."""
        return self._replace(attempt=attempt)

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
    """With what it made."""

    result: "Made"
    duration_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Expanded(Outcome):
    """With the tasks that it expands into, validated."""

    tasks: Sequence[Task]


@dataclasses.dataclass(frozen=True, slots=True)
class Failed(Outcome):
    """Without a result. `tool`: the one that failed; `evidence`: the blob of a result that broke its contract."""

    reason: str
    message: str
    retryable: bool
    lost: bool = False
    tool: str = ""
    evidence: str = ""
    duration_ms: int = 0
    usage: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Replanned(Outcome):
    """With how a failed part is planned anew; None: there is no other way."""

    proposal: Proposal | None


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """What an attempt made: artifacts by slot, values by slot, what it used up, the tools that answered."""

    outputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    usage: Mapping[str, int] = dataclasses.field(default_factory=dict)
    tools: Sequence[str] = ()


Result = Made | Mapping[str, str] | Sequence[Task] | Proposal | None
Work = Callable[[Assignment], Awaitable[Result]]
Key = tuple[tuple[Scope, str], str, int]


class Attempts:
    """The attempts of this process. `reserve` before the commit that starts them, `begin` after it."""

    def __init__(self, work: Work, limit: int = ROOM) -> None:
        self._work = work
        self._activity = Activity()
        #: Tenants' shares, where they are not 1.
        self.weights: dict[str, int] = {}
        self._room = Room(limit, self.weight_of)
        self._under_way: dict[Key, asyncio.Task[None]] = {}
        # When each has to be over, by the loop's clock; and those that were not.
        self._ends: Timers[Key] = Timers(self._end)
        self._late: set[asyncio.Task[None]] = set()
        self._reports: dict[Key, Callable[[Outcome], None]] = {}
        self._waiting: dict[Callable[[], None], None] = {}
        self._waking = False
        #: How many attempts each agent has under way here, by scope and agent.
        self.by_agent: collections.Counter[tuple[Scope, str]] = collections.Counter()

    def see(self, tenant: str) -> None:
        """Something was decided for a tenant."""
        self._activity.see(tenant, asyncio.get_running_loop().time())

    def tenants(self) -> int:
        """Returns how many tenants were at work in this process lately."""
        return self._activity.tenants(asyncio.get_running_loop().time())

    def weight_of(self, tenant: str) -> int:
        """Returns a tenant's share beside the others'."""
        return self.weights.get(tenant, 1)

    @property
    def limit(self) -> int:
        """How many attempts may be under way."""
        return self._room.limit

    def reserve(self, asker: str, tenant: str, wanted: int) -> int:
        """Takes room for at most `wanted` attempts of a tenant; returns for how many."""
        return self._room.take(asker, tenant, wanted)

    def release(self, tenant: str, unused: int) -> None:
        """Gives room back."""
        if unused:
            self._room.give(tenant, unused)
            if not self._waking:
                # Attempts end many at a time: who waits is woken once.
                self._waking = True
                asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._waking = False
        for wake in list(self._waiting):
            wake()

    def unreserve(self, tenant: str, unused: int) -> None:
        """Gives back what was reserved in the same step: nobody was kept waiting by it, so that nobody is woken."""
        if unused:
            self._room.give(tenant, unused)

    def on_room(self, wake: Callable[[], None]) -> None:
        """Calls `wake` whenever there is room again."""
        self._waiting[wake] = None

    def off_room(self, asker: str, wake: Callable[[], None]) -> None:
        """Ends that."""
        self._waiting.pop(wake, None)
        self._room.leave(asker)

    def alive(self, key: tuple[Scope, str], task_id: str, attempt: int) -> bool:
        """Tells whether an attempt is under way here."""
        task = self._under_way.get((key, task_id, attempt))
        # One that was dropped and takes its time to end reports to nobody any more.
        return task is not None and not task.cancelling()

    def begin(self, assignment: Assignment, report: Callable[[Outcome], None]) -> None:
        """Starts an attempt in reserved room; `report` gets its outcome."""
        key = (assignment.key, assignment.task.task_id, assignment.attempt)
        task = asyncio.create_task(self._attempt(assignment, report), name=assignment.task.task_id)
        self._under_way[key], self._reports[key] = task, report
        self.by_agent[assignment.scope, assignment.agent] += 1
        # Not in the attempt itself: one that is cancelled before its first step never comes to its end.
        task.add_done_callback(lambda task: self._ended(key, assignment, task))

    def _ended(self, key: Key, assignment: Assignment, task: asyncio.Task[None]) -> None:
        if self._under_way.get(key) is task:
            del self._under_way[key]
            del self._reports[key]
            self._ends.drop(key)
        self._late.discard(task)
        mine = (assignment.scope, assignment.agent)
        self.by_agent[mine] -= 1
        if not self.by_agent[mine]:
            del self.by_agent[mine]
        self.release(assignment.scope.tenant_id, 1)

    def drop(self, plans: Iterable[tuple[Scope, str]]) -> None:
        """Cancels the attempts of plans that are over, or of another owner now; their outcomes are not wanted."""
        gone = set(plans)
        for key, task in list(self._under_way.items()):
            if key[0] in gone:
                task.cancel()

    def leave(self, report: Callable[[Outcome], None]) -> None:
        """Cancels the attempts that report to an owner that is one no longer, of plans in its memory or not."""
        for key in [key for key, mine in self._reports.items() if mine == report]:
            self._under_way[key].cancel()

    def drop_one(self, key: tuple[Scope, str], task_id: str, attempt: int) -> None:
        """Cancels one attempt: its task was cancelled, left out or planned anew."""
        task = self._under_way.get((key, task_id, attempt))
        if task is not None:
            task.cancel()

    def _end(self) -> None:
        """Cancels attempts whose time is over: one timer watches all of them."""
        for key in self._ends.due():
            task = self._under_way.get(key)
            if task is not None:
                self._late.add(task)
                task.cancel()

    async def stop(self) -> None:
        """Cancels all, waits for their end."""
        self._ends.stop()
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempt(self, assignment: Assignment, report: Callable[[Outcome], None]) -> None:
        task = assignment.task
        head = (assignment.scope, assignment.plan_id, task.task_id, assignment.attempt)
        report(await self._observed(assignment, head))

    async def _observed(self, assignment: Assignment, head: tuple[Scope, str, str, int]) -> Outcome:
        """Ends the attempt under the task's own span and with the log's fields bound."""
        scope = assignment.scope
        ids = {"tenant_id": scope.tenant_id, "project_id": scope.project_id, "plan_id": head[1], "task_id": head[2]}
        trace = tracing.resumed(assignment.trace_id)
        # The attempt is a task of its own: what is bound here ends with it.
        logs.bind_task(**ids, trace_id=trace.trace_id)
        if tracing.active():
            with tracing.within(trace), tracing.span(f"task {assignment.task.skill}"):
                outcome = await self._outcome(assignment, head)
        else:
            tracing.enter_task(trace)
            outcome = await self._outcome(assignment, head)
        if isinstance(outcome, Failed):
            _log.info("attempt %d failed", outcome.attempt, extra={"reason": outcome.reason})
        return outcome

    async def _outcome(self, assignment: Assignment, head: tuple[Scope, str, str, int]) -> Outcome:
        limit_s, began = assignment.task.attempt_limit_s, time.monotonic()
        self._ends.add((assignment.key, head[2], head[3]), self._ends.now_us() + int(limit_s * 1_000_000))
        try:
            result = await self._work(assignment)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task not in self._late or task.uncancel():
                raise  # nobody waits for it any more
            text = f"the attempt took longer than {limit_s} s"
            return Failed(*head, "DEADLINE_PASSED", text, True, duration_ms=_since_ms(began))
        except errors.HaasError as error:
            return _failed(head, error, _since_ms(began))
        except Exception as error:  # noqa: BLE001 - a skill's fault is an outcome
            # The text stays in the log: it may hold anything.
            _log.exception("the skill raised")
            text = f"the skill failed ({type(error).__name__})"
            return Failed(*head, "INTERNAL_ERROR", text, True, duration_ms=_since_ms(began))
        if assignment.phase == REPLAN:
            return Replanned(*head, result if isinstance(result, Proposal) else None)
        if isinstance(result, Made):
            return Succeeded(*head, result, _since_ms(began))
        if isinstance(result, Mapping):
            return Succeeded(*head, Made(result), _since_ms(began))
        assert isinstance(result, Sequence)
        return Expanded(*head, result)


def _failed(head: tuple[Scope, str, str, int], error: errors.HaasError, duration_ms: int) -> Failed:
    return Failed(
        *head, error.reason, error.message, _may_pass(error), lost=error.reason in _LOST,
        tool=str(error.metadata.get("tool", "")), evidence=str(error.metadata.get("evidence", "")),
        duration_ms=duration_ms,
    )  # fmt: skip


def _may_pass(error: errors.HaasError) -> bool:
    """Tells whether another attempt may end otherwise; a remote worker says so itself."""
    return error.reason not in _FINAL and error.metadata.get("retryable") != "false"


def _since_ms(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
