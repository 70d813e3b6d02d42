"""The relay on a real PostgreSQL: exactly those concerned are told, of everything, once."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from haas_common import errors
from haas_common.db import Database, Lease, Scope
from haas_common.db.queries import Query
from haas_common.doorbell import Doorbell
from haas_common.leases import LeaseKeeper
from haas_notifier.worker import LEASE, Relay
from tests.integration.conftest import TestDatabase
from tests.support.plans import Plans, happen
from tests.support.relays import settled

ONE, OTHER = Scope("t-one", "p-one"), Scope("t-two", "p-one")
PLAN = "pl-00000001"
#: T-1 → T-2 → T-3 (a leader with T-3.1 → T-3.2) → T-4, and T-5 by itself.
OWNERS = {
    "T-1": "agent.one", "T-2": "agent.two", "T-3": "leader.three", "T-3.1": "agent.first", "T-3.2": "agent.second",
    "T-4": "agent.four", "T-5": "agent.bystander",
}  # fmt: skip
EDGES = [("T-1", "T-2"), ("T-2", "T-3"), ("T-3.1", "T-3.2"), ("T-3.1", "T-3"), ("T-3.2", "T-3"), ("T-3", "T-4")]
TAKE = Query(
    "take",
    "",
    "UPDATE leases SET owner = 'test', epoch = epoch + 1, expires_at = 'infinity' WHERE name = %(n)s RETURNING epoch",
)
NAIVE = Query(
    "naive", "", "SELECT id, seq FROM events WHERE event_type = 'TaskCompleted' AND id > %(last)s ORDER BY id"
)
NAIVE_HORIZON = Query(
    "naive_horizon", "",
    "SELECT id, seq FROM events WHERE event_type = 'TaskCompleted' AND id > %(last)s"
    " AND xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY id",
)  # fmt: skip
TAKE_XID = Query("take_xid", "", "SELECT pg_current_xact_id()::text AS xid")


class World:
    """A database with two tenants that look alike, and a relay."""

    def __init__(self, plans: Plans, database: Database, doorbell: Doorbell) -> None:
        self.plans, self.database, self.doorbell = plans, database, doorbell

    async def lease(self) -> Lease:
        """Takes the relay's lease, whoever holds it."""
        async with self.database.batch_tx(Lease(LEASE, 0), []) as tx:
            return Lease(LEASE, (await tx.one(TAKE, n=LEASE))["epoch"])

    async def relay(self, page: int = 500) -> Relay:
        return Relay(await self.lease(), self.database, self.doorbell, page)

    async def happen(self, type_: str, task_id: str = "", scope: Scope = ONE, **payload: object) -> int:
        async with self.database.tenant_tx(scope) as tx:
            return (await happen(tx, scope, type_, task_id=task_id, **payload)).seq

    def told(self, scope: Scope = ONE) -> list[tuple[int, str, str]]:
        """Which seq was told to whom, how."""
        return self.plans.execute(
            "SELECT seq, receiver_id, envelope->>'performative' FROM notifications"
            " WHERE tenant_id = %s AND project_id = %s"
            " ORDER BY seq, receiver_id",
            scope.tenant_id, scope.project_id,
        )  # fmt: skip


@pytest.fixture
async def world(database: TestDatabase) -> AsyncIterator[World]:
    plans = Plans(database.admin_dsn)
    opened = await Database.open(database.app_dsn, database.context_key, "haas-notifier", pool_max=12)
    doorbell = Doorbell(opened)
    await doorbell.start()
    for scope in (ONE, OTHER):
        plans.project(scope)
        plans.plan(scope, PLAN, OWNERS, EDGES)
    yield World(plans, opened, doorbell)
    await doorbell.stop()
    await opened.close()
    plans.close()


# ── Whom ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_error_halts_exactly_the_owners_of_what_was_under_way_and_depends_on_it(world):
    seq = await world.happen(
        "ErrorDetected", "T-3.1", error_code="TOOL_FAILED", message="no rows", affected_count=3,
        halted=[["T-3", "leader.three"]],
    )  # fmt: skip
    assert await settled(await world.relay(), world.doorbell) == 3
    assert world.told() == [
        (seq, "agent.four", "INFORM"), (seq, "agent.second", "INFORM"), (seq, "leader.three", "HALT"),
    ]  # fmt: skip
    assert world.told(OTHER) == []


async def test_an_error_of_the_first_version_halts_the_owners_of_all_that_depends_on_it(world):
    seq = await world.happen("ErrorDetected", "T-3.1", error_code="TOOL_FAILED", message="no rows", affected_count=3)
    world.plans.execute("UPDATE events SET schema_version = 1 WHERE seq = %s", seq)
    await settled(await world.relay(), world.doorbell)
    assert world.told() == [(seq, "agent.four", "HALT"), (seq, "agent.second", "HALT"), (seq, "leader.three", "HALT")]


async def test_an_approval_is_asked_of_its_role_and_a_repair_told_to_the_failed_tasks_owner(world):
    async with world.database.tenant_tx(ONE) as tx:
        await happen(tx, ONE, "PlanCreated", actor="ana@x")
    asked = await world.happen("ApprovalRequested", "T-4", role="legal", text="Publish?")
    again = await world.happen("ApprovalReminded", "T-4", role="legal")
    await world.happen("PlanPaused", cause="request")
    stopped = await world.happen("PlanPaused", cause="budget")
    repair = await world.happen("ReplanRequired", "T-2", failed_task="T-2")
    repaired = await world.happen("PlanReplanned", "T-2", failed_task="T-2")
    wish = await world.happen("PlanReplanned", failed_task="")
    await settled(await world.relay(), world.doorbell)
    requester = "requester:ana@x"
    assert world.told() == [
        *((seq, who, "REQUEST") for seq in (asked, again) for who in (requester, "role:legal")),
        (stopped, requester, "INFORM"),
        *((seq, who, "INFORM") for seq in (repair, repaired) for who in ("agent.two", requester)),
        (wish, requester, "INFORM"),
    ]


async def test_an_envelope_says_what_failed_in_the_plans_language(world):
    await world.happen(
        "ErrorDetected", "T-2", error_code="TOOL_FAILED", message="no rows", affected_count=2,
        halted=[["T-4", "agent.four"]],
    )  # fmt: skip
    await settled(await world.relay(), world.doorbell)
    ((envelope,),) = world.plans.execute("SELECT envelope FROM notifications WHERE receiver_id = 'agent.four'")
    assert envelope["nl_summary"] == "Detener T-4 por fallo en T-2."
    assert envelope["content"] == {
        "task_id": "T-4", "error_code": "E_DEPENDENCY_FAILED", "message": "Fallo en dependencia T-2: no rows",
        "context_artifact_id": "artf-brief", "replan_scope": "sub_graph", "plan_id": PLAN,
    }  # fmt: skip
    assert (envelope["performative"], envelope["sender_id"], envelope["tenant_id"]) == (
        "HALT",
        "notification_team_01",
        "t-one",
    )


async def test_a_leader_outside_of_the_closure_hears_of_its_tasks_failure(world):
    world.plans.execute("DELETE FROM task_edges WHERE to_task = 'T-3'")
    seq = await world.happen("ErrorDetected", "T-3.1", error_code="X", message="m", affected_count=1)
    await settled(await world.relay(), world.doorbell)
    assert world.told() == [(seq, "agent.second", "INFORM"), (seq, "leader.three", "INFORM")]


async def test_a_cycle_of_edges_ends_the_closure_all_the_same(world):
    world.plans.execute("INSERT INTO task_edges VALUES ('t-one', 'p-one', %s, 'T-4', 'T-2')", PLAN)
    await world.happen("ErrorDetected", "T-2", error_code="X", message="m", affected_count=3)
    await settled(await world.relay(), world.doorbell)
    assert [r for _, r, _ in world.told()] == ["agent.four", "agent.two", "leader.three"]


async def test_a_completed_task_informs_the_owners_of_its_direct_dependents_alone(world):
    seq = await world.happen("TaskCompleted", "T-1", attempt=1, outputs={"v": "artf-1"})
    await settled(await world.relay(), world.doorbell)
    assert world.told() == [(seq, "agent.two", "INFORM")]
    assert world.plans.execute("SELECT envelope->'content'->>'context_artifact_id' FROM notifications") == [("artf-1",)]


@pytest.mark.parametrize("type_", ["PlanCompleted", "PlanFailed", "PlanCancelled"])
async def test_a_plans_end_informs_its_owners_and_its_requester_and_nobody_else(world, type_):
    async with world.database.tenant_tx(ONE) as tx:
        await happen(tx, ONE, "PlanCreated", actor="ana@x")
    world.plans.plan(ONE, "pl-00000002", {"T-1": "agent.of.another.plan"})
    seq = await world.happen(type_)
    await settled(await world.relay(), world.doorbell)
    assert world.told() == [(seq, who, "INFORM") for who in sorted([*OWNERS.values(), "requester:ana@x"])]
    assert world.told(OTHER) == []


async def test_events_that_concern_nobody_are_passed_over(world):
    for type_ in ("PlanStarted", "TaskStarted", "TaskFailed", "TaskRetryScheduled", "ArtifactProduced"):
        await world.happen(type_, "T-1")
    relay = await world.relay()
    assert (await settled(relay, world.doorbell), world.told()) == (0, [])


async def test_an_event_that_cannot_be_decided_keeps_nobody_elses_envelopes_back(world, caplog):
    bad = await world.happen("TaskCompleted", "T-1")
    world.plans.execute("UPDATE events SET schema_version = 99 WHERE seq = %s", bad)  # of a newer release
    good = await world.happen("TaskCompleted", "T-1", outputs={"v": "artf-1"})
    await settled(await world.relay(), world.doorbell)
    assert [seq for seq, _, _ in world.told()] == [good]
    assert [r for r in caplog.records if f"event {bad}" in r.getMessage()]


async def test_what_was_sent_is_told_in_the_history_once_for_all_envelopes_of_a_plan(world):
    halted = [["T-3", "leader.three"]]
    first = await world.happen("ErrorDetected", "T-3.1", error_code="X", message="m", affected_count=3, halted=halted)
    second = await world.happen("TaskCompleted", "T-1", outputs={})
    await settled(await world.relay(), world.doorbell)
    sent = world.plans.execute("SELECT seq, stream, plan_id, payload FROM events WHERE event_type = 'NotificationSent'")
    # One event a batch; another database's open transaction may split the batch, since the horizon is the server's.
    assert {(s[1], s[2]) for s in sent} == {(f"notify/{PLAN}", PLAN)}
    assert [(e["cause_seq"], *e["receivers"]) for s in sent for e in s[3]["envelopes"]] == [
        (first, ["agent.four", "INFORM"]),
        (first, ["agent.second", "INFORM"]),
        (first, ["leader.three", "HALT"]),
        (second, ["agent.two", "INFORM"]),
    ]
    told = world.plans.execute("SELECT DISTINCT (envelope->>'seq')::bigint FROM notifications ORDER BY 1")
    assert told == [(s[0],) for s in sent]


# ── Of everything ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_event_committed_late_is_missed_by_an_id_and_found_by_the_relay(world):
    relay = await world.relay()
    async with world.database.tenant_tx(ONE) as slow:
        await happen(slow, ONE, "TaskCompleted", task_id="T-1")
        await world.happen("TaskCompleted", "T-1", OTHER)
        async with world.database.batch_tx(await world.lease(), [ONE, OTHER]) as tx:
            last = (await tx.all(NAIVE, last=0))[-1]["id"]
        relay = await world.relay()
        assert await relay.drain() == 0  # the horizon: an open transaction may still come before
    async with world.database.batch_tx(await world.lease(), [ONE, OTHER]) as tx:
        assert await tx.all(NAIVE, last=last) == []  # lost: its id is lower
    assert await settled(await world.relay(), world.doorbell) == 2
    assert (len(world.told(ONE)), len(world.told(OTHER))) == (1, 1)


async def test_an_id_behind_the_horizon_still_loses_what_the_relay_finds(world):
    lease, cursor, found = await world.lease(), 0, []
    relay = Relay(lease, world.database, world.doorbell)
    async with world.database.tenant_tx(OTHER) as late:
        async with world.database.tenant_tx(ONE) as early:
            await early.one(TAKE_XID)  # the lower xid, and then the higher id
            await late.one(TAKE_XID)
            await happen(late, OTHER, "TaskCompleted", task_id="T-1")
            await happen(early, ONE, "TaskCompleted", task_id="T-1")
        with world.doorbell.bell("events") as bell:
            while not found:  # other databases' transactions hold the horizon back too
                async with world.database.batch_tx(lease, [ONE, OTHER]) as tx:
                    found = await tx.all(NAIVE_HORIZON, last=cursor)
                await bell.wait(0.05)
        assert await relay.drain() == 1
    async with world.database.batch_tx(lease, [ONE, OTHER]) as tx:
        found += await tx.all(NAIVE_HORIZON, last=found[-1]["id"])
    assert len(found) == 1  # of two
    assert await settled(relay, world.doorbell) == 1
    assert (len(world.told(ONE)), len(world.told(OTHER))) == (1, 1)


async def test_a_relay_beside_many_writers_tells_of_every_event_once(world):
    scopes = [ONE, OTHER, *(Scope("t-one", f"p-more-{n}") for n in range(2))]
    for scope in scopes[2:]:
        world.plans.project(scope)
        world.plans.plan(scope, PLAN, OWNERS, EDGES)
    written: dict[Scope, list[int]] = {scope: [] for scope in scopes}
    order = random.Random(7)

    async def write(number: int) -> None:
        for _ in range(12):
            scope = scopes[order.randrange(len(scopes))]
            async with world.database.tenant_tx(scope) as tx:
                if order.random() < 0.5:
                    await tx.one(TAKE_XID)
                    await asyncio.sleep(0)  # others go first: ids and xids come in different orders
                written[scope].append((await happen(tx, scope, "TaskCompleted", task_id="T-1", attempt=number + 1)).seq)
            world.doorbell.ring("events")

    relay = await world.relay(page=7)
    running = asyncio.create_task(relay.run())
    await asyncio.gather(*(write(n) for n in range(8)))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await settled(relay, world.doorbell)
    for scope in scopes:
        assert world.told(scope) == [(seq, "agent.two", "INFORM") for seq in sorted(written[scope])]


async def test_a_project_that_comes_up_while_the_relay_reads_is_read_too(world):
    relay = await world.relay()
    await relay.drain()
    fresh = Scope("t-fresh", "p-one")
    world.plans.project(fresh)
    world.plans.plan(fresh, PLAN, OWNERS, EDGES)
    await world.happen("TaskCompleted", "T-1", fresh)
    await world.happen("TaskCompleted", "T-1", ONE)
    with world.doorbell.bell("events") as bell:
        while await relay._step() == (0, 0):  # until the horizon lets the events through
            await bell.wait(0.05)
    assert world.told() == world.told(fresh) == []  # its signed set is older than the project: the cursor stays
    assert await settled(relay, world.doorbell) == 2
    assert len(world.told(fresh)) == 1


# ── Once ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_relay_that_starts_again_sends_nothing_twice(world):
    await world.happen("ErrorDetected", "T-2", error_code="X", message="m", affected_count=2)
    assert await settled(await world.relay(), world.doorbell) == 2
    before = world.told()
    assert await settled(await world.relay(), world.doorbell) == 0
    assert world.told() == before


async def test_a_crash_before_the_commit_leaves_nothing_and_loses_nothing(world, monkeypatch):
    await world.happen("ErrorDetected", "T-2", error_code="X", message="m", affected_count=2)
    relay = await world.relay()
    from haas_notifier import store

    whole = store.send

    async def dies(*arguments):
        await whole(*arguments)
        raise ConnectionResetError("killed")

    monkeypatch.setattr(store, "send", dies)
    with pytest.raises(ConnectionResetError):
        await settled(relay, world.doorbell)
    assert world.told() == []
    monkeypatch.setattr(store, "send", whole)
    assert await settled(await world.relay(), world.doorbell) == 2
    assert len(world.plans.execute("SELECT 1 FROM events WHERE event_type = 'NotificationSent'")) == 1


async def test_a_cursor_that_was_set_back_sends_nothing_twice(world):
    await world.happen("ErrorDetected", "T-2", error_code="X", message="m", affected_count=2)
    await settled(await world.relay(), world.doorbell)
    before = world.told()
    world.plans.execute("UPDATE relay_cursors SET xid = '0', id = 0")
    assert await settled(await world.relay(), world.doorbell) == 0
    assert world.told() == before


async def test_a_relay_whose_lease_was_taken_over_sends_nothing_more(world):
    old = await world.relay()
    await old.drain()
    new = await world.relay()
    await world.happen("TaskCompleted", "T-1")
    with pytest.raises(errors.LeaseLost):
        await settled(old, world.doorbell)
    assert world.told() == []
    assert await settled(new, world.doorbell) == 1


async def test_two_relays_at_once_send_everything_once(world):
    seqs = [await world.happen("TaskCompleted", "T-1") for _ in range(30)]
    lease = await world.lease()
    relays = [Relay(lease, world.database, world.doorbell, page=3) for _ in range(3)]
    outcomes = await asyncio.gather(*(r.drain() for r in relays), return_exceptions=True)
    assert all(isinstance(o, (int, errors.HaasError)) for o in outcomes), outcomes
    await settled(relays[0], world.doorbell)
    assert world.told() == [(seq, "agent.two", "INFORM") for seq in seqs]


async def test_the_keepers_relay_wakes_at_a_ring_and_rings_when_it_told(world):
    async def work(lease: Lease) -> None:
        await Relay(lease, world.database, world.doorbell).run()

    keeper = LeaseKeeper(world.database, "notifier@test", [LEASE], work)
    await keeper.start()
    with world.doorbell.bell("notifications") as bell:
        await world.happen("TaskCompleted", "T-1")
        world.doorbell.ring("events")
        async with asyncio.timeout(20):
            while not world.told():
                await bell.wait(20)
    assert len(world.told()) == 1
    await keeper.stop()
