"""Messages to calls of the operations and back."""

import json
from typing import Any

import grpc.aio
from google.protobuf import json_format, struct_pb2

from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas_common import structs
from haas_common.calls import current_call
from haas_common.errors import ToolArgumentsInvalid
from haas_common.ids import new_id
from haas_mcp import operations
from haas_mcp.domain import Invocation


class ToolsServicer(mcp_pb2_grpc.ToolsServicer):
    """haas.mcp.v1.Tools."""

    def __init__(self, parts: operations.Parts, invocations: operations.Invocations) -> None:
        self._parts = parts
        self._invocations = invocations

    async def ListTools(
        self, request: mcp_pb2.ListToolsRequest, context: grpc.aio.ServicerContext
    ) -> mcp_pb2.ListToolsResponse:
        """Lists the tools that the profile allows."""
        call = current_call()
        profile_id = call.claims.profile_id if call.claims else ""
        tools = [
            mcp_pb2.Tool(
                name=spec.name,
                description=spec.description,
                input_schema_json=json.dumps(spec.input_schema),
                output_schema_json=json.dumps(spec.output_schema),
                rpm=rpm,
            )
            for spec, rpm in await operations.list_tools(self._parts, call.scope, profile_id)
        ]
        return mcp_pb2.ListToolsResponse(tools=tools)

    async def InvokeTool(
        self, request: mcp_pb2.InvokeToolRequest, context: grpc.aio.ServicerContext
    ) -> mcp_pb2.InvokeToolResponse:
        """Calls a tool."""
        call = current_call()
        assert call.claims is not None
        invocation = Invocation(
            scope=call.scope,
            claims=call.claims,
            tool=request.tool,
            arguments=_arguments(request),
            request_id=request.request_id or new_id("rq"),
            plan_id=request.plan_id,
            task_id=request.task_id,
            profile_id=request.profile_id,
            trace_id=call.trace_id,
            call_id=call.request_id,
        )
        answer = await self._invocations.invoke(invocation)
        result = json_format.ParseDict(answer.result, struct_pb2.Struct(), max_recursion_depth=50)
        return mcp_pb2.InvokeToolResponse(result=result, replayed=answer.replayed, duration_ms=answer.duration_ms)


def _arguments(request: mcp_pb2.InvokeToolRequest) -> dict[str, Any]:
    """The arguments as JSON has them. Raises ToolArgumentsInvalid for what JSON cannot say, or too deep a nesting."""
    try:
        return structs.read_struct(request.arguments)
    except structs.StructInvalid as error:
        sentence = f"The arguments break a rule: {error}."
        raise ToolArgumentsInvalid(sentence, tool=request.tool, field="arguments", rule=error.rule) from None
