"""The fleet's Ed25519 keys that vouch for what is kept for years: artifacts, and checkpoints of the history.

`fleet-keys.json` holds the public keys, current and retired; none ever leaves it, since history signed with a retired
key must verify for good. The current private key of a use is `<use>.pem`, in the folders of the services that sign with
it. Both files are replaced by rename and read again whenever they change, so that a rotation needs no restart.
"""

import base64
import dataclasses
import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SET_NAME = "fleet-keys.json"
#: The uses, and the prefix of their keys' ids.
KID_PREFIX = {"artifact": "af", "checkpoint": "cp"}

Mark = tuple[int, int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class FleetKey:
    """A public key of the set; `retired_at` is None for the current one."""

    kid: str
    use: str
    public: Ed25519PublicKey
    created_at: datetime.datetime
    retired_at: datetime.datetime | None

    def __reduce__(self) -> tuple[Any, ...]:
        """A key's object cannot be handed to another process; its bytes can."""
        return _remade, (self.kid, self.use, raw_public(self.public), self.created_at, self.retired_at)


def _remade(
    kid: str, use: str, public: bytes, created_at: datetime.datetime, retired_at: datetime.datetime | None
) -> FleetKey:
    return FleetKey(kid, use, Ed25519PublicKey.from_public_bytes(public), created_at, retired_at)


def raw_public(key: Ed25519PublicKey) -> bytes:
    """Returns the key's 32 bytes."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def kid_of(key: Ed25519PublicKey, use: str) -> str:
    """Returns the key's id: its use's prefix and the start of its SHA-256."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(raw_public(key)).digest()).decode()
    return f"{KID_PREFIX[use]}-{digest[:16]}"


def load_private(pem: bytes) -> Ed25519PrivateKey:
    """Reads a private key (PKCS#8 PEM). Raises TypeError for another kind of key."""
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError("a fleet key is an Ed25519 key")
    return key


def read_set(data: bytes) -> list[FleetKey]:
    """Reads fleet-keys.json. Raises ValueError, KeyError or TypeError for what is no such set."""
    return read_entries(json.loads(data)["keys"])


def read_entries(entries: Iterable[Mapping[str, Any]]) -> list[FleetKey]:
    """Reads keys as fleet-keys.json lists them. Raises ValueError, KeyError or TypeError for what is none."""
    found = []
    for entry in entries:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(entry["public"], validate=True))
        found.append(
            FleetKey(entry["kid"], entry["use"], public, _time(entry["created_at"]), _time_or_none(entry["retired_at"]))
        )
    return found


def write_set(keys: list[FleetKey]) -> bytes:
    """Returns fleet-keys.json."""
    entries: list[dict[str, Any]] = [
        {
            "kid": key.kid,
            "use": key.use,
            "public": base64.b64encode(raw_public(key.public)).decode(),
            "created_at": key.created_at.isoformat(timespec="seconds"),
            "retired_at": key.retired_at.isoformat(timespec="seconds") if key.retired_at else None,
        }
        for key in keys
    ]
    return json.dumps({"keys": entries}, indent=1).encode() + b"\n"


def _time(text: str) -> datetime.datetime:
    found = datetime.datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("a time without its zone")
    return found


def _time_or_none(text: str | None) -> datetime.datetime | None:
    return None if text is None else _time(text)


def _mark(path: Path) -> Mark:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class FleetKeys:
    """The keys of a service's secrets folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._set_mark: Mark | None = None
        self._set: list[FleetKey] = []
        self._private: dict[str, tuple[Mark, str, Ed25519PrivateKey]] = {}

    @classmethod
    def open(cls, secrets_dir: Path) -> "FleetKeys":
        """Reads the set.

        Raises:
            FileNotFoundError: the folder has none (`haas_common.pki.write_fleet_secrets` makes it).
        """
        keys = cls(secrets_dir)
        keys.known()
        return keys

    def known(self, use: str | None = None) -> list[FleetKey]:
        """Returns every public key (of one use), newest first, retired ones included."""
        path = self._folder / SET_NAME
        mark = _mark(path)
        if mark != self._set_mark:
            self._set = read_set(path.read_bytes())
            self._set_mark = mark
        return [key for key in self._set if use in (None, key.use)]

    def public(self, use: str) -> dict[str, FleetKey]:
        """Returns the public keys of a use ("artifact", "checkpoint") by id, newest first, retired ones included."""
        return {key.kid: key for key in self.known(use)}

    def signer(self, use: str) -> tuple[str, Ed25519PrivateKey]:
        """Returns the id and the current private key of a use.

        Raises:
            FileNotFoundError: this service signs nothing of that use.
        """
        path = self._folder / f"{use}.pem"
        mark = _mark(path)
        kept = self._private.get(use)
        if kept is None or kept[0] != mark:
            key = load_private(path.read_bytes())
            kept = self._private[use] = (mark, kid_of(key.public_key(), use), key)
        return kept[1], kept[2]
