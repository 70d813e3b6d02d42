"""What depends on a task: the engine answers from memory, the read model by a query, and they say the same."""

import random
from collections.abc import AsyncIterator, Mapping
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haas_common.db import Database, Lease, Scope, Tx
from haas_orchestrator import store as reading
from haas_planner import domain, store
from haas_planner.domain import Plan
from haas_planner.graph import order_key
from haas_planner.store import Change
from tests.integration.conftest import TestDatabase
from tests.support import histories

ONE, TWO = Scope("t-one", "p-main"), Scope("t-two", "p-main")
LEASE = Lease("shard/0", 0)
ALL = 1000


@pytest.fixture
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        for tenant in (ONE.tenant_id, TWO.tenant_id):
            connection.execute("INSERT INTO haas.tenants VALUES (%s)", (tenant,))
            connection.execute("INSERT INTO haas.projects VALUES (%s, 'p-main')", (tenant,))
    found = await Database.open(database.app_dsn, database.context_key, "test")
    yield found
    await found.close()


async def played(database: Database, scope: Scope, plan_id: str, chance: random.Random) -> Plan:
    """A plan with a random history, in the log and the read model."""
    plan = Plan(scope.tenant_id, scope.project_id, plan_id)
    for events in histories.steps(plan, chance):
        if events:
            async with database.batch_tx(LEASE, [scope]) as tx:
                await store.save(tx, LEASE, [Change(plan, plan.version - len(events), events)])
    return plan


async def asked(tx: Tx, scope: Scope, plan_id: str, task_id: str, *, upwards: bool) -> Mapping[str, Any]:
    rows = await reading.dependencies(tx, scope, plan_id, task_id, [], ALL, upwards=upwards)
    assert {row["total"] for row in rows} in ({len(rows)}, set())
    ids = [row["task_id"] for row in rows]
    assert ids == sorted(ids, key=order_key)
    return {row["task_id"]: row["status"] for row in rows}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chance=st.randoms(use_true_random=False))
async def test_memory_and_query_give_the_same_tasks_with_where_they_stand(
    opened: Database, chance: random.Random
) -> None:
    test_memory_and_query_give_the_same_tasks_with_where_they_stand.runs += 1
    plan_id = f"pl-{test_memory_and_query_give_the_same_tasks_with_where_they_stand.runs:08d}"
    plan = await played(opened, ONE, plan_id, chance)
    async with opened.tenant_tx(ONE) as tx:
        for task_id in plan.tasks:
            for upwards, memory in ((False, domain.descendants), (True, domain.ancestors)):
                expected = {found: plan.tasks[found].state for found in memory(plan, task_id)}
                assert await asked(tx, ONE, plan_id, task_id, upwards=upwards) == expected


test_memory_and_query_give_the_same_tasks_with_where_they_stand.runs = 0  # type: ignore[attr-defined]


async def test_pages_give_every_task_once_in_the_order_of_their_ids(opened: Database) -> None:
    plan = Plan(ONE.tenant_id, ONE.project_id, "pl-00000001")
    tasks = [histories.task("T-1"), *(histories.task(f"T-{n}", f"T-{n - 1}") for n in range(2, 26))]
    async with opened.batch_tx(LEASE, [ONE]) as tx:
        await store.save(tx, LEASE, [Change(plan, 0, domain.create(plan, histories.FACTS, tasks, "ana"))])
    found: list[str] = []
    async with opened.tenant_tx(ONE) as tx:
        after: list[int] = []
        while rows := await reading.dependencies(tx, ONE, "pl-00000001", "T-3", after, 7):
            assert {row["total"] for row in rows} == {22}
            found += [row["task_id"] for row in rows]
            after = list(order_key(found[-1]))
    assert found == [f"T-{n}" for n in range(4, 26)]


async def test_a_plan_of_the_same_name_in_another_tenant_is_never_walked(opened: Database) -> None:
    mine, theirs = (Plan(s.tenant_id, s.project_id, "pl-00000001") for s in (ONE, TWO))
    for plan, scope, edges in ((mine, ONE, [("T-1",), ("T-2",)]), (theirs, TWO, [("T-1",), ("T-2", "T-1")])):
        events = domain.create(plan, histories.FACTS, [histories.task(*edge) for edge in edges], "ana")
        async with opened.batch_tx(LEASE, [scope]) as tx:
            await store.save(tx, LEASE, [Change(plan, 0, events)])
    async with opened.tenant_tx(ONE) as tx:
        assert await asked(tx, ONE, "pl-00000001", "T-1", upwards=False) == {}
        assert await asked(tx, TWO, "pl-00000001", "T-1", upwards=False) == {}, "the query's own words open nothing"
    async with opened.tenant_tx(TWO) as tx:
        assert await asked(tx, TWO, "pl-00000001", "T-1", upwards=False) == {"T-2": "planned"}
