"""The checkout as the house's rules see it: its files, their syntax trees, its contracts."""

import ast
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SERVICES = ("gateway", "mcp", "notifier", "orchestrator", "planner")

# What .gitignore leaves out, and git's own folder.
_NOT_OURS = {
    ".git",
    ".venv",
    ".haas",
    "__pycache__",
    ".pytest_cache",
    ".hypothesis",
    ".ruff_cache",
    ".import_linter_cache",
}
_GENERATED = ("gen/", "third_party/")


@dataclass(frozen=True, slots=True)
class Source:
    """A Python file of ours: its path from the root, its text, its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    def functions(self) -> Iterator[tuple[str, int]]:
        """Yields (name, lines) of every function, the nested ones too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield node.name, node.end_lineno - node.lineno + 1


@functools.cache
def files() -> tuple[str, ...]:
    """Returns every file of the checkout, generated and foreign ones included, as paths from the root."""
    found = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if name not in _NOT_OURS]
        found += [str((Path(folder) / name).relative_to(ROOT)) for name in names]
    return tuple(sorted(found))


def read(path: str) -> str:
    """Returns a file's text."""
    return (ROOT / path).read_text(encoding="utf-8")


@functools.cache
def sources() -> tuple[Source, ...]:
    """Returns every Python file that people write."""
    ours = [path for path in files() if path.endswith(".py") and not path.startswith(_GENERATED)]
    return tuple(Source(path, text := read(path), ast.parse(text, path)) for path in ours)


def shipped() -> list[Source]:
    """Returns the sources that are installed: no tests, no scripts."""
    return [source for source in sources() if source.path.startswith(("libs/", "services/", "sdks/"))]


@functools.cache
def contracts() -> descriptor_pb2.FileDescriptorSet:
    """Returns our own files of the committed descriptor set."""
    whole = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "gen/python/haas/api.binpb").read_bytes())
    return descriptor_pb2.FileDescriptorSet(file=[file for file in whole.file if file.name.startswith("haas/")])


@functools.cache
def script(name: str) -> ModuleType:
    """Imports a file of scripts/."""
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
