"""The workers' door: a stream's messages to the pool and back; and the list of skills."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from haas.planner.v1 import skills_pb2, skills_pb2_grpc, worker_pb2, worker_pb2_grpc
from haas_common import clock
from haas_common.calls import Call, current_call
from haas_common.errors import FieldInvalid, PayloadTooLarge, TokenExpired
from haas_planner.remote import messages
from haas_planner.remote.operations import Skills
from haas_planner.remote.pool import Connection, RemotePool
from haas_planner.remote.relay import Relays

#: What one message of a worker may hold.
MESSAGE_BYTES_MAX = 4 * 1024 * 1024


class WorkerServicer(worker_pb2_grpc.WorkerServiceServicer):
    """haas.planner.v1.WorkerService."""

    def __init__(self, pool: RemotePool, skills: Skills, relays: Relays | None = None) -> None:
        self._pool = pool
        self._skills = skills
        self._relays = relays

    async def Work(self, request_iterator: Any, context: Any) -> AsyncIterator[worker_pb2.WorkResponse]:
        """See worker.proto."""
        call = current_call()
        requests = aiter(request_iterator)
        first = await anext(requests)
        registration = messages.registration_of(first, call)
        if not registration.relayed:
            await self._skills.keep(registration)
        connection = self._pool.open(registration, first.credit)
        if self._relays is not None and not registration.relayed:
            self._relays.follow(registration, first.credit)
        expires_at = _expires_at(call)
        reader = asyncio.create_task(_read(connection, requests, expires_at), name=f"worker {registration.worker_id}")
        try:
            yield messages.registered(registration.worker_id, self._pool.book.heartbeat_s, expires_at)
            async for said in connection.said():
                yield messages.response_of(said)
        finally:
            connection.close()
            reader.cancel()
            await asyncio.wait([reader])


class SkillsServicer(skills_pb2_grpc.SkillsServicer):
    """haas.planner.v1.Skills; each method is described in skills.proto."""

    def __init__(self, skills: Skills) -> None:
        self._skills = skills

    async def ListSkills(self, request: Any, context: Any) -> skills_pb2.ListSkillsResponse:
        """Lists the project's skills."""
        found = await self._skills.listed(current_call().scope)
        return skills_pb2.ListSkillsResponse(
            skills=[messages.skill_of(one.spec, one.contract, one.kept_at) for one in found]
        )

    async def RemoveSkill(self, request: Any, context: Any) -> skills_pb2.RemoveSkillResponse:
        """Removes a remote worker's skill."""
        call = current_call()
        await self._skills.remove(call.scope, request.skill, call.actor)
        return skills_pb2.RemoveSkillResponse()


def _expires_at(call: Call) -> float:
    """When the stream ends: with the token that opened it, or at the call's deadline. Seconds of the epoch."""
    now = clock.utc_now().timestamp()
    left_s = call.deadline - clock.monotonic_s()
    return min(now + left_s, call.claims.expires_at if call.claims else now + left_s)


async def _read(connection: Connection, requests: AsyncIterator[Any], expires_at: float) -> None:
    """Hears the worker out; what goes wrong ends the stream."""
    error: Exception | None = None
    try:
        async with asyncio.timeout(max(0.0, expires_at - clock.utc_now().timestamp())):
            async for request in requests:
                _hear(connection, request)
    except TimeoutError:
        error = TokenExpired("The token that opened the stream has expired; open another one.")
    except Exception as raised:  # noqa: BLE001 - the stream itself raises it, behind what has gathered for the worker
        error = raised
    connection.finish(error)


def _hear(connection: Connection, request: worker_pb2.WorkRequest) -> None:
    """Takes a message: results before credit, so that what is given back is free again.

    Raises:
        FieldInvalid: it registers again, or gives too much credit.
        PayloadTooLarge: it is too large.
    """
    if request.HasField("registration"):
        raise FieldInvalid("Only the first message registers.", field="registration", rule="first_message")
    if request.ByteSize() > MESSAGE_BYTES_MAX:
        raise PayloadTooLarge(bytes_max=MESSAGE_BYTES_MAX)
    if request.leaving:
        connection.leave()
    connection.hear(request.heartbeat.tokens)
    for done in request.completions:
        connection.completed(done.token, lambda done=done: messages.written_of(done.outputs))  # type: ignore[misc]
    for failure in request.failures:
        connection.failed(
            failure.token, failure.reason, failure.message, retryable=failure.retryable, lost=failure.lost
        )
    if request.credit:
        connection.credit(request.credit)
