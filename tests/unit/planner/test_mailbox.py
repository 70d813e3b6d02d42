"""What comes in is taken tenant by tenant, and in order within each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_planner.fair import Activity
from haas_planner.mailbox import Mailbox


def test_nobody_waits_behind_all_that_another_tenant_brought() -> None:
    mailbox: Mailbox[str] = Mailbox()
    for n in range(100):
        mailbox.put("large", f"l{n}")
    mailbox.put("small", "s0")
    assert [mailbox.take() for _ in range(3)] == ["l0", "s0", "l1"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers())))
def test_of_one_tenant_the_order_is_kept_and_nothing_is_lost(items: list[tuple[str, int]]) -> None:
    mailbox: Mailbox[tuple[str, int]] = Mailbox()
    for tenant, item in items:
        mailbox.put(tenant, (tenant, item))
    assert len(mailbox) == len(items) == len(list(mailbox))
    taken = [mailbox.take() for _ in range(len(items))]
    assert {t: [i for i in taken if i[0] == t] for t in "abc"} == {t: [i for i in items if i[0] == t] for t in "abc"}
    with pytest.raises(LookupError):
        mailbox.take()


def test_what_is_put_back_comes_first_and_in_its_order() -> None:
    mailbox: Mailbox[int] = Mailbox()
    for n in range(4):
        mailbox.put("one", n)
    first = [("one", mailbox.take()) for _ in range(2)]
    mailbox.put_back(first)
    assert [mailbox.take() for _ in range(4)] == [0, 1, 2, 3]


def test_a_tenant_counts_as_active_for_a_while_after_its_last_decision() -> None:
    activity = Activity(for_s=1.0)
    activity.see("one", 0.0)
    activity.see("two", 0.8)
    assert activity.tenants(0.9) == 2
    assert activity.tenants(1.5) == 1
    assert activity.tenants(2.0) == 0
