"""A log line is one JSON object, says whose it is, and never holds a token."""

import json
import logging

import pytest

from haas_common import logs, tracing
from haas_common.logs import JsonFormatter

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJl"


def line(message: str, *args: object, **extra: object) -> dict[str, str]:
    """The line that a message becomes."""
    record = logging.LogRecord("haas_mcp", logging.INFO, "x.py", 1, message, args, None)
    record.__dict__.update(extra)
    text = JsonFormatter("mcp").format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_names_its_service_level_and_time():
    found = line("served %d", 3)
    assert (found["service"], found["level"], found["msg"]) == ("mcp", "info", "served 3")
    assert found["ts"].endswith("Z")


def test_bound_ids_stand_on_every_line_inside_and_on_none_outside():
    with logs.bind(tenant_id="t-one", project_id="p-one", request_id=""), logs.bind(plan_id="pl-1"):
        found = line("x")
    assert (found["tenant_id"], found["project_id"], found["plan_id"]) == ("t-one", "p-one", "pl-1")
    assert "request_id" not in found
    assert "tenant_id" not in line("x")


def test_an_unknown_field_is_a_mistake_of_ours():
    with pytest.raises(TypeError, match="password"), logs.bind(password="x"):
        pass


def test_a_newline_forges_no_line():
    assert line('a\n{"level":"error"}')["msg"] == 'a\n{"level":"error"}'


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"authorization: Bearer {TOKEN}", TOKEN),
        (f"{TOKEN} twice {TOKEN}", "eyJzdWIi"),
        ("postgresql://haas_app:hunter2@localhost/haas", "hunter2"),
        ("redis://:hunter2@localhost", "hunter2"),
    ],
)
def test_tokens_and_passwords_never_enter_a_line(text, hidden):
    assert hidden not in json.dumps(line(text))
    try:
        raise ValueError(text)
    except ValueError as error:
        caught = (type(error), error, error.__traceback__)
    assert hidden not in json.dumps(line("failed", exc_info=caught))


def test_a_line_is_bounded():
    assert len(line("x" * 1_000_000)["msg"]) <= logs.MESSAGE_CHARS_MAX


def test_a_callers_trace_goes_on_and_a_malformed_one_begins_anew():
    given = f"00-{'a' * 32}-{'b' * 16}-01"
    assert tracing.begin(given).traceparent == given
    for bad in ("", "x", given.upper(), f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01", given + "-x"):
        trace = tracing.begin(bad)
        assert trace.traceparent != bad
        assert tracing.begin(trace.traceparent) == trace


def test_without_an_endpoint_nothing_is_imported_and_spans_cost_nothing():
    tracing.configure("mcp", "")
    assert not tracing.active()
    assert tracing.server_interceptors() == tracing.client_interceptors() == []
    with tracing.span("sql", query="x") as made:
        assert made is None
