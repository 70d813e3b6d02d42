"""artifacts_read: the newest version of each artifact."""

from collections.abc import Sequence

from haas_common.projections import Key, Past, Row
from haas_common.projections.keyed import Fold, Keyed

TYPES = ("ArtifactProduced", "ArtifactUpdated", "ArtifactStatusChanged")
_FACTS = (
    "artifact_id", "path", "type", "version", "hash_prev", "hash_curr", "ref", "signer", "signature", "status",
    "size_bytes",
)  # fmt: skip


KEY = ("tenant_id", "project_id", "artifact_id")


def touched(event: Past) -> Sequence[Key]:
    """Returns the artifact that an event changes."""
    return [(event.tenant_id, event.project_id, event.payload["artifact_id"])]


def apply(row: Row | None, event: Past) -> Row | None:
    """Folds an event of an artifact into its row."""
    facts = event.payload
    if event.type == "ArtifactStatusChanged":
        # The status of a version that was superseded since is its history's alone.
        if row is None or row["version"] != facts["version"]:
            return row
        return {**row, "status": facts["status_to"]}
    if row is None and event.type != "ArtifactProduced":
        return None  # its beginning was dropped from the history: the live row stays
    return {
        "tenant_id": event.tenant_id,
        "project_id": event.project_id,
        **{name: facts[name] for name in _FACTS},
        "plan_id": event.plan_id,
        "task_id": event.task_id,
        "created_at": row["created_at"] if row else event.at,
        "updated_at": event.at,
    }


def projection() -> Keyed:
    """Returns the rebuild's fold."""
    return Keyed(
        "artifacts", "artifacts_read", TYPES, Fold(touched, lambda row, event, key: apply(row, event)), key=KEY
    )
