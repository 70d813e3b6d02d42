"""`artifact.read` and `artifact.write`: the project's signed documents."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from haas_common.artifacts import front_matter
from haas_common.artifacts.file import Draft
from haas_common.artifacts.front_matter import FrontMatterInvalid
from haas_common.artifacts.records import Placing
from haas_common.artifacts.rules import Link
from haas_common.artifacts.store import ARTIFACT_BYTES_MAX, ArtifactStore
from haas_common.clock import utc_now
from haas_common.db import Database, Tx
from haas_common.errors import PayloadTooLarge, ResourceNotFound, ToolArgumentsInvalid, ToolFailed, ToolNotAllowed
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
            if await asyncio.to_thread(self._store.blobs.size, scope, arguments["ref"]) > ARTIFACT_BYTES_MAX:
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
        draft, links = _draft(arguments)
        placing = Placing(
            artifact_id,
            call.claims.subject,
            plan_id=call.plan_id,
            task_id=call.task_id,
            links=links,
            trace_id=call.trace_id,
        )
        record = await self._store.write(tx, call.scope, draft, placing, utc_now())
        return {
            "artifact_id": record.artifact_id,
            "path": record.path,
            "version": record.version,
            "hash_curr": record.hash_curr,
            "ref": record.ref,
        }


def _draft(arguments: Mapping[str, Any]) -> tuple[Draft, tuple[Link, ...]]:
    """Reads what is to be written; a text may begin with front matter of its own, whose other keys are kept.

    Raises:
        ToolArgumentsInvalid: the front matter does not parse, or says what the store says.
    """
    body, front = arguments["body"], {}
    try:
        if body.startswith("---\n"):
            raw, rest = front_matter.split(body.encode())
            front, body = front_matter.read(raw.decode()), rest.decode()
        links = tuple(Link(one["type"], one["ref"]) for one in front.pop("links", ()))
        said = {name: _one_text(front, name) for name in ("title", "status", "artifact_type") if name in front}
    except (FrontMatterInvalid, KeyError, TypeError) as error:
        sentence = (
            f"body: {error}." if isinstance(error, FrontMatterInvalid) else "body: links are lists of type and ref."
        )
        raise ToolArgumentsInvalid(sentence, tool="artifact.write", field="body", rule="front matter") from None
    heading = _HEADING.search(body)
    draft = Draft(
        path=arguments["path"],
        type=arguments["type"],
        slot=arguments["type"],
        title=said.get("title") or (heading[1].strip() if heading else arguments["path"]),
        body_md=body,
        status=said.get("status", "final"),
        artifact_type=said.get("artifact_type", ""),
        extra=front,
    )
    return draft, links


def _one_text(front: dict[str, Any], name: str) -> str:
    value = front.pop(name)
    if not isinstance(value, str):
        raise FrontMatterInvalid("it is a text", name)
    return value


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ToolFailed("It is no text.", tool="artifact.read", cause="not_text") from None
