"""The API of agents: messages to domain values and back."""

from typing import Any

from haas.planner.v1 import agents_pb2, agents_pb2_grpc
from haas_common.calls import current_call
from haas_planner.agents.domain import NO_RESULTS, Agent, Measured, Results, score
from haas_planner.agents.operations import Agents

_KIND = {"leader": agents_pb2.AGENT_KIND_LEADER, "specialist": agents_pb2.AGENT_KIND_SPECIALIST}
_KIND_OF = {number: name for name, number in _KIND.items()}
_STATE = {"active": agents_pb2.AGENT_STATE_ACTIVE, "paused": agents_pb2.AGENT_STATE_PAUSED}
_STATE_OF = {number: name for name, number in _STATE.items()}


def _results(skill: str, results: Results) -> agents_pb2.AgentResults:
    return agents_pb2.AgentResults(
        skill=skill, completed=results.completed, failed=results.failed, duration_ms=results.duration_ms,
        tokens=results.tokens, money_micros=results.money_micros, score=round(score(results), 4),
    )  # fmt: skip


def _agent(agent: Agent, measured: Measured) -> agents_pb2.Agent:
    """Returns the message of an agent; skills that it did once and does no more are listed with their results."""
    done = {skill for agent_id, skill in measured if agent_id == agent.agent_id}
    return agents_pb2.Agent(
        agent_id=agent.agent_id, kind=_KIND[agent.kind], skills=agent.skills, running_max=agent.running_max,
        rank=agent.rank, state=_STATE[agent.state], registered=agent.registered,
        results=[_results(s, measured.get((agent.agent_id, s), NO_RESULTS)) for s in sorted(done)],
    )  # fmt: skip


class AgentsServicer(agents_pb2_grpc.AgentsServicer):
    """haas.planner.v1.Agents; each method is described in agents.proto."""

    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    async def RegisterAgent(self, request: Any, context: Any) -> agents_pb2.RegisterAgentResponse:
        """Registers an agent."""
        call = current_call()
        wanted = (_KIND_OF[request.kind], list(request.skills), request.running_max)
        roster = await self._agents.register(call.scope, request.agent_id, *wanted, call.actor)
        return agents_pb2.RegisterAgentResponse(agent=_agent(roster.find(request.agent_id), roster.results))

    async def ListAgents(self, request: Any, context: Any) -> agents_pb2.ListAgentsResponse:
        """Lists the project's agents."""
        roster = await self._agents.roster(current_call().scope)
        return agents_pb2.ListAgentsResponse(agents=[_agent(agent, roster.results) for agent in roster.agents])

    async def SetAgentState(self, request: Any, context: Any) -> agents_pb2.SetAgentStateResponse:
        """Pauses an agent, or lets it work again."""
        call = current_call()
        roster = await self._agents.set_state(call.scope, request.agent_id, _STATE_OF[request.state], call.actor)
        return agents_pb2.SetAgentStateResponse(agent=_agent(roster.find(request.agent_id), roster.results))
