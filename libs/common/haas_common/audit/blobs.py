"""The bytes that events name: what is kept beside the history, and whether it is what was signed."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from haas_common.artifacts import file as artifact_file
from haas_common.audit.findings import Counts, Findings
from haas_common.audit.framing import digest_bytes, digest_text, framed

ARTIFACTS = frozenset({"ArtifactProduced", "ArtifactUpdated"})
ERASED = "DataErased"
AGENT_DOMAIN = b"haas.agent.v1\x00"
#: The field of a type that names bytes; a test compares it with the registry of event types.
REF_FIELDS: Mapping[str, str] = {
    "ArtifactProduced": "ref",
    "ArtifactUpdated": "ref",
    "BriefCreated": "audit_ref",
    "DocumentPublished": "hash",
    "HistoryDropped": "genesis_ref",
    "InputUploaded": "ref",
    "ProfilePublished": "hash",
}
Fetch = Callable[[str, str], bytes | None]


def ref_in(event_type: str, payload: Mapping[str, Any]) -> str:
    """Returns the address of the bytes that an event names; empty for none."""
    ref = payload.get(REF_FIELDS.get(event_type, ""))
    return ref if isinstance(ref, str) else ""


def refs_of(rows: Iterator[tuple[str, str]]) -> Iterator[str]:
    """Yields the addresses that events name, from their types and payload texts."""
    for event_type, payload in rows:
        if event_type in REF_FIELDS:
            ref = ref_in(event_type, json.loads(payload))
            if ref:
                yield ref


def certificate_bytes(tenant_id: str, project_id: str, agent: str, public: bytes) -> bytes:
    """Returns what the fleet's artifact key signs for an agent: that this key is the agent's."""
    return AGENT_DOMAIN + framed(tenant_id, project_id, agent, public)


def signature_problem(
    tenant_id: str, project_id: str, facts: Mapping[str, Any], keys: Mapping[str, Ed25519PublicKey]
) -> str:
    """Returns what is wrong with an artifact's signature; empty for nothing.

    A version names the agent's key and the fleet's certificate over it; an older one was signed by the fleet itself.
    """
    try:
        signature = base64.b64decode(facts["signature"], validate=True)
        signers = list(keys.values())
        if facts.get("signer_key"):
            public = base64.b64decode(facts["signer_key"], validate=True)
            certified = certificate_bytes(tenant_id, project_id, facts["signer"], public)
            certificate = base64.b64decode(facts["certificate"], validate=True)
            if not any(_signed(key, certificate, certified) for key in keys.values()):
                return "its signer's key has no certificate of the fleet"
            signers = [Ed25519PublicKey.from_public_bytes(public)]
        if not any(_signed(key, signature, facts["hash_curr"].encode()) for key in signers):
            return "its signature is not its signer's"
    except (KeyError, ValueError, TypeError, AttributeError, binascii.Error):
        return "its signature cannot be read"
    return ""


def _signed(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


class BlobVerifier:
    """Checks the bytes that one project's events name, and the chain of each artifact's versions."""

    def __init__(
        self,
        tenant_id: str,
        project_id: str,
        fetch: Fetch,
        keys: Mapping[str, Ed25519PublicKey],
        findings: Findings,
        counts: Counts,
    ) -> None:
        """Takes where the bytes are (`fetch(project, ref)`, None for what is gone) and the fleet's artifact keys."""
        self._tenant_id, self._project_id = tenant_id, project_id
        self._fetch, self._keys = fetch, keys
        self._findings, self._counts = findings, counts
        self._newest: dict[str, tuple[int, str]] = {}
        self._missing: dict[str, list[tuple[int, str, int]]] = {}
        self._erased: set[str] = set()

    #: The types whose events it wants to see.
    watched = frozenset(REF_FIELDS) | {ERASED}

    def hear(self, seq: int, stream: str, version: int, kind: str, payload: str) -> None:
        """Takes an event of a watched type."""
        try:
            facts = json.loads(payload)
            ref = ref_in(kind, facts)
            if kind == ERASED:
                self._erased.update(facts.get("refs", ()))
            problem = self._link_problem(facts) if kind in ARTIFACTS else ""
            problem = problem or (self._bytes_problem(kind, facts, ref, (seq, stream, version)) if ref else "")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            problem = "its payload is not that of its type"
        if problem:
            self._findings.add(self._project_id, seq, stream, version, problem)

    def finish(self, erased: frozenset[str] = frozenset()) -> None:
        """Tells of what is gone and was not erased; `erased` are further addresses that a DataErased names."""
        for ref, places in self._missing.items():
            if ref in self._erased or ref in erased:
                self._counts.erased += len(places)
                continue
            for seq, stream, version in places:
                self._findings.add(self._project_id, seq, stream, version, f"the bytes it names are gone: {ref}")

    def _link_problem(self, facts: Mapping[str, Any]) -> str:
        """Versions follow each other; the first one seen may be a later one, where history was dropped."""
        artifact, version = facts["artifact_id"], facts["version"]
        known = self._newest.get(artifact)
        self._newest[artifact] = (version, facts["hash_curr"])
        if known is None:
            return "" if version > 1 or facts["hash_prev"] == "" else "its first version names one before it"
        if (version, facts["hash_prev"]) != (known[0] + 1, known[1]):
            return f"version {version} of {artifact} does not follow version {known[0]}"
        return ""

    def _bytes_problem(self, kind: str, facts: Mapping[str, Any], ref: str, place: tuple[int, str, int]) -> str:
        digest_bytes(ref)
        data = self._fetch(self._project_id, ref)
        if data is None:
            self._missing.setdefault(ref, []).append(place)
        elif digest_text(hashlib.sha256(data).digest()) != ref:
            return f"the bytes it names were changed: {ref}"
        if kind not in ARTIFACTS:
            return ""
        if data is not None:
            self._counts.artifacts += 1
            if artifact_file.hash_of(data) != facts["hash_curr"]:
                return "its hash is not that of its bytes"
        return signature_problem(self._tenant_id, self._project_id, facts, self._keys)
