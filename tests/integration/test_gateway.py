"""The gateway service over mTLS with a real database: tokens, tenants, projects, profiles, documents, description."""

import contextlib
import json
import re
import time
from collections.abc import AsyncIterator

import grpc.aio
import psycopg
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from haas.gateway.v1 import (
    description_pb2,
    description_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    tenancy_pb2,
    tenancy_pb2_grpc,
)
from haas_common import errors, pki
from haas_common.auth import SCOPES_BY_ROLE, Verifier
from haas_common.blobs import BlobStore
from haas_common.config import SERVICES as FLEET
from haas_common.db import Database, Scope
from haas_common.server import started
from haas_common.sockets import short_url
from haas_gateway.server import REFLECTED, SERVICES, wired
from tests.support.mesh import Mesh, bearer

ONE = Scope("t-one", "p-one")
PROFILE = "profile_id: one_v1\nlanguage: es\n"


class World:
    """A running gateway with one tenant, and stubs to call it."""

    def __init__(self, mesh: Mesh, channel: grpc.aio.Channel, admin_dsn: str) -> None:
        self.mesh = mesh
        self.channel = channel
        self.admin_dsn = admin_dsn
        self.identity = identity_pb2_grpc.IdentityStub(channel)
        self.tenancy = tenancy_pb2_grpc.TenancyStub(channel)
        self.description = description_pb2_grpc.DescriptionStub(channel)
        self.operator = bearer(mesh.gateway.issue_operator("root").token)
        self.admin = bearer(mesh.token("admin"))

    def events(self, tenant: str = "t-one") -> list[tuple[str, str, str]]:
        """(type, stream, actor) of a tenant's history, in order."""
        with psycopg.connect(short_url(self.admin_dsn)) as connection:
            rows = connection.execute(
                "SELECT event_type, stream, actor FROM haas.events WHERE tenant_id = %s ORDER BY project_id, seq",
                [tenant],
            )
            return list(rows.fetchall())

    async def put_profile(self, yaml: str = PROFILE, profile_id: str = "one_v1", **scope: str):
        ids = {"tenant_id": "t-one", "project_id": "p-one", **scope}
        request = tenancy_pb2.PutProfileRequest(**ids, profile_id=profile_id, yaml=yaml)
        return (await self.tenancy.PutProfile(request, metadata=self.admin)).profile

    async def issue(self, **fields) -> identity_pb2.IssueTokenResponse:
        given = {"tenant_id": "t-one", "project_id": "p-one", "subject": "ana", "role": "member", **fields}
        return await self.identity.IssueToken(identity_pb2.IssueTokenRequest(**given), metadata=self.operator)


@pytest.fixture
async def world(tmp_path, database) -> AsyncIterator[World]:
    mesh = Mesh(tmp_path)
    db = await Database.open(database.app_dsn, database.context_key, "haas-gateway")
    config = mesh.config("gateway")
    running = await started(config, wired(config, db), SERVICES, reflected=REFLECTED)
    async with mesh.channel("edge", "gateway", running.port) as channel:
        made = World(mesh, channel, database.admin_dsn)
        first = tenancy_pb2.CreateTenantRequest(tenant_id="t-one", project_id="p-one", display_name="One")
        await made.tenancy.CreateTenant(first, metadata=made.operator)
        yield made
    await running.stop(linger_s=0, grace_s=0)
    await db.close()


@contextlib.contextmanager
def refused(reason: str):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert errors.from_rpc(caught.value).reason == reason, caught.value.details()


async def test_a_tenant_comes_with_its_first_project_and_both_stand_in_the_history(world):
    assert world.events() == [("TenantCreated", "tenant/t-one", "root"), ("ProjectCreated", "project/p-one", "root")]
    with refused("RESOURCE_EXISTS"):
        request = tenancy_pb2.CreateTenantRequest(tenant_id="t-one", project_id="p-two")
        await world.tenancy.CreateTenant(request, metadata=world.operator)
    assert len(world.events()) == 2


async def test_a_project_needs_its_tenant_and_an_id_of_its_own(world):
    async def create(tenant: str, project: str):
        request = tenancy_pb2.CreateProjectRequest(tenant_id=tenant, project_id=project)
        return await world.tenancy.CreateProject(request, metadata=world.operator)

    assert (await create("t-one", "p-two")).project.project_id == "p-two"
    for ids, reason in (
        (("t-one", "p-two"), "RESOURCE_EXISTS"),
        (("t-none", "p-one"), "RESOURCE_NOT_FOUND"),
        (("t-one", "*"), "FIELD_INVALID"),
        (("*", "p-one"), "FIELD_INVALID"),
    ):
        with refused(reason):
            await create(*ids)


async def test_lists_come_in_pages_by_id(world):
    for name in ("p-b", "p-a"):
        request = tenancy_pb2.CreateProjectRequest(tenant_id="t-one", project_id=name)
        await world.tenancy.CreateProject(request, metadata=world.operator)
    seen, token = [], ""
    while True:
        request = tenancy_pb2.ListProjectsRequest(tenant_id="t-one", project_id="*", page_size=2, page_token=token)
        page = await world.tenancy.ListProjects(request, metadata=world.operator)
        seen += [p.project_id for p in page.projects]
        token = page.next_page_token
        if not token:
            break
    assert seen == ["p-a", "p-b", "p-one"]
    tenants = tenancy_pb2.ListTenantsRequest(tenant_id="*", project_id="*")
    assert [t.tenant_id for t in (await world.tenancy.ListTenants(tenants, metadata=world.operator)).tenants] == [
        "t-one"
    ]


async def test_an_issued_token_verifies_and_holds_what_its_role_holds(world):
    answer = await world.issue(role="viewer", agents=["leader.marketing"])
    claims = Verifier(world.mesh.secrets / "mcp" / "jwks.json").verify(answer.token)
    assert (claims.subject, claims.tenant_id, claims.projects) == ("ana", "t-one", ("p-one",))
    assert claims.scopes == SCOPES_BY_ROLE["viewer"] == tuple(answer.scopes)
    assert claims.agents == ("leader.marketing",)
    assert 890 <= claims.expires_at - time.time() <= 900
    assert world.events()[-1] == ("TokenIssued", "token/ana", "root")


async def test_a_role_for_approvals_opens_no_method_and_is_no_role_of_the_fleets(world):
    answer = await world.issue(role="viewer", decides=["legal", "head.of-brand"])
    claims = Verifier(world.mesh.secrets / "mcp" / "jwks.json").verify(answer.token)
    assert claims.roles == ("viewer", "legal", "head.of-brand")
    assert claims.scopes == SCOPES_BY_ROLE["viewer"] == tuple(answer.scopes)
    for role in ("admin", "operator", "auditor", "Legal", "", "legal\n"):
        with refused("FIELD_INVALID"):
            await world.issue(role="viewer", decides=[role])


async def test_no_token_is_issued_for_what_does_not_exist_or_for_the_operators_role(world):
    for fields, reason in (
        ({"tenant_id": "t-none"}, "RESOURCE_NOT_FOUND"),
        ({"project_id": "p-none"}, "RESOURCE_NOT_FOUND"),
        ({"projects": ["p-one", "p-none"]}, "RESOURCE_NOT_FOUND"),
        ({"projects": ["*"]}, "RESOURCE_NOT_FOUND"),
        ({"tenant_id": "*"}, "FIELD_INVALID"),
        ({"role": "operator"}, "FIELD_INVALID"),
    ):
        with refused(reason):
            await world.issue(**fields)


async def test_a_renewed_token_keeps_its_claims_and_a_session_ends_after_twelve_hours(world):
    async def renew(token: str) -> str:
        request = identity_pb2.RenewTokenRequest(tenant_id="t-one", project_id="p-one")
        return (await world.identity.RenewToken(request, metadata=bearer(token))).token

    verifier = Verifier(world.mesh.secrets / "mcp" / "jwks.json")
    first = (await world.issue(agents=["leader.marketing"])).token
    before, after = verifier.verify(first), verifier.verify(await renew(first))
    assert (after.subject, after.projects, after.scopes, after.agents, after.auth_time) == (
        before.subject, before.projects, before.scopes, before.agents, before.auth_time,
    )  # fmt: skip
    facts = {"subject": "ana", "tenant_id": "t-one", "projects": ["p-one"], "roles": ["member"]}
    near = world.mesh.gateway.issue(**facts, auth_time=time.time() - 12 * 3600 + 60).token
    assert verifier.verify(await renew(near)).expires_at <= time.time() + 61
    with refused("SESSION_ENDED"):
        await renew(world.mesh.gateway.issue(**facts, auth_time=time.time() - 12 * 3600 - 1).token)


async def test_tokens_are_signed_with_the_new_key_after_a_rotation_and_the_old_ones_hold(world):
    old = (await world.issue()).token
    kid = pki.rotate_token_key(world.mesh.secrets, "gateway", FLEET)
    new = (await world.issue()).token
    verifier = Verifier(world.mesh.secrets / "mcp" / "jwks.json")
    assert verifier.verify(old).subject == verifier.verify(new).subject == "ana"
    keys = json.loads((await world.identity.GetJwks(identity_pb2.GetJwksRequest())).data)["keys"]
    assert kid in {key["kid"] for key in keys}
    assert not any("d" in key for key in keys)


async def test_the_operator_says_what_a_tenant_may_have_under_way_and_the_history_tells_of_it(world):
    ids = {"tenant_id": "t-one", "project_id": "p-one"}
    request = tenancy_pb2.SetTenantLimitsRequest(**ids, tasks_max=20, weight=3)
    found = (await world.tenancy.SetTenantLimits(request, metadata=world.operator)).tenant
    assert (found.tasks_max, found.weight) == (20, 3)
    assert world.events()[-1][:2] == ("TenantLimited", "tenant/t-one")
    everybody = tenancy_pb2.ListTenantsRequest(tenant_id="*", project_id="*")
    listed = await world.tenancy.ListTenants(everybody, metadata=world.operator)
    assert [(t.tasks_max, t.weight) for t in listed.tenants if t.tenant_id == "t-one"] == [(20, 3)]
    with refused("TENANT_MISMATCH"):
        await world.tenancy.SetTenantLimits(request, metadata=world.admin)
    with refused("RESOURCE_NOT_FOUND"):
        unknown = tenancy_pb2.SetTenantLimitsRequest(tenant_id="t-one", project_id="p-other", tasks_max=1)
        await world.tenancy.SetTenantLimits(unknown, metadata=world.operator)


async def test_the_same_profile_again_changes_nothing_and_another_is_the_next_version(world):
    first, again = await world.put_profile(), await world.put_profile()
    assert (first.version, again.version) == (1, 1)
    second = await world.put_profile(PROFILE + "display_name: One\n")
    assert second.version == 2
    request = tenancy_pb2.GetProfileRequest(tenant_id="t-one", project_id="p-one", profile_id="one_v1")
    found = (await world.tenancy.GetProfile(request, metadata=world.admin)).profile
    assert (found.version, found.yaml, found.hash) == (2, second.yaml, second.hash)
    assert [e[0] for e in world.events()].count("ProfilePublished") == 2


@pytest.mark.parametrize(
    ("yaml", "profile_id", "reason"),
    [
        ("profile_id: other\n", "one_v1", "PROFILE_INVALID"),
        ("profile_id: one_v1\ncolour: red\n", "one_v1", "PROFILE_INVALID"),
        ("a: &x [1]\nb: *x\n", "one_v1", "PROFILE_INVALID"),
        ("[" * 3000, "one_v1", "PROFILE_INVALID"),
        ("x" * 65537, "one_v1", "FIELD_INVALID"),
        (PROFILE, "../one", "FIELD_INVALID"),
    ],
)
async def test_a_profile_that_breaks_a_rule_is_refused_and_not_kept(world, yaml, profile_id, reason):
    with refused(reason):
        await world.put_profile(yaml, profile_id)
    assert "ProfilePublished" not in {e[0] for e in world.events()}


async def test_a_document_is_kept_by_hash_and_counts_its_versions(world):
    async def put(text: str) -> tenancy_pb2.PutDocumentResponse:
        ids = {"tenant_id": "t-one", "project_id": "p-one"}
        request = tenancy_pb2.PutDocumentRequest(**ids, name="brand.md", text=text)
        return await world.tenancy.PutDocument(request, metadata=world.admin)

    versions = [(await put(text)).version for text in ("uno", "uno", "dos")]
    kept = await put("dos")
    assert versions == [1, 1, 2]
    assert BlobStore(world.mesh.home / "store").read(ONE, kept.hash) == b"dos"
    assert [e[0] for e in world.events()].count("DocumentPublished") == 2


async def test_a_project_that_does_not_exist_takes_no_profile(world):
    metadata = bearer(world.mesh.token("admin", projects=("p-none",)))
    request = tenancy_pb2.PutProfileRequest(tenant_id="t-one", project_id="p-none", profile_id="one_v1", yaml=PROFILE)
    with refused("RESOURCE_NOT_FOUND"):
        await world.tenancy.PutProfile(request, metadata=metadata)


async def test_the_docs_page_holds_nothing_from_outside_and_its_policy_says_so(world):
    call = world.description.GetDocs(description_pb2.GetDocsRequest())
    headers = dict(await call.initial_metadata())
    html = (await call).data.decode()
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("sha256-") == 2
    assert not re.search(r"(https?:)?//(?!\s)[a-z]|\bsrc=|<link|@import|style=|\son[a-z]+=", html)


async def test_the_openapi_document_names_every_rest_route(world):
    openapi = json.loads((await world.description.GetOpenApi(description_pb2.GetOpenApiRequest())).data)
    for path, verb in (
        ("/v1/intents:detect", "post"), ("/v1/plans:create", "post"), ("/v1/plans/{plan_id}:run", "post"),
        ("/v1/plans/{plan_id}/status", "get"), ("/v1/artifacts/{artifact_id}", "get"),
        ("/v1/tools/{tool}:invoke", "post"),
    ):  # fmt: skip
        assert verb in openapi["paths"][path]
    assert "Unknown fields" in openapi["info"]["description"]


async def test_reflection_at_the_gateway_knows_every_service_of_the_fleet(world):
    async def asked():
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        yield reflection_pb2.ServerReflectionRequest(file_containing_symbol="haas.planner.v1.Planner")

    call = reflection_pb2_grpc.ServerReflectionStub(world.channel).ServerReflectionInfo(asked())
    names = {service.name for service in (await call.read()).list_services_response.service}
    assert {"haas.mcp.v1.Tools", "haas.orchestrator.v1.Orchestrator", "haas.gateway.v1.Identity"} <= names
    assert (await call.read()).file_descriptor_response.file_descriptor_proto
