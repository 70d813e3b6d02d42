"""`mcp.http`: one request to a web API, to the address that was checked and no other."""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from haas_common import deadlines
from haas_common.errors import EgressDenied, ToolArgumentsInvalid, ToolFailed, ToolTimeout
from haas_mcp.domain import Grant
from haas_mcp.policy import egress

TOOL = egress.TOOL
BODY_BYTES_MAX = 256 * 1024
_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
_RESOLVE_S = 3.0
_ADDRESSES_TRIED = 2
# What a caller may set. Host, Content-Length, Transfer-Encoding, Connection, Expect, Cookie, Proxy-* and Forwarded are
# ours or nobody's: they decide where a request goes or where it ends.
_HEADERS = frozenset(
    {
        "accept", "accept-language", "api-key", "authorization", "content-language", "content-type", "date", "if-match",
        "if-modified-since", "if-none-match", "if-unmodified-since", "notion-version", "prefer", "range", "user-agent",
    }
)  # fmt: skip
_EXTENSION_HEADER = re.compile(r"x-(?!forwarded|real-ip|haas-|original-|http-method)[a-z0-9-]{1,60}")
# What the caller gets to see of the answer's headers; no cookies.
_SHOWN = frozenset(
    {
        "cache-control", "content-language", "content-length", "content-range", "content-type", "date", "etag",
        "last-modified", "link", "location", "retry-after", "x-ratelimit-limit", "x-ratelimit-remaining",
        "x-ratelimit-reset", "x-request-id", "x-total-count",
    }
)  # fmt: skip

Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Returns a host's addresses, as the system resolves them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class HttpCall:
    """Calls hosts that the profile allows."""

    def __init__(self, env: str, resolve: Resolve = resolve_by_system, trust: ssl.SSLContext | None = None) -> None:
        self._env = env
        self._resolve = resolve
        self._client = httpx.AsyncClient(
            verify=trust or ssl.create_default_context(),
            # The environment's proxies would decide anew where to connect to.
            trust_env=False,
            follow_redirects=False,
            timeout=_TIMEOUT,
            # A connection is kept by address: reused for another host of the same address, its certificate would not
            # be checked again. So none is kept.
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=0),
        )

    async def close(self) -> None:
        """Closes what is open."""
        await self._client.aclose()

    async def run(self, grant: Grant, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Sends the request and returns the answer, cut at 256 KiB.

        Raises:
            ToolArgumentsInvalid, EgressDenied, ToolFailed (the host did not answer as HTTP), ToolTimeout.
        """
        wanted = egress.target(arguments["url"], grant.profile.http_hosts, self._env)
        headers = _request_headers(arguments.get("headers", {}), wanted, grant.invocation.request_id)
        addresses = await self._addresses(wanted)
        body = arguments.get("body")
        limit_s = min(grant.spec.timeout_s, deadlines.remaining_s(grant.spec.timeout_s))
        try:
            async with asyncio.timeout(limit_s):
                return await self._send(arguments["method"], wanted, addresses, headers, body)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise ToolTimeout("The host did not answer in time.", tool=TOOL, limit_s=round(limit_s)) from error
        except httpx.HTTPError as error:
            # The error's own text can hold the URL, and with it a secret of the query.
            cause = "connect" if isinstance(error, httpx.ConnectError) else "protocol"
            raise ToolFailed(f"The call of {wanted.host} failed ({cause}).", tool=TOOL, cause=cause) from error

    async def _addresses(self, wanted: egress.Target) -> list[str]:
        """Resolves once; every address must be public, or none is used: a mixed answer is an attack or a mistake."""
        try:
            async with asyncio.timeout(_RESOLVE_S):
                found = await self._resolve(wanted.host, wanted.port)
        except (OSError, UnicodeError, TimeoutError) as error:
            raise ToolFailed(f"{wanted.host} cannot be resolved.", tool=TOOL, cause="resolve") from error
        for address in found:
            egress.check_address(address, wanted)
        if not found:
            raise EgressDenied("The host has no address.", host=wanted.host)
        return found[:_ADDRESSES_TRIED]

    async def _send(
        self, method: str, wanted: egress.Target, addresses: list[str], headers: dict[str, str], body: str | None
    ) -> Mapping[str, Any]:
        for position, address in enumerate(addresses, 1):
            shown = f"[{address}]" if ":" in address else address
            # The connection goes to the checked address; name and certificate stay those of the host.
            request = self._client.build_request(
                method,
                f"{wanted.scheme}://{shown}:{wanted.port}{wanted.path}",
                headers=headers,
                content=None if body is None else body.encode(),
                extensions={"sni_hostname": wanted.host},
            )
            try:
                answer = await self._client.send(request, stream=True)
            except httpx.ConnectError:
                # Nothing was sent yet, so the next address may be tried.
                if position == len(addresses):
                    raise
                continue
            try:
                return await _read(answer)
            finally:
                await answer.aclose()
        raise AssertionError("addresses is never empty")


async def _read(answer: httpx.Response) -> Mapping[str, Any]:
    """Reads the answer up to the cap. It was asked for uncompressed; a compressed one could unfold to any size."""
    if answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ToolFailed("The answer is compressed, though it was asked for plain.", tool=TOOL, cause="encoding")
    content, truncated = bytearray(), False
    async for chunk in answer.aiter_raw():
        room = BODY_BYTES_MAX - len(content)
        content += chunk[:room]
        if len(chunk) > room:
            truncated = True
            break
    return {
        "status": answer.status_code,
        "headers": {name: value for name, value in answer.headers.items() if name in _SHOWN},
        "body": content.decode(errors="replace"),
        "truncated": truncated,
    }


def _request_headers(given: Mapping[str, str], wanted: egress.Target, request_id: str) -> dict[str, str]:
    headers = {"host": wanted.authority, "accept-encoding": "identity", "user-agent": "haas", "accept": "*/*"}
    for name, value in given.items():
        lowered = name.lower()
        if lowered not in _HEADERS and not _EXTENSION_HEADER.fullmatch(lowered):
            raise ToolArgumentsInvalid(
                f"The header {lowered[:60]!r} cannot be set.", tool=TOOL, field="headers", rule="allowlist"
            )
        headers[lowered] = value
    # A call is sent again only after its sender died half-way; the host can tell by this.
    headers["idempotency-key"] = request_id
    return headers
