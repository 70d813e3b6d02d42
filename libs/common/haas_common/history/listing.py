"""The ranges of the history with what they hold, and whether checkpoints vouch for it."""

import dataclasses
import datetime
import sys

from haas_common import errors
from haas_common.audit import checkpoints, genesis
from haas_common.audit.checkpoints import TENANT_PROJECT
from haas_common.blobs import Blobs
from haas_common.db import Scope
from haas_common.history.partitions import Partitions, Range

_PAGE = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """A range as it is listed.

    Attributes:
        first_at: when its first event was recorded; None for an empty one.
        covered: whether a checkpoint names each of its events; dropping it verifies that too.
    """

    range: Range
    first_at: datetime.datetime | None
    last_at: datetime.datetime | None
    covered: bool


def listed(partitions: Partitions, blobs: Blobs) -> list[Listed]:
    """Returns every range."""
    known: dict[str, dict[str, int]] = {}
    found = []
    for place in partitions.ranges():
        times, covered = partitions.times(place), True
        for part in partitions.ends(place):
            if part.tenant_id not in known:
                known[part.tenant_id] = _covered(partitions, blobs, part.tenant_id)
            covered = covered and part.last_seq <= known[part.tenant_id].get(part.project_id, 0)
        found.append(Listed(place, *(times or (None, None)), covered))
    return found


def _covered(partitions: Partitions, blobs: Blobs, tenant_id: str) -> dict[str, int]:
    """Returns how far checkpoints go in each of a tenant's projects, as the newest ones say."""
    wanted, found = set(partitions.projects(tenant_id)), dict[str, int]()
    stream, before, newest = checkpoints.stream_of(tenant_id), sys.maxsize, 0
    while not wanted <= found.keys():
        page = partitions.newest_payloads(tenant_id, stream, before, _PAGE)
        for _, payload in page:
            for record in checkpoints.read(tenant_id, payload).projects:
                found.setdefault(record.project_id, record.last_seq)
        newest = newest or (page[0][0] if page else 0)
        if len(page) < _PAGE:
            break
        before = page[-1][0]
    for project, last_seq in _dropped(partitions, blobs, tenant_id).items():
        found.setdefault(project, last_seq)
    # The newest checkpoint is signed itself.
    if newest and partitions.head(tenant_id, TENANT_PROJECT, stream) == (newest, found.get(TENANT_PROJECT, 0) + 1):
        found[TENANT_PROJECT] = found.get(TENANT_PROJECT, 0) + 1
    return found


def _dropped(partitions: Partitions, blobs: Blobs, tenant_id: str) -> dict[str, int]:
    """Returns what checkpoints said that were dropped."""
    for _, payload in partitions.newest_payloads(tenant_id, genesis.stream_of(tenant_id), sys.maxsize, 1):
        try:
            data = blobs.load(Scope(tenant_id, TENANT_PROJECT), payload["genesis_ref"])
        except errors.ResourceNotFound:
            continue
        return {record.project_id: record.last_seq for record in genesis.read(tenant_id, data).records}
    return {}
