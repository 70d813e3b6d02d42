"""The history and the inbox as their readers see them: gapless, resumable, each its own."""

import asyncio
import json
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from haas.notifier.v1 import notifier_pb2 as pb
from haas_common import errors
from haas_notifier import store
from haas_notifier.operations import STREAM_BYTES_MAX, STREAM_EVENTS_MAX
from tests.integration.conftest import TestDatabase
from tests.support.notifier import IDS, ONE, OWNERS, PLAN, World, frames, reason_of, world_of
from tests.support.plans import happen


@pytest.fixture
async def world(database: TestDatabase, tmp_path) -> AsyncIterator[World]:
    async with world_of(database, tmp_path) as found:
        yield found


# ── The history ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_gives_what_was_and_then_what_comes_without_a_gap(world):
    for _ in range(3):
        await world.happen()
    call = world.events_sse()
    assert (await call.read()).data == b"retry: 2000\n\n"
    seen = await frames(call, count=3)
    for _ in range(4):
        await world.happen()
    seen += await frames(call, count=4)
    call.cancel()
    assert [f["id"] for f in seen] == [str(n) for n in range(1, 8)]


async def test_a_frame_is_the_event_as_rest_gives_it(world):
    await world.happen("TaskFailed", message="línea\nñ ☃")
    call = world.events_sse()
    (frame,) = await frames(call, count=1)
    call.cancel()
    (event,) = (await world.stub.ListEvents(pb.ListEventsRequest(**IDS), metadata=world.token())).events
    shown = json.loads(frame["data"])
    assert (frame["event"], shown["seq"], shown["hash"], shown["plan_id"]) == ("TaskFailed", "1", event.hash, PLAN)
    assert json.loads(shown["payload_json"]) == json.loads(event.payload_json)
    assert json.loads(event.payload_json)["message"] == "línea\nñ ☃"


async def test_the_streams_headers_keep_caches_and_buffers_out(world):
    await world.happen()
    call = world.events_sse()
    headers = dict(await call.initial_metadata())
    call.cancel()
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")


async def test_a_broken_stream_goes_on_after_the_last_id_wherever_it_broke(world):
    total, seen, resumes = 25, [], 0
    writer = asyncio.create_task(_write(world, total))
    while len(seen) < total:
        call = world.events_sse(last_id=seen[-1] if seen else "0", from_seq=0)
        seen += [f["id"] for f in await frames(call, count=min(3 + resumes % 4, total - len(seen)))]
        call.cancel()
        resumes += 1
    await writer
    assert resumes > 4
    assert seen == [str(n) for n in range(1, total + 1)]


async def _write(world: World, total: int) -> None:
    for _ in range(total):
        await world.happen()


async def test_the_header_beats_the_field(world):
    for _ in range(4):
        await world.happen()
    call = world.events_sse(last_id="2", from_seq=1)
    assert [f["id"] for f in await frames(call, count=2)] == ["3", "4"]
    call.cancel()


async def test_a_plans_stream_ends_after_its_last_event(world):
    await world.happen("PlanStarted", "")
    await world.happen("TaskStarted", plan_id="pl-00000002")
    call = world.events_sse(plan_id=PLAN)
    first = await frames(call, count=1)
    last = await world.happen("PlanCompleted", "")
    rest = await frames(call)
    assert [f["event"] for f in first + rest] == ["PlanStarted", "PlanCompleted", "end"]
    assert (rest[0]["id"], json.loads(rest[1]["data"]), "id" in rest[1]) == (str(last), {"state": "completed"}, False)


async def test_whoever_comes_back_after_a_plans_last_event_gets_the_end_at_once(world):
    last = await world.happen("PlanFailed", "")
    world.plans.state(ONE, PLAN, "failed")
    call = world.events_sse(plan_id=PLAN, last_id=str(last))
    assert [(f["event"], f["data"]) for f in await frames(call)] == [("end", '{"state": "failed"}')]


async def test_a_stream_goes_past_the_end_of_a_plan_that_was_reopened(world):
    """It ends where the plan ended last, wherever it begins."""
    await world.happen("PlanFailed", "")
    again = await world.happen("PlanReopened", "")
    world.plans.last_seq(ONE, PLAN, again)
    call = world.events_sse(plan_id=PLAN)
    first = await frames(call, count=2)
    last = await world.happen("PlanFailed", "")
    world.plans.last_seq(ONE, PLAN, last)
    world.plans.state(ONE, PLAN, "failed")
    world.doorbell.ring("events")
    kinds = ["PlanFailed", "PlanReopened", "PlanFailed", "end"]
    assert [f["event"] for f in first + await frames(call)] == kinds
    assert [f["event"] for f in await frames(world.events_sse(plan_id=PLAN))] == kinds
    assert [f["event"] for f in await frames(world.events_sse(plan_id=PLAN, last_id=str(again)))] == kinds[2:]


async def test_a_stream_over_grpc_ends_with_its_plan_too(world):
    await world.happen("TaskStarted")
    await world.happen("PlanCancelled", "")
    request = pb.StreamEventsRequest(**IDS, plan_id=PLAN)
    answers = [a async for a in world.stub.StreamEvents(request, metadata=world.token(), timeout=20)]
    assert [(a.event.seq, a.event.type) for a in answers] == [(1, "TaskStarted"), (2, "PlanCancelled")]


async def test_a_stream_over_grpc_answers_before_anything_happens(world):
    call = world.stub.StreamEvents(pb.StreamEventsRequest(**IDS), metadata=world.token(), timeout=20)
    await asyncio.wait_for(call.initial_metadata(), 10)
    seq = await world.happen()
    assert (await call.read()).event.seq == seq
    call.cancel()


async def test_what_cannot_begin_is_refused_before_the_first_frame(world):
    await world.happen()
    assert await reason_of(world.events_sse(plan_id="pl-99999999")) == "RESOURCE_NOT_FOUND"
    assert await reason_of(world.events_sse(from_seq=2)) == "CURSOR_OUT_OF_RANGE"
    assert await reason_of(world.events_sse(last_id="7")) == "CURSOR_OUT_OF_RANGE"
    assert await reason_of(world.events_sse(last_id="seven")) == "FIELD_INVALID"
    assert await reason_of(world.inbox_sse(world.token(), from_seq=2)) == "CURSOR_OUT_OF_RANGE"
    request = pb.StreamEventsRequest(**IDS, plan_id="pl-99999999")
    assert await reason_of(world.stub.StreamEvents(request, metadata=world.token(), timeout=20)) == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize(
    ("fault", "reason", "code"),
    [
        (errors.DatabaseUnavailable(), "DATABASE_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE),
        (RuntimeError("the password is hunter2"), "INTERNAL_ERROR", grpc.StatusCode.INTERNAL),
    ],
)
async def test_a_stream_tells_why_it_breaks(world, monkeypatch, fault, reason, code):
    await world.happen()
    whole, pages = store.events_page, []

    async def breaks(*arguments):
        pages.append(arguments)
        if len(pages) > 1:
            raise fault
        return await whole(*arguments)

    monkeypatch.setattr(store, "events_page", breaks)
    call = world.events_sse()
    first, told = await frames(call, until="error")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await frames(call)
    status = json.loads(told["data"])
    assert (first["id"], status["details"][0]["reason"], caught.value.code()) == ("1", reason, code)
    assert "hunter2" not in told["data"]
    assert errors.from_rpc(caught.value).metadata == status["details"][0].get("metadata", {})


async def test_a_stream_tells_that_its_time_is_over(world):
    call = world.events_sse(timeout=2.5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await frames(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    call = world.events_sse(timeout=2.5)
    (told,) = await frames(call, until="error")
    assert json.loads(told["data"])["details"][0]["reason"] == "DEADLINE_PASSED"


async def test_an_open_stream_is_told_that_the_service_ends(world):
    calls = [world.events_sse(), world.inbox_sse(world.token())]
    for call in calls:
        await call.read()  # it is followed now
    await world.heads.farewell()
    for call in calls:
        last = (await frames(call, "error"))[-1]
        assert json.loads(last["data"])["details"][0]["reason"] == "SERVICE_UNAVAILABLE"


async def test_silence_is_filled_with_comments(world):
    call = world.events_sse()
    await call.read()
    assert [(await call.read()).data for _ in range(2)] == [b": keep-alive\n\n"] * 2
    call.cancel()


async def test_a_client_that_does_not_read_holds_a_page_and_no_more(world, monkeypatch):
    for _ in range(12):
        async with world.database.tenant_tx(ONE) as tx:
            for _ in range(25):
                await happen(tx, ONE, "TaskFailed", PLAN, message="x" * 24_000)
    whole, pages = store.events_page, []

    async def counted(*arguments):
        events, more = await whole(*arguments)
        pages.append(sum(len(e.payload_text) for e in events))
        return events, more

    monkeypatch.setattr(store, "events_page", counted)
    call = world.events_sse()
    await call.read()
    for _ in range(3):  # whoever else calls meanwhile is served, and the stream stands
        await world.stub.ListEvents(pb.ListEventsRequest(**IDS, page_size=1), metadata=world.token())
    assert max(pages[1:-3], default=0) <= STREAM_BYTES_MAX + 32 * 1024
    assert sum(pages) < 300 * 24_000
    rest = await frames(call, count=300)
    call.cancel()
    assert [f["id"] for f in rest] == [str(n) for n in range(1, 301)]


async def test_idle_streams_of_a_project_cost_one_look_together(world):
    await world.happen()
    calls = [world.events_sse(last_id="1") for _ in range(20)]
    for call in calls:
        await call.read()
    before = world.heads.looks
    await world.happen()
    seen = [(await frames(call, count=1))[0]["id"] for call in calls]
    for call in calls:
        call.cancel()
    assert seen == ["2"] * 20
    assert world.heads.looks - before <= 3  # the ring, and a slow look that may fall into it


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pages_of_the_history_join_without_a_gap(world):
    for n in range(7):
        await world.happen(plan_id=PLAN if n % 2 else "")
    seen, after, more = [], 0, True
    while more:
        page = await world.stub.ListEvents(
            pb.ListEventsRequest(**IDS, from_seq=after, page_size=3), metadata=world.token()
        )
        seen += [e.seq for e in page.events]
        after, more = page.next_seq, page.more
    assert seen == list(range(1, 8))
    mine = await world.stub.ListEvents(pb.ListEventsRequest(**IDS, plan_id=PLAN), metadata=world.token())
    assert ([e.seq for e in mine.events], mine.more) == ([2, 4, 6], False)
    empty = await world.stub.ListEvents(pb.ListEventsRequest(**IDS, from_seq=7), metadata=world.token())
    assert (len(empty.events), empty.next_seq, empty.more) == (0, 7, False)


async def test_a_page_stays_below_the_size_of_a_message(world):
    async with world.database.tenant_tx(ONE) as tx:
        for _ in range(150):
            await happen(tx, ONE, "TaskFailed", PLAN, message="x" * 24_000)
    page = await world.stub.ListEvents(pb.ListEventsRequest(**IDS, page_size=1000), metadata=world.token())
    assert page.ByteSize() < 4 * 1024 * 1024
    assert page.more
    assert page.next_seq == page.events[-1].seq > STREAM_EVENTS_MAX / 2


async def test_a_cursor_beyond_the_head_is_out_of_range(world):
    await world.happen()
    call = world.stub.ListEvents(pb.ListEventsRequest(**IDS, from_seq=2), metadata=world.token())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    rebuilt = errors.from_rpc(caught.value)
    assert (rebuilt.reason, rebuilt.metadata) == ("CURSOR_OUT_OF_RANGE", {"first_seq": "1", "last_seq": "1"})


async def test_another_project_of_the_tenant_shows_nothing_of_this_one(world):
    await world.happen("PlanCompleted", "")
    await world.relay()
    token = world.token(*OWNERS.values(), projects=("p-one", "p-two"))
    other = {**IDS, "project_id": "p-two"}
    assert not (await world.stub.ListEvents(pb.ListEventsRequest(**other), metadata=token)).events
    assert not (await world.stub.ListNotifications(pb.ListNotificationsRequest(**other), metadata=token)).notifications
    assert await reason_of(world.events_sse(token, project_id="p-two", plan_id=PLAN)) == "RESOURCE_NOT_FOUND"


# ── The inbox ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def inbox(world: World, token, **fields: object) -> list[pb.Notification]:
    found, page_token = [], ""
    while True:
        request = pb.ListNotificationsRequest(**IDS, page_token=page_token, **fields)
        page = await world.stub.ListNotifications(request, metadata=token)
        found += page.notifications
        page_token = page.next_page_token
        if not page_token:
            return found


async def test_an_inbox_holds_its_agents_envelopes_newest_first_and_nobody_elses(world):
    causes = [await world.happen("TaskCompleted", "T-1", outputs={}) for _ in range(3)]
    await world.happen("TaskCompleted", "T-2", outputs={})
    await world.relay()
    found = await inbox(world, world.token("agent.two"))
    assert len(found) == 4
    assert {n.receiver_id for n in found} == {"agent.two"}
    assert [n.content.task_id for n in found] == ["T-2", "T-1", "T-1", "T-1"]
    assert all(n.seq > max(causes) and n.performative == pb.PERFORMATIVE_INFORM and n.send_time.seconds for n in found)
    assert await inbox(world, world.token("agent.bystander")) == []
    assert await inbox(world, world.token()) == []


async def test_pages_of_an_inbox_join_without_a_gap(world):
    for _ in range(3):
        await world.happen("TaskCompleted", "T-1", outputs={})
    await world.happen("PlanCompleted", "")
    await world.relay()
    token = world.token(*OWNERS.values())
    whole = await inbox(world, token)
    assert len(whole) == 6
    assert await inbox(world, token, page_size=1) == await inbox(world, token, page_size=4) == whole


async def test_a_receiver_outside_of_the_token_is_refused(world):
    await world.happen("TaskCompleted", "T-1", outputs={})
    await world.relay()
    call = world.stub.ListNotifications(
        pb.ListNotificationsRequest(**IDS, receiver_id="agent.two"), metadata=world.token("agent.one")
    )
    assert await reason_of(call) == "SCOPE_MISSING"
    assert await inbox(world, world.token("agent.one", "agent.two"), receiver_id="agent.one") == []


async def test_a_requester_sees_its_own_and_no_other_requesters(world):
    async with world.database.tenant_tx(ONE) as tx:
        await happen(tx, ONE, "PlanCreated", actor="ana")
    await world.happen("PlanCompleted", "")
    await world.relay()
    assert [n.receiver_id for n in await inbox(world, world.token(subject="ana"))] == ["requester:ana"]
    assert await inbox(world, world.token(subject="bob")) == []
    call = world.stub.ListNotifications(
        pb.ListNotificationsRequest(**IDS, receiver_id="requester:ana"), metadata=world.token(subject="bob")
    )
    assert await reason_of(call) == "SCOPE_MISSING"


async def test_whoever_holds_a_role_sees_what_is_asked_of_it_and_nobody_else(world):
    await world.happen("ApprovalRequested", "T-2", role="legal", text="Publish?")
    await world.relay()
    (found,) = await inbox(world, world.token(subject="bob", decides=("legal",)))
    assert (found.receiver_id, found.performative) == ("role:legal", pb.PERFORMATIVE_REQUEST)
    assert await inbox(world, world.token(subject="bob"), receiver_id="role:member") == []
    assert await inbox(world, world.token(subject="bob", decides=("finance",))) == []
    request = pb.ListNotificationsRequest(**IDS, receiver_id="role:legal")
    call = world.stub.ListNotifications(request, metadata=world.token(subject="bob"))
    assert await reason_of(call) == "SCOPE_MISSING"


@pytest.mark.parametrize("token", ["x", "WzFd", "WyJhIiwgImIiXQ==", "WzEsIDJd", "W3RydWUsICJhIl0=", "é"])
async def test_a_page_token_that_is_not_ours_is_refused(world, token):
    call = world.stub.ListNotifications(pb.ListNotificationsRequest(**IDS, page_token=token), metadata=world.token("a"))
    assert await reason_of(call) == "FIELD_INVALID"


async def test_the_inbox_streams_what_was_and_what_comes_to_its_agents_alone(world):
    await world.happen("TaskCompleted", "T-1", outputs={})
    await world.relay()
    mine, other = world.inbox_sse(world.token("agent.two")), world.inbox_sse(world.token("agent.bystander"))
    first = await frames(mine, count=1)
    await world.happen("TaskCompleted", "T-2", outputs={})
    await world.happen("PlanCompleted", "")
    await world.relay()
    rest = await frames(mine, count=2)
    (only,) = await frames(other, count=1)
    mine.cancel(), other.cancel()
    shown = [json.loads(f["data"]) for f in first + rest]
    assert [s["content"]["task_id"] for s in shown] == ["T-1", "T-2", ""]
    assert {s["receiver_id"] for s in shown} == {"agent.two"}
    assert json.loads(only["data"])["nl_summary"] == f"El plan {PLAN} se ha completado."


async def test_an_inbox_stream_goes_on_after_its_last_id(world):
    async with world.database.tenant_tx(ONE) as tx:  # one commit: no horizon comes between the two
        causes = [await happen(tx, ONE, "TaskCompleted", PLAN, "T-1", outputs={}) for _ in range(2)]
    await world.relay()
    call = world.inbox_sse(world.token("agent.two"))
    first = await frames(call, count=2)
    call.cancel()
    assert "id" not in first[0]  # both were sent by one event: whoever breaks off between them gets both again
    await world.happen("TaskCompleted", "T-2", outputs={})
    await world.relay()
    call = world.inbox_sse(world.token("agent.two"), from_seq=int(first[1]["id"]))
    (rest,) = await frames(call, count=1)
    call.cancel()
    assert json.loads(rest["data"])["content"]["task_id"] == "T-2"
    assert len(causes) == 2
