"""What a wait may go by: a graph with one that nothing could ever end is refused when it is made."""

import json
import re
from typing import Any

import pytest

from haas_planner import kinds
from haas_planner.graph import Slot, Task
from tests.house.tree import read

SIGNAL = ("control.signal", "must be a small letter, then at most 62 small letters, digits, _ or .")


def wait(control: dict[str, Any]) -> Task:
    return Task("T-1", "wait", "wait", "", "a", (), (Slot("v1", "value.signal"),), control=control)


@pytest.mark.parametrize(
    "control", [{"signal": "paid"}, {"signal": "order.paid_2"}, {"signal": "a" * 63}, {"for_s": 1}]
)
def test_what_a_signal_or_the_time_can_end_is_taken(control: dict[str, Any]) -> None:
    assert list(kinds.faults(wait(control))) == []


@pytest.mark.parametrize("name", ["", "Paid", "go-1", "1st", "pagó", "a b", "a\n", "a" * 64, 7, None, ["paid"]])
def test_a_signal_that_nobody_could_send_is_refused(name: object) -> None:
    assert list(kinds.faults(wait({"signal": name}))) == [SIGNAL]


def test_a_signal_is_named_as_the_api_takes_it() -> None:
    (pattern,) = re.findall(
        r"string signal = \d+ \[.*string.pattern = (.*)\];", read("proto/haas/planner/v1/planner.proto")
    )
    assert json.loads(pattern) == f"^({kinds._SIGNAL.pattern})?$"


@pytest.mark.parametrize("control", [{}, {"for_s": 1, "signal": "paid"}, {"until": "2026-12-01T09:00:00Z", "for_s": 1}])
def test_a_wait_is_for_one_thing(control: dict[str, Any]) -> None:
    assert list(kinds.faults(wait(control))) == [("control", "of a wait holds one of for_s, until and signal")]
