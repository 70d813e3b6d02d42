"""What every event type is made of: a payload's model, its stream, its owner, and the mark of personal fields."""

import dataclasses
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


@dataclasses.dataclass(frozen=True, slots=True)
class Personal:
    """Marks a field that can hold what a person said or did: it is sealed at append and can be erased."""


#: `text: Annotated[str, PERSONAL]`; `personal_paths` finds it.
PERSONAL = Personal()

Hash = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
HexDigest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]
Named = Annotated[str, Field(min_length=1)]


class Payload(BaseModel):
    """A payload, or a part of one: unknown fields and other types are refused, nothing is converted.

    A service compiles only what it appends (`defer_build`): all models compiled took 4 MiB more in every process.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Nothing(Payload):
    """An event that says all by its type."""


@dataclasses.dataclass(frozen=True, slots=True)
class EventType:
    """A type of events.

    Attributes:
        name: in the past tense, e.g. "TaskCompleted".
        stream: where it stands, e.g. "plan/<plan_id>".
        owner: the services that append it; nobody else does (design 2).
        schema_version: of the payload as it is appended today; upcast brings older ones here.
        payload: its model.
        description: one line.
    """

    name: str
    stream: str
    owner: str
    schema_version: int
    payload: type[Payload]
    description: str
