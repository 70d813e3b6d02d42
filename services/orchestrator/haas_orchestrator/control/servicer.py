"""haas.orchestrator.v1.PlanControl: messages to values and back."""

import json
from typing import Any

from google.protobuf import struct_pb2

from haas.orchestrator.v1 import control_pb2, control_pb2_grpc
from haas.planner.v1 import planner_pb2
from haas_common import errors
from haas_common.calls import current_call
from haas_common.structs import StructInvalid, read_struct
from haas_orchestrator.control.operations import Control

VALUE_BYTES_MAX = 8192


def value_text(field: str, struct: struct_pb2.Struct) -> str:
    """Returns a Struct as JSON text; empty for an empty one.

    Raises:
        FieldInvalid: it is too large or too deep, or holds a number that JSON cannot say.
    """
    try:
        found = read_struct(struct)
    except StructInvalid as error:
        raise errors.FieldInvalid(f"{field}: {error}.", field=field, rule=error.rule) from None
    # In one order: a Struct has none, and the same request must read the same.
    text = json.dumps(found, ensure_ascii=False, sort_keys=True) if found else ""
    if len(text.encode()) > VALUE_BYTES_MAX:
        raise errors.FieldInvalid(f"{field}: at most 8 KiB of JSON.", field=field, rule="8 KiB")
    return text


class PlanControlServicer(control_pb2_grpc.PlanControlServicer):
    """haas.orchestrator.v1.PlanControl; each method is described in control.proto."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def PausePlan(self, request: Any, context: Any) -> control_pb2.PausePlanResponse:
        """Pauses a plan."""
        state = await self._say(request, planner_pb2.PLAN_COMMAND_PAUSE, reason=request.reason)
        return control_pb2.PausePlanResponse(plan_id=request.plan_id, state=state)

    async def ResumePlan(self, request: Any, context: Any) -> control_pb2.ResumePlanResponse:
        """Goes on with a paused plan."""
        budget = request.budget if request.HasField("budget") else None
        state = await self._say(request, planner_pb2.PLAN_COMMAND_RESUME, reason=request.reason, budget=budget)
        return control_pb2.ResumePlanResponse(plan_id=request.plan_id, state=state)

    async def SignalPlan(self, request: Any, context: Any) -> control_pb2.SignalPlanResponse:
        """Tells a plan that something happened outside."""
        value = value_text("value", request.value)
        state = await self._say(
            request,
            planner_pb2.PLAN_COMMAND_SIGNAL,
            signal=request.name,
            value_json=value,
            task_id=request.task_id,
        )
        return control_pb2.SignalPlanResponse(plan_id=request.plan_id, state=state)

    async def ReplanPlan(self, request: Any, context: Any) -> control_pb2.ReplanPlanResponse:
        """Gives a part of a plan another graph."""
        state = await self._control.replan(
            current_call(), request.plan_id, request.request_id, request.tasks, request.removed, request.explanation
        )
        return control_pb2.ReplanPlanResponse(plan_id=request.plan_id, state=state)

    async def ForkPlan(self, request: Any, context: Any) -> control_pb2.ForkPlanResponse:
        """Makes a plan of another one."""
        plan_id, made = await self._control.fork(
            current_call(), request.plan_id, request.request_id, request.at_version
        )
        return control_pb2.ForkPlanResponse(
            plan_id=plan_id, state=made.state, forked_at=made.forked_at, done=made.done, graph=made.graph
        )

    async def EstimatePlan(self, request: Any, context: Any) -> control_pb2.EstimatePlanResponse:
        """Says what a plan or a graph is going to take."""
        if bool(request.plan_id) == request.HasField("graph"):
            raise errors.FieldInvalid("graph: either a plan or a graph.", field="graph", rule="a plan or a graph")
        graph = request.graph if request.HasField("graph") else None
        budget = request.budget if request.HasField("budget") else None
        found = await self._control.estimate(current_call(), request.plan_id, graph, request.profile_id, budget)
        return control_pb2.EstimatePlanResponse(estimate=found)

    async def DiffPlan(self, request: Any, context: Any) -> control_pb2.DiffPlanResponse:
        """Compares graphs."""
        diff = await self._control.diff(
            current_call(), request.plan_id, request.from_revision, request.to_revision, request.other_plan_id
        )
        return control_pb2.DiffPlanResponse(diff=diff)

    async def RetryTask(self, request: Any, context: Any) -> control_pb2.RetryTaskResponse:
        """Tries a failed task again."""
        state = await self._say(request, planner_pb2.PLAN_COMMAND_RETRY, task_id=request.task_id, reason=request.reason)
        return control_pb2.RetryTaskResponse(plan_id=request.plan_id, state=state)

    async def SkipTask(self, request: Any, context: Any) -> control_pb2.SkipTaskResponse:
        """Leaves a task out."""
        values = value_text("values", request.values)
        state = await self._say(
            request,
            planner_pb2.PLAN_COMMAND_SKIP,
            task_id=request.task_id,
            reason=request.reason,
            role=request.role,
            outputs=request.outputs,
            values_json=values,
        )
        return control_pb2.SkipTaskResponse(plan_id=request.plan_id, state=state)

    async def RerunTask(self, request: Any, context: Any) -> control_pb2.RerunTaskResponse:
        """Does a task again, and all that depends on it."""
        state = await self._say(request, planner_pb2.PLAN_COMMAND_RERUN, task_id=request.task_id, reason=request.reason)
        return control_pb2.RerunTaskResponse(plan_id=request.plan_id, state=state)

    async def DecideApproval(self, request: Any, context: Any) -> control_pb2.DecideApprovalResponse:
        """Decides an approval."""
        state = await self._say(
            request,
            planner_pb2.PLAN_COMMAND_DECIDE,
            task_id=request.task_id,
            approved=request.approved,
            comment=request.comment,
        )
        return control_pb2.DecideApprovalResponse(plan_id=request.plan_id, state=state)

    async def _say(self, request: Any, command: planner_pb2.PlanCommand, **fields: Any) -> Any:
        return await self._control.command(current_call(), request.plan_id, command, request.request_id, **fields)
