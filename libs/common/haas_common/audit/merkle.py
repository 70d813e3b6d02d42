"""Merkle trees of the shape of RFC 6962: a node of n leaves splits at the largest power of two below n.

Bottom up that is: neighbours in pairs, a last one without a neighbour moves up as it is. The leaves of a project are
its streams' heads in the order in which the streams first appeared, so that a tree grows at its right edge alone and a
new event changes one leaf in place.
"""

import hashlib
from collections.abc import Iterable

from haas_common.audit.framing import framed

LEAF_DOMAIN = b"\x00haas.leaf.v1\x00"
PROJECT_DOMAIN = b"\x00haas.project.v1\x00"
_SIZE = hashlib.sha256().digest_size


def stream_leaf(project_id: str, stream: str, version: int, head: bytes) -> bytes:
    """Returns the leaf of a stream's head: its newest version and that event's hash."""
    return hashlib.sha256(LEAF_DOMAIN + framed(project_id, stream, version, head)).digest()


def project_leaf(project_id: str, last_seq: int, streams: int, root: bytes) -> bytes:
    """Returns the leaf of a project: how far it goes, how many streams it has, the root over their heads."""
    return hashlib.sha256(PROJECT_DOMAIN + framed(project_id, last_seq, streams, root)).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Returns what stands above two nodes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Fold:
    """The root over leaves that come one by one; it holds as many hashes as the tree is high."""

    def __init__(self) -> None:
        self._peaks: list[bytes] = []
        self.count = 0

    def add(self, leaf: bytes) -> None:
        """Takes the next leaf."""
        self.count += 1
        rest = self.count
        while not rest & 1:
            leaf = node(self._peaks.pop(), leaf)
            rest >>= 1
        self._peaks.append(leaf)

    def root(self) -> bytes:
        """Returns the root. Raises ValueError where no leaf came: there is nothing to vouch for."""
        if not self._peaks:
            raise ValueError("a tree without leaves has no root")
        *lower, found = self._peaks
        for peak in reversed(lower):
            found = node(peak, found)
        return found


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Returns the root over leaves. Raises ValueError for none."""
    fold = Fold()
    for leaf in leaves:
        fold.add(leaf)
    return fold.root()


class Tree:
    """A tree whose leaves change in place: an update of k leaves costs k times its height at most."""

    def __init__(self) -> None:
        self._levels = [bytearray()]

    def __len__(self) -> int:
        return len(self._levels[0]) // _SIZE

    def update(self, leaves: Iterable[tuple[int, bytes]]) -> None:
        """Sets leaves by their place; new ones follow on the last without a gap, in order. Raises IndexError."""
        level, changed = self._levels[0], set()
        for place, leaf in leaves:
            start = place * _SIZE
            if start > len(level):
                raise IndexError("a new leaf follows on the last one")
            level[start : start + _SIZE] = leaf
            changed.add(place)
        self._raise(changed)

    def root(self) -> bytes:
        """Returns the root. Raises ValueError for a tree without leaves."""
        if not self._levels[0]:
            raise ValueError("a tree without leaves has no root")
        return bytes(self._levels[-1])

    def _raise(self, changed: set[int]) -> None:
        sha256, height = hashlib.sha256, 0
        while len(self._levels[height]) > _SIZE:
            below = self._levels[height]
            height += 1
            if height == len(self._levels):
                self._levels.append(bytearray())
                # What stands above a former root is new altogether.
                changed = set(range(len(below) // _SIZE))
            above = self._levels[height]
            changed = {place >> 1 for place in changed}
            for place in sorted(changed):
                pair = below[2 * place * _SIZE : 2 * (place + 1) * _SIZE]
                found = sha256(b"\x01" + pair).digest() if len(pair) > _SIZE else pair
                above[place * _SIZE : (place + 1) * _SIZE] = found
