"""Who is told what: exactly those concerned, once each."""

import json

from hypothesis import given
from hypothesis import strategies as st

from haas_common.eventstore import PAYLOAD_BYTES_MAX, payload_text
from haas_common.projections import Past
from haas_notifier import domain, projection
from haas_notifier.domain import Cause, Envelope, Facts, OwnedTask


def cause(type_: str, task_id: str = "T-1", version: int = 2, **payload) -> Cause:
    return Cause("t-one", "p-one", 7, type_, "pl-1", task_id, payload, version)


def owned(task_id: str, owner: str) -> OwnedTask:
    return OwnedTask(task_id, "", owner)


def told(envelopes: list[Envelope]) -> dict[str, str]:
    assert len({e.receiver_id for e in envelopes}) == len(envelopes)
    return {e.receiver_id: e.performative for e in envelopes}


def error(*halted: tuple[str, str], **payload) -> Cause:
    given = {"error_code": "TOOL_FAILED", "message": "no rows", "halted": [list(h) for h in halted]}
    return cause("ErrorDetected", "T-3.1", **{**given, **payload})


ERROR = error()
OLD_ERROR = cause("ErrorDetected", "T-3.1", 1, error_code="TOOL_FAILED", message="no rows")


def test_an_error_halts_exactly_the_owners_of_what_was_under_way_and_informs_those_of_what_cannot_start():
    affected = (owned("T-3", "a"), owned("T-4", "b"), owned("T-5", "b"), owned("T-6", "a"), owned("T-7", ""))
    found = domain.decide(error(("T-3", "a"), ("T-8", "c")), Facts("en", affected=affected, owners=("z",)))
    assert told(found) == {"a": "HALT", "b": "INFORM", "c": "HALT"}
    assert {(e.error_code, e.replan_scope) for e in found} == {("E_DEPENDENCY_FAILED", "sub_graph")}
    assert {e.message for e in found} == {"Dependency T-3.1 failed: no rows"}
    assert [(e.task_id, e.nl_summary) for e in found] == [
        ("T-3", "Stop T-3: T-3.1 failed."),
        ("T-4", "T-3.1 failed: T-4, T-5 cannot start."),
        ("T-8", "Stop T-8: T-3.1 failed."),
    ]


def test_an_error_of_the_first_version_halts_all_that_depends_on_it_as_it_did():
    affected = (owned("T-4", "a"), owned("T-5", "b"), owned("T-6", "a"))
    found = domain.decide(OLD_ERROR, Facts("en", affected=affected))
    assert told(found) == {"a": "HALT", "b": "HALT"}
    assert found[0].nl_summary == "Stop T-4, T-6: T-3.1 failed."


def test_a_leader_whose_task_failed_is_informed_unless_it_has_to_stop_itself():
    leader, after = owned("T-3", "leader"), owned("T-4", "a")
    assert told(domain.decide(error(("T-4", "a")), Facts("en", affected=(after,), leader=leader))) == {
        "a": "HALT",
        "leader": "INFORM",
    }
    found = domain.decide(error(("T-3", "leader")), Facts("en", affected=(leader, after), leader=leader))
    assert told(found) == {"leader": "HALT", "a": "INFORM"}


def test_an_error_that_nothing_depends_on_is_told_to_nobody():
    assert domain.decide(ERROR, Facts("en", owners=("a",), requester="ana", dependents=(owned("T-4", "a"),))) == []


def test_a_completed_task_is_told_to_the_owners_of_its_direct_dependents_with_an_artifact():
    done = cause("TaskCompleted", outputs={"report": "artf-2", "brief": "artf-1"})
    found = domain.decide(
        done, Facts("es", dependents=(owned("T-2", "a"), owned("T-3", "")), owners=("z",), requester="ana")
    )
    assert told(found) == {"a": "INFORM"}
    assert (found[0].context_artifact_id, found[0].error_code) == ("artf-1", "")
    assert found[0].nl_summary == "T-1 ha terminado; T-2 puede leer su resultado."


def test_a_plans_end_is_told_to_its_owners_and_its_requester():
    for type_ in domain.END_STATES:
        found = domain.decide(cause(type_), Facts("es", owners=("a", "b", ""), requester="ana@x"))
        assert told(found) == {"a": "INFORM", "b": "INFORM", "requester:ana@x": "INFORM"}


def test_other_events_are_told_to_nobody():
    facts = Facts("es", affected=(owned("T-2", "a"),), dependents=(owned("T-2", "a"),), owners=("a",), requester="ana")
    for type_ in ("TaskStarted", "TaskFailed", "NotificationSent", "PlanStarted", "BreakerOpened", "Unheard"):
        assert domain.decide(cause(type_), facts) == []


def test_a_text_is_in_the_plans_language_and_in_english_for_another():
    texts = {lang: domain.decide(error(("T-4", "a")), Facts(lang))[0].nl_summary for lang in ("es", "en", "fr")}
    assert texts["es"] == "Detener T-4 por fallo en T-3.1."
    assert texts["fr"] == texts["en"] == "Stop T-4: T-3.1 failed."


def test_every_text_exists_in_both_languages():
    assert domain._TEXTS["es"].keys() == domain._TEXTS["en"].keys()


def test_a_text_names_a_few_tasks_and_counts_the_rest():
    many = [(f"T-{n}", "a") for n in range(4, 12)]
    found = domain.decide(error(*many), Facts("en"))
    assert found[0].nl_summary == "Stop T-4, T-5, T-6, T-7, T-8 and 3 more: T-3.1 failed."


def test_a_payload_of_another_shape_still_leads_to_its_envelopes():
    assert told(domain.decide(cause("ErrorDetected", message=None), Facts("en", affected=(owned("T-2", "a"),)))) == {
        "a": "INFORM"
    }
    assert told(domain.decide(cause("TaskCompleted"), Facts("en", dependents=(owned("T-2", "a"),)))) == {"a": "INFORM"}


def test_a_message_has_the_same_id_however_often_it_is_decided():
    facts = Facts("en", affected=(owned("T-4", "a"), owned("T-5", "b")))
    first, second = (domain.decide(ERROR, facts) for _ in range(2))
    assert [e.message_id for e in first] == [e.message_id for e in second]
    assert len({e.message_id for e in first}) == 2


def test_an_envelope_has_the_plans_form():
    decided = domain.decide(error(("T-4", "a")), Facts("es"))
    told = Past(
        "t-one", "p-one", 9, "notify/pl-1", 1, "NotificationSent", "pl-1", "", domain.SENDER_ID,
        domain.sent_payload(decided), "2025-11-08T14:01:00+00:00",
    )  # fmt: skip
    envelope = projection.rows(told)[0]["envelope"]
    assert list(envelope)[:11] == [
        "message_id", "conversation_id", "sender_id", "receiver_id", "timestamp", "performative", "schema_version",
        "tenant_id", "project_id", "nl_summary", "content",
    ]  # fmt: skip
    assert envelope["content"]["message"] == "Fallo en dependencia T-3.1: no rows"
    assert json.loads(json.dumps(envelope)) == envelope


def test_a_leader_is_the_task_above():
    assert [domain.leader_of(t) for t in ("T-3", "T-3.2", "T-3.2.10", "")] == ["", "T-3", "T-3.2", ""]


receivers = st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=210
)


@given(
    st.lists(st.tuples(st.sampled_from(["pl-1", "pl-2"]), st.integers(1, 2**62), receivers), max_size=300),
    st.integers(1, 4),
)
def test_envelopes_are_told_whole_in_events_that_have_room_for_them(keys, times):
    envelopes = [Envelope("t-one", "p-one", seq, plan, receiver, "INFORM", "") for plan, seq, receiver in keys] * times
    batches = domain.sent_batches(envelopes)
    assert sorted(map(repr, (e for b in batches for e in b))) == sorted(map(repr, envelopes))
    for batch in batches:
        assert len({e.plan_id for e in batch}) == 1
        payload = domain.sent_payload(batch)
        assert len(payload_text(payload).encode()) <= PAYLOAD_BYTES_MAX
        named = [(e["cause_seq"], r[0]) for e in payload["envelopes"] for r in e["receivers"]]
        assert sorted(named) == sorted((e.cause_seq, e.receiver_id) for e in batch)


def test_the_longest_receivers_there_are_fill_several_events():
    envelopes = [Envelope("t-one", "p-one", 2**62 + n, "pl-1", "\x01" * 210, "INFORM", "") for n in range(100)]
    batches = domain.sent_batches(envelopes)
    assert len(batches) > 1
    assert max(len(payload_text(domain.sent_payload(b)).encode()) for b in batches) <= PAYLOAD_BYTES_MAX


def test_a_token_opens_the_inboxes_of_its_agents_its_holder_and_its_roles():
    opened = domain.visible_receivers(["a", "b", "a"], "ana", ["member", "legal"])
    assert opened == ("a", "b", "requester:ana", "role:member", "role:legal")


def test_a_decision_is_wanted_of_those_who_may_take_it_and_of_the_requester():
    asked = cause("ApprovalRequested", "T-2", 1, role="legal", text="¿Se publica?", expires_us=1)
    found = domain.decide(asked, Facts("es", "artf-brief", "ana", owners=("a",)))
    assert told(found) == {"role:legal": "REQUEST", "requester:ana": "REQUEST"}
    assert {e.nl_summary for e in found} == {"T-2 del plan pl-1 espera una decisión de legal: ¿Se publica?"}
    assert {(e.task_id, e.message, e.context_artifact_id) for e in found} == {("T-2", "¿Se publica?", "artf-brief")}
    reminded = domain.decide(cause("ApprovalReminded", "T-2", 1, number=2, role="legal"), Facts("en"))
    assert told(reminded) == {"role:legal": "REQUEST"}
    assert reminded[0].nl_summary == "T-2 of plan pl-1 still waits for a decision of legal (reminder 2)."


def test_a_pause_is_told_to_the_requester_where_a_budget_led_to_it():
    paused = {c: cause("PlanPaused", "", 1, reason="the budget of tokens is used up", cause=c) for c in ("budget", "x")}
    (found,) = domain.decide(paused["budget"], Facts("en", requester="ana", owners=("a",)))
    assert (found.receiver_id, found.performative) == ("requester:ana", "INFORM")
    assert (found.nl_summary, found.message) == (
        "Plan pl-1 is paused: its budget is used up.",
        "the budget of tokens is used up",
    )
    assert domain.decide(paused["x"], Facts("en", requester="ana")) == []


def test_a_repair_is_told_to_the_requester_and_the_failed_tasks_owner():
    facts = Facts("en", requester="ana", owner=owned("T-2", "a"), affected=(owned("T-3", "b"),))
    wanted = cause("ReplanRequired", "T-2", 1, scope="sub_graph", failed_task="T-2", reason="TOOL_FAILED")
    found = domain.decide(wanted, facts)
    assert told(found) == {"a": "INFORM", "requester:ana": "INFORM"}
    assert (found[0].error_code, found[0].replan_scope) == ("TOOL_FAILED", "sub_graph")
    assert found[0].nl_summary == "T-2 failed; that part of plan pl-1 is being planned anew."
    done = cause("PlanReplanned", "T-2", 1, revision=2, failed_task="T-2", explanation="another tool does T-2")
    found = domain.decide(done, facts)
    assert told(found) == {"a": "INFORM", "requester:ana": "INFORM"}
    assert found[0].nl_summary == "Plan pl-1 has revision 2: another tool does T-2"
    by_hand = cause("PlanReplanned", "", 1, revision=3, failed_task="", explanation="a wish")
    assert told(domain.decide(by_hand, Facts("en", requester="ana"))) == {"requester:ana": "INFORM"}


def test_a_changed_artifact_halts_its_owner_and_is_told_to_the_requester():
    payload = {"artifact_id": "artf-1", "version": 3, "problem": "its bytes were changed"}
    altered = cause("AuditFailed", **payload)
    for language, word in (("es", "ha cambiado"), ("en", "was changed")):
        facts = Facts(language, requester="ana", owner=OwnedTask("T-1", "Report", "specialist.report"))
        found = {e.receiver_id: e for e in domain.decide(altered, facts)}
        assert {k: e.performative for k, e in found.items()} == {"specialist.report": "HALT", "requester:ana": "INFORM"}
        for envelope in found.values():
            assert (envelope.error_code, envelope.context_artifact_id) == ("E_HASH_MISMATCH", "artf-1")
            assert word in envelope.nl_summary
    assert domain.decide(cause("AuditFailed", problem="x", stream="plan/pl-1", seq=4), facts) == []
