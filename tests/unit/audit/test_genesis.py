"""A history whose oldest events were dropped verifies from the document that the fleet signed, and from no other."""

import dataclasses
import datetime
import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haas_common.audit import checkpoints, genesis
from haas_common.audit.beginnings import Beginnings
from haas_common.audit.checkpoints import TENANT_PROJECT, Checkpoint, Record
from haas_common.audit.findings import Findings, Report
from haas_common.audit.genesis import Document, Genesis
from haas_common.audit.history import Marks, ProjectVerifier
from haas_common.audit.rows import line_of, time_of
from haas_common.audit.verify import Expected, verify
from tests.support import tampered
from tests.support.tampered import ARTIFACT_KEY, CHECKPOINT_KEY, KEYS, KIDS, TENANT, History, Memory, link, retired


def verified(history: History, expected: Expected | None = None) -> Report:
    return verify(Memory(history), KEYS["checkpoint"], KEYS["artifact"], expected)


def four() -> History:
    """Two projects and the tenant's own; a checkpoint after every fourth event of each."""
    history = History()
    for turn in range(4):
        for n in range(4):
            for project in ("p-one", "p-two"):
                history.add(project, f"plan/{turn}-{n % 2}")
        history.add("p-one", "plan/0-0")
        history.checkpoint()
    return history


def told(history: History, floors: Mapping[str, int]) -> Document:
    """What is true of a history whose projects end before these floors."""
    projects, checkpoint, records = {}, None, dict[str, Record]()
    for project, floor in floors.items():
        heads = {r["stream"]: (r["version"], bytes.fromhex(r["hash"])) for r in history.rows[project][: floor - 1]}
        projects[project] = Genesis(project, floor - 1, tuple((s, *head) for s, head in heads.items()))
    for row in history.rows[TENANT_PROJECT][: floors.get(TENANT_PROJECT, 1) - 1]:
        if row["event_type"] == checkpoints.EVENT_TYPE:
            checkpoint = checkpoints.read(TENANT, json.loads(row["payload"]))
            records |= {record.project_id: record for record in checkpoint.projects}
    return Document(TENANT, projects, checkpoint, tuple(records.values()))


def announced(history: History, found: Document, key: object = CHECKPOINT_KEY) -> History:
    """The same history, with the document and the event that signs it."""
    data = found.data()
    ref = tampered.ref_of(data)
    history.blobs[ref] = data
    first = [{"project_id": p, "first_seq": g.last_seq + 1} for p, g in found.projects.items()]
    signed = genesis.sign(found, ref, (KIDS["checkpoint"], key))  # type: ignore[arg-type]
    history.add(TENANT_PROJECT, genesis.stream_of(TENANT), genesis.EVENT_TYPE, {"projects": first, **signed})
    return history


def cut(history: History, floors: Mapping[str, int]) -> History:
    """The same history without what is below the floors."""
    for project, floor in floors.items():
        history.rows[project] = [row for row in history.rows[project] if row["seq"] >= floor]
    return history


def dropped(history: History, floors: Mapping[str, int], key: object = CHECKPOINT_KEY) -> History:
    return cut(announced(history, told(history, floors), key), floors)


@settings(max_examples=40)
@given(st.integers(1, 20), st.integers(1, 16), st.integers(1, 4))
def test_a_history_verifies_from_wherever_it_was_dropped_at_or_below_a_checkpoint(one: int, two: int, own: int) -> None:
    floors = {p: floor for p, floor in {"p-one": one, "p-two": two, TENANT_PROJECT: own}.items() if floor > 1}
    history = dropped(four(), floors) if floors else four()
    report = verified(history)
    assert report.findings.first == []
    assert report.dropped == {p: floor - 1 for p, floor in floors.items()}
    assert report.newest == 4


def test_it_goes_on_from_there_and_may_be_dropped_again() -> None:
    whole = four()
    announced(whole, told(whole, {"p-one": 6, TENANT_PROJECT: 3}))
    whole.add("p-one", "plan/9")
    whole.checkpoint()
    floors = {"p-one": 14, "p-two": 17, TENANT_PROJECT: 6}
    report = verified(dropped(whole, floors))
    assert (report.findings.first, report.newest) == ([], 5)
    assert report.dropped == {"p-one": 13, "p-two": 16, TENANT_PROJECT: 5}


def test_what_was_told_to_be_dropped_and_is_still_there_verifies_too() -> None:
    history = four()
    announced(history, told(history, {"p-one": 6, TENANT_PROJECT: 3}))
    assert verified(history).valid
    cut(history, {"p-one": 6})
    announced(history, told(four(), {"p-one": 11}))
    report = verified(history)
    assert (report.findings.first, report.dropped) == ([], {"p-one": 5})


def test_a_project_of_which_nothing_is_left_is_told_as_dropped() -> None:
    history = dropped(four(), {"p-two": 17})
    del history.rows["p-two"]
    report = verified(history)
    assert (report.findings.first, report.not_checked, report.dropped) == ([], [], {"p-two": 16})
    short = dropped(four(), {"p-two": 16})
    del short.rows["p-two"]
    assert verified(short).not_checked == ["p-two"]


def test_without_a_document_the_first_events_are_missing() -> None:
    report = verified(cut(four(), {"p-one": 6}))
    assert "events are missing: seq 1 to 5" in str(report.findings.first[0])
    assert not verified(cut(four(), {TENANT_PROJECT: 3})).valid


@pytest.mark.parametrize("floors", [{"p-one": 6}, {TENANT_PROJECT: 3}, {"p-one": 6, "p-two": 9, TENANT_PROJECT: 3}])
def test_a_document_that_another_key_signed_is_refused(floors: dict[str, int]) -> None:
    report = verified(dropped(four(), floors, ARTIFACT_KEY))
    assert "without the fleet's word" in str(report.findings.first[0])


def test_a_document_by_a_key_that_was_retired_before_is_refused_with_its_place() -> None:
    history = dropped(four(), {"p-one": 6})
    row = history.rows[TENANT_PROJECT][-1]
    row["recorded_at_us"] += 2 * 3600 * 10**6
    link(history.rows[TENANT_PROJECT])
    at = time_of(row["recorded_at_us"])
    for hours, holds in ((0, True), (1, True), (1.01, False)):
        keys = retired("checkpoint", at - datetime.timedelta(hours=hours))
        found = Findings()
        beginnings = Beginnings(TENANT, keys, found)
        beginnings.read([line_of(row)], history.blobs.get)
        assert (beginnings.of("p-one") != (), found.count == 0) == (holds, holds)
    assert "a key that was retired before" in found.first[0].what
    assert (found.first[0].seq, found.first[0].stream) == (row["seq"], genesis.stream_of(TENANT))


def test_a_document_that_is_gone_or_was_changed_is_refused() -> None:
    for change in ("gone", "changed"):
        history = dropped(four(), {"p-one": 6})
        ref = next(iter(history.blobs))
        data = history.blobs.pop(ref)
        if change == "changed":
            history.blobs[ref] = data.replace(b"plan/0-0", b"plan/0-9")
        report = verified(history)
        assert any(f"begins from were {change}" in str(f) or "are gone" in str(f) for f in report.findings.first)


def _other_head(found: Document) -> Document:
    one = found.projects["p-one"]
    heads = ((one.heads[0][0], one.heads[0][1], bytes(32)), *one.heads[1:])
    return dataclasses.replace(found, projects={**found.projects, "p-one": dataclasses.replace(one, heads=heads)})


def _other_order(found: Document) -> Document:
    one = found.projects["p-one"]
    return dataclasses.replace(
        found, projects={**found.projects, "p-one": dataclasses.replace(one, heads=one.heads[::-1])}
    )


def _other_records(found: Document) -> Document:
    return dataclasses.replace(found, records=found.records[:-1])


def _other_checkpoint(found: Document) -> Document:
    assert found.checkpoint is not None
    return dataclasses.replace(found, checkpoint=dataclasses.replace(found.checkpoint, number=7))


@pytest.mark.parametrize("forge", [_other_head, _other_order, _other_records, _other_checkpoint])
def test_a_false_document_is_found_even_where_the_fleet_signed_it(forge: object) -> None:
    floors = {"p-one": 6, TENANT_PROJECT: 3}
    history = four()
    announced(history, forge(told(history, floors)))  # type: ignore[operator]
    assert not verified(cut(history, floors)).valid


def test_what_is_left_is_still_vouched_for() -> None:
    history = dropped(four(), {"p-one": 6, TENANT_PROJECT: 3})
    history.rows["p-one"][0]["actor"] = "eva"
    assert not verified(history).valid
    history = dropped(four(), {"p-one": 6})
    del history.rows["p-one"][0]
    assert "events are missing: seq 6 to 6" in str(verified(history).findings.first[0])
    forged = dropped(four(), {"p-one": 6})
    forged.rows["p-one"][0]["actor"] = "eva"
    link(forged.rows["p-one"])
    assert not verified(forged).valid


def test_an_expected_checkpoint_that_was_dropped_is_told_as_such() -> None:
    whole = four()
    signed: list[Checkpoint] = [checkpoints.read(TENANT, json.loads(r["payload"])) for r in whole.rows[TENANT_PROJECT]]
    history = dropped(whole, {TENANT_PROJECT: 3})
    for checkpoint in signed[1:]:
        assert verified(history, Expected(checkpoint.number, checkpoint.digest())).valid
    report = verified(history, Expected(1, signed[0].digest()))
    assert "was dropped" in str(report.findings.first[0])


def test_a_document_of_another_tenant_or_format_is_none() -> None:
    found = told(four(), {"p-one": 6})
    assert genesis.read(TENANT, found.data()) == found
    for data in (found.data().replace(b"haas.genesis.v1", b"haas.genesis.v9"), b"[]", b"{}", b"no"):
        with pytest.raises(ValueError, match=r".*"):
            genesis.read(TENANT, data)
    with pytest.raises(ValueError, match="tenant"):
        genesis.read("t-two", found.data())


def test_a_verifier_tells_the_heads_that_a_document_needs() -> None:
    history = four()
    verifier = ProjectVerifier(TENANT, "p-one", Marks())
    verifier.feed(line_of(row) for row in history.rows["p-one"][:7])
    assert verifier.heads() == told(history, {"p-one": 8}).projects["p-one"].heads
