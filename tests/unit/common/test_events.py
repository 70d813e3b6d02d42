"""Event types: what is checked before it is kept, what old payloads become, which fields are a person's."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_common import events
from haas_common.events import EVENT_TYPES, UPCASTERS, check, personal_paths, upcast
from haas_common.eventstore import event_text
from tests.support.samples import resolved, sample, schema_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FREE = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=3), max_size=3)


def payloads(part: dict[str, Any], whole: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a part of a type's schema allows."""
    schema = resolved(part, whole)
    if "anyOf" in schema:
        return st.one_of(*(payloads(choice, whole) for choice in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    kind = schema["type"]
    if kind == "object" and "properties" not in schema:
        inner = schema.get("additionalProperties")
        return (
            st.dictionaries(TEXT, payloads(inner, whole), max_size=3)
            if isinstance(inner, dict)
            else whole_or_free(schema)
        )
    if kind == "object":
        fields = {name: payloads(field, whole) for name, field in schema["properties"].items()}
        needed = set(schema.get("required", ()))
        return st.fixed_dictionaries(
            {n: s for n, s in fields.items() if n in needed},
            optional={n: s for n, s in fields.items() if n not in needed},
        )
    if kind == "array":
        items = payloads(schema["items"], whole)
        return st.lists(items, min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 3))
    if kind == "string":
        text = st.from_regex(schema["pattern"], fullmatch=True) if "pattern" in schema else TEXT
        return text.filter(lambda t: len(t) >= schema.get("minLength", 0) and not t.endswith("\n"))
    bounds = {"min_value": schema.get("minimum"), "max_value": schema.get("maximum")}
    numbers = {"integer": st.integers(**bounds), "number": st.floats(**bounds, allow_nan=False, allow_infinity=False)}
    return {**numbers, "boolean": st.booleans(), "null": st.none()}[kind]


def whole_or_free(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An event that says nothing beside its type, or an object of any content."""
    return FREE if schema.get("additionalProperties") else st.just({})


def of_type(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return payloads(schema_of(name), schema_of(name))


TYPED = st.sampled_from(sorted(EVENT_TYPES)).flatmap(lambda name: st.tuples(st.just(name), of_type(name)))


# ── What may be kept ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_a_sample_of_every_type_can_be_kept(name: str) -> None:
    assert json.loads(event_text(name, sample(name))) == sample(name)


@given(TYPED)
def test_what_a_types_model_allows_can_be_checked_and_reads_back_the_same(typed: tuple[str, dict[str, Any]]) -> None:
    name, payload = typed
    check(name, payload)
    assert json.loads(json.dumps(payload)) == payload


@given(TYPED, st.data())
def test_a_payload_without_a_required_field_is_refused(typed: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    name, payload = typed
    required = schema_of(name).get("required", [])
    if required:
        lost = data.draw(st.sampled_from(required))
        with pytest.raises(ValueError, match=f"{name} breaks its type .*{lost}: missing"):
            check(name, {k: v for k, v in payload.items() if k != lost})


@given(TYPED)
def test_a_payload_with_a_field_more_is_refused(typed: tuple[str, dict[str, Any]]) -> None:
    name, payload = typed
    with pytest.raises(ValueError, match=r"of_nobody: extra_forbidden"):
        check(name, {**payload, "of_nobody": 1})


@given(TYPED, st.data())
def test_a_field_of_another_type_is_refused(typed: tuple[str, dict[str, Any]], data: st.DataObject) -> None:
    name, payload = typed
    if payload:
        field = data.draw(st.sampled_from(sorted(payload)))
        with pytest.raises(ValueError, match=f"{name} breaks its type .*{field}"):
            check(name, {**payload, field: object()})


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("TaskStarted", {"attempt": "1"}), ("TaskStarted", {"attempt": True}), ("TaskStarted", {"attempt": 1.0}),
        ("TaskStarted", {"attempt": 0}), ("TaskStarted", {"attempt": 1, "phase": "nap"}), ("TaskStarted", None),
        ("PlanCompleted", [("tasks", 1)]), ("TaskCompleted", {"attempt": 1, "outputs": {"v": None}}),
        ("IntentDetected", sample("IntentDetected", confidence=math.nan)),
        ("TaskRetryScheduled", sample("TaskRetryScheduled", delay_s=math.inf)),
    ],
)  # fmt: skip
def test_nothing_is_converted_and_no_number_is_not_one(name: str, payload: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} breaks its type"):
        check(name, payload)


def test_no_number_of_a_free_object_is_not_one() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        event_text("BriefCreated", sample("BriefCreated", audit={"score": math.nan}))


def test_an_event_of_no_type_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no event type PlanDreamed"):
        check("PlanDreamed", {})


def test_a_refusal_names_type_field_and_rule_and_never_a_value_or_a_key_of_a_person() -> None:
    payload = sample("PlanCreated", slots={"juan.perez@example.org": 7}, objective=["call Juan"])
    with pytest.raises(ValueError) as refused:
        check("PlanCreated", payload)
    assert str(refused.value) == "PlanCreated breaks its type (objective: string_type; slots.…: string_type)"
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


# ── What was kept long ago ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_every_older_version_has_its_way_to_the_current_one(name: str) -> None:
    ways = {version for of, version in UPCASTERS if of == name}
    assert ways == set(range(1, EVENT_TYPES[name].schema_version))


def test_every_upcaster_belongs_to_a_type() -> None:
    assert {name for name, _ in UPCASTERS} <= set(EVENT_TYPES)


@pytest.mark.parametrize("name", ["ArtifactProduced", "ArtifactUpdated"])
def test_an_artifact_of_version_one_gets_the_fields_that_it_lacked(name: str) -> None:
    old = sample(name)
    new = upcast(name, 1, old)
    assert new == {**old, "signer_key": "", "certificate": "", "chunk_bytes": 0, "chunks": []}
    assert "chunks" not in old
    check(name, new)


def test_a_notification_of_version_one_names_whom_it_told_and_no_envelope() -> None:
    old = {"envelopes": [{"cause_seq": 7, "receivers": [["agent", "HALT"]]}]}
    new = upcast("NotificationSent", 1, old)
    assert new == {"envelopes": [{"cause_seq": 7, "receivers": [["agent", "HALT"]], "envelope": None}]}
    assert old == {"envelopes": [{"cause_seq": 7, "receivers": [["agent", "HALT"]]}]}
    check("NotificationSent", new)


def test_the_steps_from_version_to_version_are_taken_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = EVENT_TYPES["PlanStarted"]
    newer = events.EventType(kind.name, kind.stream, kind.owner, 3, kind.payload, kind.description)
    monkeypatch.setattr(events, "EVENT_TYPES", {kind.name: newer})
    monkeypatch.setitem(UPCASTERS, (kind.name, 1), lambda old: {"path": [*old["path"], 2]})
    monkeypatch.setitem(UPCASTERS, (kind.name, 2), lambda old: {"path": [*old["path"], 3]})
    assert [upcast(kind.name, n, {"path": [n]})["path"] for n in (1, 2, 3)] == [[1, 2, 3], [2, 3], [3]]


@pytest.mark.parametrize("version", [0, -1, 3])
def test_a_version_that_this_code_does_not_know_is_refused(version: int) -> None:
    with pytest.raises(ValueError, match=f"ArtifactProduced of version {version} is not known here; the newest is 2"):
        upcast("ArtifactProduced", version, sample("ArtifactProduced"))


# ── What is a person's ──────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_person_may_have_said_is_marked() -> None:
    assert {name: personal_paths(name) for name in EVENT_TYPES if personal_paths(name)} == {
        "TokenIssued": (("subject",),),
        "InputUploaded": (("name",),),
        "IntentDetected": (("text",), ("slots",)),
        "BriefCreated": (("goals",), ("audit",)),
        "PlanCreated": (("objective",), ("slots",), ("goals",), ("inputs",)),
        "TaskPlanned": (("task", "title"), ("task", "params"), ("task", "policy", "compensation"), ("task", "control")),
        "TaskCompleted": (("values",),),
        "TaskRetryScheduled": (("message",),),
        "TaskFailed": (("message",),),
        "TaskSkipped": (("reason",), ("values",)),
        "ErrorDetected": (("message",),),
        "PlanPaused": (("reason",),),
        "PlanResumed": (("reason",),),
        "PlanReopened": (("reason",),),
        "PlanFailed": (("failure",), ("report",)),
        "PlanCancelled": (("reason",),),
        "PlanReplanned": (("explanation",),),
        "SignalReceived": (("value",),),
        "ApprovalRequested": (("text",),),
        "ApprovalDecided": (("comment",),),
        "CompensationStarted": (("reason",),),
        "ToolDenied": (("metadata",),),
        "NotificationSent": (
            ("envelopes", "*", "envelope", "nl_summary"),
            ("envelopes", "*", "envelope", "content", "message"),
        ),
    }


def test_nothing_of_a_type_that_is_not_there_is_personal() -> None:
    with pytest.raises(ValueError, match="there is no event type"):
        personal_paths("PlanDreamed")
