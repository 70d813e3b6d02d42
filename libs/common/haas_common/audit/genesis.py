"""Where a history begins once its oldest events were dropped: the heads that were left, and the fleet's word for them.

The document lies in the blob store of the tenant's own project ("*"); the event HistoryDropped names and signs it. It
tells of all the tenant's projects that begin later than at their first event, so that the newest one is enough. What
follows proves it once more: the next link of every stream, and every later checkpoint's root over all heads.
"""

import base64
import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from haas_common.audit import checkpoints
from haas_common.audit.checkpoints import Checkpoint, Record, tenant_root
from haas_common.audit.framing import digest_bytes, digest_text, framed
from haas_common.audit.merkle import root_of, stream_leaf
from haas_common.audit.signatures import retired_before
from haas_common.fleet_keys import FleetKey

EVENT_TYPE = "HistoryDropped"
FORMAT = "haas.genesis.v1"
DOMAIN = b"haas.genesis.v1\x00"
#: A stream's head: its name, its version, the hash of that event; in the order of the streams' ordinals.
Head = tuple[str, int, bytes]


def stream_of(tenant_id: str) -> str:
    """Returns the stream that tells what was dropped of a tenant's history."""
    return f"history/{tenant_id}"


@dataclasses.dataclass(frozen=True, slots=True)
class Genesis:
    """What a project's history begins from.

    Attributes:
        last_seq: the last event that was dropped.
        heads: of all streams that there were.
    """

    project_id: str
    last_seq: int
    heads: tuple[Head, ...]

    def record(self) -> Record:
        """Returns what a checkpoint would say of the same state."""
        root = root_of(stream_leaf(self.project_id, *head) for head in self.heads)
        return Record(self.project_id, self.last_seq, len(self.heads), root)


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """What a tenant's history begins from.

    Attributes:
        projects: those that begin later than at their first event, by id.
        checkpoint: the newest one that was dropped; None for none.
        records: what the checkpoints up to that one say of each project, together.
        erased: the addresses of blobs whose erasure was told of by an event that was dropped.
    """

    tenant_id: str
    projects: Mapping[str, Genesis]
    checkpoint: Checkpoint | None = None
    records: tuple[Record, ...] = ()
    erased: tuple[str, ...] = ()

    def root(self) -> str:
        """Returns the root over what it tells of its projects; HistoryDropped names and signs it."""
        return digest_text(tenant_root(project.record() for project in self.projects.values()))

    def data(self) -> bytes:
        """Returns its bytes."""
        told: dict[str, Any] = {"format": FORMAT, "tenant_id": self.tenant_id}
        told["projects"] = [
            {"project_id": p.project_id, "last_seq": p.last_seq, "streams": [[s, v, h.hex()] for s, v, h in p.heads]}
            for p in sorted(self.projects.values(), key=lambda p: p.project_id)
        ]
        told["checkpoint"] = self.checkpoint.payload() if self.checkpoint else None
        told["records"] = [[r.project_id, r.last_seq, r.streams, digest_text(r.root)] for r in sorted(self.records)]
        told["erased"] = sorted(self.erased)
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def read(tenant_id: str, data: bytes) -> Document:
    """Reads a document. Raises ValueError for what is none of the tenant's."""
    try:
        found = json.loads(data)
        if found["format"] != FORMAT or found["tenant_id"] != tenant_id:
            raise ValueError("a genesis of another format or tenant")
        projects = {
            p["project_id"]: Genesis(
                p["project_id"], int(p["last_seq"]), tuple((s, int(v), bytes.fromhex(h)) for s, v, h in p["streams"])
            )
            for p in found["projects"]
        }
        records = tuple(
            Record(p, int(seq), int(streams), digest_bytes(root)) for p, seq, streams, root in found["records"]
        )
        signed = found["checkpoint"]
        checkpoint = checkpoints.read(tenant_id, signed) if signed else None
        return Document(tenant_id, projects, checkpoint, records, tuple(found["erased"]))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a genesis document") from error


def sign(found: Document, ref: str, signer: tuple[str, Ed25519PrivateKey]) -> dict[str, str]:
    """Returns the fields of HistoryDropped that vouch for a document: genesis_ref, root, kid, signature."""
    (kid, key), root = signer, found.root()
    signature = base64.b64encode(key.sign(_signed(found.tenant_id, ref, root, kid))).decode()
    return {"genesis_ref": ref, "root": root, "kid": kid, "signature": signature}


def problem(
    tenant_id: str,
    payload: Mapping[str, Any],
    data: bytes | None,
    keys: Mapping[str, FleetKey],
    recorded_at: datetime.datetime,
) -> str:
    """Returns what is wrong with a HistoryDropped and the document that it names; empty for nothing.

    Args:
        tenant_id: whose history it is.
        payload: the event's.
        data: the document's bytes; None where they are gone.
        keys: the fleet's checkpoint keys, retired ones included.
        recorded_at: when the event was recorded.
    """
    try:
        ref, root, kid = payload["genesis_ref"], payload["root"], payload["kid"]
        signature = base64.b64decode(payload["signature"], validate=True)
        keys[kid].public.verify(signature, _signed(tenant_id, ref, root, kid))
    except (InvalidSignature, ValueError, KeyError, TypeError, AttributeError):
        return "events were dropped without the fleet's word for what was left"
    if retired_before(keys[kid], recorded_at):
        return "events were dropped by the word of a key that was retired before"
    if data is None:
        return f"the heads that the history begins from are gone: {ref}"
    if digest_text(hashlib.sha256(data).digest()) != ref:
        return f"the heads that the history begins from were changed: {ref}"
    try:
        found = read(tenant_id, data)
        holds = found.root() == root
        if found.checkpoint is not None:
            covered = digest_text(tenant_root(found.records)) == found.checkpoint.root
            holds = holds and covered and not found.checkpoint.problem(keys)
    except ValueError:
        holds = False
    return "" if holds else f"the heads that the history begins from are not what was signed: {ref}"


def _signed(tenant_id: str, ref: str, root_text: str, kid: str) -> bytes:
    return DOMAIN + framed(tenant_id, ref, root_text, kid)
