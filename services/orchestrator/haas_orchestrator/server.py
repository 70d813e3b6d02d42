"""The only place that builds and wires the orchestrator's objects."""

import grpc

from haas.orchestrator.v1 import (
    artifacts_pb2,
    artifacts_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    control_pb2,
    control_pb2_grpc,
    orchestrator_pb2,
    orchestrator_pb2_grpc,
    privacy_pb2,
    privacy_pb2_grpc,
)
from haas_common.artifacts.faults import FaultLog
from haas_common.artifacts.store import ArtifactStore
from haas_common.channels import Channels
from haas_common.config import Config
from haas_common.db import Database, Lease
from haas_common.doorbell import Doorbell
from haas_common.fleet_keys import FleetKeys
from haas_common.leases import LeaseKeeper
from haas_common.models import model_for
from haas_common.server import serve
from haas_orchestrator.artifacts.servicer import ArtifactsServicer
from haas_orchestrator.audit.servicer import AuditServicer
from haas_orchestrator.audit.signer import Signer
from haas_orchestrator.audit.worker import LEASE, CheckpointWorker, Policy
from haas_orchestrator.control.operations import Control
from haas_orchestrator.control.servicer import PlanControlServicer
from haas_orchestrator.operations import Operations
from haas_orchestrator.privacy import Privacy
from haas_orchestrator.servicer import OrchestratorServicer, PrivacyServicer


async def main(config: Config) -> None:
    """Serves until SIGTERM."""
    database = await Database.of(config)
    channels = Channels(config)
    doorbell = Doorbell(database)
    artifacts = ArtifactStore.of(config, FaultLog(database, doorbell, config.service))
    operations = Operations(
        database,
        doorbell,
        artifacts,
        channels,
        lambda profile: model_for(config.llm_base_url, config.llm_api_key, config.llm_model, profile.models),
    )

    privacy = Privacy(database, doorbell, artifacts.blobs)
    keys = FleetKeys.open(config.secrets_dir)
    signer = Signer(database, keys, artifacts.blobs)
    policy = Policy(config.checkpoint_events, config.checkpoint_s)

    async def audit(lease: Lease) -> None:
        await CheckpointWorker(lease, database, doorbell, signer, policy).run()

    keeper = LeaseKeeper(database, config.instance, [LEASE], audit)

    def add(server: grpc.aio.Server) -> None:
        orchestrator_pb2_grpc.add_OrchestratorServicer_to_server(OrchestratorServicer(operations, database), server)
        control_pb2_grpc.add_PlanControlServicer_to_server(PlanControlServicer(Control(channels)), server)
        artifacts_pb2_grpc.add_ArtifactsServicer_to_server(ArtifactsServicer(database, doorbell, artifacts), server)
        privacy_pb2_grpc.add_PrivacyServicer_to_server(PrivacyServicer(privacy), server)
        audit_pb2_grpc.add_AuditServicer_to_server(
            AuditServicer(database, doorbell, artifacts.blobs, signer, keys), server
        )

    async def start() -> None:
        await doorbell.start()
        await keeper.start()
        privacy.start()

    async def stop() -> None:
        await privacy.stop()
        await keeper.stop()
        await doorbell.stop()
        await channels.close()
        await database.close()

    services = [
        orchestrator_pb2.DESCRIPTOR.services_by_name["Orchestrator"],
        control_pb2.DESCRIPTOR.services_by_name["PlanControl"],
        artifacts_pb2.DESCRIPTOR.services_by_name["Artifacts"],
        audit_pb2.DESCRIPTOR.services_by_name["Audit"],
        privacy_pb2.DESCRIPTOR.services_by_name["Privacy"],
    ]
    await serve(config, add, services, on_start=start, on_stop=stop)
