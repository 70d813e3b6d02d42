"""Recomputing an artifact: bytes, hash, link to the version before, signature, for every version of its stream."""

import asyncio
import datetime
from collections.abc import Sequence
from typing import Any

from haas_common import errors
from haas_common.artifacts import file as artifact_file
from haas_common.artifacts.faults import fault_of
from haas_common.artifacts.records import ArtifactRecord, Fault, Verification
from haas_common.artifacts.signing import AgentKeys
from haas_common.blobs import Blobs, ref_of
from haas_common.db import Scope, Tx
from haas_common.events import upcast
from haas_common.eventstore import SQL
from haas_common.sealing import erased_refs

PAGE = 100
GONE = "its bytes are gone"
CHANGED = "its bytes were changed"


class Verifier:
    """Checks versions against their events."""

    def __init__(self, blobs: Blobs, keys: AgentKeys) -> None:
        self._blobs = blobs
        self._keys = keys

    async def verify(self, tx: Tx, scope: Scope, newest: ArtifactRecord) -> Verification:
        """Checks every version that the history still tells of, oldest first, up to the first that does not hold."""
        before, after, number, first = "", 0, 0, 0
        key = {"tenant_id": scope.tenant_id, "project_id": scope.project_id}
        stream = f"artifact/{newest.artifact_id}"
        while True:
            rows = await tx.all(SQL.artifact_versions, **key, stream=stream, after=after, limit=PAGE)
            if not first:
                first, before = await self._begin(tx, scope, rows, newest)
                number = first - 1
            for row in rows:
                number, after = number + 1, row["version"]
                facts = upcast(row["event_type"], row["schema_version"], row["payload"])
                fault = await self._fault(tx, scope, facts, number, before, row["recorded_at"], newest)
                if fault is not None:
                    return Verification(number - first + 1, number, fault.problem, newest.hash_curr, fault, first)
                before = facts["hash_curr"]
            if len(rows) < PAGE:
                break
        if before != newest.hash_curr or number != newest.version:
            problem = "the read model does not name the newest version of the history"
            fault = Fault(newest.artifact_id, newest.version, problem, newest.ref, None, None, newest.plan_id)
            return Verification(number - first + 1, newest.version, problem, newest.hash_curr, fault, first)
        if first > newest.version:
            return await self._newest_alone(scope, newest)
        return Verification(number - first + 1, 0, "", newest.hash_curr, None, first)

    async def _begin(
        self, tx: Tx, scope: Scope, rows: Sequence[dict[str, Any]], newest: ArtifactRecord
    ) -> tuple[int, str]:
        """The first version to check, and the hash that it follows: a later one where old history was dropped."""
        if rows and rows[0]["version"] == 1:
            return 1, ""
        kept = await tx.maybe(SQL.first_seq, tenant_id=scope.tenant_id, project_id=scope.project_id)
        if kept is not None and kept["seq"] == 1:
            return 1, ""
        if not rows:
            return newest.version + 1, newest.hash_curr
        facts = upcast(rows[0]["event_type"], rows[0]["schema_version"], rows[0]["payload"])
        return facts["version"], facts["hash_prev"]

    async def _newest_alone(self, scope: Scope, newest: ArtifactRecord) -> Verification:
        """Where no event tells of any version, the bytes of the newest are held against the read model."""
        file = await asyncio.to_thread(load, self._blobs, scope, newest.ref)
        problem = byte_problem(newest.ref, newest.hash_curr, file)
        bad = newest.version if problem else 0
        return Verification(0, bad, problem, newest.hash_curr, None, newest.version + 1)

    async def _fault(
        self,
        tx: Tx,
        scope: Scope,
        facts: dict[str, Any],
        number: int,
        before: str,
        recorded_at: datetime.datetime,
        newest: ArtifactRecord,
    ) -> Fault | None:
        file = await asyncio.to_thread(load, self._blobs, scope, facts["ref"])
        if facts["version"] != number or facts["hash_prev"] != before:
            problem = "it does not follow the version before it"
        elif file is None and await erased_refs(tx, scope, [facts["ref"]]):
            problem = self._keys.problem(scope, facts, recorded_at)
        else:
            problem = byte_problem(facts["ref"], facts["hash_curr"], file)
            problem = problem or self._keys.problem(scope, facts, recorded_at)
            problem = problem or _front_problem(scope, facts, file or b"")
        return fault_of(facts, problem, file, newest.plan_id, newest.task_id) if problem else None


def load(blobs: Blobs, scope: Scope, ref: str) -> bytes | None:
    """Returns a blob's bytes as they are now, unchecked; None where they are gone."""
    try:
        return blobs.load(scope, ref)
    except errors.ResourceNotFound:
        return None


def byte_problem(ref: str, hash_curr: str, file: bytes | None) -> str:
    """Returns what is wrong with a version's bytes; empty where they are what was signed."""
    if file is None:
        return GONE
    if ref_of(file) != ref:
        return CHANGED
    try:
        found = artifact_file.hash_of(file)
    except ValueError:
        return "it is no artifact"
    return "" if found == hash_curr else "its hash is not that of its bytes"


def _front_problem(scope: Scope, facts: dict[str, Any], file: bytes) -> str:
    """Returns where the file's own front matter and the event disagree about it."""
    try:
        front = artifact_file.parse(file).front
    except ValueError:
        return "its front matter does not parse"
    said = {name: facts[name] for name in ("artifact_id", "version", "hash_prev", "hash_curr", "signature", "signer")}
    said |= {"tenant_id": scope.tenant_id, "project_id": scope.project_id}
    if facts["signer_key"]:
        said["signer_key"] = facts["signer_key"]
    wrong = next((name for name, value in said.items() if front.get(name) != value), "")
    return f"its front matter and its event disagree about {wrong}" if wrong else ""
