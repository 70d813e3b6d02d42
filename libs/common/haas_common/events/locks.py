"""Events of locks on resources: who holds what, with the fence that a late holder's writes are refused by."""

from pydantic import Field

from haas_common.events.base import EventType, Named, Number, Payload

_STREAM, _OWNER = "lock/<path>", "planner"


class LockGranted(Payload):
    """A lock that was taken."""

    path: Named = Field(description="The resource.")
    holder: Named = Field(description="Who holds it: a task's attempt.")
    fence: Number = Field(description="Grows with every grant; a write with a lower one is refused.")
    expires_at: int = Field(ge=0, description="When it ends unless it is renewed, in seconds of the epoch.")


class LockDenied(Payload):
    """A lock that somebody else holds."""

    path: Named = Field(description="The resource.")
    holder: Named = Field(description="Who asked for it.")
    reason: Named = Field(description="Why, as a name of error_reason.proto.")
    held_by: str = Field("", description="Who holds it.")
    fence: int = Field(0, ge=0, description="The fence of whoever holds it.")


class ResourceReleased(Payload):
    """A lock that is free again."""

    path: Named = Field(description="The resource.")
    holder: Named = Field(description="Who held it.")
    fence: Number = Field(description="The fence that it was held with.")
    reason: Named = Field("released", description="“released” by its holder, or “expired”.")


TYPES = (
    EventType("LockGranted", _STREAM, _OWNER, 1, LockGranted, "A resource was locked."),
    EventType("LockDenied", _STREAM, _OWNER, 1, LockDenied, "A resource could not be locked."),
    EventType("ResourceReleased", _STREAM, _OWNER, 1, ResourceReleased, "A resource is free again."),
)
