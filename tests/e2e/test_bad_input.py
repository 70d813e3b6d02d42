"""Whatever a caller sends that is wrong: a 4xx with a reason and a sentence, and nothing is written."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from haas.orchestrator.v1 import orchestrator_pb2
from haas_client.webhooks import signed
from haas_common.auth import Issuer
from haas_common.errors import from_rpc
from tests.support.apps import CALL_S, EXAMPLES, App, Edge
from tests.support.cli import Cli

DETECT = "/v1/intents:detect"
CREATE = "/v1/plans:create"
NO_PLAN = "pl-aaaaaaaaaaaaaaaaaaaaaaaa"


@pytest.fixture(scope="module")
def edge(fleet: Cli) -> Iterator[Edge]:
    with Edge(fleet) as found:
        yield found


@pytest.fixture(scope="module")
def app(edge: Edge) -> App:
    """A tenant whose profile allows two tools, with one plan that has not been run."""
    made = edge.example("medluxe")
    profile = (EXAMPLES / "medluxe" / "profile.yaml").read_text()
    allowed = "tools_allowed: [data.table, artifact.read, artifact.write, mcp.http]"
    assert allowed in profile
    made.put_profile(profile.replace(allowed, "tools_allowed: [data.table, artifact.read]"))
    made.create(request_id="first")
    return made


def written(app: App) -> list[str]:
    """Everything that a call could have left: the history's types, the plans, the artifacts.

    Not NotificationSent: the relay may still be telling of what was there before the call.
    """
    events = [f"{e['seq']} {e['type']}" for e in app.events() if e["type"] != "NotificationSent"]
    plans = [p["plan_id"] + p["state"] for p in app.get("/v1/plans", page_size=500)["plans"]]
    artifacts = [a["artifact_id"] + a["version"] for a in app.get("/v1/artifacts", page_size=500)["artifacts"]]
    return [*events, *plans, *artifacts]


@contextmanager
def nothing_written(app: App) -> Iterator[None]:
    before = written(app)
    yield
    assert written(app) == before


def refused(response: httpx.Response, status: int, reason: str) -> dict[str, str]:
    """Checks a refusal's form; returns the metadata."""
    assert response.status_code == status, response.text
    assert 400 <= status < 500
    body = response.json()
    assert body["message"].endswith(".") or len(body["message"].split()) > 2, body
    info = body["details"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (info["reason"], info["domain"]) == (reason, "haas"), body
    return info.get("metadata", {})


@dataclass(frozen=True)
class Case:
    """A call that must be refused.

    Attributes:
        more: of the body for POST and PUT, of the query for GET.
    """

    name: str
    path: str
    status: int
    reason: str
    more: dict[str, Any] = field(default_factory=dict)
    verb: str = "POST"


def objective(text: str) -> dict[str, Any]:
    return {"objective": text, "inputs": {}}


def task(task_id: str, reads: list[tuple[str, ...]], writes: list[tuple[str, str]], **more: Any) -> dict[str, Any]:
    """A task of an explicit graph; a read is (name, type) or (name, type, task)."""
    names = ("name", "type", "from_task")
    return {
        "task_id": task_id, "kind": "TASK_KIND_TOOL", "skill": "data.table", "title": "t",
        "reads": [dict(zip(names, r, strict=False)) for r in reads],
        "writes": [dict(zip(names, w, strict=False)) for w in writes],
        **more,
    }  # fmt: skip


def graph(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"objective": "Calcula los indicadores de la campaña", "graph": {"tasks": list(tasks), **more}}


A, B = ("a", "doc.a"), ("b", "doc.b")
DEEP = json.loads("[" * 60 + "]" * 60)
FOREIGN = {
    "french": "Préparez la campagne du quatrième trimestre avec un budget de 24000 euros et un calendrier éditorial",
    "german": "Bitte planen Sie die Kampagne für das vierte Quartal mit einem Budget von 24000 Euro und Medienplan",
    "portuguese": "Queremos a campanha do quarto trimestre com um orçamento de 24000 euros e não temos calendário",
}

CASES = (
    Case("a number for a text", DETECT, 400, "FIELD_INVALID", {"text": {"not": "a text"}}),
    Case("a text for a message", CREATE, 400, "FIELD_INVALID", {"objective": "x", "graph": "a graph"}),
    Case("an empty text", DETECT, 400, "FIELD_INVALID", {"text": ""}),
    Case("an empty objective", CREATE, 400, "FIELD_INVALID", objective("")),
    Case("a megabyte of text", DETECT, 400, "FIELD_INVALID", {"text": "campaña " * 110_000}),
    Case("a megabyte of objective", CREATE, 400, "FIELD_INVALID", objective("campaña " * 110_000)),
    Case("ten mebibytes", DETECT, 413, "PAYLOAD_TOO_LARGE", {"text": "x" * 10 * 1024 * 1024}),
    Case("a NUL in a text", DETECT, 400, "FIELD_INVALID", {"text": "una\0campaña"}),
    Case("a NUL in an objective", CREATE, 400, "FIELD_INVALID", objective("una\0campaña")),
    Case("a NUL in a request id", CREATE, 400, "FIELD_INVALID", {**objective("una campaña"), "request_id": "a\0b"}),
    Case("a NUL in an input", CREATE, 400, "FIELD_INVALID", {"objective": "x", "inputs": {"budget": "1\0"}}),
    Case("a NUL in an id", f"/v1/plans/{NO_PLAN}:cancel", 400, "FIELD_INVALID", {"reason": "a\0b"}),
    Case("nested inputs", CREATE, 400, "FIELD_INVALID", {"objective": "una campaña", "inputs": {"a": {"b": 1}}}),
    Case("a list of 60 levels", CREATE, 400, "FIELD_INVALID", {"objective": "una campaña", "inputs": {"a": DEEP}}),
    Case("more inputs than an event holds", CREATE, 400, "FIELD_INVALID",
         {"objective": "Describe nuestro público", "inputs": {f"x{n}": "\U0001f600" * 200 for n in range(99)}}),
    Case("an objective and inputs too large together", CREATE, 400, "FIELD_INVALID",
         {"objective": "Describe el público objetivo. " * 500, "inputs": {f"x{n}": "v" * 200 for n in range(99)}}),
    Case("an unknown upload", CREATE, 404, "RESOURCE_NOT_FOUND",
         {"objective": "una campaña", "inputs": {"campaign_results": "sha256:" + "0" * 64}}),
    Case("no upload's name", CREATE, 400, "FIELD_INVALID", {"objective": "una campaña", "inputs": {"a": "sha256:0"}}),
    Case("a missing input", CREATE, 400, "INPUT_MISSING", objective("Prepara la campaña del próximo trimestre")),
    Case("an unknown profile", CREATE, 400, "PROFILE_MISSING", {**objective("una campaña"), "profile_id": "no_v1"}),
    Case("a cycle", CREATE, 400, "GRAPH_CYCLE",
         graph(task("T-1", [(*B, "T-2")], [A]), task("T-2", [(*A, "T-1")], [B]))),
    Case("a task that waits for itself", CREATE, 400, "GRAPH_CYCLE", graph(task("T-1", [(*A, "T-1")], [A]))),
    Case("a read of nothing", CREATE, 400, "GRAPH_DANGLING", graph(task("T-1", [(*B, "T-9")], [A]))),
    Case("a read of no input", CREATE, 400, "GRAPH_DANGLING", graph(task("T-1", [B], [A]))),
    Case("two types of one value", CREATE, 400, "GRAPH_INVALID",
         graph(task("T-1", [], [A]), task("T-2", [("a", "doc.b", "T-1")], [B]))),
    Case("a task twice", CREATE, 400, "GRAPH_INVALID", graph(task("T-1", [], [A]), task("T-1", [], [B]))),
    Case("a value written twice", CREATE, 400, "GRAPH_INVALID", graph(task("T-1", [], [A]), task("T-2", [], [A]))),
    Case("no task", CREATE, 400, "FIELD_INVALID", graph()),
    Case("a task without a kind", CREATE, 400, "FIELD_INVALID", graph(task("T-1", [], [A], kind=0))),
    Case("a task id of another form", CREATE, 400, "FIELD_INVALID", graph(task("../T-1", [], [A]))),
    Case("an unknown skill", CREATE, 400, "GRAPH_INVALID",
         graph(task("T-1", [], [A], kind="TASK_KIND_SPECIALIST", skill="no.skill"))),
    Case("parameters that are no JSON", CREATE, 400, "GRAPH_INVALID", graph(task("T-1", [], [A], params_json="{"))),
    Case("parameters of 900 levels", CREATE, 400, "GRAPH_INVALID",
         graph(task("T-1", [], [A], params_json='{"a":' + "[" * 900 + "]" * 900 + "}"))),
    Case("parameters with a NUL", CREATE, 400, "GRAPH_INVALID",
         graph(task("T-1", [], [A], params_json='{"a":"\\u0000"}'))),
    Case("plain parameters with a NUL", CREATE, 400, "FIELD_INVALID", graph(task("T-1", [], [A], params={"a": "\0"}))),
    Case("parameters given twice", CREATE, 400, "GRAPH_INVALID",
         graph(task("T-1", [], [A], params={"a": 1}, params_json="{}"))),
    Case("plain parameters of 17 KiB", CREATE, 400, "GRAPH_INVALID",
         graph(task("T-1", [], [A], params={"a": "x" * 17_000}))),
    Case("parameters that are a list", CREATE, 400, "FIELD_INVALID", graph(task("T-1", [], [A], params=[]))),
    Case("a webhook without a signature", "/v1/signals/t-medluxe.p-q4-2025.pay", 401, "TOKEN_MISSING", {"a": 1}),
    Case("a webhook for an address of another form", "/v1/signals/t-medluxe.pay", 400, "FIELD_INVALID", {"a": 1}),
    Case("a webhook for a plan of another form", "/v1/signals/t-medluxe.p-q4-2025.pay/T-1", 400, "FIELD_INVALID", {}),
    Case("a tool that the profile forbids, in a graph", CREATE, 403, "TOOL_NOT_ALLOWED",
         graph(task("T-1", [], [A], skill="mcp.http"))),
    Case("an unknown tool, in a graph", CREATE, 403, "TOOL_NOT_ALLOWED",
         graph(task("T-1", [], [A], skill="no.tool"))),
    Case("an id that climbs", "/v1/artifacts/..%2F..%2Fetc%2Fpasswd", 400, "FIELD_INVALID", verb="GET"),
    Case("an artifact id that climbs", "/v1/artifacts/artf-..%2F..%2Fx", 400, "FIELD_INVALID", verb="GET"),
    Case("an artifact id that climbs, doubly written", "/v1/artifacts/artf-%252e%252e%252fx", 400, "FIELD_INVALID",
         verb="GET"),
    Case("an artifact that is not there", "/v1/artifacts/artf-none", 404, "RESOURCE_NOT_FOUND", verb="GET"),
    Case("a version that is not there", "/v1/artifacts/artf-none", 404, "RESOURCE_NOT_FOUND", {"version": 7}, "GET"),
    Case("a version below zero", "/v1/artifacts/artf-none", 400, "FIELD_INVALID", {"version": -1}, "GET"),
    Case("a version that is no number", "/v1/artifacts/artf-none", 400, "FIELD_INVALID", {"version": "x"}, "GET"),
    Case("a number too large", "/v1/events", 400, "FIELD_INVALID", {"from_seq": "9" * 30}, "GET"),
    Case("a cursor beyond the end", "/v1/events", 400, "CURSOR_OUT_OF_RANGE", {"from_seq": 10**9}, "GET"),
    Case("a stream beyond the end", "/v1/events:stream", 400, "CURSOR_OUT_OF_RANGE", {"from_seq": 10**9}, "GET"),
    Case("a page too large", "/v1/plans", 400, "FIELD_INVALID", {"page_size": 501}, "GET"),
    Case("a page below zero", "/v1/artifacts", 400, "FIELD_INVALID", {"page_size": -1}, "GET"),
    *(
        Case(f"a made-up page token: {path} {token!r}", path, 400, "FIELD_INVALID", {"page_token": token}, "GET")
        for path in ("/v1/plans", "/v1/artifacts", "/v1/notifications")
        for token in ("garbage", "Z2FyYmFnZQ==", "é", "a\0b", "x" * 201)
    ),
    Case("a plan that is not there", f"/v1/plans/{NO_PLAN}:run", 404, "RESOURCE_NOT_FOUND"),
    Case("a plan's id of another form", "/v1/plans/PL-1:run", 400, "FIELD_INVALID"),
    Case("somebody else's inbox", "/v1/notifications", 403, "SCOPE_MISSING", {"receiver_id": "leader.x"}, "GET"),
    Case("a profile that is no YAML", "/v1/profiles/x_v1", 400, "PROFILE_INVALID", {"yaml": "{[:"}, "PUT"),
    Case("a profile with aliases", "/v1/profiles/x_v1", 400, "PROFILE_INVALID",
         {"yaml": "profile_id: x_v1\na: &a [1]\nb: [*a, *a]\n"}, "PUT"),
    Case("a profile with a NUL", "/v1/profiles/x_v1", 400, "FIELD_INVALID", {"yaml": "profile_id: x_v1\0"}, "PUT"),
    Case("a document's name that climbs", "/v1/documents/..%2Fx.md", 400, "FIELD_INVALID", {"text": "x"}, "PUT"),
    Case("a document with a NUL", "/v1/documents/x.md", 400, "FIELD_INVALID", {"text": "a\0b"}, "PUT"),
    *(Case(f"a {name} text", DETECT, 400, "LANGUAGE_UNSUPPORTED", {"text": text}) for name, text in FOREIGN.items()),
    *(Case(f"a {name} objective", CREATE, 400, "LANGUAGE_UNSUPPORTED", objective(t)) for name, t in FOREIGN.items()),
    Case("an unknown route", "/v1/nothing", 404, "METHOD_UNKNOWN"),
    Case("a wrong verb", CREATE, 404, "METHOD_UNKNOWN", verb="GET"),
    Case("a method of the fleet's inside", "/haas.planner.v1.Planner/CompilePlan", 404, "METHOD_UNKNOWN"),
    Case("the operator's method", "/v1/tenants", 403, "TENANT_MISMATCH", verb="GET"),
)  # fmt: skip


def send(app: App, case: Case) -> httpx.Response:
    if case.verb == "GET":
        return app.client.get(case.path, params={**app.scope, **case.more})
    return app.client.request(case.verb, case.path, json={**app.scope, **case.more})


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_bad_input_is_refused_with_a_reason_and_writes_nothing(app: App, case: Case) -> None:
    with nothing_written(app):
        refused(send(app, case), case.status, case.reason)


@pytest.mark.parametrize(
    "body",
    [
        b'{"text": "\xff\xfe"}', b'{"text": "\xc3"}', b"\xff", b'{"text":', b"[]", b"", b"null",
        b'{"text":"\\ud800"}', b'{"inputs":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_of_ours_is_refused(app: App, body: bytes) -> None:
    with nothing_written(app):
        answer = app.client.post(CREATE, content=body, headers={"content-type": "application/json"})
        assert refused(answer, 400, answer.json()["details"][0]["reason"]) is not None
        assert answer.json()["details"][0]["reason"] in ("FIELD_INVALID", "TENANT_REQUIRED")


@pytest.mark.parametrize(("left_out", "reason"), [("tenant_id", "TENANT_REQUIRED"), ("project_id", "PROJECT_REQUIRED")])
@pytest.mark.parametrize("empty", [False, True])
def test_a_request_without_its_tenant_or_project_is_refused(app: App, left_out: str, reason: str, empty: bool) -> None:
    scope = {k: v for k, v in app.scope.items() if k != left_out} | ({left_out: ""} if empty else {})
    with nothing_written(app):
        refused(app.client.post(DETECT, json={**scope, "text": "una campaña"}), 400, reason)
        refused(app.client.get("/v1/plans", params=scope), 400, reason)
        refused(app.client.put("/v1/inputs", params={**scope, "name": "a.csv"}, content=b"a\n1\n"), 400, reason)


def forged(app: App, **changes: Any) -> str:
    """Our own token's claims under a key of a stranger, with our key's name."""
    header, claims = jwt.get_unverified_header(app.token), jwt.decode(app.token, options={"verify_signature": False})
    return jwt.encode({**claims, **changes}, ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": header["kid"]})


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def unsigned(app: App) -> str:
    claims = jwt.decode(app.token, options={"verify_signature": False})
    return f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(claims)}."


def symmetric(app: App) -> str:
    """Signed with the public keys as if they were a shared secret."""
    header = {**jwt.get_unverified_header(app.token), "alg": "HS256"}
    keys = (app.edge.home.secrets / "gateway" / "jwks.json").read_bytes()
    signed = f"{encoded(header)}.{app.token.split('.')[1]}"
    digest = hmac.new(keys, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def changed(app: App) -> str:
    header, _, signature = app.token.split(".")
    claims = jwt.decode(app.token, options={"verify_signature": False})
    return f"{header}.{encoded({**claims, 'roles': ['operator']})}.{signature}"


def expired(app: App) -> str:
    issuer = Issuer(app.edge.home.secrets / "gateway" / "token.pem", "gw", now=lambda: time.time() - 7200)
    return issuer.issue(subject="ana", tenant_id=app.tenant, projects=[app.project], roles=["admin"]).token


def internal(app: App) -> str:
    issuer = Issuer(app.edge.home.secrets / "planner" / "token.pem", "pl")
    return issuer.issue(subject="ana", tenant_id=app.tenant, projects=[app.project], roles=["admin"]).token


TOKENS: dict[str, tuple[Callable[[App], str], int, str]] = {
    "expired": (expired, 401, "TOKEN_EXPIRED"),
    "forged": (forged, 401, "TOKEN_INVALID"),
    "alg none": (unsigned, 401, "TOKEN_INVALID"),
    "HS256": (symmetric, 401, "TOKEN_INVALID"),
    "changed claims": (changed, 401, "TOKEN_INVALID"),
    "internal": (internal, 401, "TOKEN_INVALID"),
    "no token": (lambda _: "", 401, "TOKEN_MISSING"),
    "no JWT": (lambda _: "x.y.z", 401, "TOKEN_INVALID"),
    "the operator's": (lambda app: app.edge.issuer.issue_operator("root").token, 403, "TENANT_MISMATCH"),
    "another tenant's": (lambda app: app.edge.token("t-other", [app.project]), 403, "TENANT_MISMATCH"),
    "another project's": (lambda app: app.edge.token(app.tenant, ["p-other"]), 403, "PROJECT_NOT_GRANTED"),
    "a viewer's": (lambda app: app.edge.token(app.tenant, [app.project], "viewer"), 403, "SCOPE_MISSING"),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_that_does_not_open_this_is_refused_over_rest_and_grpc(app: App, name: str) -> None:
    make, status, reason = TOKENS[name]
    token = make(app)
    with nothing_written(app):
        with app.edge.rest(token) as client:
            answer = client.post(CREATE, json={**app.scope, "objective": app.objective, "inputs": app.inputs})
            refused(answer, status, reason)
        request = orchestrator_pb2.CreatePlanRequest(**app.scope, objective=app.objective)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        with app.edge.channel() as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/haas.orchestrator.v1.Orchestrator/CreatePlan", request.SerializeToString)(
                request, metadata=metadata, timeout=CALL_S
            )
        assert from_rpc(caught.value).reason == reason


def test_a_webhook_needs_no_token_and_nothing_but_a_webhook_does_without(app: App) -> None:
    made = app.client.put("/v1/hooks/pay", json={**app.scope, "signal": "paid"}).json()
    path, secret, body = made["hook"]["url_path"], made["secret"], b'{"sum": 1}'
    stranger = "whsec_" + base64.b64encode(bytes(32)).decode()
    old_s = int(time.time()) - 3600
    sent: list[tuple[dict[str, str], bytes, int, str]] = [
        ({}, body, 401, "TOKEN_MISSING"),
        (signed(stranger, body), body, 401, "TOKEN_INVALID"),
        (signed(secret, body), b'{"sum": 2}', 401, "TOKEN_INVALID"),
        (signed(secret, body, at_s=old_s), body, 401, "TOKEN_EXPIRED"),
        (signed(secret, body), body, 404, "RESOURCE_NOT_FOUND"),
        (signed(secret, b"\xff"), b"\xff", 400, "FIELD_INVALID"),
        (signed(secret, b" " * 300_000), b" " * 300_000, 429, "PAYLOAD_TOO_LARGE"),
    ]
    with nothing_written(app), app.edge.rest() as client:
        for headers, content, status, reason in sent:
            refused(client.post(f"{path}/{NO_PLAN}", content=content, headers=headers), status, reason)
        refused(client.post(path, content=body, headers=signed(secret, body)), 400, "FIELD_INVALID")
        refused(client.put("/v1/hooks/pay", json={**app.scope, "signal": "paid"}), 401, "TOKEN_MISSING")
        refused(client.get("/v1/hooks", params=app.scope), 401, "TOKEN_MISSING")
        refused(client.delete("/v1/hooks/pay", params=app.scope), 401, "TOKEN_MISSING")
        refused(client.post(f"{path}/{NO_PLAN}/more", content=body), 401, "TOKEN_MISSING")


@pytest.mark.parametrize(
    "raw", [b"\x1a\x02\xff\xfe", b"\x1a\xff\xff\xff\xff\x0f", b"\xff" * 40, b"\x22" + b"\x80" * 9 + b"\x01"]
)
def test_bytes_that_are_no_message_are_refused(app: App, raw: bytes) -> None:
    with nothing_written(app), app.edge.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/haas.orchestrator.v1.Orchestrator/DetectIntent")(
            raw, metadata=(("authorization", f"Bearer {app.token}"),), timeout=CALL_S
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc(caught.value).reason == "FIELD_INVALID"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/haas.orchestrator.v1.Orchestrator/Nothing", "METHOD_UNKNOWN"),
        ("/a/b", "METHOD_UNKNOWN"),
        ("/haas.planner.v1.Planner/CompilePlan", "PEER_NOT_ALLOWED"),
        ("/haas.gateway.v1.Tenancy/ListTenants", "TENANT_MISMATCH"),
    ],
)
def test_a_method_that_is_not_for_the_caller_is_refused_over_grpc(app: App, path: str, reason: str) -> None:
    with nothing_written(app), app.edge.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"", metadata=(("authorization", f"Bearer {app.token}"),), timeout=CALL_S)
    assert from_rpc(caught.value).reason == reason


@dataclass(frozen=True)
class Upload:
    """An upload that must be refused."""

    name: str
    content: bytes
    status: int
    reason: str


UPLOADS = (
    # The service's own answer, to a stream: gRPC has no other status for it, and transcoding makes 429 of that.
    Upload("a.csv", b"x" * 10 * 1024 * 1024, 429, "PAYLOAD_TOO_LARGE"),
    Upload("a.csv", b"", 400, "FIELD_INVALID"),
    Upload("../a.csv", b"a,b\n1,2\n", 400, "FIELD_INVALID"),
    Upload("a\0.csv", b"a,b\n1,2\n", 400, "FIELD_INVALID"),
    Upload("a.exe", b"MZ", 400, "FIELD_INVALID"),
    Upload("a.csv", b"\xff\xfe\x00a", 400, "FIELD_INVALID"),
    Upload("a.md", b"\xff", 400, "FIELD_INVALID"),
    Upload("a.json", b"[" * 100_000, 400, "FIELD_INVALID"),
    Upload("a.json", b"{", 400, "FIELD_INVALID"),
    Upload("a.csv", b"a,b\n1,2\n3\n4,5\n6,7,8\n", 400, "TABLE_ROWS_BROKEN"),
)


@pytest.mark.parametrize("bad", UPLOADS, ids=lambda u: f"{u.name!r}-{u.reason}-{len(u.content)}")
def test_a_file_that_cannot_be_used_is_refused(app: App, bad: Upload) -> None:
    with nothing_written(app):
        answer = app.client.put("/v1/inputs", params={**app.scope, "name": bad.name}, content=bad.content)
        refused(answer, bad.status, bad.reason)


def test_broken_rows_are_numbered_and_counted_when_the_caller_goes_on_without_them(app: App) -> None:
    content = b"a,b\n1,2\n3\n4,5\n6,7,8\n"
    answer = app.client.put("/v1/inputs", params={**app.scope, "name": "broken.csv"}, content=content)
    metadata = refused(answer, 400, "TABLE_ROWS_BROKEN")
    assert (metadata["broken_rows"], metadata["rows"]) == ("2", "3, 5")
    kept = app.upload("broken.csv", content, lenient="true")
    assert (kept["rows"], kept["broken_rows"], kept["broken_row_numbers"]) == ("2", "2", ["3", "5"])
    counted = app.post("/v1/tools/data.table:invoke", arguments={"ref": kept["ref"], "lenient": True})["result"]
    assert (counted["rows"], counted["broken_rows"]) == (2, 2)


TOOLS = (
    ("no.tool", {}, 404, "TOOL_UNKNOWN", True),
    ("mcp.http", {"method": "GET", "url": "https://example.com/"}, 403, "TOOL_NOT_ALLOWED", True),
    ("data.table", {}, 400, "TOOL_ARGUMENTS_INVALID", False),
    ("data.table", {"ref": "../../etc/passwd"}, 400, "TOOL_ARGUMENTS_INVALID", False),
    ("data.table", {"ref": "sha256:" + "0" * 64}, 404, "RESOURCE_NOT_FOUND", True),
    ("data.table", {"ref": "sha256:" + "0" * 64, "queries": [{"name": "a\0b"}]}, 400, "FIELD_INVALID", False),
    ("data.table", {"ref": DEEP}, 400, "FIELD_INVALID", False),
    ("artifact.read", {"artifact_id": "artf-../../x"}, 400, "TOOL_ARGUMENTS_INVALID", False),
)


@pytest.mark.parametrize(("tool", "arguments", "status", "reason", "told"), TOOLS)
def test_a_tool_call_that_may_not_be_made_is_refused(
    app: App, tool: str, arguments: dict[str, Any], status: int, reason: str, told: bool
) -> None:
    before = written(app)
    answer = app.client.post(f"/v1/tools/{tool}:invoke", json={**app.scope, "arguments": arguments})
    refused(answer, status, reason)
    added = [line.partition(" ")[2] for line in set(written(app)) - set(before)]
    # What was denied, or failed, is told in the history, and nothing else happened.
    assert added in ([], ["ToolDenied"], ["ToolInvoked"]) if told else added == []


def test_a_request_id_stands_for_one_content(app: App) -> None:
    again = app.create(request_id="first")
    assert again["plan_id"] == app.create(request_id="first")["plan_id"]
    with nothing_written(app):
        other = {**app.scope, "objective": "Describe nuestro público objetivo", "request_id": "first"}
        refused(app.client.post(CREATE, json=other), 409, "REQUEST_ID_REUSED")


def test_a_plan_runs_once(edge: Edge) -> None:
    app = edge.example("medluxe")
    plan_id = app.create()["plan_id"]
    path = f"/v1/plans/{plan_id}:run"
    first = app.post(path, request_id="run-1")
    assert app.post(path, request_id="run-1")["plan_id"] == first["plan_id"]
    refused(app.client.post(path, json={**app.scope, "request_id": "run-2"}), 400, "PLAN_STATE_CONFLICT")
    refused(app.client.post(path, json=app.scope), 400, "PLAN_STATE_CONFLICT")
    app.finish(plan_id)
    assert [e["type"] for e in app.events(plan_id)].count("PlanStarted") == 1
    with nothing_written(app):
        refused(app.client.post(f"/v1/plans/{plan_id}:cancel", json=app.scope), 400, "PLAN_STATE_CONFLICT")
        answer = app.client.get(f"/v1/plans/{plan_id}/tasks", params={**app.scope, "page_token": "T-x"})
        refused(answer, 400, "FIELD_INVALID")


def test_a_last_event_id_that_is_no_number_is_refused(app: App) -> None:
    for given in ("x", "-1", "9" * 30):
        answer = app.client.get("/v1/events:stream", params=app.scope, headers={"last-event-id": given})
        assert answer.status_code == 400
        assert answer.json()["details"][0]["reason"] in ("FIELD_INVALID", "CURSOR_OUT_OF_RANGE")
