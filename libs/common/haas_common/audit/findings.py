"""What a verification found, and what it went through."""

import dataclasses
from collections.abc import Iterable

#: As many are told; the rest are counted.
FINDINGS_MAX = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """A row that does not hold; seq, stream and version are 0 or empty where no single row can be named."""

    project_id: str
    seq: int
    stream: str
    version: int
    what: str

    def __str__(self) -> str:
        place = f"project {self.project_id}"
        place += f", seq {self.seq}" if self.seq else ""
        place += f", {self.stream} version {self.version}" if self.stream else ""
        return f"{place}: {self.what}"


class Findings:
    """The first findings, and how many there were in all."""

    def __init__(self) -> None:
        self.first: list[Finding] = []
        self.count = 0

    def add(self, project_id: str, seq: int, stream: str, version: int, what: str) -> None:
        """Keeps a finding."""
        self.take([Finding(project_id, seq, stream, version, what)])

    def take(self, found: Iterable[Finding], count: int | None = None) -> None:
        """Keeps findings of another list; `count` is how many there were there in all."""
        found = list(found)
        self.count += len(found) if count is None else count
        self.first += found[: FINDINGS_MAX - len(self.first)]


@dataclasses.dataclass(slots=True)
class Counts:
    """What was gone through.

    Attributes:
        bytes: of the events as they are exported.
        artifacts: versions whose bytes were checked.
        erased: versions whose bytes are gone because their subject's data was erased.
        not_covered: events after the newest checkpoint.
    """

    events: int = 0
    bytes: int = 0
    streams: int = 0
    projects: int = 0
    checkpoints: int = 0
    artifacts: int = 0
    erased: int = 0
    not_covered: int = 0

    def plus(self, other: "Counts") -> None:
        """Adds another's."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclasses.dataclass(slots=True)
class Report:
    """What a verification says.

    Attributes:
        newest: the newest checkpoint's number; 0 for none.
        digest: its digest; what to keep, and to give as `expect` next time.
        not_checked: projects that the newest checkpoint vouches for and that were not read.
        dropped: projects whose oldest events were dropped, and after which seq each begins.
    """

    tenant_id: str
    counts: Counts = dataclasses.field(default_factory=Counts)
    findings: Findings = dataclasses.field(default_factory=Findings)
    newest: int = 0
    digest: str = ""
    signed_at: str = ""
    not_checked: list[str] = dataclasses.field(default_factory=list)
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """Whether everything holds."""
        return self.findings.count == 0
