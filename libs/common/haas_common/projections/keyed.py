"""Projections whose state is their rows: each event changes some of them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from haas_common.projections import Key, Past, Row, Shadow

_KEPT_MAX = 200_000


@dataclasses.dataclass(frozen=True, slots=True)
class Fold:
    """A pure fold by rows.

    Attributes:
        touched: the keys of the rows that an event changes.
        apply: the row by one of these keys after the event, from the row before it; None for no row.
        kept: whether an event tells of its rows without saying what stands in them.
    """

    touched: Callable[[Past], Sequence[Key]]
    apply: Callable[[Row | None, Past, Key], Row | None]
    kept: Callable[[Past], bool] = lambda event: False


@dataclasses.dataclass(slots=True)
class Keyed:
    """A projection of one table (haas_common.projections.Projection)."""

    name: str
    table: str
    types: tuple[str, ...]
    fold_: Fold
    bare: tuple[str, ...] = ()
    left_out: Mapping[str, tuple[tuple[str, ...], ...]] = dataclasses.field(default_factory=dict)
    by_day: str = ""
    cursor: str = ""
    tables: tuple[str, ...] = dataclasses.field(init=False)
    _rows: dict[Key, Row | None] = dataclasses.field(default_factory=dict)
    _changed: dict[Key, None] = dataclasses.field(default_factory=dict)
    # Keys that nothing stands under in the shadow table.
    _absent: set[Key] = dataclasses.field(default_factory=set)
    _kept: dict[Key, None] = dataclasses.field(default_factory=dict)
    key: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.tables = (self.table,)

    async def fold(self, events: Sequence[Past], shadow: Shadow) -> None:
        """See Projection.fold; rows that are not in memory come from the shadow table."""
        touched = [(event, self.fold_.touched(event)) for event in events]
        missing = list(dict.fromkeys(key for _, keys in touched for key in keys if key not in self._rows))
        if missing:
            found = {tuple(row[name] for name in self.key): row for row in await shadow.rows(self.table, missing)}
            self._rows |= {key: found.get(key) for key in missing}
            self._absent.update(key for key in missing if key not in found)
        for event, keys in touched:
            if self.fold_.kept(event):
                self._kept |= dict.fromkeys(keys)
                continue
            for key in keys:
                self._rows[key] = self.fold_.apply(self._rows[key], event, key)
                self._changed[key] = None

    async def flush(self, shadow: Shadow) -> None:
        """See Projection.flush."""
        rows = {key: row for key in self._changed if (row := self._rows[key]) is not None}
        await shadow.write(
            self.table,
            fresh=[row for key, row in rows.items() if key in self._absent],
            changed=[row for key, row in rows.items() if key not in self._absent],
            gone=[key for key in self._changed if key not in rows and key not in self._absent],
        )
        self._absent = (self._absent - rows.keys()) | {key for key in self._changed if key not in rows}
        if self._kept:
            await shadow.keep(self.table, list(self._kept))
        self._changed, self._kept = {}, {}
        if len(self._rows) > _KEPT_MAX:
            self._rows, self._absent = {}, set()
