"""What a long history costs: rebuilding a read model from it, appending to it, reading a plan out of it."""

import random
import statistics
import time
from collections.abc import Awaitable, Callable

import psycopg

from haas_common.db import Database, Lease, Scope
from haas_common.eventstore import NewEvent, append
from haas_common.key_ring import KeyRing
from haas_common.projections.rebuild import Rebuild
from haas_notifier import store as history
from haas_orchestrator import store as plans
from haas_planner import store as planner
from haas_planner.domain import Event, Plan
from haas_planner.projection import PROJECTIONS
from tests.load.databases import SCOPES, Bench
from tests.load.figures import Table, shown
from tests.support import histories

LENGTHS = (10_000, 100_000, 1_000_000)
REBUILT_PLANS, REBUILD_TARGET = 4_000, 50_000.0
RUNS = 60
_SHARD = Lease("shard/0", 0)
_LONG = Scope("t-long", "p-long")
_SCOPE = """
INSERT INTO haas.tenants (tenant_id) VALUES ('t-long');
INSERT INTO haas.projects (tenant_id, project_id) VALUES ('t-long', 'p-long');
"""
#: Eight events a plan; hashes that nobody verifies here, heads that fit.
_EVENTS = """
INSERT INTO haas.events (tenant_id, project_id, seq, stream, version, event_type, plan_id, task_id, actor, payload,
                         recorded_at, hash)
SELECT 't-long', 'p-long', n, 'plan/pl-' || lpad(((n - 1) / 8)::text, 8, '0'), (n - 1) %% 8 + 1, 'TaskCompleted',
       'pl-' || lpad(((n - 1) / 8)::text, 8, '0'), 'T-1', 'planner', '{"attempt":1,"outputs":{}}', now(),
       sha256(int8send(n)) FROM generate_series(%(from)s::bigint, %(to)s::bigint) AS n;
"""
_HEADS = """
INSERT INTO haas.stream_heads (tenant_id, project_id, stream, version, hash, last_seq, ordinal)
SELECT 't-long', 'p-long', 'plan/pl-' || lpad(s::text, 8, '0'), 8, sha256(int8send(s * 8 + 8)), s * 8 + 8, s
  FROM generate_series((%(from)s::bigint - 1) / 8, %(to)s::bigint / 8 - 1) AS s;
"""
_PLANS = """
INSERT INTO haas.plans (tenant_id, project_id, plan_id, shard, state, objective, intent, language, brief_artifact_id,
                        profile_id, profile_version, revision, tasks_total, tasks_by_state, last_seq, created_at,
                        updated_at)
SELECT 't-long', 'p-long', 'pl-' || lpad(s::text, 8, '0'), 0, 'running', 'o', 'i', 'es', '', '', 1, 1, 1, '{}',
       s * 8 + 8, now(), now() FROM generate_series((%(from)s::bigint - 1) / 8, %(to)s::bigint / 8 - 1) AS s;
"""
_PROJECT = """
INSERT INTO haas.project_heads (tenant_id, project_id, last_seq, streams)
VALUES ('t-long', 'p-long', %(to)s, %(to)s / 8)
ON CONFLICT (tenant_id, project_id) DO UPDATE SET last_seq = excluded.last_seq, streams = excluded.streams;
"""


async def rebuilt(bench: Bench, ours: Database) -> Table:
    """The plans' read model, from histories that the engine's own rules decided."""
    chance, written = random.Random(7), 0
    for first in range(0, REBUILT_PLANS, 100):
        changes = []
        for n in range(first, first + 100):
            plan = Plan(SCOPES[1].tenant_id, SCOPES[1].project_id, f"pl-{n:08d}")
            decided: list[Event] = [event for step in histories.steps(plan, chance) for event in step]
            changes.append(planner.Change(plan, 0, decided))
            written += len(decided)
        async with ours.batch_tx(_SHARD, SCOPES[1:2]) as tx:
            await planner.save(tx, _SHARD, changes)
    began = time.perf_counter()
    found = await Rebuild(PROJECTIONS["plans"], bench.admin_dsn, KeyRing(bench.data_key)).run(swap=False)
    took_s = time.perf_counter() - began
    row = (shown(found.events / took_s), shown(REBUILD_TARGET), shown(found.events), str(found.differing))
    head = ("events/s", "target", "events", "rows that differ")
    note = "The read model of plans, folded anew beside the live tables and compared with them, one core."
    return Table("The history: rebuild of a read model", head, (row,), note)


async def curve(bench: Bench, ours: Database) -> Table:
    """What an append and a read cost, by the length of the project's history."""
    rows, before = [], 0
    with psycopg.connect(bench.admin_dsn, autocommit=True) as admin:
        admin.execute(_SCOPE.encode())
        for length in LENGTHS:
            place = {"from": before + 1, "to": length}
            with admin.transaction():
                admin.execute("SET LOCAL transaction_timeout = 0")
                # What was appended to measure the shorter one.
                admin.execute("DELETE FROM haas.events WHERE tenant_id = 't-long' AND seq > %s", (before,))
                admin.execute("DELETE FROM haas.stream_heads WHERE tenant_id = 't-long' AND last_seq > %s", (before,))
                for statement in (_EVENTS, _HEADS, _PLANS, _PROJECT):
                    admin.execute(statement.encode(), place)
            admin.execute("VACUUM (ANALYZE) haas.events, haas.stream_heads, haas.plans, haas.project_heads")
            rows.append((shown(length), *[shown(value) for value in await _costs(ours, length)]))
            before = length
    head = ("events", "append 1, ms", "append 100, ms", "status of a plan, ms", "a plan's history, ms", "50 newest, ms")
    note = "The middle of many runs each, one caller, one project that has all the events; a transaction each."
    return Table("The history: cost by length", head, tuple(rows), note)


async def _costs(ours: Database, length: int) -> list[float]:
    chance = random.Random(7)

    def plan() -> str:
        return f"pl-{chance.randrange(length // 8):08d}"

    async def add(size: int) -> None:
        batch = [
            NewEvent(_LONG, f"bench/{n}", "TaskCompleted", {"attempt": 1, "outputs": {}}, "planner")
            for n in range(size)
        ]
        async with ours.tenant_tx(_LONG) as tx:
            await append(tx, batch)

    async def status() -> None:
        async with ours.tenant_tx(_LONG) as tx:
            assert await plans.get_plan(tx, _LONG, plan()) is not None

    async def page(plan_id: str, after: int, found: int) -> None:
        async with ours.tenant_tx(_LONG) as tx:
            events, _ = await history.events_page(tx, _LONG, plan_id, after, 50, 1 << 20)
            assert len(events) == found

    return [
        await _middle_ms(lambda: add(1)),
        await _middle_ms(lambda: add(100)),
        await _middle_ms(status),
        await _middle_ms(lambda: page(plan(), 0, 8)),
        await _middle_ms(lambda: page("", length - 50, 50)),
    ]


async def _middle_ms(work: Callable[[], Awaitable[None]]) -> float:
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        await work()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)
