"""The public face: messages to domain values and back."""

from typing import Any

from haas.orchestrator.v1 import (
    orchestrator_pb2,
    orchestrator_pb2_grpc,
    privacy_pb2,
    privacy_pb2_grpc,
)
from haas.planner.v1 import planner_pb2
from haas_common import errors
from haas_common.calls import current_call
from haas_common.db import Database
from haas_common.ids import new_id
from haas_common.structs import StructInvalid, read_struct
from haas_orchestrator import domain, messages, store
from haas_orchestrator.operations import Operations, Wanted, malformed
from haas_orchestrator.privacy import Privacy, order_of

PAGE = 50
#: As many are named in one event.
KEYS_PAGE = 200


def _no_plan(plan_id: str) -> errors.ResourceNotFound:
    return errors.ResourceNotFound(f"There is no plan {plan_id}.", resource="plan", id=plan_id)


class OrchestratorServicer(orchestrator_pb2_grpc.OrchestratorServicer):
    """haas.orchestrator.v1.Orchestrator; each method is described in orchestrator.proto."""

    def __init__(self, operations: Operations, database: Database) -> None:
        self._operations = operations
        self._database = database

    async def DetectIntent(self, request: Any, context: Any) -> orchestrator_pb2.DetectIntentResponse:
        """Says what a text asks for."""
        found = await self._operations.detect_intent(current_call().scope, request.text)
        return orchestrator_pb2.DetectIntentResponse(
            intent=found.intent,
            slots=found.slots,
            confidence=found.confidence,
            language=found.language,
            engine=found.engine,
        )

    async def CreatePlan(self, request: Any, context: Any) -> orchestrator_pb2.CreatePlanResponse:
        """Writes a brief, makes a validated plan of it."""
        graph = request.graph if request.HasField("graph") else None
        try:
            values = read_struct(request.inputs)
        except StructInvalid as error:
            raise errors.FieldInvalid(f"inputs: {error}.", field="inputs", rule=error.rule) from None
        budget = request.budget if request.HasField("budget") else None
        repairs_max = request.repairs_max if request.HasField("repairs_max") else None
        wanted = Wanted(request.objective, values, graph, request.request_id, request.profile_id, budget, repairs_max)
        made = await self._operations.create_plan(current_call(), wanted)
        return orchestrator_pb2.CreatePlanResponse(
            plan_id=made.plan_id,
            dag_summary=messages.summary(made.graph),
            brief_artifact_id=made.brief_artifact_id,
            graph=made.graph,
            intent=made.intent,
        )

    async def RunPlan(self, request: Any, context: Any) -> orchestrator_pb2.RunPlanResponse:
        """Starts a plan."""
        call = current_call()
        state = await self._operations.command_plan(
            call, request.plan_id, planner_pb2.PLAN_COMMAND_RUN, request.request_id
        )
        path = f"/v1/plans/{request.plan_id}/events?tenant_id={call.scope.tenant_id}&project_id={call.scope.project_id}"
        return orchestrator_pb2.RunPlanResponse(plan_id=request.plan_id, state=state, events_path=path)

    async def CancelPlan(self, request: Any, context: Any) -> orchestrator_pb2.CancelPlanResponse:
        """Stops a plan."""
        state = await self._operations.command_plan(
            current_call(), request.plan_id, planner_pb2.PLAN_COMMAND_CANCEL, request.request_id, request.reason
        )
        return orchestrator_pb2.CancelPlanResponse(plan_id=request.plan_id, state=state)

    async def GetPlanStatus(self, request: Any, context: Any) -> orchestrator_pb2.GetPlanStatusResponse:
        """Reads where a plan stands."""
        scope = current_call().scope
        async with self._database.tenant_tx(scope) as tx:
            row = await store.get_plan(tx, scope, request.plan_id)
            if row is None:
                raise _no_plan(request.plan_id)
            return messages.status(row, await store.plan_artifacts(tx, scope, request.plan_id))

    async def GetPlan(self, request: Any, context: Any) -> orchestrator_pb2.GetPlanResponse:
        """Reads a plan and its graph."""
        scope = current_call().scope
        async with self._database.tenant_tx(scope) as tx:
            row = await store.get_plan(tx, scope, request.plan_id)
            if row is None:
                raise _no_plan(request.plan_id)
            tasks, given = await store.graph_of(tx, scope, request.plan_id)
        return orchestrator_pb2.GetPlanResponse(plan=messages.plan(row), graph=messages.graph(tasks, given))

    async def ListPlans(self, request: Any, context: Any) -> orchestrator_pb2.ListPlansResponse:
        """Lists plans, newest first."""
        scope, size = current_call().scope, request.page_size or PAGE
        try:
            before = domain.read_cursor(request.page_token)
        except domain.Malformed as error:
            raise malformed(error) from None
        async with self._database.tenant_tx(scope) as tx:
            rows = await store.list_plans(tx, scope, before, size + 1)
        more = len(rows) > size
        token = domain.cursor_after(rows[size - 1]["created_at"], rows[size - 1]["plan_id"]) if more else ""
        return orchestrator_pb2.ListPlansResponse(plans=map(messages.plan, rows[:size]), next_page_token=token)

    async def ListTasks(self, request: Any, context: Any) -> orchestrator_pb2.ListTasksResponse:
        """Lists a plan's tasks by id."""
        scope, size = current_call().scope, request.page_size or PAGE
        try:
            after = domain.read_task_cursor(request.page_token)
        except domain.Malformed as error:
            raise malformed(error) from None
        async with self._database.tenant_tx(scope) as tx:
            if await store.get_plan(tx, scope, request.plan_id) is None:
                raise _no_plan(request.plan_id)
            rows = await store.list_tasks(tx, scope, request.plan_id, after, size + 1)
        token = rows[size - 1]["task_id"] if len(rows) > size else ""
        return orchestrator_pb2.ListTasksResponse(tasks=map(messages.task, rows[:size]), next_page_token=token)

    async def GetTaskDependencies(self, request: Any, context: Any) -> orchestrator_pb2.GetTaskDependenciesResponse:
        """Says what depends on a task, or what it depends on."""
        scope, size, plan_id = current_call().scope, request.page_size or PAGE, request.plan_id
        try:
            after = domain.read_task_cursor(request.page_token)
        except domain.Malformed as error:
            raise malformed(error) from None
        upwards = request.direction == orchestrator_pb2.DEPENDENCY_DIRECTION_ANCESTORS
        async with self._database.tenant_tx(scope) as tx:
            rows = await store.dependencies(tx, scope, plan_id, request.task_id, after, size + 1, upwards=upwards)
            # Whatever has dependencies is there; only a task without any has to be looked for.
            if not rows and not await store.task_exists(tx, scope, plan_id, request.task_id):
                if await store.get_plan(tx, scope, plan_id) is None:
                    raise _no_plan(plan_id)
                sentence = f"{plan_id} has no task {request.task_id}."
                raise errors.ResourceNotFound(sentence, resource="task", id=request.task_id)
        token = rows[size - 1]["task_id"] if len(rows) > size else ""
        return orchestrator_pb2.GetTaskDependenciesResponse(
            tasks=map(messages.dependency, rows[:size]), total=rows[0]["total"] if rows else 0, next_page_token=token
        )


class PrivacyServicer(privacy_pb2_grpc.PrivacyServicer):
    """haas.orchestrator.v1.Privacy; each method is described in privacy.proto."""

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy

    async def EraseData(self, request: Any, context: Any) -> privacy_pb2.EraseDataResponse:
        """Erases a person's data."""
        request_id = request.request_id or new_id("rq")
        order = order_of(current_call(), request.subject, request.everything, request.reason, request_id)
        done = await self._privacy.erase(order)
        return privacy_pb2.EraseDataResponse(
            subject_hash=done.subject_hash,
            key_ids=done.key_ids,
            plans=done.plans,
            artifacts=done.artifacts,
            blobs=done.blobs,
            seq=done.seq,
        )

    async def ListSubjects(self, request: Any, context: Any) -> privacy_pb2.ListSubjectsResponse:
        """Lists whose data there is."""
        size = request.page_size or PAGE
        try:
            after = domain.read_subject_cursor(request.page_token)
        except domain.Malformed as error:
            raise malformed(error) from None
        rows = await self._privacy.subjects(current_call().scope, after, size + 1)
        token = domain.subject_cursor(rows[size - 1]["subject"]) if len(rows) > size else ""
        page = map(messages.data_subject, rows[:size])
        return privacy_pb2.ListSubjectsResponse(subjects=page, next_page_token=token)

    async def ExportDataKeys(self, request: Any, context: Any) -> privacy_pb2.ExportDataKeysResponse:
        """Hands keys out."""
        size = request.page_size or KEYS_PAGE
        try:
            after = domain.read_key_cursor(request.page_token)
        except domain.Malformed as error:
            raise malformed(error) from None
        taken = await self._privacy.export_keys(current_call(), after, size)
        keys = [
            privacy_pb2.ExportedDataKey(
                key_id=one.key_id, subject=one.subject, key=one.key, create_time=messages.timestamp(one.created_at)
            )
            for one in taken
        ]
        # A full page may be the last one: what is told of in the history is what was given, not one more.
        token = taken[-1].key_id if len(taken) == size else ""
        return privacy_pb2.ExportDataKeysResponse(keys=keys, next_page_token=token)
