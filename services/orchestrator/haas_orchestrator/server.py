"""The only place that builds and wires the orchestrator's objects."""

import grpc

from haas.orchestrator.v1 import artifacts_pb2, artifacts_pb2_grpc, orchestrator_pb2, orchestrator_pb2_grpc
from haas_common.artifacts import ArtifactStore
from haas_common.channels import Channels
from haas_common.config import Config
from haas_common.db import Database
from haas_common.doorbell import Doorbell
from haas_common.models import model_for
from haas_common.server import serve
from haas_orchestrator.operations import Operations
from haas_orchestrator.servicer import ArtifactsServicer, OrchestratorServicer


async def main(config: Config) -> None:
    """Serves until SIGTERM."""
    database = await Database.of(config)
    channels = Channels(config)
    doorbell = Doorbell(database)
    artifacts = ArtifactStore.open(config.store_dir, config.secrets_dir)
    operations = Operations(
        database,
        doorbell,
        artifacts,
        channels,
        lambda profile: model_for(config.llm_base_url, config.llm_api_key, config.llm_model, profile.models),
    )

    def add(server: grpc.aio.Server) -> None:
        orchestrator_pb2_grpc.add_OrchestratorServicer_to_server(OrchestratorServicer(operations, database), server)
        artifacts_pb2_grpc.add_ArtifactsServicer_to_server(ArtifactsServicer(database, doorbell, artifacts), server)

    async def stop() -> None:
        await doorbell.stop()
        await channels.close()
        await database.close()

    services = [
        orchestrator_pb2.DESCRIPTOR.services_by_name["Orchestrator"],
        artifacts_pb2.DESCRIPTOR.services_by_name["Artifacts"],
    ]
    await serve(config, add, services, on_start=doorbell.start, on_stop=stop)
