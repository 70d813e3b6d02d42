"""The form of an artifact: front matter (plan §4.2), body, and the hash over its bytes (docs/reference/hashing.md).

`hash_curr` is SHA-256 over a domain prefix and the file's bytes without the lines `hash_curr` and `signature`; nothing
is ever re-serialised to verify (design 21).
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

DOMAIN = b"haas.artifact.v1\0"
FRONT_BYTES_MAX = 256 * 1024
_COVERED_NOT = re.compile(rb"^(?:hash_curr|signature): .*\n", re.MULTILINE)
_FRONT = re.compile(rb"---\n(.*?\n)---\n", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Draft:
    """What a skill hands over; the store adds the rest of the front matter, hashes and signature.

    Attributes:
        path: the file's name, e.g. "content_calendar.md".
        type: the value's type, e.g. "doc.content_calendar".
        slot: the name of the value in the plan, e.g. "content_calendar".
        title: for people.
        body_md: Markdown, without front matter.
        data: what the next task computes with, JSON-able; kept in the front matter under `data`.
        sources: what it was made from: documents with their hash, inputs, artifacts.
        artifact_type: plan §17's, e.g. "brief".
        extra: further front matter, e.g. {"acceptance_criteria": […]}.
    """

    path: str
    type: str
    slot: str
    title: str
    body_md: str
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sources: Sequence[str] = ()
    status: str = "final"
    artifact_type: str = ""
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """An artifact as it reads: its front matter, its body, its data."""

    front: Mapping[str, Any]
    body: str
    data: Mapping[str, Any]


class _Loader(yaml.CSafeLoader):
    """Reads times as the text that they are."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def hash_of(file: bytes) -> str:
    """Returns the `hash_curr` that a file's bytes give."""
    front = _FRONT.match(file)
    if front is None:
        raise ValueError("an artifact begins with front matter")
    covered = _COVERED_NOT.sub(b"", file[: front.end()]) + file[front.end() :]
    return f"sha256:{hashlib.sha256(DOMAIN + covered).hexdigest()}"


def render(front: Mapping[str, Any], data: Mapping[str, Any], body: str) -> bytes:
    """Returns the file's bytes but for `hash_curr` and `signature`, which `seal` adds. Lines end as in Unix."""
    head = yaml.dump(dict(front), Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=10_000)
    if data:
        head += f"data: {json.dumps(data, ensure_ascii=False, allow_nan=False)}\n"
    text = f"---\n{head}---\n{body.replace(chr(13) + chr(10), chr(10)).strip()}\n"
    return text.encode()


def seal(unsealed: bytes, hash_curr: str, signature: str) -> bytes:
    """Adds the two lines that the hash does not cover, after `hash_prev`."""
    mark = unsealed.index(b"\nhash_prev:") + 1
    end = unsealed.index(b"\n", mark) + 1
    return unsealed[:end] + f"hash_curr: {hash_curr}\nsignature: {signature}\n".encode() + unsealed[end:]


def parse(file: bytes) -> Document:
    """Reads an artifact's bytes. Raises ValueError for what is none."""
    match = _FRONT.match(file)
    if match is None or len(match[1]) > FRONT_BYTES_MAX:
        raise ValueError("not an artifact: front matter is missing or too large")
    # By \n alone: JSON may hold the other characters that str.splitlines takes for an end.
    lines = match[1].decode().split("\n")
    data_line = next((line for line in lines if line.startswith("data: ")), "data: {}")
    head = "\n".join(line for line in lines if not line.startswith("data: "))
    try:
        front = yaml.load(head, Loader=_Loader)  # noqa: S506 - a SafeLoader without timestamps
    except yaml.YAMLError as error:
        raise ValueError("not an artifact: the front matter does not parse") from error
    return Document(front or {}, file[match.end() :].decode(), json.loads(data_line.removeprefix("data: ")))
