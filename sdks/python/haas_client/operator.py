"""The operator's client: tenants, projects and tokens, and nothing of any tenant."""

from collections.abc import Iterator, Sequence

from haas.gateway.v1 import identity_pb2, tenancy_pb2
from haas_client.client import HaasClient

EVERY = "*"


class OperatorClient(HaasClient):
    """The fleet for its operator."""

    def __init__(self, base_url: str, token: str, ca_cert: str | bytes | None = None) -> None:
        """See HaasClient; the token is from `haas token --operator`."""
        super().__init__(base_url, token, EVERY, EVERY, ca_cert)

    def create_tenant(
        self, tenant_id: str, project_id: str, display_name: str = ""
    ) -> tenancy_pb2.CreateTenantResponse:
        """Creates a tenant and its first project."""
        request = tenancy_pb2.CreateTenantRequest(tenant_id=tenant_id, project_id=project_id, display_name=display_name)
        return self._call(self._tenancy.CreateTenant, request)

    def list_tenants(self, page_size: int = 0) -> Iterator[tenancy_pb2.Tenant]:
        """Yields tenants by id."""
        return self._pages(self._tenancy.ListTenants, tenancy_pb2.ListTenantsRequest(page_size=page_size), "tenants")

    def set_tenant_limits(self, tenant_id: str, project_id: str, tasks_max: int, weight: int = 1) -> tenancy_pb2.Tenant:
        """Says how many of a tenant's tasks run at once (0: no limit of its own), and its share, 1 to 100."""
        request = tenancy_pb2.SetTenantLimitsRequest(
            tenant_id=tenant_id, project_id=project_id, tasks_max=tasks_max, weight=weight
        )
        return self._call(self._tenancy.SetTenantLimits, request).tenant

    def create_project(self, tenant_id: str, project_id: str, display_name: str = "") -> tenancy_pb2.Project:
        """Creates a project of a tenant."""
        request = tenancy_pb2.CreateProjectRequest(
            tenant_id=tenant_id, project_id=project_id, display_name=display_name
        )
        return self._call(self._tenancy.CreateProject, request).project

    def list_projects(self, tenant_id: str, page_size: int = 0) -> Iterator[tenancy_pb2.Project]:
        """Yields a tenant's projects by id."""
        request = tenancy_pb2.ListProjectsRequest(tenant_id=tenant_id, page_size=page_size)
        return self._pages(self._tenancy.ListProjects, request, "projects")

    def issue_token(
        self,
        tenant_id: str,
        project_id: str,
        subject: str,
        role: str = "member",
        agents: Sequence[str] = (),
        *,
        decides: Sequence[str] = (),
    ) -> identity_pb2.IssueTokenResponse:
        """Issues a token (15 min) for a tenant's project; `decides` are roles in which its holder decides approvals."""
        request = identity_pb2.IssueTokenRequest(
            tenant_id=tenant_id, project_id=project_id, subject=subject, role=role, agents=agents, decides=decides
        )
        return self._call(self._identity.IssueToken, request)
