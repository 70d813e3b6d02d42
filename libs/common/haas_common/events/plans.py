"""Events of a plan: its shard's owner in the planner appends them, and the plan is their fold."""

from typing import Annotated, Any, Literal

from pydantic import Field

from haas_common.events.base import PERSONAL, Count, EventType, Named, Nothing, Number, Payload

_STREAM, _OWNER = "plan/<plan_id>", "planner"
#: [name, type, where it comes from]
Three = Annotated[list[str], Field(min_length=3, max_length=3)]
Two = Annotated[list[str], Field(min_length=2, max_length=2)]
Phase = Literal["run", "report"]
Kind = Literal["specialist", "tool", "leader", "transform", "map", "wait", "approval", "schedule"]
Reason = Annotated[str, PERSONAL]


class Budget(Payload):
    """What may be used up; 0 stands for no limit."""

    tokens: Count = Field(0, description="Tokens of models.")
    money_micros: Count = Field(0, description="Money, in millionths of the tenant's currency.")
    time_s: Count = Field(0, description="Seconds from the start to the end.")


class Usage(Payload):
    """What an attempt used up."""

    tokens: Count = Field(0, description="Tokens of models.")
    money_micros: Count = Field(0, description="Money, in millionths of the tenant's currency.")
    duration_ms: Count = Field(0, description="How long it took.")


class PlanCreated(Payload):
    """What a plan is made from."""

    objective: Annotated[str, PERSONAL] = Field(description="What the plan is to reach, in the requester's words.")
    intent: str = Field(description="The detected intent.")
    language: str = Field(description="The language of the plan's texts.")
    slots: Annotated[dict[str, str], PERSONAL] = Field(description="What the objective and the inputs say.")
    brief_artifact_id: str = Field(description="The plan's brief.")
    profile_id: str = Field(description="The profile that it was drafted by.")
    profile_version: Count = Field(description="The profile's version.")
    goals: Annotated[list[str], PERSONAL] = Field(description="The types of the values that it is to produce.")
    inputs: Annotated[list[Three], PERSONAL] = Field(description="Each input as [name, type, reference or value].")
    budget: Budget | None = Field(None, description="What the whole plan may use up.")
    repairs_max: Count = Field(0, description="How often a failed part is planned anew before the plan fails.")
    forked_from: str = Field("", description="The plan that it was forked from; empty for none.")
    forked_at: Count = Field(0, description="The version of that plan's stream.")
    subject: str = Field("", description="Whose words a fork is made of, where somebody else forked that plan.")


class TaskPolicy(Payload):
    """How a task is tried, where it differs from the default."""

    schedule_to_close_s: Count = Field(0, description="From ready to its end, in seconds; 0: no limit.")
    heartbeat_s: Count = Field(0, description="A worker that is silent for so long has lost the task.")
    backoff_s: float = Field(0.5, ge=0, description="What the second attempt waits, in seconds.")
    backoff_factor: float = Field(2.0, ge=1, description="Each further one waits so many times as long.")
    backoff_max_s: float = Field(30.0, ge=0, description="At most so many seconds.")
    retry_on: list[str] = Field(
        default_factory=list, description="The reasons that are tried again; empty: all that can pass."
    )
    never_retry_on: list[str] = Field(default_factory=list, description="The reasons that are not.")
    priority: Count = Field(5, description="0 to 9; higher ones start first.")
    concurrency_key: str = Field("", description="What it shares with others that must not run all at once.")
    concurrency_max: Number = Field(1, description="How many tasks of the project run under that key.")
    tokens_max: Count = Field(0, description="The tokens that are reserved for an attempt.")
    money_micros_max: Count = Field(0, description="The money that is reserved for an attempt, in millionths.")
    on_failure: Literal["repair", "fail", "continue"] = Field("repair", description="What its failure leads to.")
    compensation: Annotated[dict[str, Any], PERSONAL] = Field(
        default_factory=dict, description="The kind, skill and params of its undoing."
    )


class Task(Payload):
    """A task's contract."""

    task_id: Named = Field(description="“T-3”, or in a sub-plan “T-3.2”; “T-3.0” undoes T-3.")
    kind: Kind = Field(description="What does it.")
    skill: str = Field(description="The skill, or the tool.")
    title: Annotated[str, PERSONAL] = Field(description="For people; a leader's sub-plan names a theme in it.")
    owner_agent_id: str = Field(description="The agent that owns it.")
    reads: list[Three] = Field(description="Each value read as [name, type, task that writes it or “”].")
    writes: list[Two] = Field(description="Each value written as [name, type].")
    params: Annotated[dict[str, Any], PERSONAL] = Field(description="What the skill is told beside the values.")
    attempts_max: Number = Field(description="How often it is tried.")
    attempt_limit_s: Number = Field(description="How long an attempt may take, in seconds.")
    policy: TaskPolicy = Field(default_factory=TaskPolicy, description="The rest of how it is tried.")
    control: Annotated[dict[str, Any], PERSONAL] = Field(
        default_factory=dict, description="What a map, a wait, an approval or a schedule goes by."
    )
    schemas: dict[str, Any] = Field(default_factory=dict, description="JSON Schemas of its values, by name.")


class TaskPlanned(Payload):
    """A task and where it belongs; again for one that is planned anew."""

    task: Task = Field(description="The task's contract.")
    parent: str = Field(description="The task that expanded into it; empty for none.")
    compensates: str = Field("", description="The task that it undoes; empty for none.")


class PlanValidated(Payload):
    """A graph that keeps every contract."""

    tasks: Number = Field(description="How many tasks it has.")


class PlanStarted(Payload):
    """A plan under way."""

    deadline_us: Count = Field(0, description="When its time runs out, in microseconds of the epoch; 0: never.")


class TaskReady(Payload):
    """A task that waits for nothing but its time."""

    phase: Phase = Field("run", description="“report” for what collects: a leader, a map, a wait that is over.")
    not_before_us: Count = Field(0, description="When it may be tried again, in microseconds of the epoch.")
    deadline_us: Count = Field(0, description="When it must be over (schedule to close), in microseconds; 0: never.")


class TaskStarted(Payload):
    """An attempt."""

    attempt: Number = Field(description="Which attempt it is, from 1.")
    phase: Phase = Field("run", description="What the attempt does: the task, or its report.")


class TaskExpanded(Payload):
    """A sub-plan."""

    attempt: Number = Field(description="The attempt that expanded it.")
    tasks: list[str] = Field(description="The first 200 of the sub-plan's tasks.")
    count: Count = Field(description="How many they are.")


class TaskWaiting(Payload):
    """A task that waits for a time, a signal or a person."""

    until_us: Count = Field(description="Until when, in microseconds of the epoch; 0: no end.")
    signal: str = Field("", description="The signal that ends it; empty for none.")
    occurrence: Count = Field(0, description="Of a schedule: how many runs there have been.")
    queued: bool = Field(False, description="Of a schedule: whether a run waits for the one before.")


class TaskCompleted(Payload):
    """A task's result."""

    attempt: Count = Field(description="The attempt that succeeded; 0 for what ended without one.")
    outputs: dict[str, str] = Field(description="Each value that was written, and its artifact.")
    values: Annotated[dict[str, Any], PERSONAL] = Field(
        default_factory=dict, description="The values that stand in the event itself."
    )
    usage: Usage | None = Field(None, description="What the attempt used up.")


class TaskFailed(Payload):
    """A task that is not tried again."""

    attempt: Count = Field(description="The last attempt; 0 for what failed without one.")
    reason: Named = Field(description="Why, as a name of error_reason.proto or OWNER_LOST.")
    message: Annotated[str, PERSONAL] = Field(description="Why, as a sentence.")
    evidence: str = Field("", description="The blob of a result that broke its contract; empty for none.")
    usage: Usage | None = Field(None, description="What the attempt used up.")


class TaskRetryScheduled(TaskFailed):
    """A failed attempt with another to come."""

    attempt: Number = Field(description="The attempt that failed.")
    failures: Count = Field(description="How many attempts failed by the task's fault.")
    losses: Count = Field(description="How many ended with their worker, or for want of a part of the fleet.")
    delay_s: float = Field(ge=0, description="How long the next one waits, in seconds.")


class TaskSkipped(Payload):
    """A task that is left out."""

    reason: Reason = Field(description="Why.")
    role: str = Field("", description="The role that whoever skipped it acted in; empty for the engine.")
    outputs: dict[str, str] = Field(default_factory=dict, description="Artifacts given in place of its values.")
    values: Annotated[dict[str, Any], PERSONAL] = Field(
        default_factory=dict, description="Values given in place of its own."
    )


class TaskReset(Payload):
    """A task that is to be done again."""

    state: Literal["planned", "expanded"] = Field("planned", description="Whether all of it, or the report alone.")


class ErrorDetected(Payload):
    """A failure and whom it hits."""

    error_code: Named = Field(description="The failed task's reason.")
    message: Annotated[str, PERSONAL] = Field(description="Why it failed, as a sentence.")
    affected: list[str] = Field(description="The first 200 tasks that depend on the failed one.")
    affected_count: Count = Field(description="How many depend on it in all.")
    halted: list[Two] = Field(
        default_factory=list, description="Those of them that were ready or under way, as [task, owner]; 200 at most."
    )


class PlanCompleted(Payload):
    """A plan whose every task is complete."""

    tasks: Number = Field(description="How many tasks it had.")


class PlanFailed(Payload):
    """A plan that a task's failure ended."""

    failure: Annotated[str, PERSONAL] = Field(description="The task, its title, and why it failed.")
    failed_task: Named = Field(description="The task that failed.")
    report: Annotated[str, PERSONAL] = Field(
        "", description="What was tried, what it hits and what can be done, in Markdown."
    )


class PlanCancelled(Payload):
    """A plan that was called off."""

    reason: Reason = Field(description="What whoever cancelled it gave as the reason; may be empty.")


class PlanPaused(Payload):
    """A plan that starts nothing for a while."""

    reason: Reason = Field(description="Why; may be empty.")
    cause: Literal["request", "budget"] = Field("request", description="What paused it.")


class PlanResumed(Payload):
    """A paused plan that goes on."""

    reason: Reason = Field(description="Why; may be empty.")
    budget: Budget | None = Field(None, description="The new budget, where one was given.")
    deadline_us: Count = Field(0, description="When its time runs out, where a new budget says so; 0: as before.")


class PlanReopened(Payload):
    """A plan that goes on although it was over, or with a part to be done again."""

    from_task: Named = Field(description="The task from which on.")
    tasks: Number = Field(description="How many tasks are to be done again.")
    reason: Reason = Field(description="Why; may be empty.")


class ReplanRequired(Payload):
    """A part of a plan that has to be planned anew."""

    scope: Literal["sub_graph", "plan"] = Field(description="What is to be planned anew.")
    failed_task: Named = Field(description="The task whose failure led to it.")
    reason: Named = Field(description="Why the task failed, as a name of error_reason.proto.")
    affected: list[str] = Field(description="The first 200 tasks to be replaced.")
    affected_count: Count = Field(description="How many are to be replaced in all.")


class PlanReplanned(Payload):
    """A new revision of a part of the graph, checked like the first."""

    revision: Number = Field(description="The plan's revision from here on.")
    failed_task: str = Field(description="The task whose failure led to it; empty for a person's wish.")
    strategy: Named = Field(description="“other_skill”, “other_tool”, “relaxed_contract”, “human” or “request”.")
    explanation: Annotated[str, PERSONAL] = Field(description="What was changed and why, as a sentence.")
    revised: list[str] = Field(description="The first 200 tasks with another contract.")
    added: list[str] = Field(description="The first 200 new tasks.")
    removed: list[str] = Field(description="The first 200 tasks that are no longer part of the plan.")
    replaced: str = Field("", description="The skill or tool that had failed; empty for a person's wish.")


class SignalReceived(Payload):
    """A signal from outside."""

    name: Named = Field(description="The signal.")
    value: Annotated[dict[str, Any], PERSONAL] = Field(default_factory=dict, description="What came with it.")
    for_task: str = Field("", description="The task that it is kept for; empty: whichever waits for it first.")


class ApprovalRequested(Payload):
    """A decision that a person has to take."""

    role: Named = Field(description="The role that may decide.")
    text: Annotated[str, PERSONAL] = Field(description="What is to be decided.")
    expires_us: Count = Field(description="Until when, in microseconds of the epoch; 0: no end.")


class ApprovalReminded(Payload):
    """A decision that is still wanted."""

    number: Number = Field(description="Which reminder it is.")
    role: Named = Field(description="The role that may decide.")


class ApprovalDecided(Payload):
    """A decision."""

    approved: bool = Field(description="What was decided.")
    comment: Annotated[str, PERSONAL] = Field(description="Why; may be empty.")
    role: str = Field(description="The role that whoever decided acted in; empty where it expired.")


class CompensationStarted(Payload):
    """What was done is undone, the latest first."""

    state: Literal["cancelled", "failed"] = Field(description="The state that the plan ends in afterwards.")
    reason: Reason = Field("", description="Why it was called off; may be empty.")
    tasks: list[str] = Field(description="The first 200 tasks that are undone, in that order.")
    count: Number = Field(description="How many they are.")


class BudgetExceeded(Payload):
    """A budget that allows no more."""

    which: Literal["tokens", "money_micros", "time_s"] = Field(description="What ran out.")
    limit: Number = Field(description="The budget.")
    used: Count = Field(description="What was used and is reserved.")


class BreakerOpened(Payload):
    """A tool that failed too often is left alone for a while."""

    tool: Named = Field(description="The tool.")
    failures: Number = Field(description="How often in a row it failed.")
    until_us: Count = Field(description="Until when, in microseconds of the epoch.")


class BreakerClosed(Payload):
    """A tool that works again."""

    tool: Named = Field(description="The tool.")


def _type(name: str, payload: type[Payload], description: str, version: int = 1, stream: str = _STREAM) -> EventType:
    return EventType(name, stream, _OWNER, version, payload, description)


def from_1(payload: dict[str, Any]) -> dict[str, Any]:
    """Version 2 added fields that may be absent."""
    return payload


def expanded_from_1(payload: dict[str, Any]) -> dict[str, Any]:
    """Version 2 counts the tasks and names the first 200."""
    return {**payload, "count": len(payload["tasks"])}


TYPES = (
    _type("PlanCreated", PlanCreated, "A plan was drafted and kept.", 2),
    _type("TaskPlanned", TaskPlanned, "A task joined the plan, or got another contract.", 2),
    _type("PlanValidated", PlanValidated, "Every contract of the graph holds."),
    _type("PlanStarted", PlanStarted, "The plan runs.", 2),
    _type("TaskReady", TaskReady, "A task can start: what it reads is there.", 2),
    _type("TaskStarted", TaskStarted, "An attempt began."),
    _type("TaskExpanded", TaskExpanded, "A task became a sub-plan.", 2),
    _type("TaskWaiting", TaskWaiting, "A task waits for a time, a signal or a person."),
    _type("TaskCompleted", TaskCompleted, "A task is done and its values are there.", 2),
    _type("TaskRetryScheduled", TaskRetryScheduled, "An attempt failed; there will be another.", 2),
    _type("TaskFailed", TaskFailed, "A task failed for good.", 2),
    _type("TaskSkipped", TaskSkipped, "A task is left out."),
    _type("TaskReset", TaskReset, "A task is to be done again."),
    _type("TaskSuperseded", Nothing, "A task is no longer part of the plan."),
    _type("ErrorDetected", ErrorDetected, "A failure hits other tasks.", 2),
    _type("TaskCancelled", Nothing, "A task will not be done."),
    _type("PlanPaused", PlanPaused, "The plan starts nothing for a while."),
    _type("PlanResumed", PlanResumed, "The plan goes on."),
    _type("PlanReopened", PlanReopened, "The plan goes on from a task that is to be done again."),
    _type("PlanCompleted", PlanCompleted, "The plan reached its goals."),
    _type("PlanFailed", PlanFailed, "The plan ended without its goals.", 2),
    _type("PlanCancelled", PlanCancelled, "The plan was called off."),
    _type("ReplanRequired", ReplanRequired, "A part of the plan has to be planned anew."),
    _type("PlanReplanned", PlanReplanned, "A part of the plan was planned anew."),
    _type("SignalReceived", SignalReceived, "A signal reached a task that waits for it."),
    _type("ApprovalRequested", ApprovalRequested, "A person has to decide."),
    _type("ApprovalReminded", ApprovalReminded, "A person was reminded of a decision."),
    _type("ApprovalDecided", ApprovalDecided, "A person decided, or the time to decide ended."),
    _type("CompensationStarted", CompensationStarted, "What was done is undone."),
    _type("BudgetExceeded", BudgetExceeded, "A budget allows no more; the plan pauses."),
    _type("BreakerOpened", BreakerOpened, "A tool is left alone for a while.", stream="breaker/<tool>"),
    _type("BreakerClosed", BreakerClosed, "A tool works again.", stream="breaker/<tool>"),
)
#: The types whose second version only added fields that may be absent.
GREW = (
    "PlanCreated",
    "TaskPlanned",
    "PlanStarted",
    "TaskReady",
    "TaskCompleted",
    "TaskRetryScheduled",
    "TaskFailed",
    "ErrorDetected",
    "PlanFailed",
)
