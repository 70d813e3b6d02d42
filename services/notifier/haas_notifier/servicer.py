"""haas.notifier.v1.Notifier: messages to values and back."""

import base64
import binascii
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from google.api import httpbody_pb2

from haas.notifier.v1 import notifier_pb2 as pb
from haas.notifier.v1 import notifier_pb2_grpc
from haas_common import errors
from haas_common.calls import Call, current_call
from haas_common.clock import monotonic_s
from haas_common.db import Scope
from haas_notifier import domain, frames
from haas_notifier.operations import FAREWELL_S, End, Operations, Silence
from haas_notifier.store import StoredEvent

_SSE_HEADERS = (("cache-control", "no-store"), ("x-accel-buffering", "no"))


def event_message(event: StoredEvent, *, stored: bool = False) -> pb.Event:
    """Returns an event as the contract has it; `stored`: with the bytes that its hash covers."""
    message = pb.Event(
        seq=event.seq, type=event.event_type, stream=event.stream, version=event.version, plan_id=event.plan_id,
        task_id=event.task_id, actor=event.actor, payload_json=event.payload_text, hash=f"sha256:{event.hash.hex()}",
        schema_version=event.schema_version, causation_id=event.causation_id, correlation_id=event.correlation_id,
        trace_id=event.trace_id, stored_payload_json=event.stored_text if stored else "",
    )  # fmt: skip
    message.record_time.FromDatetime(event.recorded_at)
    return message


def notification_message(envelope: Mapping[str, Any]) -> pb.Notification:
    """Returns an envelope as the contract has it."""
    plain = {k: v for k, v in envelope.items() if k not in ("timestamp", "performative", "content")}
    message = pb.Notification(
        **plain,
        performative=pb.Performative.Value(f"PERFORMATIVE_{envelope['performative']}"),
        content=pb.NotificationContent(**envelope["content"]),
    )
    message.send_time.FromJsonString(envelope["timestamp"])
    return message


def receivers_of(call: Call, receiver_id: str = "") -> tuple[str, ...]:
    """Returns whose inboxes the call reads: its token's agents', its holder's and its roles', or the one it names.

    Raises ScopeMissing for somebody else's.
    """
    assert call.claims is not None  # the door lets nobody in without a token
    mine = domain.visible_receivers(call.claims.agents, call.claims.subject, call.claims.roles)
    if not receiver_id:
        return mine
    if receiver_id not in mine:
        raise errors.ScopeMissing(
            f"The token does not open the inbox of {receiver_id}: it is none of its agents and roles.",
            receiver_id=receiver_id,
        )
    return (receiver_id,)


def write_token(place: tuple[int, str] | None) -> str:
    """Returns a page token; empty at the end."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode() if place else ""


def read_token(token: str) -> tuple[int, str] | None:
    """Returns a page token's place; None for the beginning. Raises FieldInvalid."""
    if not token:
        return None
    try:
        seq, receiver = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        if type(seq) is int and isinstance(receiver, str) and 0 <= seq < 2**63:
            return seq, receiver
    except (ValueError, TypeError, RecursionError, binascii.Error):
        pass  # told below, like a place of another shape
    raise errors.FieldInvalid("page_token is not one of ours.", field="page_token", rule="token")


def _body(data: bytes) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type=frames.CONTENT_TYPE, data=data)


def _start(request: Any, context: Any) -> int:
    headers = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
    return frames.start_after(request.from_seq, headers.get(frames.LAST_EVENT_ID, ""))


async def _told(parts: AsyncGenerator[bytes], deadline: float) -> AsyncIterator[httpbody_pb2.HttpBody]:
    """Sends frames; whatever breaks the stream is told in it first, since a REST client would see a clean end."""
    yield _body(frames.BEGIN)
    try:
        async with contextlib.aclosing(parts):
            async for part in parts:
                yield _body(part)
                if monotonic_s() > deadline - FAREWELL_S:
                    raise errors.DeadlinePassed("A stream lasts no longer; come back with the last id.")
    except Exception as failure:
        known = failure if isinstance(failure, errors.HaasError) else errors.InternalError()
        yield _body(frames.error(known))
        raise known from failure


class NotifierServicer(notifier_pb2_grpc.NotifierServicer):
    """haas.notifier.v1.Notifier."""

    def __init__(self, operations: Operations, keep_alive_s: float = frames.KEEP_ALIVE_S) -> None:
        self._operations = operations
        self._keep_alive_s = keep_alive_s

    async def ListEvents(self, request: pb.ListEventsRequest, context: Any) -> pb.ListEventsResponse:
        """See notifier.proto."""
        events, more = await self._operations.list_events(
            current_call().scope, request.plan_id, request.from_seq, request.page_size, stored=request.stored
        )
        return pb.ListEventsResponse(
            events=[event_message(event, stored=request.stored) for event in events],
            next_seq=events[-1].seq if events else request.from_seq,
            more=more,
        )

    async def StreamEvents(
        self, request: pb.StreamEventsRequest, context: Any
    ) -> AsyncIterator[pb.StreamEventsResponse]:
        """See notifier.proto."""
        scope = current_call().scope
        await self._operations.check_start(scope, request.plan_id, request.from_seq)
        # The answer's headers tell the client that it is being followed, before anything happens.
        await context.send_initial_metadata(())
        items = self._operations.follow(scope, request.plan_id, request.from_seq, self._keep_alive_s)
        async with contextlib.aclosing(items):
            async for item in items:
                if isinstance(item, StoredEvent):
                    yield pb.StreamEventsResponse(event=event_message(item, stored=request.stored))

    async def StreamEventsSse(
        self, request: pb.StreamEventsSseRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """See notifier.proto."""
        call, after = current_call(), _start(request, context)
        await self._operations.check_start(call.scope, request.plan_id, after)
        await context.send_initial_metadata(_SSE_HEADERS)
        parts = self._event_frames(call.scope, request.plan_id, after, stored=request.stored)
        async for body in _told(parts, call.deadline):
            yield body

    async def _event_frames(self, scope: Scope, plan_id: str, after: int, *, stored: bool) -> AsyncGenerator[bytes]:
        items = self._operations.follow(scope, plan_id, after, self._keep_alive_s)
        async with contextlib.aclosing(items):
            async for item in items:
                if isinstance(item, Silence):
                    yield frames.KEEP_ALIVE
                elif isinstance(item, End):
                    yield frames.end(item.state)
                else:
                    yield frames.frame(
                        item.event_type, frames.message_json(event_message(item, stored=stored)), item.seq
                    )

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Any
    ) -> pb.ListNotificationsResponse:
        """See notifier.proto."""
        call = current_call()
        page = await self._operations.list_inbox(
            call.scope, receivers_of(call, request.receiver_id), read_token(request.page_token), request.page_size
        )
        return pb.ListNotificationsResponse(
            notifications=map(notification_message, page.envelopes), next_page_token=write_token(page.last)
        )

    async def StreamNotificationsSse(
        self, request: pb.StreamNotificationsSseRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """See notifier.proto."""
        call, after = current_call(), _start(request, context)
        await self._operations.check_start(call.scope, "", after)
        await context.send_initial_metadata(_SSE_HEADERS)
        async for body in _told(self._inbox_frames(call, after), call.deadline):
            yield body

    async def _inbox_frames(self, call: Call, after: int) -> AsyncGenerator[bytes]:
        groups = self._operations.follow_inbox(call.scope, receivers_of(call), after, self._keep_alive_s)
        async with contextlib.aclosing(groups):
            async for group in groups:
                if isinstance(group, Silence):
                    yield frames.KEEP_ALIVE
                    continue
                *before, last = (frames.message_json(notification_message(e)) for e in group)
                for data in before:
                    yield frames.frame("notification", data)
                yield frames.frame("notification", last, group[-1]["seq"])
