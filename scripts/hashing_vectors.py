"""Writes docs/reference/hashing-vectors.json: what any other implementation of the hash rules must give.

The rules are docs/reference/hashing.md; tests check the file against Python and against the database's own functions.
"""

import base64
import hashlib
import json
import pathlib
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from haas_common.artifacts import file as artifact_file
from haas_common.artifacts.signing import agent_key
from haas_common.audit import checkpoints, genesis, merkle
from haas_common.audit.checkpoints import Record
from haas_common.audit.genesis import Document, Genesis
from haas_common.audit.signatures import certificate_bytes
from haas_common.db import Scope
from haas_common.fleet_keys import raw_public

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "hashing-vectors.json"
DOMAIN = b"haas.event.v1\0"
# For these vectors only; a fleet makes its own key.
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def _event(seq: int, version: int, event_type: str, payload: str, **more: object) -> dict[str, object]:
    return {
        "tenant_id": "t-medluxe", "project_id": "p-q4-2025", "seq": seq, "stream": "plan/pl-vector01",
        "version": version, "event_type": event_type, "schema_version": 1, "plan_id": "pl-vector01", "task_id": "",
        "actor": "planner", "causation_id": "", "correlation_id": "", "trace_id": "",
        "recorded_at_us": 1762602124000000, "payload": payload, **more,
    }  # fmt: skip


def events() -> list[dict[str, Any]]:
    """Returns one stream: plain, not ASCII, odd spacing that must be kept, every optional field."""
    chain = [
        _event(1, 1, "PlanCreated", '{"objective":"Campaña de Q4 — «lujo»"}', actor="ana@medluxe"),
        _event(
            2, 2, "TaskStarted", '{ "attempt" : 1.0,\n  "phase": "" }', task_id="T-1", recorded_at_us=1762602124000001
        ),
        _event(
            7, 3, "TaskCompleted", '{"b":1,"a":2}', task_id="T-1.2", actor="specialist.copy", schema_version=2,
            causation_id="req-1", correlation_id="conv-1", trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
            recorded_at_us=1762602125999999,
        ),
    ]  # fmt: skip
    before = bytes(32)
    for event in chain:
        framed = [str(value).encode() for value in event.values()]
        body = b"".join(len(part).to_bytes(4, "big") + part for part in framed)
        before = hashlib.sha256(DOMAIN + before + body).digest()
        event["hash"] = before.hex()
    return chain


def artifacts() -> list[dict[str, Any]]:
    """Returns two versions of an artifact: the second names the first; a body may look like front matter."""
    made = []
    before = ""
    for version, body in enumerate(
        ("# Résumé\n\nhash_curr: not a field here", "# Second\n\n---\n\nsignature: kept"), 1
    ):
        front = {"artifact_id": "artf-vector01", "version": version, "hash_prev": before, "signer": "agent-42"}
        unsealed = artifact_file.render(front, {"kpis": {"leads": 180}}, body)
        before = artifact_file.hash_of(unsealed)
        signature = base64.b64encode(_KEY.sign(before.encode())).decode()
        file = artifact_file.seal(unsealed, before, signature)
        address = hashlib.sha256(file).hexdigest()
        made.append({"file": file.decode(), "hash_curr": before, "signature": signature, "ref": f"sha256:{address}"})
    return made


def trees() -> list[dict[str, Any]]:
    """Returns trees of one to seven streams, and their project's leaf in its tenant's tree."""
    heads = [
        {"stream": f"plan/pl-{n}", "version": n * n + 1, "hash": hashlib.sha256(str(n).encode()).hexdigest()}
        for n in range(7)
    ]
    made = []
    for count in range(1, len(heads) + 1):
        leaves = [
            merkle.stream_leaf("p-q4-2025", str(h["stream"]), int(str(h["version"])), bytes.fromhex(str(h["hash"])))
            for h in heads[:count]
        ]
        root = merkle.root_of(leaves)
        leaf = merkle.project_leaf("p-q4-2025", 100 + count, count, root)
        made.append(
            {
                "project_id": "p-q4-2025", "last_seq": 100 + count, "streams": heads[:count],
                "leaves": [found.hex() for found in leaves], "root": root.hex(), "project_leaf": leaf.hex(),
            }
        )  # fmt: skip
    return made


def signed() -> list[dict[str, Any]]:
    """Returns a chain of two checkpoints: three projects, then one of them further on."""
    projects = enumerate(("*", "p-a", "p-b"))
    records = {p: Record(p, 10 + n, n + 1, hashlib.sha256(p.encode()).digest()) for n, p in projects}
    made, previous = [], ""
    for number, changed in ((1, list(records)), (2, ["p-a"])):
        if number > 1:
            records["p-a"] = Record("p-a", 31, 4, hashlib.sha256(b"p-a, later").digest())
        found = checkpoints.sign(
            "t-medluxe", number, previous, records, changed, f"2025-11-08T12:0{number}:00.000000Z", ("cp-vector", _KEY)
        )
        previous = found.digest()
        made.append(
            {
                "tenant_id": "t-medluxe", "payload": found.payload(), "signed_bytes": found.signed_bytes().hex(),
                "digest": previous,
            }
        )  # fmt: skip
    return made


def begun() -> dict[str, Any]:
    """Returns what is left of a history whose oldest events were dropped: the document, and the event's fields."""
    heads = {
        project: tuple((f"plan/ñ-{n}", n + 2, hashlib.sha256(f"{project} {n}".encode()).digest()) for n in range(count))
        for project, count in (("*", 2), ("p-a", 3))
    }
    projects = {project: Genesis(project, 10 + len(heads[project]), heads[project]) for project in heads}
    payload = signed()[-1]["payload"]
    before, after = (signed()[n]["payload"]["projects"] for n in (0, 1))
    told = {r["project_id"]: r for r in [*before, *after]}
    records = tuple(
        Record(p, r["last_seq"], r["streams"], bytes.fromhex(r["root"].removeprefix("sha256:")))
        for p, r in sorted(told.items())
    )
    erased = ("sha256:" + hashlib.sha256(b"erased").hexdigest(),)
    found = Document("t-medluxe", projects, checkpoints.read("t-medluxe", payload), records, erased)
    data = found.data()
    ref = "sha256:" + hashlib.sha256(data).hexdigest()
    fields = genesis.sign(found, ref, ("cp-vector", _KEY))
    return {"tenant_id": "t-medluxe", "document": data.decode(), "payload": fields}


def certificate() -> dict[str, str]:
    """Returns the certificate of an agent's key."""
    agent = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64))).public_key().public_bytes_raw()
    said = certificate_bytes("t-medluxe", "p-q4-2025", "agent-42", agent)
    return {
        "tenant_id": "t-medluxe", "project_id": "p-q4-2025", "signer": "agent-42",
        "signer_key": base64.b64encode(agent).decode(), "certificate": base64.b64encode(_KEY.sign(said)).decode(),
    }  # fmt: skip


def agents() -> list[dict[str, Any]]:
    """Returns agents' keys and certificates under the fleet's artifact key; a name is bytes of UTF-8."""
    made = []
    for tenant, project, agent in (("t-medluxe", "p-q4-2025", "agent-42"), ("t-medluxe", "p-q1-2026", "niña@medluxe")):
        scope = Scope(tenant, project)
        key = agent_key(_KEY, scope, agent)
        public = raw_public(key.public_key())
        made.append(
            {
                "tenant_id": tenant,
                "project_id": project,
                "agent": agent,
                "public_key": base64.b64encode(public).decode(),
                "certificate": base64.b64encode(_KEY.sign(certificate_bytes(tenant, project, agent, public))).decode(),
                "signed": "sha256:" + "0" * 64,
                "signature": base64.b64encode(key.sign(b"sha256:" + b"0" * 64)).decode(),
            }
        )
    return made


def document() -> str:
    """Returns the file's text."""
    public = _KEY.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    vectors = {
        "events": events(), "artifacts": artifacts(),
        "agents": agents(), "certificate": certificate(), "trees": trees(),
        "checkpoints": signed(), "genesis": begun(), "ed25519_public_key": base64.b64encode(public).decode(),
    }  # fmt: skip
    return json.dumps(vectors, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
