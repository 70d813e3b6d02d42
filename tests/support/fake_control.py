"""The part of the fleet in the test's process that plans are steered by."""

from typing import Any

from haas.orchestrator.v1 import control_pb2, control_pb2_grpc
from haas.planner.v1 import graph_pb2

RUNNING = graph_pb2.PLAN_STATE_RUNNING
DIFF = graph_pb2.GraphDiff(
    from_revision=1,
    to_revision=2,
    unchanged=3,
    added=[graph_pb2.Task(task_id="T-4", skill="faq.answer", title="Answer")],
    removed=[graph_pb2.Task(task_id="T-2", skill="copy.draft", title="Write")],
    changed=[graph_pb2.TaskChange(task_id="T-3", fields=["skill", "policy"], after=graph_pb2.Task(skill="x.y"))],
    inputs_added=[graph_pb2.Input(name="budget", type="value.number")],
)
ESTIMATE = graph_pb2.Estimate(
    expected=graph_pb2.Cost(tokens=300, seconds=20, work_seconds=45),
    at_most=graph_pb2.Cost(tokens=900, money_micros=2_500_000, seconds=180, work_seconds=200),
    critical_path=["T-1", "T-3"],
    tasks=3,
    measured=1,
    open_ended=["T-2"],
    may_exceed=["tokens"],
)


class Steered(control_pb2_grpc.PlanControlServicer):
    """haas.orchestrator.v1.PlanControl: every call is kept and answered; the plan is running."""

    async def _enter(self, request: Any, context: Any) -> None:
        raise NotImplementedError

    async def _stands(self, request: Any, context: Any, answer: Any) -> Any:
        await self._enter(request, context)
        return answer(plan_id=request.plan_id, state=RUNNING)

    async def PausePlan(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return control_pb2.PausePlanResponse(plan_id=request.plan_id, state=graph_pb2.PLAN_STATE_PAUSED)

    async def ResumePlan(self, request: Any, context: Any) -> Any:
        return await self._stands(request, context, control_pb2.ResumePlanResponse)

    async def SignalPlan(self, request: Any, context: Any) -> Any:
        return await self._stands(request, context, control_pb2.SignalPlanResponse)

    async def ReplanPlan(self, request: Any, context: Any) -> Any:
        return await self._stands(request, context, control_pb2.ReplanPlanResponse)

    async def RetryTask(self, request: Any, context: Any) -> Any:
        return await self._stands(request, context, control_pb2.RetryTaskResponse)

    async def SkipTask(self, request: Any, context: Any) -> Any:
        return await self._stands(request, context, control_pb2.SkipTaskResponse)

    async def RerunTask(self, request: Any, context: Any) -> Any:
        return await self._stands(request, context, control_pb2.RerunTaskResponse)

    async def DecideApproval(self, request: Any, context: Any) -> Any:
        return await self._stands(request, context, control_pb2.DecideApprovalResponse)

    async def ForkPlan(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return control_pb2.ForkPlanResponse(
            plan_id="pl-00000002",
            state=graph_pb2.PLAN_STATE_CREATED,
            forked_at=request.at_version or 9,
            done=["T-1"],
            graph=graph_pb2.Graph(tasks=[graph_pb2.Task(task_id="T-1"), graph_pb2.Task(task_id="T-2")]),
        )

    async def DiffPlan(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        return control_pb2.DiffPlanResponse(diff=DIFF)

    async def EstimatePlan(self, request: Any, context: Any) -> Any:
        await self._enter(request, context)
        found = graph_pb2.Estimate()
        found.CopyFrom(ESTIMATE)
        if request.budget.tokens:
            found.exceeds.append("tokens")
        return control_pb2.EstimatePlanResponse(estimate=found)
