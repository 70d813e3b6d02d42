"""What callers submit while a commit is under way is one commit, and nobody's fault or leaving is another's."""

import asyncio
import contextvars
from collections.abc import Sequence

import pytest

from haas_common import deadlines, errors, tracing
from haas_common.clock import monotonic_s
from haas_common.db import Scope
from haas_common.group_commit import GroupCommit

ONE, TWO = Scope("t-one", "p-one"), Scope("t-one", "p-two")


class Book:
    """A commit that waits for its signal, and what it was asked to commit."""

    def __init__(self) -> None:
        self.asked: list[tuple[Scope, list[str]]] = []
        self.kept: list[str] = []
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.bad: dict[str, Exception] = {}

    async def commit(self, scope: Scope, items: Sequence[str]) -> list[str]:
        self.asked.append((scope, list(items)))
        self.entered.set()
        await self.open.wait()
        for item in items:
            if item in self.bad:
                raise self.bad[item]
        self.kept += items
        return [item.upper() for item in items]

    def batches(self) -> list[list[str]]:
        return [items for _, items in self.asked]


@pytest.fixture
async def book() -> Book:
    return Book()


async def held(group: GroupCommit[str, str], book: Book, *items: str) -> list[asyncio.Task[str]]:
    """Submits "first", whose commit is under way when this returns, and the others, which wait for it."""
    tasks = [asyncio.create_task(group.submit(ONE, "first"))]
    await book.entered.wait()
    tasks += [asyncio.create_task(group.submit(ONE, item)) for item in items]
    await turns()
    return tasks


async def turns() -> None:
    """Lets whatever can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_idle_scope_commits_at_once_and_what_comes_meanwhile_is_the_next_commit_in_order(book: Book) -> None:
    group = GroupCommit(book.commit)
    tasks = await held(group, book, "a", "b", "c")
    assert book.batches() == [["first"]]
    book.open.set()
    assert await asyncio.gather(*tasks) == ["FIRST", "A", "B", "C"]
    assert book.batches() == [["first"], ["a", "b", "c"]]


async def test_a_commit_has_no_more_items_than_it_may(book: Book) -> None:
    group = GroupCommit(book.commit, batch_max=2)
    tasks = await held(group, book, "a", "b", "c", "d", "e")
    book.open.set()
    await asyncio.gather(*tasks)
    assert book.batches() == [["first"], ["a", "b"], ["c", "d"], ["e"]]


async def test_two_scopes_commit_side_by_side(book: Book) -> None:
    group = GroupCommit(book.commit)
    [first] = await held(group, book)
    other = asyncio.create_task(group.submit(TWO, "other"))
    await turns()
    assert book.asked == [(ONE, ["first"]), (TWO, ["other"])]
    book.open.set()
    assert await asyncio.gather(first, other) == ["FIRST", "OTHER"]


async def test_an_item_that_fails_fails_alone(book: Book) -> None:
    book.bad["b"] = ValueError("b")
    group = GroupCommit(book.commit)
    tasks = await held(group, book, "a", "b", "c")
    book.open.set()
    _, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert others == ["A", book.bad["b"], "C"]
    assert book.kept == ["first", "a", "c"]
    assert book.batches() == [["first"], ["a", "b", "c"], ["a"], ["b"], ["c"]]


@pytest.mark.parametrize("kind", [errors.DatabaseUnavailable, errors.DeadlinePassed, errors.Overloaded])
async def test_what_befalls_the_whole_batch_is_told_to_all_and_not_tried_again(
    book: Book, kind: type[errors.HaasError]
) -> None:
    book.bad["b"] = kind("gone", why="x")
    group = GroupCommit(book.commit)
    tasks = await held(group, book, "a", "b", "c")
    book.open.set()
    _, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert [(type(error), error.metadata) for error in others] == [(kind, {"why": "x"})] * 3
    assert len({id(error) for error in others}) == 3
    assert book.batches() == [["first"], ["a", "b", "c"]]


async def test_a_database_that_goes_while_items_are_tried_one_by_one_ends_the_trying(book: Book) -> None:
    book.bad |= {"b": ValueError("b"), "c": errors.DatabaseUnavailable()}
    group = GroupCommit(book.commit)
    tasks = await held(group, book, "a", "b", "c", "d")
    book.open.set()
    _, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert others[:2] == ["A", book.bad["b"]]
    assert [type(error) for error in others[2:]] == [errors.DatabaseUnavailable] * 2
    assert book.batches()[2:] == [["a"], ["b"], ["c"]]


async def test_a_commit_that_miscounts_is_not_done_twice() -> None:
    asked: list[list[str]] = []

    async def commit(scope: Scope, items: Sequence[str]) -> list[str]:
        asked.append(list(items))
        return ["only"]

    group = GroupCommit(commit)
    tasks = [asyncio.create_task(group.submit(ONE, item)) for item in "ab"]
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in found] == [errors.InternalError] * 2
    assert asked == [["a", "b"]]


async def test_a_caller_that_leaves_before_its_commit_is_wholly_out(book: Book) -> None:
    group = GroupCommit(book.commit)
    tasks = await held(group, book, "a", "b", "c")
    tasks[2].cancel()
    await turns()
    book.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [str, str, asyncio.CancelledError, str]
    assert book.kept == ["first", "a", "c"]


async def test_a_caller_that_leaves_during_its_commit_is_wholly_in(book: Book) -> None:
    group = GroupCommit(book.commit)
    tasks = await held(group, book, "a")
    tasks[0].cancel()
    await turns()
    assert tasks[0].cancelled(), "it waits for nobody"
    book.open.set()
    assert await tasks[1] == "A"
    assert book.kept == ["first", "a"]


async def test_who_has_left_is_not_tried_alone(book: Book) -> None:
    book.bad["b"] = ValueError("b")
    group = GroupCommit(book.commit)
    tasks = [asyncio.create_task(group.submit(ONE, item)) for item in "abc"]
    await book.entered.wait()
    tasks[0].cancel()
    await turns()
    book.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [asyncio.CancelledError, ValueError, str]
    assert book.batches() == [["a", "b", "c"], ["b"], ["c"]]


async def test_too_many_callers_are_refused_with_a_time_and_a_place_is_free_again(book: Book) -> None:
    group = GroupCommit(book.commit, waiting_max=2)
    tasks = await held(group, book, "a")
    with pytest.raises(errors.Overloaded) as refused:
        await group.submit(TWO, "b")
    assert float(refused.value.metadata["retry_after_s"]) > 0
    tasks[1].cancel()
    await turns()
    book.open.set()
    assert await group.submit(ONE, "c") == "C"
    assert "b" not in book.kept


async def test_thousands_of_scopes_leave_nothing_behind(book: Book) -> None:
    book.open.set()
    group = GroupCommit(book.commit)
    before = len(asyncio.all_tasks())
    await asyncio.gather(*(group.submit(Scope("t", f"p-{n}"), "a") for n in range(2000)))
    await turns()
    assert (len(group._waiting), len(group._loops), group._callers) == (0, 0, 0)
    assert len(asyncio.all_tasks()) == before
    assert await group.submit(ONE, "b") == "B"


async def test_the_commit_has_a_deadline_of_its_own_and_nothing_of_its_callers() -> None:
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="")
    seen: list[tuple[str, object, float]] = []

    async def commit(scope: Scope, items: Sequence[str]) -> Sequence[str]:
        seen.append((mark.get(), tracing.current(), deadlines.remaining_s(1000)))
        return items

    group = GroupCommit(commit, limit_s=100)
    mark.set("the caller's")
    with tracing.within(tracing.begin()), deadlines.until(monotonic_s() + 500):
        await group.submit(ONE, "a")
    with deadlines.until(monotonic_s() + 50):
        await group.submit(ONE, "b")
    assert [(m, t) for m, t, _ in seen] == [("", None)] * 2
    assert all(90 < left <= 100 for _, _, left in seen)


async def test_a_callers_deadline_ends_its_waiting_and_takes_it_out(book: Book) -> None:
    group = GroupCommit(book.commit)
    tasks = await held(group, book)
    with deadlines.until(monotonic_s() + 0.01), pytest.raises(errors.DeadlinePassed):
        await group.submit(ONE, "late")
    with deadlines.until(monotonic_s()), pytest.raises(errors.DeadlinePassed):
        await group.submit(ONE, "too late")
    book.open.set()
    await asyncio.gather(*tasks)
    await group.close()
    assert book.kept == ["first"]


async def test_closing_waits_for_what_was_taken_and_takes_nothing_more(book: Book) -> None:
    group = GroupCommit(book.commit)
    tasks = await held(group, book, "a")
    closing = asyncio.create_task(group.close())
    await turns()
    assert not closing.done()
    with pytest.raises(errors.ServiceUnavailable):
        await group.submit(ONE, "b")
    book.open.set()
    await closing
    await turns()
    assert [task.result() for task in tasks] == ["FIRST", "A"]


async def test_a_loop_that_is_cancelled_leaves_nobody_waiting(book: Book) -> None:
    group = GroupCommit(book.commit)
    tasks = await held(group, book, "a")
    [loop] = group._loops
    loop.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [asyncio.CancelledError] * 2
    assert loop.cancelled()
    assert group._waiting == {}
