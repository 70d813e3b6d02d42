"""A remote worker: it does tasks of plans outside the fleet's processes.

from haas_client.worker import Worker, skill

Worker.from_env(agent_id="agent.counter", skills=[count]).run()
"""

import asyncio
import collections
import logging
import random
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import grpc
import grpc.aio

from haas.planner.v1 import worker_pb2, worker_pb2_grpc
from haas_client import settings
from haas_client.aio import AsyncHaasClient
from haas_client.errors import HaasError, from_rpc
from haas_client.skills import RESULT_BYTES_MAX, Input, Output, Skill, Task, TaskFailure, skill

__all__ = ["Input", "Output", "Skill", "Task", "TaskFailure", "Worker", "skill"]

_log = logging.getLogger(__name__)
CONCURRENCY_MAX = 1000
BATCH_MAX = 128
PAUSE_FIRST_S, PAUSE_MAX_S = 0.1, 10.0
GRACE_S = 30.0
#: Before the next heartbeat is due, so that a slow network does not make it late.
BEATS = 3
#: What may pass by itself; anything else ends the worker.
_AGAIN = frozenset({
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
})  # fmt: skip
#: How a stream breaks when a proxy or a connection goes: without a reason of the contract.
_BROKEN = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED})
_Result = worker_pb2.WorkerCompletion | worker_pb2.WorkerFailure


class Worker:
    """Does tasks until it is stopped. Lost connections are taken up again; tasks under way are kept meanwhile."""

    def __init__(
        self,
        client_settings: Mapping[str, Any],
        *,
        skills: Sequence[Skill],
        agent_id: str,
        worker_id: str = "",
        concurrency: int = 8,
        token_source: Callable[[], str] | None = None,
    ) -> None:
        """Opens nothing yet.

        Args:
            client_settings: the arguments of HaasClient: base_url, token, tenant_id, project_id, ca_cert.
            skills: what it can do.
            agent_id: the agent that its tasks belong to.
            worker_id: names it within the project; of the machine and a random number unless given.
            concurrency: how many tasks it does at once, 1 to 1,000.
            token_source: returns a new token once the session has ended (12 h); without one the worker ends then.
        """
        if not 1 <= concurrency <= CONCURRENCY_MAX:
            raise ValueError(f"concurrency is {concurrency}; it is 1 to {CONCURRENCY_MAX}.")
        self._settings = dict(client_settings)
        self._skills = {one.name: one for one in skills}
        self._agent_id = agent_id
        self._worker_id = worker_id or _name()
        self._concurrency = concurrency
        self._token_source = token_source
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks: dict[str, Task] = {}
        self._limits_s: dict[str, float] = {}
        #: Results that the fleet has not answered, and which of them this stream has not sent.
        self._unanswered: dict[str, _Result] = {}
        self._unsent: collections.deque[str] = collections.deque()
        self._owed = 0
        # What the fleet allows between heartbeats, and the shortest that a task under way allows.
        self._heartbeat_s = self._beat_s = 15.0
        self._beat = False
        self._stopping = self._told = False
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()
        self._threads: ThreadPoolExecutor | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **arguments: Any) -> Self:
        """Reads HAAS_URL, HAAS_TOKEN, HAAS_TENANT, HAAS_PROJECT and HAAS_CACERT. Raises SettingMissing."""
        return cls(settings.from_env(environ), **arguments)

    def run(self, grace_s: float = GRACE_S) -> None:
        """Works until SIGINT or SIGTERM, then ends what is under way, for `grace_s` at most. See work."""

        async def until_signalled() -> None:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)
            await self.work(grace_s)

        asyncio.run(until_signalled())

    def stop(self) -> None:
        """Takes no more tasks, ends those under way and lets `work` return. From the worker's own loop."""
        self._stopping = True
        self._wake.set()
        self._stopped.set()

    async def work(self, grace_s: float = GRACE_S) -> None:
        """Works until `stop`.

        Raises:
            HaasError: the fleet refuses the worker: its token, its skills, its id.
        """
        self._threads = ThreadPoolExecutor(self._concurrency, thread_name_prefix="skill")
        try:
            async with self._client() as client:
                streams = asyncio.create_task(self._streams(client))
                stopped = asyncio.create_task(self._stopped.wait())
                try:
                    await asyncio.wait([streams, stopped], return_when=asyncio.FIRST_COMPLETED)
                    if not streams.done():
                        await asyncio.wait([streams], timeout=grace_s)
                    if streams.done():
                        streams.result()
                finally:
                    left = [streams, stopped, *self._running.values()]
                    for one in left:
                        one.cancel()
                    await asyncio.gather(*left, return_exceptions=True)
        finally:
            for task in self._tasks.values():
                task.cancelled.set()
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _client(self) -> AsyncHaasClient:
        """Returns the connection to the fleet, whose token renews itself."""
        return AsyncHaasClient(**self._settings)

    # ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _streams(self, client: AsyncHaasClient) -> None:
        """One stream after the other."""
        pause_s = PAUSE_FIRST_S
        while not self._done():
            try:
                began = await self._stream(client)
                failure = None
            except HaasError as error:
                began, failure = getattr(error, "began", False), error
            if failure is None:
                continue
            if not self._may_pass(client, failure):
                raise failure
            pause_s = PAUSE_FIRST_S if began else min(PAUSE_MAX_S, pause_s * 2)
            _log.info("the stream broke and is taken up again: %s", failure.reason or failure.code.name)
            wait_s = random.uniform(0, pause_s)  # noqa: S311 - spread, not secrecy
            if self._stopping:  # what is under way still has to be told
                await asyncio.sleep(wait_s)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._stopped.wait()

    def _may_pass(self, client: AsyncHaasClient, failure: HaasError) -> bool:
        if failure.reason == "TOKEN_EXPIRED":
            if self._token_source is not None:
                client._token.replace(self._token_source())
            return client._token.lives
        return failure.code in _AGAIN or (failure.code in _BROKEN and not failure.reason)

    async def _stream(self, client: AsyncHaasClient) -> bool:
        """Works over one stream until it ends; returns whether it was answered.

        Raises:
            HaasError: it broke; its attribute `began` tells whether it was answered before.
        """
        call = worker_pb2_grpc.WorkerServiceStub(client._channel).Work(metadata=await client._fresh())
        began = False
        try:
            await call.write(self._registration(client))
            answer = await call.read()
            if answer is not grpc.aio.EOF:
                began = True
                self._heartbeat_s = self._beat_s = answer.registered.heartbeat_s or self._heartbeat_s
                until = time.monotonic() + _usable_s(answer.registered.expire_time.seconds - time.time())
                async with _beside(self._write(call, until)):
                    while (answer := await call.read()) is not grpc.aio.EOF:
                        self._hear(answer)
        except grpc.RpcError as error:
            failure = from_rpc(error)
            failure.began = began  # type: ignore[attr-defined]
            raise failure from error
        finally:
            call.cancel()
        return began

    def _registration(self, client: AsyncHaasClient) -> worker_pb2.WorkRequest:
        self._owed, self._told = 0, False
        self._unsent = collections.deque(self._unanswered)
        tokens = [*self._running, *self._unanswered]
        registration = worker_pb2.WorkerRegistration(
            worker_id=self._worker_id, agent_id=self._agent_id, tokens=tokens,
            skills=[one.to_proto() for one in self._skills.values()],
        )  # fmt: skip
        return worker_pb2.WorkRequest(
            tenant_id=client.tenant_id, project_id=client.project_id, registration=registration,
            credit=0 if self._stopping else self._concurrency - len(self._running),
        )  # fmt: skip

    async def _write(self, call: Any, until: float) -> None:
        """Says what gathers, and beats. Ends the stream in good order when its time is over, or all is done."""
        beaten_at = 0.0
        while True:
            now = time.monotonic()
            self._beat = now >= beaten_at + self._beat_s / BEATS
            if self._beat:
                beaten_at = now
                self._beat_s = min((self._heartbeat_s, *self._limits_s.values()))
            self._wake.clear()
            request = self._request()
            if request is not None:
                await call.write(request)
                continue
            if self._done() or now >= until:
                await call.done_writing()
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(min(beaten_at + self._beat_s / BEATS, until) - now):
                    await self._wake.wait()

    def _request(self) -> worker_pb2.WorkRequest | None:
        """What has gathered; None when there is nothing to say."""
        leaving = self._stopping and not self._told
        if not (self._unsent or self._owed or self._beat or leaving):
            return None
        request = worker_pb2.WorkRequest(credit=0 if self._stopping else self._owed, leaving=leaving)
        self._owed, self._told = 0, self._told or leaving
        if self._beat:
            self._beat = False
            request.heartbeat.tokens.extend([*self._running, *self._unanswered])
        size = 0
        for _ in range(min(BATCH_MAX, len(self._unsent))):
            result = self._unanswered.get(self._unsent[0])
            size += result.ByteSize() if result is not None else 0
            if size > RESULT_BYTES_MAX and (request.completions or request.failures):
                break
            self._unsent.popleft()
            if isinstance(result, worker_pb2.WorkerCompletion):
                request.completions.append(result)
            elif result is not None:
                request.failures.append(result)
        return request

    def _done(self) -> bool:
        return self._stopping and not self._running and not self._unanswered

    # ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, answer: worker_pb2.WorkResponse) -> None:
        for message in answer.tasks:
            limit_s = self._limits_s[message.token] = message.heartbeat_s or self._heartbeat_s
            if limit_s < self._beat_s:
                self._beat_s = limit_s
                self._wake.set()
            self._running[message.token] = asyncio.create_task(self._do(message), name=message.task_id)
        for token in answer.cancelled:
            self._drop(token)
        for token in answer.accepted:
            self._unanswered.pop(token, None)
        for refusal in answer.refused:
            self._unanswered.pop(refusal.token, None)
            reason = worker_pb2.WorkerRefusalReason.Name(refusal.reason)
            _log.warning("a result was not taken: %s", reason.removeprefix("WORKER_REFUSAL_REASON_").lower())
        if self._stopping:
            self._wake.set()

    def _drop(self, token: str) -> None:
        """Nobody wants the task any more."""
        task, running = self._tasks.get(token), self._running.get(token)
        if task is not None:
            task.cancelled.set()
            # A thread cannot be stopped: its place is free again when it comes back.
            if not self._skills[task.skill].is_async:
                return
        if running is not None:
            running.cancel()

    async def _do(self, message: worker_pb2.WorkerTask) -> None:
        token, result = message.token, None
        try:
            result = await self._result(message)
        finally:
            task = self._tasks.pop(token, None)
            del self._running[token]
            self._limits_s.pop(token, None)
            self._owed += 1
            if result is not None and not (task is not None and task.cancelled.is_set()):
                self._unanswered[token] = result
                self._unsent.append(token)
            self._wake.set()

    async def _result(self, message: worker_pb2.WorkerTask) -> _Result:
        token = message.token
        try:
            one = self._skills[message.skill]
            task = self._tasks[token] = one.task(message)
            if one.is_async:
                made = await one(task)
            else:
                made = await asyncio.get_running_loop().run_in_executor(self._threads, one, task)
            return worker_pb2.WorkerCompletion(token=token, outputs=one.outputs(message, made))
        except TaskFailure as failure:
            return worker_pb2.WorkerFailure(
                token=token, reason=failure.reason, message=failure.message, retryable=failure.retryable
            )
        except Exception as error:  # noqa: BLE001 - a skill's fault is its task's result
            # The text stays in the log: it may hold anything.
            _log.exception("the skill %s raised", message.skill)
            text = f"the skill failed ({type(error).__name__})"
            return worker_pb2.WorkerFailure(token=token, reason="SKILL_RAISED", message=text, retryable=True)


def _name() -> str:
    """A name that no other worker has."""
    host = "".join(c if c.isalnum() and c.isascii() else "-" for c in socket.gethostname())[:40].strip("-")
    return f"{host or 'worker'}-{random.randrange(1 << 48):012x}"  # noqa: S311 - a name, no secret


def _usable_s(left_s: float) -> float:
    """For how long a stream is used: a little less than it may live, so that the worker ends it, in good order."""
    return max(1.0, left_s - min(120.0, left_s / 5))


@asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[None]:
    """Runs something beside the block, and ends it with the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, grpc.RpcError, asyncio.InvalidStateError):
            await task
