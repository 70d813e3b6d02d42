"""Whether a signature is the fleet's, by a key that could still sign then: one rule for whoever checks (hashing.md).

Nothing here reads a database, a file or a clock: the keys and the times are given.
"""

import base64
import datetime
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from haas_common.audit.framing import framed
from haas_common.fleet_keys import FleetKey, raw_public

AGENT_DOMAIN = b"haas.agent.v1\x00"
#: What was being signed while its key was rotated is still good; a process takes the new key at its next signature.
ROTATION_SLACK = datetime.timedelta(hours=1)
_CERTIFICATES_MAX = 1024


def certificate_bytes(tenant_id: str, project_id: str, agent: str, public: bytes) -> bytes:
    """Returns what the fleet's artifact key signs for an agent: that this key is the agent's."""
    return AGENT_DOMAIN + framed(tenant_id, project_id, agent, public)


def retired_before(key: FleetKey, at: datetime.datetime) -> bool:
    """Tells whether a key was retired too long before a time to have signed anything then."""
    return key.retired_at is not None and at - key.retired_at > ROTATION_SLACK


def signature_problem(
    tenant_id: str,
    project_id: str,
    facts: Mapping[str, Any],
    keys: Iterable[FleetKey],
    recorded_at: datetime.datetime,
) -> str:
    """Returns what is wrong with the signature of an artifact's version; empty where it holds.

    A version names its agent's key and the fleet's certificate over it; an older one was signed by the fleet itself.

    Args:
        tenant_id: whose artifact it is.
        project_id: where it is.
        facts: the payload of the event that tells of the version.
        keys: the fleet's artifact keys, retired ones included.
        recorded_at: when the event was recorded.
    """
    try:
        message = facts["hash_curr"].encode()
        if not facts.get("signer_key"):
            key = next((key for key in keys if _holds(key.public, facts["signature"], message)), None)
            if key is None:
                return "its signature is not the fleet's"
            return "its signature is by a key that was retired before" if retired_before(key, recorded_at) else ""
        try:
            public = base64.b64decode(facts["signer_key"], validate=True)
            agent = Ed25519PublicKey.from_public_bytes(public)
        except ValueError:
            return "its signer's key is none"
        said = certificate_bytes(tenant_id, project_id, facts["signer"], public)
        issuer = next((key for key in keys if _certified(raw_public(key.public), facts["certificate"], said)), None)
        if issuer is None:
            return "its signer's certificate is not the fleet's"
        if retired_before(issuer, recorded_at):
            return "its signer's certificate is by a key that was retired before"
        return "" if _holds(agent, facts["signature"], message) else "its signature is not its signer's"
    except (KeyError, ValueError, TypeError, AttributeError):
        return "its signature cannot be read"


@functools.lru_cache(_CERTIFICATES_MAX)
def _certified(key: bytes, certificate: str, said: bytes) -> bool:
    """Whether a key made a certificate: an agent shows the same one with each of its thousands of versions."""
    return _holds(Ed25519PublicKey.from_public_bytes(key), certificate, said)


def _holds(key: Ed25519PublicKey, signature: str, message: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), message)
    except (InvalidSignature, ValueError):
        return False
    return True
