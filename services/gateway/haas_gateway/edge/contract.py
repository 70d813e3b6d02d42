"""The contracts as the edge sees them: read from the descriptor set on disk."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from haas.common.v1 import access_pb2

DEADLINE_S_DEFAULT = 5
DEADLINE_S_MAX = 30
_CALLERS = {
    access_pb2.Access.CALLER_PUBLIC: "public",
    access_pb2.Access.CALLER_TENANT: "tenant",
    access_pb2.Access.CALLER_OPERATOR: "operator",
    access_pb2.Access.CALLER_PEER: "peer",
}


@dataclass(frozen=True, slots=True)
class Route:
    """A REST route of a method: GET /v1/plans/{plan_id}; `body` is the field that the body fills ("*": all)."""

    verb: str
    path: str
    body: str


@dataclass(frozen=True, slots=True)
class Method:
    """A method at the edge.

    Attributes:
        service: "haas.mcp.v1.Tools".
        name: "ListTools".
        upstream: the service of the fleet that answers: "mcp".
        caller: "public", "tenant", "operator", "peer" or "" (refused).
        deadline_s: imposed where the client gave none.
        deadline_max_s: what the client's is cut to.
        scoped: whether the request names tenant_id and project_id.
        client_streaming: whether the request is a stream.
        server_streaming: whether the answer is a stream.
        routes: over REST.
    """

    service: str
    name: str
    upstream: str
    caller: str
    deadline_s: int
    deadline_max_s: int
    scoped: bool
    client_streaming: bool
    server_streaming: bool
    routes: tuple[Route, ...]

    @property
    def path(self) -> str:
        """What gRPC calls it by."""
        return f"/{self.service}/{self.name}"

    @property
    def reads(self) -> bool:
        """Whether repeating it changes nothing: REST calls it by GET, and it answers once."""
        return bool(self.routes) and all(r.verb == "GET" for r in self.routes) and not self.server_streaming


def descriptor_path() -> Path:
    """The descriptor set that is generated beside the stubs.

    Raises:
        FileNotFoundError: the generated code is not installed.
    """
    spec = importlib.util.find_spec("haas")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "api.binpb"
        if path.is_file():
            return path
    raise FileNotFoundError("haas/api.binpb is missing: run `make gen`.")


def _routes(method: descriptor_pb2.MethodDescriptorProto) -> tuple[Route, ...]:
    """The method's REST routes, additional ones included."""
    rule = method.options.Extensions[annotations_pb2.http]
    found = []
    for binding in (rule, *rule.additional_bindings):
        verb = binding.WhichOneof("pattern")
        if verb:
            found.append(Route(verb.upper(), getattr(binding, verb), binding.body))
    return tuple(found)


def _fields(files: descriptor_pb2.FileDescriptorSet) -> dict[str, set[str]]:
    """The names of each message's fields, by its full name with the leading dot."""
    return {
        f".{file.package}.{message.name}": {field.name for field in message.field}
        for file in files.file
        for message in file.message_type
    }


def methods(descriptor_set: bytes) -> Iterator[Method]:
    """Every method of the fleet's services, in the order of the contracts."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set)
    fields = _fields(files)
    for file in files.file:
        if not file.package.startswith("haas."):
            continue
        for service in file.service:
            for method in service.method:
                access = method.options.Extensions[access_pb2.access]
                yield Method(
                    service=f"{file.package}.{service.name}",
                    name=method.name,
                    upstream=file.package.split(".")[1],
                    caller=_CALLERS.get(access.caller, ""),
                    deadline_s=access.deadline_s or DEADLINE_S_DEFAULT,
                    deadline_max_s=max(access.deadline_s, DEADLINE_S_MAX),
                    scoped={"tenant_id", "project_id"} <= fields[method.input_type],
                    client_streaming=method.client_streaming,
                    server_streaming=method.server_streaming,
                    routes=_routes(method),
                )
