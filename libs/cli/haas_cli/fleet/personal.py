"""What an import learns of a project's personal data while its events go by: every sealed value is opened once.

A value that does not open would stop every later rebuild of this fleet's read models: it is refused here.
"""

import dataclasses
import datetime
import json
from collections.abc import Mapping
from typing import Any

from haas_cli.errors import Unverified
from haas_common import errors, tables
from haas_common.audit.data_keys import DataKey
from haas_common.db import Scope
from haas_common.events import upcast
from haas_common.sealing import Stored, opened_with

_TABLES = {".csv": "csv", ".json": "json"}


@dataclasses.dataclass(slots=True)
class Personal:
    """A project's keys and erasures.

    Attributes:
        scope: the project.
        keys: that the export brings, by id.
        named: the keys that sealed values name.
        destroyed: when the keys were destroyed that events tell of.
        refs: when the blobs were erased that events tell of.
    """

    scope: Scope
    keys: Mapping[str, DataKey]
    named: set[str] = dataclasses.field(default_factory=set)
    destroyed: dict[str, datetime.datetime] = dataclasses.field(default_factory=dict)
    refs: dict[str, datetime.datetime] = dataclasses.field(default_factory=dict)
    _raw: dict[str, bytes] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._raw = {key_id: one.key for key_id, one in self.keys.items()}

    def opened(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Returns an event's payload in the clear; without its key it reads as erased. Raises Unverified."""
        kind = row["event_type"]
        try:
            stored = Stored(self.scope, row["stream"], kind, json.loads(row["payload"]))
            payload, named = opened_with(stored, self._raw)
            self.named |= named
            return upcast(kind, row["schema_version"], payload)
        except (errors.HashMismatch, ValueError, TypeError, KeyError, AttributeError):
            raise Unverified(
                f"The event {row['seq']} of {self.scope.project_id} ({kind}) does not open: its personal fields were"
                " sealed elsewhere, or with another key than the one in data-keys.json."
            ) from None

    def erased(self, payload: Mapping[str, Any], at: datetime.datetime) -> None:
        """Takes note of an erasure."""
        self.destroyed.update(dict.fromkeys(payload["key_ids"], at))
        self.refs.update(dict.fromkeys(payload.get("refs", ()), at))

    @property
    def living(self) -> list[DataKey]:
        """The keys that open what they seal; what was erased stays so, whatever data-keys.json brings."""
        return [one for key_id, one in self.keys.items() if key_id not in self.destroyed]

    @property
    def gone(self) -> dict[str, datetime.datetime | None]:
        """The keys that nobody has any more, or that did not come along, and when they went if that is known."""
        unknown = self.named - self.keys.keys() - self.destroyed.keys()
        return {**self.destroyed, **dict.fromkeys(sorted(unknown), None)}


def table_of(name: str, data: bytes) -> tables.TableFacts | None:
    """Returns the facts of an upload; None for a text, or where its name was erased. Raises Unverified."""
    kind = _TABLES.get(name[name.rfind(".") :].lower())
    try:
        return tables.check_table(data, kind) if kind else None
    except tables.TableUnreadable as error:
        raise Unverified(f"An upload of the export is no table: {error}") from error
