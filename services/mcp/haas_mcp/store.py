"""Requests and events of tool calls in the database; one named query each."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from haas_common.db import Database, Scope, Tx, load_queries
from haas_common.eventstore import NewEvent, append
from haas_mcp.domain import Invocation

SQL = load_queries("haas_mcp")
METHOD = "haas.mcp.v1.Tools/InvokeTool"


@dataclasses.dataclass(frozen=True, slots=True)
class KnownRequest:
    """A request seen before.

    Attributes:
        fingerprint: of what it asked for.
        kept: what it led to; None: under way, or left behind.
        token: of its newest claim.
    """

    fingerprint: str
    kept: Mapping[str, Any] | None
    token: str


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """What ends a call: its event, and the result under its claim where it has one.

    Attributes:
        token: of the claim; "" for a call that holds none.
        result: as it is kept, JSON.
    """

    call: Invocation
    event: NewEvent
    token: str = ""
    result: str = ""


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
    return KnownRequest(row["fingerprint"], row["result"], row["claim_token"]) if row else None


async def end_all(database: Database, scope: Scope, endings: Sequence[Ending]) -> list[bool]:
    """Ends calls of one project in one transaction; see `end`."""
    async with database.tenant_tx(scope) as tx:
        return await end(tx, scope, endings)


async def end(tx: Tx, scope: Scope, endings: Sequence[Ending]) -> list[bool]:
    """Keeps results and appends events; False for a call whose claim was taken over: nothing is kept of it."""
    rows = [{"request_id": e.call.request_id, "token": e.token, "result": e.result} for e in endings if e.token]
    held = {""}
    if rows:
        settled = await tx.all(
            SQL.settle_requests,
            tenant_id=scope.tenant_id,
            project_id=scope.project_id,
            method=METHOD,
            rows=json.dumps(rows, ensure_ascii=False),
        )
        held |= {row["claim_token"] for row in settled}
    await append(tx, [e.event for e in endings if e.token in held])
    return [e.token in held for e in endings]


async def release(tx: Tx, call: Invocation, token: str) -> bool:
    """Gives the claim back, unless another has it by now; False where its result is kept, and its event with it."""
    if await tx.run(SQL.release_request, **_key(call), token=token):
        return True
    known = await find(tx, call)
    return known is None or known.token != token


def event_of(call: Invocation, type_: str, payload: Mapping[str, Any], *, alone: bool = False) -> NewEvent:
    """Returns an event of the call, of its stream.

    With `alone`, the transaction has appended already and holds the project's head: the event then goes to a stream of
    the request's own, which no other call can hold while it waits for that head.
    """
    return NewEvent(
        call.scope,
        f"tool/{call.request_id}" if alone else call.stream,
        type_,
        {"tool": call.tool, "request_id": call.request_id, **payload},
        call.claims.subject,
        plan_id=call.plan_id,
        task_id=call.task_id,
        causation_id=call.call_id,
        correlation_id=call.plan_id or call.call_id,
        trace_id=call.trace_id,
    )
