"""Events of hooks: which webhooks of systems outside a project takes, and what they signal."""

from pydantic import Field

from haas_common.events.base import EventType, Named, Payload

_STREAM, _OWNER = "hook/<hook_id>", "planner"


class HookRegistered(Payload):
    """A hook, or what it is from here on."""

    hook_id: Named = Field(description="The hook.")
    signal: Named = Field(description="The signal that it gives.")
    plan_path: str = Field(description="The JMESPath that finds the plan's id in a body; empty: the URL names it.")
    value_path: str = Field(description="The JMESPath that gives the signal's value; empty: the body as it is.")
    new_secret: bool = Field(description="Whether its secret was made; it stands nowhere in the history.")


class HookRemoved(Payload):
    """A hook whose webhooks are no longer taken."""

    hook_id: Named = Field(description="The hook.")


TYPES = (
    EventType("HookRegistered", _STREAM, _OWNER, 1, HookRegistered, "A hook was made, or changed."),
    EventType("HookRemoved", _STREAM, _OWNER, 1, HookRemoved, "A hook was removed."),
)
