"""The artifact store: signed, versioned, chained `.md` files (plan §4.2, design 21)."""

import asyncio
import base64
import dataclasses
import datetime
import pathlib
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from haas_common import artifact_file, errors
from haas_common.artifact_file import Document, Draft
from haas_common.blobs import BlobStore
from haas_common.db import Scope, Tx
from haas_common.events import upcast
from haas_common.eventstore import SQL, NewEvent, append

__all__ = ["ArtifactRecord", "ArtifactStore", "BlobStore", "Document", "Draft", "Verification", "artifact_id_of"]

ARTIFACT_BYTES_MAX = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """An artifact's newest version, as the read model has it."""

    artifact_id: str
    path: str
    type: str
    version: int
    hash_prev: str
    hash_curr: str
    ref: str
    signer: str
    signature: str
    plan_id: str
    task_id: str
    status: str
    size_bytes: int
    created_at: datetime.datetime
    updated_at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Verification:
    """What checking every version of an artifact found; `first_bad_version` is 0 where all hold."""

    versions: int
    first_bad_version: int
    problem: str
    hash_curr: str


@dataclasses.dataclass(frozen=True, slots=True)
class Placing:
    """Where a draft belongs."""

    artifact_id: str
    signer: str
    plan_id: str = ""
    task_id: str = ""
    links: Sequence[str] = ()
    causation_id: str = ""
    trace_id: str = ""


def artifact_id_of(plan_id: str, task_id: str, slot: str) -> str:
    """Returns the id of what a task writes into a slot: the same for every attempt, so a retry writes nothing twice."""
    task = task_id.lower().replace(".", "-")
    return f"artf-{plan_id.removeprefix('pl-')}-{task}-{slot}"


class ArtifactStore:
    """Writes and reads artifacts: bytes in the blob store, facts in the history and the read model."""

    def __init__(self, blobs: BlobStore, public_key: bytes, private_key: bytes | None = None) -> None:
        """Takes Ed25519 keys as PEM; without a private one it only reads and verifies."""
        self.blobs = blobs
        loaded = serialization.load_pem_public_key(public_key)
        if not isinstance(loaded, Ed25519PublicKey):
            raise TypeError("the artifact key is an Ed25519 key")
        self._public = loaded
        self._private: Ed25519PrivateKey | None = None
        if private_key is not None:
            secret = serialization.load_pem_private_key(private_key, password=None)
            if not isinstance(secret, Ed25519PrivateKey):
                raise TypeError("the artifact key is an Ed25519 key")
            self._private = secret

    @classmethod
    def open(cls, store_dir: pathlib.Path, secrets_dir: pathlib.Path) -> "ArtifactStore":
        """Opens the store with a service's keys: artifact.pub.pem, and artifact.pem where the service may sign."""
        private = secrets_dir / "artifact.pem"
        public = (secrets_dir / "artifact.pub.pem").read_bytes()
        return cls(BlobStore(store_dir), public, private.read_bytes() if private.exists() else None)

    async def write(
        self, tx: Tx, scope: Scope, draft: Draft, placing: Placing, now: datetime.datetime, *, once: bool = False
    ) -> ArtifactRecord:
        """Writes the next version: bytes first, then its event and read model in the caller's transaction.

        With `once`, what is there already is returned as it is: a retry of a task writes nothing twice.

        Raises PayloadTooLarge, and StreamVersionConflict when another writer came first.
        """
        before = await self._head(tx, scope, placing.artifact_id)
        if before is not None and once:
            return before
        file, hash_curr, signature = self._seal(scope, draft, placing, before, now)
        if len(file) > ARTIFACT_BYTES_MAX:
            raise errors.PayloadTooLarge("An artifact has at most 1 MiB.", bytes_max=ARTIFACT_BYTES_MAX)
        ref = await asyncio.to_thread(self.blobs.put, scope, file)
        facts: dict[str, Any] = {
            "artifact_id": placing.artifact_id,
            "path": draft.path,
            "type": draft.type,
            "version": before.version + 1 if before else 1,
            "hash_prev": before.hash_curr if before else "",
            "hash_curr": hash_curr,
            "ref": ref,
            "signer": placing.signer,
            "signature": signature,
            "status": draft.status,
            "size_bytes": len(file),
        }
        event = NewEvent(
            scope,
            f"artifact/{placing.artifact_id}",
            "ArtifactUpdated" if before else "ArtifactProduced",
            {**facts, "links": list(placing.links), "sources": list(draft.sources)},
            placing.signer,
            plan_id=placing.plan_id,
            task_id=placing.task_id,
            expected_version=before.version if before else 0,
            causation_id=placing.causation_id,
            trace_id=placing.trace_id,
        )
        recorded = (await append(tx, [event]))[0]
        whose = {"plan_id": placing.plan_id, "task_id": placing.task_id}
        at = recorded.recorded_at
        await tx.run(
            SQL.project_artifact, tenant_id=scope.tenant_id, project_id=scope.project_id, at=at, **facts, **whose
        )
        return ArtifactRecord(**facts, **whose, created_at=before.created_at if before else at, updated_at=at)

    async def head(self, tx: Tx, scope: Scope, artifact_id: str) -> ArtifactRecord:
        """Returns the newest version's facts. Raises ResourceNotFound."""
        found = await self._head(tx, scope, artifact_id)
        if found is None:
            raise errors.ResourceNotFound(f"There is no artifact {artifact_id}.", resource="artifact", id=artifact_id)
        return found

    async def at_version(self, tx: Tx, scope: Scope, artifact_id: str, version: int) -> ArtifactRecord:
        """Returns a version's facts from the artifact's stream. Raises ResourceNotFound."""
        newest = await self.head(tx, scope, artifact_id)
        if version in (0, newest.version):
            return newest
        rows = await self._versions(tx, scope, artifact_id)
        if version > len(rows):
            raise errors.ResourceNotFound(
                f"{artifact_id} has no version {version}.", resource="artifact", id=artifact_id
            )
        facts, recorded_at = rows[version - 1]
        kept = {field.name: facts[field.name] for field in dataclasses.fields(ArtifactRecord) if field.name in facts}
        whose = {"plan_id": newest.plan_id, "task_id": newest.task_id}
        return ArtifactRecord(**kept, **whose, created_at=newest.created_at, updated_at=recorded_at)

    async def read(self, scope: Scope, record: ArtifactRecord) -> bytes:
        """Returns a version's bytes. Raises HashMismatch where they, or their chain's hash, no longer match."""
        file = await asyncio.to_thread(self.blobs.read, scope, record.ref)
        if artifact_file.hash_of(file) != record.hash_curr:
            raise errors.HashMismatch(
                "Stored bytes no longer match their hash.", artifact_id=record.artifact_id, version=record.version
            )
        return file

    async def verify(self, tx: Tx, scope: Scope, artifact_id: str) -> Verification:
        """Recomputes every version: bytes, hash, link to the version before, signature. Raises ResourceNotFound."""
        newest = await self.head(tx, scope, artifact_id)
        before = ""
        rows = await self._versions(tx, scope, artifact_id)
        for number, (facts, _) in enumerate(rows, start=1):
            problem = await asyncio.to_thread(self._problem, scope, facts, before)
            if problem:
                return Verification(number, number, problem, newest.hash_curr)
            before = facts["hash_curr"]
        if before != newest.hash_curr or len(rows) != newest.version:
            problem = "the read model does not name the newest version of the history"
            return Verification(len(rows), newest.version, problem, newest.hash_curr)
        return Verification(len(rows), 0, "", newest.hash_curr)

    def _problem(self, scope: Scope, facts: dict[str, Any], before: str) -> str:
        try:
            file = self.blobs.read(scope, facts["ref"])
            hash_curr = artifact_file.hash_of(file)
            front = artifact_file.parse(file).front
        except errors.ResourceNotFound:
            return "its bytes are gone"
        except (errors.HashMismatch, ValueError):
            return "its bytes were changed"
        if hash_curr != facts["hash_curr"] or front.get("hash_curr") != hash_curr:
            return "its hash is not that of its bytes"
        if facts["hash_prev"] != before or (front.get("hash_prev") or "") != before:
            return "it does not follow the version before it"
        try:
            self._public.verify(base64.b64decode(facts["signature"]), hash_curr.encode())
        except (InvalidSignature, ValueError):
            return "its signature is not the fleet's"
        return ""

    def _seal(
        self, scope: Scope, draft: Draft, placing: Placing, before: ArtifactRecord | None, now: datetime.datetime
    ) -> tuple[bytes, str, str]:
        if self._private is None:
            raise TypeError("this service has no key to sign artifacts with")
        created_at = before.created_at if before else now
        front = {
            "artifact_id": placing.artifact_id,
            "tenant_id": scope.tenant_id,
            "project_id": scope.project_id,
            "plan_id": placing.plan_id,
            "task_id": placing.task_id,
            "version": before.version + 1 if before else 1,
            "hash_prev": before.hash_curr if before else "",
            "signer": placing.signer,
            "schema_version": "1.0",
            "status": draft.status,
            "created_at": created_at.isoformat(timespec="seconds"),
            "updated_at": now.isoformat(timespec="seconds"),
            "type": draft.type,
            "title": draft.title,
            **({"artifact_type": draft.artifact_type} if draft.artifact_type else {}),
            **draft.extra,
            "sources": list(draft.sources),
            "links": [{"type": "depends_on", "ref": ref} for ref in placing.links],
        }
        unsealed = artifact_file.render(front, draft.data, draft.body_md)
        hash_curr = artifact_file.hash_of(unsealed)
        signature = base64.b64encode(self._private.sign(hash_curr.encode())).decode()
        return artifact_file.seal(unsealed, hash_curr, signature), hash_curr, signature

    async def _head(self, tx: Tx, scope: Scope, artifact_id: str) -> ArtifactRecord | None:
        row = await tx.maybe(
            SQL.get_artifact, tenant_id=scope.tenant_id, project_id=scope.project_id, artifact_id=artifact_id
        )
        return ArtifactRecord(**row) if row else None

    async def _versions(self, tx: Tx, scope: Scope, artifact_id: str) -> list[tuple[dict[str, Any], datetime.datetime]]:
        rows = await tx.all(
            SQL.artifact_versions,
            tenant_id=scope.tenant_id,
            project_id=scope.project_id,
            stream=f"artifact/{artifact_id}",
        )
        return [(upcast(row["event_type"], row["schema_version"], row["payload"]), row["recorded_at"]) for row in rows]
