"""Where a history begins once its oldest events were dropped: the heads that were left, and the fleet's word for them.

The document lies in the blob store of the tenant's own project ("*"); the event HistoryDropped names and signs it. It
proves itself twice: the signature is the fleet's, and its heads give the root that a checkpoint vouched for when the
events were still there.
"""

import base64
import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from haas_common.audit.checkpoints import Record, tenant_root
from haas_common.audit.framing import digest_text, framed
from haas_common.audit.merkle import root_of, stream_leaf

FORMAT = "haas.genesis.v1"
DOMAIN = b"haas.genesis.v1\x00"
#: A stream's head: its name, its version, the hash of that event; in the order of the streams' ordinals.
Head = tuple[str, int, bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class Genesis:
    """What a project's history begins from.

    Attributes:
        last_seq: the last event that was dropped; a checkpoint's record of the project has the same.
        heads: of all streams that there were.
    """

    project_id: str
    last_seq: int
    heads: tuple[Head, ...]

    def record(self) -> Record:
        """Returns what a checkpoint says of the same state."""
        root = root_of(stream_leaf(self.project_id, *head) for head in self.heads)
        return Record(self.project_id, self.last_seq, len(self.heads), root)


def document(tenant_id: str, projects: Iterable[Genesis]) -> bytes:
    """Returns the document's bytes."""
    told = [
        {
            "project_id": project.project_id,
            "last_seq": project.last_seq,
            "streams": [[stream, version, head.hex()] for stream, version, head in project.heads],
        }
        for project in projects
    ]
    return json.dumps({"format": FORMAT, "tenant_id": tenant_id, "projects": told}, ensure_ascii=False).encode()


def read(data: bytes) -> dict[str, Genesis]:
    """Returns a document's projects by id. Raises ValueError for what is none."""
    try:
        found = json.loads(data)
        if found["format"] != FORMAT:
            raise ValueError("a genesis of another format")
        return {
            p["project_id"]: Genesis(
                p["project_id"], int(p["last_seq"]), tuple((s, int(v), bytes.fromhex(h)) for s, v, h in p["streams"])
            )
            for p in found["projects"]
        }
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a genesis document") from error


def root(projects: Iterable[Genesis]) -> str:
    """Returns the root over what a document tells of its projects; HistoryDropped names and signs it."""
    return digest_text(tenant_root(project.record() for project in projects))


def sign(
    tenant_id: str, ref: str, projects: Iterable[Genesis], signer: tuple[str, Ed25519PrivateKey]
) -> dict[str, str]:
    """Returns the fields of HistoryDropped that vouch for a document: genesis_ref, root, kid, signature."""
    (kid, key), found = signer, root(projects)
    signature = base64.b64encode(key.sign(_signed(tenant_id, ref, found, kid))).decode()
    return {"genesis_ref": ref, "root": found, "kid": kid, "signature": signature}


def vouched(tenant_id: str, payload: Mapping[str, Any], keys: Mapping[str, Ed25519PublicKey]) -> bool:
    """Tells whether the fleet signed a HistoryDropped."""
    ref, root_text, kid = payload["genesis_ref"], payload["root"], payload["kid"]
    key = keys.get(kid)
    if key is None:
        return False
    try:
        key.verify(base64.b64decode(payload["signature"], validate=True), _signed(tenant_id, ref, root_text, kid))
    except (InvalidSignature, ValueError):
        return False
    return True


def _signed(tenant_id: str, ref: str, root_text: str, kid: str) -> bytes:
    return DOMAIN + framed(tenant_id, ref, root_text, kid)
