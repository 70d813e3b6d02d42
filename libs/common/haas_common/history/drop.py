"""Takes an old range out of the history: what is left verifies, and nothing is lost that was not meant to be.

Six steps, each of which may be the last before a crash; the next run goes on where it ended:

1. what keeps the range is looked for, and it is written to a file where one is named
2. every event of it is verified, and what each tenant's history begins from then is put into the blob store
3. HistoryDropped signs that, an event a tenant
4. it is made sure that a signed document names all that goes
5. the range is detached while appends and reads go on
6. it is dropped
"""

import datetime
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from haas_common.audit import genesis
from haas_common.audit.checkpoints import TENANT_PROJECT
from haas_common.audit.genesis import Document
from haas_common.blobs import Blobs
from haas_common.db import Database, Scope
from haas_common.eventstore import NewEvent, append
from haas_common.fleet_keys import FleetKeys
from haas_common.history import files
from haas_common.history.floors import Floors, Held, unsigned
from haas_common.history.partitions import Part, Partitions, Range
from haas_common.history.refusals import CursorBehind, PlanNotOver, RangeInUse, RangeUnknown

ACTOR = "operator"
#: As many projects as one event names: 200 of them take 20 of the 32 KiB of a payload.
_PROJECTS_MAX = 200
Told = Callable[[str], None]


class Dropper:
    """What dropping needs: the superuser's connection, the app's door, the blob store, the fleet's keys."""

    def __init__(
        self, partitions: Partitions, database: Database, blobs: Blobs, keys: FleetKeys, told: Told = lambda step: None
    ) -> None:
        self._partitions, self._database, self._blobs, self._keys = partitions, database, blobs, keys
        self._told = told

    @staticmethod
    def older(partitions: Partitions, until: str) -> list[Range]:
        """Returns the ranges that are older than a range by name, or than a date, oldest first in their cells.

        Of the newest range of a cell, and of the one that is being written, nothing goes. Raises RangeUnknown.
        """
        ranges = partitions.ranges()
        named = next((found for found in ranges if found.name == until), None)
        if named is not None:
            return [r for r in ranges if r.cell == named.cell and r.number < named.number]
        try:
            limit = datetime.datetime.fromisoformat(until)
        except ValueError as error:
            raise RangeUnknown(f"{until} is neither a range nor a date: `haas history ranges` lists them.") from error
        limit = limit if limit.tzinfo else limit.replace(tzinfo=datetime.UTC)
        old = []
        for found in ranges:
            times = partitions.times(found)
            if _written(partitions, found) and (times is None or times[1] < limit):
                old.append(found)
        return old

    async def drop(self, found: Range, into: Path | None = None) -> int:
        """Drops a range, after it was written to a file where one is named; returns how many events went.

        Raises a Refusal before anything was changed, and where a transaction keeps the range from being detached.
        """
        if not _written(self._partitions, found):
            raise RangeInUse(f"The range {found.name} is not full yet.")
        if found.state == "attached":
            self._partitions.await_writers()
        parts = self._partitions.parts(found)
        if found.state == "attached" and parts:
            self._refuse_what_keeps(found, parts)
        if into is not None:
            files.write_out(self._partitions, found, parts, into)
            self._told(f"{found.name}: written to {into}")
        if found.state == "attached":
            for tenant_id, own in itertools.groupby(parts, key=lambda part: part.tenant_id):
                await self._announce(tenant_id, list(own))
        self._make_sure(found, parts)
        if found.state != "detached":
            self._partitions.detach(found)
            self._told(f"{found.name}: detached")
        self._partitions.drop(found)
        return sum(part.events for part in parts)

    def _refuse_what_keeps(self, found: Range, parts: Sequence[Part]) -> None:
        older = self._partitions.older_parts(list(parts))
        if older:
            place = f"{older[0].tenant_id}/{older[0].project_id}"
            raise RangeInUse(f"{place} has older events than those of {found.name}: drop their range first.")
        plans = self._partitions.open_plans(found)
        if plans:
            raise PlanNotOver(f"{found.name} holds events of plans that are not over: {', '.join(plans)}.")
        behind = self._partitions.readers_behind(found)
        if behind:
            raise CursorBehind(f"{found.name} has not been read to its end by {', '.join(behind)}.")

    async def _announce(self, tenant_id: str, parts: Sequence[Part]) -> None:
        """Signs what a tenant's history begins from; once, however often it is run."""
        source, keys = Held(self._partitions, self._blobs, tenant_id), self._keys.public("checkpoint")
        if not unsigned(source, keys, parts):
            return
        own_floor = next((part.last_seq for part in parts if part.project_id == TENANT_PROJECT), 0)
        document = Floors(source, keys, own_floor).document(parts)
        ref = self._blobs.put(Scope(tenant_id, TENANT_PROJECT), document.data())
        async with self._database.tenant_tx(Scope(tenant_id, TENANT_PROJECT)) as tx:
            await append(tx, self._events(document, ref, parts))
        self._told(f"{tenant_id}: signed what is left of {len(parts)} projects")

    def _events(self, document: Document, ref: str, parts: Sequence[Part]) -> list[NewEvent]:
        signed = genesis.sign(document, ref, self._keys.signer("checkpoint"))
        own = Scope(document.tenant_id, TENANT_PROJECT)
        stream = genesis.stream_of(document.tenant_id)
        events = []
        for start in range(0, len(parts), _PROJECTS_MAX):
            told = [
                {"project_id": p.project_id, "first_seq": p.last_seq + 1} for p in parts[start : start + _PROJECTS_MAX]
            ]
            events.append(NewEvent(own, stream, genesis.EVENT_TYPE, {"projects": told, **signed}, ACTOR))
        return events

    def _make_sure(self, found: Range, parts: Sequence[Part]) -> None:
        """Refuses to go on where a signed document does not name all that goes: somebody else detached the range."""
        for tenant_id, own in itertools.groupby(parts, key=lambda part: part.tenant_id):
            source = Held(self._partitions, self._blobs, tenant_id)
            for part in unsigned(source, self._keys.public("checkpoint"), list(own)):
                raise RangeInUse(
                    f"{found.name} is {found.state}, and nothing was signed for {tenant_id}/{part.project_id}:"
                    " attach it again."
                )


def _written(partitions: Partitions, found: Range) -> bool:
    """Whether its last id was given out."""
    return found.ids[1] <= partitions.last_id() + 1
