"""Requests to the planner about one plan, each idempotent by its request_id."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from haas.planner.v1 import graph_pb2, planner_pb2, planner_pb2_grpc
from haas_common.calls import Call
from haas_common.channels import Channels, with_token
from haas_common.ids import new_id
from haas_orchestrator import domain

#: An answer is the decision of the plan's shard.
DECIDED_S = 15.0
#: What reads a whole plan may take longer than a decision.
READ_S = 25.0


class Control:
    """Hands requests on to the planner, with the caller's token."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    async def command(
        self, call: Call, plan_id: str, command: planner_pb2.PlanCommand, request_id: str, **fields: Any
    ) -> graph_pb2.PlanState:
        """Says something to a plan; returns its state after it. `fields` are CommandPlanRequest's."""
        request = planner_pb2.CommandPlanRequest(
            **_of(call), plan_id=plan_id, request_id=request_id or new_id("rq"), command=command, **fields
        )
        answer: planner_pb2.CommandPlanResponse = await self._ask("CommandPlan", call, request, DECIDED_S)
        return answer.state

    async def replan(
        self,
        call: Call,
        plan_id: str,
        request_id: str,
        tasks: Sequence[graph_pb2.Task],
        removed: Sequence[str],
        explanation: str,
    ) -> graph_pb2.PlanState:
        """Gives a part of a plan another graph; returns the plan's state after it."""
        request = planner_pb2.ReplanPlanRequest(
            **_of(call), plan_id=plan_id, request_id=request_id or new_id("rq"), tasks=tasks, removed=removed,
            explanation=explanation,
        )  # fmt: skip
        answer: planner_pb2.ReplanPlanResponse = await self._ask("ReplanPlan", call, request, READ_S)
        return answer.state

    async def fork(
        self, call: Call, source_plan_id: str, request_id: str, at_version: int
    ) -> tuple[str, planner_pb2.ForkPlanResponse]:
        """Makes a plan of another one; returns its id, the same for the same request, and what it is."""
        request_id = request_id or new_id("rq")
        plan_id = domain.plan_id_of(call.scope.tenant_id, call.scope.project_id, request_id)
        request = planner_pb2.ForkPlanRequest(
            **_of(call), plan_id=plan_id, request_id=request_id, source_plan_id=source_plan_id, at_version=at_version
        )
        return plan_id, await self._ask("ForkPlan", call, request, READ_S)

    async def diff(
        self, call: Call, plan_id: str, from_revision: int, to_revision: int, other_plan_id: str
    ) -> graph_pb2.GraphDiff:
        """Compares two revisions of a plan, or two plans."""
        request = planner_pb2.DiffPlanRequest(
            **_of(call), plan_id=plan_id, from_revision=from_revision, to_revision=to_revision,
            other_plan_id=other_plan_id,
        )  # fmt: skip
        answer: planner_pb2.DiffPlanResponse = await self._ask("DiffPlan", call, request, READ_S)
        return answer.diff

    async def estimate(
        self,
        call: Call,
        plan_id: str,
        graph: graph_pb2.Graph | None,
        profile_id: str,
        budget: graph_pb2.Budget | None,
    ) -> graph_pb2.Estimate:
        """Says what a plan, or a graph that is no plan yet, is going to take."""
        request = planner_pb2.EstimatePlanRequest(
            **_of(call), plan_id=plan_id, graph=graph, profile_id=profile_id, budget=budget
        )
        answer: planner_pb2.EstimatePlanResponse = await self._ask("EstimatePlan", call, request, READ_S)
        return answer.estimate

    async def _ask(self, method: str, call: Call, request: Message, timeout_s: float) -> Any:
        stub = planner_pb2_grpc.PlannerStub(self._channels.channel("planner"))
        return await getattr(stub, method)(request, metadata=with_token(call), timeout=timeout_s, wait_for_ready=True)


def _of(call: Call) -> dict[str, str]:
    return {"tenant_id": call.scope.tenant_id, "project_id": call.scope.project_id}
