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

from haas_common.artifacts import front_matter
from haas_common.artifacts.front_matter import FrontMatterInvalid

DOMAIN = b"haas.artifact.v1\0"
#: What the store itself writes: a draft's own front matter cannot say it.
OWN = frozenset(
    {
        "artifact_id", "tenant_id", "project_id", "plan_id", "task_id", "version", "hash_prev", "hash_curr",
        "signature", "signer", "signer_key", "schema_version", "status", "created_at", "updated_at", "type", "title",
        "artifact_type", "sources", "links", "data",
    }
)  # fmt: skip
_INTEGERS = ("version",)
_DIGITS = re.compile(r"[0-9]{1,18}\Z")
_COVERED_NOT = re.compile(rb"^(?:hash_curr|signature): .*\n", re.MULTILINE)


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


def hash_of(file: bytes) -> str:
    """Returns the `hash_curr` that a file's bytes give."""
    _, body = front_matter.split(file)
    covered = _COVERED_NOT.sub(b"", file[: len(file) - len(body)]) + body
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
    """Reads an artifact's bytes. Every scalar of its front matter is a text but for `version`.

    Raises:
        ValueError: it is none; where front matter is at fault, FrontMatterInvalid.
    """
    raw, body = front_matter.split(file)
    # By \n alone: JSON may hold the other characters that str.splitlines takes for an end.
    lines = raw.decode().split("\n")
    data_lines = [line for line in lines if line.startswith("data: ")]
    if len(data_lines) > 1:
        raise FrontMatterInvalid("the key stands there twice", "data")
    front = front_matter.read("\n".join(line for line in lines if not line.startswith("data: ")))
    for name in _INTEGERS:
        if name in front:
            front[name] = _integer(name, front[name])
    return Document(front, body.decode(), _data(data_lines))


def _integer(name: str, value: object) -> int:
    if not isinstance(value, str) or not _DIGITS.match(value):
        raise FrontMatterInvalid("it is a whole number", name)
    return int(value)


def _data(lines: Sequence[str]) -> dict[str, Any]:
    if not lines:
        return {}
    try:
        data = json.loads(lines[0].removeprefix("data: "), parse_constant=_no_number)
    except RecursionError:
        raise FrontMatterInvalid("it is nested too deep", "data") from None
    if not isinstance(data, dict):
        raise FrontMatterInvalid("it is an object", "data")
    return data


def _no_number(name: str) -> float:
    raise FrontMatterInvalid(f"{name} is no number of JSON", "data")
