"""data-keys.json: the keys that a history's personal fields are sealed under, for a tenant that takes them along.

    {"format": "haas.data-keys.v1", "tenant_id": …, "keys": [{"project_id", "key_id", "subject", "created_at", "key"}]}

`key` is 32 bytes as hex. How a sealed value opens with it is told in docs/howto/audit.md.
"""

import dataclasses
import datetime
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

FILE = "data-keys.json"
FORMAT = "haas.data-keys.v1"
BYTES_MAX = 256 << 20
_KEY_ID = re.compile(r"[a-z0-9-]{1,64}")
_KEY_BYTES = 32
_SUBJECT_MAX = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class DataKey:
    """A key in the clear; it is never printed."""

    project_id: str
    key_id: str
    subject: str
    created_at: datetime.datetime
    key: bytes = dataclasses.field(repr=False)


def write(tenant_id: str, keys: Iterable[DataKey]) -> bytes:
    """Returns the file."""
    entries = [
        {
            "project_id": one.project_id,
            "key_id": one.key_id,
            "subject": one.subject,
            "created_at": one.created_at.isoformat(),
            "key": one.key.hex(),
        }
        for one in keys
    ]
    document = {"format": FORMAT, "tenant_id": tenant_id, "keys": entries}
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def read(data: bytes, tenant_id: str) -> list[DataKey]:
    """Reads the file. Raises ValueError for what is none, without a word of what it holds."""
    try:
        document = json.loads(data)
        if document["format"] == FORMAT and document["tenant_id"] == tenant_id:
            return [_read(entry) for entry in document["keys"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{FILE} cannot be read.") from None
    raise ValueError(f"{FILE} is of another format, or another tenant's.")


def _read(entry: Mapping[str, Any]) -> DataKey:
    created_at = datetime.datetime.fromisoformat(entry["created_at"])
    key, subject = bytes.fromhex(entry["key"]), entry["subject"]
    right = len(key) == _KEY_BYTES and _KEY_ID.fullmatch(entry["key_id"]) and created_at.tzinfo is not None
    if not right or not isinstance(subject, str) or len(subject) > _SUBJECT_MAX or "\0" in subject:
        raise ValueError("no key")
    return DataKey(entry["project_id"], entry["key_id"], subject, created_at, key)
