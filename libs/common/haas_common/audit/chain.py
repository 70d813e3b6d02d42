"""The chain of a tenant's checkpoints: read from the tenant's own project, checked, and folded into what each project's
history is compared with.
"""

import datetime
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from haas_common.audit import checkpoints
from haas_common.audit.checkpoints import TENANT_PROJECT, Checkpoint, Record
from haas_common.audit.findings import Findings
from haas_common.audit.framing import digest_text
from haas_common.audit.genesis import Document
from haas_common.audit.history import Marks
from haas_common.audit.merkle import Tree
from haas_common.fleet_keys import FleetKey

_ERASED = "DataErased"
_TOLD = (checkpoints.EVENT_TYPE, _ERASED)


class Records:
    """The newest record of each project, and the root over them; a checkpoint changes few of them."""

    def __init__(self) -> None:
        self.by_project: dict[str, Record] = {}
        self._places: dict[str, int] = {}
        self._tree = Tree()

    def take(self, changed: Iterable[Record]) -> None:
        """Takes records; a new project moves those behind it, so that the tree is made anew."""
        changed = list(changed)
        grown = any(record.project_id not in self.by_project for record in changed)
        self.by_project |= {record.project_id: record for record in changed}
        if grown:
            self._places = {project: place for place, project in enumerate(sorted(self.by_project))}
            self._tree = Tree()
            changed = [self.by_project[project] for project in self._places]
        self._tree.update((self._places[record.project_id], record.leaf()) for record in changed)

    def root(self) -> bytes:
        """Returns the root. Raises ValueError where no project is known."""
        return self._tree.root()


class Chain:
    """A tenant's checkpoints so far.

    Attributes:
        newest: the last one that was read.
        begins_after: the number of the newest one that was dropped; 0 for none.
        marks: what they say of each project.
        erased: the addresses of blobs that were erased.
    """

    def __init__(self, tenant_id: str, keys: Mapping[str, FleetKey], findings: Findings) -> None:
        self.newest: Checkpoint | None = None
        self.begins_after = 0
        self.marks: dict[str, Marks] = {}
        self.erased: set[str] = set()
        self.records = Records()
        self._tenant_id, self._keys, self._findings = tenant_id, keys, findings
        self._signed_at = datetime.datetime.min.replace(tzinfo=datetime.UTC)

    def begin(self, found: Document, each: Callable[[Checkpoint], None] | None = None) -> None:
        """Begins after the checkpoints that were dropped: from the newest of them, and what they said together."""
        self.erased.update(found.erased)
        if found.checkpoint is None:
            return
        self.newest, self.begins_after = found.checkpoint, found.checkpoint.number
        self._signed_at = found.checkpoint.time()
        self.records.take(found.records)
        for record in found.records:
            self._mark(record, self.begins_after)
        if each is not None:
            each(found.checkpoint)

    def read(self, lines: Iterable[str], each: Callable[[Checkpoint], None] | None = None) -> None:
        """Takes lines of the tenant's own project; `each` sees every checkpoint."""
        for line in lines:
            # Most lines say nothing about the chain: the parser is asked for those alone that may.
            if not any(name in line for name in _TOLD):
                continue
            try:
                row = json.loads(line)
                kind, payload = row["event_type"], row["payload"]
                if kind in _TOLD:
                    self._hear(row, kind, json.loads(payload), each)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue  # told where the project's own chain is verified, with its place

    def _hear(
        self, row: Mapping[str, Any], kind: str, payload: Mapping[str, Any], each: Callable[[Checkpoint], None] | None
    ) -> None:
        if kind == _ERASED:
            self.erased.update(payload.get("refs", ()))
        elif row["stream"] == checkpoints.stream_of(self._tenant_id):
            try:
                found = checkpoints.read(self._tenant_id, payload)
                problem = self._problem(found)
            except ValueError:
                problem = "it cannot be read as a checkpoint"
            else:
                self.newest = found
                if each is not None:
                    each(found)
            if problem:
                self._findings.add(TENANT_PROJECT, row["seq"], row["stream"], row["version"], f"checkpoint: {problem}")

    def _problem(self, found: Checkpoint) -> str:
        number, previous = (self.newest.number, self.newest.digest()) if self.newest else (0, "")
        if found.number != number + 1:
            return f"number {found.number} follows {number}"
        if found.previous != previous:
            return "it does not follow the checkpoint before it"
        problem = found.problem(self._keys)
        if problem:
            return problem
        at = found.time()
        if at < self._signed_at:
            return "it was signed before the one that it follows"
        self._signed_at = at
        for record in found.projects:
            known = self.records.by_project.get(record.project_id)
            if known is not None and (record.last_seq < known.last_seq or record.streams < known.streams):
                return f"project {record.project_id} goes back behind an earlier checkpoint"
        self.records.take(found.projects)
        for record in found.projects:
            self._mark(record, found.number)
        if digest_text(self.records.root()) != found.root:
            return "its root is not that of what it lists"
        return ""

    def _mark(self, record: Record, number: int) -> None:
        marks = self.marks.setdefault(record.project_id, Marks())
        marks.add(record.last_seq, record.streams, record.root, number)
