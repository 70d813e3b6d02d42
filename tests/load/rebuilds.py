"""Events a second that a rebuild folds, writes and swaps, beside the live tables of a fleet that idles."""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator

import psycopg

from haas_cli.fleet.parts import embedded_postgres
from haas_common.db import Database, Lease, Scope
from haas_common.key_ring import KeyRing
from haas_common.projections import Projection
from haas_common.projections.rebuild import Rebuild
from haas_common.sockets import short_url
from haas_gateway.projection import PROJECTIONS as USAGE
from haas_planner import domain, store
from haas_planner.domain import Event, Plan
from haas_planner.projection import PROJECTIONS as PLANS
from haas_planner.store import Change
from tests.load.figures import Table, shown
from tests.support import histories
from tests.support.cli import Cli

EVENTS = 200_000
TARGET = 50_000.0
_SCOPE = Scope("t-bench-rebuild", "p-bench")
_LEASE = Lease("shard/0", 0)
_TASKS = 30
_PLANS_A_BATCH = 20
KNOWN: dict[str, Callable[[], Projection]] = {**PLANS, **USAGE}


def rebuilds(cli: Cli) -> Table:
    """The table; the history is made through the planner's own store, in a tenant of its own."""
    secrets = cli.home.secrets / "planner"
    url, key = ((secrets / name).read_text().strip() for name in ("database.url", "context.key"))
    return asyncio.run(_rebuilds(embedded_postgres(cli.home).dsn("haas"), url, bytes.fromhex(key), cli))


async def _rebuilds(admin_dsn: str, url: str, key: bytes, cli: Cli) -> Table:
    data_key = cli.home.secrets / "planner" / "data.key"
    database = await Database.open(url, key, "haas-bench", data_key=data_key)
    try:
        await written(database, admin_dsn)
        return await measured(admin_dsn, KeyRing(data_key))
    finally:
        await database.close()


async def measured(admin_dsn: str, ring: KeyRing) -> Table:
    """Rebuilds and swaps each, and says how fast."""
    rows = []
    for name, made in KNOWN.items():
        lines: list[dict[str, float]] = []
        found = await Rebuild(made, admin_dsn, ring, report=lines.append).run()
        folded = next(line for line in reversed(lines) if line["state"] == "folding") if found.events else lines[-1]
        whole = lines[-1]
        rows.append(
            (
                name, f"{found.events:,}", shown(folded["events_per_s"]), shown(TARGET),
                shown(found.events / whole["took_s"]), str(found.differing),
            )
        )  # fmt: skip
    head = ("read model", "events", "folded events/s", "target", "with indexes, comparison, swap", "rows that differed")
    return Table("Rebuilding read models", head, tuple(rows), "One process and one server; the fleet is up meanwhile.")


async def written(database: Database, admin_dsn: str, events: int = EVENTS) -> None:
    """Writes whole lives of plans, many in a transaction."""
    with psycopg.connect(short_url(admin_dsn), autocommit=True) as admin:
        admin.execute("INSERT INTO haas.tenants VALUES (%s) ON CONFLICT DO NOTHING", (_SCOPE.tenant_id,))
        admin.execute(
            "INSERT INTO haas.projects VALUES (%s, %s) ON CONFLICT DO NOTHING", (_SCOPE.tenant_id, _SCOPE.project_id)
        )
    done, lives = 0, _lives()
    while done < events:
        changes = [Change(plan, 0, told) for plan, told in itertools.islice(lives, _PLANS_A_BATCH)]
        async with database.batch_tx(_LEASE, [_SCOPE], timeout_s=60) as tx:
            await store.save(tx, _LEASE, changes)
        done += sum(len(change.events) for change in changes)


def _lives() -> Iterator[tuple[Plan, list[Event]]]:
    """Plans of thirty tasks that all succeed."""
    chance = random.Random(7)
    for number in itertools.count():
        plan = Plan(_SCOPE.tenant_id, _SCOPE.project_id, f"pl-bench{number:08d}")
        tasks = [
            histories.task(f"T-{n}", *{f"T-{chance.randint(max(1, n - 5), n - 1)}" for _ in range(2) if n > 1})
            for n in range(1, _TASKS + 1)
        ]
        told = [*domain.create(plan, histories.FACTS, tasks, "ana"), *domain.run(plan, "ana", 0)]
        while plan.state == "running":
            for event in (started := domain.start(plan, 0, 4)):
                told.append(event)
            for event in started:
                told += domain.complete(plan, event.task_id, 1, {f"v_{histories.name(event.task_id)}": "artf-x"}, 0)
        yield plan, told
