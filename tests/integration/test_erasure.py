"""Erasing a person: nothing is left in any table or blob, the history stays whole, and nobody else loses a thing."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from haas_common import errors
from haas_common.blobs import BlobStore
from haas_common.db import Database, Lease, Scope
from haas_common.eventstore import NewEvent, append
from haas_common.sealing import Stored, erased_refs
from haas_common.sockets import short_url
from haas_notifier.worker import Relay
from haas_orchestrator import inputs
from haas_orchestrator import store as orchestrator
from haas_orchestrator.privacy import Order, Privacy
from haas_planner import store as planner
from haas_planner.attempts import Assignment
from haas_planner.domain import task_to_json
from haas_planner.graph import Slot, Task
from haas_planner.store import Command
from tests.integration.conftest import TestDatabase
from tests.integration.test_planner_shard import SCOPE, Fleet, fleet_of, task
from tests.support.hashing import GENESIS, event_hash
from tests.support.relays import settled

CANARY = "canary-77c1"
PLAN, OTHERS, NEXT = "pl-00000001", "pl-00000002", "pl-00000003"
OTHER_TENANT = Scope("t-two", "p-main")


@dataclasses.dataclass
class World:
    """A planner that works, a notifier's relay, uploads, and who erases."""

    fleet: Fleet
    admin: psycopg.Connection[Any]
    blobs: BlobStore
    folder: Path
    privacy: Privacy

    async def job(self, plan_id: str, subject: str, word: str) -> None:
        """A person's job from the request to the last envelope, with a failure at its end."""
        async with self.fleet.database.tenant_tx(SCOPE) as tx:
            await append(tx, self._asked(plan_id, subject, word))
            facts = {"plan_id": plan_id, "objective": word}
            await orchestrator.keep_request(tx, SCOPE, "CreatePlan", f"rq-{plan_id}", word, facts)
        await inputs.keep(
            self.fleet.database, self.fleet.doorbell, self.blobs, SCOPE, subject, f"{word}.txt", word.encode(),
            lenient=False,
        )  # fmt: skip
        facts = {
            "objective": word, "intent": "i", "language": "es", "slots": {"where": word}, "brief_artifact_id": "",
            "profile_id": "p", "profile_version": 1, "goals": [], "inputs": [["x", "value.text", word]],
        }  # fmt: skip
        body = {"facts": facts, "tasks": [planner_task(1, word), planner_task(2, word, 1)]}
        await self.fleet.operations._decide(
            Command(SCOPE, plan_id, "r-create", "create", body, subject, ""), must_exist=False
        )
        await self.fleet.operations.command(Command(SCOPE, plan_id, "r-run", "run", {}, subject, ""))
        assert (await self.fleet.over(plan_id))["state"] == "failed"
        relay = Relay(Lease("relay/notifier", self.lease()), self.fleet.database, self.fleet.doorbell)
        await settled(relay, self.fleet.doorbell)

    def _asked(self, plan_id: str, subject: str, word: str) -> list[NewEvent]:
        audit = self.blobs.put(SCOPE, f"{plan_id} {word}".encode())
        said = {
            "text": word, "intent": "i", "slots": {"where": word}, "confidence": 0.5, "language": "es",
            "engine": "offline",
        }  # fmt: skip
        brief = {"artifact_id": f"artf-{plan_id}-brief", "goals": [word], "audit_ref": audit}
        return [
            NewEvent(SCOPE, f"intent/{plan_id}", "IntentDetected", said, subject, plan_id=plan_id, subject=subject),
            NewEvent(SCOPE, f"brief/{plan_id}", "BriefCreated", brief, "brief", plan_id=plan_id, subject=subject),
        ]

    async def work(self, assignment: Assignment) -> dict[str, str]:
        """The first task writes an artifact about what was asked for; the second one fails and says so."""
        if assignment.task.task_id == "T-2":
            raise errors.FieldInvalid(f"cannot: {assignment.objective}", field="x", rule="y")
        ref = self.blobs.put(SCOPE, f"{assignment.plan_id}: {assignment.objective}".encode())
        artifact_id = f"artf-{assignment.plan_id}-t-1"
        facts = {
            "artifact_id": artifact_id, "path": "a.md", "type": "value.x", "version": 1, "hash_prev": "",
            "hash_curr": ref, "ref": ref, "signer": "agent-1", "signature": "s", "status": "final", "size_bytes": 1,
            "links": [], "sources": [],
        }  # fmt: skip
        event = NewEvent(
            SCOPE, f"artifact/{artifact_id}", "ArtifactProduced", facts, "agent-1", plan_id=assignment.plan_id
        )
        async with self.fleet.database.tenant_tx(SCOPE) as tx:
            await append(tx, [event])
        return {"v1": artifact_id}

    def lease(self) -> int:
        """Takes the relay's lease, returns its epoch."""
        sql = (
            b"UPDATE haas.leases SET epoch = epoch + 1, owner = 'test', expires_at = 'infinity'"
            b" WHERE name = 'relay/notifier' RETURNING epoch"
        )
        return int(self.admin.execute(sql).fetchone()[0])  # type: ignore[index]

    def everything(self) -> dict[str, str]:
        """Every column of every row of every table, and every file, as text."""
        tables = self.admin.execute(
            b"SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            b" WHERE n.nspname = 'haas' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        ).fetchall()
        found = {t: str(self.admin.execute(f"SELECT x::text FROM {t} AS x".encode()).fetchall()) for (t,) in tables}
        return found | {str(p): p.read_bytes().decode() for p in self.folder.rglob("*") if p.is_file()}

    def where(self, word: str) -> list[str]:
        """Which tables and files hold a word."""
        return sorted(place for place, text in self.everything().items() if word in text)

    def check_chain(self) -> int:
        """Recomputes every chain from the stored bytes; returns how many events there are."""
        rows = self.admin.execute(
            b"SELECT tenant_id, project_id, seq, stream, version, event_type, schema_version, plan_id, task_id, actor,"
            b" causation_id, correlation_id, trace_id, (extract(epoch FROM recorded_at) * 1000000)::bigint AS"
            b" recorded_at, payload::text AS payload, hash FROM haas.events ORDER BY tenant_id, project_id, seq"
        )
        names = [column.name for column in rows.description or ()]
        before: dict[tuple[str, str, str], bytes] = {}
        count = 0
        for row in rows.fetchall():
            event = dict(zip(names, row, strict=True))
            key = (event["tenant_id"], event["project_id"], event["stream"])
            event["recorded_at_us"] = event["recorded_at"]
            assert event_hash(before.get(key, GENESIS), event) == event["hash"], event["stream"]
            before[key] = event["hash"]
            count += 1
        return count


def planner_task(number: int, word: str, *after: int) -> dict[str, Any]:
    reads = tuple(Slot(f"v{n}", "value.x", f"T-{n}") for n in after)
    writes = (Slot(f"v{number}", "value.x"),)
    made = Task(
        f"T-{number}", "specialist", "s", f"{word} {number}", f"agent-{number}", reads, writes, {"w": word}, 1, 5
    )
    return task_to_json(made)


@pytest.fixture
def admin(database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as connection:
        connection.execute("INSERT INTO haas.tenants VALUES ('t-two')")
        connection.execute("INSERT INTO haas.projects VALUES ('t-two', 'p-main')")
        yield connection


@pytest.fixture
async def world(database: TestDatabase, admin: psycopg.Connection[Any], tmp_path: Path) -> AsyncIterator[World]:
    found: list[World] = []

    async def work(assignment: Assignment) -> dict[str, str]:
        return await found[0].work(assignment)

    async with fleet_of(database, work) as fleet:
        blobs = BlobStore(tmp_path)
        found.append(World(fleet, admin, blobs, tmp_path, Privacy(fleet.database, fleet.doorbell, blobs)))
        yield found[0]


def order(subject: str = "ana", request_id: str = "rq-1", scope: Scope = SCOPE) -> Order:
    return Order(scope, subject, "asked for", request_id, "boss", "")


async def test_nothing_of_an_erased_person_is_left_and_the_chain_holds(world: World) -> None:
    await world.job(PLAN, "ana", CANARY)
    before = world.where(CANARY)
    assert {"plans", "tasks_read", "plan_commands", "requests", "inputs"} <= {p.rpartition(".")[2] for p in before}
    assert not any(place.endswith("events") for place in before), "the history holds it sealed alone"
    count = world.check_chain()
    done = await world.privacy.erase(order())
    assert world.where(CANARY) == []
    assert (done.plans, done.artifacts, done.blobs, len(done.key_ids)) == (1, 1, 3, 1)
    assert world.check_chain() == count + 1


async def test_nobody_else_loses_a_thing(world: World) -> None:
    await world.job(PLAN, "ana", CANARY)
    await world.job(OTHERS, "eva", "other-word")
    async with world.fleet.database.tenant_tx(OTHER_TENANT) as tx:
        payload = {"ref": f"sha256:{'0' * 64}", "name": "of-two", "size_bytes": 1, "rows": 0, "lenient": False}
        await append(tx, [NewEvent(OTHER_TENANT, "input/1", "InputUploaded", payload, "ana", subject="ana")])
    before = world.where("other-word")
    await world.privacy.erase(order())
    assert world.where("other-word") == before
    async with world.fleet.database.tenant_tx(OTHER_TENANT) as tx:
        kept = world.admin.execute(b"SELECT payload FROM haas.events WHERE tenant_id = 't-two'").fetchone()
        assert kept is not None
        opened = await tx.vault.open_one(tx, Stored(OTHER_TENANT, "input/1", "InputUploaded", kept[0]))
    assert opened["name"] == "of-two"
    async with world.fleet.database.tenant_tx(SCOPE) as tx:
        plan = (await planner.load_plan(tx, SCOPE, OTHERS)).plan
    assert plan.objective == "other-word"


async def test_an_erased_plan_still_folds_and_the_read_models_say_what_the_fold_says(world: World) -> None:
    await world.job(PLAN, "ana", CANARY)
    await world.privacy.erase(order())
    async with world.fleet.database.tenant_tx(SCOPE) as tx:
        plan = (await planner.load_plan(tx, SCOPE, PLAN)).plan
        tasks, given = await orchestrator.graph_of(tx, SCOPE, PLAN)
        row = await orchestrator.get_plan(tx, SCOPE, PLAN)
        shown = await orchestrator.list_tasks(tx, SCOPE, PLAN, [], 10)
    assert row is not None
    assert (plan.state, plan.objective, plan.slots, plan.inputs) == ("failed", "[erased]", {}, ())
    assert (row["objective"], row["failure"], row["state"]) == (plan.objective, plan.failure, plan.state)
    assert {t["task_id"]: (t["title"], t["failure"]) for t in shown} == {
        name: (run.task.title, run.failure) for name, run in plan.tasks.items()
    }
    assert ([t["title"] for t in tasks], given) == (["[erased]"] * 2, [])


async def test_a_person_comes_back_under_a_new_key(world: World) -> None:
    await world.job(PLAN, "ana", CANARY)
    await world.privacy.erase(order())
    await world.job(NEXT, "ana", "fresh-word")
    async with world.fleet.database.tenant_tx(SCOPE) as tx:
        plan = (await planner.load_plan(tx, SCOPE, NEXT)).plan
    assert plan.objective == "fresh-word"
    assert world.where(CANARY) == []


async def test_a_plan_that_is_not_over_keeps_the_data(world: World) -> None:
    await world.job(PLAN, "ana", CANARY)
    await world.fleet.create(NEXT, [task(1)])
    with pytest.raises(errors.PlanStateConflict, match=NEXT):
        await world.privacy.erase(order())
    before = world.where(CANARY)
    assert before
    await world.fleet.command(NEXT, "cancel", "r-cancel")
    await world.privacy.erase(order())
    assert world.where(CANARY) == []


async def test_a_request_that_may_still_become_a_plan_keeps_the_data(world: World) -> None:
    async with world.fleet.database.tenant_tx(SCOPE) as tx:
        await append(tx, world._asked(PLAN, "ana", CANARY))
        await orchestrator.keep_request(tx, SCOPE, "CreatePlan", "rq-x", "f", {"plan_id": PLAN, "objective": CANARY})
    with pytest.raises(errors.PlanStateConflict, match="being created"):
        await world.privacy.erase(order())
    world.admin.execute(b"UPDATE haas.requests SET created_at = now() - interval '2 minutes'")
    await world.privacy.erase(order())
    assert world.where(CANARY) == []


async def test_the_same_order_again_answers_the_same(world: World) -> None:
    await world.job(PLAN, "ana", CANARY)
    first = await world.privacy.erase(order())
    assert dataclasses.asdict(await world.privacy.erase(order())) == dataclasses.asdict(first)
    with pytest.raises(errors.RequestIdReused):
        await world.privacy.erase(order("eva"))
    again = await world.privacy.erase(order(request_id="rq-2"))
    assert (list(again.key_ids), again.plans) == ([], 1)


async def test_everything_leaves_nothing_of_anybody(world: World) -> None:
    await world.job(PLAN, "ana", CANARY)
    await world.job(OTHERS, "eva", "other-word")
    done = await world.privacy.erase(order("*"))
    assert world.where(CANARY) == world.where("other-word") == []
    assert done.plans == 2
    assert world.admin.execute(b"SELECT count(*) FROM haas.data_keys WHERE wrapped IS NOT NULL").fetchone() == (0,)


async def test_a_crash_before_the_blobs_are_deleted_is_made_up_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.job(PLAN, "ana", CANARY)

    async def dies(self: Privacy, scope: Scope) -> None:
        raise ConnectionResetError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Privacy, "delete_blobs", dies)
        with pytest.raises(ConnectionResetError):
            await world.privacy.erase(order())
    assert len(world.where(CANARY)) == 3, "the files alone"
    await Privacy(world.fleet.database, world.fleet.doorbell, world.blobs).resume()
    assert world.where(CANARY) == []


async def test_an_upload_of_the_same_bytes_after_the_erasure_stays(world: World) -> None:
    await world.job(PLAN, "ana", CANARY)
    fleet = world.fleet
    erased = world.privacy.delete_blobs

    async def uploads_first(scope: Scope) -> None:
        await inputs.keep(
            fleet.database, fleet.doorbell, world.blobs, SCOPE, "eva", "mine.txt", CANARY.encode(), lenient=False
        )
        await erased(scope)

    world.privacy.delete_blobs = uploads_first  # type: ignore[method-assign]
    await world.privacy.erase(order())
    left = world.where(CANARY)
    assert len(left) == 1
    assert Path(left[0]).read_bytes() == CANARY.encode()


async def test_what_was_erased_is_known_as_erased(world: World) -> None:
    await world.job(PLAN, "ana", CANARY)
    await world.job(OTHERS, "eva", "other-word")
    refs = world.admin.execute(b"SELECT payload ->> 'ref' FROM haas.events WHERE event_type = 'ArtifactProduced'")
    mine, others = sorted(refs.fetchall(), key=lambda r: "other-word" in world.blobs.read(SCOPE, r[0]).decode())
    await world.privacy.erase(order())
    async with world.fleet.database.tenant_tx(SCOPE) as tx:
        assert await erased_refs(tx, SCOPE, [mine[0], others[0]]) == {mine[0]}


async def test_the_history_tells_of_it_without_the_name(world: World) -> None:
    await world.job(PLAN, "ana", CANARY)
    done = await world.privacy.erase(order())
    row = world.admin.execute(
        b"SELECT stream, actor, payload FROM haas.events WHERE event_type = 'DataErased'"
    ).fetchone()
    assert row is not None
    assert (row[0], row[1]) == (f"erasure/{done.subject_hash}", "boss")
    assert "ana" not in json.dumps(row[2]).replace(done.subject_hash, "")
    assert row[2]["key_ids"] == list(done.key_ids)
    # Who verifies the history knows which bytes are gone for a reason.
    assert len(row[2]["refs"]) == done.blobs > 0


async def test_work_of_others_goes_on_meanwhile(world: World) -> None:
    """Jobs run while people are erased: each comes to its end, and is whole."""
    await world.job(PLAN, "ana", CANARY)
    stop = asyncio.Event()

    async def erase_often() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            await world.privacy.erase(order(request_id=f"rq-{number}"))
        return number

    eraser = asyncio.create_task(erase_often())
    for number in range(4):
        await world.job(f"pl-0000001{number}", "eva", f"word-{number}")
    stop.set()
    assert await eraser > 3
    async with world.fleet.database.tenant_tx(SCOPE) as tx:
        for number in range(4):
            plan = (await planner.load_plan(tx, SCOPE, f"pl-0000001{number}")).plan
            assert plan.objective == f"word-{number}"
    world.check_chain()


async def test_an_envelope_that_was_not_sent_yet_says_nothing_of_an_erased_person(
    world: World, database: TestDatabase
) -> None:
    """The relay that has just used the key reads an erased plan's events: what it sends holds nothing of them."""
    await world.job(PLAN, "ana", CANARY)
    world.admin.execute(b"DELETE FROM haas.notifications")
    world.admin.execute(b"UPDATE haas.relay_cursors SET xid = '0', id = 0")
    other = await Database.open(database.app_dsn, database.context_key, "test")
    try:
        await Privacy(other, world.fleet.doorbell, world.blobs).erase(order())
    finally:
        await other.close()
    relay = Relay(Lease("relay/notifier", world.lease()), world.fleet.database, world.fleet.doorbell)
    assert await settled(relay, world.fleet.doorbell) > 0
    assert world.where(CANARY) == []
