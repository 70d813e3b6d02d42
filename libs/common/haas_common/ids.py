"""Identifiers. Time-ordered, so that indexes grow at their end; chance enters here alone (handbook, invariant 7)."""

import os
import time
import zlib

SHARDS = 16


def new_id(prefix: str) -> str:
    """Returns `<prefix>-` and 25 characters of base 36: 48 bits of milliseconds, 80 of chance."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    digits = []
    for _ in range(25):
        number, digit = divmod(number, 36)
        digits.append("0123456789abcdefghijklmnopqrstuvwxyz"[digit])
    return f"{prefix}-{''.join(reversed(digits))}"


def shard_of(tenant_id: str, project_id: str, plan_id: str) -> int:
    """Returns the shard, 0 to 15, that a plan belongs to. The same forever: shards are recorded in rows."""
    return zlib.crc32(f"{tenant_id}/{project_id}/{plan_id}".encode()) % SHARDS
