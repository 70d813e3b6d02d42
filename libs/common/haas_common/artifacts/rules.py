"""What an artifact may become and refer to: statuses, links, limits (plan §4.2). Pure.

    draft → in_progress → final → superseded
    and from each of the first three: invalid

A version never changes but for its status. A new version of a final artifact supersedes the version before it.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from haas_common import errors

BYTES_MAX = 1024 * 1024
LINKS_MAX = 200
PER_PLAN_MAX = 5_000
LINK_REF_CHARS_MAX = 200

DRAFT, IN_PROGRESS, FINAL, SUPERSEDED, INVALID = "draft", "in_progress", "final", "superseded", "invalid"
STATUSES = (DRAFT, IN_PROGRESS, FINAL, SUPERSEDED, INVALID)
#: Where a version's status may move.
MOVES: Mapping[str, frozenset[str]] = {
    DRAFT: frozenset({IN_PROGRESS, INVALID}),
    IN_PROGRESS: frozenset({FINAL, INVALID}),
    FINAL: frozenset({SUPERSEDED, INVALID}),
    SUPERSEDED: frozenset(),
    INVALID: frozenset(),
}
#: What status the next version may begin with: work goes on, or begins anew after a result or a mistake.
FOLLOWERS: Mapping[str, frozenset[str]] = {
    "": frozenset({DRAFT, IN_PROGRESS, FINAL}),
    DRAFT: frozenset({DRAFT, IN_PROGRESS, FINAL}),
    IN_PROGRESS: frozenset({IN_PROGRESS, FINAL}),
    FINAL: frozenset({DRAFT, IN_PROGRESS, FINAL}),
    SUPERSEDED: frozenset(),
    INVALID: frozenset({DRAFT, IN_PROGRESS, FINAL}),
}
LINK_TYPES = ("depends_on", "derived_from", "supersedes", "reports")


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A reference to an artifact of the project, a task of the plan, an uploaded input or a document (by hash)."""

    type: str
    ref: str


def depends_on(refs: Sequence[str]) -> tuple[Link, ...]:
    """Returns links of the usual type."""
    return tuple(Link("depends_on", ref) for ref in refs)


def check_move(artifact_id: str, status: str, to: str) -> None:
    """Refuses a move that the machine does not have. Raises ArtifactStatusConflict."""
    if to not in MOVES.get(status, ()):
        raise _conflict(artifact_id, f"is {status} and cannot become {to}", status, MOVES.get(status, ()))


def check_next(artifact_id: str, before: str, status: str) -> None:
    """Refuses a version whose status cannot follow the one before (empty: none). Raises ArtifactStatusConflict."""
    if status not in FOLLOWERS.get(before, ()):
        now = f"is {before}: its next version" if before else "is new: its first version"
        raise _conflict(artifact_id, f"{now} cannot be {status}", before, FOLLOWERS.get(before, ()))


def _conflict(artifact_id: str, what: str, status: str, allowed: Collection[str]) -> errors.ArtifactStatusConflict:
    listed = ", ".join(s for s in STATUSES if s in allowed) or "nothing"
    return errors.ArtifactStatusConflict(
        f"{artifact_id} {what}.", artifact_id=artifact_id, status=status, allowed=listed
    )


def overtaken(status: str) -> str:
    """Returns what an older version's status is once another came after it."""
    return SUPERSEDED if status == FINAL else status


def check_links(links: Sequence[Link]) -> None:
    """Checks the links' form; whether they lead anywhere is asked of the database. Raises FieldInvalid."""
    if len(links) > LINKS_MAX:
        raise errors.FieldInvalid(f"links: at most {LINKS_MAX}.", field="links", rule=f"at most {LINKS_MAX}")
    for n, link in enumerate(links):
        if link.type not in LINK_TYPES:
            rule = f"one of {', '.join(LINK_TYPES)}"
            raise errors.FieldInvalid(f"links[{n}].type: {rule}.", field=f"links[{n}].type", rule=rule)
        if not 0 < len(link.ref) <= LINK_REF_CHARS_MAX or "\0" in link.ref:
            rule = f"1 to {LINK_REF_CHARS_MAX} characters"
            raise errors.FieldInvalid(f"links[{n}].ref: {rule}.", field=f"links[{n}].ref", rule=rule)


def refuse_dangling(links: Sequence[Link], dangling: frozenset[str]) -> None:
    """Refuses links that lead nowhere. Raises FieldInvalid, which names the first."""
    for n, link in enumerate(links):
        if link.ref in dangling:
            rule = "an artifact of the project, a task of the plan, an input or a document"
            sentence = f"links[{n}].ref: {link.ref} is no {rule.removeprefix('an ')}."
            raise errors.FieldInvalid(sentence, field=f"links[{n}].ref", rule=rule, ref=link.ref)
