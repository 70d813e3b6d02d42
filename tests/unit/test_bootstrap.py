"""The set-up: one sentence for what a machine lacks, finished or made anew, never half."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, working in a folder of its own and with a pip that installs nothing."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts/bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("requirements/server.lock", "requirements/dev.lock", "pyproject.toml", "scripts/bootstrap.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    venv = tmp_path / ".venv"
    for name, value in {
        "ROOT": tmp_path, "VENV": venv, "VENV_PYTHON": venv / "bin/python", "STAMP": venv / "haas-setup",
        "UNFINISHED": venv / "haas-setup.unfinished",
    }.items():  # fmt: skip
        monkeypatch.setattr(module, name, str(value))

    def make_venv(_: str) -> None:
        (venv / "bin").mkdir(parents=True)
        (venv / "pyvenv.cfg").write_text("version = 3.11.2")
        for program in ("python", "haas"):
            (venv / "bin" / program).symlink_to(sys.executable)

    monkeypatch.setattr(module, "make_venv", make_venv)
    monkeypatch.setattr(module, "find_python", lambda: sys.executable)
    monkeypatch.setattr(module, "pip", lambda *_: None)
    monkeypatch.setattr(module, "compile_packages", lambda: None)
    return module


def test_a_finished_set_up_is_skipped(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bootstrap.main(["dev"]) == 0
    monkeypatch.setattr(bootstrap, "set_up", lambda _: pytest.fail("it is done"))
    assert bootstrap.main(["dev"]) == 0
    assert bootstrap.main(["server"]) == 0


def test_the_packages_of_the_fleet_are_not_those_of_the_tests(bootstrap: ModuleType) -> None:
    assert bootstrap.main(["server"]) == 0
    assert bootstrap.is_done("server")
    assert not bootstrap.is_done("dev")


@pytest.mark.parametrize("changed", ["requirements/dev.lock", "pyproject.toml", ".venv/pyvenv.cfg"])
def test_a_changed_lock_project_or_interpreter_asks_for_a_set_up(bootstrap: ModuleType, changed: str) -> None:
    bootstrap.main(["dev"])
    (Path(bootstrap.ROOT) / changed).write_text("changed")
    assert not bootstrap.is_done("dev")


def test_an_interrupted_set_up_is_not_trusted(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(bootstrap, "pip", interrupt)
        assert bootstrap.main(["dev"]) == 130
    assert not bootstrap.is_done("dev")
    assert not bootstrap.is_usable()


@pytest.mark.parametrize(
    ("system", "machine", "libc", "named"),
    [
        ("Darwin", "arm64", "", "arm64 Darwin"),
        ("Linux", "aarch64", "glibc", "aarch64"),
        ("Linux", "x86_64", "", "glibc"),
    ],
)
def test_another_platform_hears_one_sentence(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    system: str, machine: str, libc: str, named: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(bootstrap.platform, "system", lambda: system)
    monkeypatch.setattr(bootstrap.platform, "machine", lambda: machine)
    monkeypatch.setattr(bootstrap.platform, "libc_ver", lambda: (libc, "2.36"))
    assert bootstrap.main(["dev"]) == 1
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1


def test_a_full_disk_hears_one_sentence(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "DISK_BYTES", 2**63)
    assert bootstrap.main(["dev"]) == 1
    assert "free some space" in capsys.readouterr().err


def _fake_python(folder: Path, version: str, *, has_venv: bool) -> None:
    program = folder / "python3"
    program.write_text(
        f'#!/bin/sh\ncase "$2" in *venv*) exit {0 if has_venv else 1};; *) echo {version} {program};; esac\n'
    )
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("version", "has_venv", "named"),
    [("3 9", True, "found 3.9"), ("3 11", False, "apt-get install python3-venv")],
)
def test_an_old_python_or_one_without_venv_hears_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, has_venv: bool, named: str
) -> None:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts/bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _fake_python(tmp_path, version, has_venv=has_venv)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(module.SetupError, match=named):
        module.find_python()
