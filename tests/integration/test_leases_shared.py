"""Instances that share leases: each its part, none two owners, and nothing moves once they are shared."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import psycopg
import pytest
from psycopg.rows import dict_row

from haas_common.db import Database, Lease
from haas_common.db.queries import Query
from haas_common.doorbell import Doorbell
from haas_common.leases import LeaseKeeper
from haas_common.membership import Group
from tests.integration.conftest import TestDatabase

NAMES = [f"shard/{n}" for n in range(16)]
WAIT_S = 20.0
#: Long enough that nothing ends by itself while a test lasts.
LONG_S = 60.0


@dataclass
class Instance:
    """A member with its own connections, as a process of its own has them."""

    name: str
    keeper: LeaseKeeper
    doorbell: Doorbell
    database: Database

    def dies(self) -> list[asyncio.Task[None]]:
        """Ends it without giving anything back; returns what ends."""
        tasks = [task for _, task in self.keeper._held.values()]
        assert self.keeper._loop_task is not None
        tasks.append(self.keeper._loop_task)
        for task in tasks:
            task.cancel()
        return tasks


@dataclass
class World:
    """Every instance of a test, and who works on what at this moment."""

    given: TestDatabase
    stack: contextlib.AsyncExitStack
    instances: dict[str, Instance] = field(default_factory=dict)
    working: dict[str, set[str]] = field(default_factory=dict)
    epochs: dict[tuple[str, int], str] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    faults: list[str] = field(default_factory=list)

    async def join(self, name: str, *, ttl_s: float = LONG_S, renew_s: float = LONG_S) -> Instance:
        """Starts an instance."""
        database = await Database.open(self.given.app_dsn, self.given.context_key, "test")
        self.stack.push_async_callback(database.close)
        doorbell = Doorbell(database)
        await doorbell.start()
        self.stack.push_async_callback(doorbell.stop)

        async def work(lease: Lease) -> None:
            await self._work(name, lease)

        group = Group("planner", f"{name}:1", doorbell)
        keeper = LeaseKeeper(database, name, NAMES, work, group=group, ttl_s=ttl_s, renew_s=renew_s)
        self.instances[name] = Instance(name, keeper, doorbell, database)
        self.working.setdefault(name, set())
        await keeper.start()
        self.stack.push_async_callback(keeper.stop)
        return self.instances[name]

    async def _work(self, name: str, lease: Lease) -> None:
        owner = self.epochs.setdefault((lease.name, lease.epoch), name)
        if owner != name:
            self.faults.append(f"{lease.name} at epoch {lease.epoch} is {owner}'s and {name}'s")
        if others := [n for n, busy in self.working.items() if n != name and lease.name in busy]:
            self.faults.append(f"{name} began on {lease.name} while {others} worked on it")
        self.working[name].add(lease.name)
        await self._tell()
        try:
            await asyncio.Event().wait()
        finally:
            self.working[name].discard(lease.name)
            await self._tell()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits until what is worked on is as wanted."""
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(holds)

    async def shared(self, **counts: int) -> None:
        """Waits until each works on so many, and all sixteen are worked on."""
        try:
            await self.until(lambda: {n: len(self.working[n]) for n in counts} == counts)
        except TimeoutError:
            pytest.fail(f"wanted {counts}, found { {n: len(busy) for n, busy in self.working.items()} }")
        assert set().union(*self.working.values()) == set(NAMES)

    def rows(self) -> dict[str, tuple[str, int]]:
        """Owner and epoch of each lease, as the database has them."""
        with psycopg.connect(self.given.admin_dsn, row_factory=dict_row) as admin:
            found = admin.execute("SELECT name, owner, epoch FROM haas.leases WHERE name LIKE 'shard/%'").fetchall()
        return {row["name"]: (row["owner"], row["epoch"]) for row in found}

    def members(self) -> set[str]:
        with psycopg.connect(self.given.admin_dsn) as admin:
            return {row[0] for row in admin.execute("SELECT instance FROM haas.members").fetchall()}


@pytest.fixture
async def world(database: TestDatabase) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        found = World(database, stack)
        yield found
    assert found.faults == []


async def test_a_member_that_is_alone_holds_every_lease(world: World) -> None:
    await world.join("one")
    await world.shared(one=16)
    assert {owner for owner, _ in world.rows().values()} == {"one"}
    assert world.members() == {"one"}


async def test_members_share_and_share_anew_when_one_comes_or_goes(world: World) -> None:
    """Only by rings: the time between renewals is longer than the test."""
    await world.join("one")
    await world.shared(one=16)
    await world.join("two")
    await world.shared(one=8, two=8)
    await world.join("three")
    await world.until(
        lambda: (
            sum(len(busy) for busy in world.working.values()) == 16
            and all(0 < len(busy) <= math.ceil(16 / 3) for busy in world.working.values())
        )
    )
    await world.instances["two"].keeper.stop()
    await world.shared(one=8, two=0, three=8)
    assert world.members() == {"one", "three"}


async def test_what_is_shared_stays_where_it_is(world: World) -> None:
    """Renewals of members that are within their share move nothing."""
    instances = [await world.join(name) for name in ("one", "two", "three")]
    await world.until(
        lambda: (
            sum(len(busy) for busy in world.working.values()) == 16
            and all(len(busy) <= 6 for busy in world.working.values())
        )
    )
    for instance in instances:
        await instance.keeper._renew()
    before = world.rows()
    for _ in range(3):
        for instance in instances:
            await instance.keeper._renew()
    assert world.rows() == before


async def test_the_leases_of_one_that_died_are_shared_once_they_end(world: World) -> None:
    await world.join("one", ttl_s=1.0, renew_s=0.2)
    await world.join("two", ttl_s=1.0, renew_s=0.2)
    await world.shared(one=8, two=8)
    before = world.rows()
    ended = world.instances["two"].dies()
    await asyncio.gather(*ended, return_exceptions=True)
    assert world.rows() == before, "nothing was given back"
    await world.shared(one=16, two=0)
    after = world.rows()
    assert {owner for owner, _ in after.values()} == {"one"}
    assert all(after[n][1] > before[n][1] for n in NAMES if before[n][0] == "two")
    assert world.members() == {"one"}


async def test_one_that_comes_back_under_its_name_goes_on_at_once_at_new_epochs(world: World) -> None:
    await world.join("one")
    await world.join("two")
    await world.shared(one=8, two=8)
    before = world.rows()
    await asyncio.gather(*world.instances["two"].dies(), return_exceptions=True)
    await world.join("two")
    await world.shared(one=8, two=8)
    after = world.rows()
    assert {n: owner for n, (owner, _) in after.items()} == {n: owner for n, (owner, _) in before.items()}
    assert all((after[n][1] > before[n][1]) == (before[n][0] == "two") for n in NAMES)


async def test_one_that_comes_back_to_more_members_gives_back_what_is_above_its_share(world: World) -> None:
    await world.join("one")
    await world.shared(one=16)
    await asyncio.gather(*world.instances["one"].dies(), return_exceptions=True)
    await world.join("two")
    await world.join("one")
    await world.shared(one=8, two=8)


async def test_instances_that_start_together_share_too(world: World) -> None:
    names = ["one", "two", "three", "four"]
    await asyncio.gather(*(world.join(name, renew_s=1.0) for name in names))
    await world.shared(one=4, two=4, three=4, four=4)


async def test_members_are_seen_under_their_own_lease_alone(world: World) -> None:
    one = await world.join("one")
    await world.shared(one=16)
    seen = Query("seen", "", "SELECT instance FROM members")
    removed = Query("removed", "", "DELETE FROM members")
    for other in ("shard/1", "relay/usage", "member/other"):
        async with one.database.batch_tx(Lease(other, 1), []) as tx:
            assert await tx.all(seen) == []
            assert await tx.run(removed) == 0
    async with one.database.batch_tx(Lease("member/planner", 0), []) as tx:
        assert [row["instance"] for row in await tx.all(seen)] == ["one"]
