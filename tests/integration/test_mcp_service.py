"""The MCP service over mTLS with a real database, Valkey and sandbox: policy, idempotency, events, the tools."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import psycopg
import pytest
from google.protobuf import struct_pb2

from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas_common import errors, structs
from haas_common.blobs import BlobStore
from haas_common.db import Scope
from haas_common.server import started
from haas_common.sockets import short_url
from haas_mcp import server
from haas_mcp.domain import Grant
from haas_mcp.sandbox import Sandbox
from tests.support.mesh import Mesh, bearer

SCOPE = Scope("t-one", "p-one")
PROFILE = """
profile_id: one_v1
policies:
  tools_allowed: [data.table, artifact.read, artifact.write, mcp.http, mcp.notion]
  rate_limits:
    mcp.http: {rpm: 3}
http_hosts: ["HOST"]
"""


class WebApi:
    """A local HTTP server that remembers what it was sent."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.answer = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: s=1\r\n\r\n{"ok":true}'
        self.hold: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.host = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head.decode())
        self.entered.set()
        if self.hold is not None:
            await self.hold.wait()
        with contextlib.suppress(ConnectionError):
            writer.write(self.answer)
            await writer.drain()
        writer.close()


class World:
    """A running service and ways to call it."""

    def __init__(
        self, mesh: Mesh, port: int, admin_dsn: str, web: WebApi, invocations_of: server.ToolsServicer
    ) -> None:
        self.mesh = mesh
        self.admin_dsn = admin_dsn
        self.web = web
        self.servicer = invocations_of
        self.blobs = BlobStore(mesh.home / "store")
        self.channel = mesh.channel("planner", "mcp", port)
        self.stub = mcp_pb2_grpc.ToolsStub(self.channel)

    async def invoke(self, tool: str, arguments: dict, token: str | None = None, limit_s: float = 30, **fields: str):
        request = mcp_pb2.InvokeToolRequest(tenant_id="t-one", project_id="p-one", tool=tool, **fields)
        request.arguments.update(arguments)
        return await self.stub.InvokeTool(request, metadata=bearer(token or self.mesh.token()), timeout=limit_s)

    async def result(self, tool: str, arguments: dict, **fields: str) -> dict:
        return structs.read_struct((await self.invoke(tool, arguments, **fields)).result)

    def internal(self, **bound: str) -> str:
        scopes = ["tools.invoke", "artifacts.read", "artifacts.write"]
        return self.mesh.planner.issue(
            subject="specialist.one", tenant_id="t-one", projects=["p-one"], scopes=scopes, **bound
        ).token

    def put_profile(self, yaml: str) -> None:
        digest = hashlib.sha256(yaml.encode()).hexdigest()
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            connection.execute("INSERT INTO haas.tenants (tenant_id) VALUES ('t-one') ON CONFLICT DO NOTHING")
            connection.execute(
                "INSERT INTO haas.projects (tenant_id, project_id) VALUES ('t-one', 'p-one') ON CONFLICT DO NOTHING"
            )
            connection.execute(
                "INSERT INTO haas.profiles (tenant_id, project_id, profile_id, version, yaml, hash)"
                " SELECT 't-one', 'p-one', 'one_v1', 1 + count(*), %s, %s FROM haas.profiles",
                (yaml, digest),
            )

    def events(self) -> list[dict]:
        with psycopg.connect(self.admin_dsn) as connection:
            rows = connection.execute(
                "SELECT event_type, stream, plan_id, task_id, actor, payload FROM haas.events ORDER BY seq"
            ).fetchall()
        return [
            dict(zip(("type", "stream", "plan_id", "task_id", "actor", "payload"), row, strict=True)) for row in rows
        ]

    def requests(self) -> list[tuple]:
        with psycopg.connect(self.admin_dsn) as connection:
            return connection.execute("SELECT request_id, result FROM haas.requests ORDER BY 1").fetchall()


@pytest.fixture
async def web() -> AsyncIterator[WebApi]:
    made = WebApi()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.host = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield made
    listening.close()


@pytest.fixture
async def world(tmp_path: Path, database, valkey_url: str, web: WebApi) -> AsyncIterator[World]:
    mesh = Mesh(tmp_path)
    config = mesh.config("mcp")
    (config.secrets_dir / "database.url").write_text(database.app_dsn)
    (config.secrets_dir / "context.key").write_text(database.context_key.hex())
    (config.secrets_dir / "valkey.url").write_text(valkey_url)
    async with contextlib.AsyncExitStack() as stack:
        servicer = await stack.enter_async_context(server.built(config, await Sandbox.open()))
        running = await started(
            config,
            lambda grpc_server: mcp_pb2_grpc.add_ToolsServicer_to_server(servicer, grpc_server),
            [server.SERVICE],
        )
        made = World(mesh, running.port, short_url(database.admin_dsn), web, servicer)
        made.put_profile(PROFILE.replace("HOST", web.host))
        yield made
        await made.channel.close()
        await running.stop(linger_s=0, grace_s=0)


@contextlib.contextmanager
def refused(reason: str) -> Iterator[list[errors.HaasError]]:
    found: list[errors.HaasError] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield found
    found.append(errors.from_rpc(caught.value))
    assert found[0].reason == reason, (found[0].message, found[0].metadata)


SALES = b"month,spend,lead\nmay,10.10,yes\nmay,0.20,no\njun,5,yes\n"
BY_MONTH = {
    "name": "by_month",
    "group_by": ["month"],
    "aggregates": [{"name": "rows", "op": "count"}, {"name": "spend", "op": "sum", "column": "spend"}],
}


async def test_a_profile_lists_exactly_the_tools_that_it_allows_and_that_exist(world: World) -> None:
    request = mcp_pb2.ListToolsRequest(tenant_id="t-one", project_id="p-one")
    tools = (await world.stub.ListTools(request, metadata=bearer(world.mesh.token("viewer")))).tools
    assert [(tool.name, tool.rpm) for tool in tools] == [
        ("artifact.read", 0),
        ("artifact.write", 0),
        ("data.table", 0),
        ("mcp.http", 3),
    ]
    assert all(json.loads(tool.input_schema_json)["type"] == "object" for tool in tools)


async def test_a_table_is_aggregated_and_the_call_is_an_event_without_its_arguments(world: World) -> None:
    ref = world.blobs.put(SCOPE, SALES)
    token = world.internal(plan_id="pl-1", task_id="T-1", profile_id="one_v1")
    answer = await world.invoke("data.table", {"ref": ref, "queries": [BY_MONTH]}, token)
    result = structs.read_struct(answer.result)
    assert result["results"]["by_month"] == [
        {"month": "jun", "rows": 1, "spend": 5},
        {"month": "may", "rows": 2, "spend": 10.3},
    ]
    [event] = world.events()
    assert (event["type"], event["stream"], event["plan_id"], event["actor"]) == (
        "ToolInvoked",
        "tool/pl-1/T-1",
        "pl-1",
        "specialist.one",
    )
    payload = event["payload"]
    assert payload["outcome"] == "OK"
    assert payload["profile_version"] == 1
    assert len(payload["arguments_sha256"]) == 64
    assert "by_month" not in json.dumps(payload)


async def test_broken_rows_refuse_a_table_with_their_numbers_unless_lenient(world: World) -> None:
    ref = world.blobs.put(SCOPE, SALES + b"jul\n")
    with refused("TABLE_ROWS_BROKEN") as found:
        await world.invoke("data.table", {"ref": ref})
    assert found[0].metadata["rows"] == "5"
    assert (await world.result("data.table", {"ref": ref, "lenient": True}))["broken_rows"] == 1


async def test_a_query_that_the_table_cannot_answer_names_its_place(world: World) -> None:
    ref = world.blobs.put(SCOPE, SALES)
    query = {"name": "q", "aggregates": [{"name": "s", "op": "sum", "column": "cost"}]}
    with refused("TOOL_ARGUMENTS_INVALID") as found:
        await world.invoke("data.table", {"ref": ref, "queries": [query]})
    assert found[0].metadata["field"] == "queries[0].aggregates[0].column"


async def test_an_input_of_another_project_is_not_found(world: World) -> None:
    ref = world.blobs.put(Scope("t-two", "p-one"), SALES)
    with refused("RESOURCE_NOT_FOUND"):
        await world.invoke("data.table", {"ref": ref})


@pytest.mark.parametrize(
    ("tool", "arguments", "field", "rule"),
    [
        ("data.table", {}, "arguments", "required"),
        ("data.table", {"ref": "sha256:x"}, "ref", "pattern"),
        ("data.table", {"ref": 7}, "ref", "type"),
        ("data.table", {"ref": "sha256:" + "0" * 64, "eval": "1"}, "arguments", "additionalProperties"),
        ("artifact.read", {"artifact_id": "../../etc/passwd"}, "artifact_id", "pattern"),
        ("artifact.write", {"artifact_id": "artf-1", "path": "../x", "type": "doc", "body": "x"}, "path", "pattern"),
        ("artifact.write", {"artifact_id": "artf-1", "path": "a/../x", "type": "doc", "body": "x"}, "path", "pattern"),
        ("artifact.write", {"artifact_id": "artf-1", "path": "/x", "type": "doc", "body": "x"}, "path", "pattern"),
        ("mcp.http", {"method": "TRACE", "url": "http://x"}, "method", "enum"),
        (
            "mcp.http",
            {"method": "GET", "url": "http://h/", "headers": {"x-a": "1\r\nHost: b"}},
            "headers.x-a",
            "pattern",
        ),
    ],
)
async def test_arguments_outside_the_schema_are_refused_by_field_and_rule(
    world: World, tool: str, arguments: dict, field: str, rule: str
) -> None:
    with refused("TOOL_ARGUMENTS_INVALID") as found:
        await world.invoke(tool, arguments)
    assert (found[0].metadata["field"], found[0].metadata["rule"]) == (field, rule)
    assert world.requests() == []


async def test_arguments_nested_too_deep_or_not_finite_are_refused(world: World) -> None:
    deep: dict = {}
    for _ in range(20):
        deep = {"a": deep}
    with refused("TOOL_ARGUMENTS_INVALID") as found:
        await world.invoke("data.table", deep)
    assert found[0].metadata["rule"] == "depth_max"
    with refused("TOOL_ARGUMENTS_INVALID") as found:
        await world.invoke("data.table", {"ref": float("inf")})
    assert found[0].metadata["rule"] == "json"


@pytest.mark.parametrize(
    ("tool", "reason"), [("mcp.drive", "TOOL_UNKNOWN"), ("mcp.notion", "TOOL_UNKNOWN"), ("x", "TOOL_UNKNOWN")]
)
async def test_an_unknown_tool_is_denied_and_recorded(world: World, tool: str, reason: str) -> None:
    with refused(reason):
        await world.invoke(tool, {})
    [event] = world.events()
    assert (event["type"], event["payload"]["reason"], event["payload"]["tool"]) == ("ToolDenied", reason, tool)


async def test_a_tool_that_the_profile_does_not_allow_is_denied_and_recorded(world: World) -> None:
    world.put_profile("profile_id: one_v1\npolicies: {tools_allowed: [data.tabl, data]}\n")
    with refused("TOOL_NOT_ALLOWED") as found:
        await world.invoke("data.table", {"ref": world.blobs.put(SCOPE, SALES)})
    assert found[0].metadata["profile"] == "one_v1"
    assert [event["type"] for event in world.events()] == ["ToolDenied"]


async def test_a_token_without_the_tools_scope_is_denied_and_recorded(world: World) -> None:
    token = world.mesh.planner.issue(
        subject="s", tenant_id="t-one", projects=["p-one"], scopes=["tools.invoke"], plan_id="pl-1", task_id="T-1"
    ).token
    with refused("SCOPE_MISSING") as found:
        await world.invoke("artifact.read", {"artifact_id": "artf-1"}, token)
    assert found[0].metadata["scope"] == "artifacts.read"
    assert [event["type"] for event in world.events()] == ["ToolDenied"]


@pytest.mark.parametrize("other", [{"plan_id": "pl-2"}, {"task_id": "T-2"}, {"profile_id": "other"}])
async def test_an_internal_token_opens_its_own_plan_and_task_only(world: World, other: dict) -> None:
    token = world.internal(plan_id="pl-1", task_id="T-1", profile_id="one_v1")
    with refused("TOOL_NOT_ALLOWED"):
        await world.invoke("data.table", {"ref": world.blobs.put(SCOPE, SALES)}, token, **other)


async def test_the_same_request_gives_the_same_result_and_runs_nothing(world: World) -> None:
    call = {"method": "POST", "url": f"http://{world.web.host}/x", "body": "1"}
    first = await world.invoke("mcp.http", call, request_id="rq-1")
    second = await world.invoke("mcp.http", call, request_id="rq-1")
    assert (first.replayed, second.replayed) == (False, True)
    assert second.result == first.result
    assert len(world.web.requests) == 1
    assert len(world.events()) == 1


async def test_a_request_id_with_other_arguments_is_refused(world: World) -> None:
    await world.invoke("data.table", {"ref": world.blobs.put(SCOPE, SALES)}, request_id="rq-1")
    with refused("REQUEST_ID_REUSED"):
        await world.invoke("data.table", {"ref": world.blobs.put(SCOPE, SALES), "lenient": True}, request_id="rq-1")


async def test_concurrent_duplicates_run_the_tool_once(world: World) -> None:
    world.web.hold = asyncio.Event()
    call = {"method": "POST", "url": f"http://{world.web.host}/x"}
    running = [asyncio.create_task(world.invoke("mcp.http", call, request_id="rq-1")) for _ in range(3)]
    await world.web.entered.wait()
    world.web.hold.set()
    answers = await asyncio.gather(*running)
    assert sorted(answer.replayed for answer in answers) == [False, True, True]
    assert len(world.web.requests) == 1


async def test_a_claim_that_a_dead_process_left_is_taken_over_after_its_lease(world: World) -> None:
    await world.invoke("data.table", {"ref": world.blobs.put(SCOPE, SALES)}, request_id="rq-1")
    with psycopg.connect(world.admin_dsn, autocommit=True) as connection:
        connection.execute(
            "UPDATE haas.requests SET result = NULL, claim_token = 'dead',"
            " claimed_until = clock_timestamp() - interval '1 s'"
        )
    answer = await world.invoke("data.table", {"ref": world.blobs.put(SCOPE, SALES)}, request_id="rq-1")
    assert not answer.replayed
    assert world.requests()[0][1] is not None


def left_behind(world: World, claim_token: str) -> None:
    """Makes the one request look as if its runner had died in the middle."""
    with psycopg.connect(world.admin_dsn, autocommit=True) as connection:
        connection.execute(
            "UPDATE haas.requests SET result = NULL, claim_token = %s,"
            " claimed_until = clock_timestamp() + interval '1 hour'",
            (claim_token,),
        )


async def test_a_restarted_instance_takes_over_at_once_what_its_dead_process_left(world: World) -> None:
    arguments = {"ref": world.blobs.put(SCOPE, SALES)}
    await world.invoke("data.table", arguments, request_id="rq-1")
    # The instance of this world has an empty name; another process of it claimed.
    left_behind(world, " 0123456789abcdef 1")
    assert not (await world.invoke("data.table", arguments, request_id="rq-1")).replayed


async def test_a_tool_that_must_not_run_twice_waits_the_dead_process_s_lease_out(world: World) -> None:
    call = {"method": "POST", "url": f"http://{world.web.host}/x"}
    await world.invoke("mcp.http", call, request_id="rq-1")
    left_behind(world, " 0123456789abcdef 1")
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await world.invoke("mcp.http", call, request_id="rq-1", limit_s=0.5)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(world.web.requests) == 1


async def test_a_failed_call_gives_its_claim_back_and_may_be_tried_again(world: World) -> None:
    good, world.web.answer = world.web.answer, b"garbage\r\n\r\n"
    call = {"method": "GET", "url": f"http://{world.web.host}/"}
    with refused("TOOL_FAILED") as found:
        await world.invoke("mcp.http", call, request_id="rq-1")
    assert found[0].metadata["cause"] == "protocol"
    assert world.requests() == []
    assert world.events()[0]["payload"]["outcome"] == "TOOL_FAILED"
    world.web.answer = good
    assert (await world.result("mcp.http", call, request_id="rq-1"))["status"] == 200


async def test_a_caller_that_leaves_frees_its_claim_and_is_recorded(world: World) -> None:
    world.web.hold = asyncio.Event()
    call = {"method": "GET", "url": f"http://{world.web.host}/"}
    running = asyncio.create_task(world.invoke("mcp.http", call, request_id="rq-1"))
    await world.web.entered.wait()
    ended = world.servicer._invocations._under_way[SCOPE, "rq-1"]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    # The host answers only after the service has noticed: an answer before would be a call that ended well.
    await ended.wait()
    world.web.hold.set()
    answer = await world.invoke("mcp.http", call, request_id="rq-1")
    assert not answer.replayed
    assert [event["payload"]["outcome"] for event in world.events()] == ["CALL_CANCELLED", "OK"]


async def test_a_result_above_32_kib_is_kept_by_hash_and_replayed_from_there(world: World) -> None:
    world.web.answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000
    call = {"method": "GET", "url": f"http://{world.web.host}/"}
    first = await world.result("mcp.http", call, request_id="rq-1")
    assert (len(first["body"]), first["truncated"]) == (256 * 1024, True)
    assert list(world.requests()[0][1]) == ["duration_ms", "ref"]
    assert await world.result("mcp.http", call, request_id="rq-1") == first


async def test_calls_above_the_profiles_rate_are_denied_and_recorded_once(world: World) -> None:
    call = {"method": "GET", "url": f"http://{world.web.host}/"}
    for _ in range(3):
        await world.invoke("mcp.http", call)
    for _ in range(3):
        with refused("RATE_LIMITED") as found:
            await world.invoke("mcp.http", call)
    assert float(found[0].metadata["retry_after_s"]) > 0
    assert [event["type"] for event in world.events()] == ["ToolInvoked"] * 3 + ["ToolDenied"]
    assert len(world.web.requests) == 3


async def test_a_host_outside_the_profile_is_denied_and_recorded_without_a_connection(world: World) -> None:
    with refused("EGRESS_DENIED") as found:
        await world.invoke("mcp.http", {"method": "GET", "url": "http://127.0.0.1:1/?key=secret"})
    assert found[0].metadata == {"host": "127.0.0.1"}
    assert world.events()[0]["type"] == "ToolDenied"
    assert "secret" not in json.dumps(world.events())
    assert world.requests() == []


async def test_http_follows_no_redirect_and_hides_cookies(world: World) -> None:
    world.web.answer = (
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    )
    result = await world.result("mcp.http", {"method": "GET", "url": f"http://{world.web.host}/a?b=c"})
    assert result["status"] == 302
    assert "set-cookie" not in result["headers"]
    [sent] = world.web.requests
    assert sent.startswith("GET /a?b=c HTTP/1.1\r\n")
    assert f"host: {world.web.host}" in sent.lower()
    assert "idempotency-key: rq-" in sent.lower()


async def test_a_compressed_answer_is_refused(world: World) -> None:
    world.web.answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nxx"
    with refused("TOOL_FAILED") as found:
        await world.invoke("mcp.http", {"method": "GET", "url": f"http://{world.web.host}/"})
    assert found[0].metadata["cause"] == "encoding"


async def test_an_artifact_is_written_once_per_request_and_read_back(world: World) -> None:
    body = {"artifact_id": "artf-note", "path": "note.md", "type": "doc.note", "body": "# Título\n\nHola."}
    first = await world.result("artifact.write", body, request_id="rq-1")
    again = await world.result("artifact.write", body, request_id="rq-1")
    assert again == first
    assert first["version"] == 1
    assert (await world.result("artifact.write", body, request_id="rq-2"))["version"] == 2
    read = await world.result("artifact.read", {"artifact_id": "artf-note"})
    assert read["version"] == 2
    assert "Hola." in read["content"]
    by_ref = await world.result("artifact.read", {"ref": first["ref"]})
    assert "version: 1" in by_ref["content"]
    types = [event["type"] for event in world.events()]
    assert types == ["ArtifactProduced", "ToolInvoked", "ArtifactUpdated", "ToolInvoked", "ToolInvoked", "ToolInvoked"]


async def test_an_artifact_of_another_plan_is_not_overwritten(world: World) -> None:
    body = {"artifact_id": "artf-note", "path": "note.md", "type": "doc.note", "body": "x"}
    await world.invoke("artifact.write", body, world.internal(plan_id="pl-1", task_id="T-1"))
    with refused("TOOL_NOT_ALLOWED"):
        await world.invoke("artifact.write", body, world.internal(plan_id="pl-2", task_id="T-1"))
    assert (await world.result("artifact.read", {"artifact_id": "artf-note"}))["version"] == 1


async def test_a_tenant_has_a_bound_on_calls_under_way(world: World) -> None:
    slots = world.servicer._parts.slots
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(slots.taken("t-one"))
        with refused("OVERLOADED"):
            await world.invoke("data.table", {"ref": world.blobs.put(SCOPE, SALES)})
    await world.invoke("data.table", {"ref": world.blobs.put(SCOPE, SALES)})


async def test_a_result_outside_the_schema_never_leaves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(grant: Grant, arguments: dict) -> dict:
        return {"rows": "many"}

    monkeypatch.setattr(world.servicer._parts.runners["data.table"], "run", wrong)
    with refused("INTERNAL_ERROR"):
        await world.invoke("data.table", {"ref": world.blobs.put(SCOPE, SALES)})
    assert world.requests() == []


async def test_without_a_sandbox_tables_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.servicer._parts.runners["data.table"], "_sandbox", await Sandbox.open(ladder=()))
    with refused("SANDBOX_UNAVAILABLE"):
        await world.invoke("data.table", {"ref": world.blobs.put(SCOPE, SALES)})


async def test_a_project_without_a_profile_has_no_tools(world: World) -> None:
    token = world.mesh.token(projects=("p-two",))
    request = mcp_pb2.InvokeToolRequest(tenant_id="t-one", project_id="p-two", tool="data.table")
    request.arguments.CopyFrom(struct_pb2.Struct())
    with refused("PROFILE_MISSING"):
        await world.stub.InvokeTool(request, metadata=bearer(token))
