"""Read models are folds: whatever happened, the rebuilt tables are the live ones, row by row and column by column."""

import asyncio
import contextlib
import dataclasses
import datetime
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haas_common import errors, locks
from haas_common.artifacts.file import Draft
from haas_common.artifacts.records import Placing
from haas_common.artifacts.store import ArtifactStore
from haas_common.blobs import BlobStore
from haas_common.db import Database, Lease, Query, Scope
from haas_common.doorbell import Doorbell
from haas_common.eventstore import NewEvent, append
from haas_common.key_ring import KeyRing
from haas_common.projections import Past, Projection, Shadow, rebuild
from haas_common.projections.rebuild import Found, Rebuild, RebuildRunning
from haas_common.projections.shadow import Unsupported
from haas_common.sockets import short_url
from haas_gateway.projection import PROJECTIONS as USAGE
from haas_gateway.worker import UsageProjector
from haas_mcp.projection import PROJECTIONS as LOCKS
from haas_notifier.projection import PROJECTIONS as NOTIFICATIONS
from haas_notifier.worker import Relay
from haas_orchestrator.projection import PROJECTIONS as ARTIFACTS
from haas_planner import domain, store
from haas_planner.agents.operations import Agents
from haas_planner.agents.projection import PROJECTIONS as AGENTS
from haas_planner.agents.worker import AgentProjector
from haas_planner.domain import TYPES, Event, Plan
from haas_planner.projection import PROJECTIONS as PLANS
from haas_planner.projection import Plans, wake_us
from haas_planner.store import Change
from tests.integration.conftest import TestDatabase
from tests.integration.test_schema import catalogue_of
from tests.support import histories
from tests.support.keys import fleet_keys
from tests.support.relays import settled

SCOPES = [Scope("t-one", "p-main"), Scope("t-one", "p-other"), Scope("t-two", "p-main")]
LEASE = Lease("shard/0", 0)
KNOWN: Mapping[str, Callable[[], Projection]] = {**PLANS, **ARTIFACTS, **LOCKS, **NOTIFICATIONS, **AGENTS, **USAGE}
STATUS = Query(
    "status", "",
    "SELECT status FROM artifacts_read"
    " WHERE tenant_id = %(tenant)s AND project_id = %(project)s AND artifact_id = %(id)s",
)  # fmt: skip
#: How a plan's history goes on, decision by decision.
Steps = Callable[[Plan, random.Random], Iterator[list[Event]]]
TABLES = [table for made in KNOWN.values() for table in made().tables]


class World:
    """A database with a random history in it, written as the services write it."""

    def __init__(
        self,
        databases: Sequence[Database],
        admin: psycopg.Connection,
        place: TestDatabase,
        data_key: Path,
        folder: Path,
    ) -> None:
        self.database, self.narrow = databases
        self.admin = admin
        self.dsn, self.app_dsn, self.key = place.admin_dsn, place.app_dsn, place.context_key
        self.data_key, self.ring = data_key, KeyRing(data_key)
        self.doorbell = Doorbell(self.database)
        self.artifacts = ArtifactStore(BlobStore(folder / "store"), fleet_keys(folder / "secrets"))
        self.plans = 0

    async def plan(self, scope: Scope, chance: random.Random, steps: Steps | None = None) -> None:
        self.plans += 1
        plan = Plan(scope.tenant_id, scope.project_id, f"pl-{self.plans:08d}")
        steps = steps or chance.choice([histories.every_kind, histories.steps])
        for events in steps(plan, chance):
            if events:
                async with self.database.batch_tx(LEASE, [scope]) as tx:
                    await store.save(tx, LEASE, [Change(plan, plan.version - len(events), events)])

    async def artifact(self, scope: Scope, chance: random.Random) -> None:
        name, body = f"artf-{chance.randint(1, 5)}", f"# Informe {chance.random()}"
        now = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
        async with self.database.tenant_tx(scope) as tx:
            known = await tx.maybe(STATUS, tenant=scope.tenant_id, project=scope.project_id, id=name)
            status = known["status"] if known else "draft"
            draft = Draft("report.md", "doc.report", "report", "Informe", body, {"n": 1}, ["a.csv"], status)
            kept = await self.artifacts.write(tx, scope, draft, Placing(name, "specialist.report"), now)
            if status == "draft" and chance.random() < 0.3:
                await self.artifacts.set_status(tx, scope, kept.artifact_id, "in_progress", "weiter", "ana")

    async def lock(self, scope: Scope, chance: random.Random) -> None:
        asked = locks.Asked(f"docs/{chance.randint(1, 3)}", f"agent-{chance.randint(1, 3)}", "mcp")
        async with self.database.tenant_tx(scope) as tx:
            lock = await locks.grant(tx, scope, asked, chance.randint(1, 3600))
            if chance.random() < 0.5:
                assert await locks.release(tx, scope, asked, lock.fence) == lock.granted

    async def upload(self, scope: Scope, chance: random.Random) -> None:
        payload = {
            "ref": "sha256:" + "0" * 64, "name": "a.csv", "size_bytes": chance.randint(0, 9), "rows": 1,
            "lenient": False,
        }  # fmt: skip
        async with self.database.tenant_tx(scope) as tx:
            await append(tx, [NewEvent(scope, "input/0", "InputUploaded", payload, "ana")])

    async def agent(self, scope: Scope, chance: random.Random) -> None:
        agents, name = Agents(self.database), f"agent.{chance.randint(1, 3)}"
        await agents.register(scope, name, "specialist", ["s.k"], chance.randint(0, 2), "ana")
        await agents.set_state(
            scope, chance.choice([name, "leader.content"]), chance.choice(["active", "paused"]), "ana"
        )

    async def history(self, chance: random.Random, size: int) -> None:
        for _ in range(size):
            what = chance.choice([self.plan, self.artifact, self.lock, self.upload])
            await what(chance.choice(SCOPES), chance)
        await self.agent(chance.choice(SCOPES), chance)

    async def tail(self) -> None:
        """Brings the projectors that tail the history up to now."""
        await settled(Relay(Lease("relay/notifier", 0), self.database, self.doorbell), self.doorbell)
        await settled(UsageProjector(Lease("relay/usage", 0), self.narrow, self.doorbell), self.doorbell)
        await settled(AgentProjector(Lease("relay/agents", 0), self.database, self.doorbell), self.doorbell)

    async def rebuild(self, name: str, *, swap: bool = True, made: Callable[[], Projection] | None = None) -> Found:
        return await Rebuild(made or KNOWN[name], self.dsn, self.ring).run(swap=swap)

    def tables(self) -> dict[str, list[str]]:
        found = {}
        for name in TABLES:
            rows = self.admin.execute(f"SELECT to_jsonb(t)::text FROM haas.{name} AS t".encode()).fetchall()
            found[name] = sorted(str(row[0]) for row in rows)
        return found

    def execute(self, text: str) -> list[tuple]:
        cursor = self.admin.execute(text.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
async def world(database: TestDatabase, data_key: Path, tmp_path: Path) -> AsyncIterator[World]:
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
        admin.execute("SET timezone = 'UTC'")
        for scope in SCOPES:
            admin.execute("INSERT INTO haas.tenants VALUES (%s) ON CONFLICT DO NOTHING", (scope.tenant_id,))
            admin.execute("INSERT INTO haas.projects VALUES (%s, %s)", (scope.tenant_id, scope.project_id))
        opened = await Database.open(database.app_dsn, database.context_key, "test")
        narrow = await Database.open(database.projector_dsn, database.context_key, "test")
        yield World([opened, narrow], admin, database, data_key, tmp_path)
        await narrow.close()
        await opened.close()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
async def test_live_is_rebuilt(world: World, seed: int) -> None:
    # What is drawn depends on the rows of the examples before: a seed is all that may be drawn by the framework.
    chance = random.Random(seed)
    await world.history(chance, chance.randint(1, 8))
    await world.tail()
    before = world.tables()
    for name in KNOWN:
        found = await world.rebuild(name)
        assert (name, found.differing, found.differences) == (name, 0, [])
    assert world.tables() == before


def told_by(seed: int) -> set[str]:
    """What a seed's plan has in it: events, the kinds and states of its tasks, its own state, when it wakes."""
    plan = Plan("t", "p", "pl-1")
    types = {event.type for events in histories.every_kind(plan, random.Random(seed)) for event in events}
    tasks = {f"{run.task.kind} {run.state}" for run in plan.tasks.values()}
    return types | tasks | {f"{plan.state} wakes {min(1, wake_us(plan))}"}


async def test_plans_of_every_kind_are_rebuilt_with_the_time_at_which_they_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ("specialist", "tool", "leader", "transform", "map", "wait", "approval", "schedule")
    wanted = {
        *TYPES, *(f"{kind} {state}" for kind in kinds for state in ("completed", "cancelled", "skipped")),
        "wait waiting", "approval waiting", "schedule waiting", "map expanded", "tool superseded",
        "paused wakes -1", "running wakes 0", "running wakes 1", "compensating wakes 0",
    }  # fmt: skip
    told: set[str] = set()
    for seed in range(2_000):
        if wanted <= told:
            break
        if more := told_by(seed) - told:
            told |= more
            await world.plan(SCOPES[seed % 3], random.Random(seed), histories.every_kind)
    assert wanted - told == set()
    before = world.tables()
    for page in (rebuild.PAGE, 40):  # a task is revised within a page, and in one after that which wrote it
        monkeypatch.setattr(rebuild, "PAGE", page)
        assert (await world.rebuild("plans")).differences == []
        assert world.tables() == before


async def test_a_revised_task_has_the_edges_of_its_contract_and_no_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope, plan = SCOPES[0], Plan("t-one", "p-main", "pl-1")
    tasks = [histories.task("T-1"), histories.task("T-2"), histories.task("T-3", "T-1", kind="leader")]

    async def save(events: list[Event]) -> None:
        async with world.database.batch_tx(LEASE, [scope]) as tx:
            await store.save(tx, LEASE, [Change(plan, plan.version - len(events), events)])

    def edges() -> list[tuple]:
        return world.execute("SELECT from_task, to_task FROM haas.task_edges ORDER BY 1, 2")

    await save(domain.create(plan, histories.FACTS, tasks, "ana"))
    await save(domain.run(plan, "ana", 0))
    assert edges() == [("T-1", "T-3")]
    other = dataclasses.replace(histories.task("T-3", "T-2", kind="leader"), skill="s.other", title="Otra")
    await save(domain.replan(plan, "ana", [other], [], "why", 1))
    assert edges() == [("T-2", "T-3")]
    assert world.execute("SELECT skill, title FROM haas.tasks_read WHERE task_id = 'T-3'") == [("s.other", "Otra")]
    await save(domain.start(plan, 1, 5))
    await save(domain.complete(plan, "T-2", 1, {"v_t2": "artf-2"}, 1))
    await save(domain.start(plan, 1, 5))
    await save(domain.expand(plan, "T-3", 1, [histories.task("T-3.1"), histories.task("T-3.2", "T-3.1")], 1))
    await save(domain.rerun(plan, "ana", "T-3", "again", 2))
    assert edges() == [("T-2", "T-3"), ("T-3.1", "T-3"), ("T-3.1", "T-3.2"), ("T-3.2", "T-3")]
    for page in (rebuild.PAGE, 4):  # the revision comes in a page after that of the contract before it
        monkeypatch.setattr(rebuild, "PAGE", page)
        assert (await world.rebuild("plans")).differences == []


async def test_every_table_takes_part(world: World) -> None:
    """The property above says something of each table: a history fills all of them."""
    await world.history(random.Random(3), 30)
    await world.tail()
    assert [name for name, rows in world.tables().items() if not rows] == []


async def test_a_swap_leaves_the_catalogue_as_the_migrations_made_it(world: World) -> None:
    await world.history(random.Random(1), 10)
    before = catalogue_of(world.dsn)
    for name in KNOWN:
        await world.rebuild(name)
    assert catalogue_of(world.dsn) == before
    assert world.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'haas\\_%'") == []
    opened = await Database.open(world.app_dsn, world.key, "again")  # which refuses a catalogue that breaks a rule
    await opened.close()


async def test_what_somebody_wrote_into_the_live_tables_is_named_and_mended(world: World) -> None:
    await world.history(random.Random(5), 20)
    await world.tail()
    before = world.tables()
    world.execute("UPDATE haas.tasks_read SET title = 'Otra' WHERE ctid = (SELECT min(ctid) FROM haas.tasks_read)")
    world.execute("DELETE FROM haas.task_edges WHERE ctid = (SELECT min(ctid) FROM haas.task_edges)")
    world.execute("UPDATE haas.usage SET amount = amount + 1 WHERE metric = 'events'")
    world.execute("INSERT INTO haas.resource_locks VALUES ('t-one', 'p-main', 'x', 'y', 9, now(), now())")
    spoilt = world.tables()
    found = await world.rebuild("plans", swap=False)
    assert found.differing == 2
    assert [(d["table"], d["how"], d["columns"]) for d in found.differences] == [
        ("tasks_read", "wrong", ["title"]),
        ("task_edges", "missing", []),
    ]
    assert (await world.rebuild("locks", swap=False)).differences[0]["how"] == "unknown"
    assert world.tables() == spoilt, "a comparison changes nothing"
    for name in KNOWN:
        await world.rebuild(name)
    assert world.tables() == before


async def test_the_fleet_works_on_while_a_read_model_is_rebuilt(world: World) -> None:
    await world.history(random.Random(7), 15)
    going = True

    async def traffic(seed: int) -> None:
        chance = random.Random(seed)
        while going:
            # Two writers of one artifact: one of them comes second.
            with contextlib.suppress(errors.StreamVersionConflict):
                await world.history(chance, 1)

    writers = [asyncio.create_task(traffic(seed)) for seed in range(3)]
    tailing = asyncio.create_task(UsageProjector(Lease("relay/usage", 0), world.narrow, world.doorbell).run())
    for _ in range(2):
        for name in KNOWN:
            found = await world.rebuild(name)
            assert (name, found.differing) == (name, 0)
    going = False
    await asyncio.gather(*writers)
    tailing.cancel()
    await asyncio.gather(tailing, return_exceptions=True)
    await world.tail()
    for name in KNOWN:
        assert (name, (await world.rebuild(name, swap=False)).differences) == (name, [])


async def test_a_rebuild_that_was_killed_goes_on_where_it_was(world: World) -> None:
    await world.history(random.Random(11), 40)
    total = world.execute("SELECT sum(last_seq)::int FROM haas.project_heads")[0][0]
    before = world.tables()
    environment = {**os.environ, "HAAS_ADMIN_DATABASE_URL": world.dsn, "HAAS_DATA_KEY": str(world.data_key)}
    argv = [sys.executable, "-m", "haas_planner.projection", "plans", "--rate", "200"]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["state"] != "folding":
            continue
        process.send_signal(signal.SIGKILL)
    kept = world.execute("SELECT sum(place)::int FROM haas_rebuild_plans.cursors")[0][0]
    assert 0 < kept < total
    found = await world.rebuild("plans")
    assert (found.events, found.differing) == (total - kept, 0)
    assert world.tables() == before


async def test_a_second_rebuild_of_the_same_is_refused(world: World) -> None:
    await world.history(random.Random(13), 20)
    begun = asyncio.Event()
    slow = Rebuild(KNOWN["plans"], world.dsn, world.ring, rate=20, report=lambda line: begun.set())
    first = asyncio.create_task(slow.run())
    await begun.wait()
    with pytest.raises(RebuildRunning):
        await world.rebuild("plans")
    assert (await world.rebuild("locks")).swapped, "another read model is nobody's concern"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await world.rebuild("plans")).differing == 0


async def test_what_is_erased_while_a_rebuild_folds_does_not_come_back(world: World) -> None:
    for seed in range(3):
        await world.plan(SCOPES[0], random.Random(seed))
    flushes = 0

    class Watched(Plans):
        async def flush(self, shadow: Shadow) -> None:
            nonlocal flushes
            await super().flush(shadow)
            flushes += 1
            if flushes == 1:
                with psycopg.connect(short_url(world.dsn), autocommit=True) as eraser:
                    eraser.execute("UPDATE haas.data_keys SET wrapped = NULL, destroyed_at = now()")

    await world.rebuild("plans", made=Watched)
    assert flushes > 1, "it began anew"
    assert world.execute("SELECT DISTINCT objective FROM haas.plans") == [("[erased]",)]


async def test_envelopes_of_before_version_2_are_taken_over_as_they_are(world: World) -> None:
    payload = {"envelopes": [{"cause_seq": 1, "receivers": [["agent", "HALT"]]}]}
    old = NewEvent(SCOPES[0], "notify/pl-1", "NotificationSent", payload, "n", plan_id="pl-1", schema_version=1)
    async with world.database.tenant_tx(SCOPES[0]) as tx:
        await append(tx, [old])
    world.execute(
        "INSERT INTO haas.notifications VALUES ('t-one', 'p-main', 1, 'agent', 'm', '{\"nl_summary\": \"x\"}', now())"
    )
    before = world.tables()
    assert (await world.rebuild("notifications")).differing == 0
    assert world.tables() == before


async def test_what_was_dropped_from_the_history_stays_in_the_read_models(world: World) -> None:
    await world.history(random.Random(17), 40)
    await world.tail()
    before = world.tables()
    world.execute(
        "DELETE FROM haas.events AS e USING haas.project_heads AS h WHERE h.tenant_id = e.tenant_id"
        " AND h.project_id = e.project_id AND e.seq <= h.last_seq / 2"
    )
    left = world.execute("SELECT count(*) FROM haas.events WHERE stream LIKE 'plan/%' AND version = 1")[0][0]
    assert 0 < left < world.plans, "some plans are there whole, others in part or not at all"
    for name in KNOWN:
        found = await world.rebuild(name)
        assert (name, found.differences) == (name, [])
    assert world.tables() == before


async def test_a_table_that_another_hangs_on_is_not_swapped(world: World) -> None:
    world.execute("CREATE VIEW haas.over_plans WITH (security_invoker) AS SELECT * FROM haas.plans")
    with pytest.raises(Unsupported):
        await world.rebuild("plans")


async def test_a_fence_grows_with_every_grant_also_after_a_release(world: World) -> None:
    scope, ana, luz = SCOPES[0], *(locks.Asked("docs/a", holder, "mcp") for holder in ("ana", "luz"))

    async def ask(asked: locks.Asked) -> locks.Lock:
        async with world.database.tenant_tx(scope) as tx:
            return await locks.grant(tx, scope, asked, 60)

    first, refused = await ask(ana), await ask(luz)
    assert (first.fence, first.granted, refused.granted, refused.holder) == (1, True, False, "ana")
    with pytest.raises(errors.LockHeld):
        refused.check()
    async with world.database.tenant_tx(scope) as tx:
        assert not await locks.release(tx, scope, luz, 1)
        assert await locks.release(tx, scope, ana, 1)
        assert not await locks.release(tx, scope, ana, 1)
    assert (await ask(luz)).check().fence == 2
    world.execute("UPDATE haas.resource_locks SET expires_at = now() - interval '1 s'")
    assert (await ask(ana)).check().fence == 3
    told = world.execute("SELECT event_type FROM haas.events WHERE stream = 'lock/docs/a' ORDER BY version")
    assert [t for (t,) in told] == ["LockGranted", "LockDenied", "ResourceReleased", "LockGranted", "LockGranted"]


async def test_the_projector_can_write_its_table_and_nothing_of_the_history(world: World) -> None:
    refused = (
        "INSERT INTO haas.events (tenant_id) VALUES ('t-one')",
        "SELECT * FROM haas.append('x')",
        "UPDATE haas.plans SET state = 'failed'",
        "DELETE FROM haas.usage",
    )
    for text in refused:
        with psycopg.connect(short_url(world.dsn)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(b"SET ROLE haas_projector; " + text.encode())


def test_usage_counts_what_an_event_says() -> None:
    usage = USAGE["usage"]()
    event = Past("t", "p", 1, "artifact/a", 1, "ArtifactUpdated", "", "", "a", {"size_bytes": 7}, "2026-11-22 23:59+00")
    usage.take("t", "p", event.at, event.type, event.payload)  # type: ignore[attr-defined]
    usage.take("t", "p", "2026-11-23T00:00:00", "PlanFailed", None)  # type: ignore[attr-defined]
    rows = usage.rows()  # type: ignore[attr-defined]
    assert [(r["day"], r["metric"], r["amount"]) for r in rows] == [
        ("2026-11-22", "artifact_bytes", 7), ("2026-11-22", "artifact_versions", 1), ("2026-11-22", "events", 1),
        ("2026-11-23", "events", 1), ("2026-11-23", "plans_failed", 1),
    ]  # fmt: skip
