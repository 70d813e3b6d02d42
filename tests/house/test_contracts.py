"""The contracts: their style, their compatibility, and what every request must carry."""

import subprocess
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from haas.common.v1 import access_pb2
from tests.house.tree import BIN, ROOT, contracts, files, read, script

ROUTES = script("docs").routes()

#: Requests that belong to no tenant: keys and the API's own description.
#: A webhook's address names them, and its signature proves that they are meant.
WITHOUT_TENANT = {"GetJwksRequest", "GetOpenApiRequest", "GetDocsRequest", "ReceiveHookRequest"}

#: The six routes of the plan (§5), as written there.
PLAN_ROUTES = {
    "POST /v1/intents:detect",
    "POST /v1/plans:create",
    "POST /v1/plans/{plan_id}:run",
    "GET /v1/plans/{plan_id}/status",
    "GET /v1/artifacts/{artifact_id}",
    "POST /v1/tools/{tool}:invoke",
}


def buf(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / "buf"), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def methods() -> list[tuple[str, descriptor_pb2.MethodDescriptorProto]]:
    return [
        (f"{file.package}.{service.name}/{method.name}", method)
        for file in contracts().file
        for service in file.service
        for method in service.method
    ]


def test_the_contracts_keep_bufs_rules_and_every_rpc_message_and_field_has_a_comment() -> None:
    done = buf("lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_contract_breaks_what_the_baseline_promised() -> None:
    done = buf("breaking", "proto", "--against", "proto/baseline.binpb")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_baseline_would_catch_a_removed_field(tmp_path: Path) -> None:
    """The check above can fail: a contract without one of its fields does."""
    image = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "proto/baseline.binpb").read_bytes())
    for file in image.file:
        for message in file.message_type:
            if message.name == "DetectIntentRequest":
                message.field.add(name="hint", number=99, type=9, label=1, json_name="hint")
    richer = tmp_path / "richer.binpb"
    richer.write_bytes(image.SerializeToString())
    done = buf("breaking", "proto", "--against", str(richer))
    assert done.returncode != 0
    assert '"hint"' in done.stdout


def test_no_route_changes_without_the_committed_list() -> None:
    """Buf does not see a changed path. `.venv/bin/python scripts/docs.py` writes the list anew."""
    assert read("proto/routes.txt") == ROUTES


def test_the_six_routes_of_the_plan_stand_exactly_as_written() -> None:
    found = {line.split(" -> ")[0] for line in read("proto/routes.txt").splitlines()}
    assert found >= PLAN_ROUTES


def test_no_two_rpcs_share_a_route() -> None:
    found = [line.split(" -> ")[0] for line in ROUTES.splitlines()]
    assert len(found) == len(set(found))


def test_every_request_carries_tenant_and_project_as_its_first_fields() -> None:
    messages = {f".{f.package}.{m.name}": m for f in contracts().file for m in f.message_type}
    without = set()
    for _, method in methods():
        fields = {field.number: field for field in messages[method.input_type].field}
        first = [(fields[n].name, fields[n].type) for n in (1, 2) if n in fields]
        if first != [("tenant_id", 9), ("project_id", 9)]:
            without.add(method.input_type.rpartition(".")[2])
    assert without == WITHOUT_TENANT


def test_a_get_route_carries_tenant_and_project_in_its_query() -> None:
    """A path that took them would make the tenant part of the name of a thing."""
    assert not [line for line in ROUTES.splitlines() if "{tenant_id}" in line or "{project_id}" in line]


@pytest.mark.parametrize(("name", "method"), methods(), ids=[name for name, _ in methods()])
def test_every_method_says_who_may_call_it(name: str, method: descriptor_pb2.MethodDescriptorProto) -> None:
    access = method.options.Extensions[access_pb2.access]
    assert access.caller != access_pb2.Access.CALLER_UNSPECIFIED, name
    if access.caller == access_pb2.Access.CALLER_PEER:
        assert access.peers, "a peer's method names its peers"
        assert not method.options.HasExtension(annotations_pb2.http), "a peer's method has no route"
    if access.caller == access_pb2.Access.CALLER_PUBLIC:
        assert not access.scope, "what is public asks for no scope"


def test_only_the_requests_without_a_tenant_are_public() -> None:
    public = {
        method.input_type.rpartition(".")[2]
        for _, method in methods()
        if method.options.Extensions[access_pb2.access].caller == access_pb2.Access.CALLER_PUBLIC
    }
    assert public == WITHOUT_TENANT


def test_every_contract_names_its_csharp_namespace() -> None:
    def expected(package: str) -> str:
        return ".".join(part.capitalize() for part in package.split("."))

    wrong = {f.name: f.options.csharp_namespace for f in contracts().file}
    assert {
        name for name, found in wrong.items() if found != expected(str(Path(name).parent).replace("/", "."))
    } == set()


def test_every_enum_begins_with_its_unspecified_value() -> None:
    def nested(message: descriptor_pb2.DescriptorProto) -> list[descriptor_pb2.EnumDescriptorProto]:
        return [*message.enum_type, *(enum for inner in message.nested_type for enum in nested(inner))]

    enums = [e for f in contracts().file for e in [*f.enum_type, *(n for m in f.message_type for n in nested(m))]]
    assert enums
    assert [e.name for e in enums if e.value[0].number or not e.value[0].name.endswith("_UNSPECIFIED")] == []


def test_every_contract_of_the_tree_is_in_the_descriptor_set() -> None:
    written = {path.removeprefix("proto/") for path in files() if path.startswith("proto/") and path.endswith(".proto")}
    assert {file.name for file in contracts().file} == written
