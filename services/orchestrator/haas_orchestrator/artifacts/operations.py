"""What is done with artifacts: read, compare, verify, note work, move on."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from haas_common import clock, errors
from haas_common.artifacts import file as artifact_file
from haas_common.artifacts import text as artifact_text
from haas_common.artifacts.file import Document, Draft
from haas_common.artifacts.records import ArtifactRecord, Placing, Verification
from haas_common.artifacts.rules import Link
from haas_common.artifacts.store import ArtifactStore
from haas_common.artifacts.text import Change
from haas_common.calls import Call
from haas_common.db import Database, Scope, Tx
from haas_common.doorbell import Doorbell
from haas_common.ids import new_id
from haas_common.sealing import erased_refs
from haas_orchestrator import domain, store

TOPIC = "events"
_WORKLOG, _STATUS = "AppendWorklog", "SetArtifactStatus"
#: Others write too: a note that is late by a version is made again on the newest.
_TRIES = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two versions."""

    version_from: int
    version_to: int
    body: str
    front: list[Change]


class Artifacts:
    """The use-cases of haas.orchestrator.v1.Artifacts."""

    def __init__(self, database: Database, doorbell: Doorbell, artifacts: ArtifactStore) -> None:
        self._database = database
        self._doorbell = doorbell
        self._artifacts = artifacts

    async def get(self, scope: Scope, artifact_id: str, version: int) -> tuple[ArtifactRecord, bytes]:
        """Returns a version and its bytes. Raises ResourceNotFound, HashMismatch, DataErased."""
        async with self._database.tenant_tx(scope) as tx:
            record = await self._artifacts.at_version(tx, scope, artifact_id, version)
            if await erased_refs(tx, scope, [record.ref]):
                raise errors.DataErased(f"{artifact_id} was erased.", resource="artifact", id=artifact_id)
        return record, await self._artifacts.read(scope, record)

    async def versions(
        self, scope: Scope, artifact_id: str, after: int, limit: int
    ) -> tuple[list[ArtifactRecord], int]:
        """Returns a page of versions, and where the next one goes on (0: nowhere). Raises ResourceNotFound."""
        async with self._database.tenant_tx(scope) as tx:
            return await self._artifacts.versions(tx, scope, artifact_id, after, limit)

    async def verify(self, scope: Scope, artifact_id: str) -> Verification:
        """Recomputes every version; what is wrong is told in the history. Raises ResourceNotFound."""
        async with self._database.tenant_tx(scope) as tx:
            found = await self._artifacts.verify(tx, scope, artifact_id)
        await self._artifacts.tell(scope, found)
        return found

    async def diff(self, scope: Scope, artifact_id: str, version_from: int, version_to: int) -> Difference:
        """Compares two versions; 0 stands for the newest, and for the one before it. Raises what `get` does."""
        new, after = await self.get(scope, artifact_id, version_to)
        old, before = await self.get(scope, artifact_id, version_from or max(1, new.version - 1))
        return await asyncio.to_thread(_difference, old, before, new, after)

    async def append_worklog(self, call: Call, artifact_id: str, text: str, request_id: str) -> ArtifactRecord:
        """Appends a line to the worklog, as a new version.

        Raises:
            ResourceNotFound, ArtifactStatusConflict, StreamVersionConflict, RequestIdReused, PayloadTooLarge,
            HashMismatch, DataErased.
        """
        scope, mark = call.scope, domain.fingerprint(artifact_id, text)
        for last in (False,) * (_TRIES - 1) + (True,):
            newest, file = await self.get(scope, artifact_id, 0)
            document = await asyncio.to_thread(artifact_file.parse, file)

            async def written(tx: Tx, at: ArtifactRecord = newest, read: Document = document) -> ArtifactRecord:
                draft, placing = _noted(at, read, call, text)
                return await self._artifacts.write(tx, scope, draft, placing, clock.utc_now())

            try:
                return await self._once(call, _WORKLOG, request_id, mark, artifact_id, written)
            except errors.StreamVersionConflict:
                if last:
                    raise
        raise AssertionError("the last try returns or raises")

    async def set_status(
        self, call: Call, artifact_id: str, status: str, reason: str, request_id: str
    ) -> ArtifactRecord:
        """Moves the newest version's status.

        Raises:
            ResourceNotFound, ArtifactStatusConflict, StreamVersionConflict, RequestIdReused.
        """
        mark = domain.fingerprint(artifact_id, status, reason)

        async def moved(tx: Tx) -> ArtifactRecord:
            return await self._artifacts.set_status(
                tx, call.scope, artifact_id, status, reason, call.actor, trace_id=call.trace_id
            )

        return await self._once(call, _STATUS, request_id, mark, artifact_id, moved)

    async def _once(
        self,
        call: Call,
        method: str,
        request_id: str,
        mark: str,
        artifact_id: str,
        change: Callable[[Tx], Awaitable[ArtifactRecord]],
    ) -> ArtifactRecord:
        """Makes a change once per request_id: again, it answers with the version that the first one led to."""
        scope, request_id = call.scope, request_id or new_id("rq")
        async with self._database.tenant_tx(scope) as tx:
            earlier = await store.get_request(tx, scope, method, request_id)
            if earlier is not None:
                if earlier["fingerprint"] != mark:
                    sentence = "This request_id was used before, with another content."
                    raise errors.RequestIdReused(sentence, request_id=request_id)
                record = await self._artifacts.at_version(tx, scope, artifact_id, earlier["result"]["version"])
                return dataclasses.replace(record, status=earlier["result"]["status"])
            record = await change(tx)
            result = {"version": record.version, "status": record.status}
            await store.keep_request(tx, scope, method, request_id, mark, result)
        self._doorbell.ring(TOPIC)
        return record


def _difference(old: ArtifactRecord, before: bytes, new: ArtifactRecord, after: bytes) -> Difference:
    first, second = artifact_file.parse(before), artifact_file.parse(after)
    names = [f"{record.path} (version {record.version})" for record in (old, new)]
    front = artifact_text.front_changes({**first.front, "data": first.data}, {**second.front, "data": second.data})
    return Difference(old.version, new.version, artifact_text.unified(first.body, second.body, *names), front)


def _noted(newest: ArtifactRecord, document: Document, call: Call, text: str) -> tuple[Draft, Placing]:
    """The newest version with a line more, whatever else its front matter holds; signed by whoever wrote the line."""
    front = document.front
    draft = Draft(
        path=newest.path,
        type=newest.type,
        slot=newest.type,
        title=front.get("title", newest.path),
        body_md=artifact_text.with_worklog(document.body, clock.utc_now(), call.actor, text),
        data=document.data,
        sources=front.get("sources", ()),
        status=newest.status,
        artifact_type=front.get("artifact_type", ""),
        extra={name: value for name, value in front.items() if name not in artifact_file.OWN},
    )
    placing = Placing(
        newest.artifact_id,
        call.actor,
        plan_id=newest.plan_id,
        task_id=newest.task_id,
        links=tuple(Link(link["type"], link["ref"]) for link in front.get("links", ())),
        trace_id=call.trace_id,
        expected_version=newest.version,
    )
    return draft, placing
