"""Schedules over changes of the clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from haas_planner import cron
from haas_planner.cron import Cron, due, next_after, parse

MINUTE = cron.MINUTE_US
ZONES = [
    "Europe/Madrid", "America/New_York", "America/Lima", "UTC", "Australia/Lord_Howe", "Africa/Casablanca",
    "Pacific/Apia", "Asia/Kathmandu", "America/Santiago",
]  # fmt: skip


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000


def text(at_us: int, zone: str = "UTC") -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M%z")


def firings(schedule: Cron, after: str, count: int) -> list[str]:
    found, at_us = [], us(after)
    for _ in range(count):
        at_us = next_after(schedule, at_us)
        found.append(text(at_us, schedule.zone))
    return found


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * *", "@daily", "60 * * * *", "* 24 * * *", "0 0 31 2 *", "a b c d e", "* * * * MOON",
     "*" * 300,
     "*/0 * * * *", "5-1 * * * *", "0 0 0 * *", "² * * * *", "* * * * 1#6", "*/ * * * *", ", * * * *", "L/2 * * * *"],
)  # fmt: skip
def test_what_is_no_schedule_of_five_fields_is_refused_in_a_sentence(expression: str) -> None:
    with pytest.raises(ValueError, match=r"^(A|The) schedule .*\.$"):
        parse(expression, "UTC")


@pytest.mark.parametrize(
    "zone",
    ["", "Mars/Base", "../etc/passwd", "/etc/localtime", "localtime", "Europe", "x" * 99, "a\0b", "Europe/Madríd"],
)
def test_a_zone_is_one_of_the_iana_database(zone: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        parse("0 0 * * *", zone)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789*/,-#LW ?@RHMON²", max_size=20), st.sampled_from(ZONES))
def test_any_text_is_a_schedule_or_a_value_error(expression: str, zone: str) -> None:
    try:
        schedule = parse(expression, zone)
    except ValueError:
        return
    assert next_after(schedule, us("2026-01-01T00:00Z")) > us("2026-01-01T00:00Z")


def test_in_madrid_a_skipped_time_fires_once_at_the_shifted_instant() -> None:
    schedule = parse("30 2 * * *", "Europe/Madrid")  # on 2026-03-29 two o'clock becomes three
    wanted = ["2026-03-28T02:30+0100", "2026-03-29T03:30+0200", "2026-03-30T02:30+0200"]
    assert firings(schedule, "2026-03-28T00:00Z", 3) == wanted


def test_in_madrid_a_repeated_time_fires_once() -> None:
    schedule = parse("30 2 * * *", "Europe/Madrid")  # on 2026-10-25 three o'clock becomes two
    wanted = ["2026-10-24T02:30+0200", "2026-10-25T02:30+0200", "2026-10-26T02:30+0100"]
    assert firings(schedule, "2026-10-23T12:00Z", 3) == wanted


def test_in_new_york_a_skipped_and_a_repeated_time_fire_once() -> None:
    schedule = parse("15 1,2 * * *", "America/New_York")
    spring = ["2026-03-08T01:15-0500", "2026-03-08T03:15-0400", "2026-03-09T01:15-0400"]
    assert firings(schedule, "2026-03-08T05:00Z", 3) == spring
    autumn = ["2026-11-01T01:15-0400", "2026-11-01T02:15-0500", "2026-11-02T01:15-0500"]
    assert firings(schedule, "2026-11-01T04:00Z", 3) == autumn


def test_a_skipped_time_and_the_hour_that_it_is_shifted_to_fire_in_order_and_once() -> None:
    schedule = parse("15,45 2,3 * * *", "Europe/Madrid")
    wanted = ["2026-03-29T03:15+0200", "2026-03-29T03:45+0200", "2026-03-30T02:15+0200"]
    assert firings(schedule, "2026-03-29T00:00Z", 3) == wanted
    mixed = parse("30 2 29 3 *", "Europe/Madrid")
    assert firings(mixed, "2026-03-29T01:15Z", 1) == ["2026-03-29T03:30+0200"]


def test_a_schedule_of_every_hour_follows_elapsed_time_over_both_changes() -> None:
    for zone, start in (("Europe/Madrid", "2026-10-25T00:00Z"), ("America/New_York", "2026-03-08T06:00Z")):
        schedule, at_us = parse("*/15 * * * *", zone), us(start)
        for _ in range(16):
            assert next_after(schedule, at_us) == at_us + 15 * MINUTE
            at_us += 15 * MINUTE


def test_in_lima_the_clock_is_never_changed() -> None:
    schedule = parse("0 9 * * MON", "America/Lima")
    assert firings(schedule, "2026-03-01T00:00Z", 2) == ["2026-03-02T09:00-0500", "2026-03-09T09:00-0500"]


def test_a_leap_day_is_waited_for() -> None:
    schedule = parse("0 0 29 2 *", "UTC")
    assert firings(schedule, "2026-01-01T00:00Z", 2) == ["2028-02-29T00:00+0000", "2032-02-29T00:00+0000"]
    assert firings(schedule, "2096-03-01T00:00Z", 1) == ["2104-02-29T00:00+0000"]


def test_the_last_day_of_a_month_is_meant_by_l() -> None:
    assert firings(parse("0 0 L * *", "UTC"), "2028-02-01T00:00Z", 1) == ["2028-02-29T00:00+0000"]


def test_a_day_that_a_zone_skipped_fires_once() -> None:
    schedule = parse("0 12 30 12 *", "Pacific/Apia")  # Samoa had no 2011-12-30
    assert firings(schedule, "2011-12-29T00:00Z", 1) == ["2011-12-31T12:00+1400"]


fields = st.tuples(
    st.sampled_from(["*", "0", "30", "*/7", "5,35,59", "10-20"]),
    st.sampled_from(["*", "0", "1", "2", "3", "*/2", "1,2,3", "0-4", "23"]),
    st.sampled_from(["*", "*", "*", "1", "29", "L", "25-31"]),
    st.sampled_from(["*", "*", "*", "3,10,11", "2"]),
    st.sampled_from(["*", "*", "*", "SUN", "1-5"]),
).map(" ".join)
# Around changes of the clock, and anywhere.
CHANGES = [
    us("2026-03-29T01:00Z"), us("2026-10-25T01:00Z"), us("2026-03-08T07:00Z"), us("2026-11-01T06:00Z"),
    us("2026-04-04T15:00Z"), us("2026-10-03T15:30Z"), us("2011-12-30T10:00Z"), us("2026-02-15T02:00Z"),
]  # fmt: skip
instants = st.one_of(
    st.tuples(st.sampled_from(CHANGES), st.integers(-26 * 60 * MINUTE, 26 * 60 * MINUTE)).map(sum),
    st.integers(0, us("2100-01-01T00:00Z")),
)


@settings(max_examples=400, deadline=None)
@given(fields, st.sampled_from(ZONES), instants)
def test_next_after_strictly_increases_and_leaves_nothing_out(expression: str, zone: str, at_us: int) -> None:
    schedule = parse(expression, zone)
    first = next_after(schedule, at_us)
    assert first > at_us
    assert first % MINUTE == 0
    assert next_after(schedule, first) > first
    assert next_after(schedule, first - 1) == first
    between = at_us + (first - at_us) // 2
    assert next_after(schedule, between) == first


def expected(schedule: Cron, start: datetime, hours: int) -> list[int]:
    """The firings by another road: every minute of local time asked whether it matches, then put on the clock."""
    zone, found = ZoneInfo(schedule.zone), set()
    local = start.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0) - timedelta(hours=50)
    wanted = set()
    times = cron._local_times(schedule.expression, local)
    for moment in times:
        if moment > local + timedelta(hours=hours + 100):
            break
        wanted.add(moment)
    for moment in wanted:
        folds = (0, 1) if schedule.every_hour else (0,)
        for fold in folds:
            aware = moment.replace(tzinfo=zone, fold=fold)
            real = aware.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == moment
            if real or fold == 0:
                found.add(int(aware.timestamp()) * 1_000_000)
    low = int(start.timestamp()) * 1_000_000
    return sorted(f for f in found if low < f <= low + hours * 60 * MINUTE)


@settings(max_examples=60, deadline=None)
@given(fields, st.sampled_from(ZONES), st.sampled_from(CHANGES), st.integers(-180, 60))
@example("30 2 * * *", "Europe/Madrid", CHANGES[0], -60)
def test_around_a_change_of_the_clock_the_firings_are_exactly_the_local_times(
    expression: str, zone: str, change_us: int, minutes: int
) -> None:
    schedule = parse(expression, zone)
    start = datetime.fromtimestamp(change_us / 1_000_000, UTC) + timedelta(minutes=minutes)
    low = int(start.timestamp()) * 1_000_000
    assert cron._between(schedule, low, low + 6 * 60 * MINUTE) == expected(schedule, start, 6)


def test_an_instant_outside_of_the_calendar_is_refused() -> None:
    schedule = parse("* * * * *", "UTC")
    for at_us in (-1, cron.AT_US_MAX + 1, 10**30):
        with pytest.raises(ValueError, match="1970"):
            next_after(schedule, at_us)


HOURLY = parse("0 * * * *", "UTC")


def test_without_catch_up_only_a_firing_of_the_last_minute_runs() -> None:
    last, three = us("2026-01-01T00:00Z"), us("2026-01-01T03:00Z")
    assert due(HOURLY, last, three + MINUTE - 1, "none") == [three]
    assert due(HOURLY, last, three + MINUTE, "none") == []
    assert due(HOURLY, three, three + 1, "none") == []


def test_catching_up_with_one_runs_the_newest_missed() -> None:
    last = us("2026-01-01T00:00Z")
    assert due(HOURLY, last, us("2026-01-01T05:30Z"), "one") == [us("2026-01-01T05:00Z")]
    assert due(HOURLY, last, us("2026-01-01T00:59Z"), "one") == []


def test_catching_up_with_all_runs_what_was_missed_oldest_first() -> None:
    wanted = [us(f"2026-01-01T0{h}:00Z") for h in range(1, 6)]
    assert due(HOURLY, us("2026-01-01T00:00Z"), us("2026-01-01T05:00Z"), "all") == wanted


def test_catching_up_with_all_is_bounded_to_the_newest() -> None:
    found = due(parse("* * * * *", "UTC"), 0, us("2026-01-01T00:00Z"), "all", limit=3)
    assert [text(f) for f in found] == ["2025-12-31T23:58+0000", "2025-12-31T23:59+0000", "2026-01-01T00:00+0000"]


def test_a_clock_that_went_back_runs_nothing() -> None:
    assert due(HOURLY, 100 * MINUTE, 0, "all") == []


@settings(max_examples=100, deadline=None)
@given(fields, st.sampled_from(ZONES), instants, st.integers(0, 60 * 24 * 3), st.integers(1, 50))
def test_the_newest_missed_are_the_tail_of_all_missed(
    expression: str, zone: str, last_us: int, minutes: int, limit: int
) -> None:
    schedule = parse(expression, zone)
    now_us = last_us + minutes * MINUTE
    every = cron._between(schedule, last_us, now_us) if minutes else []
    assert due(schedule, last_us, now_us, "all", limit) == every[-limit:]
    assert due(schedule, last_us, now_us, "one") == every[-1:]
    assert due(schedule, last_us, now_us, "none") == [f for f in every if f > now_us - MINUTE][-1:]
