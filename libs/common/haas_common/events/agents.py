"""Events of agents: who is registered for which skills, who may work, and how results rank the leaders."""

from typing import Annotated, Literal

from pydantic import Field

from haas_common.events.base import Count, EventType, Hash, Named, Number, Payload

_STREAM, _SKILL, _OWNER = "agent/<agent_id>", "skill/<skill>", "planner"
Kind = Literal["leader", "specialist"]
Score = Annotated[float, Field(ge=0, le=1)]


class SkillRegistered(Payload):
    """A remote worker's skill, or what it is from here on."""

    skill: Named = Field(description="The skill.")
    agent_id: Named = Field(description="Whose it is.")
    contract_hash: Hash = Field(description="SHA-256 of its contract as it is kept, with skill and agent before it.")


class SkillRemoved(Payload):
    """A remote worker's skill that no new plan can name."""

    skill: Named = Field(description="The skill.")
    agent_id: Named = Field(description="Whose it was.")


class AgentRegistered(Payload):
    """An agent, or what it is from here on."""

    agent_id: Named = Field(description="The agent.")
    kind: Kind = Field(description="“leader” or “specialist”.")
    skills: list[Named] = Field(min_length=1, description="The skills that it does.")
    running_max: Count = Field(description="How many tasks it does at a time; 0: no limit.")


class AgentStateChanged(Payload):
    """Whether an agent takes tasks."""

    agent_id: Named = Field(description="The agent.")
    kind: Kind = Field(description="“leader” or “specialist”.")
    state_from: Literal["active", "paused"] = Field(description="The state before.")
    state_to: Literal["active", "paused"] = Field(
        description="The state from here on; one that is paused gets no task."
    )


class Evidence(Payload):
    """What a leader's move rests on."""

    completed: Count = Field(description="Its tasks that succeeded, of the last 90 days.")
    failed: Count = Field(description="Its tasks that failed for good, of the last 90 days.")
    score: Score = Field(description="The success that can be relied on (Wilson's lower bound).")
    rival: Named = Field(description="The leader that it changed places with.")
    rival_score: Score = Field(description="That leader's score.")


class AgentPromoted(Payload):
    """A leader's better place among those that produce the same."""

    agent_id: Named = Field(description="The leader.")
    skill: Named = Field(description="The skill that it leads with.")
    rank_from: Number = Field(description="Its place before; 1 comes first.")
    rank_to: Number = Field(description="Its place from here on.")
    explanation: Named = Field(description="Why, as a sentence.")
    evidence: Evidence = Field(description="The results that it rests on.")


class AgentDemoted(AgentPromoted):
    """A leader's worse place among those that produce the same."""


TYPES = (
    EventType("SkillRegistered", _SKILL, _OWNER, 1, SkillRegistered, "A remote worker brought a skill, or changed it."),
    EventType("SkillRemoved", _SKILL, _OWNER, 1, SkillRemoved, "A remote worker's skill was removed."),
    EventType("AgentRegistered", _STREAM, _OWNER, 1, AgentRegistered, "An agent was registered, or changed."),
    EventType("AgentStateChanged", _STREAM, _OWNER, 1, AgentStateChanged, "An agent was paused, or works again."),
    EventType("AgentPromoted", _STREAM, _OWNER, 1, AgentPromoted, "A leader's results moved it up."),
    EventType("AgentDemoted", _STREAM, _OWNER, 1, AgentDemoted, "A leader's results moved it down."),
)
