"""What both clients say to a plan beside run and cancel. Every call is idempotent by its request_id."""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format

from haas.orchestrator.v1 import control_pb2 as pb
from haas.orchestrator.v1 import control_pb2_grpc
from haas.planner.v1 import graph_pb2
from haas_client import messages

LONG_S = 35.0
TaskLike = graph_pb2.Task | Mapping[str, Any]


class PlanControl:
    """The methods of haas_client.HaasClient that steer a plan."""

    _control: control_pb2_grpc.PlanControlStub

    def _call(self, method: Any, request: Any, timeout_s: float = 15.0) -> Any:
        raise NotImplementedError

    def pause_plan(self, plan_id: str, reason: str = "", *, request_id: str | None = None) -> pb.PausePlanResponse:
        """Starts nothing new until the plan is resumed."""
        return self._call(self._control.PausePlan, pause(plan_id, reason, request_id))

    def resume_plan(
        self, plan_id: str, reason: str = "", *, budget: Mapping[str, int] | None = None, request_id: str | None = None
    ) -> pb.ResumePlanResponse:
        """Goes on with a paused plan; `budget` as in create_plan, as before unless given."""
        return self._call(self._control.ResumePlan, resume(plan_id, reason, budget, request_id))

    def signal(
        self,
        plan_id: str,
        name: str,
        value: Mapping[str, Any] | None = None,
        *,
        task_id: str = "",
        request_id: str | None = None,
    ) -> pb.SignalPlanResponse:
        """Tells a plan that something happened outside.

        Args:
            plan_id: the plan.
            name: the signal that tasks wait for, e.g. "payment.received".
            value: what comes with it.
            task_id: the only task that it is for.
            request_id: the same id again is the same signal; made up unless given.
        """
        return self._call(self._control.SignalPlan, signal(plan_id, name, value, task_id, request_id))

    def decide(
        self, plan_id: str, task_id: str, approved: bool, comment: str = "", *, request_id: str | None = None
    ) -> pb.DecideApprovalResponse:
        """Decides an approval; raises ApprovalRoleMissing unless the token holds the role that it asks for."""
        return self._call(self._control.DecideApproval, decide(plan_id, task_id, approved, comment, request_id))

    def retry_task(
        self, plan_id: str, task_id: str, reason: str = "", *, request_id: str | None = None
    ) -> pb.RetryTaskResponse:
        """Tries a failed task again; a plan that failed by it goes on."""
        return self._call(self._control.RetryTask, retry(plan_id, task_id, reason, request_id))

    def skip_task(
        self,
        plan_id: str,
        task_id: str,
        reason: str,
        *,
        role: str = "",
        outputs: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> pb.SkipTaskResponse:
        """Leaves a task out; what reads a value that is not given is left out too.

        Args:
            plan_id: the plan.
            task_id: the task.
            reason: why, for the history.
            role: the role that the caller acts in; the one that fits unless given.
            outputs: artifacts in place of what it would have written: a value's name to an artifact's id.
            values: values in place of its own, by name.
            request_id: made up unless given.
        """
        request = skip(plan_id, task_id, reason, role, outputs, values, request_id)
        return self._call(self._control.SkipTask, request)

    def rerun(
        self, plan_id: str, task_id: str, reason: str = "", *, request_id: str | None = None
    ) -> pb.RerunTaskResponse:
        """Does a task again, and all that depends on it; what is upstream is used as it is."""
        return self._call(self._control.RerunTask, rerun(plan_id, task_id, reason, request_id))

    def replan(
        self,
        plan_id: str,
        explanation: str,
        tasks: Iterable[TaskLike] = (),
        removed: Iterable[str] = (),
        *,
        request_id: str | None = None,
    ) -> pb.ReplanPlanResponse:
        """Gives a part of a plan another graph.

        Args:
            plan_id: the plan.
            explanation: what is changed and why, for the history.
            tasks: new tasks, and tasks with another contract, as in create_plan's graph.
            removed: the tasks that are no longer part of the plan.
            request_id: made up unless given.
        """
        request = replan(plan_id, explanation, tasks, removed, request_id)
        return self._call(self._control.ReplanPlan, request, LONG_S)

    def fork_plan(self, plan_id: str, at_version: int = 0, *, request_id: str | None = None) -> pb.ForkPlanResponse:
        """Makes a new plan of one as it stood after an event (its `version`); as it stands unless given."""
        return self._call(self._control.ForkPlan, fork(plan_id, at_version, request_id), LONG_S)

    def diff_plan(
        self, plan_id: str, from_revision: int = 0, to_revision: int = 0, *, other_plan_id: str = ""
    ) -> graph_pb2.GraphDiff:
        """Compares two revisions of a plan (the newest with the one before it unless given), or two plans."""
        request = diff(plan_id, from_revision, to_revision, other_plan_id)
        return self._call(self._control.DiffPlan, request, LONG_S).diff

    def estimate(
        self,
        plan_id: str = "",
        *,
        graph: graph_pb2.Graph | Mapping[str, Any] | None = None,
        profile_id: str = "",
        budget: Mapping[str, int] | None = None,
    ) -> graph_pb2.Estimate:
        """Says what the rest of a plan, or a graph that is no plan yet, is going to take."""
        request = estimate(plan_id, graph, profile_id, budget)
        return self._call(self._control.EstimatePlan, request, LONG_S).estimate


class AsyncPlanControl:
    """The methods of haas_client.AsyncHaasClient that steer a plan: those of PlanControl, awaited."""

    _control: control_pb2_grpc.PlanControlStub

    async def _call(self, method: Any, request: Any, timeout_s: float = 15.0) -> Any:
        raise NotImplementedError

    async def pause_plan(
        self, plan_id: str, reason: str = "", *, request_id: str | None = None
    ) -> pb.PausePlanResponse:
        """Starts nothing new until the plan is resumed."""
        return await self._call(self._control.PausePlan, pause(plan_id, reason, request_id))

    async def resume_plan(
        self, plan_id: str, reason: str = "", *, budget: Mapping[str, int] | None = None, request_id: str | None = None
    ) -> pb.ResumePlanResponse:
        """Goes on with a paused plan; `budget` as in create_plan, as before unless given."""
        return await self._call(self._control.ResumePlan, resume(plan_id, reason, budget, request_id))

    async def signal(
        self,
        plan_id: str,
        name: str,
        value: Mapping[str, Any] | None = None,
        *,
        task_id: str = "",
        request_id: str | None = None,
    ) -> pb.SignalPlanResponse:
        """Tells a plan that something happened outside."""
        return await self._call(self._control.SignalPlan, signal(plan_id, name, value, task_id, request_id))

    async def decide(
        self, plan_id: str, task_id: str, approved: bool, comment: str = "", *, request_id: str | None = None
    ) -> pb.DecideApprovalResponse:
        """Decides an approval; raises ApprovalRoleMissing unless the token holds the role that it asks for."""
        return await self._call(self._control.DecideApproval, decide(plan_id, task_id, approved, comment, request_id))

    async def retry_task(
        self, plan_id: str, task_id: str, reason: str = "", *, request_id: str | None = None
    ) -> pb.RetryTaskResponse:
        """Tries a failed task again; a plan that failed by it goes on."""
        return await self._call(self._control.RetryTask, retry(plan_id, task_id, reason, request_id))

    async def skip_task(
        self,
        plan_id: str,
        task_id: str,
        reason: str,
        *,
        role: str = "",
        outputs: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> pb.SkipTaskResponse:
        """Leaves a task out; what reads a value that is not given is left out too."""
        request = skip(plan_id, task_id, reason, role, outputs, values, request_id)
        return await self._call(self._control.SkipTask, request)

    async def rerun(
        self, plan_id: str, task_id: str, reason: str = "", *, request_id: str | None = None
    ) -> pb.RerunTaskResponse:
        """Does a task again, and all that depends on it; what is upstream is used as it is."""
        return await self._call(self._control.RerunTask, rerun(plan_id, task_id, reason, request_id))

    async def replan(
        self,
        plan_id: str,
        explanation: str,
        tasks: Iterable[TaskLike] = (),
        removed: Iterable[str] = (),
        *,
        request_id: str | None = None,
    ) -> pb.ReplanPlanResponse:
        """Gives a part of a plan another graph."""
        request = replan(plan_id, explanation, tasks, removed, request_id)
        return await self._call(self._control.ReplanPlan, request, LONG_S)

    async def fork_plan(
        self, plan_id: str, at_version: int = 0, *, request_id: str | None = None
    ) -> pb.ForkPlanResponse:
        """Makes a new plan of one as it stood after an event (its `version`); as it stands unless given."""
        return await self._call(self._control.ForkPlan, fork(plan_id, at_version, request_id), LONG_S)

    async def diff_plan(
        self, plan_id: str, from_revision: int = 0, to_revision: int = 0, *, other_plan_id: str = ""
    ) -> graph_pb2.GraphDiff:
        """Compares two revisions of a plan (the newest with the one before it unless given), or two plans."""
        request = diff(plan_id, from_revision, to_revision, other_plan_id)
        return (await self._call(self._control.DiffPlan, request, LONG_S)).diff

    async def estimate(
        self,
        plan_id: str = "",
        *,
        graph: graph_pb2.Graph | Mapping[str, Any] | None = None,
        profile_id: str = "",
        budget: Mapping[str, int] | None = None,
    ) -> graph_pb2.Estimate:
        """Says what the rest of a plan, or a graph that is no plan yet, is going to take."""
        request = estimate(plan_id, graph, profile_id, budget)
        return (await self._call(self._control.EstimatePlan, request, LONG_S)).estimate


# ── Requests, the same for both ──────────────────────────────────────────────────────────────────────────────────────


def pause(plan_id: str, reason: str, request_id: str | None) -> pb.PausePlanRequest:
    """See PlanControl.pause_plan."""
    return pb.PausePlanRequest(plan_id=plan_id, reason=reason, request_id=_id(request_id))


def resume(plan_id: str, reason: str, budget: Mapping[str, int] | None, request_id: str | None) -> pb.ResumePlanRequest:
    """See PlanControl.resume_plan."""
    return pb.ResumePlanRequest(
        plan_id=plan_id, reason=reason, request_id=_id(request_id), budget=messages.budget(budget)
    )


def signal(
    plan_id: str, name: str, value: Mapping[str, Any] | None, task_id: str, request_id: str | None
) -> pb.SignalPlanRequest:
    """See PlanControl.signal."""
    request = pb.SignalPlanRequest(plan_id=plan_id, name=name, task_id=task_id, request_id=_id(request_id))
    json_format.ParseDict(dict(value or {}), request.value)
    return request


def decide(
    plan_id: str, task_id: str, approved: bool, comment: str, request_id: str | None
) -> pb.DecideApprovalRequest:
    """See PlanControl.decide."""
    return pb.DecideApprovalRequest(
        plan_id=plan_id, task_id=task_id, approved=approved, comment=comment, request_id=_id(request_id)
    )


def retry(plan_id: str, task_id: str, reason: str, request_id: str | None) -> pb.RetryTaskRequest:
    """See PlanControl.retry_task."""
    return pb.RetryTaskRequest(plan_id=plan_id, task_id=task_id, reason=reason, request_id=_id(request_id))


def skip(
    plan_id: str,
    task_id: str,
    reason: str,
    role: str,
    outputs: Mapping[str, str] | None,
    values: Mapping[str, Any] | None,
    request_id: str | None,
) -> pb.SkipTaskRequest:
    """See PlanControl.skip_task."""
    request = pb.SkipTaskRequest(
        plan_id=plan_id, task_id=task_id, reason=reason, role=role, outputs=outputs, request_id=_id(request_id)
    )
    json_format.ParseDict(dict(values or {}), request.values)
    return request


def rerun(plan_id: str, task_id: str, reason: str, request_id: str | None) -> pb.RerunTaskRequest:
    """See PlanControl.rerun."""
    return pb.RerunTaskRequest(plan_id=plan_id, task_id=task_id, reason=reason, request_id=_id(request_id))


def replan(
    plan_id: str, explanation: str, tasks: Iterable[TaskLike], removed: Iterable[str], request_id: str | None
) -> pb.ReplanPlanRequest:
    """See PlanControl.replan."""
    request = pb.ReplanPlanRequest(
        plan_id=plan_id, explanation=explanation, removed=removed, request_id=_id(request_id)
    )
    for task in tasks:
        if isinstance(task, graph_pb2.Task):
            request.tasks.append(task)
        else:
            json_format.ParseDict(dict(task), request.tasks.add())
    return request


def fork(plan_id: str, at_version: int, request_id: str | None) -> pb.ForkPlanRequest:
    """See PlanControl.fork_plan."""
    return pb.ForkPlanRequest(plan_id=plan_id, at_version=at_version, request_id=_id(request_id))


def diff(plan_id: str, from_revision: int, to_revision: int, other_plan_id: str) -> pb.DiffPlanRequest:
    """See PlanControl.diff_plan."""
    return pb.DiffPlanRequest(
        plan_id=plan_id, from_revision=from_revision, to_revision=to_revision, other_plan_id=other_plan_id
    )


def estimate(
    plan_id: str,
    graph: graph_pb2.Graph | Mapping[str, Any] | None,
    profile_id: str,
    budget: Mapping[str, int] | None,
) -> pb.EstimatePlanRequest:
    """See PlanControl.estimate."""
    request = pb.EstimatePlanRequest(plan_id=plan_id, profile_id=profile_id, budget=messages.budget(budget))
    messages.put_graph(graph, request.graph)
    return request


def _id(request_id: str | None) -> str:
    return request_id or messages.new_request_id()
