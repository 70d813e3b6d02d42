"""`haas history` on the operator's machine: what it lists, asks, refuses and does."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from haas_cli.__main__ import run
from haas_common.history.partitions import Partitions
from haas_common.sockets import short_url
from tests.integration.conftest import TestDatabase
from tests.support.droppable import Old, old_history


@pytest.fixture
async def old(database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Old]:
    """A history, and a fleet's home that leads to it."""
    home = tmp_path / "home"
    async with old_history(database, home) as found:
        for name, text in {"database.url": database.app_dsn, "context.key": database.context_key.hex()}.items():
            (home / "secrets" / "orchestrator" / name).write_text(text)
        monkeypatch.setenv("HAAS_HOME", str(home))
        monkeypatch.setenv("HAAS_DATABASE_URL", short_url(database.admin_dsn))
        # One operator at a time.
        found.growth.plans.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'haas-history'"
            " AND datname = current_database()"
        )
        with psycopg.connect(short_url(database.admin_dsn), autocommit=True, row_factory=dict_row) as reader:
            reader.execute("SET search_path = haas, public")
            yield dataclasses.replace(found, partitions=Partitions(reader))


async def haas(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Runs the command in a thread, which has no event loop yet."""
    capsys.readouterr()
    status = await asyncio.to_thread(run, list(arguments))
    told = capsys.readouterr()
    return status, told.out, told.err


async def test_ranges_are_listed_with_what_vouches_for_them(old: Old, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = await haas(capsys, "history", "ranges", "--json")
    rows = json.loads(out)
    assert (status, [row["range"] for row in rows]) == (0, ["c0_p0", "c0_p1", "c0_p2"])
    assert [row["covered"] for row in rows] == [True, True, True]
    assert rows[0]["first_time"] <= rows[0]["last_time"] <= rows[1]["first_time"]
    assert rows[2]["first_time"] == ""
    await old.write(1)
    status, out, _ = await haas(capsys, "history", "ranges")
    lines = out.splitlines()
    assert (status, len(lines)) == (0, 4)
    assert [line.split()[-2:] == ["not", "all"] for line in lines[1:]] == [False, True, False]


async def test_old_ranges_are_dropped_once_somebody_says_yes(old: Old, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = await haas(capsys, "history", "drop", "--before", "c0_p1", "--json")
    assert (status, json.loads(err)["error"]["reason"]) == (2, "USAGE")
    status, out, err = await haas(capsys, "history", "drop", "--before", "c0_p1", "--yes")
    assert (status, "in c0_p0" in out, "c0_p0: detached" in err) == (0, True, True)
    assert old.verified().dropped["p-one"] > 0
    status, out, _ = await haas(capsys, "history", "drop", "--before", "c0_p1", "--yes")
    assert (status, out) == (0, "nothing is as old as that\n")
    await old.sign()
    status, out, _ = await haas(capsys, "history", "ranges", "--json")
    assert [row["covered"] for row in json.loads(out)] == [True, True]


async def test_a_range_is_written_into_a_file(old: Old, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "c0_p0.csv.gz"
    status, out, _ = await haas(capsys, "history", "detach", "c0_p0", "--into", str(target), "--yes", "--json")
    assert (status, json.loads(out)["ranges"], target.exists()) == (0, ["c0_p0"], True)
    status, _, err = await haas(capsys, "history", "detach", "c0_p9", "--into", str(target), "--yes", "--json")
    assert (status, json.loads(err)["error"]["reason"]) == (5, "RANGE_UNKNOWN")


async def test_what_keeps_a_range_ends_with_5_and_what_does_not_verify_with_7(
    old: Old, capsys: pytest.CaptureFixture[str]
) -> None:
    old.growth.plans.execute("DELETE FROM relay_cursors")
    status, _, err = await haas(capsys, "history", "drop", "--before", "c0_p1", "--yes", "--json")
    assert (status, json.loads(err)["error"]["reason"]) == (5, "CURSOR_BEHIND")
    old.read_by_relays()
    old.growth.plans.execute("UPDATE events_c0_p0 SET actor = 'eva' WHERE seq = 2")
    status, _, err = await haas(capsys, "history", "drop", "--before", "c0_p1", "--yes", "--json")
    assert (status, json.loads(err)["error"]["reason"]) == (7, "HISTORY_TAMPERED")


async def test_a_tenant_gets_a_cell(old: Old, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = await haas(capsys, "history", "isolate", "--tenant", "t-one", "--json")
    assert (status, json.loads(out)) == (0, {"tenant_id": "t-one", "cell": 1})
    status, _, err = await haas(capsys, "history", "isolate", "--tenant", "t-none", "--json")
    assert (status, json.loads(err)["error"]["reason"]) == (5, "RANGE_UNKNOWN")
    assert old.growth.ranges("events_c1") == ["events_c1_p1", "events_c1_p2"]
