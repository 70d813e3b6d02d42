"""Hooks are made, changed and removed by a project's admin; a webhook that one of them signed becomes a signal."""

import secrets
from collections.abc import Mapping
from typing import Any

from haas_common import clock
from haas_common.db import Database, Scope
from haas_common.errors import PayloadTooLarge, ResourceNotFound
from haas_common.eventstore import NewEvent, append
from haas_planner.hooks import domain, store
from haas_planner.hooks.domain import Hook
from haas_planner.operations import Operations
from haas_planner.store import Command


class Hooks:
    """What the servicer calls."""

    def __init__(self, database: Database, operations: Operations) -> None:
        self._database = database
        self._operations = operations

    async def put(self, hook: Hook, actor: str, *, new_secret: bool = False) -> tuple[Hook, str]:
        """Makes a hook, or changes it; the same again changes nothing. Returns it, and its secret where that is new.

        Raises:
            FieldInvalid: an expression is none.
            PayloadTooLarge: the project has as many as it may.
        """
        domain.check(hook)
        async with self._database.tenant_tx(hook.scope) as tx:
            known = {one.hook_id: one for one in await store.hooks(tx, hook.scope)}
            before = known.get(hook.hook_id)
            if before is None and len(known) >= domain.HOOKS_MAX:
                raise PayloadTooLarge(f"A project has at most {domain.HOOKS_MAX} hooks.")
            fresh = secrets.token_bytes(domain.SECRET_BYTES) if before is None or new_secret else None
            if before is not None and fresh is None and before.config == hook.config:
                return before, ""
            kept = await store.keep(tx, hook, fresh)
            payload = {
                "hook_id": hook.hook_id, "signal": hook.signal, "plan_path": hook.plan_path,
                "value_path": hook.value_path, "new_secret": fresh is not None,
            }  # fmt: skip
            await append(tx, [NewEvent(hook.scope, _stream(hook.hook_id), "HookRegistered", payload, actor)])
        return kept, domain.secret_text(fresh) if fresh is not None else ""

    async def listed(self, scope: Scope) -> list[Hook]:
        """Returns a project's hooks, by id."""
        async with self._database.tenant_tx(scope) as tx:
            return await store.hooks(tx, scope)

    async def remove(self, scope: Scope, hook_id: str, actor: str) -> None:
        """Removes a hook. Raises ResourceNotFound."""
        async with self._database.tenant_tx(scope) as tx:
            if not await store.remove(tx, scope, hook_id):
                raise ResourceNotFound(f"There is no hook {hook_id}.", resource="hook", id=hook_id)
            await append(tx, [NewEvent(scope, _stream(hook_id), "HookRemoved", {"hook_id": hook_id}, actor)])

    async def receive(
        self, address: str, plan_id: str, headers: Mapping[str, str], body: bytes, trace_id: str
    ) -> tuple[str, Mapping[str, Any]]:
        """Takes a webhook; returns the plan that it was for, and the decision on its signal.

        Raises:
            TokenMissing, TokenInvalid, TokenExpired: see `domain.verify`.
            FieldInvalid, PayloadTooLarge: its body is no JSON, or names no plan, or its value is too large.
            HaasError: what a signal is refused for.
        """
        scope, hook_id = domain.located(address)
        async with self._database.tenant_tx(scope) as tx:
            found = await store.find(tx, scope, hook_id)
        hook, secret = found if found is not None else (None, None)
        message_id = domain.verify(secret, headers, body, clock.utc_now().timestamp())
        assert hook is not None  # it has verified
        document = domain.read(body)
        plan_id, value = domain.plan_of(hook, document, plan_id), domain.value_of(hook, document)
        command = Command(
            scope, plan_id, domain.request_id_of(hook_id, message_id), "signal",
            {"name": hook.signal, "value": value}, f"hook/{hook_id}", trace_id,
        )  # fmt: skip
        return plan_id, await self._operations.decide(command, must_exist=True)


def _stream(hook_id: str) -> str:
    return f"hook/{hook_id}"
