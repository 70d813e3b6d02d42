"""What a dependency query takes, by the size of the plan: all below the first task, and a usual task's twenty."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence

import psycopg

from haas_cli.fleet.parts import embedded_postgres
from haas_common.db import Database, Scope
from haas_common.sockets import short_url
from haas_orchestrator import store
from tests.load.figures import Table, shown
from tests.support.cli import Cli

#: Tasks, edges, and the most that the worst case may take, in ms.
SIZES = ((1_000, 3_000, 6.0), (10_000, 30_000, 90.0), (100_000, 300_000, 1_000.0))
TYPICAL_MS = 1.0
RUNS = 9
_SCOPE = Scope("t-bench-graph", "p-bench")
#: A usual task has as many below it.
_BELOW = 20
_FILL = """
INSERT INTO haas.tenants (tenant_id) VALUES ('t-bench-graph') ON CONFLICT DO NOTHING;
INSERT INTO haas.projects (tenant_id, project_id) VALUES ('t-bench-graph', 'p-bench') ON CONFLICT DO NOTHING;
DELETE FROM haas.task_edges WHERE tenant_id = 't-bench-graph';
DELETE FROM haas.tasks_read WHERE tenant_id = 't-bench-graph';
DELETE FROM haas.plans WHERE tenant_id = 't-bench-graph';
"""
_PLAN = """
INSERT INTO haas.plans (tenant_id, project_id, plan_id, shard, state, objective, intent, language, brief_artifact_id,
                        profile_id, profile_version, revision, tasks_total, tasks_by_state, last_seq, created_at,
                        updated_at)
VALUES ('t-bench-graph', 'p-bench', %s, 0, 'created', '', '', 'es', '', '', 1, 1, %s, '{}', 1, now(), now())
"""
_TASKS = """
INSERT INTO haas.tasks_read (tenant_id, project_id, plan_id, task_id, status, kind, skill, title, owner_agent_id,
                             order_key, updated_at)
SELECT 't-bench-graph', 'p-bench', %s, 'T-' || n, 'planned', 'specialist', 'content.write', 'A task of the bench',
       'specialist.writer', ARRAY[n], now() FROM generate_series(1, %s) AS n
"""
_EDGES = """
INSERT INTO haas.task_edges SELECT 't-bench-graph', 'p-bench', %s, 'T-' || a, 'T-' || b
  FROM unnest(%s::int[], %s::int[]) AS e(a, b) ON CONFLICT DO NOTHING
"""


def dependencies(cli: Cli) -> Table:
    """The table: the middle of several runs each."""
    url = (cli.home.secrets / "orchestrator" / "database.url").read_text().strip()
    key = bytes.fromhex((cli.home.secrets / "orchestrator" / "context.key").read_text().strip())
    return asyncio.run(measured(embedded_postgres(cli.home).dsn("haas"), url, key))


async def measured(admin_dsn: str, app_dsn: str, key: bytes, sizes: Sequence[tuple[int, int, float]] = SIZES) -> Table:
    """Fills a tenant of its own with plans of each size and asks as the orchestrator does."""
    rows = []
    database = await Database.open(app_dsn, key, "haas-bench")
    try:
        for tasks, edges, limit_ms in sizes:
            plan_id = f"pl-bench{tasks:08d}"
            fill(admin_dsn, plan_id, tasks, edges)
            worst, n = await _middle_ms(database, plan_id, "T-1", tasks)
            usual, few = await _middle_ms(database, plan_id, f"T-{tasks - _BELOW}", 50)
            facts = (worst, limit_ms, usual, TYPICAL_MS)
            rows.append((f"{tasks:,} / {edges:,}", f"{n:,}", *map(shown, facts[:2]), str(few), *map(shown, facts[2:])))
    finally:
        await database.close()
    head = ("tasks / edges", "found", "worst p50 ms", "limit ms", "found", "typical p50 ms", "limit ms")
    note = "Descendants with their status, behind row security; the worst case reads every task and every edge."
    return Table("What depends on a task", head, tuple(rows), note)


def fill(admin_dsn: str, plan_id: str, tasks: int, edges: int) -> None:
    """Makes a plan in which everything is below the first task, and a chain of the last few below a usual one."""
    chance = random.Random(7)
    pairs = {(max(1, n - 1 - chance.randrange(min(n - 1, 50))), n) for n in range(2, tasks - _BELOW + 1)}
    while len(pairs) < edges - _BELOW:
        after = chance.randint(2, tasks - _BELOW)
        pairs.add((max(1, after - 1 - chance.randrange(min(after - 1, 200))), after))
    pairs |= {(n, n + 1) for n in range(tasks - _BELOW, tasks)}
    with psycopg.connect(short_url(admin_dsn), autocommit=True) as connection:
        with connection.transaction():
            connection.execute(_FILL.encode())
            connection.execute(_PLAN.encode(), (plan_id, tasks))
            connection.execute(_TASKS.encode(), (plan_id, tasks))
            connection.execute(_EDGES.encode(), (plan_id, [a for a, _ in pairs], [b for _, b in pairs]))
        for table in ("plans", "tasks_read", "task_edges"):
            connection.execute(f"VACUUM ANALYZE haas.{table}".encode())


async def _middle_ms(database: Database, plan_id: str, task_id: str, limit: int) -> tuple[float, int]:
    took, found = [], 0
    for _ in range(RUNS):
        async with database.tenant_tx(_SCOPE, timeout_s=30) as tx:
            began = time.perf_counter()
            rows = await store.dependencies(tx, _SCOPE, plan_id, task_id, [], limit)
            took.append(1000 * (time.perf_counter() - began))
        found = len(rows)
    return statistics.median(took), found
