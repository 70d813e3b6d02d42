"""Who signed an artifact: a key per agent, derived from the fleet's artifact key and certified by it (hashing.md).

Nothing about agents is stored: whoever holds the fleet's private key derives an agent's, whoever holds its public keys
checks the certificate. An artifact of before (no `signer_key`) is signed by the fleet's key itself.
"""

import base64
import collections
import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from haas_common.db import Scope
from haas_common.fleet_keys import FleetKeys, raw_public

DOMAIN = b"haas.agent.v1\0"
USE = "artifact"
#: What was being signed while its key was rotated is still good; a process takes the new key at its next signature.
ROTATION_SLACK = datetime.timedelta(hours=1)
_CACHE_MAX = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Signer:
    """An agent's key in one project: its private half, its public half and its certificate (base64)."""

    key: Ed25519PrivateKey
    public: str
    certificate: str

    def sign(self, hash_curr: str) -> str:
        """Returns the signature over an artifact's hash, base64."""
        return base64.b64encode(self.key.sign(hash_curr.encode())).decode()


def agent_key(fleet: Ed25519PrivateKey, scope: Scope, agent: str) -> Ed25519PrivateKey:
    """Returns an agent's private key: HKDF-SHA256 over the fleet's, bound to tenant, project and agent."""
    info = DOMAIN + b"\0".join(part.encode() for part in (scope.tenant_id, scope.project_id, agent))
    material = fleet.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    seed = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(material)
    return Ed25519PrivateKey.from_private_bytes(seed)


def certified(scope: Scope, agent: str, public: bytes) -> bytes:
    """Returns what a certificate signs: the domain, then each part behind its length (4 bytes, big-endian)."""
    parts = (scope.tenant_id.encode(), scope.project_id.encode(), agent.encode(), public)
    return DOMAIN + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class AgentKeys:
    """Signs for agents and checks their signatures, by the fleet's keys of a service's folder."""

    def __init__(self, keys: FleetKeys) -> None:
        self._keys = keys
        self._signers: collections.OrderedDict[tuple[str, Scope, str], Signer] = collections.OrderedDict()

    def signer(self, scope: Scope, agent: str) -> Signer:
        """Returns an agent's key.

        Raises:
            FileNotFoundError: this service has no key to sign artifacts with.
        """
        kid, fleet = self._keys.signer(USE)
        at = (kid, scope, agent)
        found = self._signers.get(at)
        if found is None:
            key = agent_key(fleet, scope, agent)
            public = raw_public(key.public_key())
            certificate = base64.b64encode(fleet.sign(certified(scope, agent, public))).decode()
            found = self._signers[at] = Signer(key, base64.b64encode(public).decode(), certificate)
            if len(self._signers) > _CACHE_MAX:
                self._signers.popitem(last=False)
        self._signers.move_to_end(at)
        return found

    def problem(self, scope: Scope, facts: Mapping[str, Any], recorded_at: datetime.datetime) -> str:
        """Returns what is wrong with a version's signature; empty where it holds.

        Args:
            scope: whose artifact it is.
            facts: the payload of the event that tells of the version.
            recorded_at: when it was recorded.
        """
        message = facts["hash_curr"].encode()
        if not facts.get("signer_key"):
            fleet = (key.public for key in self._keys.known(USE))
            return (
                ""
                if any(_holds(key, facts["signature"], message) for key in fleet)
                else "its signature is not the fleet's"
            )
        try:
            public = base64.b64decode(facts["signer_key"], validate=True)
            agent = Ed25519PublicKey.from_public_bytes(public)
        except ValueError:
            return "its signer's key is none"
        said = certified(scope, facts["signer"], public)
        issuer = next((key for key in self._keys.known(USE) if _holds(key.public, facts["certificate"], said)), None)
        if issuer is None:
            return "its signer's certificate is not the fleet's"
        if issuer.retired_at is not None and recorded_at > issuer.retired_at + ROTATION_SLACK:
            return "its signer's certificate is by a key that was retired before"
        return "" if _holds(agent, facts["signature"], message) else "its signature is not its signer's"


def _holds(key: Ed25519PublicKey, signature: str, message: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), message)
    except (InvalidSignature, ValueError):
        return False
    return True
