"""The fleet's data.key, which wraps the keys that personal data is sealed under (docs/howto/erase-data.md)."""

import hashlib
import os
import pathlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from haas_common import errors
from haas_common.config import ConfigInvalid
from haas_common.db import Scope

NONCE_BYTES = 12
_KEK_ID_BYTES = 4


class KeyRing:
    """The fleet's data.key: each line 32 bytes as hex; the first wraps, all unwrap. Read again when it has changed."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._mark: tuple[int, int] = (0, 0)
        self._ciphers: dict[bytes, AESGCM] = {}
        self._first = b""

    @property
    def first(self) -> bytes:
        """The id of the key that wraps."""
        self._read()
        return self._first

    def wrap(self, key: bytes, scope: Scope, key_id: str) -> bytes:
        """Returns 64 bytes: the wrapping key's id, a nonce, the data key under AES-256-GCM."""
        self._read()
        nonce = os.urandom(NONCE_BYTES)
        return self._first + nonce + self._ciphers[self._first].encrypt(nonce, key, framed("key", scope, key_id))

    def unwrap(self, wrapped: bytes, scope: Scope, key_id: str) -> bytes:
        """Returns a data key. Raises HashMismatch for what these keys did not wrap, or wrapped for another place."""
        kek_id = bytes(wrapped[:_KEK_ID_BYTES])
        if kek_id not in self._ciphers:
            self._read()
        nonce, sealed = wrapped[_KEK_ID_BYTES : _KEK_ID_BYTES + NONCE_BYTES], wrapped[_KEK_ID_BYTES + NONCE_BYTES :]
        try:
            return self._ciphers[kek_id].decrypt(nonce, sealed, framed("key", scope, key_id))
        except (KeyError, InvalidTag):
            raise errors.HashMismatch(
                "A data key cannot be opened with this fleet's data.key.", key_id=key_id
            ) from None

    def _read(self) -> None:
        try:
            found = self._path.stat()
            if (found.st_mtime_ns, found.st_ino) == self._mark:
                return
            keys = [bytes.fromhex(line) for line in self._path.read_text(encoding="ascii").split()]
        except (OSError, ValueError):
            raise ConfigInvalid(f"{self._path} holds no key: lines of 64 hexadecimal digits.") from None
        if not keys or any(len(key) != 32 for key in keys):
            raise ConfigInvalid(f"{self._path} holds no key: lines of 64 hexadecimal digits.")
        ids = [hashlib.sha256(b"haas.data.key.v1\0" + key).digest()[:_KEK_ID_BYTES] for key in keys]
        self._ciphers = {kek_id: AESGCM(key) for kek_id, key in zip(ids, keys, strict=True)}
        self._first, self._mark = ids[0], (found.st_mtime_ns, found.st_ino)


def framed(domain: str, scope: Scope, *parts: str) -> bytes:
    """What a cipher's text is bound to: each part behind its length in bytes (4, big-endian)."""
    out = [f"haas.sealed.{domain}.v1\0".encode()]
    for part in (scope.tenant_id, scope.project_id, *parts):
        data = part.encode()
        out += (len(data).to_bytes(4, "big"), data)
    return b"".join(out)
