"""Tokens: what verifies, and the many ways that do not."""

import base64
import hashlib
import hmac
import json
import shutil
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from haas_common import auth, pki
from haas_common.auth import Issuer, Verifier
from haas_common.errors import TokenExpired, TokenInvalid, TokenMissing

NOW = 1_800_000_000


class Clock:
    """A time of day that the test moves."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


class Keys:
    """The fleet's keys, a verifier and both issuers at one clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.jwks = folder / "gateway" / "jwks.json"
        self.verifier = Verifier(self.jwks, self.clock)
        self.gateway = Issuer(folder / "gateway" / "token.pem", "gw", self.clock)
        self.planner = Issuer(folder / "planner" / "token.pem", "pl", self.clock)

    def private(self, service: str = "gateway") -> ec.EllipticCurvePrivateKey:
        prefix = pki.KID_PREFIX[service]
        return pki.load_token_key((self.folder / service / "token.pem").read_bytes(), prefix)[0]

    def kid(self, service: str = "gateway") -> str:
        return pki.jwk(self.private(service).public_key(), pki.KID_PREFIX[service])["kid"]

    def sign(self, *, service: str = "gateway", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token with a good signature and these claims changed; None takes one away."""
        payload = {**CLAIMS, **claims}
        payload = {name: value for name, value in payload.items() if value is not None}
        head = {"kid": self.kid(service), **(headers or {})}
        return jwt.encode(payload, self.private(service), algorithm="ES256", headers=head)


CLAIMS: dict[str, Any] = {
    "iss": "haas", "aud": "haas-api", "sub": "ana", "tenant_id": "t-one", "projects": ["p-one"], "roles": ["member"],
    "scopes": ["plans.read"], "agents": [], "iat": NOW, "exp": NOW + 900, "jti": "j-1", "auth_time": NOW,
}  # fmt: skip


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fleet") / "secrets"
    pki.write_fleet_secrets(folder, ["gateway", "planner"])
    return folder


@pytest.fixture
def keys(secrets, tmp_path) -> Keys:
    return Keys(shutil.copytree(secrets, tmp_path / "secrets"))


def test_a_token_says_what_was_issued(keys):
    token = keys.gateway.issue(
        subject="ana", tenant_id="t-one", projects=["p-one", "p-two"], roles=["admin"], agents=["leader.marketing"]
    ).token
    claims = keys.verifier.verify(token)
    assert (claims.subject, claims.tenant_id, claims.projects) == ("ana", "t-one", ("p-one", "p-two"))
    assert set(claims.scopes) == set(auth.SCOPES_BY_ROLE["admin"])
    assert (claims.audience, claims.expires_at, claims.auth_time) == ("haas-api", NOW + 900, NOW)
    assert token not in repr(claims)


def test_an_internal_token_is_bound_to_its_task(keys):
    facts = {"plan_id": "pl-1", "task_id": "T-1", "profile_id": "one_v1"}
    issued = keys.planner.issue(
        subject="planner", tenant_id="t-one", projects=["p-one"], scopes=["tools.invoke"], **facts
    )
    claims = keys.verifier.verify(issued.token)
    assert (claims.audience, claims.plan_id, claims.task_id, claims.profile_id) == (
        "haas-internal", "pl-1", "T-1", "one_v1",
    )  # fmt: skip


def test_roles_hold_what_the_contract_says_and_the_operator_nothing_of_a_tenant():
    viewer, member, admin = (set(auth.SCOPES_BY_ROLE[role]) for role in ("viewer", "member", "admin"))
    assert viewer < member < admin
    assert admin.isdisjoint(auth.SCOPES_BY_ROLE["operator"])
    assert not any(scope.endswith((".write", ".invoke")) for scope in viewer)


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "evil"}, {"iss": None}, {"aud": "haas-internal"}, {"aud": "other"}, {"aud": None},
        {"aud": ["haas-api", "haas-internal"]}, {"sub": None}, {"sub": ""}, {"sub": 5}, {"sub": "x" * 201},
        {"exp": None}, {"exp": "soon"}, {"exp": True}, {"exp": NOW + 900.5}, {"exp": NOW + 7200}, {"exp": 1 << 60},
        {"iat": None}, {"iat": NOW + 3600, "exp": NOW + 3700}, {"nbf": NOW + 3600}, {"nbf": "x"}, {"jti": None},
        {"jti": ""}, {"auth_time": None}, {"auth_time": -1}, {"tenant_id": None}, {"tenant_id": ["t-one"]},
        {"tenant_id": "T-ONE"}, {"tenant_id": ""}, {"tenant_id": "*"}, {"tenant_id": "*", "projects": ["*"]},
        {"projects": ["*"]}, {"roles": ["operator"]}, {"projects": "p-one"}, {"projects": ["../x"]}, {"projects": [1]},
        {"projects": ["p"] * 201}, {"roles": "member"}, {"scopes": {"plans.read": True}},
        {"agents": None, "plan_id": 5},
    ],
    ids=str,
)  # fmt: skip
def test_a_good_signature_does_not_save_claims_that_break_a_rule(keys, changed):
    with pytest.raises(TokenInvalid):
        keys.verifier.verify(keys.sign(**changed))


def test_alg_none_is_refused_in_every_spelling(keys):
    payload = b64(json.dumps(CLAIMS).encode())
    for spelling in ("none", "None", "NONE", ""):
        header = b64(json.dumps({"alg": spelling, "kid": keys.kid()}).encode())
        for signature in ("", keys.sign().split(".")[2]):
            with pytest.raises(TokenInvalid):
                keys.verifier.verify(f"{header}.{payload}.{signature}")


def test_the_public_key_is_no_hmac_secret(keys):
    public = keys.private().public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    raw = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    head = b64(json.dumps({"alg": "HS256", "kid": keys.kid()}).encode())
    signed = f"{head}.{b64(json.dumps(CLAIMS).encode())}"
    for secret in (pem, raw, keys.jwks.read_bytes(), b""):
        forged = b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())
        with pytest.raises(TokenInvalid):
            keys.verifier.verify(f"{signed}.{forged}")


@pytest.mark.parametrize("algorithm", ["ES384", "EdDSA"])
def test_another_algorithm_is_refused_even_with_our_key_id(keys, algorithm):
    other = ec.generate_private_key(ec.SECP384R1()) if algorithm == "ES384" else ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(TokenInvalid):
        keys.verifier.verify(jwt.encode(CLAIMS, other, algorithm=algorithm, headers={"kid": keys.kid()}))


def test_a_strangers_key_is_refused_whatever_id_it_takes(keys):
    stranger = ec.generate_private_key(ec.SECP256R1())
    for kid in (keys.kid(), "gw-unknown", "xx-1", "", "../../etc/passwd", 5, None):
        headers = {} if kid is None else {"kid": kid}
        signed = f"{b64(json.dumps({'alg': 'ES256', **headers}).encode())}.{b64(json.dumps(CLAIMS).encode())}"
        genuine = jwt.encode(CLAIMS, stranger, algorithm="ES256").split(".")[2]
        with pytest.raises(TokenInvalid):
            keys.verifier.verify(f"{signed}.{genuine}")


@pytest.mark.parametrize(
    "header", [{"jku": "https://evil"}, {"jwk": {"kty": "EC"}}, {"x5u": "x"}, {"crit": ["b64"]}, {"b64": False}]
)
def test_headers_that_bring_their_own_key_or_rules_are_refused(keys, header):
    head = b64(json.dumps({"alg": "ES256", "kid": keys.kid(), **header}).encode())
    payload = b64(json.dumps(CLAIMS).encode())
    algorithm = jwt.get_algorithm_by_name("ES256")
    signature = b64(algorithm.sign(f"{head}.{payload}".encode(), keys.private()))
    with pytest.raises(TokenInvalid):
        keys.verifier.verify(f"{head}.{payload}.{signature}")


def test_a_claim_that_stands_twice_is_refused(keys):
    payload = json.dumps(CLAIMS)[:-1] + ',"tenant_id":"t-two"}'
    head = b64(json.dumps({"alg": "ES256", "kid": keys.kid()}).encode())
    signed = f"{head}.{b64(payload.encode())}"
    signature = b64(jwt.get_algorithm_by_name("ES256").sign(signed.encode(), keys.private()))
    with pytest.raises(TokenInvalid):
        keys.verifier.verify(f"{signed}.{signature}")


def test_each_issuers_key_signs_its_own_audience_only(keys):
    for service, audience in (("planner", "haas-api"), ("gateway", "haas-internal")):
        with pytest.raises(TokenInvalid):
            keys.verifier.verify(keys.sign(service=service, aud=audience))
    # The planner's key under the gateway's id, and the other way round.
    for service, kid in (("planner", keys.kid("gateway")), ("gateway", keys.kid("planner"))):
        audience = auth.AUDIENCE_BY_KID[kid[:2]]
        with pytest.raises(TokenInvalid):
            keys.verifier.verify(keys.sign(service=service, headers={"kid": kid}, aud=audience))


def test_one_changed_bit_anywhere_is_refused(keys):
    token = keys.sign()
    for at in range(0, len(token), 7):
        if token[at] == ".":
            continue
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        # The last characters of a base64 text hold spare bits that decode to the same bytes.
        if at in (len(token) - 1, token.rindex(".") - 1, token.index(".") - 1):
            continue
        with pytest.raises(TokenInvalid):
            keys.verifier.verify(changed)


@pytest.mark.parametrize(
    "junk", ["x", "a.b", "..", "a.b.c", "é.é.é", "." * 9000, "e30.e30.", "W10.W10.AA", "\0", "bnVsbA.bnVsbA.AA"]
)
def test_what_is_no_token_is_refused(keys, junk):
    with pytest.raises(TokenInvalid):
        keys.verifier.verify(junk)


def test_no_token_is_missing_not_invalid(keys):
    with pytest.raises(TokenMissing):
        keys.verifier.verify("")


def test_a_token_ends_at_its_time_also_when_it_was_verified_before(keys):
    token = keys.sign()
    assert keys.verifier.verify(token).subject == "ana"
    keys.clock.now = NOW + 900 + auth.LEEWAY_S - 1
    assert keys.verifier.verify(token).subject == "ana"
    keys.clock.now = NOW + 900 + auth.LEEWAY_S
    with pytest.raises(TokenExpired):
        keys.verifier.verify(token)


def test_the_cache_is_bounded(keys, monkeypatch):
    monkeypatch.setattr(auth, "CACHE_MAX", 3)
    for number in range(10):
        keys.verifier.verify(keys.sign(jti=f"j-{number}"))
    assert len(keys.verifier._cache) == 3


def test_a_rotated_key_is_taken_and_a_removed_one_is_refused_at_once(keys):
    old = keys.gateway.issue(subject="ana", tenant_id="t-one", projects=["p-one"]).token
    kid = pki.rotate_token_key(keys.folder, "gateway", ["gateway", "planner"])
    new = keys.gateway.issue(subject="ana", tenant_id="t-one", projects=["p-one"]).token
    assert jwt.get_unverified_header(new)["kid"] == kid
    assert keys.verifier.verify(old).subject == keys.verifier.verify(new).subject == "ana"
    left = [key for key in json.loads(keys.jwks.read_text())["keys"] if key["kid"] == kid]
    pki.write_secret(keys.jwks, json.dumps({"keys": left}).encode())
    assert keys.verifier.verify(new).subject == "ana"
    with pytest.raises(TokenInvalid):
        keys.verifier.verify(old)


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"[]", b'{"keys":[{"kid":5}]}', b'{"keys":[{"kid":"gw-1","kty":"EC","crv":"P-256"}]}']
)
def test_a_broken_key_set_leaves_the_known_keys_in_force(keys, broken):
    token = keys.sign()
    pki.write_secret(keys.jwks, broken)
    assert keys.verifier.verify(token).subject == "ana"


def test_secrets_are_the_owners_alone_and_writing_them_again_changes_nothing(keys):
    def facts() -> dict[str, tuple[int, int, int]]:
        return {
            str(path): (path.stat().st_mode & 0o777, path.stat().st_ino, path.stat().st_mtime_ns)
            for path in keys.folder.rglob("*")
            if path.is_file()
        }

    before = facts()
    pki.write_fleet_secrets(keys.folder, ["gateway", "planner"])
    assert facts() == before
    assert {mode for mode, _, _ in before.values()} == {0o600}
    folders = [keys.folder, *(path for path in keys.folder.rglob("*") if path.is_dir())]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def test_the_default_clock_is_the_time_of_day(keys):
    token = Issuer(keys.folder / "gateway" / "token.pem", "gw").issue(
        subject="ana", tenant_id="t-one", projects=["p-one"]
    )
    assert abs(token.expires_at - time.time() - auth.TOKEN_LIFE_S) < 5
    assert Verifier(keys.jwks).verify(token.token).subject == "ana"
