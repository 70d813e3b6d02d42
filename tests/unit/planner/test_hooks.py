"""Webhooks: signatures as Standard Webhooks has them, and what a body says of a plan."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_client.webhooks import signed
from haas_common.db import Scope
from haas_common.errors import FieldInvalid, HaasError, PayloadTooLarge, TokenExpired, TokenInvalid, TokenMissing
from haas_planner.hooks import domain
from haas_planner.hooks.domain import BODY_BYTES_MAX, TOLERANCE_S, VALUE_BYTES_MAX, Hook

# The example of the specification's reference libraries.
SECRET_TEXT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET = base64.b64decode(SECRET_TEXT.removeprefix("whsec_"))
MESSAGE, AT_S, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


def headers(**changed: str) -> dict[str, str]:
    told = {"webhook_id": MESSAGE, "webhook_timestamp": str(AT_S), "webhook_signature": SIGNATURE, **changed}
    return {name.replace("_", "-"): value for name, value in told.items() if value}


def hook(plan_path: str = "", value_path: str = "") -> Hook:
    return Hook(Scope("t-one", "p-one"), "pay", "paid", plan_path, value_path)


def test_a_signature_is_that_of_the_specification() -> None:
    assert domain.sign(SECRET, MESSAGE, AT_S, BODY) == SIGNATURE
    assert signed(SECRET_TEXT, BODY, MESSAGE, AT_S) == headers()
    assert domain.secret_text(SECRET) == SECRET_TEXT
    assert domain.verify(SECRET, headers(), BODY, AT_S) == MESSAGE


def test_what_signs_makes_up_an_id_and_knows_the_time() -> None:
    first, second = signed(SECRET_TEXT, BODY), signed(SECRET_TEXT, BODY)
    assert first["webhook-id"] != second["webhook-id"]
    assert abs(int(first["webhook-timestamp"]) - int(second["webhook-timestamp"])) <= 5
    for secret in ("MfKQ9r8G", "whsec_?"):
        with pytest.raises(ValueError, match="whsec_"):
            signed(secret, BODY)


@pytest.mark.parametrize(
    "signature",
    [f"{OTHER} {SIGNATURE}", f"v1a,x {SIGNATURE}", f"v1,??? {SIGNATURE}", f"{SIGNATURE} {OTHER}", f" {SIGNATURE}"],
)
def test_one_of_several_signatures_is_enough(signature: str) -> None:
    assert domain.verify(SECRET, headers(webhook_signature=signature), BODY, AT_S) == MESSAGE


@pytest.mark.parametrize("drift_s", [-TOLERANCE_S, 0, TOLERANCE_S])
def test_a_signature_is_taken_within_its_time(drift_s: int) -> None:
    assert domain.verify(SECRET, headers(), BODY, AT_S + drift_s) == MESSAGE


@pytest.mark.parametrize("drift_s", [-TOLERANCE_S - 1, TOLERANCE_S + 1, 10**9])
def test_a_signature_of_another_time_is_refused(drift_s: int) -> None:
    with pytest.raises(TokenExpired):
        domain.verify(SECRET, headers(), BODY, AT_S + drift_s)


@pytest.mark.parametrize("missing", ["webhook_id", "webhook_timestamp", "webhook_signature"])
def test_what_is_not_signed_is_refused(missing: str) -> None:
    with pytest.raises(TokenMissing):
        domain.verify(SECRET, headers(**{missing: ""}), BODY, AT_S)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook_id": "msg_other"}, {"webhook_timestamp": str(AT_S + 1)}, {"webhook_signature": OTHER},
        {"webhook_signature": SIGNATURE.replace("v1,", "v2,")}, {"webhook_signature": "v1,"},
        {"webhook_signature": SIGNATURE.removeprefix("v1,")}, {"webhook_signature": "v1,\u00e9"},
        {"webhook_timestamp": "1e9"}, {"webhook_timestamp": "-1"}, {"webhook_timestamp": "\u0663"},
        {"webhook_timestamp": "9" * 13}, {"webhook_id": "m" * 257},
        {"webhook_signature": " ".join([OTHER] * 8 + [SIGNATURE])},
    ],
)  # fmt: skip
def test_another_signature_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(TokenInvalid):
        domain.verify(SECRET, headers(**changed), BODY, AT_S)


def test_another_body_or_secret_and_no_hook_are_refused_alike() -> None:
    said = set()
    for secret, body in ((SECRET, BODY + b" "), (SECRET[1:], BODY), (None, BODY)):
        with pytest.raises(TokenInvalid) as refused:
            domain.verify(secret, headers(), body, AT_S)
        said.add(refused.value.message)
    assert len(said) == 1


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()))
def test_no_header_is_taken_or_breaks_anything(given_headers: dict[str, str]) -> None:
    with pytest.raises(HaasError):
        domain.verify(SECRET, given_headers, BODY, AT_S)


def test_the_same_webhook_is_the_same_request_and_each_hook_has_its_own() -> None:
    assert domain.request_id_of("pay", "a") == domain.request_id_of("pay", "a")
    assert len({domain.request_id_of(*of) for of in (("pay", "a"), ("pay", "b"), ("ship", "a"))}) == 3


def test_an_address_is_the_hooks() -> None:
    assert hook().url_path == "/v1/signals/t-one.p-one.pay"
    assert domain.located("t-one.p-one.pay") == (Scope("t-one", "p-one"), "pay")


def test_a_plan_is_named_by_the_url_or_found_in_the_body() -> None:
    document = {"data": {"plan": "pl-aaaaaaaa", "n": 7}}
    assert domain.plan_of(hook(), document, "pl-bbbbbbbb") == "pl-bbbbbbbb"
    assert domain.plan_of(hook("data.plan"), document, "pl-bbbbbbbb") == "pl-bbbbbbbb"
    assert domain.plan_of(hook("data.plan"), document, "") == "pl-aaaaaaaa"
    for path in ("", "data", "data.n", "data.nothing", "'pl-../../x'", "data | length(n)"):
        with pytest.raises(FieldInvalid):
            domain.plan_of(hook(path), document, "")


@pytest.mark.parametrize(
    ("path", "document", "value"),
    [
        ("", {"sum": 12}, {"sum": 12}), ("", [1, 2], {"value": [1, 2]}), ("", "text", {"value": "text"}),
        ("data.{sum: amount}", {"data": {"amount": 9}}, {"sum": 9}), ("n", {"n": 0}, {"value": 0}),
        ("a || b", {"b": {"c": 1}}, {"c": 1}),
    ],
)  # fmt: skip
def test_a_value_is_the_body_or_a_part_of_it(path: str, document: object, value: dict) -> None:
    assert domain.value_of(hook("", path), document) == value


@pytest.mark.parametrize("path", ["nothing", "abs(n)"])
def test_a_value_that_is_not_there_is_refused(path: str) -> None:
    with pytest.raises(FieldInvalid):
        domain.value_of(hook("", path), {"n": "text"})


def test_sizes_are_bounded() -> None:
    big = {"a": "x" * VALUE_BYTES_MAX, "b": 1}
    with pytest.raises(PayloadTooLarge):
        domain.value_of(hook(), big)
    assert domain.value_of(hook("", "{b: b}"), domain.read(json.dumps(big).encode())) == {"b": 1}
    with pytest.raises(PayloadTooLarge):
        domain.read(b" " * (BODY_BYTES_MAX + 1))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b"a=1&b=2"])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(FieldInvalid):
        domain.read(body)


@pytest.mark.parametrize(("field", "expression"), [("plan_path", "a["), ("value_path", "shell(a)")])
def test_a_hook_whose_expression_is_none_is_refused(field: str, expression: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        domain.check(hook(**{field: expression}))
    assert refused.value.metadata["field"] == field
