"""One whole fleet for the end-to-end tests that only use it: Envoy, mTLS, services, PostgreSQL, Valkey."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from haas_cli.fleet.home import Home
from tests.support.cli import Cli


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sends every test that uses the shared fleet to one worker, so that the run starts it once."""
    for item in items:
        if "fleet" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("fleet"))


@pytest.fixture(scope="session")
def fleet() -> Iterator[Cli]:
    """A running fleet; `fleet.json("env", "--tenant", …)` gives what a client needs."""
    with tempfile.TemporaryDirectory(prefix="haas-e2e-") as folder:
        found = Cli.on(Home(Path(folder) / "home"))
        started = found.call("up", "--detach")
        assert started.returncode == 0, started.stderr
        yield found
        assert found.call("down").returncode == 0
