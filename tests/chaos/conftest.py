"""A fleet whose parts are ended by force: for these tests alone. What the storm's rounds came to is told at the end."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from haas_cli.fleet.home import Home
from tests.support.cli import Cli
from tests.support.storm_figures import lines
from tests.support.storms import SEED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sends every test that uses this fleet to one worker, so that the run starts it once."""
    for item in items:
        if "victims" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("chaos"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells what the storm came to."""
    reports = [r for found in terminalreporter.stats.values() for r in found if isinstance(r, pytest.TestReport)]
    rounds = [value for r in reports if r.when == "call" for name, value in r.user_properties if name == "storm"]
    for line in lines(rounds, SEED):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def victims() -> Iterator[Cli]:
    """A running fleet."""
    with tempfile.TemporaryDirectory(prefix="haas-chaos-") as folder:
        found = Cli.on(Home(Path(folder) / "home"))
        started = found.call("up", "--detach")
        assert started.returncode == 0, started.stderr
        yield found
        assert found.call("down").returncode == 0
