"""Erasing what the history holds of a person, and handing its keys out: the history stays whole and tells of both.

One transaction locks the person's keys, so that nobody writes under them meanwhile, destroys them, takes the plaintext
out of the read models and says so in the history. Blobs are deleted after it: they are marked in it, so that whoever
comes next makes up for a crash in between.
"""

import asyncio
import dataclasses
import datetime
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from haas_common import errors
from haas_common.blobs import Blobs
from haas_common.calls import Call
from haas_common.db import Database, Lease, Scope, Tx
from haas_common.doorbell import Doorbell
from haas_common.eventstore import NewEvent, append
from haas_orchestrator import domain, store
from haas_orchestrator.store import Holding

_log = logging.getLogger(__name__)
EVERYBODY = "*"
METHOD = "EraseData"
LEASE = "relay/erasure"
_OVER = ("completed", "failed", "cancelled")
_ERASE_S = 50.0
#: An address takes 74 bytes of a payload of 32 KiB at most.
_REFS_PER_EVENT = 200
_BLOBS_PER_STEP = 1000
_NAMED_MAX = 5
REFUSED: Mapping[str, Any] = {
    "reason": "DATA_ERASED",
    "message": "This plan's data was erased.",
    "metadata": {"resource": "plan"},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What is to be erased, by whose order."""

    scope: Scope
    subject: str
    reason: str
    request_id: str
    actor: str
    trace_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Erased:
    """What was erased; see EraseDataResponse."""

    subject_hash: str
    key_ids: Sequence[str] = ()
    plans: int = 0
    artifacts: int = 0
    blobs: int = 0
    seq: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class TakenKey:
    """A living key in the clear; it is never printed."""

    key_id: str
    subject: str
    created_at: datetime.datetime
    key: bytes = dataclasses.field(repr=False)


def order_of(call: Call, subject: str, everything: bool, reason: str, request_id: str) -> Order:
    """Returns the order of a call. Raises FieldInvalid unless it names a person or everybody."""
    if everything == bool(subject):
        sentence = "subject: name a person, or say everything; not both."
        raise errors.FieldInvalid(sentence, field="subject", rule="a person, or everything")
    if subject == EVERYBODY:
        raise errors.FieldInvalid('subject: "*" is no person.', field="subject", rule="a person")
    assert call.claims is not None  # the door lets nobody in without a token
    whose = EVERYBODY if everything else subject
    return Order(call.scope, whose, reason, request_id, call.claims.subject, call.trace_id)


def subject_hash(scope: Scope, subject: str) -> str:
    """Returns what names a person's erasures in the history."""
    parts = (scope.tenant_id, scope.project_id, subject)
    return hashlib.sha256(b"haas.subject.v1\0" + "\0".join(parts).encode()).hexdigest()


class Privacy:
    """Erases, and says whose data there is."""

    def __init__(self, database: Database, doorbell: Doorbell, blobs: Blobs) -> None:
        self._database = database
        self._doorbell = doorbell
        self._blobs = blobs
        self._resuming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Makes up in the background for what a crash left; what fails is made up for by the next erasure."""
        self._resuming = asyncio.create_task(self._resume(), name="erasures")

    async def stop(self) -> None:
        """Ends what `start` began."""
        if self._resuming is not None:
            self._resuming.cancel()
            await asyncio.gather(self._resuming, return_exceptions=True)

    async def _resume(self) -> None:
        try:
            await self.resume()
        except errors.HaasError as error:
            _log.warning("erased blobs are not deleted yet (%s): the next erasure goes on", error.reason)

    async def erase(self, order: Order) -> Erased:
        """Erases; the same request again answers the same. Raises PlanStateConflict while plans are not over."""
        scope = order.scope
        async with self._database.tenant_tx(scope, timeout_s=_ERASE_S) as tx:
            done = await _earlier(tx, order)
            if done is None:
                done = await _erase(tx, order)
        self._database.vault.forget(scope, done.key_ids)
        if done.seq:
            self._doorbell.ring("events")
        await self.delete_blobs(scope)
        return done

    async def delete_blobs(self, scope: Scope) -> None:
        """Deletes the blobs that an erasure marked; safe to repeat, and beside whoever uploads the same bytes."""
        while True:
            async with self._database.tenant_tx(scope) as tx:
                pending = await store.pending_blobs(tx, scope, _BLOBS_PER_STEP)
            if not pending:
                return
            await asyncio.to_thread(self._delete, scope, [row for row in pending if not row["wanted"]])
            async with self._database.tenant_tx(scope) as tx:
                await store.blobs_deleted(tx, scope, [row["ref"] for row in pending])

    def _delete(self, scope: Scope, pending: Sequence[Mapping[str, Any]]) -> None:
        marked = {row["ref"]: row["erased_at"] for row in pending}
        for kept in list(self._blobs.listed(scope)):
            # Put again since: somebody uploads the same bytes, and they are that person's now.
            if kept.ref in marked and kept.changed_at <= marked[kept.ref]:
                self._blobs.set_aside(scope, kept)
        for ref in marked:
            self._blobs.drop(scope, ref)

    async def resume(self) -> None:
        """Makes up for what a crash left between an erasure and the deletion of its blobs."""
        lease = Lease(LEASE, 0)
        async with self._database.batch_tx(lease, []) as tx:
            scopes = await store.all_scopes(tx)
        async with self._database.batch_tx(lease, scopes) as tx:
            pending = await store.erasures_pending(tx) if scopes else []
        for scope in pending:
            await self.delete_blobs(scope)

    async def subjects(self, scope: Scope, after: str | None, limit: int) -> list[store.Row]:
        """Returns a page of {subject, keys} by name, after a subject."""
        async with self._database.tenant_tx(scope) as tx:
            return await store.list_subjects(tx, scope, after or "", limit, first=after is None)

    async def export_keys(self, call: Call, after: str, limit: int) -> list[TakenKey]:
        """Returns a page of the project's living keys by id; the history says who took them before anybody has them."""
        assert call.claims is not None  # the door lets nobody in without a token
        scope, vault = call.scope, self._database.vault
        async with self._database.tenant_tx(scope) as tx:
            rows = await store.living_keys(tx, scope, after, limit)
            payload = {"keys": len(rows), "key_ids": [row["key_id"] for row in rows]}
            actor, stream = call.claims.subject, f"privacy/{scope.project_id}"
            await append(tx, [NewEvent(scope, stream, "DataKeysExported", payload, actor, trace_id=call.trace_id)])
            taken = [
                TakenKey(r["key_id"], r["subject"], r["created_at"], vault.unwrapped(scope, r["key_id"], r["wrapped"]))
                for r in rows
            ]
        self._doorbell.ring("events")
        return taken


async def _earlier(tx: Tx, order: Order) -> Erased | None:
    """Returns what an earlier try of the same request did. Raises RequestIdReused."""
    row = await store.get_request(tx, order.scope, METHOD, order.request_id)
    if row is None:
        return None
    if row["fingerprint"] != domain.fingerprint(order.subject, order.reason):
        sentence = "This request_id was used before, with another content."
        raise errors.RequestIdReused(sentence, request_id=order.request_id)
    return Erased(**row["result"])


async def _erase(tx: Tx, order: Order) -> Erased:
    scope, whose = order.scope, subject_hash(order.scope, order.subject)
    held = await store.holding(tx, scope, order.subject)
    _check_over(held)
    await _check_unused(tx, scope, held)
    done = Erased(whose)
    if held.key_ids or held.plan_ids or held.uploads:
        await store.scrub(tx, scope, order.subject, held, REFUSED)
        refs = sorted({*held.refs, *held.uploads})
        facts = {"key_ids": list(held.key_ids), "artifacts": len(held.artifact_ids), "blobs": len(refs)}
        payloads = [{"subject_hash": whose, **facts, "reason": order.reason, "refs": refs[:_REFS_PER_EVENT]}]
        # Who verifies the history has to know which bytes are gone for a reason.
        for at in range(_REFS_PER_EVENT, len(refs), _REFS_PER_EVENT):
            more = {"key_ids": [], "artifacts": 0, "blobs": 0, "refs": refs[at : at + _REFS_PER_EVENT]}
            payloads.append({"subject_hash": whose, "reason": order.reason, **more})
        events = [
            NewEvent(
                scope, f"erasure/{whose}", "DataErased", payload, order.actor, causation_id=order.request_id,
                trace_id=order.trace_id,
            )
            for payload in payloads
        ]  # fmt: skip
        seq = (await append(tx, events))[0].seq
        done = Erased(whose, **facts, plans=len(held.plans), seq=seq)
    mark = domain.fingerprint(order.subject, order.reason)
    await store.keep_request(tx, scope, METHOD, order.request_id, mark, dataclasses.asdict(done))
    return done


def _check_over(held: Holding) -> None:
    """Refuses while something could still be written. Raises PlanStateConflict."""
    open_ = [row for row in held.plans if row["state"] not in _OVER or row["waiting"]]
    if open_:
        names = ", ".join(row["plan_id"] for row in open_[:_NAMED_MAX])
        sentence = f"{len(open_)} plans are not over ({names}): let them end or cancel them first."
        raise errors.PlanStateConflict(sentence, state=open_[0]["state"], allowed=",".join(_OVER))
    if any(row["fresh"] for row in held.requests):
        sentence = "A plan is being created: try again in a minute."
        raise errors.PlanStateConflict(sentence, state="creating", allowed=",".join(_OVER))


async def _check_unused(tx: Tx, scope: Scope, held: Holding) -> None:
    """Refuses to take an upload away that somebody's plan still reads. Raises PlanStateConflict."""
    if not held.uploads:
        return
    uploads = set(held.uploads)
    for plan_id, refs in (await store.open_plans_inputs(tx, scope)).items():
        if uploads & refs:
            sentence = f"Plan {plan_id} reads an upload that would be erased: let it end or cancel it first."
            raise errors.PlanStateConflict(sentence, state="running", allowed=",".join(_OVER))
