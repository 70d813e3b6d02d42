"""Hashes of an artifact's parts, kept in its event: they tell where the bytes differ from what was signed.

At most 16 chunks, each by the first 16 hexadecimal digits of its SHA-256: enough to find a place, while the whole
file's hash is what proves it.
"""

import hashlib
from collections.abc import Sequence

CHUNKS_MAX = 16
CHUNK_BYTES_MIN = 1024
_DIGITS = 16


def chunk_size(size: int) -> int:
    """Returns how long the chunks of a file of this size are."""
    return max(CHUNK_BYTES_MIN, -(-size // CHUNKS_MAX))


def chunk_hashes(file: bytes, chunk_bytes: int) -> list[str]:
    """Returns the beginning of each chunk's SHA-256, in order."""
    return [
        hashlib.sha256(file[at : at + chunk_bytes]).hexdigest()[:_DIGITS] for at in range(0, len(file), chunk_bytes)
    ]


def bad_range(file: bytes, chunk_bytes: int, chunks: Sequence[str], size: int) -> tuple[int, int] | None:
    """Returns the first and the last byte of the chunks whose hash differs; None where that cannot be told.

    Args:
        file: the bytes as they are now.
        chunk_bytes: how long a chunk is; 0 for a version whose event names none.
        chunks: the hashes that the event has.
        size: how many bytes the file had.
    """
    if not chunk_bytes:
        return None
    found = chunk_hashes(file, chunk_bytes)
    longer = max(len(found), len(chunks))
    bad = [n for n in range(longer) if n >= len(found) or n >= len(chunks) or found[n] != chunks[n]]
    if not bad:
        return None
    return bad[0] * chunk_bytes, min((bad[-1] + 1) * chunk_bytes, max(len(file), size)) - 1
