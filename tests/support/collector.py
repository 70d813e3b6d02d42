"""A toy OTLP/HTTP collector: keeps every span that it is sent, and says when one is there that a test waits for."""

import gzip
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it came over the wire.

    Attributes:
        service: "haas-edge", "haas-planner", …
        parent: The parent's span id, "" for none.
    """

    service: str
    name: str
    trace_id: str
    span_id: str
    parent: str
    attributes: dict[str, str]


class Collector:
    """Listens on a free port from `with` to its end.

    Attributes:
        bodies: What was sent, raw, for a test that looks for what must not be in there.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._spans: list[Span] = []
        self._came = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self._body()
                collector._take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def _body(self) -> bytes:
                """Envoy sends chunks, the services a length."""
                if "content-length" in self.headers:
                    return self.rfile.read(int(self.headers["content-length"]))
                pieces = []
                while size := int(self.rfile.readline(), 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(pieces)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Collector":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def _take(self, body: bytes) -> None:
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        found = []
        for resource in request.resource_spans:
            of = {a.key: a.value.string_value for a in resource.resource.attributes}
            for span in (s for scope in resource.scope_spans for s in scope.spans):
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                attributes = {a.key: a.value.string_value or str(a.value.int_value) for a in span.attributes}
                found.append(Span(of["service.name"], span.name, *ids, attributes))
        with self._came:
            self.bodies.append(body)
            self._spans += found
            self._came.notify_all()

    def until(self, condition: Callable[[list[Span]], bool]) -> list[Span]:
        """Waits for spans of which the condition holds; returns all that have come."""
        with self._came:
            met = self._came.wait_for(lambda: condition(self._spans), WAIT_S)
            names = sorted({(s.service, s.name) for s in self._spans})
            assert met, f"not within {WAIT_S} s; there came {names}"
            return list(self._spans)
