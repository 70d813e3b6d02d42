"""The artifact store: signed, versioned, chained `.md` files (plan §4.2, design 21)."""

import asyncio
import dataclasses
import datetime
from typing import Any

from haas_common import errors
from haas_common.artifacts import checks as artifact_checks
from haas_common.artifacts import file as artifact_file
from haas_common.artifacts import front_matter
from haas_common.artifacts import rules as artifact_rules
from haas_common.artifacts.chunks import chunk_hashes, chunk_size
from haas_common.artifacts.faults import FaultLog
from haas_common.artifacts.file import Draft
from haas_common.artifacts.front_matter import FrontMatterInvalid
from haas_common.artifacts.records import ArtifactRecord, Placing, Verification
from haas_common.artifacts.signing import AgentKeys
from haas_common.artifacts.verification import Verifier, byte_problem, load
from haas_common.blobs import Blobs, open_blobs
from haas_common.config import Config
from haas_common.db import Scope, Tx
from haas_common.events import upcast
from haas_common.eventstore import PAYLOAD_BYTES_MAX, SQL, NewEvent, append, payload_text
from haas_common.fleet_keys import FleetKeys
from haas_common.projections import artifacts as projection
from haas_common.projections import past

ARTIFACT_BYTES_MAX = artifact_rules.BYTES_MAX
_STREAM_END = 2**62


def artifact_id_of(plan_id: str, task_id: str, slot: str) -> str:
    """Returns the id of what a task writes into a slot: the same for every attempt, so a retry writes nothing twice."""
    task = task_id.lower().replace(".", "-")
    return f"artf-{plan_id.removeprefix('pl-')}-{task}-{slot}"


class ArtifactStore:
    """Writes and reads artifacts: bytes in the blob store, facts in the history and the read model."""

    def __init__(self, blobs: Blobs, keys: FleetKeys, faults: FaultLog | None = None) -> None:
        """Takes where bytes lie, the fleet's keys, and who is told of bytes that changed."""
        self.blobs = blobs
        self._keys = AgentKeys(keys)
        self._faults = faults

    @classmethod
    def of(cls, config: Config, faults: FaultLog) -> "ArtifactStore":
        """Opens a service's store. Raises ConfigInvalid."""
        return cls(open_blobs(config), FleetKeys.open(config.secrets_dir), faults)

    # ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def write(
        self, tx: Tx, scope: Scope, draft: Draft, placing: Placing, now: datetime.datetime, *, once: int = 0
    ) -> ArtifactRecord:
        """Writes the next version: bytes first, then its event and read model in the caller's transaction.

        With `once`, the version that is wanted, what is there already at that version is returned as it is: a retry of
        a task writes nothing twice.

        Raises:
            FieldInvalid: a link leads nowhere, or the draft's own front matter names a key of the store's.
            ArtifactInvalid: a brief or a team report lacks what plan §17 asks for.
            ArtifactStatusConflict: such a version cannot follow the one that is there.
            PayloadTooLarge: more than 1 MiB, 256 KiB of front matter, or 5,000 artifacts of one plan.
            StreamVersionConflict: another writer came first.
        """
        before, stream_version = await self._head(tx, scope, placing.artifact_id)
        if before is not None and once and before.version >= once:
            return before
        number = before.version if before else 0
        if placing.expected_version not in (None, number):
            raise errors.StreamVersionConflict(None, stream=f"artifact/{placing.artifact_id}")
        artifact_rules.check_next(placing.artifact_id, before.status if before else "", draft.status)
        await self._check_places(tx, scope, placing, new=before is None)
        file, facts = self._sealed(scope, draft, placing, before, now)
        facts["ref"] = await asyncio.to_thread(self.blobs.put, scope, file)
        event = _told(scope, facts, draft, placing, stream_version)
        return await self._project(tx, scope, event, before)

    async def _project(self, tx: Tx, scope: Scope, event: NewEvent, before: ArtifactRecord | None) -> ArtifactRecord:
        """Appends an event of an artifact and folds it into the read model, as a rebuild would."""
        place = (await append(tx, [event]))[0]
        known = None if before is None else {**_in(scope), **dataclasses.asdict(before)}
        row = projection.apply(known, past(event, place))
        assert row is not None  # every event of the store's leaves a row
        await tx.run(SQL.project_artifact, **row)
        facts = {name: value for name, value in row.items() if name not in _in(scope)}
        at = place.recorded_at
        if event.type != "ArtifactStatusChanged":
            facts["updated_at"] = at
        return ArtifactRecord(**{**facts, "created_at": before.created_at if before else at})

    async def _check_places(self, tx: Tx, scope: Scope, placing: Placing, *, new: bool) -> None:
        """Refuses links that lead nowhere (one query for all) and an artifact too many for its plan."""
        artifact_rules.check_links(placing.links)
        if placing.links:
            refs = list(dict.fromkeys(link.ref for link in placing.links))
            rows = await tx.all(SQL.dangling_links, **_in(scope), plan_id=placing.plan_id, refs=refs)
            artifact_rules.refuse_dangling(placing.links, frozenset(row["ref"] for row in rows))
        if new and placing.plan_id:
            most = artifact_rules.PER_PLAN_MAX
            if await tx.maybe(SQL.plan_is_full, **_in(scope), plan_id=placing.plan_id, most=most):
                raise errors.PayloadTooLarge(f"A plan has at most {most:,} artifacts.", artifacts_max=most)

    def _sealed(
        self, scope: Scope, draft: Draft, placing: Placing, before: ArtifactRecord | None, now: datetime.datetime
    ) -> tuple[bytes, dict[str, Any]]:
        """Returns the file, and what its event tells of it but for the blob's address."""
        signer = self._keys.signer(scope, placing.signer)
        front = _front(scope, draft, placing, before, now, signer.public)
        template = artifact_checks.template_of(draft.artifact_type, draft.path)
        if template is not None:
            artifact_checks.check(template, front, draft.body_md)
        unsealed = artifact_file.render(front, draft.data, draft.body_md)
        try:
            hash_curr = artifact_file.hash_of(unsealed)
        except FrontMatterInvalid as error:
            raise errors.PayloadTooLarge(f"{error}.", bytes_max=front_matter.BYTES_MAX) from None
        signature = signer.sign(hash_curr)
        file = artifact_file.seal(unsealed, hash_curr, signature)
        if len(file) > ARTIFACT_BYTES_MAX:
            raise errors.PayloadTooLarge("An artifact has at most 1 MiB.", bytes_max=ARTIFACT_BYTES_MAX)
        chunk_bytes = chunk_size(len(file))
        return file, {
            "artifact_id": placing.artifact_id,
            "path": draft.path,
            "type": draft.type,
            "version": front["version"],
            "hash_prev": front["hash_prev"],
            "hash_curr": hash_curr,
            "ref": "",
            "signer": placing.signer,
            "signature": signature,
            "status": draft.status,
            "size_bytes": len(file),
            "signer_key": signer.public,
            "certificate": signer.certificate,
            "chunk_bytes": chunk_bytes,
            "chunks": chunk_hashes(file, chunk_bytes),
        }

    async def set_status(
        self, tx: Tx, scope: Scope, artifact_id: str, status: str, reason: str, actor: str, *, trace_id: str = ""
    ) -> ArtifactRecord:
        """Moves the status of the newest version; the version itself never changes.

        Raises:
            ResourceNotFound: there is no such artifact.
            ArtifactStatusConflict: the machine has no such move.
            StreamVersionConflict: another writer came first.
        """
        newest, stream_version = await self._head(tx, scope, artifact_id)
        if newest is None:
            raise _no_artifact(artifact_id)
        artifact_rules.check_move(artifact_id, newest.status, status)
        payload = {
            "artifact_id": artifact_id,
            "version": newest.version,
            "status_from": newest.status,
            "status_to": status,
            "reason": reason,
        }
        event = NewEvent(
            scope, f"artifact/{artifact_id}", "ArtifactStatusChanged", payload, actor, plan_id=newest.plan_id,
            task_id=newest.task_id, expected_version=stream_version, trace_id=trace_id,
        )  # fmt: skip
        return await self._project(tx, scope, event, newest)

    # ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def head(self, tx: Tx, scope: Scope, artifact_id: str) -> ArtifactRecord:
        """Returns the newest version's facts. Raises ResourceNotFound."""
        found, _ = await self._head(tx, scope, artifact_id)
        if found is None:
            raise _no_artifact(artifact_id)
        return found

    async def at_version(self, tx: Tx, scope: Scope, artifact_id: str, version: int) -> ArtifactRecord:
        """Returns a version's facts (0: the newest's) from the artifact's stream.

        Raises:
            ResourceNotFound: there is no such artifact or version, or the version went with old history; its metadata
                then names the `first_version` that is kept.
        """
        newest = await self.head(tx, scope, artifact_id)
        if version in (0, newest.version):
            return newest
        stream = f"artifact/{artifact_id}"
        row = await tx.maybe(SQL.artifact_version, **_in(scope), stream=stream, number=version)
        if row is None:
            kept, _ = await self._page(tx, scope, newest, 0, 1)
            first = kept[0].version if kept else newest.version
            if version < first:
                sentence = f"The versions of {artifact_id} before {first} went with old history."
                raise errors.ResourceNotFound(sentence, resource="artifact", id=artifact_id, first_version=first)
            raise errors.ResourceNotFound(
                f"{artifact_id} has no version {version}.", resource="artifact", id=artifact_id
            )
        found, _ = await self._page(tx, scope, newest, row["version"] - 1, 1)
        return found[0]

    async def versions(
        self, tx: Tx, scope: Scope, artifact_id: str, after: int, limit: int
    ) -> tuple[list[ArtifactRecord], int]:
        """Returns versions, oldest first, and where the next page goes on (0: nowhere).

        Args:
            tx: the transaction.
            scope: whose artifact it is.
            artifact_id: the artifact.
            after: 0, or where the page before ended.
            limit: at most so many.

        Raises:
            ResourceNotFound: there is no such artifact.
        """
        newest = await self.head(tx, scope, artifact_id)
        return await self._page(tx, scope, newest, after, limit)

    async def _page(
        self, tx: Tx, scope: Scope, newest: ArtifactRecord, after: int, limit: int
    ) -> tuple[list[ArtifactRecord], int]:
        stream = f"artifact/{newest.artifact_id}"
        rows = await tx.all(SQL.artifact_versions, **_in(scope), stream=stream, after=after, limit=limit + 1)
        page, upto = rows[:limit], rows[limit]["version"] if len(rows) > limit else _STREAM_END
        moved = {
            move["payload"]["version"]: move["payload"]["status_to"]
            for move in await tx.all(SQL.artifact_moves, **_in(scope), stream=stream, after=after, upto=upto)
        }
        found = []
        for row in page:
            facts = upcast(row["event_type"], row["schema_version"], row["payload"])
            status = moved.get(facts["version"], facts["status"])
            status = artifact_rules.overtaken(status) if facts["version"] < newest.version else status
            kept = {name: facts[name] for name in _FACTS} | {"status": status}
            whose = {"plan_id": newest.plan_id, "task_id": newest.task_id, "created_at": newest.created_at}
            found.append(ArtifactRecord(**kept, **whose, updated_at=row["recorded_at"]))
        return found, page[-1]["version"] if len(rows) > limit else 0

    async def read(self, scope: Scope, record: ArtifactRecord) -> bytes:
        """Returns a version's bytes. Call it outside a transaction: what is found wrong is told in one of its own.

        Raises:
            HashMismatch: they are no longer what was signed, or gone; the history tells of it from now on.
            DataErased: they were erased.
        """
        file = await asyncio.to_thread(load, self.blobs, scope, record.ref)
        problem = await asyncio.to_thread(byte_problem, record.ref, record.hash_curr, file)
        if not problem:
            return file or b""
        metadata: dict[str, Any] = {"artifact_id": record.artifact_id, "version": record.version}
        if self._faults is not None:
            metadata |= await self._faults.found(scope, record, problem, file)
        raise errors.HashMismatch("Stored bytes no longer match their hash.", **metadata)

    async def verify(self, tx: Tx, scope: Scope, artifact_id: str) -> Verification:
        """Recomputes every version: bytes, hash, link to the version before, signature. Raises ResourceNotFound."""
        newest = await self.head(tx, scope, artifact_id)
        return await Verifier(self.blobs, self._keys).verify(tx, scope, newest)

    async def tell(self, scope: Scope, found: Verification) -> None:
        """Tells of what a verification found wrong; call it outside its transaction."""
        if found.fault is not None and self._faults is not None:
            await self._faults.tell(scope, found.fault)

    async def _head(self, tx: Tx, scope: Scope, artifact_id: str) -> tuple[ArtifactRecord | None, int]:
        """The newest version's facts, and how many events its stream has."""
        row = await tx.maybe(SQL.get_artifact, **_in(scope), artifact_id=artifact_id)
        if row is None:
            return None, 0
        stream_version = row.pop("stream_version")
        return ArtifactRecord(**row), stream_version


_CHUNKS = ("chunk_bytes", "chunks")
_FACTS = (
    "artifact_id", "path", "type", "version", "hash_prev", "hash_curr", "ref", "signer", "signature", "size_bytes",
)  # fmt: skip


def _in(scope: Scope) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}


def _no_artifact(artifact_id: str) -> errors.ResourceNotFound:
    return errors.ResourceNotFound(f"There is no artifact {artifact_id}.", resource="artifact", id=artifact_id)


def _told(scope: Scope, facts: dict[str, Any], draft: Draft, placing: Placing, stream_version: int) -> NewEvent:
    payload = {**facts, "links": [link.ref for link in placing.links], "sources": list(draft.sources)}
    try:
        payload_text(payload)
    except ValueError:
        sentence = f"Links and sources take at most {PAYLOAD_BYTES_MAX} bytes of an artifact's event."
        raise errors.PayloadTooLarge(sentence, bytes_max=PAYLOAD_BYTES_MAX) from None
    return NewEvent(
        scope,
        f"artifact/{placing.artifact_id}",
        "ArtifactProduced" if facts["version"] == 1 else "ArtifactUpdated",
        payload,
        placing.signer,
        plan_id=placing.plan_id,
        task_id=placing.task_id,
        expected_version=stream_version,
        causation_id=placing.causation_id,
        trace_id=placing.trace_id,
    )


def _front(
    scope: Scope,
    draft: Draft,
    placing: Placing,
    before: ArtifactRecord | None,
    now: datetime.datetime,
    signer_key: str,
) -> dict[str, Any]:
    """The front matter of plan §4.2; the draft's own keys cannot say what the store says."""
    taken = sorted(set(draft.extra) & artifact_file.OWN)
    if taken:
        raise errors.FieldInvalid(f"{taken[0]}: the store writes it.", field=taken[0], rule="not the store's")
    created_at = before.created_at if before else now
    return {
        "artifact_id": placing.artifact_id,
        "tenant_id": scope.tenant_id,
        "project_id": scope.project_id,
        "plan_id": placing.plan_id,
        "task_id": placing.task_id,
        "version": before.version + 1 if before else 1,
        "hash_prev": before.hash_curr if before else "",
        "signer": placing.signer,
        "signer_key": signer_key,
        "schema_version": "1.0",
        "status": draft.status,
        "created_at": created_at.isoformat(timespec="seconds"),
        "updated_at": now.isoformat(timespec="seconds"),
        "type": draft.type,
        "title": draft.title,
        **({"artifact_type": draft.artifact_type} if draft.artifact_type else {}),
        **draft.extra,
        "sources": list(draft.sources),
        "links": [{"type": link.type, "ref": link.ref} for link in placing.links],
    }
