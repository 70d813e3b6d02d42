"""Whatever is done to a history at or before its newest checkpoint is found, and the first bad row is named."""

import copy
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haas_common.audit.blobs import REF_FIELDS
from haas_common.audit.checkpoints import TENANT_PROJECT, sign
from haas_common.audit.export import Export, ExportInvalid, opened
from haas_common.audit.findings import FINDINGS_MAX, Report
from haas_common.audit.rows import line_of
from haas_common.audit.verify import Expected, verify
from haas_common.events import EVENT_TYPES
from tests.support.tampered import ARTIFACT_KEY, KEYS, KIDS, TENANT, History, Memory, Row, link


def verified(history: History, expected: Expected | None = None) -> Report:
    return verify(Memory(history), KEYS["checkpoint"], KEYS["artifact"], expected)


@functools.cache
def _small() -> History:
    history = History()
    for turn in range(2):
        for n in range(6):
            for project in ("p-one", "p-two"):
                history.add(project, f"plan/{n % 2}", payload={"n": n, "texto": "ñ «»"})
        history.artifact("p-one", "artf-1", f"# Version {turn}")
        history.checkpoint()
    history.add("p-one", "plan/0", payload={"tail": True})
    return history


def small() -> History:
    """Two projects, three streams each, an artifact of two versions, two checkpoints and a tail."""
    return copy.deepcopy(_small())


# ── Untouched ───────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Projects, streams and checkpoints in any order, ended by a checkpoint or not."""
    history = History()
    steps = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 4)), min_size=3, max_size=40))
    for kind, project, stream in steps:
        if kind == 0 and history.rows:
            history.checkpoint()
        elif kind == 1:
            history.artifact(f"p-{project}", f"artf-{stream}", f"# {len(history.blobs)}")
        else:
            history.add(f"p-{project}", f"plan/{stream}", payload={"kind": kind})
    return history


@settings(max_examples=60, deadline=None)
@given(histories())
def test_what_nobody_touched_verifies(history: History) -> None:
    report = verified(history)
    assert report.findings.first == []
    assert report.counts.events == sum(map(len, history.rows.values()))
    assert report.newest == (history.newest.number if history.newest else 0)
    covered = sum(record.last_seq for record in history.records.values())
    assert report.counts.not_covered == report.counts.events - covered


@pytest.mark.parametrize(("name", "jobs"), [("export", 2), ("export.tar.gz", 1)])
def test_it_verifies_from_an_archive_and_on_several_cores(name: str, jobs: int, tmp_path: Path) -> None:
    with opened(small().write(tmp_path / name)) as export:
        report = verify(export, KEYS["checkpoint"], KEYS["artifact"], jobs=jobs)
    assert report.valid
    assert (report.counts.projects, report.counts.checkpoints, report.counts.artifacts) == (3, 2, 2)
    assert report.counts.not_covered == 2  # the tail, and the event that tells of the newest checkpoint


#: How many of each project's rows the newest checkpoint vouches for.
COVERED = {"p-one": 14, "p-two": 12, TENANT_PROJECT: 1}

# ── Rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────

CHANGES: dict[str, Callable[[Row], object]] = {
    "tenant_id": lambda row: "t-two", "project_id": lambda row: "p-three", "seq": lambda row: row["seq"] + 1,
    "stream": lambda row: row["stream"] + "x", "version": lambda row: row["version"] + 1,
    "event_type": lambda row: "TaskFailed", "schema_version": lambda row: 2, "plan_id": lambda row: "pl-x",
    "task_id": lambda row: "T-9", "actor": lambda row: "eva", "causation_id": lambda row: "x",
    "correlation_id": lambda row: "x", "trace_id": lambda row: "x",
    "recorded_at_us": lambda row: row["recorded_at_us"] + 1, "payload": lambda row: row["payload"][:-1] + " }",
    "hash": lambda row: "00" * 32,
}  # fmt: skip


@pytest.mark.parametrize("column", CHANGES)
@pytest.mark.parametrize("at", [0, 5, 13])
def test_any_change_of_a_row_is_found_and_the_row_named(column: str, at: int) -> None:
    history = small()
    row = history.rows["p-one"][at]
    stream, seq = row["stream"], row["seq"]
    row[column] = CHANGES[column](row)
    first = verified(history).findings.first[0]
    assert first.project_id == "p-one"
    assert first.seq in (seq, row["seq"])
    assert first.stream in (stream, row["stream"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_byte_of_a_covered_line_that_changes_what_it_says_is_found(data: st.DataObject) -> None:
    history = small()
    project = data.draw(st.sampled_from(sorted(history.rows)))
    lines = [line_of(row).encode() for row in history.rows[project]]
    at = data.draw(st.integers(0, COVERED[project] - 1))
    place = data.draw(st.integers(0, len(lines[at]) - 1))
    before = json.loads(lines[at])
    lines[at] = lines[at][:place] + bytes([data.draw(st.integers(0, 255))]) + lines[at][place + 1 :]
    report = verify(Memory(history, {project: lines}), KEYS["checkpoint"], KEYS["artifact"])
    try:
        same = json.loads(lines[at]) == before
    except ValueError:
        same = False
    assert report.valid == same
    if not same:
        assert report.findings.first[0].seq <= at + 2


@settings(max_examples=60, deadline=None)
@given(project=st.sampled_from(["p-one", "p-two"]), at=st.integers(0, 11), other=st.integers(0, 11))
@pytest.mark.parametrize("forged", [False, True])
@pytest.mark.parametrize("how", ["delete", "insert", "swap", "repeat"])
def test_removed_added_and_reordered_rows_are_found(project: str, at: int, other: int, how: str, forged: bool) -> None:
    history = small()
    rows = history.rows[project]
    if how == "delete":
        del rows[at]
    elif how == "insert":
        rows.insert(at, {**copy.deepcopy(rows[at]), "payload": '{"n":-1}'})
    elif how == "repeat":
        rows.insert(at, copy.deepcopy(rows[at]))
    else:
        rows[at], rows[other] = rows[other], rows[at]
    if forged:
        versions: dict[str, int] = {}
        for seq, row in enumerate(rows, 1):
            versions[row["stream"]] = versions.get(row["stream"], 0) + 1
            row["seq"], row["version"] = seq, versions[row["stream"]]
        link(rows)
    report = verified(history)
    if (how == "swap" and at == other) or (how == "repeat" and forged and at == COVERED[project] - 1):
        assert report.valid  # nothing was done, or a row was added behind what is vouched for
        return
    first = report.findings.first[0]
    assert first.project_id == project
    # Where every hash was made anew the checkpoint's range is all that can be named.
    assert forged or first.seq <= max(at, other if how == "swap" else 0) + 2


@settings(max_examples=60, deadline=None)
@given(project=st.sampled_from(["p-one", "p-two", TENANT_PROJECT]), at=st.integers(0, 13))
def test_a_forger_who_makes_every_hash_anew_has_no_key_for_the_root(project: str, at: int) -> None:
    history = small()
    rows = history.rows[project]
    row = rows[at % COVERED[project]]
    row["actor"] = "eva"
    link(rows)
    first = verified(history).findings.first[0]
    assert first.project_id == project
    assert first.seq <= row["seq"]
    assert "was changed, and its hashes made anew" in first.what


# ── The end ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_end_that_a_checkpoint_vouches_for_is_missed() -> None:
    history = small()
    del history.rows["p-one"][13:]
    first = verified(history).findings.first[0]
    assert (first.project_id, first.seq) == ("p-one", 14)
    assert "checkpoint 2 vouches for more, up to 14" in first.what


def test_a_project_that_a_checkpoint_vouches_for_and_is_not_there_is_a_finding_unless_it_was_left_out() -> None:
    history = small()
    del history.rows["p-two"]
    first = verified(history).findings.first[0]
    assert (first.project_id, "not here" in first.what) == ("p-two", True)
    partial = verify(Memory(history), KEYS["checkpoint"], KEYS["artifact"], partial=True)
    assert (partial.valid, partial.not_checked) == (True, ["p-two"])


def test_an_end_after_the_newest_checkpoint_is_missed_only_by_who_kept_a_checkpoint() -> None:
    history, kept = small(), small()
    assert kept.newest is not None
    expected = Expected.of(f"{kept.newest.number}:{kept.newest.digest()}")
    del history.rows["p-one"][14:]
    assert verified(history).valid
    assert verified(history, expected).valid
    del history.rows[TENANT_PROJECT][1:]  # the newest checkpoint, and with it the word for what came before
    for project, last in (("p-one", 7), ("p-two", 6)):
        del history.rows[project][last:]
    assert verified(history).valid
    first = verified(history, expected).findings.first[0]
    assert "the expected checkpoint 2 is missing" in first.what


def test_an_old_export_is_known_by_the_checkpoint_that_it_lacks() -> None:
    old, now = small(), small()
    newest = now.checkpoint()
    assert verified(old).valid
    assert not verified(old, Expected(newest.number, newest.digest())).valid
    assert verified(now, Expected(newest.number, newest.digest())).valid
    assert not verified(now, Expected(newest.number, "sha256:" + "0" * 64)).valid


# ── Checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────

EDITS: dict[str, Callable[[dict[str, object]], object]] = {
    "number": lambda p: 3, "previous": lambda p: "sha256:" + "0" * 64, "root": lambda p: "sha256:" + "0" * 64,
    "kid": lambda p: "cp-other", "signature": lambda p: "AAAA", "signed_at": lambda p: "2026-01-01T00:00:09Z",
    "projects": lambda p: [],
}  # fmt: skip


@pytest.mark.parametrize("field", EDITS)
def test_an_edited_checkpoint_is_found_though_its_own_hash_is_made_anew(field: str) -> None:
    history = small()
    row = history.rows[TENANT_PROJECT][1]
    payload = json.loads(row["payload"])
    payload[field] = EDITS[field](payload)
    row["payload"] = json.dumps(payload)
    link(history.rows[TENANT_PROJECT])
    first = verified(history).findings.first[0]
    assert (first.project_id, first.seq, first.stream) == (TENANT_PROJECT, 2, f"checkpoint/{TENANT}")


def test_a_checkpoint_by_another_key_is_none() -> None:
    history = small()
    assert history.newest is not None
    forged = sign(
        TENANT, 2, history.newest.previous, history.records, ["p-one"], history.newest.signed_at,
        (KIDS["checkpoint"], ARTIFACT_KEY),
    )  # fmt: skip
    history.rows[TENANT_PROJECT][1]["payload"] = json.dumps(forged.payload())
    link(history.rows[TENANT_PROJECT])
    assert "signature is not the fleet's" in verified(history).findings.first[0].what


# ── Bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def refs(history: History) -> Iterator[tuple[str, Row]]:
    for row in history.rows["p-one"]:
        ref = json.loads(row["payload"]).get("ref")
        if ref:
            yield ref, row


def test_bytes_that_were_replaced_or_removed_are_found() -> None:
    for change in ("replace", "remove"):
        history = small()
        ref, row = list(refs(history))[1]
        if change == "replace":
            history.blobs[ref] = history.blobs[ref].replace(b"Version", b"version")
        else:
            del history.blobs[ref]
        first = verified(history).findings.first[0]
        assert (first.seq, first.stream, first.version) == (row["seq"], row["stream"], row["version"])


def test_bytes_that_were_erased_by_their_subjects_wish_are_told_and_not_bad() -> None:
    history = small()
    ref, _ = next(refs(history))
    del history.blobs[ref]
    history.add("p-one", "erasure/x", "DataErased", {"refs": [ref]})
    report = verified(history)
    assert (report.valid, report.counts.erased) == (True, 1)


def test_the_table_of_named_bytes_is_that_of_the_registry() -> None:
    named = {
        (kind.name, name)
        for kind in EVENT_TYPES.values()
        for name in kind.payload.model_fields
        if name in ("ref", "hash") or name.endswith("_ref")
    }
    assert named == set(REF_FIELDS.items())


# ── What a stranger sends ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line",
    [
        "", "[]", "{}", "null", '{"seq":1}', "\ud800", "9" * 5000, "[" * 100_000, '{"seq": Infinity}',
        '{"a":1} {"b":2}',
    ],
)  # fmt: skip
def test_lines_that_are_no_events_are_findings_not_faults(line: str, tmp_path: Path) -> None:
    target = small().write(tmp_path / "export")
    path = target / "events" / "p-one.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[3] = line.encode("utf-8", "surrogatepass")
    path.write_bytes(b"\n".join(lines))
    assert not verify(Export.of(target), KEYS["checkpoint"], KEYS["artifact"]).valid


def test_numbers_that_no_event_has_are_findings() -> None:
    for name, value in (("seq", float("inf")), ("version", 10**4000), ("recorded_at_us", "x"), ("payload", 7)):
        history = small()
        history.rows["p-one"][2][name] = value
        assert not verified(history).valid


def test_as_many_findings_are_told_as_somebody_reads_and_all_are_counted() -> None:
    history = History()
    for _ in range(FINDINGS_MAX + 50):
        history.add("p-one", "s")["actor"] = "eva"
    report = verified(history)
    assert (len(report.findings.first), report.findings.count) == (FINDINGS_MAX, FINDINGS_MAX + 50)


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportInvalid), opened(tmp_path):
        pass
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b no archive")
    with pytest.raises(ExportInvalid), opened(tmp_path / "x.tar.gz"):
        pass
    (tmp_path / "there").mkdir()
    with pytest.raises(ExportInvalid, match="exists"):
        small().write(tmp_path / "there")
    assert list(tmp_path.glob(".*")) == []


def test_nothing_is_followed_out_of_an_export(tmp_path: Path) -> None:
    history = small()
    target = history.write(tmp_path / "export")
    ref, row = next(refs(history))
    path = target / "artifacts" / ref.removeprefix("sha256:")
    (tmp_path / "outside").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "outside")
    assert verify(Export.of(target), KEYS["checkpoint"], KEYS["artifact"]).findings.first[0].seq == row["seq"]
