"""When a call is tried again. Every call here may be: it reads, or carries a request_id that is the same each time."""

import random
import time

import grpc

from haas_client.errors import HaasError

ATTEMPTS_MAX = 5
PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 2.0
_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
#: A stream also breaks in these ways when a proxy or a connection goes, without a reason of the contract.
_BROKEN = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED})


class Attempts:
    """The attempts of one call, within one deadline. Full jitter, so that many clients do not come back at once."""

    def __init__(self, timeout_s: float, attempts_max: int = ATTEMPTS_MAX) -> None:
        self._give_up = time.monotonic() + timeout_s
        self._left = attempts_max
        self._pause_s = PAUSE_FIRST_S

    def left_s(self) -> float:
        """Returns the seconds that are left for everything."""
        return max(0.001, self._give_up - time.monotonic())

    def pause_s(self, error: HaasError) -> float | None:
        """Returns how long to wait before the next attempt; None when there is none."""
        self._left -= 1
        pause = random.uniform(0, self._pause_s)  # noqa: S311 - spread, not secrecy
        self._pause_s = min(PAUSE_MAX_S, self._pause_s * 2)
        if error.code not in _AGAIN or self._left <= 0 or time.monotonic() + pause >= self._give_up:
            return None
        return pause


class Resumes:
    """The breaks of one stream: it is taken up again until nobody has answered for a while."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.progress()

    def progress(self) -> None:
        """Somebody answered: the patience begins anew."""
        self._since = time.monotonic()
        self._pause_s = PAUSE_FIRST_S

    def pause_s(self, error: HaasError, *, answered: bool) -> float | None:
        """Returns how long to wait before the stream is taken up again; None when it is over.

        Args:
            error: what it broke with.
            answered: whether it had begun; an idle stream is cut by proxies after a minute without any fault.
        """
        if error.code not in _AGAIN and not (error.code in _BROKEN and not error.reason):
            return None
        if answered:
            self.progress()
        elif time.monotonic() - self._since > self._patience_s:
            return None
        pause = random.uniform(0, self._pause_s)  # noqa: S311 - spread, not secrecy
        self._pause_s = min(PAUSE_MAX_S, self._pause_s * 2)
        return pause
