"""The thinnest clients that speak the edge's REST: HTTP/1.1 and HTTP/2 over TLS, so that the client is no bottleneck.

They know what a benchmark against our own edge needs and nothing more: small requests, answers that fit, status 200.
"""

import asyncio
import itertools
import ssl
from pathlib import Path

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_WINDOW_MAX = 2**31 - 1
#: `:status: 200` as every encoder writes it (RFC 7541, static table, index 8).
_STATUS_200 = 0x88


def _tls(authority: Path, protocol: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols([protocol])
    return context


class Http1:
    """One keep-alive connection; one call at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        self._reader, self._writer, self._request = reader, writer, request

    @classmethod
    async def open(cls, host: str, port: int, authority: Path, path: str, token: str, body: bytes) -> "Http1":
        """Connects; every call then posts this body."""
        reader, writer = await asyncio.open_connection(host, port, ssl=_tls(authority, "http/1.1"))
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return cls(reader, writer, head.encode() + body)

    async def call(self) -> None:
        """Posts once; returns when the whole answer is there. Raises RuntimeError unless it is 200."""
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if not lengths:
            raise RuntimeError(f"no content-length: {head[:200]!r}")
        body = await self._reader.readexactly(int(lengths[0].partition(b":")[2]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head[:60]!r} {body[:300]!r}")

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()


class Http2(asyncio.Protocol):
    """One connection; as many calls at once as are asked for."""

    def __init__(self, headers: bytes, body: bytes) -> None:
        self._headers, self._body = headers, body
        self._ids = itertools.count(1, 2)
        self._open: dict[int, asyncio.Future[None]] = {}
        #: Streams whose status is known; a second block of headers is trailers.
        self._headed: set[int] = set()
        self._rest = b""
        self._transport: asyncio.Transport

    @classmethod
    async def open(cls, host: str, port: int, authority: Path, path: str, token: str, body: bytes) -> "Http2":
        """Connects; every call then posts this body."""
        fields = {
            ":method": "POST", ":scheme": "https", ":path": path, ":authority": f"{host}:{port}",
            "authorization": f"Bearer {token}", "content-type": "application/json", "content-length": str(len(body)),
        }  # fmt: skip
        headers = b"".join(_literal(name.encode(), value.encode()) for name, value in fields.items())
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(headers, body), host, port, ssl=_tls(authority, "h2"))
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says hello, with windows that no benchmark fills."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        windows = b"\x00\x04" + _WINDOW_MAX.to_bytes(4, "big")
        grown = (_WINDOW_MAX - 65535).to_bytes(4, "big")
        transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, windows) + _frame(_WINDOW, 0, 0, grown))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails what still waits."""
        for waiting in self._open.values():
            waiting.set_exception(exc or ConnectionResetError("the edge closed the connection"))
        self._open.clear()

    async def call(self) -> None:
        """Posts once; returns when the whole answer is there. Raises RuntimeError unless it is 200."""
        stream = next(self._ids)
        self._open[stream] = asyncio.get_running_loop().create_future()
        head = _frame(_HEADERS, _END_HEADERS, stream, self._headers)
        self._transport.write(head + _frame(_DATA, _END_STREAM, stream, self._body))
        await self._open[stream]

    def data_received(self, data: bytes) -> None:
        """Takes whole frames."""
        data = self._rest + data
        at = 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            self._take(data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big"), data[at + 9 : end])
            at = end
        self._rest = data[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY:
            self._transport.close()
        waiting = self._open.get(stream)
        if waiting is None:
            return
        if kind == _RST or (kind == _HEADERS and stream not in self._headed and _STATUS_200 not in payload[:4]):
            self._open.pop(stream).set_exception(RuntimeError(f"no answer with status 200: {payload[:100]!r}"))
        elif kind == _HEADERS:
            self._headed.add(stream)
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM and stream in self._open:
            self._headed.discard(stream)
            self._open.pop(stream).set_result(None)

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field that enters no table (RFC 7541, 6.2.2), not Huffman-coded."""
    return b"\x00" + _length(len(name)) + name + _length(len(value)) + value


def _length(size: int) -> bytes:
    """An integer with a prefix of seven bits (RFC 7541, 5.1)."""
    if size < 127:
        return bytes((size,))
    size, out = size - 127, b"\x7f"
    while size >= 128:
        out += bytes((size % 128 + 128,))
        size //= 128
    return out + bytes((size,))
