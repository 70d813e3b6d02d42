"""Snapshots of long plans on a real PostgreSQL: what is folded from one is what the history says."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import psycopg
import pytest

from haas_common import errors
from haas_common.db import Lease
from haas_planner import snapshots, store
from haas_planner.domain import Plan, snapshot
from haas_planner.graph import Task
from tests.integration.conftest import TestDatabase
from tests.support.kinds import SCOPE, Planner, constant, of, planner_of, task

PLAN = "pl-00000001"
FIRST = {"expression": "values(inputs)[0]"}
CANARY = "canary-31d7"


@pytest.fixture(autouse=True)
def written(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """What is long is so after some dozens of events; set once a snapshot is kept."""
    monkeypatch.setattr(snapshots, "EVENTS_MIN", 60)
    monkeypatch.setattr(store, "_PAGE", 25)
    keep, done = snapshots.keep, asyncio.Event()

    async def noted(*args: Any) -> None:
        await keep(*args)
        done.set()

    monkeypatch.setattr(snapshots, "keep", noted)
    return done


@pytest.fixture
def admin(database: TestDatabase) -> Any:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        yield connection


def long_plan(length: int = 100) -> list[Task]:
    """A chain that a signal holds up half-way."""
    half = length // 2
    first = constant(1, f'"{CANARY}"')
    before = [task(n, "transform", [of(n - 1)], params=FIRST) for n in range(2, half)]
    gate = task(half, "wait", [of(half - 1)], control={"signal": "go"})
    after = [task(n, "transform", [of(n - 1)], params=FIRST) for n in range(half + 1, length + 1)]
    return [first, *before, gate, *after]


def kept(admin: Any) -> list[tuple[str, int, bytes]]:
    rows = admin.execute("SELECT plan_id, version, body FROM haas.plan_snapshots ORDER BY plan_id").fetchall()
    return [(plan_id, version, bytes(body)) for plan_id, version, body in rows]


async def at_the_gate(planner: Planner, written: asyncio.Event) -> None:
    await planner.start(PLAN, long_plan())
    await planner.until(PLAN, lambda row: row["tasks"].get("T-50") == "waiting")
    async with asyncio.timeout(20):
        await written.wait()


async def folded(planner: Planner, until_version: int = 0) -> store.Folded:
    async with planner.database.tenant_tx(SCOPE) as tx:
        return await store.load_plan(tx, SCOPE, PLAN, until_version)


async def from_the_start(planner: Planner, monkeypatch: pytest.MonkeyPatch) -> Plan:
    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "FORM", "another release")
        found = await folded(planner)
    assert found.snapshot == 0
    return found.plan


async def test_the_next_owner_folds_from_the_snapshot_and_the_plan_ends_as_it_would_have(
    database: TestDatabase, tmp_path: Path, admin: Any, written: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with planner_of(database, tmp_path) as planner:
        await at_the_gate(planner, written)
        found = await folded(planner)
        assert found.snapshot >= 60
        assert found.plan == await from_the_start(planner, monkeypatch)
        [(plan_id, version, body)] = kept(admin)
        assert (plan_id, version) == (PLAN, found.snapshot)
        assert CANARY.encode() not in body
    read: list[int] = []
    latest = snapshots.latest

    async def noted(*args: Any) -> Any:
        given = await latest(*args)
        read.append(given.snapshot if given else 0)
        return given

    monkeypatch.setattr(snapshots, "latest", noted)
    async with planner_of(database, tmp_path) as planner:
        await planner.tell(PLAN, "signal", name="go", value={"n": 1})
        row = await planner.over(PLAN)
        assert (row["state"], set(row["tasks"].values())) == ("completed", {"completed"})
        assert version in read
        assert kept(admin) == [], "it goes with the plan's end"
        assert (await folded(planner)).plan.tasks["T-100"].values == {"v100": {"n": 1}}


async def test_the_state_after_an_earlier_event_is_not_read_from_a_later_snapshot(
    database: TestDatabase, tmp_path: Path, admin: Any, written: asyncio.Event
) -> None:
    async with planner_of(database, tmp_path) as planner:
        await at_the_gate(planner, written)
        [(_, version, _)] = kept(admin)
        assert [(await folded(planner, at)).snapshot for at in (version - 1, version)] == [0, version]
        assert [(await folded(planner, at)).plan.version for at in (40, version - 1, version)] == [
            40,
            version - 1,
            version,
        ]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE haas.plan_snapshots SET body = set_byte(body, 20, (get_byte(body, 20) + 1) % 256)",
        "UPDATE haas.plan_snapshots SET version = version - 1",
        "UPDATE haas.plan_snapshots SET body = ''",
        "UPDATE haas.plan_snapshots SET key_id = 'dk-nobody'",
    ],
    ids=["its bytes", "its version", "nothing left", "its key"],
)
async def test_one_that_was_changed_is_told_of_and_the_history_is_folded(
    database: TestDatabase, tmp_path: Path, admin: Any, written: asyncio.Event, monkeypatch: pytest.MonkeyPatch,
    change: str, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    async with planner_of(database, tmp_path) as planner:
        await at_the_gate(planner, written)
        plan = await from_the_start(planner, monkeypatch)
        admin.execute(change)
        with caplog.at_level(logging.ERROR):
            found = await folded(planner)
    assert (found.plan, found.snapshot) == (plan, 0)
    assert "was changed" in caplog.text


async def test_one_whose_key_was_destroyed_is_passed_over_and_none_is_kept_under_the_next_key(
    database: TestDatabase, tmp_path: Path, admin: Any, written: asyncio.Event
) -> None:
    async with planner_of(database, tmp_path) as planner:
        await at_the_gate(planner, written)
        [(_, version, _)] = kept(admin)
        plan = (await folded(planner)).plan
        admin.execute("UPDATE haas.data_keys SET wrapped = NULL, destroyed_at = now()")
        destroyed = [key_id for (key_id,) in admin.execute("SELECT key_id FROM haas.data_keys").fetchall()]
        planner.database.vault.forget(SCOPE, destroyed)
        found = await folded(planner)
        assert (found.snapshot, found.plan.objective) == (0, "[erased]")
        one = snapshots.Taken((SCOPE, PLAN), "ana", version + 1, "", snapshot.dump(plan))
        await snapshots.keep(planner.database, lease_of(admin, PLAN), one)
        assert [v for _, v, _ in kept(admin)] == [version]


async def test_none_is_kept_of_a_plan_that_is_over_and_an_older_one_replaces_none(
    database: TestDatabase, tmp_path: Path, admin: Any, written: asyncio.Event
) -> None:
    async with planner_of(database, tmp_path) as planner:
        await at_the_gate(planner, written)
        [before] = kept(admin)
        older = snapshots.Taken((SCOPE, PLAN), "ana", before[1] - 1, "", b"{}")
        await snapshots.keep(planner.database, lease_of(admin, PLAN), older)
        assert kept(admin) == [before]
        await planner.tell(PLAN, "cancel")
        await planner.over(PLAN)
        assert kept(admin) == []
        await snapshots.keep(planner.database, lease_of(admin, PLAN), older)
        assert kept(admin) == []


async def test_who_lost_the_shard_keeps_none(
    database: TestDatabase, tmp_path: Path, admin: Any, written: asyncio.Event
) -> None:
    async with planner_of(database, tmp_path) as planner:
        await at_the_gate(planner, written)
        [before] = kept(admin)
        lease = lease_of(admin, PLAN)
        late = snapshots.Taken((SCOPE, PLAN), "ana", before[1] + 1, "", b"{}")
        with pytest.raises(errors.LeaseLost):
            await snapshots.keep(planner.database, Lease(lease.name, lease.epoch - 1), late)
        assert kept(admin) == [before]


async def test_a_plan_that_goes_on_without_its_snapshot_being_kept_is_whole(
    database: TestDatabase, tmp_path: Path, admin: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    async def failing(*_args: Any) -> None:
        raise errors.DatabaseUnavailable

    monkeypatch.setattr(snapshots, "keep", failing)
    async with planner_of(database, tmp_path) as planner:
        await planner.start(PLAN, long_plan())
        await planner.tell(PLAN, "signal", name="go", value={})
        assert (await planner.over(PLAN))["state"] == "completed"
    assert kept(admin) == []
    assert "no snapshot of plan" in caplog.text


def lease_of(admin: Any, plan_id: str) -> Lease:
    name, epoch = admin.execute(
        "SELECT l.name, l.epoch FROM haas.leases AS l JOIN haas.plans AS p ON l.name = 'shard/' || p.shard"
        " WHERE p.plan_id = %s",
        (plan_id,),
    ).fetchone()
    return Lease(name, epoch)
