"""Frames of server-sent events: one line of data whatever is in it, and cursors that are numbers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas.notifier.v1 import notifier_pb2 as pb
from haas_common import errors
from haas_notifier import frames


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.integers(1, 2**62))
def test_a_frame_is_one_line_of_data_with_whatever_text_in_it(text, seq):
    event = pb.Event(seq=seq, type="TaskFailed", payload_json=json.dumps({"message": text}), actor=text)
    raw = frames.frame(event.type, frames.message_json(event), seq).decode()
    head, kind, data, *rest = raw.split("\n")
    assert (head, kind, rest) == (f"id: {seq}", "event: TaskFailed", ["", ""])
    assert "\r" not in raw
    shown = json.loads(data.removeprefix("data: "))
    assert (shown["actor"], shown["task_id"], json.loads(shown["payload_json"])) == (text, "", {"message": text})


def test_an_error_frame_is_the_status_that_a_grpc_caller_gets():
    raw = frames.error(errors.CursorOutOfRange("Too far.", first_seq=1, last_seq=9)).decode()
    assert raw.startswith("event: error\ndata: ")
    status = json.loads(raw.split("data: ")[1])
    assert (status["code"], status["message"], status["details"][0]["reason"]) == (
        11,
        "Too far.",
        "CURSOR_OUT_OF_RANGE",
    )
    assert status["details"][0]["metadata"] == {"first_seq": "1", "last_seq": "9"}


def test_the_header_goes_before_the_field():
    assert (frames.start_after(5, ""), frames.start_after(5, "12")) == (5, 12)


@pytest.mark.parametrize("value", ["x", "-1", "1.0", " 1", "٣", "1" * 19])
def test_a_header_that_is_no_seq_is_refused(value):
    with pytest.raises(errors.FieldInvalid) as caught:
        frames.start_after(0, value)
    assert caught.value.metadata["field"] == "Last-Event-ID"
