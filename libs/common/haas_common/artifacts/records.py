"""What is known of artifacts: where a draft belongs, a version's facts, what checking them found."""

import dataclasses
import datetime
from collections.abc import Sequence

from haas_common.artifacts.rules import Link


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an artifact's version; `found_hash` is empty where its bytes are gone."""

    artifact_id: str
    version: int
    problem: str
    found_hash: str = ""
    first_bad_byte: int | None = None
    last_bad_byte: int | None = None
    plan_id: str = ""
    task_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """A version of an artifact: the newest as the read model has it, an older one as the history tells."""

    artifact_id: str
    path: str
    type: str
    version: int
    hash_prev: str
    hash_curr: str
    ref: str
    signer: str
    signature: str
    plan_id: str
    task_id: str
    status: str
    size_bytes: int
    created_at: datetime.datetime
    updated_at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Verification:
    """What checking every version of an artifact found; `first_bad_version` is 0 and `fault` None where all hold.

    Attributes:
        versions: how many were checked.
        first_version: the first of them; those before went with old history (haas_common.history).
    """

    versions: int
    first_bad_version: int
    problem: str
    hash_curr: str
    fault: Fault | None = None
    first_version: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Placing:
    """Where a draft belongs; `expected_version` is the artifact's newest version where the draft was made from it."""

    artifact_id: str
    signer: str
    plan_id: str = ""
    task_id: str = ""
    links: Sequence[Link] = ()
    causation_id: str = ""
    trace_id: str = ""
    expected_version: int | None = None
