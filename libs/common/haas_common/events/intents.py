"""Events of the orchestrator: what was asked for, what was handed over, and the brief that came of it."""

from typing import Annotated, Any

from pydantic import Field

from haas_common.events.base import PERSONAL, Count, EventType, Hash, Named, Payload


class InputUploaded(Payload):
    """A file that was kept."""

    ref: Hash = Field(description="Of its bytes, in the blob store.")
    name: Annotated[str, PERSONAL] = Field(description="The file's name.")
    size_bytes: Count = Field(description="How many bytes it has.")
    rows: Count = Field(description="A table's rows; 0 for a text.")
    lenient: bool = Field(description="Whether broken rows were let pass.")


class IntentDetected(Payload):
    """What a text asks for."""

    text: Annotated[str, PERSONAL] = Field(description="What was said: its first 4,000 characters.")
    intent: Named = Field(description="One of the profile's intents, or “unknown”.")
    slots: Annotated[dict[str, str], PERSONAL] = Field(description="What the text says about each slot.")
    confidence: float = Field(ge=0, le=1, description="How near the text is to the intent's examples, 0 to 1.")
    language: Named = Field(description="The language that is answered in.")
    engine: Named = Field(description="What detected it: “offline”, or the model.")


class BriefCreated(Payload):
    """A brief, and how it was chosen; a long audit lies in the blob store."""

    artifact_id: Named = Field(description="The brief.")
    goals: Annotated[list[str], PERSONAL] = Field(description="The types of the values that the plan is to produce.")
    audit: Annotated[dict[str, Any], PERSONAL] | None = Field(
        None, description="The candidates, their scores, and the reasoning that led to one of them."
    )
    audit_ref: Hash | None = Field(None, description="Instead of a long `audit`, the blob that holds it.")


TYPES = (
    EventType("InputUploaded", "input/<hash>", "orchestrator", 1, InputUploaded, "A file was uploaded."),
    EventType("IntentDetected", "intent/<plan_id>", "orchestrator", 1, IntentDetected, "A request was understood."),
    EventType("BriefCreated", "brief/<plan_id>", "orchestrator", 1, BriefCreated, "A brief was written."),
)
