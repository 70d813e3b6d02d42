"""What a tool is and what a call of one is. Pure values and decisions."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from haas_common.auth import Claims
from haas_common.db import Scope
from haas_common.errors import ScopeMissing, ToolNotAllowed
from haas_common.profiles import Profile

#: A result above this goes to the blob store; the row and the event keep its hash (design 7).
INLINE_RESULT_BYTES_MAX = 32 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the registry has it: data.

    Attributes:
        name: e.g. "data.table".
        description: what it does, for people and models.
        input_schema: the JSON Schema of its arguments.
        output_schema: the JSON Schema of its result.
        scopes: what the token must hold beside "tools.invoke".
        timeout_s: how long it may take.
        idempotent: whether running it twice does no harm; one that is not runs again only after its claim has ended.
        transactional: it only writes to the database: it runs in the very transaction that keeps its result.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    scopes: tuple[str, ...] = ()
    timeout_s: float = 30.0
    idempotent: bool = True
    transactional: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Invocation:
    """A call of a tool, as it arrived.

    Attributes:
        call_id: what its events name as their cause: they are written outside of the call, with those of others.
    """

    scope: Scope
    claims: Claims
    tool: str
    arguments: Mapping[str, Any]
    request_id: str
    plan_id: str
    task_id: str
    profile_id: str
    trace_id: str = ""
    call_id: str = ""

    @property
    def stream(self) -> str:
        """The stream of the call's events: the task's, or the request's where no task is named."""
        return f"tool/{self.plan_id}/{self.task_id}" if self.plan_id and self.task_id else f"tool/{self.request_id}"


@dataclasses.dataclass(frozen=True, slots=True)
class Grant:
    """An allowed call: what a tool gets to see."""

    invocation: Invocation
    spec: ToolSpec
    profile: Profile
    profile_version: int
    fingerprint: str

    @property
    def rpm(self) -> int:
        """Calls a minute; 0: no limit."""
        limit = self.profile.policies.rate_limits.get(self.spec.name)
        return limit.rpm if limit else 0


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a call gave."""

    result: Mapping[str, Any]
    duration_ms: int
    replayed: bool = False


def bound(invocation: Invocation) -> Invocation:
    """Fills plan, task and profile in from the token, and refuses others than the token's.

    Raises ToolNotAllowed.
    """
    claims = invocation.claims
    settled = {}
    for name in ("plan_id", "task_id", "profile_id"):
        held, asked = getattr(claims, name), getattr(invocation, name)
        if held and asked and held != asked:
            kind = name.removesuffix("_id")
            raise ToolNotAllowed(
                f"The token is bound to another {kind}.", tool=invocation.tool, profile=claims.profile_id
            )
        settled[name] = held or asked
    return dataclasses.replace(invocation, **settled)


def check_grant(invocation: Invocation, spec: ToolSpec, profile: Profile) -> None:
    """Allows a call by the profile's exact list and the token's scopes.

    Raises ToolNotAllowed, ScopeMissing.
    """
    if spec.name not in profile.policies.tools_allowed:
        sentence = f"The profile {profile.profile_id} does not allow {spec.name}."
        raise ToolNotAllowed(sentence, tool=spec.name, profile=profile.profile_id)
    for scope in ("tools.invoke", *spec.scopes):
        if scope not in invocation.claims.scopes:
            raise ScopeMissing(f"{spec.name} needs the scope {scope}.", scope=scope)
