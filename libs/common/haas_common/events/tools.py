"""Events of tools: calls and refused calls, never their arguments."""

from typing import Annotated

from pydantic import Field

from haas_common.events.base import PERSONAL, Count, EventType, HexDigest, Named, Payload

_STREAM, _OWNER = "tool/<plan_id>/<task_id> or tool/<request_id>", "mcp"


class ToolInvoked(Payload):
    """A call that was let through."""

    tool: Named = Field(description="The tool.")
    request_id: Named = Field(description="The caller's id of the call.")
    arguments_sha256: HexDigest = Field(description="Of the arguments as canonical JSON (RFC 8785).")
    profile_id: str = Field(description="The profile that allowed it.")
    profile_version: Count = Field(description="The profile's version.")
    outcome: Named = Field(description="“OK”, or why it failed as a name of error_reason.proto.")
    duration_ms: Count = Field(description="How long it took, in milliseconds.")
    result_bytes: Count | None = Field(None, description="After success, how long the result is.")
    result_sha256: HexDigest | None = Field(None, description="After success, the hash of the result's JSON.")


class ToolDenied(Payload):
    """A call that policy or arguments forbade."""

    tool: str = Field(description="The tool that was asked for.")
    request_id: Named = Field(description="The caller's id of the call.")
    reason: Named = Field(description="Why, as a name of error_reason.proto.")
    metadata: Annotated[dict[str, str], PERSONAL] = Field(description="What the error says beside its reason.")
    repeats: Count = Field(description="How many of the same were left out before it.")


TYPES = (
    EventType("ToolInvoked", _STREAM, _OWNER, 1, ToolInvoked, "A tool was called."),
    EventType("ToolDenied", _STREAM, _OWNER, 1, ToolDenied, "A call to a tool was refused."),
)
