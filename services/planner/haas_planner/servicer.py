"""The planner's door inside the fleet: messages to domain values and back."""

from typing import Any

from haas.planner.v1 import graph_pb2, planner_pb2, planner_pb2_grpc
from haas_common.calls import Call, current_call
from haas_planner.operations import Compile, Operations
from haas_planner.skills.registry import SPECS
from haas_planner.store import Command
from haas_planner.translate import graph_from_proto, graph_to_proto, inputs_from_proto

_KIND = {planner_pb2.PLAN_COMMAND_RUN: "run", planner_pb2.PLAN_COMMAND_CANCEL: "cancel"}


def plan_state(state: str) -> graph_pb2.PlanState:
    """Returns the enum's value for a state of the domain."""
    return graph_pb2.PlanState.Value(f"PLAN_STATE_{state.upper()}")


def actor_of(call: Call) -> str:
    """Returns who calls, for the history."""
    return call.claims.subject if call.claims else call.peer


class PlannerServicer(planner_pb2_grpc.PlannerServicer):
    """haas.planner.v1.Planner."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def CompilePlan(self, request: Any, context: Any) -> planner_pb2.CompilePlanResponse:
        """See planner.proto."""
        call = current_call()
        graph = graph_from_proto(request.graph, SPECS) if request.HasField("graph") else None
        compiled = await self._operations.compile(
            Compile(
                call.scope, request.plan_id, request.request_id, actor_of(call), call.trace_id, request.objective,
                request.language, request.intent, dict(request.slots), request.brief_artifact_id, list(request.goals),
                inputs_from_proto(request.inputs), request.profile_id, request.profile_version, graph,
                request.validate_only,
            )
        )  # fmt: skip
        return planner_pb2.CompilePlanResponse(graph=graph_to_proto(compiled), state=graph_pb2.PLAN_STATE_CREATED)

    async def CommandPlan(self, request: Any, context: Any) -> planner_pb2.CommandPlanResponse:
        """See planner.proto."""
        call = current_call()
        body = {"reason": request.reason} if request.reason else {}
        command = Command(
            call.scope, request.plan_id, request.request_id, _KIND[request.command], body, actor_of(call), call.trace_id
        )
        state = await self._operations.command(command)
        return planner_pb2.CommandPlanResponse(state=plan_state(state))
