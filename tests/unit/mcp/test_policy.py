"""Who may call what, how much at once, and which denials are written down."""

import pytest

from haas_common.auth import Claims
from haas_common.db import Scope
from haas_common.errors import Overloaded, ScopeMissing, ToolArgumentsInvalid, ToolNotAllowed, ToolUnknown
from haas_common.profiles import load_profile
from haas_mcp.domain import Invocation, bound, check_grant
from haas_mcp.policy.concurrency import TenantSlots
from haas_mcp.policy.denials import DenialLog
from haas_mcp.tools.registry import SPECS, Registry

SCOPE = Scope("t", "p")


def call(scopes: tuple[str, ...] = ("tools.invoke",), **fields: str) -> Invocation:
    held = {name: fields.pop(f"token_{name}", "") for name in ("plan_id", "task_id", "profile_id")}
    claims = Claims("ana", "t", ("p",), (), scopes, (), "haas-internal", *held.values(), 0.0, 0.0, "")
    asked = {"plan_id": "", "task_id": "", "profile_id": "", **fields}
    return Invocation(SCOPE, claims, "data.table", {}, "rq-1", **asked)


def test_what_the_token_names_is_filled_in() -> None:
    settled = bound(call(token_plan_id="pl-1", token_task_id="T-1", token_profile_id="one"))
    assert (settled.plan_id, settled.task_id, settled.profile_id) == ("pl-1", "T-1", "one")
    assert settled.stream == "tool/pl-1/T-1"


def test_without_a_task_the_stream_is_the_requests() -> None:
    assert bound(call(plan_id="pl-1")).stream == "tool/rq-1"


@pytest.mark.parametrize("name", ["plan_id", "task_id", "profile_id"])
def test_another_plan_task_or_profile_than_the_tokens_is_denied(name: str) -> None:
    with pytest.raises(ToolNotAllowed):
        bound(call(**{f"token_{name}": "a", name: "b"}))


@pytest.mark.parametrize("listed", ["data", "data.tables", "data.*", "Data.table", "*"])
def test_only_the_exact_name_on_the_list_allows_a_tool(listed: str) -> None:
    spec = Registry().spec("data.table")
    profile = load_profile("profile_id: one\n")
    policies = profile.policies.model_copy(update={"tools_allowed": [listed]})
    with pytest.raises(ToolNotAllowed):
        check_grant(call(), spec, profile.model_copy(update={"policies": policies}))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_tool_needs_all_of_its_scopes(spec) -> None:
    profile = load_profile(f"profile_id: one\npolicies: {{tools_allowed: [{spec.name}]}}\n")
    needed = ("tools.invoke", *spec.scopes)
    check_grant(call(needed), spec, profile)
    for left_out in needed:
        with pytest.raises(ScopeMissing) as missing:
            check_grant(call(tuple(scope for scope in needed if scope != left_out)), spec, profile)
        assert missing.value.metadata["scope"] == left_out


def test_the_registry_refuses_names_it_does_not_know() -> None:
    with pytest.raises(ToolUnknown):
        Registry().spec("data.table ")


def test_a_refused_argument_is_named_but_never_shown() -> None:
    with pytest.raises(ToolArgumentsInvalid) as refused:
        Registry().check_arguments("mcp.http", {"method": "GET", "url": "https://h/", "body": ["hunter2"]})
    assert refused.value.metadata == {"tool": "mcp.http", "field": "body", "rule": "type"}
    assert "hunter2" not in refused.value.message


def test_slots_are_per_tenant_and_come_back() -> None:
    slots = TenantSlots(per_tenant=1)
    with slots.taken("a"):
        with pytest.raises(Overloaded), slots.taken("a"):
            pass
        with slots.taken("b"):
            pass
    with slots.taken("a"):
        pass
    assert not slots._under_way


def test_a_flood_of_one_denial_is_written_once_a_second_with_its_number() -> None:
    now = [0.0]
    log = DenialLog(lambda: now[0])
    assert log.admit(SCOPE, "mcp.http", "RATE_LIMITED") == 0
    assert [log.admit(SCOPE, "mcp.http", "RATE_LIMITED") for _ in range(3)] == [None] * 3
    assert log.admit(SCOPE, "mcp.http", "TOOL_NOT_ALLOWED") == 0
    assert log.admit(SCOPE._replace(tenant_id="u"), "mcp.http", "RATE_LIMITED") == 0
    now[0] = 1.0
    assert log.admit(SCOPE, "mcp.http", "RATE_LIMITED") == 3
