"""The hash rules of docs/reference/hashing.md, written from the page alone: no code of the services, no SQL."""

import hashlib
import re
from collections.abc import Mapping
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
