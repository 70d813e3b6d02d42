"""Traces: W3C trace context is always propagated; spans are made and exported only where an OTLP endpoint is set.

OpenTelemetry is imported by `configure` alone, and only with an endpoint: its 15 MiB are paid by who wants traces.
Every span carries the ids that `haas_common.logs` has bound (tenant_id, project_id, plan_id, task_id) and never gRPC
metadata, which holds tokens.
"""

import contextlib
import contextvars
import functools
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from haas_common import logs

#: version-traceid-parentid-flags (W3C Trace Context); other versions begin a trace of their own.
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SPAN_FIELDS = ("tenant_id", "project_id", "plan_id", "task_id")


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a call stands in its trace: 32 and 16 hex digits, and the flags."""

    trace_id: str
    parent_id: str
    flags: str

    @property
    def traceparent(self) -> str:
        """The header that says so."""
        return f"00-{self.trace_id}-{self.parent_id}-{self.flags}"


_current: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("haas_trace", default=None)
#: Set by `configure`: makes a span of a name and attributes.
_start_span: Callable[[str, Mapping[str, Any]], AbstractContextManager[Any]] | None = None
#: Set by `configure`: makes a trace the one that OpenTelemetry continues.
_continue: Callable[[Trace], AbstractContextManager[Any]] | None = None
_shutdown: Callable[[], None] | None = None


def begin(traceparent: str = "") -> Trace:
    """The caller's trace, or a new one where the header is absent or malformed."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match:
        return Trace(*match.groups())
    return Trace(secrets.token_hex(16), secrets.token_hex(8), "01")


def resumed(trace_id: str) -> Trace:
    """The trace that a plan keeps, for work that goes on after its caller has left; a new one where it kept none."""
    return _resumed(trace_id) if len(trace_id) == 32 else begin()


@functools.lru_cache(maxsize=4096)
def _resumed(trace_id: str) -> Trace:
    # What goes on has one parent, which nobody has recorded: the attempts of a plan then stand side by side.
    return begin(f"00-{trace_id}-{secrets.token_hex(8)}-01")


@contextlib.contextmanager
def within(trace: Trace) -> Iterator[Trace]:
    """Makes `trace` the current one inside; spans made there are its children."""
    token = _current.set(trace)
    try:
        with _continue(trace) if _continue is not None else contextlib.nullcontext():
            yield trace
    finally:
        _current.reset(token)


def enter_task(trace: Trace) -> None:
    """Makes `trace` that of the asyncio task under way, until it ends. For work in which no spans are made."""
    _current.set(trace)


def current() -> Trace | None:
    """The trace of the work under way."""
    return _current.get()


def active() -> bool:
    """Whether spans are made."""
    return _start_span is not None


def span(name: str, **attributes: Any) -> AbstractContextManager[Any]:
    """Opens a span around some work, e.g. "sql get_plan"; does nothing where spans are not made, nor outside a trace.

    A service that only looks whether there is work makes no traces.
    """
    if _start_span is None or _current.get() is None:
        return contextlib.nullcontext()
    return _start_span(name, attributes)


def server_interceptors() -> list[Any]:
    """OpenTelemetry's interceptor for a grpc.aio server; it stands inside ours, where the ids are bound."""
    if not active():
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

    # The edge asks every service for its health every two seconds: nobody reads those spans.
    return [aio_server_interceptor(filter_=filters.negate(filters.health_check()))]


def client_interceptors() -> list[Any]:
    """OpenTelemetry's interceptors for grpc.aio channels; they inject the trace context."""
    if not active():
        return []
    from opentelemetry.instrumentation.grpc import aio_client_interceptors

    return list(aio_client_interceptors())


def configure(service: str, endpoint: str) -> None:
    """Starts exporting spans to an OTLP/HTTP endpoint in the background; does nothing without one."""
    if not endpoint:
        return
    global _start_span, _continue, _shutdown
    from opentelemetry import context, propagate, trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class Ids(SpanProcessor):
        """Puts the bound ids on every span, OpenTelemetry's own ones included."""

        def on_start(self, span: Any, parent_context: Any = None) -> None:
            """Runs in the task that starts the span, so the ids are its own."""
            fields = logs.bound()
            for name in _SPAN_FIELDS:
                if name in fields:
                    span.set_attribute(name, fields[name])

    provider = TracerProvider(resource=Resource.create({"service.name": f"haas-{service}"}))
    provider.add_span_processor(Ids())
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2048, schedule_delay_millis=1000))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("haas")

    @contextlib.contextmanager
    def start(name: str, attributes: Mapping[str, Any]) -> Iterator[None]:
        # A driver's message may quote a row: the span says the error's class, its text stays here.
        quiet = {"record_exception": False, "set_status_on_exception": False}
        with tracer.start_as_current_span(name, attributes=dict(attributes), **quiet) as opened:
            try:
                yield
            except BaseException as error:
                opened.set_status(trace.StatusCode.ERROR, type(error).__name__)
                raise

    @contextlib.contextmanager
    def continued(known: Trace) -> Iterator[None]:
        token = context.attach(propagate.extract({"traceparent": known.traceparent}))
        try:
            yield
        finally:
            context.detach(token)

    _start_span, _continue, _shutdown = start, continued, provider.shutdown


def shutdown() -> None:
    """Sends what is still queued and stops making spans."""
    global _start_span, _continue, _shutdown
    _start_span = _continue = None
    if _shutdown is not None:
        _shutdown()
        _shutdown = None
