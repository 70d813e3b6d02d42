"""Verifies a tenant's history: checkpoints first, then each project against them, on several cores where asked."""

import concurrent.futures
import dataclasses
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from haas_common.audit.beginnings import Beginnings, chosen, first_seq
from haas_common.audit.blobs import BlobVerifier
from haas_common.audit.chain import Chain
from haas_common.audit.checkpoints import TENANT_PROJECT, Checkpoint
from haas_common.audit.findings import Counts, Finding, Report
from haas_common.audit.genesis import Genesis
from haas_common.audit.history import Marks, ProjectVerifier
from haas_common.audit.rows import LineTooLong
from haas_common.fleet_keys import FleetKey

Keys = Mapping[str, FleetKey]


class Source(Protocol):
    """Where a history is read from: an export, or a running fleet."""

    tenant_id: str

    def projects(self) -> list[str]:
        """Returns the projects that have events, the tenant's own ("*") among them."""
        ...

    def events(self, project_id: str) -> Iterator[list[str]]:
        """Yields a project's events as lines (haas_common.audit.rows), many at a time, in order."""
        ...

    def blob(self, project_id: str, ref: str) -> bytes | None:
        """Returns the bytes of an address; None where they are gone."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """A checkpoint that an auditor kept: it must be in the chain, as it was."""

    number: int
    digest: str

    @classmethod
    def of(cls, text: str) -> "Expected":
        """Reads "12:sha256:…". Raises ValueError."""
        number, _, digest = text.strip().partition(":")
        return cls(int(number), digest)

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Task:
    """What a process of its own needs to verify a project."""

    source: Source
    project_id: str
    marks: Marks
    artifact_keys: tuple[FleetKey, ...]
    beginnings: tuple[Genesis, ...]
    erased: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class _Done:
    """What came of it."""

    findings: list[Finding]
    count: int
    counts: Counts
    begins_after: int


def verify(
    source: Source,
    checkpoint_keys: Keys,
    artifact_keys: Keys,
    expected: Expected | None = None,
    jobs: int = 1,
    *,
    partial: bool = False,
) -> Report:
    """Verifies everything that a source has.

    Args:
        source: what to read; more than one job asks for one that can be pickled.
        checkpoint_keys: the fleet's, retired ones included.
        artifact_keys: the same for artifacts.
        expected: a checkpoint that must be in the chain.
        jobs: how many projects at a time.
        partial: whether it is known that the source has some of the projects only.
    """
    report = Report(source.tenant_id)
    chain = Chain(source.tenant_id, checkpoint_keys, report.findings)
    seen: list[str] = []

    def note(checkpoint: Checkpoint) -> None:
        report.counts.checkpoints += 1
        if expected is not None and checkpoint.number == expected.number:
            seen.append(checkpoint.digest())

    projects = source.projects()
    beginnings = Beginnings(source.tenant_id, checkpoint_keys, report.findings)
    if TENANT_PROJECT in projects:
        _read_chain(source, chain, beginnings, note, report)
    if chain.newest is not None:
        report.newest, report.digest = chain.newest.number, chain.newest.digest()
        report.signed_at = chain.newest.signed_at
    if expected is not None and seen != [expected.digest]:
        _miss(report, expected, bool(seen), chain.begins_after)
    for project in set(chain.marks) - set(projects):
        last_seq = beginnings.dropped_whole(project, chain.marks[project].at(len(chain.marks[project]) - 1)[0])
        if last_seq:
            report.dropped[project] = last_seq
    report.not_checked = sorted(set(chain.marks) - set(projects) - set(report.dropped))
    for project in () if partial else report.not_checked:
        report.findings.add(project, 0, "", 0, "checkpoints vouch for its history, and it is not here")
    keys, erased = tuple(artifact_keys.values()), frozenset(chain.erased)
    tasks = [_Task(source, p, chain.marks.get(p, Marks()), keys, beginnings.of(p), erased) for p in projects]
    for task, done in zip(tasks, _run(tasks, jobs), strict=True):
        report.findings.take(done.findings, done.count)
        report.counts.plus(done.counts)
        if done.begins_after:
            report.dropped[task.project_id] = done.begins_after
    return report


def _read_chain(
    source: Source, chain: Chain, beginnings: Beginnings, note: Callable[[Checkpoint], None], report: Report
) -> None:
    """Reads the tenant's own events: what was dropped first, for the checkpoints may begin there."""
    first = 0
    try:
        for lines in source.events(TENANT_PROJECT):
            first = first or first_seq(lines)
            beginnings.read(lines, lambda ref: source.blob(TENANT_PROJECT, ref))
        found = beginnings.document(first)
        if found is not None:
            chain.begin(found, note)
        for lines in source.events(TENANT_PROJECT):
            chain.read(lines, note)
    except LineTooLong as error:
        report.findings.add(TENANT_PROJECT, 0, "", 0, str(error))


def _miss(report: Report, expected: Expected, other: bool, begins_after: int) -> None:
    what = "is missing: newer events, and checkpoints over them, were taken away"
    if other:
        what = "is another one here"
    elif expected.number < begins_after:
        what = f"was dropped with those before {begins_after}: expect one that is still there"
    report.findings.add(TENANT_PROJECT, 0, "", 0, f"the expected checkpoint {expected.number} {what}")


def _run(tasks: list[_Task], jobs: int) -> Iterator[_Done]:
    if jobs <= 1 or len(tasks) <= 1:
        yield from map(_verify_project, tasks)
        return
    # spawn: a forked child would share the parent's connections and threads.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(min(jobs, len(tasks)), context) as pool:
        yield from pool.map(_verify_project, tasks)


def _verify_project(task: _Task) -> _Done:
    tenant_id, project_id = task.source.tenant_id, task.project_id
    verifier = ProjectVerifier(tenant_id, project_id, task.marks)
    blobs = BlobVerifier(
        tenant_id, project_id, task.source.blob, task.artifact_keys, verifier.findings, verifier.counts
    )
    verifier.watch(blobs.watched, blobs.hear)
    begins_after = -1
    try:
        for lines in task.source.events(project_id):
            if begins_after < 0:
                begins_after = _begin(verifier, chosen(task.beginnings, first_seq(lines)))
            verifier.feed(lines)
            verifier.counts.bytes += sum(map(len, lines)) + len(lines)
    except LineTooLong as error:
        verifier.findings.add(project_id, verifier.last_seq + 1, "", 0, str(error))
    if begins_after < 0:
        begins_after = _begin(verifier, chosen(task.beginnings, sys.maxsize))
    verifier.finish()
    blobs.finish(task.erased)
    return _Done(verifier.findings.first, verifier.findings.count, verifier.counts, begins_after)


def _begin(verifier: ProjectVerifier, found: Genesis | None) -> int:
    """Begins after what was dropped; returns the last seq of that."""
    if found is None:
        return 0
    verifier.begin(found.last_seq, found.heads)
    return found.last_seq
