"""Requests and events of tool calls in the database; one named query each."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from haas_common.db import Tx, load_queries
from haas_common.eventstore import NewEvent, append
from haas_mcp.domain import Invocation

SQL = load_queries("haas_mcp")
METHOD = "haas.mcp.v1.Tools/InvokeTool"


@dataclasses.dataclass(frozen=True, slots=True)
class KnownRequest:
    """A request seen before: what it asked for, and what it led to (None: under way, or left behind)."""

    fingerprint: str
    kept: Mapping[str, Any] | None


def _key(call: Invocation) -> dict[str, str]:
    scope = call.scope
    return {
        "tenant_id": scope.tenant_id,
        "project_id": scope.project_id,
        "method": METHOD,
        "request_id": call.request_id,
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims: an instance keeps its name over a restart, its process does not.

    Attributes:
        instance: e.g. "mcp@host/127.0.0.1:9105".
        process: differs at each start.
    """

    instance: str
    process: str

    def token(self, number: str) -> str:
        """Returns the token of one claim."""
        return f"{self.instance} {self.process} {number}"


async def claim(
    tx: Tx, call: Invocation, fingerprint: str, token: str, lease_s: float, heir: Claimant | None = None
) -> bool:
    """Claims the request under a token for `lease_s` seconds of the database's clock.

    With `heir`, a claim that an earlier process of the same instance left behind is taken over at once: that process
    is dead, so nothing can be under way.
    """
    row = await tx.maybe(
        SQL.claim_request,
        **_key(call),
        fingerprint=fingerprint,
        token=token,
        lease_s=lease_s,
        instance=f"{heir.instance} " if heir else None,
        process=f"{heir.instance} {heir.process} " if heir else None,
    )
    return row is not None


async def find(tx: Tx, call: Invocation) -> KnownRequest | None:
    """Returns what is known of the request."""
    row = await tx.maybe(SQL.get_request, **_key(call))
    return KnownRequest(row["fingerprint"], row["result"]) if row else None


async def settle(tx: Tx, call: Invocation, token: str, kept: Mapping[str, Any]) -> bool:
    """Keeps the result; False when the claim was taken over meanwhile."""
    result = json.dumps(kept, ensure_ascii=False, allow_nan=False)
    return await tx.run(SQL.settle_request, **_key(call), token=token, result=result) == 1


async def release(tx: Tx, call: Invocation, token: str) -> None:
    """Gives the claim back."""
    await tx.run(SQL.release_request, **_key(call), token=token)


async def record(tx: Tx, call: Invocation, type_: str, payload: Mapping[str, Any], *, alone: bool = False) -> None:
    """Appends an event of the call to its stream.

    With `alone`, the transaction has appended already and holds the project's head: the event then goes to a stream of
    the request's own, which no other call can hold while it waits for that head.
    """
    event = NewEvent(
        call.scope,
        f"tool/{call.request_id}" if alone else call.stream,
        type_,
        {"tool": call.tool, "request_id": call.request_id, **payload},
        call.claims.subject,
        plan_id=call.plan_id,
        task_id=call.task_id,
        trace_id=call.trace_id,
    )
    await append(tx, [event])
