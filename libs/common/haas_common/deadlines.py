"""When the work under way has to be done. The server sets it for a call, loops set their own; the database obeys it."""

import contextlib
import contextvars
from collections.abc import Iterator

from haas_common.clock import monotonic_s

_deadline: contextvars.ContextVar[float | None] = contextvars.ContextVar("haas_deadline", default=None)


@contextlib.contextmanager
def until(deadline: float) -> Iterator[None]:
    """Bounds what runs inside by `deadline` (monotonic seconds), or by an outer one that comes sooner."""
    outer = _deadline.get()
    token = _deadline.set(deadline if outer is None else min(outer, deadline))
    try:
        yield
    finally:
        _deadline.reset(token)


def remaining_s(default_s: float) -> float:
    """Returns the seconds left, `default_s` where nothing bounds the work; never more than that, never negative."""
    deadline = _deadline.get()
    if deadline is None:
        return default_s
    return max(0.0, min(default_s, deadline - monotonic_s()))
