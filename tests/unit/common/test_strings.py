"""What the database cannot keep is found wherever it hides."""

import pytest
from google.api import httpbody_pb2

from haas.orchestrator.v1 import artifacts_pb2, orchestrator_pb2
from haas.planner.v1 import graph_pb2
from haas_common.errors import ToolFailed
from haas_common.eventstore import payload_text
from haas_common.strings import holds_nul, nul_in

NUL = "a\0b"


def request(**inputs: object) -> orchestrator_pb2.CreatePlanRequest:
    made = orchestrator_pb2.CreatePlanRequest(objective="x")
    made.inputs.update(inputs)
    return made


@pytest.mark.parametrize(
    "message",
    [
        orchestrator_pb2.CreatePlanRequest(objective=NUL),
        orchestrator_pb2.DetectIntentResponse(slots={"a": NUL}),
        orchestrator_pb2.DetectIntentResponse(slots={NUL: "a"}),
        orchestrator_pb2.CreatePlanRequest(graph=graph_pb2.Graph(tasks=[graph_pb2.Task(title=NUL)])),
        orchestrator_pb2.GetPlanStatusResponse(artifact_ids=["a", NUL]),
        request(a=NUL),
        request(**{NUL: 1}),
        request(a=[{"b": [NUL]}]),
    ],
)
def test_a_nul_is_found_in_any_text_of_a_message(message) -> None:
    assert holds_nul(message)


@pytest.mark.parametrize(
    "message",
    [
        request(a=1, b=0.0, c="text", d=[1, {"e": None}]),
        artifacts_pb2.UploadInputRequest(name="a.csv", file=httpbody_pb2.HttpBody(data=b"a\0b")),
        orchestrator_pb2.DetectIntentResponse(slots={"a": "b"}, confidence=1.0),
    ],
)
def test_numbers_and_bytes_may_hold_zeros(message) -> None:
    assert b"\0" in message.SerializeToString()
    assert not holds_nul(message)


@pytest.mark.parametrize("value", [NUL, {"a": [{"b": NUL}]}, {NUL: 1}, [["", (NUL,)]]])
def test_a_nul_is_found_in_any_text_of_a_json_value(value: object) -> None:
    assert nul_in(value)
    with pytest.raises(ValueError, match="NUL"):
        payload_text({"value": value if not isinstance(value, dict) else {**value}})


def test_a_backslash_and_letters_are_no_nul() -> None:
    assert not nul_in({"a": "\\u0000", "b": [0, None, True]})
    assert payload_text({"a": "\\u0000"}) == '{"a":"\\\\u0000"}'


def test_an_error_that_quotes_data_can_be_kept_in_the_history() -> None:
    error = ToolFailed(f"There is no column {NUL}.", tool="data.table", cause=NUL)
    assert "\0" not in error.message + error.metadata["cause"]
