"""Checkpoints of a real history: signed by count and by time, by one signer a number, and by the keys of the day."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from haas_common import errors
from haas_common.audit.checkpoints import PROJECTS_MAX, TENANT_PROJECT
from haas_common.audit.findings import Report
from haas_common.audit.rows import lines_of
from haas_common.audit.verify import verify
from haas_common.blobs import BlobStore
from haas_common.db import Database, Lease, Scope
from haas_common.doorbell import Doorbell
from haas_common.eventstore import NewEvent, append
from haas_common.fleet_keys import FleetKeys
from haas_common.pki import rotate_fleet_key, write_fleet_secrets
from haas_common.sockets import short_url
from haas_orchestrator.audit import store
from haas_orchestrator.audit.signer import Signer
from haas_orchestrator.audit.worker import LEASE, CheckpointWorker, Policy
from tests.integration.conftest import TestDatabase

TENANT = "t-one"
SERVICES = ("gateway", "orchestrator", "planner", "notifier", "mcp")


@dataclasses.dataclass
class World:
    """A database with tenants, and a signer of the fleet's."""

    dsn: str
    doors: Database
    keys: FleetKeys
    secrets: Path
    signer: Signer

    def project(self, *projects: str, tenant: str = TENANT) -> list[Scope]:
        with psycopg.connect(short_url(self.dsn), autocommit=True) as admin:
            admin.execute("INSERT INTO haas.tenants (tenant_id) VALUES (%s) ON CONFLICT DO NOTHING", (tenant,))
            for project in projects:
                admin.execute("INSERT INTO haas.projects (tenant_id, project_id) VALUES (%s, %s)", (tenant, project))
        return [Scope(tenant, project) for project in projects]

    async def happen(self, scope: Scope, count: int, streams: int = 3) -> None:
        events = [NewEvent(scope, f"plan/{n % streams}", "TaskReady", {}, "ana") for n in range(count)]
        async with self.doors.tenant_tx(scope) as tx:
            await append(tx, events)

    async def sign(self, tenant: str = TENANT) -> tuple[Any, bool]:
        return await self.signer.sign(tenant, await store.scopes_of(self.doors, tenant))

    async def verified(self, tenant: str = TENANT) -> Report:
        source = Read(tenant)
        for scope in await store.scopes_of(self.doors, tenant):
            blocks = [piece async for piece in store.lines(self.doors, scope, 0, 2**40, 50, 10_000)]
            if blocks:
                source.blocks[scope.project_id] = blocks
        return verify(source, self.keys.public("checkpoint"), self.keys.public("artifact"))

    async def told(self, tenant: str = TENANT) -> list[int]:
        async with self.doors.tenant_tx(Scope(tenant, TENANT_PROJECT)) as tx:
            return [c.number for c in await store.checkpoints_page(tx, tenant, 0, 100)]


@dataclasses.dataclass
class Read:
    """What was read, as a Source."""

    tenant_id: str
    blocks: dict[str, list[bytes]] = dataclasses.field(default_factory=dict)

    def projects(self) -> list[str]:
        return sorted(self.blocks)

    def events(self, project_id: str) -> Any:
        return lines_of(self.blocks[project_id])

    def blob(self, project_id: str, ref: str) -> bytes | None:
        return None


@pytest.fixture
async def world(database: TestDatabase, tmp_path: Path) -> AsyncIterator[World]:
    write_fleet_secrets(tmp_path, SERVICES, [])
    keys = FleetKeys.open(tmp_path / "orchestrator")
    doors = await Database.open(short_url(database.app_dsn), database.context_key, "test")
    try:
        yield World(database.admin_dsn, doors, keys, tmp_path, Signer(doors, keys, BlobStore(tmp_path / "store")))
    finally:
        await doors.close()


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def lease(world: World) -> Lease:
    with psycopg.connect(short_url(world.dsn), autocommit=True) as admin:
        row = admin.execute(
            "UPDATE haas.leases SET owner = 'test', epoch = epoch + 1, expires_at = now() + '1 hour' WHERE name = %s"
            " RETURNING epoch",
            (LEASE,),
        ).fetchone()
    assert row is not None
    return Lease(LEASE, row[0])


async def worker(world: World, policy: Policy, clock: Clock) -> CheckpointWorker:
    return CheckpointWorker(await lease(world), world.doors, Doorbell(world.doors), world.signer, policy, clock)


# ── Signing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_signed_verifies_and_covers_everything_but_itself(world: World) -> None:
    one, two = world.project("p-one", "p-two")
    for scope, count in ((one, 7), (two, 4), (one, 5)):
        await world.happen(scope, count)
        checkpoint, signed = await world.sign()
        assert signed
    again, signed = await world.sign()
    assert (again, signed) == (checkpoint, False)
    report = await world.verified()
    assert report.findings.first == []
    assert (report.newest, report.digest, report.counts.not_covered) == (3, checkpoint.digest(), 1)


async def test_a_checkpoint_tells_of_what_changed_and_a_new_signer_goes_on_from_the_chain(world: World) -> None:
    one, two = world.project("p-one", "p-two")
    await world.happen(one, 3)
    await world.happen(two, 3)
    await world.sign()
    await world.happen(two, 1)
    world.signer = Signer(world.doors, world.keys, BlobStore(world.secrets / "store"))
    checkpoint, _ = await world.sign()
    assert {r.project_id: r.last_seq for r in checkpoint.projects} == {TENANT_PROJECT: 1, "p-two": 4}
    assert (await world.verified()).valid


async def test_more_projects_than_a_checkpoint_holds_follow_at_once(world: World) -> None:
    scopes = world.project(*(f"p-{n:03}" for n in range(PROJECTS_MAX + 5)))
    async with world.doors.batch_tx(Lease("test", 0), scopes) as tx:
        await append(tx, [NewEvent(scope, "plan/1", "TaskReady", {}, "ana") for scope in scopes])
    await world.sign()
    assert await world.told() == [2, 1]
    report = await world.verified()
    assert report.findings.first == []
    assert report.counts.not_covered == 1


async def test_of_two_signers_one_writes_a_number_and_both_go_on(world: World) -> None:
    (one,) = world.project("p-one")
    await world.happen(one, 3)
    other = Signer(world.doors, world.keys, BlobStore(world.secrets / "store"))
    scopes = await store.scopes_of(world.doors, TENANT)
    for turn in range(5):
        await world.happen(one, 1)
        await asyncio.gather(world.signer.sign(TENANT, scopes), other.sign(TENANT, scopes))
        assert (await world.told())[0] == turn + 1
    assert (await world.verified()).valid


async def test_what_happens_while_it_is_signed_is_for_the_next_one(world: World) -> None:
    scopes = world.project("p-one", "p-two", "p-three")

    async def busy(scope: Scope) -> None:
        for _ in range(15):
            await world.happen(scope, 5)

    async def signing() -> None:
        while not all(task.done() for task in tasks):
            await world.sign()

    tasks = [asyncio.create_task(busy(scope)) for scope in scopes]
    await asyncio.gather(signing(), *tasks)
    await world.sign()
    report = await world.verified()
    assert report.findings.first == []
    assert (report.counts.not_covered, report.counts.events) == (1, 225 + report.counts.checkpoints)


async def test_a_rotated_key_signs_what_comes_and_the_old_one_vouches_for_what_was(world: World) -> None:
    (one,) = world.project("p-one")
    kids = []
    for _ in range(2):
        await world.happen(one, 2)
        checkpoint, _ = await world.sign()
        kids.append(checkpoint.kid)
        rotate_fleet_key(world.secrets, "checkpoint", SERVICES)
    assert len(set(kids)) == 2
    assert (await world.verified()).valid
    report = verify(Read(TENANT), {}, {})
    assert report.valid  # nothing was read
    newest = {kids[1]: world.keys.public("checkpoint")[kids[1]]}
    world.keys.public = lambda use: newest  # type: ignore[method-assign]
    assert "none of the fleet's" in (await world.verified()).findings.first[0].what


async def test_a_clock_that_was_put_back_makes_no_checkpoint_that_goes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = world.project("p-one")
    await world.happen(one, 2)
    first, _ = await world.sign()

    async def earlier(tx: object) -> str:
        return "2026-01-01T00:00:00.000000Z"

    monkeypatch.setattr(store, "now", earlier)
    await world.happen(one, 2)
    second, signed = await world.sign()
    assert (second.number, signed, second.signed_at) == (2, True, first.signed_at)
    assert (await world.verified()).findings.first == []


# ── When ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_tenant_is_due_by_count_or_by_time_and_not_by_its_own_checkpoints(world: World) -> None:
    (one,) = world.project("p-one")
    (other,) = world.project("p-one", tenant="t-two")
    clock = Clock()
    works = await worker(world, Policy(events=10, seconds=60), clock)
    await world.happen(one, 9)
    await works.round()
    assert await world.told() == []
    await world.happen(one, 1)
    await works.round()
    assert await world.told() == [1]
    await world.happen(other, 1)
    assert await works.round() <= 15
    clock.now = 59
    await works.round()
    assert await world.told("t-two") == []
    clock.now = 61
    await works.round()
    assert (await world.told("t-two"), await world.told()) == ([1], [1])
    for clock.now in (200, 300, 400):
        await works.round()
    assert (await world.told("t-two"), await world.told()) == ([1], [1])


async def test_many_streams_ask_for_more_events(world: World) -> None:
    (one,) = world.project("p-one")
    await world.happen(one, 300, streams=300)
    works = await worker(world, Policy(events=10, seconds=60), Clock())
    await works.round()
    await world.happen(one, 30)
    await works.round()
    assert await world.told() == [1]
    await world.happen(one, 1)  # a tenth of 301 streams: that of the checkpoints is one
    await works.round()
    assert await world.told() == [2, 1]


async def test_who_has_lost_the_lease_signs_nothing(world: World) -> None:
    (one,) = world.project("p-one")
    works = await worker(world, Policy(events=1), Clock())
    await lease(world)
    await world.happen(one, 5)
    with pytest.raises(errors.LeaseLost):
        await works.round()
    assert await world.told() == []


async def test_it_is_woken_by_the_bell(world: World) -> None:
    (one,) = world.project("p-one")
    doorbell = Doorbell(world.doors)
    await doorbell.start()
    policy = Policy(events=1, seconds=0.01)
    works = CheckpointWorker(await lease(world), world.doors, doorbell, world.signer, policy)
    task = asyncio.create_task(works.run())
    try:
        with doorbell.bell("events") as bell:
            await world.happen(one, 1)
            doorbell.ring("events")
            async with asyncio.timeout(20):
                while not await world.told():
                    await bell.wait(0.2)
        assert json.loads(json.dumps(await world.told())) == [1]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await doorbell.stop()
