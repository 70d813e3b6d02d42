"""Generates services/gateway/haas_gateway/openapi.json from the contracts, comments included (OpenAPI 3.1)."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any

from buf.validate import validate_pb2
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from haas.common.v1 import access_pb2, error_reason_pb2

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "services/gateway/haas_gateway/openapi.json"
FIELD = descriptor_pb2.FieldDescriptorProto
JSON = "application/json"
STATUS = {"$ref": "#/components/schemas/google.rpc.Status"}

SCALARS: dict[int, dict[str, Any]] = {
    FIELD.TYPE_STRING: {"type": "string"},
    FIELD.TYPE_BOOL: {"type": "boolean"},
    FIELD.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FIELD.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FIELD.TYPE_FLOAT: {"type": "number", "format": "float"},
    FIELD.TYPE_INT32: {"type": "integer", "format": "int32"},
    FIELD.TYPE_UINT32: {"type": "integer", "format": "uint32"},
    # 64-bit integers are strings in proto3 JSON: JavaScript's numbers end at 2^53.
    FIELD.TYPE_INT64: {"type": "string", "format": "int64"},
    FIELD.TYPE_UINT64: {"type": "string", "format": "uint64"},
}
KNOWN: dict[str, dict[str, Any]] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Duration": {"type": "string", "examples": ["1.5s"]},
    ".google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    ".google.protobuf.Value": {},
    ".google.api.HttpBody": {"type": "string", "format": "binary"},
}
INTRODUCTION = (
    "One TLS port for gRPC, gRPC-Web and REST. Every call names its tenant and project, and travels with a token of "
    "that tenant (`Authorization: Bearer …`). Errors are google.rpc.Status with an ErrorInfo of domain `haas`; its "
    "`reason` is one of the list below. Unknown query parameters are refused. Unknown fields of a JSON body are "
    "dropped while it is transcoded and cannot be refused: check your spelling against the schema. Fields are written "
    "in snake_case, read in snake_case or camelCase. Bodies hold at most 1 MiB, uploads (`PUT /v1/inputs`) 8 MiB."
)


class Contract:
    """The descriptor set with its comments."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet) -> None:
        self.messages: dict[str, descriptor_pb2.DescriptorProto] = {}
        self.enums: dict[str, descriptor_pb2.EnumDescriptorProto] = {}
        self.comments: dict[str, str] = {}
        self.services: list[tuple[str, descriptor_pb2.ServiceDescriptorProto]] = []
        for file in files.file:
            found = {tuple(at.path): at.leading_comments for at in file.source_code_info.location}
            package = f".{file.package}"
            for index, message in enumerate(file.message_type):
                self._message(f"{package}.{message.name}", message, (4, index), found)
            for index, enum in enumerate(file.enum_type):
                self._enum(f"{package}.{enum.name}", enum, (5, index), found)
            if not file.package.startswith("haas."):
                continue
            for index, service in enumerate(file.service):
                name = f"{package}.{service.name}"
                self.services.append((name[1:], service))
                self.comments[name] = _text(found.get((6, index), ""))
                for at, method in enumerate(service.method):
                    self.comments[f"{name}.{method.name}"] = _text(found.get((6, index, 2, at), ""))

    def _message(self, name: str, message: Any, path: tuple[int, ...], found: Any) -> None:
        self.messages[name] = message
        self.comments[name] = _text(found.get(path, ""))
        for at, field in enumerate(message.field):
            self.comments[f"{name}.{field.name}"] = _text(found.get((*path, 2, at), ""))
        for at, nested in enumerate(message.nested_type):
            self._message(f"{name}.{nested.name}", nested, (*path, 3, at), found)
        for at, enum in enumerate(message.enum_type):
            self._enum(f"{name}.{enum.name}", enum, (*path, 4, at), found)

    def _enum(self, name: str, enum: Any, path: tuple[int, ...], found: Any) -> None:
        self.enums[name] = enum
        lines = [_text(found.get(path, ""))]
        lines += [f"- `{v.name}`: {_text(found.get((*path, 2, at), ''))}" for at, v in enumerate(enum.value)]
        self.comments[name] = "\n".join(lines)


def _text(comment: str) -> str:
    """A comment without the linter's directives."""
    lines = [line.strip() for line in comment.strip().splitlines()]
    return "\n".join(line for line in lines if not line.startswith("buf:lint"))


def _rules(field: Any) -> dict[str, Any]:
    """What protovalidate checks, in JSON Schema's words."""
    rules = field.options.Extensions[validate_pb2.field]
    kind = rules.WhichOneof("type")
    given = getattr(rules, kind) if kind else None
    names = {
        "string": {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern", "in": "enum"},
        "repeated": {"min_items": "minItems", "max_items": "maxItems"},
        "int32": {"gte": "minimum", "lte": "maximum"},
    }.get(kind or "", {})
    made: dict[str, Any] = {}
    for source, target in names.items():
        value = getattr(given, source)
        if source == "in":
            if value:
                made[target] = list(value)
        elif given.HasField(source):
            made[target] = value
    return made


class Schemas:
    """The schemas that the operations use."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.made: dict[str, Any] = {}

    def of(self, name: str) -> dict[str, Any]:
        """The schema of a message or enum: a reference, made when first used."""
        if name in KNOWN:
            return dict(KNOWN[name])
        if name[1:] not in self.made:
            self.made[name[1:]] = {}
            self.made[name[1:]] = self._enum(name) if name in self.contract.enums else self._message(name, ())
        return {"$ref": f"#/components/schemas/{name[1:]}"}

    def _enum(self, name: str) -> dict[str, Any]:
        values = [value.name for value in self.contract.enums[name].value]
        return {"type": "string", "enum": values, "description": self.contract.comments[name]}

    def _message(self, name: str, left_out: tuple[str, ...]) -> dict[str, Any]:
        fields = [field for field in self.contract.messages[name].field if field.name not in left_out]
        properties = {field.name: self.field(name, field) for field in fields}
        made = {"type": "object", "description": self.contract.comments[name], "properties": properties}
        scope = [field for field in ("tenant_id", "project_id") if field in properties]
        return {**made, "required": scope} if name.endswith("Request") and scope else made

    def body(self, name: str, left_out: tuple[str, ...]) -> dict[str, Any]:
        """The body of a request: what does not stand in the path."""
        return self._message(name, left_out) if left_out else self.of(name)

    def field(self, message: str, field: Any) -> dict[str, Any]:
        """The schema of a field, its comment and its rules."""
        entry = self.contract.messages.get(field.type_name) if field.type == FIELD.TYPE_MESSAGE else None
        if entry is not None and entry.options.map_entry:
            made: dict[str, Any] = {"type": "object", "additionalProperties": self._type(entry.field[1])}
        elif field.label == FIELD.LABEL_REPEATED:
            made = {"type": "array", "items": self._type(field), **_rules(field)}
        else:
            made = {**self._type(field), **_rules(field)}
        comment = self.contract.comments.get(f"{message}.{field.name}")
        return {**made, "description": comment} if comment else made

    def _type(self, field: Any) -> dict[str, Any]:
        if field.type in (FIELD.TYPE_MESSAGE, FIELD.TYPE_ENUM):
            return self.of(field.type_name)
        return dict(SCALARS[field.type])


def _parameters(schemas: Schemas, method: Any, path: str, body: str) -> list[dict[str, Any]]:
    """What stands in the path and in the query."""
    in_path = re.findall(r"\{(\w+)", path)
    made = []
    for field in schemas.contract.messages[method.input_type].field:
        where = "path" if field.name in in_path else "query"
        if where == "query" and (body == "*" or field.name == body or field.type == FIELD.TYPE_MESSAGE):
            continue
        schema = schemas.field(method.input_type, field)
        described = {"description": schema.pop("description")} if "description" in schema else {}
        required = where == "path" or field.name in ("tenant_id", "project_id")
        made.append({"name": field.name, "in": where, "required": required, "schema": schema, **described})
    return made


def _answer(schemas: Schemas, method: Any) -> dict[str, Any]:
    """The content of a good answer."""
    if method.output_type == ".google.api.HttpBody":
        kind = "text/event-stream" if method.server_streaming else "*/*"
        return {kind: {"schema": {"type": "string"}}}
    return {JSON: {"schema": schemas.of(method.output_type)}}


def _operation(schemas: Schemas, service: str, method: Any, path: str, body: str, twin: str) -> dict[str, Any]:
    """One operation."""
    comment = schemas.contract.comments[f".{service}.{method.name}"]
    access = method.options.Extensions[access_pb2.access]
    reasons = sorted(set(re.findall(r"\b[A-Z][A-Z]+(?:_[A-Z]+)+\b", comment)))
    made: dict[str, Any] = {
        "operationId": f"{service.rsplit('.', 1)[1]}_{method.name}{twin}",
        "tags": [service.rsplit(".", 1)[1]],
        "summary": comment.split(". ")[0].split("\n")[0].rstrip("."),
        "description": comment,
        "parameters": _parameters(schemas, method, path, body),
        "responses": {
            "200": {"description": "Done.", "content": _answer(schemas, method)},
            "default": {"description": "Refused or failed.", "content": {JSON: {"schema": STATUS}}},
        },
        "x-haas-grpc": f"{service}/{method.name}",
        "x-haas-caller": access_pb2.Access.Caller.Name(access.caller).removeprefix("CALLER_").lower(),
        "x-haas-reasons": reasons,
        "security": [] if access.caller == access_pb2.Access.CALLER_PUBLIC else [{"token": []}],
    }
    if access.scope:
        made["x-haas-scope"] = access.scope
    if body == "*":
        schema = schemas.body(method.input_type, tuple(re.findall(r"\{(\w+)", path)))
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    elif body:
        made["requestBody"] = {"required": True, "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
    return made


def _paths(schemas: Schemas) -> dict[str, Any]:
    """Every route of every method."""
    paths: dict[str, Any] = {}
    for service, described in schemas.contract.services:
        for method in described.method:
            rule = method.options.Extensions[annotations_pb2.http]
            for index, binding in enumerate((rule, *rule.additional_bindings)):
                verb = binding.WhichOneof("pattern")
                if verb:
                    path, twin = getattr(binding, verb), f"_{index + 1}" if index else ""
                    operation = _operation(schemas, service, method, path, binding.body, twin)
                    paths.setdefault(path, {})[verb] = operation
    return dict(sorted(paths.items()))


def _status() -> dict[str, Any]:
    """google.rpc.Status, as the edge and the services send it."""
    reasons = [v.name.removeprefix("ERROR_REASON_") for v in error_reason_pb2.ErrorReason.DESCRIPTOR.values if v.number]
    info = {
        "type": "object",
        "properties": {
            "@type": {"type": "string"},
            "reason": {"type": "string", "enum": reasons},
            "domain": {"type": "string", "const": "haas"},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
    return {
        "type": "object",
        "description": "An error (AIP-193); its first detail is the google.rpc.ErrorInfo.",
        "properties": {
            "code": {"type": "integer", "description": "The google.rpc.Code."},
            "message": {"type": "string", "description": "One sentence for a person."},
            "details": {"type": "array", "prefixItems": [info], "items": {"type": "object"}},
        },
    }


def document(files: descriptor_pb2.FileDescriptorSet) -> dict[str, Any]:
    """The OpenAPI document."""
    contract = Contract(files)
    schemas = Schemas(contract)
    paths = _paths(schemas)
    tags = [{"name": n.rsplit(".", 1)[1], "description": contract.comments[f".{n}"]} for n, _ in contract.services]
    return {
        "openapi": "3.1.0",
        "info": {"title": "HAAS", "version": "v1", "description": INTRODUCTION},
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT (ES256)"}},
            "schemas": {**dict(sorted(schemas.made.items())), "google.rpc.Status": _status()},
        },
    }


def generate() -> str:
    """Builds the contracts with their comments and returns the document's text."""
    with tempfile.TemporaryDirectory() as scratch:
        image = f"{scratch}/api.binpb"
        buf = str(pathlib.Path(sys.executable).parent / "buf")
        subprocess.run([buf, "build", "--as-file-descriptor-set", "-o", image], cwd=ROOT, check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(image).read_bytes())
    return json.dumps(document(files), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(generate(), encoding="utf-8")
