"""Verifies one project's history as it streams by: every link, every number, every checkpoint's root.

Nothing is parsed but the line itself; the payload is hashed as the text that it is. Measured on one core: see
docs/reference/performance.md.
"""

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

from haas_common.audit.findings import Counts, Findings
from haas_common.audit.merkle import Tree, stream_leaf
from haas_common.audit.rows import FIELDS

EVENT_DOMAIN = b"haas.event.v1\x00"
GENESIS = bytes(32)
_CACHED_MAX = 50_000
_NEVER = 2**63
_LENGTHS = tuple(n.to_bytes(4, "big") for n in range(64))
_values = itemgetter(*FIELDS)
#: What reading a line raises that is no event: whoever made the export may have put anything there.
_UNREADABLE = (
    StopIteration, ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError, RecursionError,
)  # fmt: skip
#: Of an event whose payload matters to somebody: seq, stream, version, type, payload text, recorded_at_us.
Watch = Callable[[int, str, int, str, str, int], None]
Head = tuple[int, int, bytes]


class Frames(dict[str, bytes]):
    """Texts as they are hashed; those that come again and again (types, actors, plans) are framed once."""

    def __missing__(self, text: str) -> bytes:
        data = text.encode()
        found = len(data).to_bytes(4, "big") + data
        if len(self) < _CACHED_MAX:
            self[text] = found
        return found


class Marks:
    """What checkpoints say of one project, oldest first; packed, since one is signed every minute for years."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._roots = bytearray()

    def add(self, last_seq: int, streams: int, root: bytes, number: int) -> None:
        """Takes the next one."""
        self._numbers.extend((last_seq, streams, number))
        self._roots += root

    def __len__(self) -> int:
        return len(self._numbers) // 3

    def at(self, place: int) -> tuple[int, int, bytes, int]:
        """Returns (last_seq, streams, root, number)."""
        last_seq, streams, number = self._numbers[3 * place : 3 * place + 3]
        return last_seq, streams, bytes(self._roots[32 * place : 32 * place + 32]), number


class ProjectVerifier:
    """The history of one project, so far."""

    def __init__(self, tenant_id: str, project_id: str, marks: Marks) -> None:
        """Begins before the first event; `marks` is what the checkpoints say of the project."""
        self.tenant_id, self.project_id = tenant_id, project_id
        self.findings, self.counts = Findings(), Counts(projects=1)
        self.last_seq = 0
        self._marks, self._next = marks, 0
        self._watched: frozenset[str] = frozenset()
        self._hear: Watch | None = None
        self._heads: dict[str, Head] = {}
        self._dirty: set[str] = set()
        self._tree = Tree()
        self._frames = Frames()
        self._good_seq = 0

    def watch(self, types: frozenset[str], hear: Watch) -> None:
        """Has `hear` called with every event of these types, once its link was checked."""
        self._watched, self._hear = types, hear

    def begin(self, last_seq: int, heads: Iterable[tuple[str, int, bytes]]) -> None:
        """Begins after a dropped range: from the heads (stream, version, hash) that the fleet signed.

        Later checkpoints vouch for them too: their roots are over all heads, whether anything followed on them or not.
        """
        for ordinal, (stream, version, head) in enumerate(heads):
            self._heads[stream] = (ordinal, version, head)
        self._dirty = set(self._heads)
        self.last_seq = self._good_seq = last_seq
        while self._next < len(self._marks) and self._marks.at(self._next)[0] < last_seq:
            self._next += 1
        if self._next < len(self._marks) and self._marks.at(self._next)[0] == last_seq:
            self._check_marks()

    def heads(self) -> tuple[tuple[str, int, bytes], ...]:
        """Returns the streams' heads as far as it has come, in the order of their ordinals."""
        return tuple((s, version, head) for s, (_, version, head) in self._heads.items())

    def feed(self, lines: Iterable[str]) -> None:
        """Takes the next lines, in order."""
        scan, frames, heads, dirty = json.JSONDecoder().scan_once, self._frames, self._heads, self._dirty
        sha256, lengths, watched = hashlib.sha256, _LENGTHS, self._watched
        project, tenant, seq_before = self.project_id, self.tenant_id, self.last_seq
        mark = self._marks.at(self._next)[0] if self._next < len(self._marks) else _NEVER
        for line in lines:
            try:
                found, end = scan(line, 0)
                (of_tenant, of_project, seq, stream, version, kind, schema, plan, task, actor, causation, correlation,
                 trace, at, payload, digits) = _values(found)  # fmt: skip
                t_seq, t_version, t_schema, t_at = b"%d" % seq, b"%d" % version, b"%d" % schema, b"%d" % at
                t_trace, t_payload, stored = trace.encode(), payload.encode(), bytes.fromhex(digits)
                ordinal, version_before, before = heads.get(stream) or (len(heads), 0, GENESIS)
                link = sha256(
                    b"".join((
                        EVENT_DOMAIN, before, frames[of_tenant], frames[of_project], lengths[len(t_seq)], t_seq,
                        frames[stream], lengths[len(t_version)], t_version, frames[kind], lengths[len(t_schema)],
                        t_schema, frames[plan], frames[task], frames[actor], frames[causation], frames[correlation],
                        len(t_trace).to_bytes(4, "big"), t_trace, lengths[len(t_at)], t_at,
                        len(t_payload).to_bytes(4, "big"), t_payload,
                    ))
                ).digest()  # fmt: skip
                odd = end != len(line) or len(found) != len(FIELDS) or len(stored) != len(GENESIS)
            except _UNREADABLE:
                seq_before = self._malformed(line, seq_before)
                continue
            if (
                link != stored or seq != seq_before + 1 or version != version_before + 1 or odd
                or of_project != project or of_tenant != tenant
            ):  # fmt: skip
                self._name(link, stored, (seq, seq_before), (stream, version, version_before), odd, found)
            heads[stream] = (ordinal, version, stored)
            dirty.add(stream)
            seq_before = seq
            self.counts.events += 1
            if seq >= mark:
                self.last_seq = seq
                mark = self._check_marks()
            if kind in watched and self._hear is not None:
                self._hear(seq, stream, version, kind, payload, at)
        self.last_seq = seq_before

    def finish(self) -> None:
        """Looks at what should have come still, and counts."""
        covered = self._marks.at(len(self._marks) - 1)[0] if len(self._marks) else 0
        if self.last_seq < covered:
            number = next(n for n in map(self._marks.at, range(len(self._marks))) if n[0] > self.last_seq)[3]
            what = f"the history ends at seq {self.last_seq}; checkpoint {number} vouches for more, up to {covered}"
            self._bad(self.last_seq + 1, "", 0, what)
        self.counts.not_covered = max(0, self.last_seq - covered)
        self.counts.streams = len(self._heads)

    def _bad(self, seq: int, stream: str, version: int, what: str) -> None:
        self.findings.add(self.project_id, seq, stream, version, what)

    def _malformed(self, line: str, seq_before: int) -> int:
        """An empty last line is none; anything else stands where the next event should."""
        if not line:
            return seq_before
        self._bad(seq_before + 1, "", 0, "the row cannot be read as an event")
        return seq_before + 1

    def _name(
        self, link: bytes, stored: bytes, seqs: tuple[int, int], place: tuple[str, int, int], odd: bool, found: Any
    ) -> None:
        """Says what does not hold, the plainest first."""
        (seq, seq_before), (stream, version, version_before) = seqs, place
        if (found["tenant_id"], found["project_id"]) != (self.tenant_id, self.project_id):
            what = "the event belongs to another tenant or project"
        elif odd:
            what = "the row has fields that no event has"
        elif seq > seq_before + 1:
            what = f"events are missing: seq {seq_before + 1} to {seq - 1}"
            seq = seq_before + 1
        elif seq <= seq_before:
            what = f"seq {seq} comes after {seq_before}: rows were added, repeated or put in another order"
        elif version != version_before + 1:
            what = f"the stream's version {version_before + 1} is missing or out of order"
        else:
            what = f"the hash does not follow: it is {stored.hex()[:16]}…, the row gives {link.hex()[:16]}…"
        self._bad(seq, stream, version, what)

    def _check_marks(self) -> int:
        """Compares the root with what checkpoints say of this seq; returns the next seq that one speaks of."""
        self._tree.update(
            (ordinal, stream_leaf(self.project_id, stream, version, head))
            for ordinal, version, head, stream in sorted((*self._heads[s], s) for s in self._dirty)
        )
        self._dirty.clear()
        root = self._tree.root()
        while self._next < len(self._marks):
            last_seq, streams, expected, number = self._marks.at(self._next)
            if last_seq > self.last_seq:
                return last_seq
            self._next += 1
            if last_seq < self.last_seq:
                continue  # its event was missing, which has been told
            if (root, len(self._heads)) != (expected, streams):
                where = f"checkpoint {number} vouches for another history: something from seq {self._good_seq + 1} to"
                self._bad(self._good_seq + 1, "", 0, f"{where} {last_seq} was changed, and its hashes made anew")
            self._good_seq = last_seq
        return _NEVER
