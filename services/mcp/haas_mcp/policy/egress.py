"""Where `mcp.http` may connect to: hosts that the profile names, at addresses that are public (OWASP API7, SSRF).

Pure rules; the tool resolves a name once, asks here about every address, and connects to the one that it asked about.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from haas_common.errors import EgressDenied, ToolArgumentsInvalid

TOOL = "mcp.http"
URL_CHARS_MAX = 2048
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,10}")
# What a URL may be made of (RFC 3986 without "@" before the path, brackets and backslashes).
_URL = re.compile(r"https?://[A-Za-z0-9.:-]+(?:[/?][A-Za-z0-9._~:/?@!$&'()*+,;=%-]*)?")
# The C library reads 2130706433, 0x7f.1, 0177.0.0.1 and 127.1 as addresses; only the plain form is accepted here.
_LOOKS_NUMERIC = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")

# On top of what `ipaddress` calls not global: 3.11 calls 192.0.0.8, 224.0.0.1 and the 6to4 relay's anycast global.
_REFUSED_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
# IPv6 is an allowlist: global unicast, less the blocks that embed an IPv4 address (Teredo, 6to4) or are documentation.
# So NAT64 (64:ff9b::), v4-compatible and v4-mapped, site-local, unique local, link-local and multicast are all outside.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48"))
)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that passed the rules. `loopback` is whether a development profile names this very loopback port."""

    scheme: str
    host: str
    port: int
    path: str
    loopback: bool

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"


def target(url: str, hosts: Iterable[str], env: str) -> Target:
    """Reads a URL and checks its host and port against the profile's allowlist.

    Args:
        url: http or https, without user information or fragment.
        hosts: "host" (ports 80 and 443) or "host:port" (that port).
        env: "dev" allows an entry such as "127.0.0.1:18080" to mean the machine itself.

    Raises:
        ToolArgumentsInvalid: it is no such URL.
        EgressDenied: the host is not on the list, or it is a number in disguise.
    """
    if len(url) > URL_CHARS_MAX or not _URL.fullmatch(url):
        raise ToolArgumentsInvalid("The URL is not a plain http or https URL.", tool=TOOL, field="url", rule="url")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise ToolArgumentsInvalid("The URL's port is not a port.", tool=TOOL, field="url", rule="port") from None
    if not _HOST.fullmatch(host) or (_LOOKS_NUMERIC.fullmatch(host) and not _plain_v4(host)):
        raise EgressDenied("The host is no plain host name.", host=host[:255])
    listed = set(hosts)
    explicit = f"{host}:{port}" in listed
    if not explicit and not (host in listed and port == _PORTS[parts.scheme]):
        raise EgressDenied("The profile does not allow this host and port.", host=host)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    loopback = env == "dev" and explicit and host in ("127.0.0.1", "localhost")
    return Target(parts.scheme, host, port, path, loopback)


def check_address(address: str, wanted: Target) -> None:
    """Refuses an address that is not public. Raises EgressDenied, without the address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise EgressDenied("The host's address cannot be read.", host=wanted.host) from None
    if wanted.loopback and parsed.is_loopback:
        return
    if not is_public(parsed):
        raise EgressDenied("The host's address is not a public one.", host=wanted.host)


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Tells whether an address is a public unicast one, by our own list and by Python's."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in block for block in _REFUSED_V4)
    if address.scope_id is not None or address not in _GLOBAL_V6:
        return False
    return address.is_global and not any(address in block for block in _REFUSED_V6)


def _plain_v4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
