"""The bytes that events name: what is kept beside the history, and whether it is what was signed."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from haas_common.artifacts import file as artifact_file
from haas_common.audit.findings import Counts, Findings
from haas_common.audit.framing import digest_bytes, digest_text
from haas_common.audit.rows import time_of
from haas_common.audit.signatures import signature_problem
from haas_common.fleet_keys import FleetKey

ARTIFACTS = frozenset({"ArtifactProduced", "ArtifactUpdated"})
ERASED = "DataErased"
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


class BlobVerifier:
    """Checks the bytes that one project's events name, and the chain of each artifact's versions."""

    def __init__(
        self,
        tenant_id: str,
        project_id: str,
        fetch: Fetch,
        keys: Iterable[FleetKey],
        findings: Findings,
        counts: Counts,
    ) -> None:
        """Takes where the bytes are (`fetch(project, ref)`, None for what is gone) and the fleet's artifact keys."""
        self._tenant_id, self._project_id = tenant_id, project_id
        self._fetch, self._keys = fetch, tuple(keys)
        self._findings, self._counts = findings, counts
        self._newest: dict[str, tuple[int, str]] = {}
        self._missing: dict[str, list[tuple[int, str, int]]] = {}
        self._erased: set[str] = set()

    #: The types whose events it wants to see.
    watched = frozenset(REF_FIELDS) | {ERASED}

    def hear(self, seq: int, stream: str, version: int, kind: str, payload: str, recorded_at_us: int) -> None:
        """Takes an event of a watched type."""
        try:
            facts = json.loads(payload)
            ref = ref_in(kind, facts)
            if kind == ERASED:
                self._erased.update(facts.get("refs", ()))
            problem = self._link_problem(facts) if kind in ARTIFACTS else ""
            problem = problem or (self._bytes_problem(kind, facts, ref, (seq, stream, version)) if ref else "")
            if kind in ARTIFACTS and not problem:
                at = time_of(recorded_at_us)
                problem = signature_problem(self._tenant_id, self._project_id, facts, self._keys, at)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
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
        if kind in ARTIFACTS and data is not None:
            self._counts.artifacts += 1
            if artifact_file.hash_of(data) != facts["hash_curr"]:
                return "its hash is not that of its bytes"
        return ""
