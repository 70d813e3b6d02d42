"""`artifact.read` and `artifact.write`: the project's signed documents."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from haas_common.artifacts import ARTIFACT_BYTES_MAX, ArtifactStore, Draft, Placing
from haas_common.clock import utc_now
from haas_common.db import Database, Tx
from haas_common.errors import PayloadTooLarge, ResourceNotFound, ToolFailed, ToolNotAllowed
from haas_mcp.domain import Grant

_HEADING = re.compile(r"^# (.{1,200})$", re.MULTILINE)


class ArtifactRead:
    """Reads an artifact by its id, or a stored text by its hash."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    async def run(self, grant: Grant, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the text. Raises ResourceNotFound, HashMismatch, PayloadTooLarge, ToolFailed (it is no text)."""
        scope = grant.invocation.scope
        if "ref" in arguments:
            path = self._store.blobs.path(scope, arguments["ref"])
            if path.stat().st_size > ARTIFACT_BYTES_MAX:
                raise PayloadTooLarge("A text of at most 1 MiB can be read.", bytes_max=ARTIFACT_BYTES_MAX)
            content = await asyncio.to_thread(self._store.blobs.read, scope, arguments["ref"])
            return {"content": _text(content), "artifact_id": "", "version": 0, "hash_curr": ""}
        async with self._database.tenant_tx(scope) as tx:
            record = await self._store.head(tx, scope, arguments["artifact_id"])
        content = await self._store.read(scope, record)
        return {
            "content": _text(content),
            "artifact_id": record.artifact_id,
            "version": record.version,
            "hash_curr": record.hash_curr,
        }


class ArtifactWrite:
    """Writes the next version of an artifact, in the transaction that keeps the call's result."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    async def write(self, tx: Tx, grant: Grant, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Writes. Raises ToolNotAllowed for another plan's artifact, PayloadTooLarge, StreamVersionConflict."""
        call = grant.invocation
        artifact_id = arguments["artifact_id"]
        try:
            before = await self._store.head(tx, call.scope, artifact_id)
        except ResourceNotFound:
            before = None
        if before is not None and before.plan_id != call.plan_id:
            sentence = "The artifact belongs to another plan."
            raise ToolNotAllowed(sentence, tool=grant.spec.name, profile=grant.profile.profile_id)
        heading = _HEADING.search(arguments["body"])
        draft = Draft(
            path=arguments["path"],
            type=arguments["type"],
            slot=arguments["type"],
            title=heading[1].strip() if heading else arguments["path"],
            body_md=arguments["body"],
        )
        placing = Placing(
            artifact_id, call.claims.subject, plan_id=call.plan_id, task_id=call.task_id, trace_id=call.trace_id
        )
        record = await self._store.write(tx, call.scope, draft, placing, utc_now())
        return {
            "artifact_id": record.artifact_id,
            "path": record.path,
            "version": record.version,
            "hash_curr": record.hash_curr,
            "ref": record.ref,
        }


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ToolFailed("It is no text.", tool="artifact.read", cause="not_text") from None
