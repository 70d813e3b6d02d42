"""The signed documents that a tenant's history may begin from, and which of them each project does begin from."""

import collections
import json
from collections.abc import Callable, Iterable, Mapping

from haas_common.audit import genesis
from haas_common.audit.checkpoints import TENANT_PROJECT
from haas_common.audit.findings import Findings
from haas_common.audit.genesis import Document, Genesis
from haas_common.audit.rows import time_of
from haas_common.fleet_keys import FleetKey

#: A range may be about to be dropped: the documents before the newest one are the ones that still count then.
_KEPT = 3


def first_seq(lines: Iterable[str]) -> int:
    """Returns the seq of a project's first line; 1 for one that cannot be read, which is told where it is verified."""
    for line in lines:
        try:
            return max(1, int(json.loads(line)["seq"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return 1
    return 1


def chosen(candidates: Iterable[Genesis], first: int) -> Genesis | None:
    """Returns what a project begins from whose first event is the `first`th; None for its very beginning."""
    before = [found for found in candidates if found.last_seq < first]
    return max(before, key=lambda found: found.last_seq, default=None)


class Beginnings:
    """What the tenant's own events say of what was dropped."""

    def __init__(self, tenant_id: str, keys: Mapping[str, FleetKey], findings: Findings) -> None:
        self._tenant_id, self._keys, self._findings = tenant_id, keys, findings
        self._documents: collections.deque[Document] = collections.deque(maxlen=_KEPT)
        self._refs: set[str] = set()

    def read(self, lines: Iterable[str], fetch: Callable[[str], bytes | None]) -> None:
        """Takes lines of the tenant's own project; `fetch` gives the bytes of an address."""
        for line in lines:
            if genesis.EVENT_TYPE not in line:
                continue
            try:
                row = json.loads(line)
                if row["event_type"] != genesis.EVENT_TYPE:
                    continue
                payload, place = json.loads(row["payload"]), (row["seq"], row["stream"], row["version"])
                ref, at = str(payload["genesis_ref"]), time_of(row["recorded_at_us"])
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
                continue  # told where the project's own chain is verified, with its place
            # One document may be named by several events, each with some of its projects.
            if ref in self._refs:
                continue
            data = fetch(ref)
            problem = genesis.problem(self._tenant_id, payload, data, self._keys, at)
            if problem:
                self._findings.add(TENANT_PROJECT, *place, problem)
            elif data is not None:
                self._refs.add(ref)
                self._documents.append(genesis.read(self._tenant_id, data))

    def of(self, project_id: str) -> tuple[Genesis, ...]:
        """Returns what a project may begin from."""
        return tuple(d.projects[project_id] for d in self._documents if project_id in d.projects)

    def document(self, first: int) -> Document | None:
        """Returns the document that the tenant's own project begins from, whose first event is the `first`th."""
        found = chosen(self.of(TENANT_PROJECT), first)
        return (
            next((d for d in reversed(self._documents) if d.projects.get(TENANT_PROJECT) == found), None)
            if found
            else None
        )

    def dropped_whole(self, project_id: str, covered: int) -> int:
        """Returns the last seq of a project of which nothing is left that a checkpoint vouches for; 0 otherwise."""
        last = max((found.last_seq for found in self.of(project_id)), default=0)
        return last if last >= covered else 0
