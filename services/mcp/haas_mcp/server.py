"""Builds the MCP service: the only place where its parts meet."""

import contextlib
import functools
import logging

import grpc.aio

from haas.mcp.v1 import mcp_pb2, mcp_pb2_grpc
from haas_common import readiness
from haas_common.artifacts.faults import FaultLog
from haas_common.artifacts.store import ArtifactStore
from haas_common.config import Config
from haas_common.db import Database
from haas_common.group_commit import GroupCommit
from haas_common.limits import Limiter
from haas_common.profile_store import ProfileStore
from haas_common.server import serve
from haas_mcp import store
from haas_mcp.operations import Invocations, Parts
from haas_mcp.policy.concurrency import TenantSlots
from haas_mcp.policy.denials import DenialLog
from haas_mcp.sandbox import Sandbox
from haas_mcp.servicer import ToolsServicer
from haas_mcp.tools.artifact_files import ArtifactRead, ArtifactWrite
from haas_mcp.tools.data_table import DataTable
from haas_mcp.tools.http_call import HttpCall
from haas_mcp.tools.registry import Registry

LOG = logging.getLogger(__name__)
SERVICE = mcp_pb2.DESCRIPTOR.services_by_name["Tools"]


@contextlib.asynccontextmanager
async def built(config: Config, sandbox: Sandbox):
    """Opens the parts and closes them in reverse."""
    async with contextlib.AsyncExitStack() as stack:
        database = await Database.of(config)
        stack.push_async_callback(database.close)
        endings = GroupCommit(functools.partial(store.end_all, database))
        stack.push_async_callback(endings.close)
        limiter = Limiter(config.secret_text("valkey.url"))
        stack.push_async_callback(limiter.close)
        http = HttpCall(config.env)
        stack.push_async_callback(http.close)
        # Who is told of a changed artifact is told at the relay's next look: this service has no doorbell.
        artifacts = ArtifactStore.of(config, FaultLog(database, None, config.service))
        parts = Parts(
            database=database,
            endings=endings,
            profiles=ProfileStore(),
            blobs=artifacts.blobs,
            registry=Registry(),
            limiter=limiter,
            slots=TenantSlots(),
            denials=DenialLog(),
            runners={
                "data.table": DataTable(sandbox, artifacts.blobs),
                "artifact.read": ArtifactRead(database, artifacts),
                "mcp.http": http,
            },
            writers={"artifact.write": ArtifactWrite(artifacts)},
        )
        invocations = Invocations(parts, config.instance)
        stack.push_async_callback(invocations.close)
        yield ToolsServicer(parts, invocations)


async def main(config: Config) -> None:
    """Runs the service until it is told to stop."""
    # Before gRPC starts its threads: the search for an interpreter and the probes start processes.
    sandbox = await Sandbox.open()
    LOG.info("sandbox: %s", sandbox.describe())

    async def ready() -> None:
        readiness.announce_ready()

    async with built(config, sandbox) as servicer:

        def add(server: grpc.aio.Server) -> None:
            mcp_pb2_grpc.add_ToolsServicer_to_server(servicer, server)

        await serve(config, add, [SERVICE], on_start=ready)
