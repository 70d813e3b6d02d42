"""How fields are put one behind the other before they are hashed or signed: each its length, then its bytes."""


def framed(*fields: str | int | bytes) -> bytes:
    """Returns the fields, each as its length in bytes (4 bytes, big-endian) and its bytes; numbers as digits."""
    parts = []
    for field in fields:
        data = field if isinstance(field, bytes) else str(field).encode()
        parts.append(len(data).to_bytes(4, "big") + data)
    return b"".join(parts)


def digest_text(digest: bytes) -> str:
    """Returns a SHA-256 as texts have it: "sha256:" and 64 hexadecimal digits."""
    return f"sha256:{digest.hex()}"


def digest_bytes(text: str) -> bytes:
    """Returns the 32 bytes of such a text. Raises ValueError for what is none."""
    head, _, digits = text.partition(":")
    if head != "sha256" or len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise ValueError("not a SHA-256 as this format writes it")
    return bytes.fromhex(digits)
