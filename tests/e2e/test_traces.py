"""One trace from the edge to SQL, and logs that carry it."""

import dataclasses
import json
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haas_cli.fleet.home import Home
from tests.support.apps import App, Edge
from tests.support.cli import Cli
from tests.support.collector import Collector, Span

SERVICES = ("haas-edge", "haas-orchestrator", "haas-planner", "haas-mcp")
#: A task whose call the MCP service refuses: the host is not the profile's.
REFUSED = {
    "task_id": "T-1", "kind": "TASK_KIND_TOOL", "skill": "mcp.http", "title": "call",
    "owner_agent_id": "specialist.web", "writes": [{"name": "answer", "type": "tool.result"}], "attempts_max": 1,
    "params_json": '{"method": "GET", "url": "https://elsewhere.example/"}',
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Traced:
    """A whole job and a plan that fails, under one trace id each, and what was told about them."""

    home: Home
    app: App
    plan_id: str
    trace_id: str
    failed_id: str
    failed_trace_id: str
    spans: list[Span]
    bodies: list[bytes]

    def job(self) -> list[Span]:
        """The spans of the whole job's trace."""
        return [s for s in self.spans if s.trace_id == self.trace_id]

    def lines(self, service: str) -> list[dict[str, Any]]:
        """What a service logged."""
        lines = (self.home.log / f"{service}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


def under(app: App, trace_id: str) -> None:
    """Has every further call of the app's REST client say that it belongs to a trace."""
    app.client.headers["traceparent"] = f"00-{trace_id}-{secrets.token_hex(8)}-01"


def edge_told(spans: list[Span], trace_id: str, calls: int) -> bool:
    """Whether the edge has told of so many calls of a trace (two spans each: the client's side and the service's)."""
    return sum(s.trace_id == trace_id and s.service == "haas-edge" for s in spans) >= 2 * calls


@pytest.fixture(scope="module")
def traced() -> Iterator[Traced]:
    with tempfile.TemporaryDirectory(prefix="haas-traces-") as folder, Collector() as collector:
        plain = Cli.on(Home(Path(folder) / "home"))
        cli = Cli(plain.home, {**plain.environment, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint})
        started = cli.call("up", "--detach")
        assert started.returncode == 0, started.stderr
        with Edge(cli) as edge:
            app = edge.example("medluxe")
            job_trace, failed_trace = secrets.token_hex(16), secrets.token_hex(16)
            under(app, job_trace)
            plan_id = app.create()["plan_id"]
            app.run(plan_id)
            app.finish(plan_id)
            under(app, failed_trace)
            failed_id = app.create(graph={"tasks": [REFUSED]})["plan_id"]
            app.run(failed_id)
            app.finish(failed_id)
        # Envoy sends every 5 s and drops what is left at its end; the services send it.
        collector.until(lambda spans: edge_told(spans, job_trace, 2) and edge_told(spans, failed_trace, 2))
        assert cli.call("down").returncode == 0
        spans = collector.until(lambda spans: {s.service for s in spans if s.trace_id == job_trace} >= set(SERVICES))
        yield Traced(cli.home, app, plan_id, job_trace, failed_id, failed_trace, spans, collector.bodies)


def test_one_trace_leads_from_the_edge_through_every_service_to_sql(traced: Traced) -> None:
    told = traced.job()
    assert {s.service for s in told} >= set(SERVICES)
    for service in SERVICES[1:]:
        assert [s for s in told if s.service == service and s.name.startswith("sql ")], service
    known = {s.span_id: s for s in told}

    def road(span: Span) -> list[str]:
        services = [span.service]
        while span.parent in known:
            span = known[span.parent]
            if services[-1] != span.service:
                services.append(span.service)
        return services

    roads = {tuple(road(s)) for s in told if s.name.startswith("sql ")}
    assert ("haas-orchestrator", "haas-edge") in roads
    assert ("haas-planner", "haas-orchestrator", "haas-edge") in roads
    assert ("haas-mcp", "haas-planner") in roads


def test_the_work_after_the_caller_has_left_stays_in_the_plans_trace(traced: Traced) -> None:
    tasks = [s for s in traced.job() if s.service == "haas-planner" and s.name.startswith("task ")]
    assert len(tasks) >= 8
    for span in tasks:
        assert span.attributes["plan_id"] == traced.plan_id
        assert span.attributes["task_id"].startswith("T-")
    calls = [s for s in traced.job() if s.service == "haas-mcp" and s.name.endswith("InvokeTool")]
    assert {s.parent for s in calls} <= {s.span_id for s in traced.job() if s.service == "haas-planner"}
    assert all(s.attributes["plan_id"] == traced.plan_id and s.attributes["task_id"] for s in calls)
    assert calls


def test_every_span_of_a_service_names_its_tenant_and_project(traced: Traced) -> None:
    for span in traced.job():
        assert span.attributes.get("tenant_id") == traced.app.tenant, span
        if span.service != "haas-edge":
            assert span.attributes.get("project_id") == traced.app.project, span


def test_no_span_holds_a_token_or_what_a_query_was_given(traced: Traced) -> None:
    sent = b"".join(traced.bodies)
    assert b"eyJ" not in sent
    assert traced.app.token.encode() not in sent
    assert b"SELECT" not in sent
    assert traced.app.objective[:40].encode() not in sent


def test_services_that_only_wait_make_no_trace(traced: Traced) -> None:
    roots = {s.name for s in traced.spans if s.name.startswith("sql ") and not s.parent}
    assert roots == set()


@pytest.mark.parametrize("service", ["planner", "mcp"])
def test_a_services_log_lines_carry_the_plans_trace_and_ids(traced: Traced, service: str) -> None:
    lines = [line for line in traced.lines(service) if line.get("trace_id") == traced.failed_trace_id]
    expected = {**traced.app.scope, "plan_id": traced.failed_id, "task_id": "T-1", "reason": "EGRESS_DENIED"}
    assert [line for line in lines if expected.items() <= line.items()], lines


def test_no_log_holds_a_token(traced: Traced) -> None:
    logs = {path.name: path.read_text() for path in traced.home.log.iterdir()}
    assert logs
    for name, text in logs.items():
        assert "eyJ" not in text, name
