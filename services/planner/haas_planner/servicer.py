"""The planner's door inside the fleet: messages to domain values and back."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from haas.planner.v1 import graph_pb2, planner_pb2, planner_pb2_grpc
from haas_common.calls import Call, current_call
from haas_planner.control import Asked, Control
from haas_planner.operations import Compile, Operations
from haas_planner.skills.registry import SPECS
from haas_planner.translate import (
    budget_from_proto,
    diff_to_proto,
    estimate_to_proto,
    graph_from_proto,
    graph_to_proto,
    inputs_from_proto,
    object_of,
    plan_state,
    tasks_from_proto,
)

Body = Mapping[str, Any]


def _reason(request: Any) -> Body:
    return {"reason": request.reason} if request.reason else {}


def _resume(request: Any) -> Body:
    budget = budget_from_proto(request.budget) if request.HasField("budget") else {}
    return {**_reason(request), **({"budget": budget} if budget else {})}


def _signal(request: Any) -> Body:
    value = object_of("value", request.value_json)
    return {"name": request.signal, "value": value, **({"task_id": request.task_id} if request.task_id else {})}


def _task(request: Any) -> Body:
    return {"task_id": request.task_id, **_reason(request)}


#: The commands that need nothing but what they carry: the kind of each, and its body.
_PLAIN: Mapping[int, tuple[str, Callable[[Any], Body]]] = {
    planner_pb2.PLAN_COMMAND_RUN: ("run", _reason),
    planner_pb2.PLAN_COMMAND_CANCEL: ("cancel", _reason),
    planner_pb2.PLAN_COMMAND_PAUSE: ("pause", _reason),
    planner_pb2.PLAN_COMMAND_RESUME: ("resume", _resume),
    planner_pb2.PLAN_COMMAND_SIGNAL: ("signal", _signal),
    planner_pb2.PLAN_COMMAND_RETRY: ("retry", _task),
    planner_pb2.PLAN_COMMAND_RERUN: ("rerun", _task),
}


def asked_of(call: Call, request: Any) -> Asked:
    """Returns whose request it is, and of which plan."""
    roles = call.claims.roles if call.claims else ()
    return Asked(call.scope, request.plan_id, request.request_id, call.actor, call.trace_id, roles)


class PlannerServicer(planner_pb2_grpc.PlannerServicer):
    """haas.planner.v1.Planner; each method is described in planner.proto."""

    def __init__(self, operations: Operations, control: Control) -> None:
        self._operations = operations
        self._control = control

    async def CompilePlan(self, request: Any, context: Any) -> planner_pb2.CompilePlanResponse:
        """Makes a plan of a brief."""
        call = current_call()
        graph = graph_from_proto(request.graph, SPECS) if request.HasField("graph") else None
        compiled = await self._operations.compile(
            Compile(
                call.scope, request.plan_id, request.request_id, call.actor, call.trace_id, request.objective,
                request.language, request.intent, dict(request.slots), request.brief_artifact_id, list(request.goals),
                inputs_from_proto(request.inputs), request.profile_id, request.profile_version, graph,
                request.validate_only, budget_from_proto(request.budget), request.repairs_max,
            )
        )  # fmt: skip
        return planner_pb2.CompilePlanResponse(graph=graph_to_proto(compiled), state=graph_pb2.PLAN_STATE_CREATED)

    async def CommandPlan(self, request: Any, context: Any) -> planner_pb2.CommandPlanResponse:
        """Says something to a plan."""
        asked = asked_of(current_call(), request)
        if request.command == planner_pb2.PLAN_COMMAND_DECIDE:
            result = await self._control.decide(asked, request.task_id, request.approved, request.comment)
        elif request.command == planner_pb2.PLAN_COMMAND_SKIP:
            values = object_of("values", request.values_json)
            result = await self._control.skip(
                asked, request.task_id, request.reason, request.role, request.outputs, values
            )
        else:
            kind, body_of = _PLAIN[request.command]
            result = await self._operations.decide(asked.command(kind, body_of(request)), must_exist=True)
        more = {name: value for name, value in result.items() if name != "state"}
        text = json.dumps(more, ensure_ascii=False, sort_keys=True) if more else ""
        return planner_pb2.CommandPlanResponse(state=plan_state(result["state"]), result_json=text)

    async def ForkPlan(self, request: Any, context: Any) -> planner_pb2.ForkPlanResponse:
        """Makes a plan of another one."""
        asked = asked_of(current_call(), request)
        made = await self._control.fork(asked, request.source_plan_id, request.at_version)
        return planner_pb2.ForkPlanResponse(
            graph=graph_to_proto(made.graph), state=plan_state(made.state), forked_at=made.forked_at, done=made.done
        )

    async def ReplanPlan(self, request: Any, context: Any) -> planner_pb2.ReplanPlanResponse:
        """Gives a part of a plan another graph."""
        tasks = tasks_from_proto(request.tasks, SPECS)
        asked = asked_of(current_call(), request)
        result = await self._control.replan(asked, tasks, list(request.removed), request.explanation)
        return planner_pb2.ReplanPlanResponse(state=plan_state(result["state"]))

    async def DiffPlan(self, request: Any, context: Any) -> planner_pb2.DiffPlanResponse:
        """Compares graphs."""
        found = await self._control.diff(
            current_call().scope, request.plan_id, request.from_revision, request.to_revision, request.other_plan_id
        )
        return planner_pb2.DiffPlanResponse(diff=diff_to_proto(found))

    async def EstimatePlan(self, request: Any, context: Any) -> planner_pb2.EstimatePlanResponse:
        """Says what a plan or a graph is going to take."""
        scope = current_call().scope
        budget = budget_from_proto(request.budget) if request.HasField("budget") else None
        if request.plan_id:
            found = await self._control.estimate_plan(scope, request.plan_id, budget)
        else:
            graph = graph_from_proto(request.graph, SPECS)
            found = await self._control.estimate_graph(scope, graph, request.profile_id, budget)
        return planner_pb2.EstimatePlanResponse(estimate=estimate_to_proto(found))
