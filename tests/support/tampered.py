"""A tenant's history in memory: made by the rules of docs/reference/hashing.md alone, exported, and tampered with."""

import base64
import dataclasses
import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from haas_common.audit import checkpoints
from haas_common.audit.checkpoints import TENANT_PROJECT, Record
from haas_common.audit.export import Writer
from haas_common.audit.merkle import root_of, stream_leaf
from haas_common.audit.rows import FIELDS, line_of, lines_of
from haas_common.fleet_keys import FleetKey, write_set
from tests.support import hashing

TENANT = "t-one"
CHECKPOINT_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ARTIFACT_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
KIDS = {"checkpoint": "cp-test", "artifact": "af-test"}
MADE_AT = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
PUBLIC = {
    "checkpoint": FleetKey(KIDS["checkpoint"], "checkpoint", CHECKPOINT_KEY.public_key(), MADE_AT, None),
    "artifact": FleetKey(KIDS["artifact"], "artifact", ARTIFACT_KEY.public_key(), MADE_AT, None),
}
#: By use, then by id: what `verify` takes.
KEYS = {use: {key.kid: key} for use, key in PUBLIC.items()}
Row = dict[str, Any]


def link(rows: list[Row]) -> list[Row]:
    """Makes every hash anew: what a forger does who has the database and not the key."""
    before: dict[str, bytes] = {}
    for row in rows:
        digest = hashing.event_hash(before.get(row["stream"], hashing.GENESIS), row)
        before[row["stream"]], row["hash"] = digest, digest.hex()
    return rows


@dataclass
class History:
    """Projects' rows, the bytes that they name, and checkpoints over them."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    newest: checkpoints.Checkpoint | None = None

    def add(self, project: str, stream: str, kind: str = "TaskReady", payload: Any = None, **more: Any) -> Row:
        """Appends an event."""
        rows = self.rows.setdefault(project, [])
        row = {
            "tenant_id": TENANT, "project_id": project, "seq": len(rows) + 1, "stream": stream,
            "version": sum(r["stream"] == stream for r in rows) + 1, "event_type": kind, "schema_version": 1,
            "plan_id": "", "task_id": "", "actor": "ana", "causation_id": "", "correlation_id": "", "trace_id": "",
            "recorded_at_us": 1762602124000000 + len(rows),
            "payload": payload if isinstance(payload, str) else json.dumps(payload or {}), **more,
        }  # fmt: skip
        before = next((bytes.fromhex(r["hash"]) for r in reversed(rows) if r["stream"] == stream), hashing.GENESIS)
        row["hash"] = hashing.event_hash(before, row).hex()
        rows.append(row)
        return row

    def artifact(self, project: str, artifact_id: str, body: str, agent: Ed25519PrivateKey | None = None) -> Row:
        """Appends an artifact's next version, signed by the fleet, or by an agent's certified key."""
        before = [
            json.loads(r["payload"]) for r in self.rows.get(project, []) if r["stream"] == f"artifact/{artifact_id}"
        ]
        previous = before[-1]["hash_curr"] if before else ""
        file = f"---\nartifact_id: {artifact_id}\nhash_prev: '{previous}'\n---\n{body}\n".encode()
        curr = hashing.artifact_hash(file)
        ref = "sha256:" + hashlib.sha256(file).hexdigest()
        self.blobs[ref] = file
        facts = {
            "artifact_id": artifact_id, "version": len(before) + 1, "hash_prev": previous, "hash_curr": curr,
            "ref": ref, "signer": "agent-1",
            "signature": base64.b64encode(ARTIFACT_KEY.sign(curr.encode())).decode(),
        }  # fmt: skip
        if agent is not None:
            said = {"tenant_id": TENANT, "project_id": project, "signer": "agent-1"}
            said["signer_key"] = base64.b64encode(agent.public_key().public_bytes_raw()).decode()
            certificate = base64.b64encode(ARTIFACT_KEY.sign(hashing.certificate_bytes(said))).decode()
            signature = base64.b64encode(agent.sign(curr.encode())).decode()
            facts |= {"signer_key": said["signer_key"], "certificate": certificate, "signature": signature}
        kind = "ArtifactUpdated" if before else "ArtifactProduced"
        return self.add(project, f"artifact/{artifact_id}", kind, facts)

    def checkpoint(self, signed_at: str = "") -> checkpoints.Checkpoint:
        """Signs everything so far, and appends the event that tells of it."""
        changed = []
        for project, rows in self.rows.items():
            heads = {row["stream"]: row for row in rows}
            leaves = [stream_leaf(project, s, r["version"], bytes.fromhex(r["hash"])) for s, r in heads.items()]
            record = Record(project, len(rows), len(heads), root_of(leaves))
            if self.records.get(project) != record:
                self.records[project] = record
                changed.append(project)
        number, previous = (self.newest.number + 1, self.newest.digest()) if self.newest else (1, "")
        self.newest = checkpoints.sign(
            TENANT, number, previous, self.records, changed, signed_at or f"2026-01-01T00:00:{number:02}Z",
            (KIDS["checkpoint"], CHECKPOINT_KEY),
        )  # fmt: skip
        stream = checkpoints.stream_of(TENANT)
        self.add(TENANT_PROJECT, stream, checkpoints.EVENT_TYPE, self.newest.payload())
        return self.newest

    def write(self, target: Path) -> Path:
        """Writes an export of what the rows are now."""
        with Writer(target) as writer:
            for project, rows in self.rows.items():
                lines = [line_of({name: row[name] for name in FIELDS}) for row in rows]
                writer.events(project, [("\n".join(lines) + "\n").encode()] if lines else [])
            for ref, data in self.blobs.items():
                writer.blob(ref, data)
            writer.finish({"tenant_id": TENANT, "keys": keys_document()})
        return target


@dataclass(frozen=True)
class Memory:
    """A history as a Source of haas_common.audit.verify, without a file; `lines` stands in for a project's own."""

    history: History
    lines: Mapping[str, list[bytes]] = field(default_factory=dict)
    tenant_id: str = TENANT

    def projects(self) -> list[str]:
        """The projects."""
        return sorted(self.history.rows)

    def events(self, project_id: str) -> Iterator[list[str]]:
        """The rows as lines, by way of their bytes."""
        lines = self.lines.get(project_id) or [line_of(row).encode() for row in self.history.rows[project_id]]
        return lines_of([b"\n".join(lines)])

    def blob(self, project_id: str, ref: str) -> bytes | None:
        """The bytes."""
        return self.history.blobs.get(ref)


def keys_document() -> list[dict[str, Any]]:
    """The public keys as an export brings them."""
    found: list[dict[str, Any]] = json.loads(write_set(list(PUBLIC.values())))["keys"]
    return found


def retired(use: str, at: datetime.datetime) -> dict[str, FleetKey]:
    """The keys of a use, as they are once theirs was retired."""
    return {KIDS[use]: dataclasses.replace(PUBLIC[use], retired_at=at)}


def ref_of(data: bytes) -> str:
    """The address of bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
