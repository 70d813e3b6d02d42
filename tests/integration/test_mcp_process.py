"""The MCP service as its own process: real loop, real gRPC threads, the sandbox beside them."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import psycopg
import pytest

from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas_common import structs
from haas_common.blobs import BlobStore
from haas_common.db import Scope
from haas_common.sockets import short_url
from tests.support.mesh import Mesh, bearer

SCOPE = Scope("t-one", "p-one")
BANK = Path("/work/shared/data/bank.csv")


class Service:
    """A running `python -m haas_mcp`."""

    def __init__(self, mesh: Mesh, process: subprocess.Popen, port: int) -> None:
        self.mesh = mesh
        self.process = process
        folder = mesh.secrets / "planner"
        credentials = grpc.ssl_channel_credentials(
            *((folder / f).read_bytes() for f in ("ca.pem", "tls.key", "tls.pem"))
        )
        options = (("grpc.ssl_target_name_override", "mcp.haas.internal"),)
        self.channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, options)
        self.stub = mcp_pb2_grpc.ToolsStub(self.channel)

    def call(self, content: bytes, queries: list[dict]) -> grpc.Future:
        ref = BlobStore(self.mesh.home / "store").put(SCOPE, content)
        request = mcp_pb2.InvokeToolRequest(tenant_id="t-one", project_id="p-one", tool="data.table")
        request.arguments.update({"ref": ref, "queries": queries})
        return self.stub.InvokeTool.future(request, metadata=bearer(self.mesh.token()), timeout=30)


@pytest.fixture
def service(tmp_path: Path, database, valkey_url: str) -> Iterator[Service]:
    mesh = Mesh(tmp_path)
    folder = mesh.secrets / "mcp"
    (folder / "database.url").write_text(database.app_dsn)
    (folder / "context.key").write_text(database.context_key.hex())
    (folder / "valkey.url").write_text(valkey_url)
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as connection:
        connection.execute("INSERT INTO haas.tenants (tenant_id) VALUES ('t-one')")
        connection.execute("INSERT INTO haas.projects (tenant_id, project_id) VALUES ('t-one', 'p-one')")
        connection.execute(
            "INSERT INTO haas.profiles (tenant_id, project_id, profile_id, version, yaml, hash) VALUES"
            " ('t-one', 'p-one', 'one', 1, 'profile_id: one\npolicies: {tools_allowed: [data.table]}', 'h')"
        )
    with contextlib.ExitStack() as stack:
        notify = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notify.bind(f"\0haas-mcp-test-{os.getpid()}")
        reserved = stack.enter_context(socket.socket())
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        reserved.close()
        environment = {
            "HAAS_ENV": "dev",
            "HAAS_HOME": str(tmp_path),
            "HAAS_LISTEN": f"127.0.0.1:{port}",
            "HAAS_SECRETS_DIR": str(folder),
            "NOTIFY_SOCKET": f"@haas-mcp-test-{os.getpid()}",
            "PATH": os.environ["PATH"],
        }
        process = stack.enter_context(subprocess.Popen([sys.executable, "-m", "haas_mcp"], env=environment))
        stack.callback(process.kill)
        ready, _, _ = select.select([notify], [], [], 30)
        assert ready, "the service did not say that it is ready"
        made = Service(mesh, process, port)
        yield made
        made.channel.close()


def test_a_table_is_answered_by_a_process_of_its_own(service: Service) -> None:
    result = structs.read_struct(service.call(b"a,b\nx,1\nx,2\n", [{"name": "q", "group_by": ["a"]}]).result().result)
    assert result["results"]["q"] == [{"a": "x"}]


@pytest.mark.skipif(not BANK.exists(), reason="the bank's data is not here")
def test_the_figures_of_a_real_campaign_are_right(service: Service) -> None:
    yes = {"name": "yes", "op": "count_if", "column": "y", "equals": "yes"}
    rows = {"name": "rows", "op": "count"}
    names = ("month", "contact", "poutcome", "job")
    queries = [{"name": name, "group_by": [name], "aggregates": [rows, yes]} for name in names]
    queries.append({"name": "all", "aggregates": [rows, yes]})
    answer = service.call(BANK.read_bytes(), queries).result()
    results = structs.read_struct(answer.result)["results"]
    assert results["all"] == [{"rows": 45211, "yes": 5289}]
    assert {"month": "may", "rows": 13766, "yes": 925} in results["month"]
    for name in names:
        assert sum(row["rows"] for row in results[name]) == 45211
        assert sum(row["yes"] for row in results[name]) == 5289


def test_the_sandbox_dies_with_a_service_that_is_killed(service: Service) -> None:
    columns = ",".join(f"c{n}" for n in range(60)).encode()
    heavy = columns + b"\n" + b"\n".join(b",".join(b"%d" % (n * k) for k in range(60)) for n in range(20_000))
    running = service.call(heavy, [])
    while not (found := _children(service.process.pid)):
        assert not running.done(), "the table was answered before its process was seen"
    # The innermost process, which no namespace's end and no signal to a group may miss.
    while inner := [pid for parent in found for pid in _children(parent)]:
        found = inner
    watched = [os.pidfd_open(pid) for pid in found]
    service.process.send_signal(signal.SIGKILL)
    for descriptor in watched:
        ended, _, _ = select.select([descriptor], [], [], 10)
        os.close(descriptor)
        assert ended


def test_sigterm_ends_the_service_cleanly(service: Service) -> None:
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(timeout=20) == 0


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
