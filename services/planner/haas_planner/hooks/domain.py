"""Hooks: their addresses, the signatures of Standard Webhooks, and what a body says of a plan. Pure.

A webhook is signed as https://www.standardwebhooks.com says: HMAC-SHA256 of its id, the time in seconds and its body,
apart by dots, under a secret; `webhook-signature` holds one or more of "v1,<base64>" apart by spaces.
"""

import base64
import binascii
import dataclasses
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from haas_common.db import Scope
from haas_common.errors import FieldInvalid, PayloadTooLarge, TokenExpired, TokenInvalid, TokenMissing
from haas_planner import transform

HOOKS_MAX = 100
BODY_BYTES_MAX = 256 * 1024
#: A signal's value stands in an event.
VALUE_BYTES_MAX = 8 * 1024
#: How far the time of a signature may be from ours: as long as its id is surely known.
TOLERANCE_S = 300
SECRET_BYTES = 32
_SECRET = "whsec_"  # noqa: S105 - what every secret begins with
_ID_CHARS_MAX = 256
_PLAN_ID = re.compile(r"pl-[a-z0-9]{8,40}")  # as the contract has it
_FIELDS = ("webhook-id", "webhook-timestamp", "webhook-signature")


@dataclasses.dataclass(frozen=True, slots=True)
class Hook:
    """What a webhook of a system outside leads to.

    Attributes:
        plan_path: finds the plan's id in a body (JMESPath); "" where the URL has to name it.
        value_path: gives the signal's value of a body; "" for the body as it is.
    """

    scope: Scope
    hook_id: str
    signal: str
    plan_path: str
    value_path: str
    updated_at: datetime | None = None

    @property
    def url_path(self) -> str:
        """Where its webhooks go."""
        return f"/v1/signals/{self.scope.tenant_id}.{self.scope.project_id}.{self.hook_id}"

    @property
    def config(self) -> tuple[str, str, str]:
        """What it does: two of the same do the same."""
        return self.signal, self.plan_path, self.value_path


def check(hook: Hook) -> None:
    """Refuses expressions that could never find anything. Raises FieldInvalid."""
    for field in ("plan_path", "value_path"):
        if expression := getattr(hook, field):
            try:
                transform.check(expression)
            except transform.TransformFault as fault:
                raise FieldInvalid(f"{field}: {fault.rule}.", field=field, rule="JMESPath") from None


def located(address: str) -> tuple[Scope, str]:
    """Returns the project and the hook of an address, which nothing but a signature proves."""
    tenant_id, project_id, hook_id = address.split(".")
    return Scope(tenant_id, project_id), hook_id


def secret_text(secret: bytes) -> str:
    """Returns a secret as its owner is told it."""
    return _SECRET + base64.b64encode(secret).decode()


def sign(secret: bytes, message_id: str, at_s: int, body: bytes) -> str:
    """Returns the signature of a webhook."""
    mac = hmac.new(secret, f"{message_id}.{at_s}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def verify(secret: bytes | None, headers: Mapping[str, str], body: bytes, now_s: float) -> str:
    """Holds a webhook against its hook's secret (None: there is no such hook); returns its id.

    Raises:
        TokenMissing: it is not signed.
        TokenInvalid: the signature is not the hook's; nothing tells whether there is such a hook.
        TokenExpired: it was signed too long ago, or ahead of our time.
    """
    message_id, at, given = (headers.get(field, "") for field in _FIELDS)
    if not (message_id and at and given):
        raise TokenMissing(f"A webhook has the headers {', '.join(_FIELDS)}.")
    if len(message_id) > _ID_CHARS_MAX or not at.isascii() or not at.isdecimal() or len(at) > 12:
        raise TokenInvalid("The webhook's id or time is none.")
    wanted = _mac_of(sign(secret or b"nobody's", message_id, int(at), body))
    # Every one of them is compared, in the same time.
    fits = [hmac.compare_digest(wanted, _mac_of(one)) for one in given.split(" ")[:8]]
    if secret is None or not any(fits):
        raise TokenInvalid("The signature is not of this hook.")
    if abs(now_s - int(at)) > TOLERANCE_S:
        raise TokenExpired(f"A webhook is signed at most {TOLERANCE_S} s before it comes.")
    return message_id


def _mac_of(signature: str) -> bytes:
    """Returns the bytes of a signature of version 1; none of another one."""
    version, _, text = signature.partition(",")
    if version != "v1":
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def request_id_of(hook_id: str, message_id: str) -> str:
    """Returns what makes the signal of a webhook idempotent, however often it is sent."""
    return "hook-" + hashlib.sha256(f"{hook_id}\n{message_id}".encode()).hexdigest()[:40]


def read(body: bytes) -> Any:
    """Returns a webhook's JSON.

    Raises:
        FieldInvalid: it is none.
        PayloadTooLarge: it is too large.
    """
    if len(body) > BODY_BYTES_MAX:
        raise PayloadTooLarge(bytes_max=BODY_BYTES_MAX)
    try:
        return json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise FieldInvalid("body: is no JSON.", field="body", rule="JSON") from None


def plan_of(hook: Hook, document: Any, named: str) -> str:
    """Returns the id of the plan that a webhook is for. Raises FieldInvalid where neither URL nor body names one."""
    if named:
        return named
    found = _found(hook.plan_path, document, "plan_id") if hook.plan_path else None
    if not isinstance(found, str) or not _PLAN_ID.fullmatch(found):
        sentence = "plan_id: neither the URL nor the hook's plan_path names a plan."
        raise FieldInvalid(sentence, field="plan_id", rule="a plan's id")
    return found


def value_of(hook: Hook, document: Any) -> dict[str, Any]:
    """Returns the value of a webhook's signal; one that is no object stands under "value".

    Raises:
        FieldInvalid: the hook's value_path finds nothing in it.
        PayloadTooLarge: it is too large for an event.
    """
    found = _found(hook.value_path or "@", document, "body")
    if found is None:
        raise FieldInvalid("body: the hook's value_path finds nothing.", field="body", rule="value_path")
    value = found if isinstance(found, dict) else {"value": found}
    if len(json.dumps(value, ensure_ascii=False).encode()) > VALUE_BYTES_MAX:
        sentence = f"A signal's value has at most {VALUE_BYTES_MAX} bytes; value_path may take a part of the body."
        raise PayloadTooLarge(sentence, bytes_max=VALUE_BYTES_MAX)
    return value


def _found(expression: str, document: Any, field: str) -> Any:
    try:
        # An evaluation is given an object; of the hook's it is the whole document.
        return transform.apply(f"body | {expression}", {"body": document})
    except transform.TransformFault as fault:
        raise FieldInvalid(f"{field}: {fault.rule}.", field=field, rule="JMESPath") from None


def _refuse(constant: str) -> float:
    raise ValueError(constant)
