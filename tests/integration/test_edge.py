"""The edge as clients meet it: a real Envoy, the generated configuration, mTLS to services with the real door."""

import asyncio
import base64
import json
import stat
import struct
import time

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio
from google.api import httpbody_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas.notifier.v1 import notifier_pb2, notifier_pb2_grpc
from haas.orchestrator.v1 import artifacts_pb2, artifacts_pb2_grpc
from haas.planner.v1 import planner_pb2, planner_pb2_grpc
from haas_common import errors, pki
from haas_common.auth import Issuer
from haas_common.config import SERVICES
from haas_gateway.envoy import write_jwks
from tests.support.edge import Edge, envoy_binary
from tests.support.mesh import bearer

pytestmark = pytest.mark.asyncio(loop_scope="module")
OWN = "tenant_id=t-one&project_id=p-one"
IDS = {"tenant_id": "t-one", "project_id": "p-one"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def edge(tmp_path_factory):
    made = Edge(tmp_path_factory.mktemp("edge"))
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def user(edge):
    """A member of t-one over REST."""
    async with edge.rest(edge.mesh.token()) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def channel(edge):
    async with edge.grpc() as made:
        yield made


def refused(answer: httpx.Response, status: int, reason: str) -> dict:
    """The answer is a google.rpc.Status in JSON with this reason; returns the ErrorInfo's metadata."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    info = body["details"][0]
    assert (answer.status_code, info["reason"], info["domain"]) == (status, reason, "haas"), answer.text
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert body["message"]
    assert body["code"] == errors.BY_REASON[reason].code.value[0]
    return info["metadata"]


async def reason_of(call) -> str:
    """The reason that a native call fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return errors.from_rpc(caught.value).reason


def expired(edge: Edge) -> str:
    issuer = Issuer(edge.mesh.secrets / "gateway" / "token.pem", "gw", now=lambda: time.time() - 2000)
    return issuer.issue(subject="ana", tenant_id="t-one", projects=["p-one"], roles=["member"]).token


async def test_envoy_accepts_the_generated_configuration(edge):
    process = await asyncio.create_subprocess_exec(
        envoy_binary(), "--mode", "validate", "-c", "envoy/envoy.yaml", cwd=edge.home,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_admin_is_a_socket_that_only_its_owner_opens(edge):
    mode = (edge.home / "envoy" / "admin.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_rest_and_grpc_reach_the_same_method_with_the_callers_token(edge, user, channel):
    assert (await user.get(f"/v1/tools?{OWN}")).json()["tools"][0]["name"] == "ana"
    answer = await mcp_pb2_grpc.ToolsStub(channel).ListTools(
        mcp_pb2.ListToolsRequest(**IDS), metadata=bearer(edge.mesh.token())
    )
    assert answer.tools[0].name == "ana"


async def test_grpc_web_reaches_the_same_method(edge, user):
    message = mcp_pb2.ListToolsRequest(**IDS).SerializeToString()
    frame = b"\0" + struct.pack(">I", len(message)) + message
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    answer = await user.post("/haas.mcp.v1.Tools/ListTools", content=frame, headers=headers)
    size = struct.unpack(">I", answer.content[1:5])[0]
    assert mcp_pb2.ListToolsResponse.FromString(answer.content[5 : 5 + size]).tools[0].name == "ana"
    assert b"grpc-status:0" in answer.content[5 + size :]
    frame = frame.replace(b"t-one", b"t-two")
    refusal = await user.post("/haas.mcp.v1.Tools/ListTools", content=frame, headers=headers)
    assert refusal.headers["grpc-status"] == "7"


async def test_identity_headers_from_outside_never_reach_a_service(edge, user):
    forged = {
        "x-haas-tenant": "t-two",
        "x-jwt-tenant": "t-two",
        "x-envoy-retry-on": "5xx",
        "cookie": "token=x",
        "x-kept": "1",
    }
    await user.get(f"/v1/tools?{OWN}", headers=forged)
    assert {name: edge.tools.headers.get(name) for name in forged} == {**dict.fromkeys(forged), "x-kept": "1"}


async def test_an_error_of_a_service_keeps_its_reason_over_rest(user):
    answer = await user.post("/v1/tools/missing:invoke", json=IDS)
    assert refused(answer, 404, "TOOL_UNKNOWN") == {"tool": "missing"}


async def test_tokens_that_do_not_hold_are_refused_with_their_own_reason(edge, channel):
    good = edge.mesh.token()
    header, payload, signature = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    claims = {"tenant_id": "t-one", "projects": ["p-one"], "scopes": ["tools.read"]}
    internal = edge.mesh.planner.issue(subject="p", roles=[], **claims).token
    cases = [
        ("", "TOKEN_MISSING"),
        ("x", "TOKEN_INVALID"),
        (f"{header}.{payload}.{signature[:-6]}AAAAAA", "TOKEN_INVALID"),
        (f"{none}.{payload}.", "TOKEN_INVALID"),
        (internal, "TOKEN_INVALID"),
        (expired(edge), "TOKEN_EXPIRED"),
    ]
    stub = mcp_pb2_grpc.ToolsStub(channel)
    before = edge.tools.calls
    async with edge.rest() as client:
        for token, reason in cases:
            headers = {"authorization": f"Bearer {token}"} if token else {}
            refused(await client.get(f"/v1/tools?{OWN}", headers=headers), 401, reason)
            request = mcp_pb2.ListToolsRequest(**IDS)
            assert await reason_of(stub.ListTools(request, metadata=tuple(headers.items()))) == reason
    assert edge.tools.calls == before


async def test_another_tenant_is_refused_in_every_form_that_a_request_can_take(edge, user, channel):
    before = edge.tools.calls
    post = "/v1/tools/data.table:invoke"
    forms = {
        "query": await user.get("/v1/tools?tenant_id=t-two&project_id=p-one"),
        "camel-case query": await user.get("/v1/tools?tenantId=t-two&projectId=p-one"),
        "twice in the query": await user.get(f"/v1/tools?{OWN}&tenant_id=t-two"),
        "body": await user.post(post, json={**IDS, "tenant_id": "t-two"}),
        "camel-case body": await user.post(post, json={"tenantId": "t-two", "projectId": "p-one"}),
        "duplicate key": await user.post(
            post, content='{"tenant_id":"t-one","tenant_id":"t-two","project_id":"p-one"}'
        ),
        "both spellings": await user.post(
            post, content='{"tenant_id":"t-one","tenantId":"t-two","project_id":"p-one"}'
        ),
        "sse": await user.get("/v1/events:stream?tenant_id=t-two&project_id=p-one"),
        "upload": await user.put("/v1/inputs?tenant_id=t-two&project_id=p-one", content=b"a,b"),
    }
    for form, answer in forms.items():
        assert answer.status_code == 403, (form, answer.text)
        refused(answer, 403, "TENANT_MISMATCH")
    refused(await user.get("/v1/tools?tenant_id=t-one&project_id=p-two"), 403, "PROJECT_NOT_GRANTED")
    metadata, foreign = bearer(edge.mesh.token()), {"tenant_id": "t-two", "project_id": "p-one"}
    unary = mcp_pb2_grpc.ToolsStub(channel).ListTools(mcp_pb2.ListToolsRequest(**foreign), metadata=metadata)
    assert await reason_of(unary) == "TENANT_MISMATCH"
    stream = notifier_pb2_grpc.NotifierStub(channel).StreamEvents(
        notifier_pb2.StreamEventsRequest(**foreign), metadata=metadata
    )
    assert await reason_of(stream.read()) == "TENANT_MISMATCH"
    assert edge.tools.calls == before


async def test_a_request_without_a_tenant_is_told_what_is_missing(user):
    refused(await user.get("/v1/tools?project_id=p-one"), 400, "TENANT_REQUIRED")
    refused(await user.get("/v1/tools?tenant_id=t-one"), 400, "PROJECT_REQUIRED")


async def test_the_operators_token_opens_operator_methods_and_nothing_else(edge, user):
    async with edge.rest(edge.mesh.gateway.issue_operator("root").token) as operator:
        tenants = await operator.get("/v1/tenants?tenant_id=*&project_id=*")
        assert tenants.json()["tenants"][0]["tenant_id"] == "t-one"
        refused(await operator.get(f"/v1/tools?{OWN}"), 403, "TENANT_MISMATCH")
    refused(await user.get("/v1/tenants?tenant_id=*&project_id=*"), 403, "TENANT_MISMATCH")


async def test_public_methods_need_no_token(edge):
    async with edge.rest() as client:
        assert (await client.get("/.well-known/jwks.json")).json() == {"keys": []}
        assert (await client.get("/docs")).headers["content-type"] == "text/html"


@pytest.mark.parametrize(
    ("verb", "path", "content", "status", "reason"),
    [
        ("GET", "/v1/nothing", None, 404, "METHOD_UNKNOWN"),
        ("GET", "/nothing", None, 404, "METHOD_UNKNOWN"),
        ("DELETE", "/v1/tools", None, 404, "METHOD_UNKNOWN"),
        ("POST", "/haas.mcp.v1.Tools/ListTools", b"{}", 404, "METHOD_UNKNOWN"),
        ("GET", f"/v1/tools?{OWN}&colour=red", None, 400, "FIELD_INVALID"),
        ("POST", "/v1/tools/x:invoke", b'{"tenant_id":', 400, "FIELD_INVALID"),
        ("POST", "/v1/tools/x:invoke", b'{"tenant_id":5}', 400, "FIELD_INVALID"),
        (
            "POST",
            "/v1/tools/x:invoke",
            b'{"tenant_id":"t-one","project_id":"p-one","arguments":' + b'{"a":' * 70 + b"1" + b"}" * 71,
            400,
            "FIELD_INVALID",
        ),
        ("POST", "/v1/tools/x:invoke", b'{"tenant_id":"\xff\xfe","project_id":"p-one"}', 400, "FIELD_INVALID"),
        ("GET", "/v1/tools%2f?tenant_id=t-one", None, 400, "FIELD_INVALID"),
    ],
    ids=["path", "root", "verb", "grpc path as json", "query", "json", "type", "depth", "utf-8", "escaped slash"],
)
async def test_bad_input_is_a_4xx_with_a_reason(user, verb, path, content, status, reason):
    refused(await user.request(verb, path, content=content), status, reason)


async def test_a_body_of_10_mib_is_refused_with_a_reason_whatever_its_framing(user):
    async def chunked():
        for _ in range(160):
            yield b"x" * 65536

    whole = await user.post("/v1/tools/x:invoke", content=b"x" * 10 * 1024 * 1024)
    assert refused(whole, 413, "PAYLOAD_TOO_LARGE")["bytes_max"] == str(1024 * 1024)
    refused(await user.post("/v1/tools/x:invoke", content=chunked()), 413, "PAYLOAD_TOO_LARGE")


async def test_a_file_of_8_mib_goes_up_over_rest_and_grpc(edge, user, channel):
    size = 8 * 1024 * 1024
    sent = await user.put(f"/v1/inputs?{OWN}&name=a.csv", content=b"x" * size, headers={"content-type": "text/csv"})
    assert (sent.json()["size_bytes"], sent.json()["columns"]) == (str(size), ["a.csv", "text/csv"])

    async def parts():
        for _ in range(8):
            yield artifacts_pb2.UploadInputRequest(**IDS, file=httpbody_pb2.HttpBody(data=b"x" * (size // 8)))

    stub = artifacts_pb2_grpc.ArtifactsStub(channel)
    assert (await stub.UploadInput(parts(), metadata=bearer(edge.mesh.token()))).size_bytes == size


async def test_server_sent_events_arrive_one_by_one_and_last_event_id_reaches_the_handler(edge, user):
    async with user.stream("GET", f"/v1/events:stream?{OWN}", headers={"last-event-id": "41"}) as answer:
        chunks = answer.aiter_bytes()
        assert answer.headers["content-type"] == "text/event-stream"
        assert await anext(chunks) == b"id: 1\nevent: PlanStarted\ndata: {}\n\n"
        edge.notifier.go_on.set()
        assert await anext(chunks) == b"id: 2\nevent: end\ndata: {}\n\n"
    assert edge.notifier.last_event_id == "41"


async def test_the_edge_hands_on_the_methods_deadline_and_cuts_a_longer_one(edge, user, channel):
    left = (await user.post("/v1/tools/data.table:invoke", json=IDS)).json()["result"]["left_s"]
    assert 55 < left <= 60
    stub = mcp_pb2_grpc.ToolsStub(channel)
    request = mcp_pb2.InvokeToolRequest(**IDS, tool="data.table")
    answer = await stub.InvokeTool(request, metadata=bearer(edge.mesh.token()), timeout=9999)
    assert 55 < answer.result["left_s"] <= 60
    waited = await user.post("/v1/tools/wait:invoke", json=IDS, headers={"grpc-timeout": "300m"})
    refused(waited, 504, "DEADLINE_PASSED")


async def test_a_service_that_is_gone_is_unavailable_with_a_reason(edge, channel):
    stub = planner_pb2_grpc.PlannerStub(channel)
    call = stub.CommandPlan(planner_pb2.CommandPlanRequest(**IDS), metadata=bearer(edge.mesh.token()))
    assert await reason_of(call) == "SERVICE_UNAVAILABLE"


async def test_health_and_reflection_answer_at_the_edge(channel):
    health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING

    async def asked():
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(asked())
    assert "haas.gateway.v1.Identity" in {s.name for s in (await call.read()).list_services_response.service}


async def test_only_known_origins_may_call_from_a_page(user):
    ask = {"access-control-request-method": "GET", "origin": "https://console.example"}
    known = await user.options("/v1/tools", headers=ask)
    unknown = await user.options("/v1/tools", headers={**ask, "origin": "https://evil.example"})
    assert known.headers["access-control-allow-origin"] == "https://console.example"
    assert "access-control-allow-origin" not in unknown.headers


async def test_a_rotated_key_is_taken_without_a_failed_call(edge):
    old = edge.mesh.token()
    before = json.loads((edge.mesh.secrets / "edge" / "jwks.json").read_text())
    pki.rotate_token_key(edge.mesh.secrets, "gateway", SERVICES, before_use=lambda: write_jwks(edge.settings))
    new = edge.mesh.token()
    assert before != json.loads((edge.mesh.secrets / "edge" / "jwks.json").read_text())
    async with edge.rest() as client, asyncio.timeout(5):
        for token in (new, old):
            headers = {"authorization": f"Bearer {token}"}
            # Envoy hears of the file from the kernel; the first answer after that is the one that counts.
            while (answer := await client.get(f"/v1/tools?{OWN}", headers=headers)).status_code == 401:
                continue
            assert answer.status_code == 200


async def test_the_access_log_says_who_and_what_and_never_a_token(edge, user):
    answer = await user.get(f"/v1/tools?{OWN}")
    request_id = answer.headers["x-request-id"]
    async with asyncio.timeout(5):
        while request_id not in edge.access_log():  # noqa: ASYNC110 - another process writes the file
            await asyncio.sleep(0)
    lines = [json.loads(line) for line in edge.access_log().splitlines()]
    line = next(found for found in lines if found["request_id"] == request_id)
    assert (line["tenant_id"], line["project_id"], line["rpc"]) == ("t-one", ["p-one"], "/haas.mcp.v1.Tools/ListTools")
    assert line["msg"] == "GET /v1/tools"
    assert "eyJ" not in edge.access_log()
