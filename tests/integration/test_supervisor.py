"""The supervisor: order, readiness, restarts, bounded stops, no orphans, one fleet a home."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from haas_cli.errors import FleetError, NotRunning
from haas_cli.fleet import state
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import Part
from haas_cli.fleet.process import Command
from haas_cli.fleet.supervisor import supervise
from tests.support.fleets import WAIT_S, Fleet


def shell(script: str) -> Callable[[], Command]:
    environment = {"PATH": "/usr/bin:/bin"}
    return lambda: Command(("/bin/bash", "-c", script), Path("/"), environment)


def server(name: str, *after: str, script: str = "echo up; exec sleep 1000", stop_s: float = 10.0) -> Part:
    return Part(name, shell(script), after=after, ready_line=b"up", stop_s=stop_s)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    found.make()
    return found


async def test_parts_start_after_what_they_need_and_stop_before_it(home: Home) -> None:
    parts = [
        Part("step", shell("exit 0"), once=True), server("database", "step"),
        Part("migrate", shell("exit 0"), after=("database",), once=True), server("service", "migrate"),
        server("edge", "service"),
    ]  # fmt: skip
    fleet = Fleet(home, parts)
    task = await fleet.start()
    fleet.supervisor.ask_to_stop()
    await task
    settled = [pair for pair in fleet.seen if pair[1] in ("done", "ready", "stopped")]
    assert settled == [
        ("step", "done"), ("database", "ready"), ("migrate", "done"), ("service", "ready"), ("edge", "ready"),
        ("edge", "stopped"), ("service", "stopped"), ("database", "stopped"),
    ]  # fmt: skip


async def test_a_killed_part_is_started_again(home: Home) -> None:
    fleet = Fleet(home, [server("service")])
    task = await fleet.start()
    part = fleet.supervisor.state.parts["service"]
    first = part.pid
    os.kill(first, signal.SIGKILL)
    await fleet.until(lambda: part.state == "ready" and part.restarts == 1)
    assert part.pid != first
    fleet.supervisor.ask_to_stop()
    await task
    assert part.state == "stopped"


async def test_a_part_that_dies_before_it_is_ready_fails_the_start_with_its_last_words(home: Home) -> None:
    fleet = Fleet(home, [server("database"), server("service", "database", script="echo no key found; exit 3")])
    with pytest.raises(FleetError, match="The part service ended with status 3: no key found"):
        await fleet.supervisor.run(lambda: pytest.fail("it cannot be ready"))
    assert fleet.seen[-1] == ("database", "stopped")


async def test_a_failed_step_speaks_for_itself(home: Home) -> None:
    fleet = Fleet(home, [Part("migrate", shell("echo This server is too old.; exit 1"), once=True)])
    with pytest.raises(FleetError) as caught:
        await fleet.supervisor.run(lambda: pytest.fail("it cannot be ready"))
    assert caught.value.message == "This server is too old."


async def test_a_step_that_is_to_be_repeated_runs_again(home: Home) -> None:
    fleet = Fleet(home, [Part("secrets", shell("exit 0"), once=True, again_s=0.01), server("service", "secrets")])
    task = await fleet.start()
    await fleet.until(lambda: fleet.seen.count(("secrets", "done")) >= 3)
    fleet.supervisor.ask_to_stop()
    assert await task is True
    assert fleet.seen.count(("service", "ready")) == 1


async def test_a_part_that_ignores_the_stop_signal_is_killed(home: Home) -> None:
    script = 'trap "" TERM; echo up; while :; do sleep 1000; done'
    fleet = Fleet(home, [server("stubborn", script=script, stop_s=0.2)])
    task = await fleet.start()
    pid = fleet.supervisor.state.parts["stubborn"].pid
    fleet.supervisor.ask_to_stop()
    async with asyncio.timeout(WAIT_S):
        await task
    assert not Path(f"/proc/{pid}").exists()


async def test_a_service_is_ready_when_it_announces_itself(home: Home) -> None:
    script = "import signal; from haas_common.readiness import announce_ready; announce_ready(); signal.pause()"

    def command() -> Command:
        return Command((sys.executable, "-c", script), Path("/"), {"PATH": "/usr/bin:/bin"})

    fleet = Fleet(home, [Part("service", command)])
    task = await fleet.start()
    assert fleet.supervisor.state.parts["service"].state == "ready"
    fleet.supervisor.ask_to_stop()
    await task


async def test_output_becomes_json_lines_in_the_parts_log(home: Home) -> None:
    script = """echo 'plain "text"'; echo '{"a": 1}'; echo up; exec sleep 1000"""
    fleet = Fleet(home, [server("service", script=script)])
    task = await fleet.start()
    fleet.supervisor.ask_to_stop()
    await task
    lines = [json.loads(line) for line in (home.log / "service.log").read_text().splitlines()]
    assert lines[0]["message"] == 'plain "text"'
    assert lines[0]["part"] == "service"
    assert lines[1] == {"a": 1}


def test_no_child_outlives_a_killed_supervisor(home: Home) -> None:
    program = f"""
from pathlib import Path
from haas_cli.fleet.home import Home
from haas_cli.fleet.parts import Part
from haas_cli.fleet.process import Command
from haas_cli.fleet.supervisor import supervise
part = Part("service", lambda: Command(("/bin/bash", "-c", "echo up; exec sleep 1000"), Path("/")), ready_line=b"up")
supervise(Home(Path({str(home.root)!r})), [part], 1, lambda *_: None, lambda: print("ready", flush=True))
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as words:
        assert words.readline() == b"ready\n"
    child = os.pidfd_open(state.read(home).parts["service"].pid)
    process.kill()
    process.wait()
    gone = select.select([child], [], [], WAIT_S)[0]
    os.close(child)
    assert gone
    with pytest.raises(NotRunning):
        state.read(home)


def test_a_second_fleet_on_the_same_home_is_refused(home: Home) -> None:
    with state.exclusive(home), pytest.raises(FleetError, match="already running"):
        supervise(home, [], 1, lambda *_: None, lambda: None)
    assert state.is_running(home) is False
