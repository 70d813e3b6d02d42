"""Puts an example app into a running fleet: tenant, project, profile, documents. Doing it again changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import yaml

from haas.gateway.v1 import tenancy_pb2, tenancy_pb2_grpc
from haas_cli import remote
from haas_cli.errors import UsageError
from haas_cli.fleet.home import Home
from haas_common.errors import from_rpc

SUBJECT = "demo@cli"


@dataclass(frozen=True, slots=True)
class Example:
    """An app's folder: `tenant.yaml`, `profile.yaml`, `docs/`, data files, `objective.txt`."""

    folder: Path
    tenant_id: str
    project_id: str
    display_name: str
    inputs: Mapping[str, Path]

    @classmethod
    def read(cls, folder: Path) -> "Example":
        """Reads a folder's tenant.yaml.

        Raises:
            UsageError: there is none, or it lacks a field.
        """
        try:
            facts = yaml.safe_load((folder / "tenant.yaml").read_text(encoding="utf-8"))
            inputs = {name: folder / file for name, file in facts["inputs"].items()}
            return cls(folder, facts["tenant_id"], facts["project_id"], facts["display_name"], inputs)
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{folder}/tenant.yaml is no example's description ({type(error).__name__}).") from error

    @property
    def objective(self) -> str:
        """What the app asks for, in plain words."""
        return (self.folder / "objective.txt").read_text(encoding="utf-8").strip()

    @property
    def documents(self) -> list[Path]:
        """The app's own documents, by name."""
        return sorted((self.folder / "docs").iterdir())

    @property
    def scope(self) -> dict[str, str]:
        """The ids that every request carries."""
        return {"tenant_id": self.tenant_id, "project_id": self.project_id}


def seed(home: Home, opened: grpc.Channel, example: Example) -> None:
    """Creates what is missing, publishes what has changed.

    Raises:
        CliError: the fleet refused.
    """
    tenancy = tenancy_pb2_grpc.TenancyStub(opened)
    operator = remote.authorization(remote.operator_token(home))
    tenant = tenancy_pb2.CreateTenantRequest(**example.scope, display_name=example.display_name)
    project = tenancy_pb2.CreateProjectRequest(**example.scope, display_name=example.display_name)
    for method, request in ((tenancy.CreateTenant, tenant), (tenancy.CreateProject, project)):
        try:
            method(request, timeout=remote.CALL_S, metadata=operator)
        except grpc.RpcError as error:
            if from_rpc(error).reason != "RESOURCE_EXISTS":
                raise
    whose = {"tenant": example.tenant_id, "project": example.project_id}
    metadata = remote.authorization(remote.issue_token(home, **whose, subject=SUBJECT, role="admin").token)
    profile = (example.folder / "profile.yaml").read_text(encoding="utf-8")
    tenancy.PutProfile(
        tenancy_pb2.PutProfileRequest(**example.scope, profile_id=yaml.safe_load(profile)["profile_id"], yaml=profile),
        timeout=remote.CALL_S, metadata=metadata,
    )  # fmt: skip
    for document in example.documents:
        text = document.read_text(encoding="utf-8")
        request = tenancy_pb2.PutDocumentRequest(**example.scope, name=document.name, text=text)
        tenancy.PutDocument(request, timeout=remote.CALL_S, metadata=metadata)
