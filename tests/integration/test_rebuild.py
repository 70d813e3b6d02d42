"""Read models are folds: whatever happened, the rebuilt tables are the live ones, row by row and column by column."""

import random
from collections.abc import AsyncIterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haas_common.db import Database, Lease, Scope
from haas_common.projections.rebuild import Found, Rebuild
from haas_common.sockets import short_url
from haas_planner import store
from haas_planner.domain import Plan
from haas_planner.projection import PROJECTIONS as PLANS
from haas_planner.store import Change
from tests.integration.conftest import TestDatabase
from tests.integration.test_schema import catalogue_of
from tests.support import histories

SCOPES = [Scope("t-one", "p-main"), Scope("t-one", "p-other"), Scope("t-two", "p-main")]
LEASE = Lease("shard/0", 0)
KNOWN = {**PLANS}


class World:
    """A database with a random history in it, written as the services write it."""

    def __init__(self, database: Database, admin: psycopg.Connection, place: TestDatabase) -> None:
        self.database = database
        self.admin = admin
        self.dsn, self.app_dsn, self.key = place.admin_dsn, place.app_dsn, place.context_key
        self.plans = 0

    async def plan(self, scope: Scope, chance: random.Random) -> None:
        self.plans += 1
        plan = Plan(scope.tenant_id, scope.project_id, f"pl-{self.plans:08d}")
        for events in histories.steps(plan, chance):
            if events:
                async with self.database.batch_tx(LEASE, [scope]) as tx:
                    await store.save(tx, LEASE, [Change(plan, plan.version - len(events), events)])

    async def rebuild(self, name: str, *, swap: bool = True) -> Found:
        return await Rebuild(KNOWN[name](), self.dsn, self.database.vault).run(swap=swap)

    def table(self, name: str) -> list[str]:
        rows = self.admin.execute(f"SELECT to_jsonb(t)::text FROM haas.{name} AS t".encode()).fetchall()
        return sorted(str(row[0]) for row in rows)

    def execute(self, text: str) -> None:
        self.admin.execute(text.encode())


@pytest.fixture
async def world(database: TestDatabase) -> AsyncIterator[World]:
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as admin:
        admin.execute("SET timezone = 'UTC'")
        for scope in SCOPES:
            admin.execute("INSERT INTO haas.tenants VALUES (%s) ON CONFLICT DO NOTHING", (scope.tenant_id,))
            admin.execute("INSERT INTO haas.projects VALUES (%s, %s)", (scope.tenant_id, scope.project_id))
        opened = await Database.open(database.app_dsn, database.context_key, "test")
        yield World(opened, admin, database)
        await opened.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chance=st.randoms(use_true_random=False))
async def test_live_is_rebuilt(world: World, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 3)):
        await world.plan(chance.choice(SCOPES), chance)
    for name, made in KNOWN.items():
        tables = made().tables
        before = {table: world.table(table) for table in tables}
        found = await world.rebuild(name)
        assert (found.differing, found.differences) == (0, [])
        assert {table: world.table(table) for table in tables} == before


async def test_a_swap_leaves_the_catalogue_as_the_migrations_made_it(world: World) -> None:
    await world.plan(SCOPES[0], random.Random(1))
    before = catalogue_of(world.dsn)
    for name in KNOWN:
        await world.rebuild(name)
    assert catalogue_of(world.dsn) == before
    opened = await Database.open(world.app_dsn, world.key, "again")  # which refuses a catalogue that breaks a rule
    await opened.close()
