"""What is left of a tenant's history when a range of it goes: verified, and put down in a document to be signed."""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from haas_common import errors
from haas_common.audit import checkpoints
from haas_common.audit.beginnings import Beginnings, chosen
from haas_common.audit.chain import Chain
from haas_common.audit.checkpoints import TENANT_PROJECT
from haas_common.audit.findings import Findings
from haas_common.audit.genesis import Document, Genesis
from haas_common.audit.history import Marks, ProjectVerifier
from haas_common.blobs import Blobs
from haas_common.db import Scope
from haas_common.fleet_keys import FleetKey
from haas_common.history.partitions import Part, Partitions
from haas_common.history.refusals import NotCovered, Tampered

Keys = Mapping[str, FleetKey]


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A tenant's history as the database has it; a Source of haas_common.audit.verify for one process."""

    partitions: Partitions
    blobs: Blobs
    tenant_id: str

    def projects(self) -> list[str]:
        """Returns the projects that have events."""
        found = self.partitions.projects(self.tenant_id)
        return [project for project in found if self.partitions.first_seq(self.tenant_id, project) is not None]

    def events(self, project_id: str, after: int = 0, until: int = sys.maxsize) -> Iterator[list[str]]:
        """Yields a project's events as lines."""
        return self.partitions.lines(self.tenant_id, project_id, after, until)

    def blob(self, project_id: str, ref: str) -> bytes | None:
        """Returns the bytes of an address; None where they are gone."""
        try:
            return self.blobs.load(Scope(self.tenant_id, project_id), ref)
        except errors.ResourceNotFound:
            return None


def beginnings_of(source: Held, keys: Keys, findings: Findings) -> Beginnings:
    """Returns what was signed of a tenant's history as dropped."""
    found = Beginnings(source.tenant_id, keys, findings)
    for lines in source.events(TENANT_PROJECT):
        found.read(lines, lambda ref: source.blob(TENANT_PROJECT, ref))
    return found


def unsigned(source: Held, keys: Keys, parts: Sequence[Part]) -> list[Part]:
    """Returns those parts of a tenant that no signed document names as dropped."""
    found = beginnings_of(source, keys, Findings())
    return [p for p in parts if max((b.last_seq for b in found.of(p.project_id)), default=0) < p.last_seq]


class Floors:
    """A tenant's signed past: its checkpoints, what it begins from now, and what it can begin from."""

    def __init__(self, source: Held, keys: Keys, own_floor: int = 0) -> None:
        """Reads the tenant's own events.

        Args:
            source: the history.
            keys: the fleet's checkpoint keys, retired ones included.
            own_floor: the last of the tenant's own events that goes; 0 for none.

        Raises Tampered.
        """
        self._source, self._findings = source, Findings()
        self.beginnings = beginnings_of(source, keys, self._findings)
        first = self._first(TENANT_PROJECT)
        begun = self.beginnings.document(first)
        self.chain = Chain(source.tenant_id, keys, self._findings)
        if begun is not None:
            self.chain.begin(begun)
        for lines in source.events(TENANT_PROJECT, until=own_floor):
            self.chain.read(lines)
        self._below = Document(
            source.tenant_id, {}, self.chain.newest, tuple(self.chain.records.by_project.values()),
            tuple(self.chain.erased),
        )  # fmt: skip
        for lines in source.events(TENANT_PROJECT, after=own_floor):
            self.chain.read(lines)
        self._refuse_findings(self._findings)

    def covered(self, part: Part) -> bool:
        """Tells whether a checkpoint vouches for all that a range holds of a project.

        The newest checkpoint vouches for what came before it; it is signed itself.
        """
        last = self._last_mark(part.project_id)
        if part.project_id == TENANT_PROJECT and last < part.last_seq and self.chain.newest is not None:
            stream = checkpoints.stream_of(part.tenant_id)
            version, seq = self._source.partitions.head(part.tenant_id, TENANT_PROJECT, stream)
            if (version, seq) == (self.chain.newest.number, last + 1):
                last = seq
        return last >= part.last_seq

    def document(self, parts: Sequence[Part], told: Callable[[int], None] = lambda events: None) -> Document:
        """Returns what the tenant's history begins from once these parts are gone; every event of them is verified.

        Raises NotCovered, Tampered.
        """
        for part in parts:
            if not self.covered(part):
                raise NotCovered(
                    f"{part.tenant_id}/{part.project_id} has events up to {part.last_seq} in the range, and checkpoints"
                    f" vouch for {self._last_mark(part.project_id)} of them: wait for the next one."
                )
        projects = self._kept({part.project_id for part in parts})
        for part in parts:
            projects[part.project_id] = self._left(part)
            told(part.events)
        return dataclasses.replace(self._below, projects=projects)

    def _kept(self, going: set[str]) -> dict[str, Genesis]:
        """What the other projects begin from already."""
        found = {}
        for project in set(self._source.partitions.projects(self._source.tenant_id)) - going:
            begun = chosen(self.beginnings.of(project), self._first(project))
            if begun is not None:
                found[project] = begun
        return found

    def _left(self, part: Part) -> Genesis:
        """Verifies a part and what follows up to a checkpoint, which proves the heads at the part's end."""
        marks = self.chain.marks.get(part.project_id, Marks())
        verifier = ProjectVerifier(part.tenant_id, part.project_id, marks)
        begun = chosen(self.beginnings.of(part.project_id), part.first_seq)
        if begun is not None:
            verifier.begin(begun.last_seq, begun.heads)
        for lines in self._source.events(part.project_id, until=part.last_seq):
            verifier.feed(lines)
        left = Genesis(part.project_id, part.last_seq, verifier.heads())
        proof = next((seq for seq in (marks.at(n)[0] for n in range(len(marks))) if seq >= part.last_seq), 0)
        for lines in self._source.events(part.project_id, after=part.last_seq, until=proof):
            verifier.feed(lines)
        self._refuse_findings(verifier.findings)
        return left

    def _first(self, project_id: str) -> int:
        return self._source.partitions.first_seq(self._source.tenant_id, project_id) or sys.maxsize

    def _last_mark(self, project_id: str) -> int:
        marks = self.chain.marks.get(project_id)
        return marks.at(len(marks) - 1)[0] if marks else 0

    def _refuse_findings(self, found: Findings) -> None:
        if found.count:
            raise Tampered(f"The history of {self._source.tenant_id} does not verify: {found.first[0]}.")
