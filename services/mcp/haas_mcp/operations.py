"""The calls of tools: allowed or denied, run once per request_id, recorded either way."""

import asyncio
import contextvars
import dataclasses
import hashlib
import json
import logging
import secrets
from collections.abc import Mapping
from typing import Any, Protocol

import rfc8785

from haas_common import deadlines, errors
from haas_common.blobs import Blobs
from haas_common.clock import monotonic_s
from haas_common.db import Database, Scope, Tx
from haas_common.group_commit import GroupCommit
from haas_common.limits import Limiter
from haas_common.profile_store import ProfileStore
from haas_mcp import domain, store
from haas_mcp.domain import Answer, Grant, Invocation, ToolSpec
from haas_mcp.policy.concurrency import TenantSlots
from haas_mcp.policy.denials import DENIALS, DenialLog
from haas_mcp.tools.registry import Registry

LOG = logging.getLogger(__name__)

#: Kept of the call's deadline for writing down what came of it.
_SETTLE_S = 1.0
#: A claim outlives the tool's own limit by this much before another process may take it over.
_LEASE_SLACK_S = 10.0
#: How long a duplicate waits at most before it looks again, seconds.
_LOOK_AGAIN_S = 1.0
#: How long the end of the process waits for cancelled calls, seconds, twice at most.
_CLOSE_S = 4.0


class Runner(Protocol):
    """A tool that acts outside the database."""

    async def run(self, grant: Grant, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Runs it."""


class Writer(Protocol):
    """A tool that only writes to the database."""

    async def write(self, tx: Tx, grant: Grant, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Writes in the transaction that also keeps the result."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What the operations work with.

    Attributes:
        endings: what ends calls, of all that end at the same time in one transaction a project.
    """

    database: Database
    endings: GroupCommit[store.Ending, bool]
    profiles: ProfileStore
    blobs: Blobs
    registry: Registry
    limiter: Limiter
    slots: TenantSlots
    denials: DenialLog
    runners: Mapping[str, Runner]
    writers: Mapping[str, Writer]


async def list_tools(parts: Parts, scope: Scope, profile_id: str) -> list[tuple[ToolSpec, int]]:
    """Returns the tools that the profile allows, by name, with their calls a minute (0: no limit)."""
    async with parts.database.tenant_tx(scope) as tx:
        profile = (await parts.profiles.newest(tx, scope, profile_id)).profile
    limits = profile.policies.rate_limits
    return [
        (parts.registry.spec(name), limits[name].rpm if name in limits else 0)
        for name in parts.registry.names()
        if name in profile.policies.tools_allowed
    ]


class Invocations:
    """Runs tools. One object per process: duplicates of a request wait here for the first."""

    def __init__(self, parts: Parts, instance: str) -> None:
        """Takes the parts, and the name that this instance keeps over a restart."""
        self._parts = parts
        self._claimant = store.Claimant(instance, secrets.token_hex(8))
        self._under_way: dict[tuple[Scope, str], asyncio.Event] = {}
        self._releases: set[asyncio.Task[None]] = set()
        self._callers: set[asyncio.Task[Any]] = set()

    async def invoke(self, asked: Invocation) -> Answer:
        """Checks a call, runs it once, keeps what it gave.

        Raises:
            those of policy.denials: denied.
            ToolArgumentsInvalid, RequestIdReused, ProfileMissing, DeadlinePassed: not run.
            ToolFailed, ToolTimeout, SandboxUnavailable, TableRowsBroken, …: the tool's own.
        """
        call = asked
        caller = asyncio.current_task()
        assert caller is not None
        self._callers.add(caller)
        caller.add_done_callback(self._callers.discard)
        try:
            call = domain.bound(asked)
            grant, known = await self._granted(call)
            if known is not None:
                return await self._replay(grant, known)
            await self._parts.limiter.take(call.scope, grant.profile.profile_id, call.tool, grant.rpm)
            with self._parts.slots.taken(call.scope.tenant_id):
                token = await self._claimed(grant)
                return token if isinstance(token, Answer) else await self._run(grant, token)
        except DENIALS as error:
            await self._denied(call, error)
            raise

    async def _granted(self, call: Invocation) -> tuple[Grant, Mapping[str, Any] | None]:
        """Checks policy and arguments; returns the grant and what an earlier call with this request_id gave."""
        async with self._parts.database.tenant_tx(call.scope) as tx:
            kept = await self._parts.profiles.newest(tx, call.scope, call.profile_id)
            known = await store.find(tx, call)
        spec = self._parts.registry.spec(call.tool)
        domain.check_grant(call, spec, kept.profile)
        self._parts.registry.check_arguments(call.tool, call.arguments)
        fingerprint = _fingerprint(call)
        grant = Grant(call, spec, kept.profile, kept.version, fingerprint)
        return grant, _settled(known, fingerprint)

    async def _replay(self, grant: Grant, kept: Mapping[str, Any]) -> Answer:
        result = kept.get("result")
        if result is None:
            content = await asyncio.to_thread(self._parts.blobs.read, grant.invocation.scope, kept["ref"])
            result = json.loads(content)
        return Answer(result, kept["duration_ms"], replayed=True)

    async def _claimed(self, grant: Grant) -> str | Answer:
        """Returns a claim's token, or the answer of the call that had the claim when this one came."""
        call, token = grant.invocation, self._claimant.token(secrets.token_hex(16))
        # A tool that must not run twice waits its lease out: the dead process may have called the other side.
        heir = self._claimant if grant.spec.idempotent else None
        while True:
            async with self._parts.database.tenant_tx(call.scope) as tx:
                lease_s = grant.spec.timeout_s + _LEASE_SLACK_S
                if await store.claim(tx, call, grant.fingerprint, token, lease_s, heir):
                    return token
                known = await store.find(tx, call)
            kept = _settled(known, grant.fingerprint)
            if kept is not None:
                return await self._replay(grant, kept)
            await self._changed(call)

    async def _changed(self, call: Invocation) -> None:
        """Waits until the call under way here has ended; at most a while, since it may be under way elsewhere."""
        ended = self._under_way.get((call.scope, call.request_id)) or asyncio.Event()
        try:
            async with asyncio.timeout(_LOOK_AGAIN_S):
                await ended.wait()
        except TimeoutError:
            LOG.debug("request %s is still under way", call.request_id)

    async def _run(self, grant: Grant, token: str) -> Answer:
        """Runs the tool under its claim, and keeps the result with its event, or gives the claim back."""
        call = grant.invocation
        ended = self._under_way[call.scope, call.request_id] = asyncio.Event()
        started = monotonic_s()
        try:
            if grant.spec.transactional:
                async with self._parts.database.tenant_tx(call.scope) as tx:
                    result = await self._parts.writers[call.tool].write(tx, grant, call.arguments)
                    answer, ending = await self._ended(grant, token, result, started)
                    [held] = await store.end(tx, call.scope, [ending])
                    return _held(answer, call, held)
            result = await self._within_limit(grant)
            answer, ending = await self._ended(grant, token, result, started)
            return _held(answer, call, await self._parts.endings.submit(call.scope, ending))
        except BaseException as error:
            await self._given_back(grant, token, error, started)
            raise
        finally:
            del self._under_way[call.scope, call.request_id]
            ended.set()

    async def _within_limit(self, grant: Grant) -> Mapping[str, Any]:
        spec = grant.spec
        limit_s = min(spec.timeout_s, deadlines.remaining_s(spec.timeout_s + _SETTLE_S) - _SETTLE_S)
        if limit_s <= 0:
            raise errors.DeadlinePassed
        try:
            async with asyncio.timeout(limit_s):
                return await self._parts.runners[spec.name].run(grant, grant.invocation.arguments)
        except TimeoutError as late:
            raise errors.ToolTimeout(f"{spec.name} did not end in time.", tool=spec.name, limit_s=limit_s) from late

    async def _ended(
        self, grant: Grant, token: str, result: Mapping[str, Any], started: float
    ) -> tuple[Answer, store.Ending]:
        """Returns the answer, and what is to be kept of it."""
        call = grant.invocation
        self._parts.registry.check_result(call.tool, result)
        duration_ms = _since_ms(started)
        content = json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
        kept: dict[str, Any] = {"duration_ms": duration_ms}
        if len(content) > domain.INLINE_RESULT_BYTES_MAX:
            kept["ref"] = await asyncio.to_thread(self._parts.blobs.put, call.scope, content)
        else:
            kept["result"] = result
        facts = {"outcome": "OK", "result_bytes": len(content), "result_sha256": hashlib.sha256(content).hexdigest()}
        payload = {**_facts(grant), **facts, "duration_ms": duration_ms}
        event = store.event_of(call, "ToolInvoked", payload, alone=grant.spec.transactional)
        text = json.dumps(kept, ensure_ascii=False, allow_nan=False)
        return Answer(result, duration_ms), store.Ending(call, event, token, text)

    async def _given_back(self, grant: Grant, token: str, error: BaseException, started: float) -> None:
        """Gives the claim back and records the failure, even though the caller has left or the deadline has passed."""
        # An own context: neither the call's deadline nor its cancellation may stop this.
        task = asyncio.create_task(
            self._give_back(grant, token, error, _since_ms(started)), context=contextvars.Context()
        )
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)
        await asyncio.shield(task)

    async def _give_back(self, grant: Grant, token: str, error: BaseException, duration_ms: int) -> None:
        call = grant.invocation
        cancelled = isinstance(error, asyncio.CancelledError)
        reason = error.reason if isinstance(error, errors.HaasError) else ""
        outcome = reason or ("CALL_CANCELLED" if cancelled else "INTERNAL_ERROR")
        try:
            async with self._parts.database.tenant_tx(call.scope) as tx:
                # The caller may have left while the commit of its result was under way: that says how the call ended.
                ours = await store.release(tx, call, token)
                if ours and not isinstance(error, DENIALS):
                    payload = {**_facts(grant), "outcome": outcome, "duration_ms": duration_ms}
                    failure = store.Ending(call, store.event_of(call, "ToolInvoked", payload))
                    await store.end(tx, call.scope, [failure])
        except errors.HaasError as second:
            # The claim ends by itself when its lease does; the caller gets the first error, not this one.
            LOG.warning("the claim of %s could not be given back: %s", call.request_id, second.message)

    async def _denied(self, call: Invocation, error: errors.HaasError) -> None:
        """Records a denial; a flood of the same ones as one a second, with their number."""
        repeats = self._parts.denials.admit(call.scope, call.tool, error.reason)
        if repeats is None:
            return
        payload = {"reason": error.reason, "metadata": dict(error.metadata), "repeats": repeats}
        await self._parts.endings.submit(call.scope, store.Ending(call, store.event_of(call, "ToolDenied", payload)))

    async def close(self) -> None:
        """Waits for what is still being written down: a call that was cancelled gives its claim back on its way out."""
        for unfinished in (self._callers, self._releases):
            if unfinished:
                await asyncio.wait(unfinished, timeout=_CLOSE_S)


def _held(answer: Answer, call: Invocation, held: bool) -> Answer:
    """Returns the answer of a call that still held its claim at its end. Raises LeaseLost."""
    if not held:
        raise errors.LeaseLost("Another process took this call over.", lease=call.request_id)
    return answer


def _settled(known: store.KnownRequest | None, fingerprint: str) -> Mapping[str, Any] | None:
    """Returns what an earlier call kept, or None. Raises RequestIdReused where it asked for something else."""
    if known is None:
        return None
    if known.fingerprint != fingerprint:
        raise errors.RequestIdReused("The request_id was used before, for another call.")
    return known.kept


def _fingerprint(call: Invocation) -> str:
    asked = {"tool": call.tool, "arguments": call.arguments, "plan_id": call.plan_id, "task_id": call.task_id}
    return hashlib.sha256(b"haas.tool.v1\0" + rfc8785.dumps(asked)).hexdigest()


def _facts(grant: Grant) -> dict[str, Any]:
    """What every event of an allowed call says; never the arguments themselves."""
    arguments = hashlib.sha256(rfc8785.dumps(dict(grant.invocation.arguments))).hexdigest()
    return {
        "arguments_sha256": arguments,
        "profile_id": grant.profile.profile_id,
        "profile_version": grant.profile_version,
    }


def _since_ms(started: float) -> int:
    return round((monotonic_s() - started) * 1000)
