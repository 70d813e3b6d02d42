"""Locks on resources, with a fence: granted and released with the events that tell of it, in one transaction.

A fence grows with every grant of a path, also after its release: a late holder's writes carry a lower one.
"""

import dataclasses
import datetime

from haas_common import errors
from haas_common.db import Scope, Tx
from haas_common.eventstore import SQL, NewEvent, append
from haas_common.projections import Row, locks, past

TTL_S_MAX = 3600
LOCK_HELD = "LOCK_HELD"


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """Who wants a path, and for what.

    Attributes:
        path: the resource, of the project.
        holder: who is to hold it, e.g. a task's attempt.
        actor: who did it, for the history.
    """

    path: str
    holder: str
    actor: str
    plan_id: str = ""
    task_id: str = ""
    trace_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Lock:
    """How a path stands after a question for it: `granted`, or held by another."""

    path: str
    holder: str
    fence: int
    expires_at: datetime.datetime
    granted: bool

    def check(self) -> "Lock":
        """Returns the lock when it was granted. Raises LockHeld."""
        if not self.granted:
            sentence = f"{self.path} is locked by {self.holder}."
            raise errors.LockHeld(sentence, path=self.path, holder=self.holder, fence=self.fence)
        return self


async def grant(tx: Tx, scope: Scope, asked: Asked, ttl_s: int) -> Lock:
    """Locks a path for at most `ttl_s` seconds (an hour at most), or says who holds it; the history keeps either.

    Whoever holds it already is granted it anew, with a higher fence. By the database's clock.
    """
    if not 1 <= ttl_s <= TTL_S_MAX:
        raise ValueError(f"a lock lives 1 to {TTL_S_MAX} seconds")
    row = await tx.one(SQL.hold_lock, **_in(scope), path=asked.path)
    held = row["locked_by"] not in (locks.FREE, asked.holder) and not row["ended"]
    if held:
        facts = {
            "path": asked.path, "holder": asked.holder, "reason": LOCK_HELD, "held_by": row["locked_by"],
            "fence": row["fence"],
        }  # fmt: skip
        await append(tx, [_event(scope, asked, "LockDenied", facts)])
        return Lock(asked.path, row["locked_by"], row["fence"], row["expires_at"], granted=False)
    facts = {
        "path": asked.path, "holder": asked.holder, "fence": row["fence"] + 1, "expires_at": row["now_s"] + ttl_s,
    }  # fmt: skip
    await _project(tx, _event(scope, asked, "LockGranted", facts), None)
    until = datetime.datetime.fromtimestamp(facts["expires_at"], datetime.UTC)
    return Lock(asked.path, asked.holder, facts["fence"], until, granted=True)


async def release(tx: Tx, scope: Scope, asked: Asked, fence: int) -> bool:
    """Frees a path; False where the holder no longer holds it with this fence: then nothing is told."""
    row = await tx.one(SQL.hold_lock, **_in(scope), path=asked.path)
    if (row["locked_by"], row["fence"]) != (asked.holder, fence):
        return False
    reason = "expired" if row["ended"] else "released"
    facts = {"path": asked.path, "holder": asked.holder, "fence": fence, "reason": reason}
    await _project(tx, _event(scope, asked, "ResourceReleased", facts), {**_in(scope), "path": asked.path, **row})
    return True


async def _project(tx: Tx, event: NewEvent, before: Row | None) -> None:
    """Appends an event of a path and folds it into the read model, as a rebuild would."""
    row = locks.apply(before, past(event, (await append(tx, [event]))[0]))
    assert row is not None  # the row of a path stays
    names = ("tenant_id", "project_id", "path", "locked_by", "fence", "locked_at", "expires_at")
    await tx.run(SQL.project_lock, **{name: row[name] for name in names})


def _event(scope: Scope, asked: Asked, type_: str, facts: dict[str, object]) -> NewEvent:
    return NewEvent(
        scope, f"lock/{asked.path}", type_, facts, asked.actor, plan_id=asked.plan_id, task_id=asked.task_id,
        trace_id=asked.trace_id,
    )  # fmt: skip


def _in(scope: Scope) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}
