"""Tokens: ES256 JWTs, issued by the gateway (`haas-api`) or the planner (`haas-internal`), verified by every service.

Everything is pinned: the algorithm, the issuer, the audience that belongs to the key (`gw-…` signs haas-api, `pl-…`
signs haas-internal), the claims that must be there and their types, and a lifetime of an hour at most.
"""

import base64
import binascii
import json
import logging
import os
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from haas_common.errors import TokenExpired, TokenInvalid, TokenMissing
from haas_common.pki import load_token_key

LOG = logging.getLogger(__name__)

ISSUER = "haas"
AUDIENCE_API = "haas-api"
AUDIENCE_INTERNAL = "haas-internal"
#: Which audience a key may sign, by the prefix of its id.
AUDIENCE_BY_KID = {"gw": AUDIENCE_API, "pl": AUDIENCE_INTERNAL}
EVERY_TENANT = "*"
ROLE_OPERATOR = "operator"

TOKEN_LIFE_S = 900
SESSION_LIFE_S = 12 * 3600
LIFE_S_MAX = 3600
LEEWAY_S = 5
TOKEN_CHARS_MAX = 8192
CACHE_MAX = 1024

_VIEWER = (
    "agents.read",
    "artifacts.read",
    "events.read",
    "intents.read",
    "notifications.read",
    "plans.read",
    "profiles.read",
    "tools.read",
    "usage.read",
)
_MEMBER = (*_VIEWER, "artifacts.write", "plans.write", "tools.invoke")
#: The scopes that a role holds.
SCOPES_BY_ROLE: Mapping[str, tuple[str, ...]] = {
    "viewer": _VIEWER,
    "member": _MEMBER,
    "admin": (*_MEMBER, "agents.write", "audit.sign", "data.erase", "data.export", "hooks.write", "profiles.write"),
    # Reads every project of its tenant, whichever the token names.
    "auditor": ("artifacts.read", "audit.read", "audit.sign", "events.read"),
    # A remote worker is handed what its tasks read, and can ask for nothing else.
    "worker": ("workers.run",),
    ROLE_OPERATOR: ("reflection", "tenants.read", "tenants.write", "tokens.issue"),
}

#: What an id of a tenant or a project looks like.
ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says.

    Attributes:
        subject: the user or agent.
        tenant_id: the tenant; "*" for the operator.
        projects: the projects that it opens; ("*",) for the operator.
        roles: "viewer", "member", "admin", "auditor", "worker" or "operator".
        scopes: what it may do.
        agents: whose notifications the holder receives.
        audience: "haas-api" or "haas-internal".
        plan_id: what an internal token is bound to; empty otherwise.
        task_id: see plan_id.
        profile_id: see plan_id.
        expires_at: seconds of the epoch.
        auth_time: when the session began, seconds of the epoch.
        token: the token itself, to be handed on to peers; never logged.
    """

    subject: str
    tenant_id: str
    projects: tuple[str, ...]
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    agents: tuple[str, ...]
    audience: str
    plan_id: str
    task_id: str
    profile_id: str
    expires_at: float
    auth_time: float
    token: str = field(repr=False)

    @property
    def operator(self) -> bool:
        """Whether it is the operator's token: it opens operator methods and nothing else."""
        return self.tenant_id == EVERY_TENANT


def _file_mark(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced or written."""
    facts = os.stat(path)
    return facts.st_mtime_ns, facts.st_ino, facts.st_size


def _object(part: str) -> dict[str, Any]:
    """A JWT's part as an object.

    Raises:
        ValueError: it is no base64url of a JSON object, or a key stands twice.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a key stands twice")
        return found

    raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    value = json.loads(raw, object_pairs_hook=pairs)
    if not isinstance(value, dict):
        raise ValueError("a part is no object")  # noqa: TRY004 - one kind of failure for whatever a stranger sends
    return value


def _text(claims: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A claim that is a short text."""
    value = claims.get(name, default)
    if not isinstance(value, str) or len(value) > 200:
        raise ValueError(f"{name} is no short text")
    return value


def _texts(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A claim that is a list of short texts."""
    value = claims.get(name, [])
    if not isinstance(value, list) or len(value) > 200 or not all(isinstance(v, str) and len(v) <= 200 for v in value):
        raise ValueError(f"{name} is no list of short texts")
    return tuple(value)


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    """A claim that is a time."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 40:
        raise ValueError(f"{name} is no time")
    return value


def _claims(payload: Mapping[str, Any], audience: str, token: str) -> Claims:
    """The claims, each of its type; whoever breaks a rule of ours is a forger even with a good signature.

    Raises:
        ValueError: a claim is missing, of another type, or two of them contradict each other.
    """
    issued_at, expires_at = _seconds(payload, "iat"), _seconds(payload, "exp")
    claims = Claims(
        subject=_text(payload, "sub"),
        tenant_id=_text(payload, "tenant_id"),
        projects=_texts(payload, "projects"),
        roles=_texts(payload, "roles"),
        scopes=_texts(payload, "scopes"),
        agents=_texts(payload, "agents"),
        audience=audience,
        plan_id=_text(payload, "plan_id", ""),
        task_id=_text(payload, "task_id", ""),
        profile_id=_text(payload, "profile_id", ""),
        expires_at=expires_at,
        auth_time=_seconds(payload, "auth_time"),
        token=token,
    )
    if not claims.subject or not _text(payload, "jti") or not 0 < expires_at - issued_at <= LIFE_S_MAX:
        raise ValueError("no subject, no id, or too long a life")
    every = (claims.tenant_id == EVERY_TENANT, EVERY_TENANT in claims.projects, ROLE_OPERATOR in claims.roles)
    if any(every) and not (all(every) and audience == AUDIENCE_API):
        raise ValueError("half an operator")
    if not claims.operator and not all(map(ID_PATTERN.fullmatch, (claims.tenant_id, *claims.projects))):
        raise ValueError("an id is malformed")
    return claims


class Verifier:
    """Verifies tokens against a JWKS file, which is read again whenever it changes."""

    def __init__(self, jwks_path: Path, now: Callable[[], float] = time.time) -> None:
        """Reads the keys.

        Args:
            jwks_path: the public keys of all issuers (RFC 7517).
            now: seconds of the epoch.
        """
        self._path = jwks_path
        self._now = now
        self._mark = _file_mark(jwks_path)
        self._keys = self._read()
        self._cache: OrderedDict[str, Claims] = OrderedDict()

    def _read(self) -> dict[str, ec.EllipticCurvePublicKey]:
        """The keys by id; only P-256 keys of known issuers count."""
        keys: dict[str, ec.EllipticCurvePublicKey] = {}
        for entry in json.loads(self._path.read_bytes())["keys"]:
            kid = entry["kid"]
            if entry.get("kty") == "EC" and entry.get("crv") == "P-256" and kid.partition("-")[0] in AUDIENCE_BY_KID:
                keys[kid] = jwt.PyJWK(entry, algorithm="ES256").key
        if not keys:
            raise ValueError("the set holds no key of ours")
        return keys

    def _refresh(self) -> None:
        """Reads the file again after a change; what cannot be read leaves the known keys in force."""
        try:
            mark = _file_mark(self._path)
            if mark == self._mark:
                return
            self._mark = mark
            self._keys = self._read()
            self._cache.clear()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
            LOG.warning("the key set cannot be read; the known keys stay: %s", error)

    def verify(self, token: str) -> Claims:
        """Checks a token and returns what it says.

        Raises:
            TokenMissing: it is empty.
            TokenInvalid: it is forged, malformed, of another issuer or audience, or of an unknown key.
            TokenExpired: its time is over.
        """
        if not token:
            raise TokenMissing
        self._refresh()
        claims = self._cache.get(token)
        if claims is None:
            claims = self._decode(token)
        if claims.expires_at + LEEWAY_S <= self._now():
            self._cache.pop(token, None)
            raise TokenExpired
        self._cache[token] = claims
        self._cache.move_to_end(token)
        if len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)
        return claims

    def _decode(self, token: str) -> Claims:
        """Checks everything but the expiry. One message for every failure: a forger learns nothing."""
        try:
            if len(token) > TOKEN_CHARS_MAX:
                raise ValueError("too long")
            parts = token.split(".")
            header, payload = _object(parts[0]), _object(parts[1])
            kid = header.get("kid")
            if set(header) - {"alg", "kid", "typ"} or header.get("alg") != "ES256" or not isinstance(kid, str):
                raise ValueError("a header that no issuer of ours writes")
            audience = AUDIENCE_BY_KID[kid.partition("-")[0]]
            # Times are checked here, by our clock; the library checks the signature, the issuer and the audience.
            jwt.decode(
                token,
                self._keys[kid],
                algorithms=["ES256"],
                issuer=ISSUER,
                audience=audience,
                options={
                    "require": ["iss", "aud", "sub", "iat", "exp", "jti", "auth_time"],
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            if max(_seconds(payload, "iat"), payload.get("nbf", 0)) > self._now() + LEEWAY_S:
                raise ValueError("not yet valid")
            return _claims(payload, audience, token)
        except (ValueError, KeyError, IndexError, TypeError, RecursionError, binascii.Error, jwt.PyJWTError) as error:
            LOG.debug("token refused: %s", error)
            raise TokenInvalid from error


@dataclass(frozen=True, slots=True)
class Issued:
    """A token and when it ends, in seconds of the epoch."""

    token: str = field(repr=False)
    expires_at: int


class Issuer:
    """Signs tokens with the key of a file, which is read again whenever it changes (rotation)."""

    def __init__(self, key_path: Path, prefix: str, now: Callable[[], float] = time.time) -> None:
        """Reads the key.

        Args:
            key_path: the private key (PKCS#8 PEM, P-256).
            prefix: "gw" (haas-api) or "pl" (haas-internal).
            now: seconds of the epoch.
        """
        self._path = key_path
        self._prefix = prefix
        self._now = now
        self._mark = _file_mark(key_path)
        self._key, self._kid = load_token_key(key_path.read_bytes(), prefix)

    def _refresh(self) -> None:
        """Takes the next key after a rotation."""
        mark = _file_mark(self._path)
        if mark != self._mark:
            self._key, self._kid = load_token_key(self._path.read_bytes(), self._prefix)
            self._mark = mark

    def issue(
        self,
        *,
        subject: str,
        tenant_id: str,
        projects: Sequence[str],
        roles: Sequence[str] = (),
        scopes: Sequence[str] | None = None,
        agents: Sequence[str] = (),
        plan_id: str = "",
        task_id: str = "",
        profile_id: str = "",
        life_s: int = TOKEN_LIFE_S,
        auth_time: float | None = None,
    ) -> Issued:
        """Signs a token; its audience belongs to the key.

        Args:
            subject: the user or agent.
            tenant_id: the tenant; "*" for the operator.
            projects: the projects; ["*"] for the operator.
            roles: see SCOPES_BY_ROLE.
            scopes: the roles' scopes unless given.
            agents: whose notifications the holder receives.
            plan_id: what an internal token is bound to.
            task_id: see plan_id.
            profile_id: see plan_id.
            life_s: seconds, an hour at most.
            auth_time: when the session began; now unless given.
        """
        self._refresh()
        now = int(self._now())
        held = sorted({s for role in roles for s in SCOPES_BY_ROLE[role]}) if scopes is None else sorted(set(scopes))
        bound = {"plan_id": plan_id, "task_id": task_id, "profile_id": profile_id}
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE_BY_KID[self._prefix],
            "sub": subject,
            "tenant_id": tenant_id,
            "projects": list(projects),
            "roles": list(roles),
            "scopes": held,
            "agents": list(agents),
            "iat": now,
            "exp": now + min(life_s, LIFE_S_MAX),
            "jti": uuid.uuid4().hex,
            "auth_time": now if auth_time is None else int(auth_time),
            **{name: value for name, value in bound.items() if value},
        }
        token = jwt.encode(payload, self._key, algorithm="ES256", headers={"kid": self._kid})
        return Issued(token, now + min(life_s, LIFE_S_MAX))

    def issue_operator(self, subject: str, life_s: int = TOKEN_LIFE_S) -> Issued:
        """Signs the operator's token: tenants, projects and tokens, and nothing of any tenant."""
        return self.issue(
            subject=subject, tenant_id=EVERY_TENANT, projects=[EVERY_TENANT], roles=[ROLE_OPERATOR], life_s=life_s
        )
