"""What the pages on tasks and plans say to type works as it stands, all of them on one fleet.

A page's ```json NAME blocks are files, its ```sh howto blocks one script, and every line of its ```text howto blocks is
to be found in what the script prints.
"""

import re
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.house.tree import ROOT, read
from tests.support.cli import Cli

# The longest first: a schedule fires once a minute.
PAGES = (
    "docs/howto/tasks/schedule.md",
    *sorted(f"docs/howto/tasks/{path.name}" for path in (ROOT / "docs/howto/tasks").glob("[a-z]*.md")),
    "docs/howto/operate-plans.md",
    "docs/howto/failures.md",
)
LIMIT_S = 150.0
#: Each waits for the fleet most of the time.
AT_ONCE = 3
_BLOCK = re.compile(r"^```(json [a-z-]+[.]json|sh howto|text howto)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    return _BLOCK.findall(read(page))


@pytest.fixture(scope="module")
def ran(fleet: Cli, tmp_path_factory: pytest.TempPathFactory) -> dict[str, "Future[subprocess.CompletedProcess[str]]"]:
    """Every page's script, run to its end."""
    demo = fleet.call("demo")
    assert demo.returncode == 0, demo.stderr
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {p: pool.submit(run, fleet, p, tmp_path_factory.mktemp("howto")) for p in dict.fromkeys(PAGES)}


def run(fleet: Cli, page: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a page in a folder that holds its files and, as the checkout does, the examples."""
    (folder / "examples").symlink_to(ROOT / "examples")
    lines = []
    for kind, text in blocks(page):
        if kind == "sh howto":
            lines.append(text)
        elif kind.startswith("json "):
            (folder / kind.removeprefix("json ")).write_text(text)
    ours = {"haas": f"{sys.executable} -m haas_cli", "python": sys.executable}
    script = re.sub(r"[.]venv/bin/(haas|python)\b", lambda found: ours[found[1]], "".join(lines))
    return subprocess.run(
        ["bash", "-euc", script],
        cwd=folder, env=fleet.environment, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("page", sorted(set(PAGES)))
def test_a_page_runs_as_it_stands_and_prints_what_it_says(
    page: str, ran: dict[str, "Future[subprocess.CompletedProcess[str]]"]
) -> None:
    if "curl " in read(page) and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = ran[page].result()
    assert done.returncode == 0, done.stderr + done.stdout
    promised = [line for kind, text in blocks(page) if kind == "text howto" for line in text.splitlines() if line]
    assert promised
    printed = [re.sub(r" +", " ", line) for line in (done.stdout + done.stderr).splitlines()]
    for line in promised:
        wanted = re.sub(r" +", " ", line.strip())
        assert any(wanted in one for one in printed), f"{wanted!r} is not in\n{done.stdout}\n{done.stderr}"
