"""What the orchestrator says to the planner and of its history: contracts survive, values stay within their limits."""

import pytest
from google.protobuf import json_format, struct_pb2

from haas_common.errors import FieldInvalid
from haas_orchestrator import messages
from haas_orchestrator.control.servicer import VALUE_BYTES_MAX, value_text
from haas_planner.graph import Policy, Slot, Task, task_to_json
from haas_planner.translate import task_to_proto

UNDO = {"kind": "tool", "skill": "refund.it", "params": {"sum": 7}}
TASKS = [
    Task("T-1", "specialist", "some.skill", "t", "a", (Slot("x", "value.x"),), (Slot("y", "value.y"),)),
    Task(
        "T-2", "approval", "approval", "t", "", (Slot("y", "value.y", "T-1"),), (Slot("z", "value.z"),), {"n": 1}, 5, 9,
        Policy(600, 5, 0.0, 3.0, 90.0, ("TOOL_TIMEOUT",), ("TOOL_FAILED",), 0, "key", 4, 5, 6, "continue", UNDO),
        {"role": "legal", "expires_s": 60}, {"y": {"type": "object"}, "z": True},
    ),
]  # fmt: skip


@pytest.mark.parametrize("task", TASKS, ids=[t.task_id for t in TASKS])
def test_a_task_of_the_history_is_the_message_that_the_planner_makes_of_it(task: Task) -> None:
    (found,) = messages.graph([task_to_json(task)], []).tasks
    assert found == task_to_proto(task)


def test_a_task_of_before_has_no_policy() -> None:
    kept = task_to_json(TASKS[0])
    assert "policy" not in kept
    (found,) = messages.graph([kept], []).tasks
    assert not found.HasField("policy")


def test_every_state_of_a_task_is_counted() -> None:
    found = messages.counts(6, {"waiting": 1, "skipped": 2, "superseded": 3})
    assert (found.waiting, found.skipped, found.superseded, found.running) == (1, 2, 3, 0)


def struct(value: dict[str, object]) -> struct_pb2.Struct:
    return json_format.ParseDict(value, struct_pb2.Struct())


def test_a_value_keeps_its_whole_numbers_and_nothing_is_no_text() -> None:
    assert value_text("value", struct({"a": 7, "b": [1.5, "ñ"]})) == '{"a": 7, "b": [1.5, "ñ"]}'
    assert value_text("value", struct({})) == ""


def test_a_value_that_is_too_large_or_too_deep_or_no_number_is_refused_by_its_field() -> None:
    deep: dict[str, object] = {}
    for _ in range(20):
        deep = {"a": deep}
    for value in (struct({"a": "x" * VALUE_BYTES_MAX}), struct(deep)):
        with pytest.raises(FieldInvalid) as refused:
            value_text("values", value)
        assert refused.value.metadata["field"] == "values"
    infinite = struct_pb2.Struct()
    infinite.fields["a"].number_value = float("inf")
    with pytest.raises(FieldInvalid):
        value_text("value", infinite)
