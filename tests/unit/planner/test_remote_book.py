"""The bookkeeping of remote workers: credit, turns, fences, heartbeats. Times are given."""

import datetime
import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from haas_common import errors
from haas_common.db import Scope
from haas_planner.graph import Slot, Task
from haas_planner.remote import book as books
from haas_planner.remote.book import Book, Seat
from haas_planner.remote.domain import Contract, ContractSlot, Job, Written, check_written

ONE, TWO = Scope("t-one", "p-one"), Scope("t-two", "p-one")
LATER = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
WRITES = {"note": "doc.note", "count": "value.count"}


def job(number: int = 1, scope: Scope = ONE, skill: str = "text.count", **facts) -> Job:
    return Job(scope, "pl-00000001", f"T-{number}", 1, 7, skill, "o", "en", {}, {}, WRITES, LATER, **facts)


def seat(name: str = "w", scope: Scope = ONE, skills: tuple[str, ...] = ("text.count",), subject: str = "ana") -> Seat:
    return Seat((scope, name), "agent.x", subject, skills)


@pytest.fixture
def book() -> Book:
    numbers = itertools.count()
    return Book(lambda: f"n{next(numbers)}", heartbeat_s=15.0)


def came(book: Book, name: str = "w", credit: int = 1, now: float = 0.0, tokens=(), **facts) -> Seat:
    return book.register(seat(name, **facts), credit, tokens, now).seat


def test_never_more_tasks_are_out_than_credit_was_given(book):
    worker = came(book, credit=2)
    tickets = [book.submit(job(n), 0.0) for n in range(5)]
    assert [t.seat is worker for t in tickets] == [True, True, False, False, False]
    book.end(worker, tickets[0].token)
    assert tickets[2].seat is None, "an end gives no credit back: the worker does"
    assert book.credit(worker, 2, 0.0) == (tickets[2], tickets[3])


def test_workers_with_credit_take_turns(book):
    workers = [came(book, name, credit=3) for name in "abc"]
    given = [book.submit(job(n), 0.0).seat for n in range(6)]
    assert given == workers * 2


def test_a_task_goes_only_to_a_worker_of_its_scope_and_skill(book):
    came(book, "other-tenant", credit=9, scope=TWO)
    came(book, "other-skill", credit=9, skills=("text.translate",))
    waits = book.submit(job(), 0.0)
    assert waits.seat is None
    worker = came(book, "right")
    assert waits.seat is worker


def test_another_planners_worker_comes_last_and_never_gets_that_planners_tasks(book):
    theirs = seat("theirs")
    theirs.relayed = True
    book.register(theirs, 2, (), 0.0)
    passed_on = book.submit(job(1), 0.0, direct=True)
    assert passed_on.seat is None
    assert book.submit(job(2), 0.0).seat is theirs
    assert book.credit(theirs, 1, 0.0) == ()
    mine = came(book, "mine", credit=2)
    assert passed_on.seat is mine
    assert [book.submit(job(n), 0.0).seat for n in (3, 4)] == [mine, theirs]


def test_what_waited_longest_goes_first_whatever_its_skill(book):
    waiting = [book.submit(job(n, skill=s), 0.0) for n, s in enumerate(["a", "b", "a", "b"])]
    seated = book.register(seat(skills=("b", "a")), 4, (), 0.0)
    assert seated.assigned == tuple(waiting)


def test_a_token_names_the_attempt_and_its_epoch_and_is_another_one_each_time(book):
    worker = came(book, credit=2)
    first, second = book.submit(job(), 0.0), book.submit(job(), 0.0)
    assert (first.token, second.token) == ("7.pl-00000001.T-1.1.n0", "7.pl-00000001.T-1.1.n1")
    assert set(worker.held) == {first.token, second.token}


def test_only_the_worker_that_has_a_task_ends_it_and_only_once(book):
    worker, other = came(book, "a"), came(book, "b", credit=0)
    ticket = book.submit(job(), 0.0)
    assert book.end(other, ticket.token) is None
    assert book.end(worker, ticket.token) is ticket
    assert book.end(worker, ticket.token) is None
    assert (book.taken(worker, ticket.token), book.taken(other, ticket.token)) == (True, False)


def test_a_task_of_which_nothing_is_heard_is_lost_and_the_others_of_its_worker_are_not(book):
    worker = came(book, credit=3)
    named, quiet, patient = book.submit(job(1), 0.0), book.submit(job(2), 0.0), book.submit(job(3, heartbeat_s=60), 0.0)
    book.hear(worker, 10.0, [named.token])
    assert book.expire(15.0).lost == ()
    assert book.expire(15.1).lost == (quiet,)
    assert (quiet.over, named.over, patient.over) == (True, False, False)
    assert book.end(worker, quiet.token) is None, "the result of a lost attempt is refused"


def test_a_silent_worker_gets_no_more_tasks_and_its_stream_ends(book):
    worker = came(book, credit=2)
    connection = worker.connection
    assert book.submit(job(1), 16.0).seat is None
    expired = book.expire(16.0)
    assert (expired.silent, expired.lost, book.empty) == ((connection,), (), True)


def test_a_worker_that_comes_back_in_time_keeps_the_tasks_that_it_names_and_loses_the_others_at_once(book):
    worker = came(book, credit=2)
    kept, gone = book.submit(job(1), 0.0), book.submit(job(2), 0.0)
    book.detach(worker, worker.connection)
    assert book.submit(job(3), 1.0).seat is None, "it is not there"
    seated = book.register(seat(), 1, [kept.token, "made-up"], 14.0)
    assert (seated.lost, gone.over, kept.seat, kept.heard_at) == ((gone,), True, seated.seat, 14.0)
    assert [t.job.task_id for t in seated.assigned] == ["T-3"]
    assert book.end(worker, kept.token) is None, "the stream before has nothing any more"
    assert book.end(seated.seat, kept.token) is kept


def test_a_worker_that_stays_away_loses_its_tasks(book):
    worker = came(book)
    ticket = book.submit(job(), 0.0)
    book.detach(worker, worker.connection)
    assert (book.expire(15.0).lost, book.empty) == ((), False)
    assert (book.expire(15.1).lost, book.empty) == ((ticket,), True)


def test_the_end_of_a_replaced_stream_changes_nothing(book):
    old = came(book)
    number = old.connection
    new = book.register(seat(), 1, (), 1.0)
    assert new.replaced == number
    book.detach(old, number)
    assert book.leave(old, number) == ()
    assert book.submit(job(), 1.0).seat is new.seat


def test_a_worker_that_goes_gives_its_tasks_back_at_once(book):
    worker = came(book)
    ticket = book.submit(job(), 0.0)
    assert (book.leave(worker, worker.connection), book.empty, ticket.over) == ((ticket,), True, True)


def test_a_withdrawn_task_is_taken_from_its_worker_or_from_the_queue(book):
    worker = came(book)
    held, waits = book.submit(job(1), 0.0), book.submit(job(2), 0.0)
    assert (book.withdraw(held), book.withdraw(waits)) == (worker, None)
    assert (book.end(worker, held.token), book.credit(worker, 1, 0.0)) == (None, ())
    assert book.withdraw(held) is None


def test_another_callers_worker_is_not_replaced(book):
    came(book)
    with pytest.raises(errors.ResourceExists):
        came(book, subject="eve")


def test_workers_waiting_tasks_and_credit_have_limits(book, monkeypatch):
    monkeypatch.setattr(books, "WORKERS_MAX", 1)
    monkeypatch.setattr(books, "WAITING_MAX", 1)
    worker = came(book, credit=0)
    with pytest.raises(errors.Overloaded):
        came(book, "b")
    book.submit(job(1), 0.0)
    with pytest.raises(errors.Overloaded):
        book.submit(job(2), 0.0)
    came(book, "b", scope=TWO, credit=0)
    book.submit(job(1, scope=TWO), 0.0)
    with pytest.raises(errors.FieldInvalid):
        book.credit(worker, books.CREDIT_MAX + 1, 0.0)


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ({"note": Written("t", "b", {})}, "count"),
        ({"note": Written("t", "b", {}), "count": Written("", "", 1), "more": Written("", "", 1)}, "more"),
        ({"note": Written("t", "b", [1]), "count": Written("", "", 1)}, "note"),
        ({"note": Written("", "b", {}), "count": Written("", "", 1)}, "note"),
        ({"note": Written("t", "b", {}), "count": Written("", "", "x" * 8200)}, "count"),
    ],
)
def test_results_that_are_not_what_the_task_writes_break_its_contract(written, field):
    with pytest.raises(errors.ContractBroken) as caught:
        check_written(job(), written)
    assert caught.value.metadata["field"] == field


def test_results_that_are_what_the_task_writes_pass():
    check_written(job(), {"note": Written("t", "b", {"a": 1}), "count": Written("", "", 3)})


def test_a_contracts_schemas_follow_the_types_to_the_plans_names():
    one, two = {"type": "object"}, {"type": "integer"}
    reads = (ContractSlot("a", "doc.*", one), ContractSlot("b", "value.x"))
    contract = Contract("s", "agent.x", "t", reads, (ContractSlot("n", "value.count", two),))
    assert Contract.from_json("s", "agent.x", contract.to_json()) == contract
    slots = (Slot("p", "doc.note"), Slot("b", "value.x"), Slot("other", "table.x"))
    task = Task("T-1", "specialist", "s", "", "agent.x", slots, (Slot("q", "value.count"),))
    assert contract.schemas_of(task) == {"p": one, "q": two}


class Workers(RuleBasedStateMachine):
    """Random workers and tasks: nothing is out twice, nothing beyond credit, and every task is somewhere."""

    def __init__(self) -> None:
        super().__init__()
        numbers = itertools.count()
        self.book = Book(lambda: f"n{next(numbers)}", heartbeat_s=15.0)
        self.now = 0.0
        self.seats: dict[str, Seat] = {}
        self.credit: dict[str, int] = {}
        self.tickets: list = []

    @rule(name=st.sampled_from("abc"), credit=st.integers(0, 3), keep=st.booleans())
    def comes(self, name: str, credit: int, keep: bool) -> None:
        old = self.seats.get(name)
        tokens = list(old.held) if old and keep else []
        self.seats[name] = self.book.register(seat(name, skills=("x", "y")), credit, tokens, self.now).seat
        self.credit[name] = credit + len(self.seats[name].held.keys() & set(tokens))

    @rule(skill=st.sampled_from("xy"))
    def submits(self, skill: str) -> None:
        self.tickets.append(self.book.submit(job(len(self.tickets), skill=skill), self.now))

    @precondition(lambda self: self.seats)
    @rule(data=st.data(), more=st.integers(1, 3))
    def gives(self, data, more: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.seats)))
        if self.seats[name].connection:
            self.credit[name] += more
        self.book.credit(self.seats[name], more, self.now)

    @precondition(lambda self: any(t.token for t in self.tickets))
    @rule(data=st.data())
    def ends(self, data) -> None:
        ticket = data.draw(st.sampled_from([t for t in self.tickets if t.token]))
        before = ticket.over
        ended = self.book.end(ticket.seat, ticket.token)
        assert (ended is ticket) == (not before)
        if not before:
            self.credit[ticket.seat.key[1]] -= 1

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def withdraws(self, data) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        held = not ticket.over and ticket.seat is not None
        self.book.withdraw(ticket)
        if held:
            self.credit[ticket.seat.key[1]] -= 1

    @precondition(lambda self: self.seats)
    @rule(data=st.data())
    def breaks(self, data) -> None:
        found = self.seats[data.draw(st.sampled_from(sorted(self.seats)))]
        self.book.detach(found, found.connection)

    @rule(s=st.floats(0, 10), data=st.data())
    def passes(self, s: float, data) -> None:
        self.now += s
        for name in data.draw(st.sets(st.sampled_from(sorted(self.seats)))) if self.seats else ():
            self.book.hear(self.seats[name], self.now, list(self.seats[name].held))
        for ticket in self.book.expire(self.now).lost:
            self.credit[ticket.seat.key[1]] -= 1

    @invariant()
    def every_task_is_over_waits_or_is_with_one_worker(self) -> None:
        held = [t for s in self.seats.values() for t in s.held.values()]
        assert len(held) == len(set(map(id, held)))
        waiting = [t for queue in self.book._queues.values() for t in queue.values()]
        assert {id(t) for t in self.tickets if not t.over} == {id(t) for t in (*held, *waiting)}
        assert self.book._waiting[ONE] == len(waiting)
        for name, one in self.seats.items():
            assert one.credit >= 0
            if one.connection:
                assert len(one.held) + one.credit == self.credit[name]

    @invariant()
    def nobody_who_is_there_with_credit_lets_tasks_wait(self) -> None:
        waiting = bool(self.book._queues)
        fresh = [s for s in self.seats.values() if s.connection and self.now - s.heard_at <= 15.0]
        assert not (waiting and any(s.credit for s in fresh if s in self.book._seats.values()))


Workers.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_random_workers_and_tasks = Workers.TestCase
