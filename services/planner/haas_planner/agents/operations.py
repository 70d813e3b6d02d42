"""Use-cases of agents: register, pause, list, and the review that ranks leaders by their results."""

from collections.abc import Callable, Sequence
from datetime import date, datetime

from haas_common import errors
from haas_common.clock import utc_now
from haas_common.db import Database, Lease, Scope, Tx
from haas_common.eventstore import NewEvent
from haas_common.profiles import Profile
from haas_planner.agents import domain, store
from haas_planner.agents.domain import Agent, Change, Roster
from haas_planner.skills.registry import SPECS

ACTOR = "planner"


class Agents:
    """What the servicer calls."""

    def __init__(self, database: Database, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    async def register(
        self, scope: Scope, agent_id: str, kind: str, skills: Sequence[str], running_max: int, actor: str
    ) -> Roster:
        """Registers an agent, or changes it; the same again changes nothing. Returns all agents.

        Raises:
            PayloadTooLarge: the project has as many as it may.
            StreamVersionConflict: somebody else changed it at the same time.
        """
        wanted = tuple(dict.fromkeys(skills))
        async with self._database.tenant_tx(scope) as tx:
            rows = {agent.agent_id: agent for agent in await store.list_rows(tx, scope)}
            known = rows.get(agent_id)
            if known is None and sum(agent.registered for agent in rows.values()) >= domain.AGENTS_MAX:
                raise errors.PayloadTooLarge(f"A project has at most {domain.AGENTS_MAX} registered agents.")
            if not _is(known, kind, wanted, running_max):
                payload = {
                    "agent_id": agent_id, "kind": kind, "skills": list(wanted), "running_max": running_max,
                }  # fmt: skip
                stream, version = store.stream_of(agent_id), known.version if known else 0
                await store.save(
                    tx, [NewEvent(scope, stream, "AgentRegistered", payload, actor, expected_version=version)]
                )
            return await store.roster(tx, scope, self._today())

    async def set_state(self, scope: Scope, agent_id: str, state: str, actor: str) -> Roster:
        """Pauses an agent, or lets it work again; the same again changes nothing. Returns all agents.

        Raises:
            ResourceNotFound: it is neither registered nor built in.
            StreamVersionConflict: somebody else changed it at the same time.
        """
        async with self._database.tenant_tx(scope) as tx:
            known = _found(await store.roster(tx, scope, self._today()), agent_id)
            if known.state != state:
                payload = {"agent_id": agent_id, "kind": known.kind, "state_from": known.state, "state_to": state}
                stream = store.stream_of(agent_id)
                await store.save(
                    tx, [NewEvent(scope, stream, "AgentStateChanged", payload, actor, expected_version=known.version)]
                )
            return await store.roster(tx, scope, self._today())

    async def roster(self, scope: Scope) -> Roster:
        """Returns the project's agents and what is measured of them."""
        async with self._database.tenant_tx(scope) as tx:
            return await store.roster(tx, scope, self._today())

    def _today(self) -> date:
        return self._now().date()


def _is(known: Agent | None, kind: str, skills: Sequence[str], running_max: int) -> bool:
    if known is None or not known.registered:
        return False
    return (known.kind, known.skills, known.running_max) == (kind, tuple(skills), running_max)


def _found(roster: Roster, agent_id: str) -> Agent:
    try:
        return roster.find(agent_id)
    except KeyError:
        raise errors.ResourceNotFound(f"There is no agent {agent_id}.", resource="agent", id=agent_id) from None


async def review(tx: Tx, scope: Scope, profile: Profile, today: date, lease: Lease | None = None) -> list[NewEvent]:
    """Ranks a project's leaders by their results, where the profile's flag `leader_promotion` asks for it.

    Args:
        tx: it sees the project.
        scope: the project.
        profile: the project's newest.
        today: results of the 90 days up to it count.
        lease: what fences the append, of a worker.

    Returns:
        What was appended: a promotion or a demotion for each leader that moved. Asked again there is nothing to append.

    Raises:
        LeaseLost, StreamVersionConflict: another writer came first.
    """
    if not profile.flags.get(domain.FLAG, False):
        return []
    roster = await store.roster(tx, scope, today)
    changes = domain.ranking(roster.leaders(profile, SPECS), roster.results, roster.ranks())
    versions = {agent.agent_id: agent.version for agent in roster.agents}
    events = [_event(scope, change, versions[change.leader.agent_id]) for change in changes]
    if events:
        await store.save(tx, events, lease)
    return events


def _event(scope: Scope, change: Change, version: int) -> NewEvent:
    leader, results = change.leader, change.results
    payload = {
        "agent_id": leader.agent_id,
        "skill": leader.skill,
        "rank_from": change.rank_from,
        "rank_to": change.rank_to,
        "explanation": change.explanation,
        "evidence": {
            "completed": results.completed,
            "failed": results.failed,
            "score": round(domain.score(results), 4),
            "rival": change.rival,
            "rival_score": round(domain.score(change.rival_results), 4),
        },
    }
    stream = store.stream_of(leader.agent_id)
    return NewEvent(
        scope, stream, "AgentPromoted" if change.promoted else "AgentDemoted", payload, ACTOR, expected_version=version
    )
