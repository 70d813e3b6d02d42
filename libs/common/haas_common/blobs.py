"""Bytes by their hash, per tenant and project. What is written is whole, durable, and never changes."""

import hashlib
import os
import pathlib
import re
import tempfile

from haas_common import errors
from haas_common.db import Scope

_REF = re.compile(r"sha256:([0-9a-f]{64})\Z")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")


def ref_of(data: bytes) -> str:
    """Returns the address of some bytes: "sha256:" and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class BlobStore:
    """Files at <root>/<tenant>/<project>/<2 digits>/<64 digits>, 0600."""

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def path(self, scope: Scope, ref: str) -> pathlib.Path:
        """Returns where a blob lies. Raises ResourceNotFound for what is no address, or is not there."""
        path = self._place(scope, ref)
        if not path.is_file():
            raise errors.ResourceNotFound("There is no such input in this project.", resource="blob", id=ref)
        return path

    def read(self, scope: Scope, ref: str) -> bytes:
        """Returns a blob. Raises ResourceNotFound, and HashMismatch for bytes that were tampered with."""
        data = self.path(scope, ref).read_bytes()
        if ref_of(data) != ref:
            raise errors.HashMismatch("Stored bytes no longer match their hash.", ref=ref)
        return data

    def put(self, scope: Scope, data: bytes) -> str:
        """Keeps bytes, durable before it returns; returns their address. The same bytes again change nothing."""
        ref = ref_of(data)
        path = self._place(scope, ref)
        if path.is_file():
            return ref
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except BaseException:
            pathlib.Path(scratch).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return ref

    def _place(self, scope: Scope, ref: str) -> pathlib.Path:
        match = _REF.match(ref)
        if not match or not _ID.match(scope.tenant_id) or not _ID.match(scope.project_id):
            raise errors.ResourceNotFound("There is no such input in this project.", resource="blob", id=ref[:100])
        return self._root / scope.tenant_id / scope.project_id / match[1][:2] / match[1]
