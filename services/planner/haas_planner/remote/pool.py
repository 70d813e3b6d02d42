"""Remote workers as the attempts see them: `do` gives a task to one and waits for what comes back."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from haas_common.clock import monotonic_s
from haas_common.errors import HaasError, Overloaded, PayloadTooLarge, ResourceExists, WorkerFailed, WorkerLost
from haas_planner.remote.book import Book, Seat, Ticket
from haas_planner.remote.domain import HEARTBEAT_S, TASK_BYTES_MAX, Job, Registration, Written, check_written

_log = logging.getLogger(__name__)
#: How many tasks, and answers, one message carries.
BATCH_MAX = 128
#: How much the tasks of one message carry; a larger one travels alone.
BATCH_BYTES_MAX = 1024 * 1024
#: How many answers to results that nobody asked for may wait for a worker that does not read.
UNREAD_MAX = 4096


def _nonce() -> str:
    """128 bits that nobody guesses."""
    return secrets.token_hex(16)


@dataclass(slots=True)
class Said:
    """What has gathered for a worker."""

    tasks: list[Ticket] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.tasks or self.cancelled or self.accepted or self.superseded or self.broken)

    def cut(self) -> "Said":
        """Takes a message's worth out, oldest first. A task that is over meanwhile is not sent."""
        tasks, size = [], 0
        for ticket in self.tasks[:BATCH_MAX]:
            size += ticket.size_bytes
            if tasks and size > BATCH_BYTES_MAX:
                break
            tasks.append(ticket)
        del self.tasks[: len(tasks)]
        cut = Said([ticket for ticket in tasks if not ticket.over])
        for name in ("cancelled", "accepted", "superseded", "broken"):
            gathered = getattr(self, name)
            getattr(cut, name).extend(gathered[:BATCH_MAX])
            del gathered[:BATCH_MAX]
        return cut


class Connection:
    """A worker's stream: what is to be said on it, and how it ends."""

    def __init__(self, pool: "RemotePool", seat: Seat) -> None:
        self.seat = seat
        self.number = seat.connection
        self._pool = pool
        self._said = Said()
        self._wake = asyncio.Event()
        self._over = self._leaving = False
        self._error: Exception | None = None

    # ── What the worker hears ────────────────────────────────────────────────────────────────────────────────────────

    async def said(self) -> AsyncIterator[Said]:
        """Yields what is to be sent, a message's worth at a time, until the stream is to end.

        Raises:
            Exception: why it ends, where that is worth saying.
        """
        while True:
            await self._wake.wait()
            while self._said:
                cut = self._said.cut()
                if cut:
                    yield cut
            if self._over:
                break
            self._wake.clear()
        if self._error is not None:
            raise self._error

    def finish(self, error: Exception | None = None) -> None:
        """Ends the stream once what has gathered is sent."""
        if not self._over:
            self._over, self._error = True, error
            self._wake.set()

    def tasks(self, tickets: Iterable[Ticket]) -> None:
        """Sends tasks."""
        self._said.tasks.extend(tickets)
        self._wake.set()

    def cancel(self, token: str) -> None:
        """Takes a task back."""
        self._said.cancelled.append(token)
        self._wake.set()

    # ── What the worker says ─────────────────────────────────────────────────────────────────────────────────────────

    def hear(self, tokens: Iterable[str] = ()) -> None:
        """The worker lives and is at these tasks."""
        waited = self._pool.book.hear(self.seat, self._pool.now(), tokens)
        if waited:
            self.tasks(waited)

    def credit(self, more: int) -> None:
        """The worker takes more tasks. Raises FieldInvalid."""
        if not self._leaving:
            self.tasks(self._pool.book.credit(self.seat, more, self._pool.now()))

    def completed(self, token: str, written: Callable[[], Mapping[str, Written]]) -> None:
        """The worker did a task; `written` is asked only when the result is still wanted, and may raise HaasError.

        Raises:
            Overloaded: the worker does not read what it is told.
        """
        ticket = self._ended(token)
        if ticket is None:
            return
        try:
            results = written()
            check_written(ticket.job, results)
        except HaasError as error:
            self._said.broken.append(token)
            self._pool.settle(ticket, error)
        else:
            self._said.accepted.append(token)
            self._pool.settle(ticket, results)

    def failed(self, token: str, reason: str, message: str, *, retryable: bool, lost: bool = False) -> None:
        """The worker could not do a task. Raises Overloaded: see completed."""
        ticket = self._ended(token)
        if ticket is not None:
            text = message or f"The worker failed: {reason}."
            self._said.accepted.append(token)
            if lost and self.seat.relayed:
                self._pool.settle(ticket, WorkerLost(text, worker=self.seat.key[1], skill=ticket.job.skill))
                return
            self._pool.settle(
                ticket,
                WorkerFailed(
                    text, worker=self.seat.key[1], skill=ticket.job.skill, cause=reason,
                    retryable="true" if retryable else "false",
                ),
            )  # fmt: skip

    def leave(self) -> None:
        """The worker goes: no more tasks, and what it has when the stream ends is lost at once."""
        self._leaving = True
        self.seat.credit = 0

    def close(self) -> None:
        """The stream is over."""
        self._pool.closed(self, left=self._leaving)

    def _ended(self, token: str) -> Ticket | None:
        """The task that a result ends; None after saying what became of one that is not the worker's."""
        self._wake.set()
        ticket = self._pool.book.end(self.seat, token)
        if ticket is None:
            taken = self._pool.book.taken(self.seat, token)
            (self._said.accepted if taken else self._said.superseded).append(token)
            if len(self._said.superseded) > UNREAD_MAX:
                raise Overloaded("The worker does not read its answers.", retry_after_s=1)
        return ticket


class RemotePool:
    """The remote workers of this process."""

    def __init__(self, heartbeat_s: float = HEARTBEAT_S, now: Callable[[], float] = monotonic_s) -> None:
        """Begins without workers.

        Args:
            heartbeat_s: for tasks whose policy names none, and for the workers themselves.
            now: seconds of a clock that never goes back.
        """
        self.book = Book(_nonce, heartbeat_s)
        self.now = now
        self._connections: dict[int, Connection] = {}
        self._results: dict[Ticket, asyncio.Future[Mapping[str, Written]]] = {}
        self._watch: asyncio.TimerHandle | None = None

    async def do(self, job: Job, *, direct: bool = False) -> Mapping[str, Written]:
        """Has a task done: returns what it wrote, by the plan's name of each value.

        Cancelling it takes the task back from its worker. `direct`: see Book.submit.

        Raises:
            WorkerLost: the worker is gone or has been silent for too long.
            WorkerFailed: it could not do it; metadata `retryable` is "true" or "false".
            ContractBroken: its results are not what the task is to write.
            Overloaded: too many tasks wait for a worker.
            PayloadTooLarge: what the task reads does not fit into a message.
        """
        size_bytes = job.size_bytes()
        if size_bytes > TASK_BYTES_MAX:
            raise PayloadTooLarge(f"Task {job.task_id} reads too much for a worker.", bytes_max=TASK_BYTES_MAX)
        ticket = self.book.submit(job, self.now(), direct=direct)
        ticket.size_bytes = size_bytes
        result: asyncio.Future[Mapping[str, Written]] = asyncio.get_running_loop().create_future()
        self._results[ticket] = result
        if ticket.seat is not None:
            self._connections[ticket.seat.connection].tasks([ticket])
        if ticket.heartbeat_s < self.book.heartbeat_s:
            self._keep_watch(ticket.heartbeat_s / 4)
        try:
            return await result
        finally:
            del self._results[ticket]
            seat = self.book.withdraw(ticket)
            if seat is not None and seat.connection:
                self._connections[seat.connection].cancel(ticket.token)

    def open(self, registration: Registration, credit: int) -> Connection:
        """Takes a worker in, or back.

        Raises:
            ResourceExists, Overloaded, FieldInvalid: see Book.register.
        """
        skills = tuple(contract.name for contract in registration.contracts)
        key = (registration.scope, registration.worker_id)
        seat = Seat(key, registration.agent_id, registration.subject, skills, relayed=registration.relayed)
        seated = self.book.register(seat, credit, frozenset(registration.tokens), self.now())
        replaced = self._connections.pop(seated.replaced, None)
        if replaced is not None:
            text = f"The worker {registration.worker_id} came by another stream."
            replaced.finish(ResourceExists(text, resource="worker", id=registration.worker_id))
        connection = self._connections[seat.connection] = Connection(self, seat)
        self._lose(seated.lost)
        connection.tasks(seated.assigned)
        self._keep_watch()
        return connection

    def settle(self, ticket: Ticket, result: Mapping[str, Written] | HaasError) -> None:
        """Hands a result, or why there is none, to who waits for it."""
        waiting = self._results.get(ticket)
        if waiting is None or waiting.done():
            return
        if isinstance(result, HaasError):
            waiting.set_exception(result)
        else:
            waiting.set_result(result)

    def closed(self, connection: Connection, *, left: bool) -> None:
        """Notes that a stream is over."""
        self._connections.pop(connection.number, None)
        if left:
            self._lose(self.book.leave(connection.seat, connection.number))
        else:
            self.book.detach(connection.seat, connection.number)

    async def stop(self) -> None:
        """Ends every stream; workers find another process. Tasks that they have are lost to this one."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for connection in list(self._connections.values()):
            connection.finish()
            self.closed(connection, left=True)

    def _lose(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            seat = ticket.seat
            assert seat is not None
            _log.info("a worker lost a task", extra={"plan_id": ticket.job.plan_id, "task_id": ticket.job.task_id})
            text = f"The worker {seat.key[1]} lost task {ticket.job.task_id}."
            self.settle(ticket, WorkerLost(text, worker=seat.key[1], skill=ticket.job.skill))

    def _keep_watch(self, within_s: float | None = None) -> None:
        """Looks for what is lost while there are workers: four times a heartbeat, so that none is much overdue."""
        if self.book.empty:
            return
        loop = asyncio.get_running_loop()
        wait_s = self.book.heartbeats_s() / 4 if within_s is None else within_s
        if self._watch is not None and self._watch.when() > loop.time() + wait_s:
            self._watch.cancel()
            self._watch = None
        if self._watch is None:
            self._watch = loop.call_later(wait_s, self._look)

    def _look(self) -> None:
        self._watch = None
        expired = self.book.expire(self.now())
        for number in expired.silent:
            connection = self._connections.pop(number)
            connection.finish(WorkerLost(worker=connection.seat.key[1]))
        for ticket in expired.lost:
            # It may only be this task that is lost: the worker should stop it.
            if ticket.seat is not None and ticket.seat.connection:
                self._connections[ticket.seat.connection].cancel(ticket.token)
        self._lose(expired.lost)
        self._keep_watch()
