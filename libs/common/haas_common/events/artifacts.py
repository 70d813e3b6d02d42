"""Events of artifacts: a version of a file each, signed and chained (plan §4.2, design 21)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from haas_common.events.base import Count, EventType, Hash, Named, Number, Payload

_STREAM, _OWNER = "artifact/<artifact_id>", "orchestrator, planner, mcp"
Status = Literal["draft", "in_progress", "final", "superseded", "invalid"]
ChunkHash = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class Artifact(Payload):
    """A version of an artifact."""

    artifact_id: Named = Field(description="The artifact.")
    path: Named = Field(description="The file's name.")
    type: Named = Field(description="The value's type, e.g. “doc.brief”.")
    version: Number = Field(description="Counts from 1.")
    hash_prev: Hash | Literal[""] = Field(description="The hash of the version before; empty for the first.")
    hash_curr: Hash = Field(description="The version's hash, by docs/reference/hashing.md.")
    ref: Hash = Field(description="Of its bytes, in the blob store.")
    signer: Named = Field(description="The agent that wrote it.")
    signature: Named = Field(description="Ed25519 over `hash_curr`, base64.")
    status: Status = Field(description="Where it stands.")
    size_bytes: Count = Field(description="How many bytes it has.")
    links: list[str] = Field(description="The artifacts that it depends on.")
    sources: list[str] = Field(description="What it was made from: documents, inputs, artifacts.")
    signer_key: str = Field("", description="The agent's public key, base64; empty: signed by the fleet's own key.")
    certificate: str = Field("", description="The fleet's signature over the agent and its key, base64.")
    chunk_bytes: Count = Field(0, description="How long a chunk is; 0: the version names no chunks.")
    chunks: list[ChunkHash] = Field(
        default_factory=list, description="The first 16 hex digits of each chunk's hash, in order."
    )


class ArtifactStatusChanged(Payload):
    """A version whose status moved on."""

    artifact_id: Named = Field(description="The artifact.")
    version: Number = Field(description="The version whose status changed.")
    status_from: Status = Field(description="Where it stood.")
    status_to: Status = Field(description="Where it stands now.")
    reason: str = Field(description="Why.")


def from_1(payload: dict[str, Any]) -> dict[str, Any]:
    """Version 1 named neither the agent's own key nor chunks."""
    return {**payload, "signer_key": "", "certificate": "", "chunk_bytes": 0, "chunks": []}


TYPES = (
    EventType("ArtifactProduced", _STREAM, _OWNER, 2, Artifact, "An artifact was written."),
    EventType("ArtifactUpdated", _STREAM, _OWNER, 2, Artifact, "An artifact has a further version."),
    EventType(
        "ArtifactStatusChanged", _STREAM, _OWNER, 1, ArtifactStatusChanged, "An artifact's version changed its status."
    ),
)
