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

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from haas_common.audit.signatures import AGENT_DOMAIN, certificate_bytes, signature_problem
from haas_common.db import Scope
from haas_common.fleet_keys import FleetKeys, raw_public

USE = "artifact"
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
    info = AGENT_DOMAIN + b"\0".join(part.encode() for part in (scope.tenant_id, scope.project_id, agent))
    material = fleet.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    seed = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(material)
    return Ed25519PrivateKey.from_private_bytes(seed)


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
            said = certificate_bytes(scope.tenant_id, scope.project_id, agent, public)
            certificate = base64.b64encode(fleet.sign(said)).decode()
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
        return signature_problem(scope.tenant_id, scope.project_id, facts, self._keys.known(USE), recorded_at)
