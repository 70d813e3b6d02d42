"""Personal data is stored sealed, opens nowhere but in its place, and is gone with its key."""

import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haas_common import errors
from haas_common.config import ConfigInvalid
from haas_common.db import Database, Scope
from haas_common.eventstore import NewEvent, append
from haas_common.key_ring import KeyRing
from haas_common.rewrapping import rewrap_all
from haas_common.sealing import Stored, Vault, is_sealed, sealed_form
from haas_common.sockets import short_url
from tests.integration.conftest import TestDatabase
from tests.support.plans import Plans

ONE, TWO, OTHER = Scope("t-one", "p-one"), Scope("t-one", "p-two"), Scope("t-two", "p-one")
CANARY = "canary-5a1e"


@pytest.fixture
def plans(database: TestDatabase) -> Iterator[Plans]:
    found = Plans(database.admin_dsn)
    for scope in (ONE, TWO, OTHER):
        found.project(scope)
    yield found
    found.close()


@pytest.fixture
async def doors(database: TestDatabase, plans: Plans) -> AsyncIterator[Database]:
    opened = await Database.open(database.app_dsn, database.context_key, "test")
    yield opened
    await opened.close()


def intent(scope: Scope = ONE, subject: str = "ana", text: str = CANARY, **slots: str) -> NewEvent:
    payload = {"text": text, "intent": "plan", "slots": slots, "confidence": 0.5, "language": "es", "engine": "offline"}
    return NewEvent(scope, "intent/pl-1", "IntentDetected", payload, subject or "planner", subject=subject)


async def kept(doors: Database, plans: Plans, event: NewEvent) -> Stored:
    """Appends an event, returns it as it is stored."""
    async with doors.tenant_tx(event.scope) as tx:
        seq = (await append(tx, [event]))[0].seq
    rows = plans.execute(
        "SELECT payload FROM events WHERE tenant_id = %s AND project_id = %s AND seq = %s",
        event.scope.tenant_id, event.scope.project_id, seq,
    )  # fmt: skip
    return Stored(event.scope, event.stream, event.type, rows[0][0])


async def opened(doors: Database, stored: Stored) -> dict[str, Any]:
    async with doors.tenant_tx(stored.scope) as tx:
        return await tx.vault.open_one(tx, stored)


def destroy(plans: Plans, subject: str = "ana") -> None:
    plans.execute(
        "UPDATE data_keys SET wrapped = NULL, destroyed_at = now() WHERE subject = %s AND wrapped IS NOT NULL", subject
    )


async def test_a_personal_value_is_stored_sealed_and_read_in_the_clear(doors: Database, plans: Plans) -> None:
    event = intent(where=CANARY)
    stored = await kept(doors, plans, event)
    assert CANARY not in json.dumps(stored.payload)
    assert is_sealed(stored.payload["text"])
    assert stored.payload["intent"] == "plan"
    assert await opened(doors, stored) == event.payload


async def test_what_is_not_personal_asks_for_no_key(doors: Database, plans: Plans) -> None:
    event = NewEvent(ONE, "plan/pl-1", "TaskCompleted", {"attempt": 1, "outputs": {"a": "artf-1"}}, "planner")
    stored = await kept(doors, plans, event)
    assert stored.payload == event.payload
    assert plans.execute("SELECT count(*) FROM data_keys") == [(0,)]


async def test_a_subject_has_one_living_key_in_a_project(doors: Database, plans: Plans) -> None:
    for scope, subject in ((ONE, "ana"), (ONE, "ana"), (ONE, ""), (TWO, "ana"), (OTHER, "ana")):
        await kept(doors, plans, intent(scope, subject))
    rows = plans.execute("SELECT tenant_id, project_id, subject FROM data_keys ORDER BY 1, 2, 3")
    assert rows == [
        ("t-one", "p-one", ""),
        ("t-one", "p-one", "ana"),
        ("t-one", "p-two", "ana"),
        ("t-two", "p-one", "ana"),
    ]


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_characters="\0", codec="utf-8")),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(st.characters(exclude_characters="\0", codec="utf-8")), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_json_comes_back_as_it_was(doors: Database, plans: Plans, value: Any) -> None:
    task = {
        "task_id": "T-1", "kind": "tool", "skill": "s", "title": "t", "owner_agent_id": "a", "reads": [], "writes": [],
        "params": {"value": value}, "attempts_max": 1, "attempt_limit_s": 1,
    }  # fmt: skip
    event = NewEvent(ONE, "plan/pl-1", "TaskPlanned", {"task": task, "parent": ""}, "ana", task_id="T-1", subject="ana")
    stored = await kept(doors, plans, event)
    assert is_sealed(stored.payload["task"]["params"])
    assert await opened(doors, stored) == json.loads(json.dumps(event.payload))


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"stream": "intent/pl-2"}, {"type": "InputUploaded"}, {"scope": TWO}, {"scope": OTHER}, {"payload": "swapped"},
        {"payload": "cut"},
    ],
    ids=["stream", "type", "project", "tenant", "path", "changed"],
)  # fmt: skip
async def test_a_sealed_value_opens_nowhere_else(doors: Database, plans: Plans, elsewhere: dict[str, Any]) -> None:
    stored = await kept(doors, plans, intent(where="x"))
    for scope in (TWO, OTHER):
        await kept(doors, plans, intent(scope))
    text = stored.payload["text"]
    place = {
        "scope": stored.scope,
        "stream": stored.stream,
        "type": stored.type,
        "payload": stored.payload,
        **elsewhere,
    }
    if place["type"] == "InputUploaded":
        place["payload"] = {"name": text}
    if place["payload"] == "swapped":
        place["payload"] = {**stored.payload, "text": stored.payload["slots"]}
    if place["payload"] == "cut":
        place["payload"] = {**stored.payload, "text": {**text, "data": text["data"][:-8] + "AAAAAAAA"}}
    with pytest.raises(errors.HashMismatch) as caught:
        await opened(doors, Stored(**place))
    assert CANARY not in str(caught.value)
    async with doors.tenant_tx(place["scope"]) as tx:
        shown = await tx.vault.open_all(tx, [Stored(**place)], lenient=True)
    assert CANARY not in json.dumps({**shown[0], "slots": {}}), "whoever shows a history shows it as it is stored"


async def test_another_projects_key_of_the_same_id_opens_nothing(doors: Database, plans: Plans) -> None:
    """A superuser who copies a key's row to another tenant has copied nothing: it is wrapped for its own place."""
    stored = await kept(doors, plans, intent())
    plans.execute(
        "INSERT INTO data_keys (tenant_id, project_id, key_id, subject, wrapped)"
        " SELECT 't-two', project_id, key_id, subject, wrapped FROM data_keys WHERE tenant_id = 't-one'"
    )
    with pytest.raises(errors.HashMismatch):
        await opened(doors, Stored(OTHER, stored.stream, stored.type, stored.payload))


async def test_with_its_key_a_value_is_gone_and_keeps_its_kind(
    doors: Database, plans: Plans, database: TestDatabase
) -> None:
    mine, others = await kept(doors, plans, intent(where="x")), await kept(doors, plans, intent(subject="eva"))
    destroy(plans)
    fresh = await Database.open(database.app_dsn, database.context_key, "test")
    try:
        found = await opened(fresh, mine)
        assert (found["text"], found["slots"], found["intent"]) == ("[erased]", {}, "plan")
        assert (await opened(fresh, others))["text"] == CANARY
    finally:
        await fresh.close()


async def test_nothing_is_sealed_under_a_key_that_was_destroyed(doors: Database, plans: Plans) -> None:
    """The key is asked for at every append: a process that has used it a moment ago makes a new one."""
    before = await kept(doors, plans, intent())
    destroy(plans)
    after = await kept(doors, plans, intent())
    assert before.payload["text"]["$sealed"] != after.payload["text"]["$sealed"]
    assert (await opened(doors, after))["text"] == CANARY


async def test_a_key_is_destroyed_only_once_what_was_sealed_under_it_is_committed(
    doors: Database, plans: Plans, database: TestDatabase
) -> None:
    await kept(doors, plans, intent())
    with psycopg.connect(short_url(database.admin_dsn), autocommit=True) as eraser:
        async with doors.tenant_tx(ONE) as tx:
            await append(tx, [intent()])
            with pytest.raises(psycopg.errors.LockNotAvailable):
                eraser.execute("SELECT 1 FROM haas.data_keys FOR UPDATE NOWAIT")
        assert eraser.execute("SELECT 1 FROM haas.data_keys FOR UPDATE NOWAIT").fetchone() == (1,)


async def test_the_limit_is_on_what_is_stored(doors: Database, plans: Plans) -> None:
    fits, too_long = "x" * 23_000, "x" * 26_000
    assert len((await kept(doors, plans, intent(text=fits))).payload["text"]["data"]) > 30_000
    with pytest.raises(ValueError, match="32768"):
        await kept(doors, plans, intent(text=too_long))
    assert sealed_form("IntentDetected", {"text": fits})["text"]["data"].count("x") in range(30_000, 32_000)


async def test_no_key_is_told_in_an_error_or_the_log(
    doors: Database, plans: Plans, data_key: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stored = await kept(doors, plans, intent())
    ring = KeyRing(data_key)
    wrapped = plans.execute("SELECT wrapped, key_id FROM data_keys")[0]
    key = ring.unwrap(wrapped[0], ONE, wrapped[1])
    with pytest.raises(errors.HashMismatch) as caught:
        ring.unwrap(wrapped[0], TWO, wrapped[1])
    with pytest.raises(errors.HashMismatch) as caught_too:
        await opened(doors, Stored(ONE, "intent/pl-2", stored.type, stored.payload))
    told = f"{caught.value!r} {caught_too.value!r} {caplog.text}"
    for secret in (key, data_key.read_text().strip()):
        raw = secret if isinstance(secret, bytes) else bytes.fromhex(secret)
        assert raw.hex() not in told
        assert base64.b64encode(raw).decode() not in told


async def test_the_fleets_key_is_replaced_and_everything_still_opens(
    doors: Database, plans: Plans, database: TestDatabase, tmp_path: Path, data_key: Path
) -> None:
    stored = await kept(doors, plans, intent())
    path = tmp_path / "data.key"
    path.write_text(f"{bytes(range(64, 96)).hex()}\n{data_key.read_text()}")
    ring = KeyRing(path)
    assert await rewrap_all(doors, ring) == 1
    assert await rewrap_all(doors, ring) == 0
    path.write_text(f"{bytes(range(64, 96)).hex()}\n")
    only_new = await Database.open(database.app_dsn, database.context_key, "test", data_key=path)
    try:
        assert (await opened(only_new, stored))["text"] == CANARY
    finally:
        await only_new.close()


async def test_without_the_fleets_key_what_is_personal_is_refused(doors: Database, plans: Plans) -> None:
    async with doors.tenant_tx(ONE) as tx:
        with pytest.raises(ConfigInvalid):
            await Vault(None).seal_all(tx, [intent()])


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, f"{'00' * 32}\n11"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.key"
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=str(path)):
        KeyRing(path).wrap(bytes(32), ONE, "dk-1")
