"""The bookkeeping of remote workers: who can do what, who does what, who waits. Pure: times are given, nothing waits.

Credit is the worker's: a task takes one away, and only the worker gives it back. A task belongs to its worker until it
ends, is withdrawn, or nothing has been heard of it for its heartbeat; a worker that comes back in time keeps it.
"""

import itertools
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from haas_common.db import Scope
from haas_common.errors import FieldInvalid, Overloaded, ResourceExists
from haas_planner.remote.domain import HEARTBEAT_S, Job

#: Workers of a project, and of all.
WORKERS_MAX, WORKERS_ALL_MAX = 200, 1000
#: Tasks that wait for a worker, of a project and of all.
WAITING_MAX, WAITING_ALL_MAX = 5_000, 20_000
#: Tasks that a worker may have or be ready for: twice what one message may give, for results that are on their way.
CREDIT_MAX = 2000
#: Results that are known to have been taken, for workers that send one again because the answer was lost.
TAKEN_MAX = 8192

WorkerKey = tuple[Scope, str]
Place = tuple[Scope, str]
#: Where a task waits: with its skill, and whether it is for the own workers alone.
Queue = tuple[Scope, str, bool]


@dataclass(slots=True, eq=False)
class Seat:
    """A worker, connected or expected back. `connection` is the number of its stream, 0 while it has none."""

    key: WorkerKey
    agent_id: str
    subject: str
    skills: tuple[str, ...]
    credit: int = 0
    connection: int = 0
    heard_at: float = 0.0
    held: "dict[str, Ticket]" = field(default_factory=dict)
    #: Whether it is another planner's worker: it comes after the own ones, and is no way for that planner's tasks.
    relayed: bool = False


@dataclass(slots=True, eq=False)
class Ticket:
    """An attempt on its way: it waits (no seat), is with a worker (a seat), or is over."""

    job: Job
    number: int
    heartbeat_s: float
    seat: Seat | None = None
    token: str = ""
    heard_at: float = 0.0
    over: bool = False
    size_bytes: int = 0
    direct: bool = False


@dataclass(frozen=True, slots=True)
class Seated:
    """A worker that registered: its seat, the stream that it leaves (0: none), the tasks that it lost."""

    seat: Seat
    replaced: int
    lost: tuple[Ticket, ...]
    assigned: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Expired:
    """What time ended: tasks whose worker is gone or silent, and streams of workers that are silent."""

    lost: tuple[Ticket, ...]
    silent: tuple[int, ...]


class Book:
    """The workers and tasks of one process."""

    def __init__(self, nonce: Callable[[], str], heartbeat_s: float = HEARTBEAT_S) -> None:
        """Begins empty.

        Args:
            nonce: makes what cannot be guessed of a token.
            heartbeat_s: for tasks whose policy names none, and for the workers themselves.
        """
        self._nonce = nonce
        self.heartbeat_s = heartbeat_s
        self._numbers = itertools.count(1)
        self._seats: dict[WorkerKey, Seat] = {}
        self._workers: Counter[Scope] = Counter()
        self._rings: dict[Place, deque[Seat]] = {}
        self._queues: dict[Queue, OrderedDict[int, Ticket]] = {}
        self._waiting: Counter[Scope] = Counter()
        self._taken: OrderedDict[str, WorkerKey] = OrderedDict()

    @property
    def empty(self) -> bool:
        """Whether time can end nothing here."""
        return not self._seats

    def heartbeats_s(self) -> float:
        """Returns the shortest time after which something may be lost."""
        held = (ticket.heartbeat_s for seat in self._seats.values() for ticket in seat.held.values())
        return min(held, default=self.heartbeat_s)

    # ── Workers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def register(self, seat: Seat, credit: int, tokens: Collection[str], now: float) -> Seated:
        """Takes a worker in, or back: then it keeps the tasks that it names.

        Raises:
            ResourceExists: another caller's worker has this id.
            Overloaded: there are too many workers.
            FieldInvalid: it gives more credit than it may.
        """
        known = self._seats.get(seat.key)
        if known is not None and known.subject != seat.subject:
            raise ResourceExists(f"There is a worker {seat.key[1]} already.", resource="worker", id=seat.key[1])
        scope = seat.key[0]
        if known is None and (self._workers[scope] >= WORKERS_MAX or len(self._seats) >= WORKERS_ALL_MAX):
            raise Overloaded("There are too many workers.", retry_after_s=5)
        kept = {token: ticket for token, ticket in (known.held if known else {}).items() if token in tokens}
        self._check_credit(len(kept) + credit)
        lost = tuple(t for t in (known.held.values() if known else ()) if t.token not in kept)
        for ticket in lost:
            ticket.over = True
        replaced = known.connection if known else 0
        if known is not None:
            self._leave(known)
            known.connection, known.held = 0, {}
        seat.connection, seat.credit, seat.heard_at, seat.held = next(self._numbers), credit, now, kept
        for ticket in kept.values():
            ticket.seat, ticket.heard_at = seat, now
        self._seats[seat.key] = seat
        self._workers[scope] += 1
        for skill in seat.skills:
            self._rings.setdefault((scope, skill), deque()).append(seat)
        return Seated(seat, replaced, lost, self._fill(seat, now))

    def detach(self, seat: Seat, connection: int) -> None:
        """Notes that a worker's stream is gone; it may come back for its tasks."""
        if seat.connection == connection:
            seat.connection = 0
            if not seat.held:
                self._leave(seat)

    def leave(self, seat: Seat, connection: int) -> tuple[Ticket, ...]:
        """Takes a worker out that said that it goes; returns the tasks that it had."""
        if seat.connection != connection:
            return ()
        lost = tuple(seat.held.values())
        for ticket in lost:
            ticket.over = True
        seat.connection, seat.held = 0, {}
        self._leave(seat)
        return lost

    def hear(self, seat: Seat, now: float, tokens: Iterable[str] = ()) -> tuple[Ticket, ...]:
        """Notes that a worker lives, and which tasks it is at; returns those that waited while it was silent."""
        seat.heard_at = now
        for token in tokens:
            ticket = seat.held.get(token)
            if ticket is not None:
                ticket.heard_at = now
        return self._fill(seat, now) if seat.connection else ()

    def credit(self, seat: Seat, more: int, now: float) -> tuple[Ticket, ...]:
        """Takes credit; returns the tasks that it gets for it.

        Raises:
            FieldInvalid: it would have more than it may.
        """
        if not seat.connection:
            return ()
        self._check_credit(len(seat.held) + seat.credit + more)
        seat.credit += more
        return self._fill(seat, now)

    def expire(self, now: float) -> Expired:
        """Ends what has not been heard of for too long."""
        lost, silent = [], []
        for seat in list(self._seats.values()):
            for token, ticket in list(seat.held.items()):
                if now - ticket.heard_at > ticket.heartbeat_s:
                    del seat.held[token]
                    ticket.over = True
                    lost.append(ticket)
            if seat.connection and now - seat.heard_at > self.heartbeat_s:
                silent.append(seat.connection)
                seat.connection = 0
            if not seat.connection and not seat.held:
                self._leave(seat)
        return Expired(tuple(lost), tuple(silent))

    def knows(self, key: WorkerKey) -> bool:
        """Tells whether a worker is there, or expected back."""
        return key in self._seats

    # ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, job: Job, now: float, *, direct: bool = False) -> Ticket:
        """Gives a task to the next worker that has credit, or lets it wait for one.

        Args:
            job: the task.
            now: the time.
            direct: it came from another planner, so that no planner's worker but the own ones may have it.

        Raises:
            Overloaded: too many wait.
        """
        ticket = Ticket(job, next(self._numbers), job.heartbeat_s or self.heartbeat_s, direct=direct)
        seat = self._pick((job.scope, job.skill), now, direct=direct)
        if seat is not None:
            self._assign(ticket, seat, now)
            return ticket
        if self._waiting[job.scope] >= WAITING_MAX or self._waiting.total() >= WAITING_ALL_MAX:
            raise Overloaded("Too many tasks wait for remote workers.", retry_after_s=1)
        self._queues.setdefault((job.scope, job.skill, direct), OrderedDict())[ticket.number] = ticket
        self._waiting[job.scope] += 1
        return ticket

    def withdraw(self, ticket: Ticket) -> Seat | None:
        """Ends a task that nobody wants any more; returns the worker that has it."""
        if ticket.over:
            return None
        ticket.over = True
        if ticket.seat is None:
            self._dequeue(ticket)
            return None
        ticket.seat.held.pop(ticket.token, None)
        return ticket.seat

    def end(self, seat: Seat, token: str) -> Ticket | None:
        """Ends a task with its worker's result; None for one that this worker does not have (any more)."""
        ticket = seat.held.pop(token, None)
        if ticket is None:
            return None
        ticket.over = True
        self._taken[token] = seat.key
        if len(self._taken) > TAKEN_MAX:
            self._taken.popitem(last=False)
        return ticket

    def taken(self, seat: Seat, token: str) -> bool:
        """Tells whether this worker's result of a task was taken before."""
        return self._taken.get(token) == seat.key

    # ── Inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @staticmethod
    def _check_credit(sum_: int) -> None:
        if sum_ > CREDIT_MAX:
            sentence = f"A worker has or is ready for at most {CREDIT_MAX} tasks."
            raise FieldInvalid(sentence, field="credit", rule="credit_max")

    def _leave(self, seat: Seat) -> None:
        if self._seats.get(seat.key) is not seat:
            return
        del self._seats[seat.key]
        scope = seat.key[0]
        self._workers[scope] -= 1
        if not self._workers[scope]:
            del self._workers[scope]
        for skill in seat.skills:
            ring = self._rings[(scope, skill)]
            ring.remove(seat)
            if not ring:
                del self._rings[(scope, skill)]

    def _pick(self, place: Place, now: float, *, direct: bool) -> Seat | None:
        """The next worker, round robin, that is there, has been heard of and has credit; another planner's last."""
        ring = self._rings.get(place)
        found = None
        for _ in range(len(ring or ())):
            assert ring is not None
            seat = ring[0]
            ring.rotate(-1)
            if seat.connection and seat.credit > 0 and now - seat.heard_at <= self.heartbeat_s:
                if not seat.relayed:
                    return seat
                found = found or seat
        return None if direct else found

    def _assign(self, ticket: Ticket, seat: Seat, now: float) -> None:
        job = ticket.job
        ticket.token = f"{job.epoch}.{job.plan_id}.{job.task_id}.{job.attempt}.{self._nonce()}"
        ticket.seat, ticket.heard_at = seat, now
        seat.held[ticket.token] = ticket
        seat.credit -= 1

    def _fill(self, seat: Seat, now: float) -> tuple[Ticket, ...]:
        """Gives a worker what has waited longest, of all its skills, as far as its credit goes."""
        scope, found = seat.key[0], []
        while seat.credit > 0 and self._waiting[scope]:
            whose = (False,) if seat.relayed else (False, True)
            queues = [q for skill in seat.skills for d in whose if (q := self._queues.get((scope, skill, d)))]
            if not queues:
                break
            ticket = next(iter(min(queues, key=lambda queue: next(iter(queue))).values()))
            self._dequeue(ticket)
            self._assign(ticket, seat, now)
            found.append(ticket)
        return tuple(found)

    def _dequeue(self, ticket: Ticket) -> None:
        scope, place = ticket.job.scope, (ticket.job.scope, ticket.job.skill, ticket.direct)
        del self._queues[place][ticket.number]
        if not self._queues[place]:
            del self._queues[place]
        self._waiting[scope] -= 1
        if not self._waiting[scope]:
            del self._waiting[scope]
