"""Webhooks on the real engine: made by an admin, taken once, of one project and no other."""

import dataclasses
import json
from collections.abc import AsyncIterator

import psycopg
import pytest

from haas_client.webhooks import signed
from haas_common import errors
from haas_common.db import Scope
from haas_common.db.queries import Query
from haas_planner.graph import Slot, Task, task_to_json
from haas_planner.hooks import domain
from haas_planner.hooks.domain import Hook
from haas_planner.hooks.operations import Hooks
from haas_planner.store import Command
from tests.integration.conftest import TestDatabase
from tests.integration.test_planner_shard import SCOPE, Fleet, done, fleet_of

PLAN, OTHER = "pl-00000001", Scope("t-two", "p-one")
TOLD = Query("told", "", "SELECT event_type, actor, payload FROM events WHERE stream = %(s)s ORDER BY version")
EVERYTHING = Query("everything", "", "SELECT payload::text AS text FROM events")


@dataclasses.dataclass
class World:
    """An engine with a plan that waits to be paid, and its hooks."""

    fleet: Fleet
    hooks: Hooks

    async def send(
        self,
        secret: str,
        body: object,
        *,
        plan_id: str = "",
        address: str = "t-one.p-main.pay",
        message_id: str = "m-1",
    ) -> str:
        """Sends a webhook; returns the reason for which it is refused, if it is."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            await self.hooks.receive(address, plan_id, signed(secret, text, message_id), text, "")
        except errors.HaasError as error:
            return error.reason
        return ""

    async def told(self, stream: str = f"plan/{PLAN}", type_: str = "SignalReceived") -> list[tuple[str, dict]]:
        async with self.fleet.database.tenant_tx(SCOPE) as tx:
            rows = await tx.all(TOLD, s=stream)
        return [(row["actor"], row["payload"]) for row in rows if type_ in ("", row["event_type"])]

    async def put(self, hook_id: str = "pay", scope: Scope = SCOPE, **more: object) -> str:
        _, secret = await self.hooks.put(Hook(scope, hook_id, "paid", "data.plan", "data.{sum: sum}"), "ana", **more)
        return secret


@pytest.fixture
async def world(database: TestDatabase) -> AsyncIterator[World]:
    async with fleet_of(database, done) as fleet:
        with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
            admin.execute("INSERT INTO haas.tenants (tenant_id) VALUES ('t-two') ON CONFLICT DO NOTHING")
            admin.execute(
                "INSERT INTO haas.projects (tenant_id, project_id) VALUES ('t-two', 'p-one') ON CONFLICT DO NOTHING"
            )
        made = World(fleet, Hooks(fleet.database, fleet.operations))
        wait = Task(
            "T-1", "wait", "wait", "Paid", "", (), (Slot("paid", "value.paid"),),
            control={"signal": "paid", "timeout_s": 600},
        )  # fmt: skip
        other = dataclasses.replace(
            wait, task_id="T-2", writes=(Slot("other", "value.paid"),), control={"signal": "other", "timeout_s": 600}
        )
        facts = {
            "objective": "o", "intent": "i", "language": "es", "slots": {}, "brief_artifact_id": "artf-brief",
            "profile_id": "medluxe_v1", "profile_version": 1, "goals": [], "inputs": [],
        }  # fmt: skip
        body = {"facts": facts, "tasks": [task_to_json(wait), task_to_json(other)]}
        for kind, told in (("create", body), ("run", {})):
            command = Command(SCOPE, PLAN, f"r-{kind}", kind, told, "ana", "")
            await fleet.operations.decide(command, must_exist=kind != "create")
        yield made


async def test_a_webhook_signals_its_plan_once_however_often_it_is_sent(world: World) -> None:
    secret = await world.put()
    body = {"data": {"plan": PLAN, "sum": 12, "card": "4111"}}
    assert [await world.send(secret, body) for _ in range(3)] == ["", "", ""]
    assert len(signals := await world.told()) == 1
    assert (signals[0][0], signals[0][1]["name"]) == ("hook/pay", "paid")
    assert await world.send(secret, {"data": {"plan": PLAN, "sum": 13}}) == "REQUEST_ID_REUSED"
    assert (
        await world.send(secret, {"data": {"plan": "pl-00000009", "sum": 1}}, message_id="m-2") == "RESOURCE_NOT_FOUND"
    )
    assert len(await world.told()) == 1


async def test_a_refused_webhook_changes_nothing(world: World) -> None:
    secret = await world.put()
    body = {"data": {"plan": PLAN, "sum": 12}}
    other = domain.secret_text(bytes(32))
    assert await world.send(other, body) == "TOKEN_INVALID"
    assert await world.send(secret, body, address="t-one.p-main.none") == "TOKEN_INVALID"
    assert await world.send(secret, body, address="t-none.p-none.pay") == "TOKEN_INVALID"
    assert await world.send(secret, b"{") == "FIELD_INVALID"
    assert await world.send(secret, {"data": {"sum": 12}}) == "FIELD_INVALID"
    assert await world.told() == []
    # A URL that names the plan needs no plan_path.
    assert await world.send(secret, {"data": {"sum": 12}}, plan_id=PLAN) == ""


async def test_a_hook_of_one_project_signals_no_plan_of_another(world: World) -> None:
    mine, theirs = await world.put(), await world.put(scope=OTHER)
    body = {"data": {"plan": PLAN, "sum": 12}}
    assert await world.send(theirs, body) == "TOKEN_INVALID"
    assert await world.send(mine, body, address="t-two.p-one.pay") == "TOKEN_INVALID"
    assert await world.send(theirs, body, address="t-two.p-one.pay") == "RESOURCE_NOT_FOUND"
    assert await world.told() == []
    assert [one.scope for one in await world.hooks.listed(OTHER)] == [OTHER]


async def test_a_hook_is_changed_gets_a_new_secret_and_goes_and_each_is_an_event(world: World) -> None:
    first = await world.put()
    assert await world.put() == ""
    second = await world.put(new_secret=True)
    assert first != second
    body = {"data": {"plan": PLAN, "sum": 12}}
    assert await world.send(first, body) == "TOKEN_INVALID"
    changed, none = await world.hooks.put(Hook(SCOPE, "pay", "paid", "data.plan", ""), "ana")
    assert (none, [one.value_path for one in await world.hooks.listed(SCOPE)]) == ("", [""])
    assert changed.updated_at is not None
    assert await world.send(second, body) == ""
    await world.hooks.remove(SCOPE, "pay", "ana")
    assert await world.send(second, body, message_id="m-2") == "TOKEN_INVALID"
    with pytest.raises(errors.ResourceNotFound):
        await world.hooks.remove(SCOPE, "pay", "ana")
    told = await world.told("hook/pay", "")
    assert [payload.get("new_secret") for _, payload in told] == [True, True, False, None]


async def test_a_secret_stands_nowhere_in_the_clear(world: World, database: TestDatabase) -> None:
    secret = await world.put()
    async with world.fleet.database.tenant_tx(SCOPE) as tx:
        assert not [row for row in await tx.all(EVERYTHING) if secret in row["text"]]
    with psycopg.connect(database.admin_dsn) as admin:
        row = admin.execute("SELECT secret, t::text FROM haas.hooks AS t").fetchone()
    assert row is not None
    assert secret not in row[1]
    assert len(row[0]) > domain.SECRET_BYTES


async def test_a_project_has_a_bounded_number_of_hooks(world: World, monkeypatch) -> None:
    monkeypatch.setattr(domain, "HOOKS_MAX", 2)
    assert await world.put("a")
    assert await world.put("b")
    with pytest.raises(errors.PayloadTooLarge):
        await world.put("c")
    assert await world.put("b", new_secret=True)
    with pytest.raises(errors.FieldInvalid):
        await world.hooks.put(Hook(SCOPE, "b", "paid", "a[", ""), "ana")


async def test_a_secret_that_was_changed_in_the_database_opens_nothing(world: World, database: TestDatabase) -> None:
    secret = await world.put()
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("UPDATE haas.hooks SET secret = secret || '\\x00'::bytea")
    assert await world.send(secret, {"data": {"plan": PLAN, "sum": 12}}) == "HASH_MISMATCH"
    assert await world.told() == []
