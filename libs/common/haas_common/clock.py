"""The clock of a process. Decisions use the database's; this one stamps texts and measures spans."""

import datetime
import time


def utc_now() -> datetime.datetime:
    """Returns the time of day, aware, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def monotonic_s() -> float:
    """Returns seconds that never run backwards."""
    return time.monotonic()
