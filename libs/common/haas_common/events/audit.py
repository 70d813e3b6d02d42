"""Events about the history itself: what vouches for it, what was found wrong, what was taken out of it."""

from pydantic import Field

from haas_common.events.base import Count, EventType, Hash, Named, Number, Payload

_OWNER = "orchestrator"


class AuditFailed(Payload):
    """Bytes that are not what was signed."""

    problem: Named = Field(description="What does not hold, as a sentence.")
    artifact_id: str = Field("", description="The artifact; empty where an event is at fault.")
    version: Count = Field(0, description="The artifact's version; 0 for none.")
    first_bad_byte: Count | None = Field(None, description="Where the bytes begin to differ, from 0.")
    last_bad_byte: Count | None = Field(None, description="Where they end to differ, inclusive.")
    found_hash: str = Field("", description="The hash that the bytes have now; empty where they are gone.")
    stream: str = Field("", description="The stream of the event at fault; empty for an artifact.")
    seq: Count = Field(0, description="The seq of the event at fault; 0 for an artifact.")


class ProjectHead(Payload):
    """How far a project's history is vouched for."""

    project_id: Named = Field(description="The project.")
    last_seq: Count = Field(description="Its last event.")
    streams: Count = Field(description="How many streams it has.")
    root: Named = Field(description="The root of the Merkle tree over its streams' heads.")


class CheckpointSigned(Payload):
    """The fleet's signature over all of a tenant's history until now."""

    number: Number = Field(description="Counts from 1.")
    previous: str = Field(description="The hash of the checkpoint before; empty for the first.")
    root: Named = Field(description="The root over all of the tenant's projects.")
    kid: Named = Field(description="The key that signed it.")
    signature: Named = Field(description="Ed25519, base64.")
    signed_at: Named = Field(description="When, ISO 8601.")
    projects: list[ProjectHead] = Field(
        description="The projects that changed since the checkpoint before; the others stand as they stood."
    )


class DataErased(Payload):
    """A subject whose personal fields nobody can read any more; the chain still holds."""

    subject_hash: Named = Field(description="The subject, hashed.")
    key_ids: list[str] = Field(description="The keys that were destroyed.")
    artifacts: Count = Field(description="How many artifacts were erased with them.")
    blobs: Count = Field(description="How many blobs were erased with them.")
    reason: str = Field(description="Why, as whoever ordered it said; it names no person.")
    refs: list[Hash] = Field(
        default_factory=list, description="The blobs that were erased; many are told by several events."
    )


class DataKeysExported(Payload):
    """Who took the keys of personal data out; the event's actor did."""

    keys: Count = Field(description="How many.")
    key_ids: list[Named] = Field(max_length=200, description="Which; never the keys themselves.")


class FirstKept(Payload):
    """Where a project's history begins now."""

    project_id: Named = Field(description="The project.")
    first_seq: Number = Field(description="The first event that is still kept.")


class HistoryDropped(Payload):
    """An old range that was dropped, with the signed checkpoint that the rest now begins from."""

    projects: list[FirstKept] = Field(min_length=1, description="Where each history begins now.")
    genesis_ref: Named = Field(description="The blob with the heads that the rest follows.")
    root: Named = Field(description="The Merkle root over these heads.")
    kid: Named = Field(description="The key that signed it.")
    signature: Named = Field(description="Ed25519, base64.")


TYPES = (
    EventType(
        "AuditFailed", "artifact/<artifact_id> or audit/<tenant_id>", "orchestrator, planner, mcp", 1, AuditFailed,
        "Stored bytes are not what was signed.",
    ),
    EventType(
        "CheckpointSigned", "checkpoint/<tenant_id>", _OWNER, 1, CheckpointSigned,
        "The fleet vouched for a tenant's history.",
    ),
    EventType(
        "DataErased", "erasure/<subject hash>", _OWNER, 1, DataErased, "The keys of a subject's data were destroyed."
    ),
    EventType(
        "DataKeysExported", "privacy/<project_id>", _OWNER, 1, DataKeysExported,
        "Keys of personal data were taken out, for a history that moves.",
    ),
    EventType("HistoryDropped", "history/<tenant_id>", _OWNER, 1, HistoryDropped, "An old range was dropped."),
)  # fmt: skip
