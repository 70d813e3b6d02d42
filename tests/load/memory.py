"""The history's figures: appends beside what limits them and beside a peer, a tailing reader's lag, what size costs."""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Sequence

import psycopg
import uvloop

from haas_common.audit.history import Marks, ProjectVerifier
from haas_common.audit.rows import FIELDS, line_of
from haas_common.db import Database, Lease, Scope, load_queries
from haas_common.db.queries import Query
from haas_common.doorbell import Bell
from haas_common.eventstore import NewEvent, Recorded, append
from haas_common.group_commit import GroupCommit
from tests.load import growth, peers
from tests.load.databases import SCOPES, Bench, database
from tests.load.figures import Table, percentile, shown

PAYLOAD = {"attempt": 1, "outputs": {"report": "artf-0123456789abcdef"}}
SIZES = (1, 10, 100, 1000)
WRITERS = (1, 16, 64)
ROUNDS, ROUND_S = 3, 1.0
POOL_MAX = 16
BATCHED_TARGET, PEER_BATCHED_TARGET, PEER_WRITERS_TARGET = 0.70, 4.0, 8.0
_READER = Lease("relay/notifier", 0)
_TAIL = load_queries("haas_common").relay_page


def tables() -> list[Table]:
    """All of them, on a server of their own."""
    # The services' own loop.
    with database() as bench, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_tables(bench))


async def _tables(bench: Bench) -> list[Table]:
    ours = await Database.open(
        bench.app_dsn, bench.context_key, "haas-bench", data_key=bench.data_key, pool_max=POOL_MAX
    )
    plain = peers.Plain(bench, POOL_MAX)
    await plain.open()
    try:
        peer = _peer(bench)
        # First: what is appended below tells of plans that nobody made.
        rebuilt = await growth.rebuilt(bench, ours)
        found = [await _batched(ours, plain, peer), await _writers(ours, plain, peer)]
        if peer is not None:
            peer.close()
        found.append(await _lag(ours))
        found.append(rebuilt)
        found.append(await _verified(bench))
        found.append(await growth.curve(bench, ours))
    finally:
        await plain.close()
        await ours.close()
    return found


def _peer(bench: Bench) -> peers.Eventsourcing | None:
    try:
        return peers.Eventsourcing(bench, json.dumps(PAYLOAD).encode(), max(WRITERS), POOL_MAX)
    except ModuleNotFoundError:
        return None


def events(scope: Scope, size: int) -> list[NewEvent]:
    """A batch as a shard writes it: eight events a plan."""
    return [
        NewEvent(
            scope, f"plan/pl-bench{i // 8:04d}", "TaskCompleted", PAYLOAD, "planner",
            plan_id=f"pl-bench{i // 8:04d}", task_id=f"T-{i % 8 + 1}", trace_id="0" * 32,
        )
        for i in range(size)
    ]  # fmt: skip


def _appending(ours: Database, scopes: list[Scope], size: int) -> peers.Work:
    batches = itertools.cycle([events(scope, size) for scope in scopes])

    async def work() -> None:
        batch = next(batches)
        async with ours.tenant_tx(batch[0].scope) as tx:
            await append(tx, batch)

    return work


def _together(ours: Database, scope: Scope) -> peers.Work:
    """Appends one event a call, of many plans, through the writer that the callers of a project share."""

    async def commit(scope: Scope, batch: Sequence[NewEvent]) -> list[Recorded]:
        async with ours.tenant_tx(scope) as tx:
            return await append(tx, batch)

    group, each = GroupCommit(commit), itertools.cycle(events(scope, max(WRITERS)))

    async def work() -> None:
        await group.submit(scope, next(each))

    return work


async def _best(measured: dict[str, Callable[[], Awaitable[float]]]) -> dict[str, float]:
    """The best of several rounds each, in turns."""
    best = dict.fromkeys(measured, 0.0)
    for _ in range(ROUNDS):
        for name, measure in measured.items():
            best[name] = max(best[name], await measure())
    return best


async def _batched(ours: Database, plain: peers.Plain, peer: peers.Eventsourcing | None) -> Table:
    rows = []
    for size in SIZES:
        through = _appending(ours, SCOPES[:1], size)
        await through()
        raw = await plain.insert(size)
        best = await _best(
            {
                "ours": lambda t=through: peers.per_s(t, 1, ROUND_S),
                "raw": lambda r=raw: peers.per_s(r, 1, ROUND_S),
                "copy": lambda s=size: plain.copied_per_s(s, ROUND_S),
                "peer": lambda s=size: _peer_per_s(peer, 1, s),
            }
        )
        mine, bare = best["ours"] * size, best["raw"] * size
        rows.append(
            (str(size), _ratio(mine, bare), _ratio(mine, best["copy"]), _ratio(mine, best["peer"]), shown(mine),
             shown(bare), shown(best["copy"]), _rate(best["peer"]))
        )  # fmt: skip
    head = (
        "events a transaction", "of INSERT", "of COPY", "times eventsourcing", "append events/s", "INSERT events/s",
        "COPY events/s", "eventsourcing events/s",
    )  # fmt: skip
    note = (
        "One writer, one project, durable. INSERT and COPY write the same rows as the superuser into a table with the"
        f" same indexes: no policy, no numbers, no heads, no chain. Targets at 100 and more:"
        f" {BATCHED_TARGET} of INSERT, {PEER_BATCHED_TARGET:.0f} times eventsourcing."
    )
    return Table("The history: appends by size of batch", head, tuple(rows), note)


async def _writers(ours: Database, plain: peers.Plain, peer: peers.Eventsourcing | None) -> Table:
    rows = []
    for writers in WRITERS:
        raw = await plain.insert(1)
        one, many, group = _appending(ours, SCOPES[:1], 1), _appending(ours, SCOPES, 1), _together(ours, SCOPES[0])
        best = await _best(
            {
                "many": lambda w=many, n=writers: peers.per_s(w, n, ROUND_S),
                "one": lambda w=one, n=writers: peers.per_s(w, n, ROUND_S),
                "group": lambda w=group, n=writers: peers.per_s(w, n, ROUND_S),
                "raw": lambda w=raw, n=writers: peers.per_s(w, n, ROUND_S),
                "peer": lambda n=writers: _peer_per_s(peer, n, 1),
            }
        )
        rows.append(
            (str(writers), _ratio(best["many"], best["raw"]), _ratio(best["many"], best["peer"]), shown(best["many"]),
             shown(best["one"]), shown(best["group"]), _ratio(best["group"], best["peer"]), shown(best["raw"]),
             _rate(best["peer"]))
        )  # fmt: skip
    head = (
        "writers", "of INSERT", "times eventsourcing", "append/s, 16 projects", "append/s, one project",
        "append/s, one project, grouped", "grouped, times eventsourcing", "INSERT/s", "eventsourcing/s",
    )  # fmt: skip
    note = (
        f"One event a transaction, {POOL_MAX} connections at most; the first two ratios are of 16 projects. Grouped: as"
        " many callers of one project, each waits for its own event; what comes in during a commit is the next one."
        f" Target: {PEER_WRITERS_TARGET:.0f} times eventsourcing at 16."
    )
    return Table("The history: single appends by writers", head, tuple(rows), note)


async def _peer_per_s(peer: peers.Eventsourcing | None, threads: int, size: int) -> float:
    return 0.0 if peer is None else await asyncio.to_thread(peer.per_s, threads, size, ROUND_S)


def _ratio(mine: float, other: float) -> str:
    return shown(mine / other) if other else "-"


def _rate(value: float) -> str:
    return shown(value) if value else "not installed"


async def _lag(ours: Database) -> Table:
    """Commit returned → seen by a reader of all projects behind the horizon, woken after each commit."""
    rows = []
    for writers, size in ((1, 1), (8, 1), (8, 10)):
        told: dict[tuple[str, int], float] = {}
        seen: dict[tuple[str, int], float] = {}
        bell, done = Bell(), asyncio.Event()

        async def write(n: int, size: int = size, told: dict = told, bell: Bell = bell) -> None:
            batch, end = events(SCOPES[n], size), time.perf_counter() + 3 * ROUND_S
            while time.perf_counter() < end:
                async with ours.tenant_tx(SCOPES[n]) as tx:
                    last = (await append(tx, batch))[-1].seq
                told[SCOPES[n].project_id, last] = time.perf_counter()
                bell.ring()

        async def read(seen: dict = seen, bell: Bell = bell, done: asyncio.Event = done) -> None:
            async with ours.batch_tx(_READER, SCOPES) as tx:
                xid = (await tx.one(Query("now", "", "SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS x")))["x"]
            at = 0
            while not done.is_set():
                async with ours.batch_tx(_READER, SCOPES) as tx:
                    page = await tx.all(_TAIL, xid=xid, id=at, whole=[], limit=500)
                now = time.perf_counter()
                seen |= {(row["project_id"], row["seq"]): now for row in page}
                if page:
                    xid, at = page[-1]["at_xid"], page[-1]["at_id"]
                else:
                    await bell.wait(0.05)

        reading = asyncio.create_task(read())
        await asyncio.gather(*(write(n) for n in range(writers)))
        await Bell().wait(0.5)
        done.set()
        await reading
        # An event may be seen before the writer hears of its commit.
        lags = [max(0.0, seen[key] - at) * 1000 for key, at in told.items() if key in seen]
        rate = len(told) * size / (3 * ROUND_S)
        rows.append(
            (f"{writers} × {size}", shown(percentile(lags, 0.5)), shown(percentile(lags, 0.99)), shown(rate),
             str(len(told) - len(lags)))
        )  # fmt: skip
    head = ("writers × events", "p50 ms", "p99 ms", "events/s", "unseen")
    return Table("The history: commit returned → seen by a tailing reader", head, tuple(rows))


async def _verified(bench: Bench) -> Table:
    """One core, the lines in memory: what `haas audit verify` does for each project."""
    with psycopg.connect(bench.admin_dsn) as admin:
        cursor = admin.execute(
            "SELECT tenant_id::text, project_id::text, seq, stream, version, event_type, schema_version, plan_id,"
            " task_id, actor, causation_id, correlation_id, trace_id,"
            " (extract(epoch FROM recorded_at) * 1000000)::bigint, payload::text, encode(hash, 'hex')"
            " FROM haas.events WHERE tenant_id = %s AND project_id = %s ORDER BY seq LIMIT 200000",
            (SCOPES[0].tenant_id, SCOPES[0].project_id),
        )
        lines = [line_of(dict(zip(FIELDS, row, strict=True))) for row in cursor]
    best = 0.0
    for _ in range(ROUNDS):
        verifier, began = ProjectVerifier(SCOPES[0].tenant_id, SCOPES[0].project_id, Marks()), time.perf_counter()
        verifier.feed(lines)
        best = max(best, len(lines) / (time.perf_counter() - began))
        if verifier.findings.count or verifier.counts.events != len(lines):
            raise RuntimeError("the verifier finds fault with what was appended")
    size = sum(len(line.encode()) + 1 for line in lines) / len(lines)
    row = (shown(best), shown(best * size / 1e6), shown(len(lines)))
    return Table("The history: verification, one core", ("events/s", "MB/s", "events"), (row,))
