"""Which denied calls become an event. A flood of the same denial must not become a flood of writes."""

import collections
from collections.abc import Callable

from haas_common import errors
from haas_common.clock import monotonic_s
from haas_common.db import Scope

#: The errors that mean "denied", as against "failed".
DENIALS = (
    errors.ToolUnknown,
    errors.ToolNotAllowed,
    errors.ScopeMissing,
    errors.EgressDenied,
    errors.RateLimited,
    errors.LimiterUnavailable,
    errors.Overloaded,
)
_INTERVAL_S = 1.0
_KEYS_MAX = 4096


class DenialLog:
    """Lets the first denial of a kind through, then one a second with the count of those between."""

    def __init__(self, now: Callable[[], float] = monotonic_s) -> None:
        self._now = now
        self._last: collections.OrderedDict[tuple[Scope, str, str], tuple[float, int]] = collections.OrderedDict()

    def admit(self, scope: Scope, tool: str, reason: str) -> int | None:
        """Returns how many alike were left out since the last one, or None when this one is to be left out too."""
        key = (scope, tool, reason)
        at, left_out = self._last.get(key, (float("-inf"), 0))
        if self._now() - at < _INTERVAL_S:
            self._last[key] = (at, left_out + 1)
            return None
        self._last[key] = (self._now(), 0)
        self._last.move_to_end(key)
        if len(self._last) > _KEYS_MAX:
            self._last.popitem(last=False)
        return left_out
