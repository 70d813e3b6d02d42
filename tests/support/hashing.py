"""The hash rules of docs/reference/hashing.md, written from the page alone: no code of the services, no SQL."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any

GENESIS = bytes(32)
EVENT_DOMAIN = b"haas.event.v1\0"
ARTIFACT_DOMAIN = b"haas.artifact.v1\0"
EVENT_FIELDS = (
    "tenant_id", "project_id", "seq", "stream", "version", "event_type", "schema_version", "plan_id", "task_id",
    "actor", "causation_id", "correlation_id", "trace_id", "recorded_at_us", "payload",
)  # fmt: skip


def event_hash(before: bytes, event: Mapping[str, Any]) -> bytes:
    """Returns an event's hash.

    Args:
        before: the hash of the event before it in its stream; 32 zero bytes for the first.
        event: EVENT_FIELDS by name; numbers as integers.
    """
    body = b""
    for name in EVENT_FIELDS:
        data = str(event[name]).encode()
        body += len(data).to_bytes(4, "big") + data
    return hashlib.sha256(EVENT_DOMAIN + before + body).digest()


def artifact_hash(file: bytes) -> str:
    """Returns the `hash_curr` of an artifact's bytes."""
    end = file.index(b"\n---\n", 3) + 5
    head = b"".join(
        line for line in file[:end].splitlines(keepends=True) if not re.match(rb"(hash_curr|signature): ", line)
    )
    return "sha256:" + hashlib.sha256(ARTIFACT_DOMAIN + head + file[end:]).hexdigest()


def framed(*parts: str | int | bytes) -> bytes:
    """Each part behind its length."""
    data = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in data)


def stream_leaf(project_id: str, head: Mapping[str, Any]) -> bytes:
    """Returns the leaf of a stream's head: {stream, version, hash}."""
    body = framed(project_id, head["stream"], head["version"], bytes.fromhex(head["hash"]))
    return hashlib.sha256(b"\x00haas.leaf.v1\x00" + body).digest()


def project_leaf(project_id: str, last_seq: int, streams: int, root: bytes) -> bytes:
    """Returns the leaf of a project."""
    return hashlib.sha256(b"\x00haas.project.v1\x00" + framed(project_id, last_seq, streams, root)).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962's own definition, recursive: split at the largest power of two below the number of leaves."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def checkpoint_bytes(tenant_id: str, payload: Mapping[str, Any]) -> bytes:
    """Returns what a checkpoint's signature is over."""
    fields = (payload[name] for name in ("number", "previous", "root", "signed_at", "kid"))
    return b"haas.checkpoint.v1\x00" + framed(tenant_id, *fields)


def genesis_bytes(tenant_id: str, payload: Mapping[str, Any]) -> bytes:
    """Returns what the signature of HistoryDropped is over."""
    return b"haas.genesis.v1\x00" + framed(tenant_id, *(payload[name] for name in ("genesis_ref", "root", "kid")))


def certificate_bytes(said: Mapping[str, str]) -> bytes:
    """Returns what an agent's certificate signs."""
    key = base64.b64decode(said["signer_key"])
    return b"haas.agent.v1\x00" + framed(said["tenant_id"], said["project_id"], said["signer"], key)


def agent_seed(fleet_key: bytes, tenant_id: str, project_id: str, agent: str) -> bytes:
    """Returns an agent's private key: HKDF-SHA256 (RFC 5869) without a salt, one block of 32 bytes."""
    info = b"haas.agent.v1\0" + b"\0".join(part.encode() for part in (tenant_id, project_id, agent))
    extracted = hmac.digest(bytes(32), fleet_key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")
