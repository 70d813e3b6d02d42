"""Calls of one project that end at the same time: few transactions, and each with its own result, event and fault."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc.aio
import psycopg
import pytest

from haas_common import errors, structs
from haas_common.db import Scope
from haas_common.eventstore import NewEvent
from haas_mcp import store
from haas_mcp.domain import Grant
from tests.integration.test_mcp_service import World, web, world

__all__ = ["web", "world"]  # fixtures
CALLS = 32
REF = "sha256:" + "0" * 64


class Crowd:
    """A tool whose calls all end at once, when the last one has come; each gives its own number."""

    def __init__(self) -> None:
        self.inside = 0
        self.full = asyncio.Event()
        self.go = asyncio.Event()

    async def run(self, grant: Grant, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        self.inside += 1
        if self.inside == CALLS:
            self.full.set()
        await self.go.wait()
        number = int(grant.invocation.request_id.removeprefix("rq-"))
        if number == 7:
            raise errors.ToolFailed("seven", cause="seven")
        return {"rows": number, "broken_rows": 0, "columns": [], "results": {}}


@pytest.fixture
def crowd(world: World, monkeypatch: pytest.MonkeyPatch) -> Crowd:
    made = Crowd()
    monkeypatch.setitem(world.servicer._parts.runners, "data.table", made)
    monkeypatch.setattr(world.servicer._parts.slots, "_per_tenant", 2 * CALLS)
    return made


async def all_at_once(world: World, crowd: Crowd, before: Callable[[], None] = lambda: None) -> list[Any]:
    """Calls CALLS times; `before` runs when all have a claim and none has ended."""
    calls = [asyncio.create_task(world.invoke("data.table", {"ref": REF}, request_id=f"rq-{n}")) for n in range(CALLS)]
    await crowd.full.wait()
    await asyncio.to_thread(before)
    crowd.go.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return [errors.from_rpc(a) if isinstance(a, grpc.aio.AioRpcError) else a for a in answers]


def outcomes(world: World) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for event in world.events():
        assert event["stream"] == f"tool/{event['payload']['request_id']}"
        found.setdefault(event["payload"]["request_id"], []).append(event["payload"]["outcome"])
    return found


def causes(world: World) -> list[tuple[str, str]]:
    """What led to each event, and what it belongs to."""
    with psycopg.connect(world.admin_dsn) as connection:
        return connection.execute("SELECT causation_id, correlation_id FROM haas.events").fetchall()


def transactions(world: World) -> int:
    """How many transactions the history was written in."""
    with psycopg.connect(world.admin_dsn) as connection:
        row = connection.execute("SELECT count(DISTINCT xmin::text) FROM haas.events").fetchone()
    assert row is not None
    return row[0]


async def test_many_calls_of_a_project_end_in_few_transactions_each_with_its_own(world: World, crowd: Crowd) -> None:
    def taken_over() -> None:
        with psycopg.connect(world.admin_dsn, autocommit=True) as connection:
            connection.execute("UPDATE haas.requests SET claim_token = 'another' WHERE request_id = 'rq-9'")

    answers = await all_at_once(world, crowd, taken_over)
    failed = {n: a.reason for n, a in enumerate(answers) if isinstance(a, errors.HaasError)}
    assert failed == {7: "TOOL_FAILED", 9: "LEASE_LOST"}
    rows = {n: structs.read_struct(a.result)["rows"] for n, a in enumerate(answers) if n not in failed}
    assert rows == {n: n for n in range(CALLS) if n not in failed}
    expected = {f"rq-{n}": [failed.get(n, "OK")] for n in range(CALLS)}
    assert outcomes(world) == expected
    assert len({cause for cause, _ in causes(world) if cause}) == CALLS, "each names its own call, not its neighbour's"
    assert all(cause == belongs for cause, belongs in causes(world))
    kept = {request: result for request, result in world.requests() if result is not None}
    assert {request: result["result"]["rows"] for request, result in kept.items()} == {f"rq-{n}": n for n in rows}
    # One for each that failed; the others share one or a few.
    assert transactions(world) <= 2 + 6
    again = await world.invoke("data.table", {"ref": REF}, request_id="rq-3")
    assert (again.replayed, structs.read_struct(again.result)["rows"]) == (True, 3)


async def test_an_event_that_cannot_be_kept_fails_its_own_call_alone(
    world: World, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "event_of", functools.partial(unless_five, store.event_of))
    answers = await all_at_once(world, crowd)
    failed = {n: a.reason for n, a in enumerate(answers) if isinstance(a, errors.HaasError)}
    assert failed == {5: "INTERNAL_ERROR", 7: "TOOL_FAILED"}
    assert outcomes(world) == {f"rq-{n}": [failed.get(n, "OK")] for n in range(CALLS)}
    assert {request for request, _ in world.requests()} == {f"rq-{n}" for n in range(CALLS) if n not in failed}


def unless_five(made: Callable[..., NewEvent], call: Any, type_: str, payload: dict[str, Any], **how: bool) -> NewEvent:
    """An event; that of the fifth call's success breaks its type."""
    broken = call.request_id == "rq-5" and payload["outcome"] == "OK"
    return made(call, type_, {**payload, "duration_ms": "long"} if broken else payload, **how)


async def test_a_caller_that_leaves_while_its_result_is_committed_is_recorded_once_and_replayed(
    world: World, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, leaving = asyncio.Event(), asyncio.Event()
    real_end, real_release = store.end, store.release

    async def end(tx: Any, scope: Scope, endings: Sequence[store.Ending]) -> list[bool]:
        found = await real_end(tx, scope, endings)
        written.set()
        await leaving.wait()
        return found

    async def release(*arguments: Any) -> bool:
        leaving.set()
        return await real_release(*arguments)

    monkeypatch.setattr(store, "end", end)
    monkeypatch.setattr(store, "release", release)
    crowd.go.set()
    running = asyncio.create_task(world.invoke("data.table", {"ref": REF}, request_id="rq-1"))
    await written.wait()
    ended = world.servicer._invocations._under_way[Scope("t-one", "p-one"), "rq-1"]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await ended.wait()
    assert outcomes(world) == {"rq-1": ["OK"]}
    assert (await world.invoke("data.table", {"ref": REF}, request_id="rq-1")).replayed


async def test_a_result_with_a_nul_is_kept_as_it_is(
    world: World, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {"rows": 1, "broken_rows": 0, "columns": [], "results": {"q\0": [{"a": 'b\0"\\ñ'}]}}

    async def run(grant: Grant, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return odd

    monkeypatch.setattr(crowd, "run", run)
    assert await world.result("data.table", {"ref": REF}, request_id="rq-1") == odd
    again = await world.invoke("data.table", {"ref": REF}, request_id="rq-1")
    assert (again.replayed, structs.read_struct(again.result)) == (True, odd)
