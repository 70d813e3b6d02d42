"""resource_locks: who holds what. The row stays when a lock is released: its fence is where the next one goes on."""

import datetime
from collections.abc import Sequence

from haas_common.projections import Key, Past, Row
from haas_common.projections.keyed import Fold, Keyed

TYPES = ("LockGranted", "ResourceReleased")
KEY = ("tenant_id", "project_id", "path")
FREE = ""


def touched(event: Past) -> Sequence[Key]:
    """Returns the path that an event is about."""
    return [(event.tenant_id, event.project_id, event.payload["path"])]


def apply(row: Row | None, event: Past) -> Row | None:
    """Folds an event of a path into its row."""
    facts = event.payload
    if event.type == "LockGranted":
        until = datetime.datetime.fromtimestamp(facts["expires_at"], datetime.UTC)
        return {
            "tenant_id": event.tenant_id,
            "project_id": event.project_id,
            "path": facts["path"],
            "locked_by": facts["holder"],
            "fence": facts["fence"],
            "locked_at": event.at,
            "expires_at": until.isoformat(),
        }
    # A release that comes after another one was granted tells of what was over already.
    if row is None or row["fence"] != facts["fence"]:
        return row
    return {**row, "locked_by": FREE, "expires_at": "-infinity"}


def projection() -> Keyed:
    """Returns the rebuild's fold."""
    return Keyed("locks", "resource_locks", TYPES, Fold(touched, lambda row, event, key: apply(row, event)), key=KEY)
