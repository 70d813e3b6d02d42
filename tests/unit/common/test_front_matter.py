"""The guarded front matter: what is text stays text, what could swell or hide is refused."""

import datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from haas_common.artifacts import file as artifact_file
from haas_common.artifacts import front_matter
from haas_common.artifacts.front_matter import FrontMatterInvalid

HEAD = "artifact_id: artf-1\nversion: 7\nhash_prev: ''\n"


@pytest.mark.parametrize(
    "text",
    ["no", "yes", "off", "y", "~", "null", "12:30:45", "017", "0x1f", "1.10", "1e3", "1_000", ".inf", ".nan", "<<", "=",
     "2025-11-08", "2025-11-08T08:42:00-05:00", "true", "-0", "T-123.4.0"],
)  # fmt: skip
def test_a_scalar_reads_as_the_text_that_stands_there(text: str) -> None:
    assert front_matter.read(f"a: {text}\nb: [{text}]\n") == {"a": text, "b": [text]}


def test_only_the_fields_that_the_schema_names_are_numbers() -> None:
    document = artifact_file.parse(f"---\n{HEAD}schema_version: 1.0\ncount: 7\n---\n# Uno\n".encode())
    assert (document.front["version"], document.front["schema_version"], document.front["count"]) == (7, "1.0", "7")


@pytest.mark.parametrize("version", ["x", "1.0", "0x10", "", "-1", "[1]", "9" * 30])
def test_a_number_of_ours_that_is_none_is_named(version: str) -> None:
    with pytest.raises(FrontMatterInvalid) as failed:
        artifact_file.parse(f"---\nversion: {version}\n---\n".encode())
    assert failed.value.field == "version"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("a: 1\nb: 2\na: 3\n", "a"),
        ("kpis:\n  cpl: 1\n  cpl: 2\n", "cpl"),
        ("a: &x [1]\nb: *x\n", "a"),
        ("a: *x\n", "a"),
        ("a: !!python/object/apply:os.system [id]\n", "a"),
        ("a: !!int 7\n", "a"),
        ("a: ! x\n", "a"),
        ("a: " + "[" * 13 + "]" * 13 + "\n", "a"),
        ("[1]: x\n", ""),
        ("- 1\n", ""),
        ("just text\n", ""),
        ("a: 1\n---\nb: 2\n", ""),
        ("%YAML 1.2\n---\na: 1\n", ""),
        ("a: [1\n", ""),
        ("a: \x07\n", ""),
        ("a: b: c\n", ""),
        ("\t\n\ta: 1\n", ""),
    ],
)
def test_what_could_swell_hide_or_mislead_is_refused_and_named(text: str, field: str) -> None:
    with pytest.raises(FrontMatterInvalid) as failed:
        front_matter.read(text)
    assert failed.value.field == field


def test_a_bomb_of_aliases_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    with pytest.raises(FrontMatterInvalid, match="anchors"):
        front_matter.read(bomb)


@pytest.mark.parametrize("file", [b"", b"---\n", b"# Uno\n", b"----\na: 1\n---\n", b"x" * 3_000_000])
def test_what_has_no_front_matter_is_refused(file: bytes) -> None:
    with pytest.raises(FrontMatterInvalid):
        front_matter.split(file)


def test_too_much_of_it_is_refused_and_the_limit_itself_is_not() -> None:
    line = b"a: " + b"x" * (front_matter.BYTES_MAX - 4) + b"\n"
    assert front_matter.split(b"---\n" + line + b"---\nbody") == (line, b"body")
    with pytest.raises(FrontMatterInvalid):
        front_matter.split(b"---\nb" + line + b"---\nbody")


def test_an_empty_one_is_an_empty_mapping() -> None:
    assert front_matter.split(b"---\n---\nbody") == (b"", b"body")
    assert front_matter.read("") == {}


@pytest.mark.parametrize("data", ["[" * 200_000, "NaN", "[1]", '{"a": ' * 5000, "{", '{"a": 1}x'])
def test_data_that_is_no_object_is_refused(data: str) -> None:
    with pytest.raises(ValueError):
        artifact_file.parse(f"---\n{HEAD}data: {data}\n---\n".encode())


@given(st.binary(max_size=400))
def test_random_bytes_raise_nothing_but_value_error(junk: bytes) -> None:
    for file in (junk, b"---\n" + junk + b"\n---\n" + junk, b"---\ndata: " + junk + b"\n---\n"):
        for reader in (artifact_file.parse, artifact_file.hash_of):
            try:
                reader(file)
            except ValueError:
                continue


YAMLISH = st.text(alphabet="ab:-?&*!|>%@`{}[],#'\" \n\t0.~", max_size=60)


@given(YAMLISH)
def test_what_looks_like_yaml_raises_nothing_but_value_error(text: str) -> None:
    try:
        found = front_matter.read(text)
    except FrontMatterInvalid:
        return
    assert isinstance(found, dict)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
KEYS = st.text(min_size=1, alphabet="abcdefghij_", max_size=8).filter(lambda k: k not in artifact_file.OWN)
VALUES = st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@given(st.dictionaries(KEYS, VALUES, max_size=5), TEXTS)
def test_what_is_rendered_reads_back(extra: dict[str, Any], title: str) -> None:
    front = {"artifact_id": "artf-1", "version": 3, "hash_prev": "", "title": title, **extra}
    file = artifact_file.seal(artifact_file.render(front, {}, "# Uno"), "sha256:x", "s")
    document = artifact_file.parse(file)
    assert document.front == {**front, "hash_curr": "sha256:x", "signature": "s"}
    assert document.body == "# Uno\n"


def test_numbers_and_truths_read_back_as_their_texts() -> None:
    extra = {"spend": 1200, "cpl": 3.1, "done": True, "at": datetime.date(2025, 11, 8), "none": None}
    file = artifact_file.seal(artifact_file.render({"hash_prev": "", "kpis": extra}, {}, "x"), "sha256:x", "s")
    found = artifact_file.parse(file).front["kpis"]
    assert found == {"spend": "1200", "cpl": "3.1", "done": "true", "at": "2025-11-08", "none": "null"}
    assert yaml.safe_load(yaml.safe_dump(extra)) == extra
