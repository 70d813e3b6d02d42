"""The worklog, the difference of two versions, chunks, and what plan §17's artifacts must hold."""

import datetime
import re
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_common import errors
from haas_common.artifacts import checks as artifact_checks
from haas_common.artifacts import chunks as artifact_chunks
from haas_common.artifacts import text as artifact_text

NOW = datetime.datetime(2026, 11, 22, 12, 30, 5, tzinfo=datetime.UTC)


def noted(body: str, text: str = "done") -> str:
    return artifact_text.with_worklog(body, NOW, "ana", text)


LINE = "- 2026-11-22 12:30:05Z ana: done"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("# Uno\n\ntext\n", f"# Uno\n\ntext\n\n## Worklog\n\n{LINE}\n"),
        ("", f"## Worklog\n\n{LINE}\n"),
        ("## Worklog\n", f"## Worklog\n\n{LINE}\n"),
        (
            "# Uno\n\n## Worklog\n- a\n- b\n\n## Riesgos\nx\n",
            f"# Uno\n\n## Worklog\n- a\n- b\n{LINE}\n\n## Riesgos\nx\n",
        ),
        ("## worklog\n- a\n### sub\n- b\n", f"## worklog\n- a\n### sub\n- b\n{LINE}\n"),
        ("```\n## Worklog\n```\n", f"```\n## Worklog\n```\n\n## Worklog\n\n{LINE}\n"),
        ("## Worklog\n~~~\n# no heading\n~~~\n# End\n", f"## Worklog\n~~~\n# no heading\n~~~\n{LINE}\n# End\n"),
    ],
)
def test_a_line_is_added_at_the_end_of_the_section(body: str, expected: str) -> None:
    assert noted(body) == expected


def test_a_line_stays_a_line() -> None:
    body = noted("# Uno\n", "a\n# b\r\n\tc")
    assert body.endswith(" ana: a # b c\n")
    assert artifact_text.headings(body) == ["# Uno", "## Worklog"]


@given(st.text(alphabet="#` ~-ab\n", max_size=80))
def test_nothing_of_the_body_is_lost(body: str) -> None:
    lines = noted(body).split("\n")
    assert sum(line == LINE for line in lines) == 1
    kept = [line for line in lines if line.strip() and line not in (LINE, "## Worklog")]
    assert kept == [line for line in body.split("\n") if line.strip() and line != "## Worklog"]


def test_the_difference_is_the_unified_one() -> None:
    found = artifact_text.unified("a\nb\nc\n", "a\nB\nc\nd\n", "one", "two")
    assert found == "--- one\n+++ two\n@@ -1,3 +1,4 @@\n a\n-b\n+B\n c\n+d\n"
    assert artifact_text.unified("a\n", "a\n", "one", "two") == ""
    assert "\\ No newline at end of file" in artifact_text.unified("a\n", "a", "one", "two")


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_difference_leads_from_one_text_to_the_other(old: list[str], new: list[str]) -> None:
    before, after = ("".join(f"{c}\n" for c in text) for text in (old, new))
    lines = artifact_text.unified(before, after, "one", "two").split("\n")[2:]
    shown = [(line[0], line[1:]) for line in lines if line and not line.startswith("@@")]
    gone, come = Counter(text for mark, text in shown if mark == "-"), Counter(t for mark, t in shown if mark == "+")
    assert Counter(old) - gone + come == Counter(new)
    assert gone <= Counter(old)


def test_a_large_difference_is_shown_as_one_block_in_bounded_time() -> None:
    before = "".join(f"{n % 7}\n" for n in range(100_000))
    after = "".join(f"{n % 5}\n" for n in range(100_000))
    start = time.process_time()
    found = artifact_text.unified(before, after, "one", "two")
    assert time.process_time() - start < 5
    assert len(re.findall(r"^@@ ", found, re.MULTILINE)) == 1


def test_keys_of_the_front_matter_that_differ_are_named() -> None:
    before = {"version": 1, "title": "a", "links": [], "gone": "x", "same": "y"}
    after = {"version": 2, "title": "b", "links": [{"ref": "artf-1"}], "same": "y", "new": "z"}
    found = [(c.key, c.before, c.after) for c in artifact_text.front_changes(before, after)]
    assert found == [
        ("title", "a", "b"), ("links", "[]", '[{"ref": "artf-1"}]'), ("gone", "x", None), ("new", None, "z"),
    ]  # fmt: skip


# ── Chunks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 1024 * 1024))
def test_a_file_has_at_most_16_chunks_of_at_least_a_kilobyte(size: int) -> None:
    chunk = artifact_chunks.chunk_size(size)
    assert chunk >= 1024
    assert -(-size // chunk) <= 16


@given(st.binary(min_size=1, max_size=5000), st.data())
def test_a_changed_byte_lies_in_the_range_that_is_named(file: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(file) - 1))
    changed = file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :]
    chunk = artifact_chunks.chunk_size(len(file))
    hashes = artifact_chunks.chunk_hashes(file, chunk)
    found = artifact_chunks.bad_range(changed, chunk, hashes, len(file))
    assert found is not None
    assert found[0] <= at <= found[1] < len(file)
    assert found[1] - found[0] < chunk
    assert artifact_chunks.bad_range(file, chunk, hashes, len(file)) is None


@pytest.mark.parametrize(
    ("now", "expected"), [(b"x" * 3000, (2048, 4999)), (b"", (0, 4999)), (b"x" * 9000, (4096, 8999))]
)
def test_what_is_missing_or_too_much_is_named(now: bytes, expected: tuple[int, int]) -> None:
    file = b"x" * 5000
    assert artifact_chunks.bad_range(now, 1024, artifact_chunks.chunk_hashes(file, 1024), len(file)) == expected


def test_a_version_without_chunks_names_no_range() -> None:
    assert artifact_chunks.bad_range(b"x", 0, [], 5) is None


# ── Plan §17 ─────────────────────────────────────────────────────────────────────────────────────────────────────────

BRIEF = {"artifact_type": "brief", "owner_team": "Prompts", "acceptance_criteria": ["Objetivos claros y medibles"]}
BRIEF_BODY = "# Objetivo\n...\n# Alcance\n...\n# Entradas requeridas\n...\n# Artefactos a generar\n- paid_plan.md\n"
REPORT = {
    "artifact_type": "team_report",
    "team": "PaidMedia",
    "period": "2025-11-01..2025-11-15",
    "kpis": {"spend": "1200"},
}
REPORT_BODY = "# Resumen\n...\n# Riesgos/Acciones\n...\n"


def checked(front: dict[str, object], body: str, path: str = "x.md") -> None:
    template = artifact_checks.template_of(str(front.get("artifact_type", "")), path)
    assert template is not None
    artifact_checks.check(template, front, body)


def test_the_templates_of_the_plan_hold_in_both_languages() -> None:
    checked(BRIEF, BRIEF_BODY)
    checked(REPORT, REPORT_BODY)
    checked(BRIEF, "# Objective\n## Scope\n# Inputs required\n# Artifacts to produce #\n")
    checked(REPORT, "# Team report: Content\n## Summary\n## Risks/Actions\n")


@pytest.mark.parametrize("name", ["owner_team", "acceptance_criteria"])
@pytest.mark.parametrize("value", [None, "", [], [""], {}, 7])
def test_a_brief_without_a_field_is_refused_and_the_field_named(name: str, value: object) -> None:
    with pytest.raises(errors.ArtifactInvalid) as failed:
        checked({**BRIEF, name: value}, BRIEF_BODY)
    assert failed.value.metadata["field"] == name


@pytest.mark.parametrize("name", ["team", "period", "kpis"])
def test_a_report_without_a_field_is_refused_and_the_field_named(name: str) -> None:
    for front in ({**REPORT, name: None}, {k: v for k, v in REPORT.items() if k != name}):
        with pytest.raises(errors.ArtifactInvalid) as failed:
            checked(front, REPORT_BODY)
        assert failed.value.metadata["field"] == name


@pytest.mark.parametrize("heading", ["Objetivo", "Alcance", "Entradas requeridas", "Artefactos a generar"])
def test_a_brief_without_a_section_is_refused_and_the_section_named(heading: str) -> None:
    with pytest.raises(errors.ArtifactInvalid) as failed:
        checked(BRIEF, BRIEF_BODY.replace(f"# {heading}", f"```\n# {heading}\n```"))
    assert failed.value.metadata["section"] == heading


@pytest.mark.parametrize("path", ["brief.md", "plans/brief.md", "team_report.md"])
def test_a_file_of_that_name_says_what_it_is(path: str) -> None:
    with pytest.raises(errors.ArtifactInvalid) as failed:
        checked({}, BRIEF_BODY + REPORT_BODY, path)
    assert failed.value.metadata["field"] == "artifact_type"
    assert artifact_checks.template_of("", "report.md") is None
