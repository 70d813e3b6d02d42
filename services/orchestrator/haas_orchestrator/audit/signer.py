"""Signs checkpoints: what the newest ones say, what changed since, and the next one over it.

What is known of a tenant is read once, backwards along its chain, and kept: 250 bytes a project. Two signers cannot
both write a number: the event is appended at the stream's expected version.
"""

import asyncio
import dataclasses
import datetime
from collections.abc import Mapping, Sequence

from haas_common import errors
from haas_common.audit import checkpoints, genesis
from haas_common.audit.checkpoints import PROJECTS_MAX, TENANT_PROJECT, Checkpoint, Record
from haas_common.blobs import Blobs
from haas_common.db import Database, Lease, Scope, Tx
from haas_common.eventstore import NewEvent, append
from haas_common.fleet_keys import FleetKeys
from haas_orchestrator.audit import store

ACTOR = "audit"
#: Signing reads the heads of all the streams that changed.
TIMEOUT_S = 60.0
_CHAIN_PAGE = 100
_TRIES = 3
#: Outside of the relay there is no lease to hold: the expected version is the fence.
_NO_LEASE = Lease("audit/sign", 0)


@dataclasses.dataclass(slots=True)
class Known:
    """A tenant's newest checkpoint and all records; `own` counts the tenant's own covered events but checkpoints."""

    newest: Checkpoint | None = None
    records: dict[str, Record] = dataclasses.field(default_factory=dict)
    own: int = 0

    @property
    def number(self) -> int:
        """The newest checkpoint's number; 0 for none."""
        return self.newest.number if self.newest else 0

    def changed(self, heads: Mapping[str, int]) -> dict[str, int]:
        """Returns how many events of each project (by its last seq) no checkpoint vouches for.

        A checkpoint is an event too: of the tenant's own events only the others make it due again.
        """
        found = {}
        for project, last_seq in heads.items():
            if project == TENANT_PROJECT:
                new = last_seq - self.number - self.own
            else:
                known = self.records.get(project)
                new = last_seq - (known.last_seq if known else 0)
            if new > 0:
                found[project] = new
        return found

    def take(self, checkpoint: Checkpoint) -> None:
        """Takes the next checkpoint."""
        for record in checkpoint.projects:
            self.records[record.project_id] = record
            if record.project_id == TENANT_PROJECT:
                self.own = record.last_seq - (checkpoint.number - 1)
        self.newest = checkpoint


class Signer:
    """Signs every tenant's checkpoints; one at a time in a process."""

    def __init__(self, database: Database, keys: FleetKeys, blobs: Blobs) -> None:
        self._database = database
        self._keys = keys
        self._blobs = blobs
        self._known: dict[str, Known] = {}
        self._one = asyncio.Lock()

    async def known(self, tenant_id: str, scopes: Sequence[Scope], lease: Lease | None = None) -> Known:
        """Returns what is known of a tenant, read at the first time."""
        found = self._known.get(tenant_id)
        if found is None:
            async with self._database.batch_tx(lease or _NO_LEASE, scopes, timeout_s=TIMEOUT_S) as tx:
                found = await self._read(tx, tenant_id, scopes)
            self._known[tenant_id] = found
        return found

    async def sign(
        self, tenant_id: str, scopes: Sequence[Scope], lease: Lease | None = None
    ) -> tuple[Checkpoint | None, bool]:
        """Signs until what there is now has been vouched for; returns the newest checkpoint and whether it is new.

        Raises LeaseLost, and StreamVersionConflict where others keep signing.
        """
        scopes = sorted({*scopes, Scope(tenant_id, TENANT_PROJECT)})
        async with self._one:
            tries = _TRIES
            while True:
                known = await self.known(tenant_id, scopes, lease)
                before = known.number
                try:
                    # What is told by and by was there at the beginning: new events meanwhile are for the next time.
                    rest = await self._next(tenant_id, scopes, known, None, lease)
                    while rest:
                        rest = await self._next(tenant_id, scopes, known, rest, lease)
                except errors.StreamVersionConflict:
                    del self._known[tenant_id]
                    tries -= 1
                    if not tries:
                        raise
                else:
                    return known.newest, known.number > before

    async def _next(
        self, tenant_id: str, scopes: Sequence[Scope], known: Known, waiting: Sequence[str] | None, lease: Lease | None
    ) -> list[str]:
        """Signs one checkpoint over `waiting` (None: whatever changed) and returns what found no room in it."""
        async with self._database.batch_tx(lease or _NO_LEASE, scopes, timeout_s=TIMEOUT_S) as tx:
            heads = {row["project_id"]: row["last_seq"] for row in await store.heads(tx, scopes)}
            changed = sorted(known.changed(heads)) if waiting is None else list(waiting)
            if not changed:
                return []
            # The tenant's own events, the checkpoint before among them, are always told.
            own_first = [TENANT_PROJECT] if TENANT_PROJECT in heads else []
            told = [*own_first, *(p for p in changed if p != TENANT_PROJECT)]
            told, rest = told[:PROJECTS_MAX], told[PROJECTS_MAX:]
            records = {**known.records, **await store.records(tx, tenant_id, told)}
            previous = known.newest.digest() if known.newest else ""
            signed_at = await store.now(tx)
            if known.newest is not None and datetime.datetime.fromisoformat(signed_at) < known.newest.time():
                signed_at = known.newest.signed_at  # a clock that was put back, or an imported chain of one ahead
            checkpoint = checkpoints.sign(
                tenant_id, known.number + 1, previous, records, told, signed_at, self._keys.signer("checkpoint")
            )
            await store.keep_tenant_project(tx, tenant_id)
            event = NewEvent(
                Scope(tenant_id, TENANT_PROJECT), checkpoints.stream_of(tenant_id), checkpoints.EVENT_TYPE,
                checkpoint.payload(), ACTOR, expected_version=known.number,
            )  # fmt: skip
            await append(tx, [event], lease)
        known.take(checkpoint)
        return rest

    async def _read(self, tx: Tx, tenant_id: str, scopes: Sequence[Scope]) -> Known:
        """Reads the chain backwards, until it has said something of every project that has events."""
        wanted = {row["project_id"] for row in await store.heads(tx, scopes)}
        found, before = Known(), 0
        while True:
            page = await store.checkpoints_page(tx, tenant_id, before, _CHAIN_PAGE)
            for checkpoint in page:
                found.newest = found.newest or checkpoint
                for record in checkpoint.projects:
                    if record.project_id not in found.records:
                        found.records[record.project_id] = record
                        if record.project_id == TENANT_PROJECT:
                            found.own = record.last_seq - (checkpoint.number - 1)
            if wanted <= found.records.keys():
                return found
            if len(page) < _CHAIN_PAGE:
                await self._read_dropped(tx, tenant_id, found)
                return found
            before = page[-1].number

    async def _read_dropped(self, tx: Tx, tenant_id: str, found: Known) -> None:
        """Takes what checkpoints said that were dropped with old events: a signed document tells it."""
        ref = await store.genesis_ref(tx, tenant_id)
        if not ref:
            return
        data = await asyncio.to_thread(self._blobs.read, Scope(tenant_id, TENANT_PROJECT), ref)
        document = genesis.read(tenant_id, data)
        if document.checkpoint is None:
            return
        found.newest = found.newest or document.checkpoint
        for record in document.records:
            if record.project_id not in found.records:
                found.records[record.project_id] = record
                if record.project_id == TENANT_PROJECT:
                    found.own = record.last_seq - (document.checkpoint.number - 1)
