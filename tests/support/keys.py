"""A fleet's keys in a folder, without certificates, and what was signed before agents had keys of their own."""

import base64
from pathlib import Path

from haas_common import pki
from haas_common.artifacts import file as artifact_file
from haas_common.fleet_keys import FleetKeys

SERVICES = ("orchestrator", "notifier")


def fleet_keys(folder: Path, service: str = "orchestrator") -> FleetKeys:
    """The keys that a service of a fleet in this folder sees; made when there are none."""
    pki.write_fleet_secrets(folder, SERVICES)
    return FleetKeys.open(folder / service)


def signed_by_the_fleet(keys: FleetKeys, front: dict[str, object], body: str) -> tuple[bytes, str, str]:
    """An artifact of version one of its event: the file, its hash and the fleet's own signature."""
    unsealed = artifact_file.render(front, {}, body)
    hash_curr = artifact_file.hash_of(unsealed)
    signature = base64.b64encode(keys.signer("artifact")[1].sign(hash_curr.encode())).decode()
    return artifact_file.seal(unsealed, hash_curr, signature), hash_curr, signature
