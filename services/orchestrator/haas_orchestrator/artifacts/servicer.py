"""haas.orchestrator.v1.Artifacts: messages to domain values and back."""

from collections.abc import AsyncIterator
from typing import Any

from haas.orchestrator.v1 import artifacts_pb2, artifacts_pb2_grpc
from haas_common.artifacts.store import ArtifactStore
from haas_common.calls import current_call
from haas_common.db import Database
from haas_common.doorbell import Doorbell
from haas_orchestrator import domain, inputs, messages, store
from haas_orchestrator.artifacts.operations import Artifacts
from haas_orchestrator.operations import malformed

PAGE = 50
_STATUS = "ARTIFACT_STATUS_"


class ArtifactsServicer(artifacts_pb2_grpc.ArtifactsServicer):
    """haas.orchestrator.v1.Artifacts; each method is described in artifacts.proto."""

    def __init__(self, database: Database, doorbell: Doorbell, artifacts: ArtifactStore) -> None:
        self._database = database
        self._doorbell = doorbell
        self._blobs = artifacts.blobs
        self._artifacts = Artifacts(database, doorbell, artifacts)

    async def GetArtifact(self, request: Any, context: Any) -> artifacts_pb2.GetArtifactResponse:
        """Reads an artifact."""
        record, file = await self._artifacts.get(current_call().scope, request.artifact_id, request.version)
        return artifacts_pb2.GetArtifactResponse(artifact=messages.artifact(record), content=file.decode())

    async def ListArtifacts(self, request: Any, context: Any) -> artifacts_pb2.ListArtifactsResponse:
        """Lists artifacts by id."""
        scope, size = current_call().scope, request.page_size or PAGE
        try:
            after = domain.read_artifact_cursor(request.page_token)
        except domain.Malformed as error:
            raise malformed(error) from None
        async with self._database.tenant_tx(scope) as tx:
            found = await store.list_artifacts(tx, scope, request.plan_id, after, size + 1)
        token = found[size - 1].artifact_id if len(found) > size else ""
        page = map(messages.artifact, found[:size])
        return artifacts_pb2.ListArtifactsResponse(artifacts=page, next_page_token=token)

    async def ListArtifactVersions(self, request: Any, context: Any) -> artifacts_pb2.ListArtifactVersionsResponse:
        """Lists an artifact's versions."""
        after, size = int(request.page_token or 0), request.page_size or PAGE
        found, next_ = await self._artifacts.versions(current_call().scope, request.artifact_id, after, size)
        page = map(messages.artifact, found)
        return artifacts_pb2.ListArtifactVersionsResponse(versions=page, next_page_token=str(next_) if next_ else "")

    async def VerifyArtifact(self, request: Any, context: Any) -> artifacts_pb2.VerifyArtifactResponse:
        """Recomputes an artifact's chain."""
        found = await self._artifacts.verify(current_call().scope, request.artifact_id)
        response = artifacts_pb2.VerifyArtifactResponse(
            valid=not found.problem,
            versions_checked=found.versions,
            first_bad_version=found.first_bad_version,
            problem=found.problem,
            hash_curr=found.hash_curr,
            first_version=found.first_version,
        )
        if found.fault is not None and found.fault.first_bad_byte is not None:
            response.first_bad_byte = found.fault.first_bad_byte
            response.last_bad_byte = found.fault.last_bad_byte
        return response

    async def DiffArtifact(self, request: Any, context: Any) -> artifacts_pb2.DiffArtifactResponse:
        """Compares two versions."""
        found = await self._artifacts.diff(
            current_call().scope, request.artifact_id, request.version_from, request.version_to
        )
        changes = [
            artifacts_pb2.FrontMatterChange(key=one.key, before=one.before, after=one.after) for one in found.front
        ]
        return artifacts_pb2.DiffArtifactResponse(
            version_from=found.version_from, version_to=found.version_to, body_diff=found.body, front_matter=changes
        )

    async def AppendWorklog(self, request: Any, context: Any) -> artifacts_pb2.AppendWorklogResponse:
        """Appends a line to an artifact's worklog."""
        record = await self._artifacts.append_worklog(
            current_call(), request.artifact_id, request.text, request.request_id
        )
        return artifacts_pb2.AppendWorklogResponse(artifact=messages.artifact(record))

    async def SetArtifactStatus(self, request: Any, context: Any) -> artifacts_pb2.SetArtifactStatusResponse:
        """Moves an artifact's status."""
        status = artifacts_pb2.ArtifactStatus.Name(request.status).removeprefix(_STATUS).lower()
        record = await self._artifacts.set_status(
            current_call(), request.artifact_id, status, request.reason, request.request_id
        )
        return artifacts_pb2.SetArtifactStatusResponse(artifact=messages.artifact(record))

    async def UploadInput(self, request_iterator: Any, context: Any) -> artifacts_pb2.UploadInputResponse:
        """Keeps a file by its hash."""
        call, pieces = current_call(), aiter(request_iterator)
        first = await anext(pieces)
        data = await inputs.gather(_bytes(first, pieces))
        kept = await inputs.keep(
            self._database, self._doorbell, self._blobs, call.scope, call.actor, first.name, data,
            lenient=first.lenient,
        )  # fmt: skip
        response = artifacts_pb2.UploadInputResponse(ref=kept.ref, size_bytes=kept.size_bytes)
        if kept.facts is not None:
            response.rows, response.broken_rows = kept.facts.rows, kept.facts.broken_rows
            response.columns.extend(kept.facts.columns)
            response.broken_row_numbers.extend(kept.facts.broken_row_numbers)
        return response


async def _bytes(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    yield first.file.data
    async for message in rest:
        yield message.file.data
