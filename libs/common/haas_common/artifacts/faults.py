"""Bytes that changed behind our back: told once in the history, in the log, and to whom it concerns (by the relay)."""

import logging

from haas_common import errors
from haas_common.artifacts.chunks import bad_range
from haas_common.artifacts.records import ArtifactRecord, Fault
from haas_common.blobs import ref_of
from haas_common.db import Database, Scope
from haas_common.doorbell import Doorbell
from haas_common.events import upcast
from haas_common.eventstore import SQL, NewEvent, append
from haas_common.sealing import erased_refs

LOG = logging.getLogger(__name__)
TOPIC = "events"
#: Whoever changes the bytes again and again makes no endless history: a version tells of so many changes.
PER_VERSION_MAX = 16
_TRIES = 3


def fault_of(facts: dict[str, object], problem: str, file: bytes | None, plan_id: str, task_id: str) -> Fault:
    """Returns the fault of a version, by the event that tells of it and the bytes as they are now (None: gone)."""
    where = None
    if file is not None:
        where = bad_range(file, facts["chunk_bytes"], facts["chunks"], facts["size_bytes"])  # type: ignore[arg-type]
    first, last = where if where is not None else (None, None)
    found = ref_of(file) if file is not None else ""
    return Fault(str(facts["artifact_id"]), int(str(facts["version"])), problem, found, first, last, plan_id, task_id)


class FaultLog:
    """Tells of faults: an `AuditFailed` in the artifact's stream, once per version and found hash."""

    def __init__(self, database: Database, doorbell: Doorbell | None, actor: str) -> None:
        """Takes where the history is, what wakes its readers, and in whose name it is told."""
        self._database = database
        self._doorbell = doorbell
        self._actor = actor

    async def found(
        self, scope: Scope, record: ArtifactRecord, problem: str, file: bytes | None
    ) -> dict[str, int | None]:
        """Tells of a version whose bytes a reader found changed; returns where they differ, for its error.

        Raises:
            DataErased: they are gone because they were erased: that is no fault.
        """
        stream = f"artifact/{record.artifact_id}"
        key = {"tenant_id": scope.tenant_id, "project_id": scope.project_id}
        async with self._database.tenant_tx(scope) as tx:
            if file is None and await erased_refs(tx, scope, [record.ref]):
                sentence = f"Version {record.version} of {record.artifact_id} was erased."
                raise errors.DataErased(sentence, resource="artifact", id=record.artifact_id)
            row = await tx.one(SQL.artifact_version, **key, stream=stream, number=record.version)
        facts = upcast(row["event_type"], row["schema_version"], row["payload"])
        fault = fault_of(facts, problem, file, record.plan_id, record.task_id)
        await self.tell(scope, fault)
        return {"first_bad_byte": fault.first_bad_byte, "last_bad_byte": fault.last_bad_byte}

    async def tell(self, scope: Scope, fault: Fault) -> None:
        """Tells of a fault in a transaction of its own, whatever becomes of the caller's; an old one is not told again.

        It never raises for the database's sake: the caller is about to refuse the artifact, and says so in any case.
        """
        ids = {"tenant_id": scope.tenant_id, "project_id": scope.project_id, "plan_id": fault.plan_id}
        LOG.error("artifact %s version %d: %s", fault.artifact_id, fault.version, fault.problem, extra=ids)
        try:
            for _ in range(_TRIES):
                if await self._tell(scope, fault):
                    break
        except errors.HaasError as error:
            LOG.error("the fault of %s is not in the history yet: %s", fault.artifact_id, error.reason, extra=ids)
            return
        if self._doorbell is not None:
            self._doorbell.ring(TOPIC)

    async def _tell(self, scope: Scope, fault: Fault) -> bool:
        """One try; False where the stream moved meanwhile, perhaps because somebody else told of it."""
        key = {"tenant_id": scope.tenant_id, "project_id": scope.project_id}
        stream = f"artifact/{fault.artifact_id}"
        try:
            async with self._database.tenant_tx(scope) as tx:
                head = await tx.one(SQL.stream_version, **key, stream=stream)
                rows = await tx.all(
                    SQL.artifact_faults, **key, stream=stream, number=fault.version, limit=PER_VERSION_MAX
                )
                known = {row["payload"]["found_hash"] for row in rows}
                if fault.found_hash not in known and len(rows) < PER_VERSION_MAX:
                    await append(tx, [self._event(scope, fault, head["version"])])
        except errors.StreamVersionConflict:
            return False
        return True

    def _event(self, scope: Scope, fault: Fault, version: int) -> NewEvent:
        payload = {
            "problem": fault.problem,
            "artifact_id": fault.artifact_id,
            "version": fault.version,
            "first_bad_byte": fault.first_bad_byte,
            "last_bad_byte": fault.last_bad_byte,
            "found_hash": fault.found_hash,
        }
        stream = f"artifact/{fault.artifact_id}"
        return NewEvent(
            scope, stream, "AuditFailed", payload, self._actor, plan_id=fault.plan_id, task_id=fault.task_id,
            expected_version=version,
        )  # fmt: skip
