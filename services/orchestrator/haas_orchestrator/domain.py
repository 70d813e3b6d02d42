"""What the orchestrator decides, without I/O: ids, fingerprints, what a request's inputs are, cursors."""

import base64
import binascii
import dataclasses
import datetime
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_REF = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
INPUTS_MAX = 100
VALUE_CHARS_MAX = 200


class Malformed(ValueError):
    """A request's field breaks a rule that the contract cannot state. `field` and `rule` say which."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """A value that a plan is given: `ref` is an upload's address, or a plain value's text."""

    name: str
    ref: str

    @property
    def uploaded(self) -> bool:
        """Whether it is an uploaded file."""
        return self.ref.startswith("sha256:")


def given_inputs(values: Mapping[str, Any]) -> list[Given]:
    """Reads the `inputs` of CreatePlan: flat, by name. Raises Malformed."""
    if len(values) > INPUTS_MAX:
        raise Malformed("inputs", f"at most {INPUTS_MAX} values")
    found = []
    for name, value in sorted(values.items()):
        field = f"inputs.{name[:63]}"
        if not _NAME.fullmatch(name) or name == "brief":
            raise Malformed(field, 'a name is lower-case letters, digits and "_", and "brief" is taken')
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise Malformed(field, "a value is a text or a number; lists and objects are not")
        text = value if isinstance(value, str) else f"{value:.15g}"
        if text.startswith("sha256:") and not _REF.fullmatch(text):
            raise Malformed(field, 'an upload is named by "sha256:" and 64 hexadecimal digits')
        if not text or len(text) > VALUE_CHARS_MAX or text.startswith("artf-"):
            raise Malformed(field, f"a plain value has 1 to {VALUE_CHARS_MAX} characters and is no artifact's id")
        found.append(Given(name, text))
    return found


def plan_id_of(tenant_id: str, project_id: str, request_id: str) -> str:
    """Returns the plan of a request: the same for every try, so that a retry makes no second plan."""
    digest = hashlib.sha256(f"haas.plan.v1\0{tenant_id}\0{project_id}\0{request_id}".encode()).digest()
    return "pl-" + base64.b32encode(digest[:15]).decode().lower()


def brief_id_of(plan_id: str) -> str:
    """Returns the artifact of a plan's brief."""
    return f"artf-{plan_id.removeprefix('pl-')}-brief"


def fingerprint(*parts: Any) -> str:
    """Returns what tells two requests of one request_id apart."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def cursor_after(at: datetime.datetime, plan_id: str) -> str:
    """Returns the page token behind a plan."""
    return base64.urlsafe_b64encode(f"{at.isoformat()}|{plan_id}".encode()).decode()


def read_cursor(token: str) -> tuple[str, str]:
    """Returns (time, plan id) of a page token, the end of time for none. Raises Malformed."""
    if not token:
        return "infinity", "~"
    try:
        at, _, plan_id = base64.urlsafe_b64decode(token.encode()).decode().partition("|")
        datetime.datetime.fromisoformat(at)
    except (ValueError, binascii.Error):
        raise Malformed("page_token", "a token that a page before gave") from None
    return at, plan_id


def read_task_cursor(token: str) -> list[int]:
    """Returns the order of the task that a page ended with. Raises Malformed."""
    if not token:
        return []
    if not re.fullmatch(r"T-[0-9]{1,5}([.][0-9]{1,5}){0,7}", token):
        raise Malformed("page_token", "a token that a page before gave")
    return [int(part) for part in token.removeprefix("T-").split(".")]


def subject_cursor(subject: str) -> str:
    """Returns the page token behind a person; nobody ("") has one too."""
    return "s" + base64.urlsafe_b64encode(subject.encode()).decode()


def read_subject_cursor(token: str) -> str | None:
    """Returns the person that a page ended with, None for the beginning. Raises Malformed."""
    if not token:
        return None
    try:
        if not token.startswith("s"):
            raise ValueError(token)
        return base64.b64decode(token[1:], altchars=b"-_", validate=True).decode()
    except ValueError:
        raise Malformed("page_token", "a token that a page before gave") from None


def read_key_cursor(token: str) -> str:
    """Returns the id of the key that a page ended with. Raises Malformed."""
    if token and not re.fullmatch(r"dk-[a-z0-9]{1,40}", token):
        raise Malformed("page_token", "a token that a page before gave")
    return token


def read_artifact_cursor(token: str) -> str:
    """Returns the id of the artifact that a page ended with. Raises Malformed."""
    if token and not re.fullmatch(r"artf-[a-z0-9_-]{1,123}", token):
        raise Malformed("page_token", "a token that a page before gave")
    return token
