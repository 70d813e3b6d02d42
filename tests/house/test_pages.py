"""Pages and code that come from the contracts are fresh; what the code reads, raises and records is documented."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from haas.common.v1 import error_reason_pb2
from haas_cli.__main__ import COMMANDS
from haas_common import errors, metrics
from tests.house.tree import ROOT, files, read, script, shipped, sources

PAGES = script("docs").pages()


def tree_of(folder: Path) -> dict[str, bytes]:
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {path: data for path, data in found.items() if "__pycache__" not in path}


def test_generated_code_is_what_the_contracts_give(tmp_path: Path) -> None:
    script("generate").generate(tmp_path)
    fresh, kept = tree_of(tmp_path), tree_of(ROOT / "gen" / "python")
    assert sorted(fresh) == sorted(kept)
    assert [path for path in fresh if fresh[path] != kept[path]] == [], "run make gen"


@pytest.mark.parametrize("path", sorted(PAGES))
def test_a_page_from_the_code_is_fresh(path: str) -> None:
    assert read(path) == PAGES[path], "run .venv/bin/python scripts/docs.py"


def test_the_hashing_vectors_are_what_the_code_gives() -> None:
    assert read("docs/reference/hashing-vectors.json") == script("hashing_vectors").document()


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def reasons() -> set[str]:
    names = error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    return {name.removeprefix("ERROR_REASON_") for name in names} - {"UNSPECIFIED"}


def test_every_reason_has_one_class_and_every_class_a_reason() -> None:
    assert set(errors.BY_REASON) == reasons()


@pytest.mark.parametrize("reason", sorted(reasons()))
def test_a_reasons_class_is_named_after_it_and_travels_as_the_contract_says(reason: str) -> None:
    found = errors.BY_REASON[reason]
    assert found.__name__ == "".join(part.capitalize() for part in reason.split("_"))
    row = next(line for line in PAGES["docs/reference/errors.md"].splitlines() if line.startswith(f"| `{reason}` |"))
    assert found.code.name in row.split("|")[2].split(" or ")[0].strip() or found.code.name in row.split("|")[2]


def test_every_reason_that_an_rpc_names_exists() -> None:
    rows = [line for line in PAGES["docs/reference/api.md"].splitlines() if "Fails with" in line]
    named = {word for row in rows for word in re.findall(r"[A-Z]+(?:_[A-Z]+)+", row.partition("Fails with")[2])}
    assert named
    assert named <= reasons()


# ── environment ─────────────────────────────────────────────────────────────────────────────────────────────────────

_VARIABLE = re.compile(r"(AWS_[A-Z0-9_]*[A-Z0-9]|HAAS_[A-Z0-9_]*[A-Z0-9]|OTEL_[A-Z0-9_]*[A-Z0-9])(_?)")


def variables() -> set[str]:
    """What the code names as variables; HAAS_PEER_<SERVICE> counts by its beginning."""
    found = set()
    for source in shipped():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {f"{m[1]}{m[2]}" for m in _VARIABLE.finditer(node.value)}
    return found


def test_every_environment_variable_is_documented() -> None:
    page = read("docs/reference/environment.md")
    documented = set(re.findall(r"^\| `([A-Z0-9_]+)", page, re.MULTILINE))
    read_by_code = {name for name in variables() if not name.endswith("_")}
    prefixes = tuple(name for name in variables() if name.endswith("_"))
    assert {n for n in read_by_code if n not in documented and not n.startswith("HAAS_PEER_")} == set()
    unread = {n for n in documented - read_by_code if not n.startswith(prefixes)}
    assert unread == set(), "a documented variable that no code reads"


# ── metrics ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_metric_is_documented_as_it_describes_itself() -> None:
    rows = re.findall(
        r"^\| `([a-z_]+)(?:\{[a-z,]+\})?` \| (\w+) \| (.+) \|$", read("docs/reference/metrics.md"), re.MULTILINE
    )
    told = {
        (metric.name + "_total" * (metric.type == "counter"), metric.type): metric.documentation
        for metric in metrics.REGISTRY.collect()
    }
    assert {(name, kind) for name, kind, _ in rows} == set(told)
    assert [name for name, kind, text in rows if not text.startswith(told[name, kind])] == []


# ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────


def shell_lines(path: str) -> Iterator[str]:
    for block in re.findall(r"^```sh[^\n]*\n(.*?)^```", read(path), re.MULTILINE | re.DOTALL):
        yield from (line.strip() for line in block.splitlines())


PEOPLE_READ = [
    path
    for path in files()
    if path.endswith(".md") and path.startswith(("README", "ARCH", "CONTR", "SECU", "docs/", "services/"))
]


@pytest.mark.parametrize("path", PEOPLE_READ)
def test_the_commands_of_a_page_exist(path: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    for line in shell_lines(path):
        for name in re.findall(r"(?:^|[\s(\"])\.venv/bin/haas ([a-z]+)", line):
            assert name in COMMANDS, line
        for name in re.findall(r"^make ([a-z]+)", line):
            assert name in targets, line
        for name in re.findall(r"(scripts/\S+\.py)", line):
            assert (ROOT / name).is_file(), line


@pytest.mark.parametrize("path", PEOPLE_READ)
def test_the_links_of_a_page_lead_somewhere(path: str) -> None:
    folder = (ROOT / path).parent
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", read(path))
    assert [link for link in links if "://" not in link and not (folder / link).exists()] == []


def test_every_service_has_its_page() -> None:
    services = {source.path.split("/")[1] for source in sources() if source.path.startswith("services/")}
    assert [name for name in sorted(services) if not (ROOT / "services" / name / "README.md").is_file()] == []


def test_the_openapi_document_says_that_unknown_fields_are_dropped() -> None:
    assert "dropped" in read("services/gateway/haas_gateway/openapi.json")
    assert "Unknown fields of a JSON body are dropped" in read("docs/reference/api.md")
