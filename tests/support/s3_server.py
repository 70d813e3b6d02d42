"""A third party's account: a small S3 over HTTP that keeps objects in memory and refuses what is not signed."""

import datetime
import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/[^/]+/s3/aws4_request, "
    r"SignedHeaders=(?P<headers>[^,]+), Signature=[0-9a-f]{64}\Z"
)


@dataclass
class Account:
    """A bucket and who may use it.

    Attributes:
        objects: bytes and time of change by key.
        requests: method and key of every request that was signed.
        failing: answer every request with 503.
    """

    access_key_id: str = "key-of-tests"
    bucket: str = "haas"
    objects: dict[str, tuple[bytes, datetime.datetime]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    failing: bool = False
    ticks: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def now(self) -> datetime.datetime:
        """Whole seconds that never repeat, as S3 tells times."""
        self.ticks += 1
        return datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC) + datetime.timedelta(seconds=self.ticks)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        account, key, query = self._open()
        if key is None:
            return
        if "list-type" in query:
            self._list(account, query.get("prefix", [""])[0])
            return
        found = account.objects.get(key)
        if found is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        self._answer(200, found[0], found[1])

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        account, key, _ = self._open()
        if key is None:
            return
        source = self.headers.get("x-amz-copy-source")
        if source is None:
            account.objects[key] = (self.body, account.now())
            self._answer(200, b"", account.objects[key][1], self.body)
            return
        found = account.objects.get(unquote(source).lstrip("/").removeprefix(f"{account.bucket}/"))
        if found is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        account.objects[key] = (found[0], account.now())
        self._answer(200, b'<CopyObjectResult><ETag>"x"</ETag></CopyObjectResult>')

    def do_DELETE(self) -> None:
        account, key, _ = self._open()
        if key is not None:
            account.objects.pop(key, None)
            self._answer(204, b"")

    def do_POST(self) -> None:
        """Deletes several objects."""
        account, key, query = self._open()
        if key is None:
            return
        assert "delete" in query
        names = re.findall(r"<Key>([^<]+)</Key>", self.body.decode())
        for name in names:
            account.objects.pop(name, None)
        gone = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in names)
        self._answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    def _open(self) -> tuple[Account, str | None, dict[str, list[str]]]:
        account, url = self.server.account, urlsplit(self.path)
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        signed = _SIGNED.match(self.headers.get("authorization", ""))
        hashed = self.headers.get("x-amz-content-sha256", "")
        refused = signed is None or signed["key"] != account.access_key_id or "host" not in signed["headers"].split(";")
        if (
            refused
            or hashed not in ("UNSIGNED-PAYLOAD", hashlib.sha256(self.body).hexdigest())
            or bucket != account.bucket
        ):
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            return account, None, {}
        if account.failing:
            self._answer(503, b"<Error><Code>SlowDown</Code></Error>")
            return account, None, {}
        with account.lock:
            account.requests.append((self.command, key))
        return account, key, parse_qs(url.query, keep_blank_values=True)

    def _list(self, account: Account, prefix: str) -> None:
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
            f'<ETag>"x"</ETag><Size>{len(data)}</Size></Contents>'
            for key, (data, at) in sorted(account.objects.items())
            if key.startswith(prefix)
        )
        shown = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        self._answer(200, shown.encode())

    def _answer(self, status: int, body: bytes, at: datetime.datetime | None = None, tagged: bytes = b"") -> None:
        self.send_response(status)
        if at is not None:
            self.send_header("Last-Modified", f"{at:%a, %d %b %Y %H:%M:%S GMT}")
        self.send_header("ETag", f'"{hashlib.md5(tagged or body).hexdigest()}"')
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing: the tests look at `Account.requests`."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    account: Account


@contextmanager
def running() -> Iterator[Account]:
    """Yields an account whose `url` answers."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.account = Account(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.account
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
