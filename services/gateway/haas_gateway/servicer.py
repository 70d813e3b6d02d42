"""The public face: messages to domain values and back."""

import datetime
from pathlib import Path
from typing import Any

from google.api import httpbody_pb2
from google.protobuf import timestamp_pb2

from haas.gateway.v1 import description_pb2_grpc, identity_pb2, identity_pb2_grpc, tenancy_pb2, tenancy_pb2_grpc
from haas_common.auth import ID_PATTERN
from haas_common.calls import current_call
from haas_common.errors import FieldInvalid, TokenMissing
from haas_gateway import domain
from haas_gateway.docs import Page
from haas_gateway.operations import Operations

#: Keys and the description change with a rotation or a release; nobody needs them older than this.
_CACHED = (("cache-control", "public, max-age=60"),)


def _time(when: datetime.datetime | float) -> timestamp_pb2.Timestamp:
    made = timestamp_pb2.Timestamp()
    if isinstance(when, datetime.datetime):
        made.FromDatetime(when)
    else:
        made.FromMilliseconds(int(when * 1000))
    return made


def _after(token: str) -> str:
    """The id that the page before ended with. Raises FieldInvalid."""
    if token and not ID_PATTERN.fullmatch(token):
        raise FieldInvalid("page_token: a token that a page before gave.", field="page_token", rule="token")
    return token


def _tenant(tenant: domain.Tenant) -> tenancy_pb2.Tenant:
    return tenancy_pb2.Tenant(
        tenant_id=tenant.tenant_id,
        display_name=tenant.display_name,
        create_time=_time(tenant.created_at),
        tasks_max=tenant.tasks_max,
        weight=tenant.weight,
    )


def _project(project: domain.Project) -> tenancy_pb2.Project:
    return tenancy_pb2.Project(
        tenant_id=project.tenant_id,
        project_id=project.project_id,
        display_name=project.display_name,
        create_time=_time(project.created_at),
    )


def _profile(profile: domain.Profile) -> tenancy_pb2.Profile:
    return tenancy_pb2.Profile(
        profile_id=profile.profile_id,
        version=profile.version,
        yaml=profile.yaml,
        hash=profile.hash,
        publish_time=_time(profile.published_at),
    )


class IdentityServicer(identity_pb2_grpc.IdentityServicer):
    """haas.gateway.v1.Identity; each method is described in identity.proto."""

    def __init__(self, operations: Operations, jwks_path: Path) -> None:
        self._operations = operations
        self._jwks_path = jwks_path

    async def IssueToken(self, request: Any, context: Any) -> identity_pb2.IssueTokenResponse:
        """Issues a token."""
        issued, scopes = await self._operations.issue_token(
            current_call().scope, request.subject, request.projects, request.role, request.agents, request.decides
        )
        return identity_pb2.IssueTokenResponse(
            token=issued.token, expire_time=_time(float(issued.expires_at)), scopes=sorted(scopes)
        )

    async def RenewToken(self, request: Any, context: Any) -> identity_pb2.RenewTokenResponse:
        """Renews the call's own token."""
        claims = current_call().claims
        if claims is None:
            raise TokenMissing
        issued = self._operations.renew_token(claims)
        return identity_pb2.RenewTokenResponse(token=issued.token, expire_time=_time(float(issued.expires_at)))

    async def GetJwks(self, request: Any, context: Any) -> httpbody_pb2.HttpBody:
        """Returns the public keys."""
        await context.send_initial_metadata(_CACHED)
        return httpbody_pb2.HttpBody(content_type="application/jwk-set+json", data=self._jwks_path.read_bytes())


class TenancyServicer(tenancy_pb2_grpc.TenancyServicer):
    """haas.gateway.v1.Tenancy; each method is described in tenancy.proto."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def CreateTenant(self, request: Any, context: Any) -> tenancy_pb2.CreateTenantResponse:
        """Creates a tenant."""
        tenant, project = await self._operations.create_tenant(current_call().scope, request.display_name)
        return tenancy_pb2.CreateTenantResponse(tenant=_tenant(tenant), project=_project(project))

    async def ListTenants(self, request: Any, context: Any) -> tenancy_pb2.ListTenantsResponse:
        """Lists tenants."""
        size = request.page_size or domain.PAGE_DEFAULT
        found = await self._operations.list_tenants(_after(request.page_token), size)
        token = found[size - 1].tenant_id if len(found) > size else ""
        return tenancy_pb2.ListTenantsResponse(tenants=map(_tenant, found[:size]), next_page_token=token)

    async def SetTenantLimits(self, request: Any, context: Any) -> tenancy_pb2.SetTenantLimitsResponse:
        """Says what a tenant may have under way."""
        tenant = await self._operations.set_limits(current_call().scope, request.tasks_max, request.weight)
        return tenancy_pb2.SetTenantLimitsResponse(tenant=_tenant(tenant))

    async def CreateProject(self, request: Any, context: Any) -> tenancy_pb2.CreateProjectResponse:
        """Creates a project."""
        project = await self._operations.create_project(current_call().scope, request.display_name)
        return tenancy_pb2.CreateProjectResponse(project=_project(project))

    async def ListProjects(self, request: Any, context: Any) -> tenancy_pb2.ListProjectsResponse:
        """Lists a tenant's projects."""
        size = request.page_size or domain.PAGE_DEFAULT
        found = await self._operations.list_projects(request.tenant_id, _after(request.page_token), size)
        token = found[size - 1].project_id if len(found) > size else ""
        return tenancy_pb2.ListProjectsResponse(projects=map(_project, found[:size]), next_page_token=token)

    async def PutProfile(self, request: Any, context: Any) -> tenancy_pb2.PutProfileResponse:
        """Publishes a profile."""
        made = await self._operations.put_profile(current_call().scope, request.profile_id, request.yaml)
        return tenancy_pb2.PutProfileResponse(profile=_profile(made))

    async def GetProfile(self, request: Any, context: Any) -> tenancy_pb2.GetProfileResponse:
        """Reads a profile."""
        found = await self._operations.get_profile(current_call().scope, request.profile_id)
        return tenancy_pb2.GetProfileResponse(profile=_profile(found))

    async def ListProfiles(self, request: Any, context: Any) -> tenancy_pb2.ListProfilesResponse:
        """Lists the project's profiles."""
        found = await self._operations.list_profiles(current_call().scope)
        return tenancy_pb2.ListProfilesResponse(profiles=map(_profile, found))

    async def PutDocument(self, request: Any, context: Any) -> tenancy_pb2.PutDocumentResponse:
        """Keeps a document."""
        made = await self._operations.put_document(current_call().scope, request.name, request.text)
        return tenancy_pb2.PutDocumentResponse(hash=made.ref, version=made.version)

    async def GetUsage(self, request: Any, context: Any) -> tenancy_pb2.GetUsageResponse:
        """Says what the project used."""
        found = await self._operations.usage(current_call().scope, request.first_day, request.last_day)
        days = [tenancy_pb2.UsageDay(day=day.isoformat(), **amounts) for day, amounts in found]
        return tenancy_pb2.GetUsageResponse(days=days)


class DescriptionServicer(description_pb2_grpc.DescriptionServicer):
    """haas.gateway.v1.Description; each method is described in description.proto."""

    def __init__(self, openapi: bytes, page: Page) -> None:
        self._openapi = openapi
        self._page = page

    async def GetOpenApi(self, request: Any, context: Any) -> httpbody_pb2.HttpBody:
        """Returns the OpenAPI document."""
        await context.send_initial_metadata(_CACHED)
        return httpbody_pb2.HttpBody(content_type="application/json", data=self._openapi)

    async def GetDocs(self, request: Any, context: Any) -> httpbody_pb2.HttpBody:
        """Returns the page that shows it."""
        await context.send_initial_metadata((*_CACHED, *self._page.headers))
        return httpbody_pb2.HttpBody(content_type="text/html; charset=utf-8", data=self._page.html)
