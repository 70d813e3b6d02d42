"""The fleet's artifact and checkpoint keys: who holds which half, and rotation that forgets none."""

import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature

from haas_common import pki
from haas_common.config import SERVICES
from haas_common.fleet_keys import FleetKeys

WRITE = pki.write_secret


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    pki.write_fleet_secrets(folder, SERVICES)
    return folder


def holders(secrets: Path, use: str) -> set[str]:
    return {path.parent.name for path in secrets.glob(f"*/{use}.pem")} - {"authority"}


def test_only_the_services_that_sign_hold_a_private_key(secrets: Path) -> None:
    assert holders(secrets, "artifact") == {"orchestrator", "planner", "mcp"}
    assert holders(secrets, "checkpoint") == {"orchestrator"}
    with pytest.raises(FileNotFoundError):
        FleetKeys.open(secrets / "notifier").signer("checkpoint")


@pytest.mark.parametrize("use", ["artifact", "checkpoint"])
def test_every_service_verifies_what_was_signed_before_and_after_a_rotation(secrets: Path, use: str) -> None:
    signing, reading = FleetKeys.open(secrets / "orchestrator"), FleetKeys.open(secrets / "notifier")
    old_kid, old = signing.signer(use)
    signatures = {old_kid: old.sign(b"before")}
    kid = pki.rotate_fleet_key(secrets, use, SERVICES)
    new_kid, new = signing.signer(use)
    assert new_kid == kid != old_kid
    signatures[new_kid] = new.sign(b"before")
    found = reading.public(use)
    assert list(found) == [new_kid, old_kid]
    for at, signature in signatures.items():
        found[at].public.verify(signature, b"before")
    with pytest.raises(InvalidSignature):
        found[new_kid].public.verify(signatures[old_kid], b"before")


def test_the_set_tells_the_current_key_from_the_retired_ones(secrets: Path) -> None:
    for _ in range(5):
        pki.rotate_fleet_key(secrets, "artifact", SERVICES)
    keys = FleetKeys.open(secrets / "mcp")
    known = keys.known("artifact")
    assert [key.retired_at is None for key in known] == [True, False, False, False, False, False]
    assert known[0].kid == keys.signer("artifact")[0]
    assert [key.retired_at for key in keys.known("checkpoint")] == [None]


def test_a_rotation_cut_short_is_put_right_at_the_next_start(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = FleetKeys.open(secrets / "mcp").signer("artifact")[0]

    def full(path: Path, data: bytes) -> None:
        if path.name == "artifact.pem":
            raise OSError("no space left on device")
        WRITE(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(pki, "write_secret", full)
        with pytest.raises(OSError, match="no space"):
            pki.rotate_fleet_key(secrets, "artifact", SERVICES)
    keys = FleetKeys.open(secrets / "mcp")
    assert len(keys.public("artifact")) == 2
    assert keys.signer("artifact")[0] == before
    pki.write_fleet_secrets(secrets, SERVICES)
    assert [key.kid for key in keys.known("artifact") if key.retired_at is None] == [before]


def test_nothing_is_written_anew_when_nothing_changed(secrets: Path) -> None:
    path = secrets / "mcp" / "fleet-keys.json"
    before = path.stat().st_ino, json.loads(path.read_bytes())
    pki.write_fleet_secrets(secrets, SERVICES)
    assert (path.stat().st_ino, json.loads(path.read_bytes())) == before
