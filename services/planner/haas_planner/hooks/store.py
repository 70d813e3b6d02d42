"""Hooks as they are kept, a named query each."""

from haas_common.db import Scope, Tx, load_queries
from haas_common.sealing import Subject
from haas_planner.hooks.domain import HOOKS_MAX, Hook

SQL = load_queries("haas_planner")


async def hooks(tx: Tx, scope: Scope) -> list[Hook]:
    """Returns a project's hooks, by id."""
    rows = await tx.all(SQL.list_hooks, tenant_id=scope.tenant_id, project_id=scope.project_id, limit=HOOKS_MAX)
    return [
        Hook(scope, row["hook_id"], row["signal"], row["plan_path"], row["value_path"], row["updated_at"])
        for row in rows
    ]  # fmt: skip


async def find(tx: Tx, scope: Scope, hook_id: str) -> tuple[Hook, bytes | None] | None:
    """Returns a hook and its secret, which is None once the project's data was erased. Raises HashMismatch."""
    row = await tx.maybe(SQL.get_hook, **_key(scope, hook_id))
    if row is None:
        return None
    hook = Hook(scope, hook_id, row["signal"], row["plan_path"], row["value_path"], row["updated_at"])
    return hook, await tx.vault.open_bytes(tx, scope, row["key_id"], _place(hook_id), row["secret"])


async def keep(tx: Tx, hook: Hook, secret: bytes | None) -> Hook:
    """Keeps a hook; with a secret where that is new. Returns it as it stands."""
    what = {"signal": hook.signal, "plan_path": hook.plan_path, "value_path": hook.value_path}
    if secret is None:
        row = await tx.one(SQL.change_hook, **_key(hook.scope, hook.hook_id), **what)
    else:
        key_id, sealed = await tx.vault.seal_bytes(tx, Subject(hook.scope, ""), _place(hook.hook_id), secret)
        row = await tx.one(SQL.keep_hook, **_key(hook.scope, hook.hook_id), **what, key_id=key_id, secret=sealed)
    return Hook(hook.scope, hook.hook_id, *hook.config, row["updated_at"])


async def remove(tx: Tx, scope: Scope, hook_id: str) -> bool:
    """Removes a hook; says whether it was there."""
    return await tx.run(SQL.remove_hook, **_key(scope, hook_id)) > 0


def _key(scope: Scope, hook_id: str) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id, "hook_id": hook_id}


def _place(hook_id: str) -> tuple[str, str]:
    return (f"hook/{hook_id}", "secret")
