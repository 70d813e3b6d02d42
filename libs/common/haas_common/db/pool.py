"""A service's connections: the one that was given back last is the next to be taken."""

from typing import Any

import psycopg
import psycopg_pool

Connection = psycopg.AsyncConnection[dict[str, Any]]


class Pool(psycopg_pool.AsyncConnectionPool[Connection]):
    """The library's pool, as a stack.

    In turn, each statement would meet a server process whose catalogue, plans and memory have left the processor's
    cache: the step of a chain of tasks took 1.4 times as long. What a peak needed lies below, and is closed in time.
    """

    async def _get_ready_connection(self, timeout: float | None) -> Connection | None:  # noqa: ASYNC109 - as it is there
        # It takes from the left and gives back on the right. The library knows no order but this (3.3).
        self._pool.rotate(1)
        return await super()._get_ready_connection(timeout)
