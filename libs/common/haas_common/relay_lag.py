"""How far a relay is behind the history, measured where it matters: by itself, after each of its rounds."""

import dataclasses
import logging

from haas_common import clock, metrics
from haas_common.db import Tx
from haas_common.eventstore import SQL

_log = logging.getLogger(__name__)
#: Events beyond the cursor are counted up to here.
COUNTED_MAX = 1000
#: From here on it is said in the log, so often at most.
ALERT_S = 10.0
ALERT_EVERY_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Lag:
    """What waits beyond a relay's cursor.

    Attributes:
        events: how many, up to COUNTED_MAX.
        seconds: the age of the oldest.
        oldest_write_s: the age of the oldest open transaction of the services that has written.
    """

    events: int
    seconds: float
    oldest_write_s: float


class LagWatch:
    """Tells the metrics, and the log when it is time that somebody looks."""

    def __init__(self, relay: str) -> None:
        self._relay = relay
        self._seen = Lag(0, 0.0, 0.0)
        self._looked_at = clock.monotonic_s()
        self._said_at = float("-inf")
        # A function: the age goes on growing while a relay is too busy, or too broken, to look.
        metrics.RELAY_LAG_S.labels(relay).set_function(self.seconds)

    def seconds(self) -> float:
        """Returns the age of the oldest event that waits, now."""
        return self._seen.seconds + clock.monotonic_s() - self._looked_at if self._seen.events else 0.0

    async def look(self, tx: Tx) -> Lag:
        """Measures; `tx` sees all projects of the relay."""
        row = await tx.one(SQL.relay_lag, name=self._relay, limit=COUNTED_MAX)
        self._seen = Lag(row["events"], row["seconds"], row["oldest_write_s"])
        self._looked_at = clock.monotonic_s()
        metrics.RELAY_LAG_EVENTS.labels(self._relay).set(self._seen.events)
        metrics.RELAY_LOOKED.labels(self._relay).set_to_current_time()
        metrics.OLDEST_WRITE_S.set(self._seen.oldest_write_s)
        if self._seen.seconds > ALERT_S and self._looked_at - self._said_at > ALERT_EVERY_S:
            self._said_at = self._looked_at
            _log.warning(
                "relay %s is %.0f s behind, %d%s events wait; the oldest open write transaction is %.0f s old",
                self._relay, self._seen.seconds, self._seen.events, "+" * (self._seen.events == COUNTED_MAX),
                self._seen.oldest_write_s,
            )  # fmt: skip
        return self._seen
