"""The gateway's values and rules. Pure."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

SESSION_LIFE_S = 12 * 3600
TOKEN_LIFE_S = 900
PROFILES_MAX = 100
PAGE_DEFAULT = 50
EVERY = "*"
USAGE_DAYS_DEFAULT, USAGE_DAYS_MAX = 30, 366


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant."""

    tenant_id: str
    display_name: str
    created_at: datetime.datetime
    tasks_max: int = 0
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Project:
    """A project of a tenant."""

    tenant_id: str
    project_id: str
    display_name: str
    created_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Profile:
    """A version of a profile; `hash` is "sha256:…" of the YAML's bytes."""

    profile_id: str
    version: int
    yaml: str
    hash: str
    published_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Document:
    """A version of a document; `ref` is "sha256:…" of its bytes."""

    name: str
    version: int
    ref: str


def renewal_life_s(auth_time: float, now: float) -> int:
    """How long a renewed token lives: 15 minutes, never past the session's 12 hours; 0 once the session has ended."""
    return max(0, min(TOKEN_LIFE_S, int(auth_time + SESSION_LIFE_S - now)))


def next_version(newest: int | None) -> int:
    """Versions count from 1."""
    return 1 if newest is None else newest + 1


def missing(wanted: Sequence[str], known: Sequence[str]) -> str | None:
    """The first of `wanted` that is not known."""
    return next((item for item in wanted if item not in known), None)


def usage_days(first: str, last: str, today: datetime.date) -> tuple[datetime.date, datetime.date]:
    """Returns the days that are asked for; the last thirty unless said otherwise.

    Raises:
        ValueError: a day that there is not, the last before the first, or more than a year.
    """
    end = datetime.date.fromisoformat(last) if last else today
    begin = datetime.date.fromisoformat(first) if first else end - datetime.timedelta(days=USAGE_DAYS_DEFAULT - 1)
    if not 0 <= (end - begin).days < USAGE_DAYS_MAX:
        raise ValueError("the last day comes after the first, by a year at most")
    return begin, end
