"""Planners pass their workers' places on to each other, so that a worker at one of them does the tasks of all.

A worker's stream ends at one planner; a plan's shard may be another one's. Each planner therefore offers its own
workers to the other planners, as workers of theirs: a task that comes that way waits with the planner's own ones, and
goes to an own worker only, so that it never travels twice.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from haas.planner.v1 import worker_pb2, worker_pb2_grpc
from haas_common.channels import with_token
from haas_common.clock import monotonic_s
from haas_common.db import Scope
from haas_common.errors import HaasError
from haas_planner.remote import messages
from haas_planner.remote.domain import Registration
from haas_planner.remote.pool import RemotePool

_log = logging.getLogger(__name__)
#: How often who is there is looked at, where nobody rings.
LOOK_S = 5.0
#: How many tasks another planner may pass to one worker, done or waiting.
CREDIT_MAX = 64
#: A stream is followed by the next one before its token ends.
LIFE_S, TOKEN_LIFE_S = 2700.0, 3600
PAUSE_FIRST_S, PAUSE_MAX_S = 0.1, 5.0
BEATS = 3
#: How long another planner has to hear that a worker goes.
GOODBYE_S = 1.0
BATCH_MAX = 128

Living = Callable[[], Awaitable[Mapping[str, str]]]


@dataclass(slots=True, eq=False)
class _Followed:
    """A worker of this planner, and what offers it to each of the others."""

    registration: Registration
    credit: int
    offers: "dict[str, tuple[str, asyncio.Task[None]]]" = field(default_factory=dict)


class Relays:
    """The offers of this planner's workers to the other planners."""

    def __init__(
        self,
        pool: RemotePool,
        instance: str,
        living: Living,
        channel_of: Callable[[str], grpc.aio.Channel],
        token_of: Callable[[Scope, int], str],
    ) -> None:
        """Follows nobody yet.

        Args:
            pool: where this planner's workers are.
            instance: this planner's name.
            living: returns the address of each planner that is there, by its name.
            channel_of: returns the channel to an address.
            token_of: issues an internal token with the scope workers.run, for so many seconds.
        """
        self._pool, self._instance, self._living = pool, instance, living
        self._channel_of, self._token_of = channel_of, token_of
        self._followed: dict[tuple[Scope, str], _Followed] = {}
        self._rung = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    def follow(self, registration: Registration, credit: int) -> None:
        """Offers a worker that came, until the pool does not know it any more."""
        key = (registration.scope, registration.worker_id)
        places = min(CREDIT_MAX, max(1, credit + len(registration.tokens)))
        known = self._followed.get(key)
        if known is not None and known.registration.contracts == registration.contracts:
            return
        if known is not None:
            _end(known)
        self._followed[key] = _Followed(registration, places)
        self.ring()
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look(), name="relays")

    def ring(self) -> None:
        """Looks at once who is there: planners came or went."""
        self._rung.set()

    async def stop(self) -> None:
        """Takes every offer back."""
        tasks = [task for one in self._followed.values() for _, task in one.offers.values()]
        tasks += [self._watch] if self._watch is not None else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._followed.clear()

    async def _look(self) -> None:
        """Keeps an offer of each worker that is here at each planner that is there."""
        while self._followed:
            self._rung.clear()
            for key in list(self._followed):
                if not self._pool.book.knows(key):
                    _end(self._followed.pop(key))
            try:
                self._adjust(await self._living())
            except HaasError as error:
                _log.warning("the other planners are not known at the moment: %s", error.message)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._rung.wait()

    def _adjust(self, living: Mapping[str, str]) -> None:
        for one in self._followed.values():
            for instance, (address, task) in list(one.offers.items()):
                if living.get(instance) != address:
                    task.cancel()
                    del one.offers[instance]
            for instance, address in living.items():
                if instance != self._instance and instance not in one.offers:
                    name = f"{one.registration.worker_id} at {instance}"
                    one.offers[instance] = (address, asyncio.create_task(self._offer(one, address), name=name))

    async def _offer(self, one: _Followed, address: str) -> None:
        """One stream after the other, until it is cancelled."""
        pause_s = PAUSE_FIRST_S
        while True:
            began = monotonic_s()
            try:
                await self._stream(one, address)
            except grpc.RpcError as error:
                _log.info("a worker's places at another planner: %s", error.code())  # type: ignore[attr-defined]
            pause_s = PAUSE_FIRST_S if monotonic_s() - began > PAUSE_MAX_S else min(PAUSE_MAX_S, pause_s * 2)
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - spread, not secrecy

    async def _stream(self, one: _Followed, address: str) -> None:
        """Works over one stream until the other planner, or its own time, ends it."""
        scope = one.registration.scope
        first = worker_pb2.WorkRequest(
            tenant_id=scope.tenant_id, project_id=scope.project_id, credit=one.credit,
            registration=messages.registration_to(one.registration, self._instance),
        )  # fmt: skip
        stream = _Stream(self._pool, scope, first)
        stub = worker_pb2_grpc.WorkerServiceStub(self._channel_of(address))
        call = stub.Work(stream.requests(), metadata=with_token(self._token_of(scope, TOKEN_LIFE_S)))
        hearing = asyncio.create_task(stream.hear_out(call))
        try:
            await asyncio.shield(hearing)
        except asyncio.CancelledError:
            # The other planner is told, so that it does not wait for what is under way.
            stream.leave()
            await asyncio.wait([hearing], timeout=GOODBYE_S)
            raise
        finally:
            call.cancel()
            hearing.cancel()
            await asyncio.wait([hearing])
            await stream.close()


def _end(one: _Followed) -> None:
    for _, task in one.offers.values():
        task.cancel()
    one.offers.clear()


class _Stream:
    """One stream to another planner: its tasks are done by this one's pool."""

    def __init__(self, pool: RemotePool, scope: Scope, first: worker_pb2.WorkRequest) -> None:
        self._pool, self._scope, self._first = pool, scope, first
        self._running: dict[str, asyncio.Task[None]] = {}
        self._results: list[worker_pb2.WorkerCompletion | worker_pb2.WorkerFailure] = []
        self._owed = 0
        self._beat_s = pool.book.heartbeat_s
        self._leaving = False
        self._wake = asyncio.Event()

    async def hear_out(self, call: Any) -> None:
        """Takes what the other planner says until it ends the stream. Raises grpc.RpcError."""
        async for answer in call:
            if answer.HasField("registered"):
                self._beat_s = answer.registered.heartbeat_s or self._beat_s
            for task in answer.tasks:
                self._beat_s = min(self._beat_s, task.heartbeat_s or self._beat_s)
                self._running[task.token] = asyncio.create_task(self._do(task), name=task.task_id)
            for token in answer.cancelled:
                if token in self._running:
                    self._running[token].cancel()
            self._wake.set()

    def leave(self) -> None:
        """Ends the stream; the other planner gives what is under way to somebody else."""
        self._leaving = True
        self._wake.set()

    async def close(self) -> None:
        """Gives up what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def requests(self) -> AsyncIterator[worker_pb2.WorkRequest]:
        """Says what gathers, and beats; after a while ends the stream in good order, for the next one."""
        yield self._first
        beaten_at, until, told = 0.0, monotonic_s() + LIFE_S, False
        while not self._leaving:
            now = monotonic_s()
            if now >= until and not self._running and not self._results:
                return
            self._wake.clear()
            request = self._request()
            if now >= beaten_at + self._beat_s / BEATS:
                beaten_at = now
                request.heartbeat.SetInParent()
                request.heartbeat.tokens.extend(self._running)
            if now >= until and not told:
                request.leaving = told = True
            if request.ByteSize():
                yield request
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(beaten_at + self._beat_s / BEATS - now):
                    await self._wake.wait()
        yield worker_pb2.WorkRequest(leaving=True)

    async def _do(self, task: worker_pb2.WorkerTask) -> None:
        try:
            written = await self._pool.do(messages.job_of(task, self._scope), direct=True)
            self._results.append(messages.completion_of(task.token, written))
        except HaasError as error:
            self._results.append(messages.failure_of(task.token, error))
        finally:
            del self._running[task.token]
            self._owed += 1
            self._wake.set()

    def _request(self) -> worker_pb2.WorkRequest:
        request = worker_pb2.WorkRequest(credit=self._owed)
        self._owed = 0
        while self._results and len(request.completions) + len(request.failures) < BATCH_MAX:
            result = self._results[0]
            if request.ByteSize() + result.ByteSize() > 3 * 1024 * 1024 and (request.completions or request.failures):
                break
            del self._results[0]
            if isinstance(result, worker_pb2.WorkerCompletion):
                request.completions.append(result)
            else:
                request.failures.append(result)
        return request
