"""haas.orchestrator.v1.Audit: messages to values and back."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

from haas.orchestrator.v1 import audit_pb2 as pb
from haas.orchestrator.v1 import audit_pb2_grpc
from haas_common import errors
from haas_common.audit.checkpoints import TENANT_PROJECT, Checkpoint
from haas_common.blobs import Blobs
from haas_common.calls import current_call
from haas_common.db import Database, Lease, Scope
from haas_common.doorbell import Doorbell
from haas_common.fleet_keys import FleetKeys, raw_public
from haas_orchestrator.audit import store
from haas_orchestrator.audit.signer import Signer
from haas_orchestrator.audit.worker import TOPIC_EVENTS

PROJECTS_PAGE = 500
EVENTS_PAGE = 200
CHECKPOINTS_DEFAULT = 50
PIECE_BYTES = 256 * 1024
#: An auditor reads all projects of a tenant at once, as its scope says; no relay's rights come with it.
_READER = Lease("audit/read", 0)


def checkpoint_message(found: Checkpoint) -> pb.Checkpoint:
    """Returns a checkpoint as the contract has it."""
    message = pb.Checkpoint(
        number=found.number, digest=found.digest(), root=found.root, kid=found.kid, signature=found.signature
    )
    message.sign_time.FromJsonString(found.signed_at)
    return message


class AuditServicer(audit_pb2_grpc.AuditServicer):
    """haas.orchestrator.v1.Audit; each method is described in audit.proto."""

    def __init__(self, database: Database, doorbell: Doorbell, blobs: Blobs, signer: Signer, keys: FleetKeys) -> None:
        self._database = database
        self._doorbell = doorbell
        self._blobs = blobs
        self._signer = signer
        self._keys = keys

    async def ListHistories(self, request: Any, context: Any) -> pb.ListHistoriesResponse:
        """Lists projects that have events."""
        tenant_id, after = current_call().scope.tenant_id, request.after
        while True:
            async with self._database.tenant_tx(Scope(tenant_id, TENANT_PROJECT)) as tx:
                page = await store.projects_page(tx, (tenant_id, after), PROJECTS_PAGE, tenant_id)
            async with self._database.batch_tx(_READER, page) as tx:
                rows = await store.heads(tx, page)
            # A page of projects without events is not the end.
            if rows or len(page) < PROJECTS_PAGE:
                return pb.ListHistoriesResponse(histories=[_head(row) for row in rows])
            after = page[-1].project_id

    async def ExportHistory(self, request: Any, context: Any) -> AsyncIterator[pb.ExportHistoryResponse]:
        """Streams a project's events; the next page is read when the client has taken this one."""
        scope = Scope(current_call().scope.tenant_id, request.of_project_id)
        async with self._database.tenant_tx(scope) as tx:
            rows = await store.heads(tx, [scope])
        if not rows:
            raise errors.ResourceNotFound(
                f"There is no history of {scope.project_id}.", resource="history", id=scope.project_id
            )
        pieces = store.lines(self._database, scope, request.from_seq, rows[0]["last_seq"], EVENTS_PAGE, PIECE_BYTES)
        async for piece in pieces:
            yield pb.ExportHistoryResponse(lines=piece)

    async def ExportBlob(self, request: Any, context: Any) -> AsyncIterator[pb.ExportBlobResponse]:
        """Streams bytes as they lie there, unchecked: the auditor checks them."""
        scope = Scope(current_call().scope.tenant_id, request.of_project_id)
        try:
            data = await asyncio.to_thread(self._blobs.load, scope, request.ref)
        except errors.ResourceNotFound:
            async with self._database.tenant_tx(scope) as tx:
                profile = await store.profile(tx, scope, request.ref)
            if profile is None:
                raise
            data = profile
        for at in range(0, max(1, len(data)), PIECE_BYTES):
            yield pb.ExportBlobResponse(data=data[at : at + PIECE_BYTES])

    async def ListCheckpoints(self, request: Any, context: Any) -> pb.ListCheckpointsResponse:
        """Lists checkpoints, newest first."""
        tenant_id = current_call().scope.tenant_id
        async with self._database.tenant_tx(Scope(tenant_id, TENANT_PROJECT)) as tx:
            found = await store.checkpoints_page(
                tx, tenant_id, request.before_number, request.page_size or CHECKPOINTS_DEFAULT
            )
        return pb.ListCheckpointsResponse(checkpoints=map(checkpoint_message, found))

    async def SignCheckpoint(self, request: Any, context: Any) -> pb.SignCheckpointResponse:
        """Signs over all that there is."""
        tenant_id = current_call().scope.tenant_id
        checkpoint, signed = await self._signer.sign(tenant_id, await store.scopes_of(self._database, tenant_id))
        if checkpoint is None:
            raise errors.ResourceNotFound("The tenant has no event yet.", resource="history", id=tenant_id)
        if signed:
            self._doorbell.ring(TOPIC_EVENTS)
        return pb.SignCheckpointResponse(checkpoint=checkpoint_message(checkpoint), signed_now=signed)

    async def ListFleetKeys(self, request: Any, context: Any) -> pb.ListFleetKeysResponse:
        """Lists the fleet's public keys."""
        found = []
        for key in self._keys.known():
            message = pb.FleetKey(
                kid=key.kid, use=key.use, public=base64.b64encode(raw_public(key.public)).decode(),
            )  # fmt: skip
            message.create_time.FromDatetime(key.created_at)
            if key.retired_at is not None:
                message.retire_time.FromDatetime(key.retired_at)
            found.append(message)
        return pb.ListFleetKeysResponse(keys=found)


def _head(row: dict[str, Any]) -> pb.HistoryHead:
    return pb.HistoryHead(project_id=row["project_id"], last_seq=row["last_seq"], streams=row["streams"])
