"""A graph survives the road through its messages, and a text that should be JSON is refused by its task and field."""

import dataclasses
import json

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from haas.planner.v1 import graph_pb2
from haas_common.errors import FieldInvalid, GraphInvalid
from haas_planner.graph import KINDS, NO_POLICY, Graph, Input, Policy, Slot, Task
from haas_planner.translate import (
    budget_from_proto,
    budget_to_proto,
    graph_from_proto,
    graph_to_proto,
    object_of,
    policy_from_proto,
    policy_to_proto,
    task_from_proto,
    task_to_proto,
)

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
NUMBERS = st.integers(0, 10**12)
SECONDS = st.floats(0, 86400, allow_nan=False)
PARAMS = st.dictionaries(
    NAMES, st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(max_size=5), max_size=3
)
POLICIES = st.builds(
    Policy,
    schedule_to_close_s=st.integers(0, 10**6),
    heartbeat_s=st.integers(0, 3600),
    backoff_s=SECONDS,
    backoff_factor=st.floats(1, 10),
    backoff_max_s=SECONDS,
    retry_on=st.lists(st.just("TOOL_TIMEOUT"), max_size=2).map(tuple),
    never_retry_on=st.lists(st.just("TOOL_FAILED"), max_size=2).map(tuple),
    priority=st.integers(0, 9),
    concurrency_key=NAMES | st.just(""),
    concurrency_max=st.integers(1, 1000),
    tokens_max=NUMBERS,
    money_micros_max=NUMBERS,
    on_failure=st.sampled_from(["repair", "fail", "continue"]),
    compensation=st.just({})
    | st.builds(
        lambda kind, params: {"kind": kind, "skill": "undo.it", "params": params},
        st.sampled_from(["specialist", "tool", "transform"]),
        PARAMS,
    ),
)
SCHEMA = {"type": "object", "required": ["total"]}


def task(**fields: object) -> Task:
    whole = Task(
        "T-1",
        "specialist",
        "some.skill",
        "Title",
        "agent",
        (Slot("a", "value.x"),),
        (Slot("b", "value.y"),),
        {"n": 1},
        3,
        60,
    )
    return dataclasses.replace(whole, **fields)


@given(POLICIES)
def test_a_policy_survives_the_road_through_its_message(policy: Policy) -> None:
    assert policy_from_proto("T-1", policy_to_proto(policy)) == policy


@given(st.sampled_from(KINDS), POLICIES | st.just(NO_POLICY), PARAMS, PARAMS)
def test_a_task_survives_the_road_through_its_message(kind, policy, params, control) -> None:
    whole = task(kind=kind, policy=policy, params=params, control=control, schemas={"a": SCHEMA, "b": True})
    assert task_from_proto(task_to_proto(whole), {}) == whole


def test_a_graph_survives_the_road_through_its_message() -> None:
    graph = Graph((task(), task(task_id="T-123456.999999")), (Input("a", "value.x", "7"),))
    assert graph_from_proto(graph_to_proto(graph)) == graph


def test_a_default_policy_leaves_nothing_in_the_message() -> None:
    assert not task_to_proto(task()).HasField("policy")
    assert policy_to_proto(NO_POLICY) == graph_pb2.Policy()
    assert policy_from_proto("T-1", graph_pb2.Policy()) == NO_POLICY


def test_a_policy_of_zero_is_not_the_default() -> None:
    policy = policy_from_proto("T-1", graph_pb2.Policy(priority=0, backoff_s=0))
    assert (policy.priority, policy.backoff_s) == (0, 0)


def test_every_kind_and_every_failure_policy_of_the_contract_is_known() -> None:
    for number in graph_pb2.TaskKind.values():
        message = graph_pb2.Task(task_id="T-1", kind=number, skill="s")
        if number:
            assert task_from_proto(message, {}).kind in KINDS
    for number in graph_pb2.OnFailure.values():
        assert policy_from_proto("T-1", graph_pb2.Policy(on_failure=number)).on_failure


def test_a_task_without_a_kind_is_refused_with_all_kinds() -> None:
    with pytest.raises(GraphInvalid) as refused:
        task_from_proto(graph_pb2.Task(task_id="T-1", skill="s"), {})
    assert refused.value.metadata["field"] == "kind"
    assert all(kind in refused.value.message for kind in KINDS)


@pytest.mark.parametrize("text", ["[]", "7", "{", "NaN", '{"a": Infinity}', "[" * 100_000])
@pytest.mark.parametrize("field", ["params_json", "control_json"])
def test_what_should_be_a_json_object_is_refused_by_its_field(field: str, text: str) -> None:
    message = graph_pb2.Task(task_id="T-1", kind=graph_pb2.TASK_KIND_WAIT, skill="wait", **{field: text})
    with pytest.raises(GraphInvalid) as refused:
        task_from_proto(message, {})
    assert (refused.value.metadata["task"], refused.value.metadata["field"]) == ("T-1", field)


@pytest.mark.parametrize("text", ["[]", '"x"', "{", "NaN"])
def test_a_schema_that_is_none_is_refused_by_its_slot(text: str) -> None:
    slot = graph_pb2.Slot(name="total", type="value.x", schema_json=text)
    message = graph_pb2.Task(task_id="T-1", kind=graph_pb2.TASK_KIND_TOOL, skill="t", writes=[slot])
    with pytest.raises(GraphInvalid) as refused:
        task_from_proto(message, {})
    assert refused.value.metadata["field"] == "total.schema_json"


def _task(**fields) -> graph_pb2.Task:
    """A task from its JSON, as it comes over REST or from a file."""
    return json_format.ParseDict(
        {"task_id": "T-1", "kind": "TASK_KIND_MAP", "skill": "map", **fields}, graph_pb2.Task()
    )


def test_plain_json_says_the_same_as_its_text() -> None:
    params, control = {"n": 3, "half": 0.5, "deep": [{"a": None, "b": [True, "é"]}]}, {"over": "x", "limit": 2}
    schema, undo = {"type": "object", "properties": {"a": {"const": False}}}, {"sum": 12}
    plain = _task(
        params=params, control=control, writes=[{"name": "total", "type": "value.x", "schema": schema}],
        policy={"compensation": {"kind": "TASK_KIND_TOOL", "skill": "t", "params": undo}},
    )  # fmt: skip
    text = _task(
        params_json=json.dumps(params), control_json=json.dumps(control),
        writes=[{"name": "total", "type": "value.x", "schema_json": json.dumps(schema)}],
        policy={"compensation": {"kind": "TASK_KIND_TOOL", "skill": "t", "params_json": json.dumps(undo)}},
    )  # fmt: skip
    found = task_from_proto(plain, {})
    assert found == task_from_proto(text, {})
    assert (found.params, found.control, found.schemas) == (params, control, {"total": schema})
    assert (type(found.params["n"]), found.policy.compensation["params"]) == (int, undo)
    # An answer has the text, and leads back to the same.
    assert task_from_proto(task_to_proto(found), {}) == found
    assert task_from_proto(_task(params={}, writes=[{"name": "a", "type": "value.x", "schema": {}}]), {}).schemas == {
        "a": {}
    }


def _nested(levels: int) -> dict:
    return {"a": _nested(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("params", {"params": {"a": 1}, "params_json": "{}"}),
        ("control", {"control": {}, "control_json": '{"a": 1}'}),
        ("total.schema", {"writes": [{"name": "total", "type": "value.x", "schema": {}, "schema_json": "true"}]}),
        ("params", {"params": {"a": "x" * 16_384}}),
        ("control", {"control": {"a": "é" * 8_192}}),
        ("params", {"params": _nested(41)}),
        ("total.schema", {"writes": [{"name": "total", "type": "value.x", "schema": {"title": "x" * 8_192}}]}),
        (
            "policy.compensation.params",
            {"policy": {"compensation": {"kind": "TASK_KIND_TOOL", "skill": "t", "params": {"a": "x" * 8_192}}}},
        ),
    ],
)
def test_plain_json_is_bounded_and_given_once(field: str, fields: dict) -> None:
    with pytest.raises(GraphInvalid) as refused:
        task_from_proto(_task(**fields), {})
    assert (refused.value.metadata["task"], refused.value.metadata["field"]) == ("T-1", field)


def test_numbers_that_json_cannot_say_are_refused() -> None:
    message = _task()
    message.params["a"] = float("inf")
    with pytest.raises(GraphInvalid, match="params"):
        task_from_proto(message, {})


def test_a_compensations_params_are_refused_like_a_tasks() -> None:
    undo = graph_pb2.Compensation(kind=graph_pb2.TASK_KIND_TOOL, skill="t", params_json="[]")
    with pytest.raises(GraphInvalid):
        policy_from_proto("T-1", graph_pb2.Policy(compensation=undo))


def test_a_budget_without_a_limit_is_not_there() -> None:
    assert budget_from_proto(graph_pb2.Budget(tokens=0, time_s=60)) == {"time_s": 60}
    assert budget_to_proto({"tokens": 5}) == graph_pb2.Budget(tokens=5)


def test_a_requests_object_is_an_object_or_nothing() -> None:
    assert object_of("value", "") == {}
    assert object_of("value", '{"a": 1}') == {"a": 1}
    with pytest.raises(FieldInvalid):
        object_of("value", "[1]")
