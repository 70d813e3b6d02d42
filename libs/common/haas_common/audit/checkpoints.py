"""Checkpoints: the fleet's signature over all of a tenant's history, each naming the one before it."""

import base64
import binascii
import dataclasses
import datetime
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from haas_common.audit.framing import digest_bytes, digest_text, framed
from haas_common.audit.merkle import project_leaf, root_of
from haas_common.audit.signatures import retired_before
from haas_common.fleet_keys import FleetKey

EVENT_TYPE = "CheckpointSigned"
DOMAIN = b"haas.checkpoint.v1\x00"
#: The project that a tenant's own events stand in, checkpoints among them.
TENANT_PROJECT = "*"
#: A record takes up to 250 bytes of a payload of at most 32 KiB; what does not fit follows in the next checkpoint.
PROJECTS_MAX = 100


def stream_of(tenant_id: str) -> str:
    """Returns the stream of a tenant's checkpoints."""
    return f"checkpoint/{tenant_id}"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Record:
    """How far a project's history is vouched for: its last event, its streams, the root over their heads."""

    project_id: str
    last_seq: int
    streams: int
    root: bytes

    def leaf(self) -> bytes:
        """Returns the record's leaf in the tenant's tree."""
        return project_leaf(self.project_id, self.last_seq, self.streams, self.root)


def tenant_root(records: Iterable[Record]) -> bytes:
    """Returns the root over a tenant's projects, sorted by their ids. Raises ValueError for none."""
    return root_of(record.leaf() for record in sorted(records))


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint of a tenant.

    Attributes:
        previous: the digest of the checkpoint before; empty for the first.
        root: over all projects, those that did not change included.
        signed_at: RFC 3339, as it was signed.
        kid: the id of the key.
        signature: base64.
        projects: those that changed since the checkpoint before; the others stand as they stood.
    """

    tenant_id: str
    number: int
    previous: str
    root: str
    signed_at: str
    kid: str
    signature: str
    projects: tuple[Record, ...]

    def signed_bytes(self) -> bytes:
        """Returns the bytes that the signature is over."""
        return DOMAIN + framed(self.tenant_id, self.number, self.previous, self.root, self.signed_at, self.kid)

    def digest(self) -> str:
        """Returns what the next checkpoint names as `previous`, and what an auditor keeps."""
        return digest_text(hashlib.sha256(self.signed_bytes()).digest())

    def time(self) -> datetime.datetime:
        """Returns when it was signed, as it says itself. Raises ValueError."""
        found = datetime.datetime.fromisoformat(self.signed_at)
        if found.tzinfo is None:
            raise ValueError("a time without its zone")
        return found

    def payload(self) -> dict[str, Any]:
        """Returns the payload of its event."""
        return {
            "number": self.number,
            "previous": self.previous,
            "root": self.root,
            "kid": self.kid,
            "signature": self.signature,
            "signed_at": self.signed_at,
            "projects": [
                {"project_id": r.project_id, "last_seq": r.last_seq, "streams": r.streams, "root": digest_text(r.root)}
                for r in self.projects
            ],
        }

    def problem(self, keys: Mapping[str, FleetKey]) -> str:
        """Returns what is wrong with its signature; empty for nothing. What has no problem has a time."""
        key = keys.get(self.kid)
        if key is None:
            return f"it is signed with the key {self.kid[:40]}, which is none of the fleet's"
        try:
            key.public.verify(base64.b64decode(self.signature, validate=True), self.signed_bytes())
        except (InvalidSignature, binascii.Error, ValueError):
            return "its signature is not the fleet's"
        try:
            late = retired_before(key, self.time())
        except ValueError:
            return "the time that it was signed at cannot be read"
        return "it is signed with a key that was retired before" if late else ""


def sign(
    tenant_id: str,
    number: int,
    previous: str,
    records: Mapping[str, Record],
    changed: Iterable[str],
    signed_at: str,
    signer: tuple[str, Ed25519PrivateKey],
) -> Checkpoint:
    """Returns the signed checkpoint over records by project, of which `changed` are told in it."""
    kid, key = signer
    root = digest_text(tenant_root(records.values()))
    told = tuple(records[project] for project in sorted(changed))
    unsigned = Checkpoint(tenant_id, number, previous, root, signed_at, kid, "", told)
    signature = base64.b64encode(key.sign(unsigned.signed_bytes())).decode()
    return dataclasses.replace(unsigned, signature=signature)


def read(tenant_id: str, payload: Mapping[str, Any]) -> Checkpoint:
    """Reads a checkpoint's payload. Raises ValueError for what is none."""
    try:
        projects = tuple(
            Record(_text(r["project_id"]), _number(r["last_seq"]), _number(r["streams"]), digest_bytes(r["root"]))
            for r in payload["projects"]
        )
        texts = [_text(payload[name]) for name in ("previous", "root", "signed_at", "kid", "signature")]
        return Checkpoint(tenant_id, _number(payload["number"]), *texts, projects)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("the payload is no checkpoint") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    value.encode()  # a lone surrogate cannot be hashed
    return value


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("not a number")
    return value
