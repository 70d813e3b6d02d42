"""Use-cases of the gateway: load, decide, append, in one transaction."""

import asyncio
import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from haas_common import errors
from haas_common.auth import AUDIENCE_API, SCOPES_BY_ROLE, Claims, Issued, Issuer
from haas_common.blobs import Blobs, ref_of
from haas_common.calls import call_or_none
from haas_common.db import Database, Scope
from haas_common.eventstore import NewEvent, append
from haas_common.profiles import load_profile
from haas_gateway import domain, store


def _event(scope: Scope, stream: str, kind: str, *, of: str = "", **payload: Any) -> NewEvent:
    """An event of the call under way; `of` is the person whose data it holds."""
    call = call_or_none()
    actor = call.claims.subject if call and call.claims else "gateway"
    trace_id = call.trace_id if call else ""
    return NewEvent(scope, stream, kind, payload, actor, trace_id=trace_id, subject=of)


def _named(scope: Scope) -> Scope:
    """The scope, when both ids name one thing: "*" is no tenant and no project."""
    for field, value in (("tenant_id", scope.tenant_id), ("project_id", scope.project_id)):
        if value == domain.EVERY:
            raise errors.FieldInvalid(f'{field} names one, not "*".', field=field, rule="id")
    return scope


class Operations:
    """What the servicers call."""

    def __init__(self, database: Database, blobs: Blobs, issuer: Issuer, now: Callable[[], float]) -> None:
        self._database = database
        self._blobs = blobs
        self._issuer = issuer
        self._now = now

    async def create_tenant(self, scope: Scope, display_name: str) -> tuple[domain.Tenant, domain.Project]:
        """Creates a tenant and its first project. Raises ResourceExists."""
        _named(scope)
        async with self._database.tenant_tx(scope) as tx:
            tenant = await store.create_tenant(tx, scope.tenant_id, display_name)
            if tenant is None:
                sentence = f"There is a tenant {scope.tenant_id}."
                raise errors.ResourceExists(sentence, resource="tenant", id=scope.tenant_id)
            project = await store.create_project(tx, scope, "")
            if project is None:
                raise LookupError("a new tenant has a project")
            made = _event(scope, f"tenant/{scope.tenant_id}", "TenantCreated", display_name=display_name)
            first = _event(scope, f"project/{scope.project_id}", "ProjectCreated", display_name="")
            await append(tx, [made, first])
        return tenant, project

    async def set_limits(self, scope: Scope, tasks_max: int, weight: int) -> domain.Tenant:
        """Says what a tenant may have under way. Raises ResourceNotFound (tenant, project)."""
        _named(scope)
        async with self._database.tenant_tx(scope) as tx:
            tenant = await store.set_tenant_limits(tx, scope.tenant_id, tasks_max, weight or 1)
            if tenant is None:
                raise errors.ResourceNotFound(
                    f"There is no tenant {scope.tenant_id}.", resource="tenant", id=scope.tenant_id
                )
            if not await store.known_projects(tx, scope.tenant_id, [scope.project_id]):
                raise errors.ResourceNotFound(
                    f"There is no project {scope.project_id}.", resource="project", id=scope.project_id
                )
            stream = f"tenant/{scope.tenant_id}"
            told = _event(scope, stream, "TenantLimited", tasks_max=tenant.tasks_max, weight=tenant.weight)
            await append(tx, [told])
        return tenant

    async def create_project(self, scope: Scope, display_name: str) -> domain.Project:
        """Creates a project. Raises ResourceExists, ResourceNotFound (tenant)."""
        _named(scope)
        async with self._database.tenant_tx(scope) as tx:
            await self._tenant(tx, scope.tenant_id)
            project = await store.create_project(tx, scope, display_name)
            if project is None:
                sentence = f"The tenant has a project {scope.project_id}."
                raise errors.ResourceExists(sentence, resource="project", id=scope.project_id)
            await append(
                tx, [_event(scope, f"project/{scope.project_id}", "ProjectCreated", display_name=display_name)]
            )
        return project

    async def _tenant(self, tx: Any, tenant_id: str) -> domain.Tenant:
        tenant = await store.get_tenant(tx, tenant_id)
        if tenant is None:
            raise errors.ResourceNotFound(f"There is no tenant {tenant_id}.", resource="tenant", id=tenant_id)
        return tenant

    async def list_tenants(self, after: str, limit: int) -> list[domain.Tenant]:
        """Returns a page of tenants, one more than `limit` where there are more."""
        async with self._database.tenant_tx(Scope(domain.EVERY, domain.EVERY)) as tx:
            return await store.list_tenants(tx, after, limit + 1)

    async def list_projects(self, tenant_id: str, after: str, limit: int) -> list[domain.Project]:
        """Returns a page of projects, one more than `limit` where there are more. Raises ResourceNotFound."""
        async with self._database.tenant_tx(Scope(tenant_id, domain.EVERY)) as tx:
            await self._tenant(tx, tenant_id)
            return await store.list_projects(tx, tenant_id, after, limit + 1)

    async def put_profile(self, scope: Scope, profile_id: str, yaml: str) -> domain.Profile:
        """Publishes a profile's next version; the same content again changes nothing.

        Raises ProfileInvalid, PayloadTooLarge (more than 100 profiles), StreamVersionConflict.
        """
        profile = await asyncio.to_thread(load_profile, yaml)
        if profile.profile_id != profile_id:
            sentence = f"The document's profile_id is {profile.profile_id}, the request's is {profile_id}."
            raise errors.ProfileInvalid(sentence, field="profile_id", rule="the same as in the request")
        digest = ref_of(yaml.encode())
        async with self._database.tenant_tx(scope) as tx:
            newest = await store.get_profile(tx, scope, profile_id)
            if newest and newest.hash == digest:
                return newest
            if newest is None and len(await store.list_profiles(tx, scope)) >= domain.PROFILES_MAX:
                raise errors.PayloadTooLarge(f"A project has at most {domain.PROFILES_MAX} profiles.")
            version = domain.next_version(newest.version if newest else None)
            made = await store.publish_profile(tx, scope, profile_id, version, yaml, digest)
            stream = f"profile/{profile_id}"
            if made is None:
                raise errors.StreamVersionConflict(stream=stream)
            await append(tx, [_event(scope, stream, "ProfilePublished", version=version, hash=digest)])
        return made

    async def get_profile(self, scope: Scope, profile_id: str) -> domain.Profile:
        """Returns a profile's newest version. Raises ResourceNotFound."""
        async with self._database.tenant_tx(scope) as tx:
            profile = await store.get_profile(tx, scope, profile_id)
        if profile is None:
            raise errors.ResourceNotFound(f"There is no profile {profile_id}.", resource="profile", id=profile_id)
        return profile

    async def list_profiles(self, scope: Scope) -> list[domain.Profile]:
        """Returns the newest version of each profile."""
        async with self._database.tenant_tx(scope) as tx:
            return await store.list_profiles(tx, scope)

    async def put_document(self, scope: Scope, name: str, text: str) -> domain.Document:
        """Keeps a document's next version; the same text again changes nothing. Raises StreamVersionConflict."""
        data = text.encode()
        # The bytes first: a row without its bytes would be a lie, bytes without a row are nobody's.
        ref = await asyncio.to_thread(self._blobs.put, scope, data)
        async with self._database.tenant_tx(scope) as tx:
            newest = await store.get_document(tx, scope, name)
            if newest and newest.ref == ref:
                return newest
            version = domain.next_version(newest.version if newest else None)
            made = await store.publish_document(tx, scope, name, version, ref, len(data))
            stream = f"document/{name}"
            if made is None:
                raise errors.StreamVersionConflict(stream=stream)
            await append(tx, [_event(scope, stream, "DocumentPublished", version=version, hash=ref)])
        return made

    async def issue_token(
        self,
        scope: Scope,
        subject: str,
        projects: Sequence[str],
        role: str,
        agents: Sequence[str],
        decides: Sequence[str] = (),
    ) -> tuple[Issued, Sequence[str]]:
        """Issues a token for a tenant's projects; returns it and its scopes. Raises ResourceNotFound.

        `decides` are roles for approvals: the token holds them beside its own, and no scope by them.
        """
        _named(scope)
        wanted = list(dict.fromkeys((scope.project_id, *projects)))
        async with self._database.tenant_tx(Scope(scope.tenant_id, domain.EVERY)) as tx:
            await self._tenant(tx, scope.tenant_id)
            absent = domain.missing(wanted, await store.known_projects(tx, scope.tenant_id, wanted))
        if absent is not None:
            raise errors.ResourceNotFound(f"There is no project {absent}.", resource="project", id=absent)
        issued = self._issuer.issue(
            subject=subject, tenant_id=scope.tenant_id, projects=wanted, roles=[role, *decides],
            scopes=SCOPES_BY_ROLE[role], agents=agents,
        )  # fmt: skip
        payload = {"subject": subject, "projects": wanted, "role": role, "expires_at": issued.expires_at}
        if decides:
            payload["decides"] = list(decides)
        async with self._database.tenant_tx(scope) as tx:
            await append(tx, [_event(scope, f"token/{subject}", "TokenIssued", of=subject, **payload)])
        return issued, SCOPES_BY_ROLE[role]

    async def usage(self, scope: Scope, first: str, last: str) -> list[tuple[datetime.date, Mapping[str, int]]]:
        """Returns what a project used, by day. Raises FieldInvalid."""
        today = datetime.datetime.fromtimestamp(self._now(), datetime.UTC).date()
        try:
            begin, end = domain.usage_days(first, last, today)
        except (ValueError, OverflowError):
            rule = f"days such as 2026-11-22, {domain.USAGE_DAYS_MAX} at most"
            raise errors.FieldInvalid(f"first_day, last_day: {rule}.", field="last_day", rule=rule) from None
        async with self._database.tenant_tx(scope) as tx:
            return await store.usage_by_day(tx, scope, begin, end)

    def renew_token(self, claims: Claims) -> Issued:
        """Issues the same token for another 15 minutes. Raises SessionEnded, TokenInvalid."""
        if claims.audience != AUDIENCE_API:
            raise errors.TokenInvalid
        life_s = domain.renewal_life_s(claims.auth_time, self._now())
        if life_s <= 0:
            raise errors.SessionEnded
        return self._issuer.issue(
            subject=claims.subject,
            tenant_id=claims.tenant_id,
            projects=claims.projects,
            roles=claims.roles,
            scopes=claims.scopes,
            agents=claims.agents,
            life_s=life_s,
            auth_time=claims.auth_time,
        )
