"""Events of the notifier: who was told what (plan §4.4)."""

from typing import Annotated, Any

from pydantic import Field

from haas_common.events.base import PERSONAL, EventType, Named, Number, Payload
from haas_common.events.plans import Two


class Content(Payload):
    """What an envelope is about."""

    task_id: str = Field("", description="The task; empty for the whole plan.")
    error_code: str = Field("", description="The error's code; empty for none.")
    message: Annotated[str, PERSONAL] = Field("", description="What happened, as a sentence.")
    context_artifact_id: str = Field("", description="The artifact to read first.")
    replan_scope: str = Field("", description="What is to be planned anew; empty for nothing.")
    plan_id: str = Field("", description="The plan.")


class Envelope(Payload):
    """A message to one receiver as it was sent; what the event's own place says may be left out."""

    message_id: Named = Field(description="The same for the same event and receiver.")
    conversation_id: str = Field("", description="The plan.")
    sender_id: str = Field("", description="Who sent it.")
    receiver_id: Named = Field(description="Who it is for.")
    timestamp: str = Field("", description="When it was sent, ISO 8601; empty: when the event was recorded.")
    performative: Named = Field(description="What is wanted of the receiver, e.g. “HALT”.")
    schema_version: str = Field("", description="The envelope's form.")
    tenant_id: str = Field("", description="The tenant.")
    project_id: str = Field("", description="The project.")
    nl_summary: Annotated[str, PERSONAL] = Field(description="For people.")
    content: Content = Field(description="For programs.")
    seq: int = Field(0, ge=0, description="The seq of the event that tells of it; 0: this one's.")


class Sent(Payload):
    """Who was told of an event."""

    cause_seq: Number = Field(description="The event that they were told of.")
    receivers: list[Two] = Field(description="Each receiver as [id, performative].")
    envelope: Envelope | None = Field(None, description="What the receiver was told; absent before version 2.")


class NotificationSent(Payload):
    """Envelopes of one plan."""

    envelopes: list[Sent] = Field(min_length=1, description="What was sent, by the event that led to it.")


def from_1(payload: dict[str, Any]) -> dict[str, Any]:
    """Version 1 said who was told, not what: the envelopes stood in their table alone."""
    return {**payload, "envelopes": [{**sent, "envelope": None} for sent in payload["envelopes"]]}


TYPES = (EventType("NotificationSent", "notify/<plan_id>", "notifier", 2, NotificationSent, "Envelopes were sent."),)
