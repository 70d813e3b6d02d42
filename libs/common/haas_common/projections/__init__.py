"""Read models as pure folds of the history: what a writer projects in its transaction, a rebuild projects again.

A fold takes events of a project in the order of their seq and gives rows. It knows neither clock nor database, so that
the live table and the rebuilt one are the same, always (tests/integration/test_rebuild.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from haas_common.db import Scope
from haas_common.eventstore import NewEvent, Recorded

__all__ = ["Key", "Past", "Projection", "Row", "Shadow", "past"]

Row = dict[str, Any]
#: The values of a primary key, tenant and project first.
Key = tuple[Any, ...]


class Past(NamedTuple):
    """An event with its place. `at`: when it was recorded, in UTC, as ISO 8601 or as PostgreSQL writes it."""

    tenant_id: str
    project_id: str
    seq: int
    stream: str
    version: int
    type: str
    plan_id: str
    task_id: str
    actor: str
    payload: Mapping[str, Any]
    at: str
    schema_version: int = 0


def past(event: NewEvent, place: Recorded) -> Past:
    """Returns an event that was just appended, for the fold of its writer."""
    return Past(
        event.scope.tenant_id, event.scope.project_id, place.seq, event.stream, place.version, event.type,
        event.plan_id, event.task_id, event.actor, event.payload, place.recorded_at.isoformat(), event.schema_version,
    )  # fmt: skip


class Shadow(Protocol):
    """The tables that a rebuild fills, within the transaction that keeps its cursor."""

    async def rows(self, table: str, keys: Sequence[Key]) -> list[Row]:
        """Returns rows of a shadow table by their keys."""

    async def stream(self, scope: Scope, stream: str, below: int) -> list[Past]:
        """Returns the events of a stream before a version, oldest first."""

    async def write(
        self, table: str, fresh: Sequence[Row] = (), changed: Sequence[Row] = (), gone: Sequence[Key] = ()
    ) -> None:
        """Puts in rows whose keys nothing stands under yet, and rows that may; takes others away."""

    async def add(self, table: str, rows: Sequence[Row], amount: str) -> None:
        """Puts rows in; where one stands by its key already, its column `amount` grows."""

    async def keep(self, table: str, keys: Sequence[Key]) -> None:
        """Takes rows over from the live table that the history cannot give."""


class Projection(Protocol):
    """A read model that can be rebuilt.

    Attributes:
        name: as `haas projections` calls it.
        tables: its tables, those first that others refer to.
        types: the events that it folds; empty for all.
        bare: those of them that it folds without their payload.
        left_out: of a type the personal parts that no row shows, so that they need not be opened.
        by_day: the column of a date where a row sums up a day; empty where each row is one thing's.
        cursor: of a tailing projector, its row in relay_cursors; empty for one that its writers project.
    """

    name: str
    tables: tuple[str, ...]
    types: tuple[str, ...]
    bare: tuple[str, ...]
    left_out: Mapping[str, tuple[tuple[str, ...], ...]]
    by_day: str
    cursor: str

    async def fold(self, events: Sequence[Past], shadow: Shadow) -> None:
        """Takes the next events, a project's in the order of their seq (a tailing one's in the log's order)."""

    async def flush(self, shadow: Shadow) -> None:
        """Writes what changed since the last time."""
