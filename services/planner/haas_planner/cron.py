"""Schedules: five cron fields in a time zone, as instants in UTC. Pure: the time comes in as an argument.

The fields are read by cronsim (Debian's rules, no dependency of its own), and only over local times without a zone:
what a clock that is put forward or back does to them is decided here.
"""

import dataclasses
import functools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

EXPRESSION_CHARS_MAX: Final = 200
ZONE_CHARS_MAX: Final = 64
MINUTE_US: Final = 60_000_000
FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")
# A change of the clock farther away than its own size (24 hours where a zone crossed the date line) touches no firing.
NEAR: Final = timedelta(hours=25)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_LAST: Final = 2200  # cronsim looks 50 years ahead, and datetime ends in 9999
AT_US_MAX: Final = int((datetime(YEAR_LAST, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()) * 1_000_000
AT_US_MIN: Final = 0

CatchUp = Literal["none", "one", "all"]


@dataclasses.dataclass(frozen=True, slots=True)
class Cron:
    """A schedule. Made by `parse`.

    A local time that the clock skips fires once, at the instant that it would have been on the old clock; one that the
    clock repeats fires once, the first time. Where every hour is meant (`*` hours) the firings follow elapsed time
    instead, so that a repeated hour fires again and no hour is silent.
    """

    expression: str
    zone: str

    @property
    def every_hour(self) -> bool:
        """Whether the schedule is one of elapsed time."""
        return self.expression.split()[1] in ("*", "*/1")


def parse(expression: str, zone: str) -> Cron:
    """Reads a schedule.

    Args:
        expression: minute, hour, day of the month, month, day of the week; at most one firing a minute.
        zone: a name of the IANA time-zone database, such as "America/Lima".

    Raises:
        ValueError: a sentence that names what is wrong.
    """
    fields = expression.split() if len(expression) <= EXPRESSION_CHARS_MAX else []
    if len(fields) != len(FIELDS):
        raise ValueError(f"A schedule has five fields: {', '.join(FIELDS)}.")
    _zone(zone)
    cron = Cron(" ".join(fields).upper(), zone)
    try:
        if next(_local_times(cron.expression, datetime(2000, 1, 1)), None) is None:
            raise ValueError("The schedule never fires.")
    except CronSimError as error:
        raise ValueError(f"The schedule cannot be read: {str(error).lower()}.") from None
    return cron


def next_after(cron: Cron, at_us: int) -> int:
    """Returns the first firing after an instant; both in microseconds of the epoch, UTC.

    Raises:
        ValueError: the instant lies before 1970 or after 2200, or nothing fires in the 50 years after it.
    """
    if not AT_US_MIN <= at_us <= AT_US_MAX:
        raise ValueError("A schedule is asked about an instant from 1970 to 2200.")
    zone = _zone(cron.zone)
    at = EPOCH + timedelta(microseconds=at_us)
    here = at.astimezone(zone)
    best: datetime | None = None
    last: datetime | None = None  # a later local time than this one cannot be an earlier instant
    for local in _local_times(cron.expression, here.replace(tzinfo=None) - _change_near(zone, at)):
        if last is not None and local > last:
            break
        first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
        repeated = cron.every_hour and second.utcoffset() < first.utcoffset()
        for instant in (first.astimezone(UTC), second.astimezone(UTC)) if repeated else (first.astimezone(UTC),):
            if instant > at and (best is None or instant < best):
                best = instant
                last = local + abs(second.utcoffset() - first.utcoffset())
    if best is None:
        raise ValueError("The schedule does not fire in the next 50 years.")
    return (best - EPOCH) // timedelta(microseconds=1)


def due(cron: Cron, last_us: int, now_us: int, catch_up: CatchUp, limit: int = 100) -> list[int]:
    """Returns the firings to run now, oldest first: those after `last_us` that are not after `now_us`.

    Args:
        cron: the schedule.
        last_us: the newest firing that was run or passed over.
        now_us: the present.
        catch_up: "none": only one that was due within the last minute; "one": the newest missed; "all": all missed.
        limit: with "all", at most so many, the newest.
    """
    if limit < 1 or now_us <= last_us:
        return []
    if catch_up == "none":
        return _between(cron, max(last_us, now_us - MINUTE_US), now_us)[-1:]
    wanted = 1 if catch_up == "one" else limit
    # Looking back from now in windows that grow: a year of missed minutes costs no more than the newest hundred.
    window_us = MINUTE_US * wanted
    while True:
        start_us = max(last_us, now_us - window_us)
        found = _between(cron, start_us, now_us)
        if len(found) >= wanted or start_us == last_us:
            return found[-wanted:]
        window_us *= 4


def _between(cron: Cron, after_us: int, until_us: int) -> list[int]:
    found = []
    at_us = max(after_us, AT_US_MIN)
    while (at_us := next_after(cron, at_us)) <= until_us:
        found.append(at_us)
    return found


def _local_times(expression: str, after: datetime) -> Iterator[datetime]:
    """The local times, without a zone, at which the fields match; seconds are cut off, so that none is missed."""
    return iter(CronSim(expression, after.replace(second=0, microsecond=0) - timedelta(minutes=1)))


def _change_near(zone: ZoneInfo, at: datetime) -> timedelta:
    """By how much the clock is changed within a day of an instant; almost always by nothing."""
    offsets = [(at + shift).astimezone(zone).utcoffset() for shift in (-NEAR, timedelta(), NEAR)]
    known = [offset for offset in offsets if offset is not None]
    return max(known) - min(known)


@functools.lru_cache(maxsize=1_024)
def _zone(name: str) -> ZoneInfo:
    try:
        if not 0 < len(name) <= ZONE_CHARS_MAX or name in ("localtime", "Factory", "posixrules"):
            raise ZoneInfoNotFoundError  # these depend on the machine
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("The time zone is no name of the IANA database, such as “America/Lima”.") from None
