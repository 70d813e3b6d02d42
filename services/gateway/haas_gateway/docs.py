"""The page that shows the API: one file, nothing from outside, a policy that lets nothing else run."""

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Page:
    """The page's bytes and the headers that it travels with."""

    html: bytes
    headers: tuple[tuple[str, str], ...]


def _hashes(html: str, tag: str) -> str:
    """The CSP sources of the inline blocks of a kind: their hashes, so that no other block ever runs."""
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def load_page(path: Path) -> Page:
    """Reads the page and makes its Content-Security-Policy: its own blocks, and the document from the same origin."""
    html = path.read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_hashes(html, 'script')}; style-src {_hashes(html, 'style')}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = (
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    )
    return Page(html.encode(), headers)
