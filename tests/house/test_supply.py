"""What comes from outside is pinned by hash and by nothing else; secrets stay out of the tree."""

import re

import pytest

from tests.house.tree import ROOT, files, read

# In two parts, so that this file does not name what it forbids.
_REGISTRIES = (
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "registry.npmjs" + ".org",
    "proxy.golang" + ".org",
    "crates" + ".io",
)
_BINARY = (".binpb", ".png", ".ico", ".woff2", ".whl", ".gz")
_SECRETS = (
    re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    re.compile(r"\bghp_[A-Za-z0-9]{36}\b"),
    re.compile(r"\bsk-[A-Za-z0-9]{32,}\b"),
)
LOCKS = [path for path in files() if path.startswith("requirements/") and path.endswith(".lock")]


def texts() -> list[tuple[str, str]]:
    return [(p, (ROOT / p).read_text(encoding="utf-8", errors="replace")) for p in files() if not p.endswith(_BINARY)]


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the machine's own affair."""
    assert [path for path, text in texts() if any(host in text for host in _REGISTRIES)] == []


def test_no_file_holds_a_secret() -> None:
    assert [path for path, text in texts() if any(secret.search(text) for secret in _SECRETS)] == []


@pytest.mark.parametrize("path", LOCKS)
def test_every_locked_package_is_pinned_with_hashes_and_no_address(path: str) -> None:
    text = read(path)
    assert "://" not in text
    assert not re.search(r"^\s*-(?:i|f|-index-url|-extra-index-url|-find-links)\b", text, re.MULTILINE)
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert [b.split()[0] for b in blocks if not re.match(r"[A-Za-z0-9_.\[\],-]+==\S+", b)] == []
    assert [b.split()[0] for b in blocks if "--hash=sha256:" not in b] == []


def test_the_lower_bounds_of_the_generators_runtime_equal_the_locked_generator() -> None:
    locked = dict(re.findall(r"^(grpcio-tools|protobuf)==([0-9.]+)", read("requirements/dev.lock"), re.MULTILINE))
    grpcio = re.search(r'"grpcio>=([0-9.]+)"', read("pyproject.toml"))
    assert grpcio is not None
    assert grpcio[1] == locked["grpcio-tools"]
