"""Writes the pages that come from the contracts, the command line and the event types; a house test compares them.

proto/routes.txt, docs/reference/{api,errors,cli,events}.md. Run it after a change to proto/, to a command of `haas` or
to an event's type.
"""

import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from haas.common.v1 import access_pb2
from haas_cli.__main__ import cli
from haas_cli.errors import Exit
from haas_common.events import EVENT_TYPES, EventType, personal_paths

ROOT = pathlib.Path(__file__).resolve().parent.parent
_NOTE = "<!-- Written by scripts/docs.py; do not edit. -->\n"
# google.rpc.Code to the status that REST answers with (the transcoder's own table).
_HTTP = {
    "CANCELLED": 499, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404, "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403, "RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400, "ABORTED": 409,
    "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "INTERNAL": 500, "UNAVAILABLE": 503, "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}  # fmt: skip
_CALLERS = {
    access_pb2.Access.CALLER_PUBLIC: "anyone",
    access_pb2.Access.CALLER_TENANT: "tenant",
    access_pb2.Access.CALLER_OPERATOR: "operator",
    access_pb2.Access.CALLER_PEER: "fleet only",
}
_EXITS = {
    Exit.OK: "It did what it was asked.",
    Exit.FAILED: "It failed; the sentence on standard error says why.",
    Exit.USAGE: "It was called wrongly.",
    Exit.NOT_RUNNING: "The fleet is not running.",
    Exit.NOT_FOUND: "What was asked for does not exist.",
    Exit.REFUSED: "The caller may not do this.",
    Exit.UNAVAILABLE: "The fleet, or a part of it, does not answer now; trying again may help.",
    Exit.UNVERIFIED: "A signature or a hash does not match.",
    Exit.INTERRUPTED: "Ctrl-C.",
}


def contracts() -> list[descriptor_pb2.FileDescriptorProto]:
    """Returns our contracts with their comments, by name."""
    buf = str(pathlib.Path(sys.executable).parent / "buf")
    done = subprocess.run(
        [buf, "build", "--as-file-descriptor-set", "-o", "-#format=binpb"], cwd=ROOT, check=True, capture_output=True
    )
    image = descriptor_pb2.FileDescriptorSet.FromString(done.stdout)
    return sorted((f for f in image.file if f.name.startswith("haas/")), key=lambda f: f.name)


def comment(file: descriptor_pb2.FileDescriptorProto, *path: int) -> str:
    """Returns the comment before an element, on one line."""
    for location in file.source_code_info.location:
        if tuple(location.path) == path:
            return " ".join(location.leading_comments.split())
    raise LookupError(f"{file.name}: nothing stands at {path}")


Route = tuple[str, str]
Rpc = tuple[descriptor_pb2.FileDescriptorProto, str, descriptor_pb2.MethodDescriptorProto, str]


def rpcs(files: list[descriptor_pb2.FileDescriptorProto]) -> Iterator[Rpc]:
    """Yields (file, service, method, comment) of every RPC."""
    for file in files:
        for number, service in enumerate(file.service):
            for index, method in enumerate(service.method):
                yield file, service.name, method, comment(file, 6, number, 2, index)


def routes_of(method: descriptor_pb2.MethodDescriptorProto) -> list[Route]:
    """Returns the (verb, path) pairs of an RPC."""
    if not method.options.HasExtension(annotations_pb2.http):
        return []
    rule = method.options.Extensions[annotations_pb2.http]
    found = []
    for binding in (rule, *rule.additional_bindings):
        verb = binding.WhichOneof("pattern")
        found.append((verb.upper(), getattr(binding, verb)))
    return found


def routes() -> str:
    """Returns the snapshot of the REST routes, a line each."""
    lines = [
        f"{verb} {path} -> {file.package}.{service}/{method.name}\n"
        for file, service, method, _ in rpcs(contracts())
        for verb, path in routes_of(method)
    ]
    return "".join(sorted(lines, key=lambda line: (line.split()[1], line)))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def api() -> str:
    """Returns docs/reference/api.md."""
    parts = [_NOTE, (ROOT / "docs" / "reference" / "api.intro.md").read_text(encoding="utf-8")]
    before = ""
    for file, service, method, text in rpcs(contracts()):
        if f"{file.package}.{service}" != before:
            before = f"{file.package}.{service}"
            parts.append(f"\n## {before}\n\n| REST | RPC | who, scope, limit | what it does |\n|---|---|---|---|\n")
        access = method.options.Extensions[access_pb2.access]
        who = [_CALLERS[access.caller]]
        who += [f"`{access.scope}`"] if access.scope else []
        who += [f"{access.deadline_s} s"] if access.deadline_s else []
        rest = "<br>".join(f"`{verb} {path}`" for verb, path in routes_of(method)) or "–"
        name = method.name + (" (stream)" if method.server_streaming or method.client_streaming else "")
        parts.append(f"| {rest} | {name} | {', '.join(who)} | {_cell(text)} |\n")
    return "".join(parts)


def errors() -> str:
    """Returns docs/reference/errors.md."""
    file = next(f for f in contracts() if f.name.endswith("error_reason.proto"))
    parts = [_NOTE, (ROOT / "docs" / "reference" / "errors.intro.md").read_text(encoding="utf-8")]
    parts.append("\n| reason | gRPC | HTTP | what it means |\n|---|---|---|---|\n")
    for index, value in enumerate(file.enum_type[0].value):
        text = comment(file, 5, 0, 2, index)
        codes, _, meaning = text.partition(": ")
        found = re.findall(r"[A-Z_]{5,}", codes)
        if not value.number:
            continue
        http = " or ".join(str(_HTTP[code]) for code in found)
        name = value.name.removeprefix("ERROR_REASON_")
        parts.append(f"| `{name}` | {' or '.join(found)} | {http} | {_cell(meaning[0].upper() + meaning[1:])} |\n")
    return "".join(parts)


def commands(group: click.Group, before: tuple[str, ...] = ("haas",)) -> Iterator[tuple[str, click.Command]]:
    """Yields (words, command) of everything that the command line can do."""
    context = click.Context(group, info_name=before[-1])
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if found is None:
            raise LookupError(f"{' '.join(before)} lists {name} and has no such command")
        yield " ".join((*before, name)), found
        if isinstance(found, click.Group):
            yield from commands(found, (*before, name))


def command_line() -> str:
    """Returns docs/reference/cli.md."""
    parts = [_NOTE, (ROOT / "docs" / "reference" / "cli.intro.md").read_text(encoding="utf-8")]
    parts.append("\n| exit status | meaning |\n|---|---|\n")
    parts += [f"| {int(code)} | {_EXITS[code]} |\n" for code in Exit]
    for words, command in commands(cli):
        context = click.Context(command, info_name=words, max_content_width=110, terminal_width=110)
        parts.append(f"\n## {words}\n\n```text\n{command.get_help(context)}\n```\n")
    return "".join(parts)


_WORDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean", "object": "object"}


def _kind(part: dict[str, Any], whole: dict[str, Any]) -> str:
    """Says what values a part of a payload's schema allows."""
    schema = _found(part, whole)
    if "anyOf" in schema:
        return " or ".join(_kind(choice, whole) for choice in schema["anyOf"] if choice.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return " or ".join(f"“{value}”" for value in schema.get("enum") or [schema["const"]])
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'], whole)}"
    if "pattern" in schema:
        return "hash" if "sha256" in schema["pattern"] else "hex digits"
    return _WORDS[schema["type"]]


def _found(part: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    return whole["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def _fields(part: dict[str, Any], whole: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields (path, type, meaning) of a payload's fields, those of its parts after the field that holds them."""
    schema = _found(part, whole)
    for choice in schema.get("anyOf", ()):
        yield from _fields(choice, whole, above)
    if schema.get("type") == "array":
        yield from _fields(schema["items"], whole, (*above, "*"))
    for name, field in schema.get("properties", {}).items():
        optional = "" if name in schema.get("required", ()) else ", optional"
        yield (*above, name), _kind(field, whole) + optional, field.get("description", "")
        yield from _fields(
            {k: v for k, v in field.items() if k in ("$ref", "anyOf", "items", "type")}, whole, (*above, name)
        )


def _event(kind: EventType) -> str:
    """Returns what the page says about a type."""
    streams = " or ".join(f"`{stream}`" for stream in kind.stream.split(" or "))
    lines = [
        f"\n## {kind.name}\n\n{kind.description} Stream {streams}, by {kind.owner}, version {kind.schema_version}.\n"
    ]
    schema, personal = kind.payload.model_json_schema(), personal_paths(kind.name)
    rows = []
    for path, what, meaning in _fields(schema, schema):
        name, whose = ".".join(path).replace(".*", "[]"), "yes" if path in personal else ""
        rows.append(f"| `{name}` | {_cell(what)} | {_cell(meaning)} | {whose} |\n")
    lines += ["\n| field | type | meaning | personal |\n|---|---|---|---|\n", *rows] if rows else ["\nNo fields.\n"]
    return "".join(lines)


def events() -> str:
    """Returns docs/reference/events.md."""
    parts = [_NOTE, (ROOT / "docs" / "reference" / "events.intro.md").read_text(encoding="utf-8")]
    parts.append("\n| type | what happened | who appends it |\n|---|---|---|\n")
    for name, kind in EVENT_TYPES.items():
        parts.append(f"| [`{name}`](#{name.lower()}) | {_cell(kind.description)} | {kind.owner} |\n")
    return "".join([*parts, *map(_event, EVENT_TYPES.values())])


def pages() -> dict[str, str]:
    """Returns every page that comes from the code: path to text."""
    return {
        "proto/routes.txt": routes(),
        "docs/reference/api.md": api(),
        "docs/reference/errors.md": errors(),
        "docs/reference/cli.md": command_line(),
        "docs/reference/events.md": events(),
    }


def main() -> None:
    """Writes the pages."""
    for path, text in pages().items():
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
