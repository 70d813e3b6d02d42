"""The commands that call the API: what they ask for, what they print, and the exit statuses that scripts rely on."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from haas.notifier.v1.notifier_pb2 import Event
from haas_cli.__main__ import run
from haas_cli.errors import Exit
from haas_cli.progress import Board
from haas_client import retries
from haas_common import errors as ours
from tests.support.fake_fleet import World, running

PLAN = "pl-00000001"
Haas = Callable[..., Awaitable[int]]


@pytest.fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[World]:
    monkeypatch.setattr(retries, "PAUSE_FIRST_S", 0.001)
    async with running(tmp_path) as found:
        (tmp_path / "ca.pem").write_bytes(found.authority)
        settings = {
            "URL": found.url, "CACERT": str(tmp_path / "ca.pem"), "TOKEN": "t", "TENANT": "t-one", "PROJECT": "p-one",
            "HOME": str(tmp_path / "home"),
        }  # fmt: skip
        for name, value in settings.items():
            monkeypatch.setenv(f"HAAS_{name}", value)
        yield found


async def haas(*arguments: str) -> int:
    """Runs a command beside the fleet."""
    return await asyncio.to_thread(run, list(arguments))


def event(seq: int, type_: str, task_id: str = "", **payload: object) -> Event:
    return Event(seq=seq, type=type_, task_id=task_id, payload_json=json.dumps(payload), actor="planner")


STORY = [
    event(1, "PlanCreated"),
    event(2, "TaskPlanned", "T-1", task={"title": "Count [red]", "owner_agent_id": "a"}),
    event(3, "TaskPlanned", "T-2", task={"title": "Write", "owner_agent_id": "b"}),
    event(4, "TaskStarted", "T-1"),
    event(5, "TaskCompleted", "T-1"),
    event(6, "TaskStarted", "T-2"),
]
DONE = [*STORY, event(7, "TaskCompleted", "T-2"), event(8, "PlanCompleted")]
FAILED = [*STORY, event(7, "TaskFailed", "T-2", message="no rows"), event(8, "PlanFailed", failure="T-2: no rows")]


async def test_a_plan_that_was_completed_ends_with_0_and_a_line_an_event(world, capsys):
    world.fleet.script = DONE
    assert await haas("plan", "run", PLAN, "--wait") == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(DONE) + 1
    assert lines[-1] == f"plan {PLAN}: completed; 2 completed"


async def test_a_plan_that_failed_ends_with_1_and_says_why(world, capsys):
    world.fleet.script = FAILED
    assert await haas("plan", "watch", PLAN) == Exit.FAILED
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"plan {PLAN}: failed; 1 completed, 1 failed"
    assert said.err == "T-2: no rows\n"


async def test_a_watch_with_json_is_one_object_a_line(world, capsys):
    world.fleet.script = FAILED
    assert await haas("plan", "watch", PLAN, "--json") == Exit.FAILED
    said = capsys.readouterr()
    assert [json.loads(line)["type"] for line in said.out.splitlines()] == [e.type for e in FAILED]
    assert said.err == ""


def test_the_board_shows_what_is_under_way_or_wrong_and_counts_the_rest():
    board = Board()
    for told in FAILED[:6]:
        board.hear(told)
    assert (board.counts(), [name for name, _ in board.shown()]) == ("1 running, 1 completed", ["T-1", "T-2"])
    for told in FAILED[6:]:
        board.hear(told)
    assert (board.end, board.why, board.tasks["T-2"].note) == ("failed", "T-2: no rows", "no rows")


async def test_inputs_are_numbers_texts_refs_and_uploads(world, tmp_path, capsys):
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    given = {"budget": "1200.5", "ref": "sha256:ab", "word": "1_000", "minus": "-3", "text": "a=b"}
    pairs = [part for name, value in given.items() for part in ("--input", f"{name}={value}")]
    assert await haas("plan", "create", "objetivo", *pairs, "--input", f"table=@{tmp_path}/r.csv") == Exit.OK
    asked = world.fleet.seen[-1]
    assert dict(asked.inputs) == {
        "budget": 1200.5, "ref": "sha256:ab", "word": "1_000", "minus": -3.0, "text": "a=b", "table": "sha256:1",
    }  # fmt: skip
    assert capsys.readouterr().out.splitlines()[-1] == PLAN


async def test_an_artifact_that_does_not_hold_is_status_7(world, capsys):
    assert await haas("artifacts", "verify", "artf-good", "artf-bad", "--json") == Exit.UNVERIFIED
    shown = json.loads(capsys.readouterr().out)
    assert (shown["valid"], [a["valid"] for a in shown["artifacts"]]) == (False, [True, False])
    assert await haas("artifacts", "verify", "artf-good") == Exit.OK


async def test_an_artifact_is_written_byte_by_byte(world, tmp_path, capsys):
    assert await haas("artifacts", "get", "artf-good", "--out", str(tmp_path / "x.md")) == Exit.OK
    assert capsys.readouterr().out == ""
    assert await haas("artifacts", "get", "artf-good") == Exit.OK
    assert (tmp_path / "x.md").read_text() == capsys.readouterr().out == "---\nartifact_id: x\n---\n# Título\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ours.ResourceNotFound("There is none."), Exit.NOT_FOUND),
        (ours.FieldInvalid("It is wrong.", field="plan_id"), Exit.USAGE),
        (ours.ScopeMissing("It lacks plans.read."), Exit.REFUSED),
        (ours.TokenExpired(), Exit.REFUSED),
        (ours.RateLimited("Slower."), Exit.UNAVAILABLE),
        (ours.HashMismatch("It does not hold."), Exit.UNVERIFIED),
        (ours.PlanStateConflict("It runs."), Exit.FAILED),
    ],
)
async def test_an_error_is_its_exit_status_and_one_sentence(world, capsys, error, status):
    world.fleet.failures = [error]
    assert await haas("plan", "status", PLAN) == status
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"haas: {error.message}\n")
    world.fleet.failures = [error]
    assert await haas("plan", "status", PLAN, "--json") == status
    assert json.loads(capsys.readouterr().err)["error"]["reason"] == error.reason


async def test_a_fleet_that_does_not_answer_is_status_6(world, capsys, monkeypatch):
    monkeypatch.setenv("HAAS_URL", "https://127.0.0.1:1")
    assert await haas("plan", "list") == Exit.UNAVAILABLE
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "create", "o", "--input", "no-equals"),
        ("plan", "create", "o", "--input", "x=@/nowhere.csv"),
        ("plan", "create", "o", "--graph", "/nowhere.json"),
        ("tools", "invoke", "data.table", "[1]"),
        ("tools", "invoke", "data.table", "{"),
        ("inputs", "put", "/nowhere.csv"),
        ("profile", "put", "/nowhere.yaml"),
        ("artifacts", "verify"),
    ],
)
async def test_a_command_called_wrongly_is_status_2_and_asks_the_fleet_for_nothing(world, arguments, capsys):
    assert await haas(*arguments) == Exit.USAGE
    assert capsys.readouterr().err.count("\n") == 1
    assert world.fleet.seen == []


async def test_a_command_without_a_project_says_how_to_name_one(world, capsys, monkeypatch):
    monkeypatch.delenv("HAAS_PROJECT")
    assert await haas("plan", "list") == Exit.USAGE
    assert "--project" in capsys.readouterr().err


async def test_tail_begins_with_the_last_events(world, capsys):
    world.fleet.events = 50
    assert await haas("events", "tail", "--lines", "4", "--json") == Exit.OK
    assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == ["47", "48", "49", "50"]


async def test_a_table_shows_enums_and_empty_values_in_plain_words(world, capsys):
    assert await haas("plan", "list", "--limit", "2") == Exit.OK
    header, first, *rest = capsys.readouterr().out.splitlines()
    assert header.split() == ["plan_id", "state", "intent", "create_time", "objective"]
    assert (first.split()[:2], len(rest)) == (["pl-0", "UNSPECIFIED"], 1)


async def test_agents_are_listed_by_skill_registered_and_paused(world, capsys):
    assert await haas("agents", "list") == Exit.OK
    header, measured, new = (line.split() for line in capsys.readouterr().out.splitlines())
    assert (header[0], header[-1]) == ("agent_id", "score")
    assert measured == ["specialist.law", "specialist", "active", "-", "-", "law.check", "3", "1", "100", "0.30"]
    assert new[5:] == ["x", "0", "0", "-", "-"]
    told = ("--skill", "law.check", "--skill", "x", "--kind", "leader", "--running-max", "2")
    assert await haas("agents", "register", "leader.law", *told) == Exit.OK
    assert capsys.readouterr().out == "leader.law leader active: law.check, x\n"
    assert world.fleet.seen[-1].running_max == 2
    assert await haas("agents", "pause", "specialist.law", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["state"] == "AGENT_STATE_PAUSED"
    assert await haas("agents", "resume", "specialist.law") == Exit.OK
    assert capsys.readouterr().out == "specialist.law specialist active: x\n"


async def test_skills_are_listed_with_their_contracts_and_removed(world, capsys):
    assert await haas("agents", "skills") == Exit.OK
    header, first = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["skill", "agent_id", "remote", "reads", "writes"]
    assert first == ["law.check", "agent.law", "yes", "note:doc.note", "text:doc.*?", "verdict:value.verdict"]
    assert await haas("agents", "skills", "--json") == Exit.OK
    (listed,) = json.loads(capsys.readouterr().out)["skills"]
    assert (listed["name"], listed["writes"][0]["type"]) == ("law.check", "value.verdict")
    assert await haas("agents", "remove-skill", "law.check") == Exit.OK
    assert capsys.readouterr().out == "law.check is removed\n"
    assert world.fleet.seen[-1].skill == "law.check"
    assert await haas("agents", "remove-skill", "law.check", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"removed": "law.check"}


async def test_hooks_are_made_listed_and_removed_and_a_secret_is_told_once(world, capsys):
    told = ("pay", "--signal", "paid", "--plan-path", "data.plan", "--value-path", "data")
    assert await haas("hooks", "put", *told, "--new-secret") == Exit.OK
    assert capsys.readouterr().out.splitlines() == ["/v1/signals/t-one.p-one.pay", "whsec_Zm9v"]
    assert (world.fleet.seen[-1].plan_path, world.fleet.seen[-1].value_path) == ("data.plan", "data")
    assert await haas("hooks", "put", *told) == Exit.OK
    assert capsys.readouterr().out.splitlines() == ["/v1/signals/t-one.p-one.pay"]
    assert await haas("hooks", "put", *told, "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["hook"]["signal"] == "paid"
    assert await haas("hooks", "list") == Exit.OK
    assert capsys.readouterr().out.splitlines()[1].split() == ["pay", "paid", "data.plan", "-", "-"]
    assert await haas("hooks", "remove", "pay") == Exit.OK
    assert capsys.readouterr().out == "pay is removed\n"
    assert await haas("hooks", "remove", "pay", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"removed": "pay"}


async def test_ctrl_c_ends_a_watch_at_once_with_status_130(world):
    world.fleet.script, world.fleet.hang = STORY, True
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "haas_cli", "plan", "watch", PLAN, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    for _ in STORY:
        await asyncio.wait_for(process.stdout.readline(), 20)
    process.send_signal(signal.SIGINT)
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, said.strip()) == (130, b"")
