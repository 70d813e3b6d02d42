"""Order without gaps: which readers of a history lose events beside concurrent writers, and which never do (design 3).

An event gets its transaction's xid and an id from a sequence when it is written, and is seen when that transaction
commits: neither order is the order of the commits. Losing readers are kept here as proof of what they lose.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest

from haas_common import errors, metrics, relay_lag
from haas_common.db import Database, Lease, Scope, Tx, doors, load_queries
from haas_common.db.queries import Query
from haas_common.doorbell import Bell
from haas_common.eventstore import NewEvent, append
from haas_common.relay_lag import LagWatch
from tests.integration.conftest import TestDatabase
from tests.support.plans import Plans
from tests.support.samples import sample

A, B, C = Scope("t-one", "p-one"), Scope("t-two", "p-one"), Scope("t-two", "p-two")
READER = Lease("relay/notifier", 0)
COMMON, NOTIFIER = load_queries("haas_common"), load_queries("haas_notifier")
HORIZON = Query("horizon", "", "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin")
NOW = Query("now", "", "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax")
TAKE_XID = Query("take_xid", "", "SELECT pg_current_xact_id()::text AS xid")
#: Work of a random length, in the server.
WORK = Query("work", "", "SELECT count(*) FROM generate_series(1, %(n)s)")
BY_ID = Query("by_id", "", "SELECT id, tenant_id, project_id, seq FROM events WHERE id > %(id)s ORDER BY id LIMIT 500")
BY_ID_SETTLED = Query(
    "by_id_settled", "",
    "SELECT id, tenant_id, project_id, seq FROM events"
    " WHERE id > %(id)s AND xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY id LIMIT 500",
)  # fmt: skip
Key = tuple[str, str, int]


class Reader:
    """Tails the history by a cursor, as its query says; keeps what it saw in its order.

    Attributes:
        seen: (tenant, project, seq) of each event.
    """

    def __init__(self, name: str, query: Query, **fixed: object) -> None:
        self.name, self._query, self._fixed = name, query, fixed
        self.seen: list[Key] = []
        self._xid, self._id = "0", 0

    async def read(self, tx: Tx) -> int:
        """Reads one page; returns how many events it had."""
        rows = await tx.all(self._query, xid=self._xid, id=self._id, **self._fixed)
        self.seen += [(r["tenant_id"], r["project_id"], r["seq"]) for r in rows]
        if rows:
            last = rows[-1]
            self._xid, self._id = last.get("at_xid", "0"), last.get("at_id", last.get("id"))
        return len(rows)


class SeqReader:
    """Tails each project by its own sequence, as the outside does."""

    def __init__(self, scopes: list[Scope]) -> None:
        self.name = "seq"
        self.seen: list[Key] = []
        self._after = dict.fromkeys(scopes, 0)

    async def read(self, tx: Tx) -> int:
        """Reads a page of each project; returns how many events they had."""
        before = len(self.seen)
        for scope, after in self._after.items():
            rows = await tx.all(
                NOTIFIER.events_page, tenant_id=scope.tenant_id, project_id=scope.project_id, after=after, limit=500,
                bytes_max=1 << 20,
            )  # fmt: skip
            self.seen += [(scope.tenant_id, scope.project_id, r["seq"]) for r in rows]
            self._after[scope] = rows[-1]["seq"] if rows else after
        return len(self.seen) - before


def by_commit() -> Reader:
    """The relays' reader: cursor and order are (xid, id), behind the horizon."""
    return Reader("(xid, id) behind the horizon", COMMON.relay_page, whole=[], limit=500)


def by_id() -> Reader:
    return Reader("id", BY_ID)


def by_id_settled() -> Reader:
    return Reader("id behind the horizon", BY_ID_SETTLED)


class World:
    """Some projects, and writers and readers of them."""

    def __init__(self, database: Database, scopes: list[Scope]) -> None:
        self.database, self.scopes = database, scopes

    async def read(self, reader: Reader | SeqReader) -> list[Key]:
        """What a reader finds now."""
        before = len(reader.seen)
        async with self.database.batch_tx(READER, self.scopes) as tx:
            await reader.read(tx)
        return reader.seen[before:]

    async def settled(self, *readers: Reader | SeqReader, until: int) -> None:
        """Reads on until the readers have seen so many events, or nothing that runs holds the horizon back any more.

        Transactions of other databases of the cluster (other tests') do so too.
        """
        async with self.database.batch_tx(READER, []) as tx:
            begun = (await tx.one(NOW))["xmax"]
        horizon, bell = 0, Bell()
        while horizon < begun and any(len(reader.seen) < until for reader in readers):
            await bell.wait(0.02)
            async with self.database.batch_tx(READER, self.scopes) as tx:
                horizon = (await tx.one(HORIZON))["xmin"]
            for reader in readers:
                found = True
                while found:  # a page has a limit
                    found = bool(await self.read(reader))


async def happen(tx: Tx, scope: Scope, count: int = 1, stream: str = "plan/pl-1") -> list[Key]:
    """Appends events; returns what a reader will know them by."""
    event = NewEvent(scope, stream, "TaskCompleted", sample("TaskCompleted"), "planner", plan_id="pl-1", task_id="T-1")
    return [(scope.tenant_id, scope.project_id, r.seq) for r in await append(tx, [event] * count)]


@pytest.fixture
async def world(database: TestDatabase) -> AsyncIterator[World]:
    plans = Plans(database.admin_dsn)
    scopes = [A, B, C, Scope("t-one", "p-two")]
    for scope in scopes:
        plans.project(scope)
    opened = await Database.open(database.app_dsn, database.context_key, "test", pool_max=20)
    yield World(opened, scopes)
    await opened.close()
    plans.close()


# ── One interleaving at a time ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_reader_by_id_loses_what_commits_after_a_higher_id(world):
    naive, ours = by_id(), by_commit()
    async with world.database.tenant_tx(A) as slow:
        late = await happen(slow, A)  # the lower id
        async with world.database.tenant_tx(B) as fast:
            early = await happen(fast, B)
        assert await world.read(naive) == early
        assert await world.read(ours) == []  # `slow` may still come before
    assert await world.read(naive) == []
    assert naive.seen == early, "lost: its id is lower than the cursor"
    await world.settled(ours, until=2)
    assert ours.seen == late + early


async def test_a_horizon_does_not_save_a_cursor_of_ids_alone(world):
    """T9 takes its xid first; T10 writes the lower id; T9 commits first, and is settled: T10 is not, and is passed."""
    naive, ours = by_id_settled(), by_commit()
    async with AsyncExitStack() as open_:
        async with world.database.batch_tx(READER, world.scopes) as ninth:
            first = await happen(ninth, A)
            tenth = await open_.enter_async_context(world.database.tenant_tx(B))
            late = await happen(tenth, B)
            early = await happen(ninth, C)
        await world.settled(naive, ours, until=2)
        assert naive.seen == ours.seen == first + early
    await world.settled(ours, until=3)
    assert await world.read(naive) == []
    assert naive.seen == first + early, "lost: settled now, but behind the cursor"
    assert ours.seen == first + early + late


async def test_the_relays_order_is_not_a_projects_order(world):
    """Whoever folds what a relay reads goes by seq: a transaction that wrote something else first has the lower xid."""
    relay, seq = by_commit(), SeqReader([A])
    async with world.database.tenant_tx(A) as early:
        await early.one(TAKE_XID)
        async with world.database.tenant_tx(A) as late:
            one = await happen(late, A)
        two = await happen(early, A)
    await world.settled(relay, until=2)
    await world.read(seq)
    assert (relay.seen, seq.seen) == (two + one, one + two)


async def test_a_projects_sequence_has_no_gap_at_any_moment(world):
    reader = SeqReader([A])
    async with world.database.tenant_tx(A) as first:
        one = await happen(first, A, stream="plan/pl-1")

        async def second() -> list[Key]:
            async with world.database.tenant_tx(A) as tx:
                return await happen(tx, A, stream="plan/pl-2")

        waiting = asyncio.create_task(second())
        await _blocked(world, 1)
        assert await world.read(reader) == []
    two = await waiting
    await world.read(reader)
    assert reader.seen == one + two == [("t-one", "p-one", 1), ("t-one", "p-one", 2)]


async def test_what_is_rolled_back_leaves_no_gap_in_the_sequence(world):
    with suppress(ZeroDivisionError):
        async with world.database.tenant_tx(A) as tx:
            await happen(tx, A, 3)
            raise ZeroDivisionError
    async with world.database.tenant_tx(A) as tx:
        assert await happen(tx, A) == [("t-one", "p-one", 1)]


# ── Many writers at once ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_beside_many_writers_our_readers_lose_nothing_and_see_nothing_twice(world, capsys):
    ours, theirs = [by_commit(), SeqReader(world.scopes)], [by_id(), by_id_settled()]
    written: list[Key] = []
    done = asyncio.Event()

    async def write(number: int) -> None:
        chance = random.Random(number)
        for _ in range(25):
            scope, kept = chance.choice(world.scopes), []
            with suppress(ZeroDivisionError):
                async with world.database.batch_tx(READER, world.scopes) as tx:
                    await tx.one(TAKE_XID)
                    await tx.one(WORK, n=chance.choice((1, 100, 5000)))
                    kept = await happen(tx, scope, chance.randint(1, 5), f"plan/{chance.randrange(4)}")
                    await tx.one(WORK, n=chance.choice((1, 100, 5000)))
                    if chance.randrange(10) == 0:
                        raise ZeroDivisionError
                written.extend(kept)

    async def tail(reader: Reader | SeqReader) -> None:
        while not done.is_set():
            await world.read(reader)

    readers = [asyncio.create_task(tail(reader)) for reader in (*ours, *theirs)]
    await asyncio.gather(*(write(number) for number in range(12)))
    done.set()
    await asyncio.gather(*readers)
    await world.settled(*ours, *theirs, until=len(written))
    for reader in ours:
        assert Counter(reader.seen) == Counter(written), reader.name
    for scope in world.scopes:
        seqs = [seq for *project, seq in ours[1].seen if project == [scope.tenant_id, scope.project_id]]
        assert seqs == list(range(1, len(seqs) + 1)), "a project's sequence has no gap and comes in its order"
    with capsys.disabled():
        lost = ", ".join(f"by {r.name} {len(written) - len(set(r.seen))}" for r in theirs)
        print(f"\n{len(written)} events beside 12 writers; lost: {lost}; by {ours[0].name} and by seq 0")


# ── What it costs ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_open_write_transaction_holds_readers_back_until_it_ends(world):
    reader, watch = by_commit(), LagWatch("notifier")
    async with world.database.batch_tx(READER, world.scopes) as tx:
        await tx.run(COMMON.relay_begin, name="notifier")
        assert (await watch.look(tx)).events == 0
    async with world.database.tenant_tx(A) as open_:
        held = await happen(open_, A)
        written = []
        for _ in range(3):
            async with world.database.tenant_tx(B) as tx:
                written += await happen(tx, B)
        assert await world.read(reader) == []
        async with world.database.batch_tx(READER, world.scopes) as tx:
            lag = await watch.look(tx)
        assert lag.events == 3
        assert lag.oldest_write_s > lag.seconds > 0
        assert _gauge("haas_relay_lag_events") == 3
        assert _gauge("haas_relay_lag_seconds") > lag.seconds, "it grows without another look"
    await world.settled(reader, until=4)
    assert reader.seen == held + written


async def test_a_lag_is_told_in_the_log_once_a_minute(world, caplog, monkeypatch):
    monkeypatch.setattr(relay_lag, "ALERT_S", 0.0)
    watch = LagWatch("notifier")
    async with world.database.tenant_tx(A) as tx:
        await happen(tx, A)
    async with world.database.batch_tx(READER, world.scopes) as tx:
        await tx.run(COMMON.relay_begin, name="notifier")
        for _ in range(3):
            await watch.look(tx)
    assert [r.getMessage().split(" is ")[0] for r in caplog.records if r.levelname == "WARNING"] == ["relay notifier"]


def _gauge(name: str) -> float:
    value = metrics.REGISTRY.get_sample_value(name, {"relay": "notifier"})
    assert value is not None
    return value


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody ends a transaction here at its deadline, as in a frozen process: only the server does, 0.1 s later."""
    monkeypatch.setattr(doors, "_CUT_AFTER_S", 3600)
    monkeypatch.setattr(doors, "_END_AFTER_S", 0.1)


@pytest.mark.usefixtures("frozen")
async def test_a_transaction_that_sits_idle_is_ended_and_holds_nobody_back(world):
    reader = by_commit()
    with pytest.raises(errors.DeadlinePassed):  # noqa: PT012 - the block is the transaction that ends
        async with world.database.tenant_tx(A, timeout_s=0.2) as idle:
            await happen(idle, A)
            async with world.database.tenant_tx(B) as tx:
                written = await happen(tx, B)
            assert await world.read(reader) == []
            await world.settled(reader, until=1)
            assert reader.seen == written
            await happen(idle, A)


@pytest.mark.usefixtures("frozen")
async def test_a_transaction_of_many_short_statements_ends_too(world):
    """Each of them is shorter than statement_timeout."""
    with pytest.raises(errors.DeadlinePassed):  # noqa: PT012 - the block is the transaction that ends
        async with world.database.tenant_tx(A, timeout_s=0.2) as tx:
            await happen(tx, A)
            while True:
                await tx.one(WORK, n=1000)
    assert await world.read(SeqReader([A])) == []
    async with world.database.tenant_tx(A) as tx:
        assert await happen(tx, A) == [("t-one", "p-one", 1)]


async def _blocked(world: World, count: int) -> None:
    """Waits until so many transactions of this database wait for a lock."""
    waiting = Query(
        "waiting", "",
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )  # fmt: skip
    bell, found = Bell(), 0
    while found < count:
        await bell.wait(0.01)
        async with world.database.batch_tx(READER, []) as tx:
            found = (await tx.one(waiting))["n"]
