"""Events of a plan: its shard's owner in the planner appends them, and the plan is their fold."""

from typing import Annotated, Any, Literal

from pydantic import Field

from haas_common.events.base import PERSONAL, Count, EventType, Named, Nothing, Number, Payload

_STREAM, _OWNER = "plan/<plan_id>", "planner"
#: [name, type, where it comes from]
Three = Annotated[list[str], Field(min_length=3, max_length=3)]
Two = Annotated[list[str], Field(min_length=2, max_length=2)]
Phase = Literal["run", "report"]


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


class Task(Payload):
    """A task's contract."""

    task_id: Named = Field(description="“T-3”, or in a sub-plan “T-3.2”.")
    kind: Literal["specialist", "tool", "leader"] = Field(description="Who does it.")
    skill: str = Field(description="The skill, or the tool.")
    title: Annotated[str, PERSONAL] = Field(description="For people; a leader's sub-plan names a theme in it.")
    owner_agent_id: str = Field(description="The agent that owns it.")
    reads: list[Three] = Field(description="Each value read as [name, type, task that writes it or “”].")
    writes: list[Two] = Field(description="Each value written as [name, type].")
    params: Annotated[dict[str, Any], PERSONAL] = Field(description="What the skill is told beside the values.")
    attempts_max: Number = Field(description="How often it is tried.")
    attempt_limit_s: Number = Field(description="How long an attempt may take, in seconds.")


class TaskPlanned(Payload):
    """A task and where it belongs."""

    task: Task = Field(description="The task's contract.")
    parent: str = Field(description="The leader that expanded it; empty for none.")


class PlanValidated(Payload):
    """A graph that keeps every contract."""

    tasks: Number = Field(description="How many tasks it has.")


class TaskReady(Payload):
    """A task that waits for nothing but its time."""

    phase: Phase = Field("run", description="“report” for a leader whose sub-plan is complete.")
    not_before_us: Count = Field(0, description="When it may be tried again, in microseconds of the epoch.")


class TaskStarted(Payload):
    """An attempt."""

    attempt: Number = Field(description="Which attempt it is, from 1.")
    phase: Phase = Field("run", description="What the attempt does: the task, or a leader's report.")


class TaskExpanded(Payload):
    """A leader's sub-plan."""

    attempt: Number = Field(description="The attempt that expanded it.")
    tasks: list[str] = Field(description="The ids of the sub-plan's tasks.")


class TaskCompleted(Payload):
    """A task's result."""

    attempt: Number = Field(description="The attempt that succeeded.")
    outputs: dict[str, str] = Field(description="Each value that was written, and its artifact.")


class TaskFailed(Payload):
    """A task that is not tried again."""

    attempt: Number = Field(description="The last attempt.")
    reason: Named = Field(description="Why, as a name of error_reason.proto or OWNER_LOST.")
    message: Annotated[str, PERSONAL] = Field(description="Why, as a sentence.")


class TaskRetryScheduled(TaskFailed):
    """A failed attempt with another to come."""

    attempt: Number = Field(description="The attempt that failed.")
    failures: Count = Field(description="How many attempts failed by the task's fault.")
    losses: Count = Field(description="How many attempts ended with their worker.")
    delay_s: float = Field(ge=0, description="How long the next one waits, in seconds.")


class ErrorDetected(Payload):
    """A failure and whom it hits."""

    error_code: Named = Field(description="The failed task's reason.")
    message: Annotated[str, PERSONAL] = Field(description="Why it failed, as a sentence.")
    affected: list[str] = Field(description="The first 200 tasks that depend on the failed one.")
    affected_count: Count = Field(description="How many depend on it in all.")


class PlanCompleted(Payload):
    """A plan whose every task is complete."""

    tasks: Number = Field(description="How many tasks it had.")


class PlanFailed(Payload):
    """A plan that a task's failure ended."""

    failure: Annotated[str, PERSONAL] = Field(description="The task, its title, and why it failed.")
    failed_task: Named = Field(description="The task that failed.")


class PlanCancelled(Payload):
    """A plan that was called off."""

    reason: Annotated[str, PERSONAL] = Field(description="What whoever cancelled it gave as the reason; may be empty.")


class ReplanRequired(Payload):
    """A part of a plan that has to be planned anew."""

    scope: Literal["sub_graph", "plan"] = Field(description="What is to be planned anew.")
    failed_task: Named = Field(description="The task whose failure led to it.")
    reason: Named = Field(description="Why the task failed, as a name of error_reason.proto.")
    affected: list[str] = Field(description="The first 200 tasks to be replaced.")
    affected_count: Count = Field(description="How many are to be replaced in all.")


def _type(name: str, payload: type[Payload], description: str) -> EventType:
    return EventType(name, _STREAM, _OWNER, 1, payload, description)


TYPES = (
    _type("PlanCreated", PlanCreated, "A plan was drafted and kept."),
    _type("TaskPlanned", TaskPlanned, "A task joined the plan, with its contract."),
    _type("PlanValidated", PlanValidated, "Every contract of the graph holds."),
    _type("PlanStarted", Nothing, "The plan runs."),
    _type("TaskReady", TaskReady, "A task can start: what it reads is there."),
    _type("TaskStarted", TaskStarted, "An attempt began."),
    _type("TaskExpanded", TaskExpanded, "A leader made a sub-plan of its task."),
    _type("TaskCompleted", TaskCompleted, "A task is done and its values are there."),
    _type("TaskRetryScheduled", TaskRetryScheduled, "An attempt failed; there will be another."),
    _type("TaskFailed", TaskFailed, "A task failed for good."),
    _type("ErrorDetected", ErrorDetected, "A failure hits other tasks."),
    _type("TaskCancelled", Nothing, "A task will not be done."),
    _type("PlanCompleted", PlanCompleted, "The plan reached its goals."),
    _type("PlanFailed", PlanFailed, "The plan ended without its goals."),
    _type("PlanCancelled", PlanCancelled, "The plan was called off."),
    _type("ReplanRequired", ReplanRequired, "A part of the plan has to be planned anew."),
)
