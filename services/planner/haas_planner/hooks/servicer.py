"""haas.planner.v1.Hooks: messages to values and back."""

from typing import Any

from haas.planner.v1 import hooks_pb2, hooks_pb2_grpc
from haas_common.calls import current_call
from haas_planner.hooks.domain import Hook
from haas_planner.hooks.operations import Hooks
from haas_planner.translate import plan_state


class HooksServicer(hooks_pb2_grpc.HooksServicer):
    """haas.planner.v1.Hooks; each method is described in hooks.proto."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    async def PutHook(self, request: Any, context: Any) -> hooks_pb2.PutHookResponse:
        """Makes a hook, or changes it."""
        call = current_call()
        wanted = Hook(call.scope, request.hook_id, request.signal, request.plan_path, request.value_path)
        hook, secret = await self._hooks.put(wanted, call.actor, new_secret=request.new_secret)
        return hooks_pb2.PutHookResponse(hook=_message(hook), secret=secret)

    async def ListHooks(self, request: Any, context: Any) -> hooks_pb2.ListHooksResponse:
        """Lists the project's hooks."""
        return hooks_pb2.ListHooksResponse(hooks=map(_message, await self._hooks.listed(current_call().scope)))

    async def RemoveHook(self, request: Any, context: Any) -> hooks_pb2.RemoveHookResponse:
        """Removes a hook."""
        call = current_call()
        await self._hooks.remove(call.scope, request.hook_id, call.actor)
        return hooks_pb2.RemoveHookResponse()

    async def ReceiveHook(self, request: Any, context: Any) -> hooks_pb2.ReceiveHookResponse:
        """Takes a webhook."""
        headers = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
        plan_id, decided = await self._hooks.receive(
            request.address, request.plan_id, headers, request.body.data, current_call().trace_id
        )
        return hooks_pb2.ReceiveHookResponse(plan_id=plan_id, state=plan_state(decided["state"]))


def _message(hook: Hook) -> hooks_pb2.Hook:
    return hooks_pb2.Hook(
        hook_id=hook.hook_id, signal=hook.signal, plan_path=hook.plan_path, value_path=hook.value_path,
        url_path=hook.url_path, update_time=hook.updated_at,
    )  # fmt: skip
