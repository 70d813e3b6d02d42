"""Who may import whom: the contracts of pyproject.toml, and what they cannot say."""

import ast
import subprocess
import tomllib

from tests.house.tree import BIN, ROOT, SERVICES, Source, read, shipped


def imported(source: Source) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{source.path}: relative imports hide who imports whom"
            found.add((node.module or "").split(".")[0])
    return found


def test_every_import_keeps_to_the_layers() -> None:
    done = subprocess.run(
        [str(BIN / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_has_a_contract_that_names_all_of_its_modules() -> None:
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    inside = {c["containers"][0] for c in contracts if c.get("exhaustive")}
    assert inside == {f"haas_{service}" for service in SERVICES}


def test_the_client_imports_only_the_contracts() -> None:
    """An app that installs the SDK gets no server code."""
    ours = {"haas_cli", "haas_common", *(f"haas_{service}" for service in SERVICES)}
    wrong = {s.path: imported(s) & ours for s in shipped() if s.path.startswith("sdks/python/")}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_no_service_reads_the_environment_itself() -> None:
    """haas_common.config reads it, once."""
    readers = {
        source.path
        for source in shipped()
        if source.path.startswith("services/")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    assert readers == set()
