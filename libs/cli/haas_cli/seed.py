"""Puts an example app into a running fleet: tenant, project, profile, documents. Doing it again changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from haas_cli.errors import UsageError
from haas_client import HaasClient, OperatorClient, errors


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


def register(operator: OperatorClient, example: Example) -> None:
    """Creates the tenant and the project where they are missing. Raises HaasError."""
    for create in (operator.create_tenant, operator.create_project):
        try:
            create(example.tenant_id, example.project_id, example.display_name)
        except errors.ResourceExists:
            continue


def publish(admin: HaasClient, example: Example) -> None:
    """Publishes the profile and the documents; what is there already stays as it is. Raises HaasError."""
    profile = (example.folder / "profile.yaml").read_text(encoding="utf-8")
    admin.put_profile(yaml.safe_load(profile)["profile_id"], profile)
    for document in example.documents:
        admin.put_document(document.name, document.read_text(encoding="utf-8"))
