"""Who may call a method: read once, from the `haas.common.v1.access` option of the contracts. Deny by default."""

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from haas.common.v1 import access_pb2

CALLER_PUBLIC = access_pb2.Access.CALLER_PUBLIC
CALLER_TENANT = access_pb2.Access.CALLER_TENANT
CALLER_OPERATOR = access_pb2.Access.CALLER_OPERATOR
CALLER_PEER = access_pb2.Access.CALLER_PEER

#: For methods whose option names no deadline; the edge and the services use the same.
DEADLINE_S_DEFAULT = 5
#: What a caller may ask for at most, where the option names no more.
DEADLINE_S_MAX = 30


@dataclass(frozen=True, slots=True)
class Rule:
    """The access rule of a method.

    Attributes:
        caller: a value of Access.Caller.
        scope: the scope that the token must hold; empty: none.
        peers: for CALLER_PEER, the services that may call.
        deadline_s: imposed where the caller gave none.
        deadline_max_s: what the caller's is cut to.
        scoped: whether the request names a tenant and a project.
    """

    caller: int
    scope: str
    peers: frozenset[str]
    deadline_s: int
    deadline_max_s: int
    scoped: bool


class AccessUndeclared(Exception):
    """A contract lacks what every method states; the service does not start."""


def _rule(method: MethodDescriptor) -> Rule:
    """The method's rule.

    Raises:
        AccessUndeclared: it states no caller, or a tenant's method whose request names no tenant.
    """
    option = method.GetOptions().Extensions[access_pb2.access]
    fields = method.input_type.fields_by_name
    scoped = "tenant_id" in fields and "project_id" in fields
    if option.caller == access_pb2.Access.CALLER_UNSPECIFIED:
        raise AccessUndeclared(f"{method.full_name} states no caller.")
    if option.caller != CALLER_PUBLIC and not scoped:
        raise AccessUndeclared(f"{method.full_name}: the request names no tenant_id and project_id.")
    if option.caller == CALLER_PEER and not option.peers:
        raise AccessUndeclared(f"{method.full_name} names no peers.")
    return Rule(
        caller=option.caller,
        scope=option.scope,
        peers=frozenset(option.peers),
        deadline_s=option.deadline_s or DEADLINE_S_DEFAULT,
        deadline_max_s=max(option.deadline_s, DEADLINE_S_MAX),
        scoped=scoped,
    )


def rules(services: Iterable[ServiceDescriptor]) -> dict[str, Rule]:
    """The rule of every method, by the path that gRPC calls it by ("/haas.mcp.v1.Tools/ListTools").

    Raises:
        AccessUndeclared: a method states no rule.
    """
    return {f"/{service.full_name}/{method.name}": _rule(method) for service in services for method in service.methods}
