"""What an event's payload is kept as: compact JSON that PostgreSQL reads back, or refused."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_common.eventstore import PAYLOAD_BYTES_MAX, payload_text

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_a_payload_reads_back_as_it_was(payload):
    text = payload_text(payload)
    assert json.loads(text) == payload
    assert not any(mark in text for mark in "\x1d\x1e\x1f\n")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_not_is_refused(number):
    with pytest.raises(ValueError, match="JSON"):
        payload_text({"n": [number]})


def test_the_name_of_such_a_number_is_a_text_like_any_other():
    assert payload_text({"n": "NaN Infinity"}) == '{"n":"NaN Infinity"}'


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_postgresql_cannot_read_is_refused(text):
    with pytest.raises(ValueError, match=r"NUL|utf-8|surrogate"):
        payload_text({"t": text})


def test_a_payload_has_a_limit_in_bytes():
    fits = "ñ" * ((PAYLOAD_BYTES_MAX - len('{"t":""}')) // 2)
    assert payload_text({"t": fits})
    with pytest.raises(ValueError, match="at most"):
        payload_text({"t": fits + "ñ"})
