"""What the gateway reads and writes, a named query each."""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from haas_common.db import Scope, Tx, load_queries
from haas_gateway.domain import Document, Profile, Project, Tenant

SQL = load_queries("haas_gateway")


def _in(scope: Scope) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}


async def create_tenant(tx: Tx, tenant_id: str, display_name: str) -> Tenant | None:
    """Creates a tenant; None where there is one."""
    row = await tx.maybe(SQL.create_tenant, tenant_id=tenant_id, display_name=display_name)
    return Tenant(**row) if row else None


async def list_tenants(tx: Tx, after: str, limit: int) -> list[Tenant]:
    """Returns a page of tenants."""
    return [Tenant(**row) for row in await tx.all(SQL.list_tenants, after=after, limit=limit)]


async def get_tenant(tx: Tx, tenant_id: str) -> Tenant | None:
    """Returns a tenant."""
    row = await tx.maybe(SQL.get_tenant, tenant_id=tenant_id)
    return Tenant(**row) if row else None


async def set_tenant_limits(tx: Tx, tenant_id: str, tasks_max: int, weight: int) -> Tenant | None:
    """Says what a tenant may have under way; None where there is no such tenant."""
    row = await tx.maybe(SQL.set_tenant_limits, tenant_id=tenant_id, tasks_max=tasks_max, weight=weight)
    return Tenant(**row) if row else None


async def create_project(tx: Tx, scope: Scope, display_name: str) -> Project | None:
    """Creates a project; None where there is one."""
    row = await tx.maybe(SQL.create_project, **_in(scope), display_name=display_name)
    return Project(**row) if row else None


async def list_projects(tx: Tx, tenant_id: str, after: str, limit: int) -> list[Project]:
    """Returns a page of a tenant's projects."""
    rows = await tx.all(SQL.list_projects, tenant_id=tenant_id, after=after, limit=limit)
    return [Project(**row) for row in rows]


async def known_projects(tx: Tx, tenant_id: str, projects: Sequence[str]) -> list[str]:
    """Returns which of these the tenant has."""
    rows = await tx.all(SQL.known_projects, tenant_id=tenant_id, projects=list(projects))
    return [row["project_id"] for row in rows]


async def get_profile(tx: Tx, scope: Scope, profile_id: str) -> Profile | None:
    """Returns the newest version of a profile."""
    row = await tx.maybe(SQL.get_profile, **_in(scope), profile_id=profile_id)
    return Profile(**row) if row else None


async def list_profiles(tx: Tx, scope: Scope) -> list[Profile]:
    """Returns the newest version of each profile."""
    return [Profile(**row) for row in await tx.all(SQL.list_profiles, **_in(scope))]


async def publish_profile(
    tx: Tx, scope: Scope, profile_id: str, version: int, yaml: str, digest: str
) -> Profile | None:
    """Publishes a version; None where another writer came first."""
    row = await tx.maybe(
        SQL.publish_profile, **_in(scope), profile_id=profile_id, version=version, yaml=yaml, hash=digest
    )
    return Profile(**row) if row else None


async def get_document(tx: Tx, scope: Scope, name: str) -> Document | None:
    """Returns the newest version of a document."""
    row = await tx.maybe(SQL.get_document, **_in(scope), name=name)
    return Document(**row) if row else None


async def publish_document(tx: Tx, scope: Scope, name: str, version: int, ref: str, size_bytes: int) -> Document | None:
    """Publishes a version; None where another writer came first."""
    row = await tx.maybe(SQL.publish_document, **_in(scope), name=name, version=version, ref=ref, size_bytes=size_bytes)
    return Document(**row) if row else None


async def add_usage(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds to what projects used."""
    await tx.run(SQL.add_usage, rows=json.dumps(list(rows)))


async def usage_by_day(
    tx: Tx, scope: Scope, first: datetime.date, last: datetime.date
) -> list[tuple[datetime.date, Mapping[str, int]]]:
    """Returns what a project used on the days that it used something."""
    rows = await tx.all(SQL.usage_by_day, **_in(scope), first=first, last=last)
    return [(row["day"], row["amounts"]) for row in rows]
