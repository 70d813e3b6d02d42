"""The rules of agents: how results are scored, who gets a task, when a leader changes places. Pure.

A score is the lower bound of Wilson's interval for the share of tasks that succeeded (E. B. Wilson, “Probable
inference, the law of succession, and statistical inference”, JASA 22, 1927, 209-212): the success that can be relied
on, so that 3 of 3 does not beat 98 of 100.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from haas_common.profiles import Profile
from haas_planner.skills.spec import SkillSpec

FLAG = "leader_promotion"
#: Two-sided 95 %.
_Z = 1.959964
#: Scores closer than this count as equal: time decides, then cost.
_STEP = 0.02
#: An agent with fewer results is tried, whatever its score.
FEW = 20
#: Every so many tasks of a skill one goes to an agent with few results, while there is one.
EXPLORE_EVERY = 10
#: Leaders change places when both have at least so many results …
SAMPLE_MIN = 20
#: … and their scores are so far apart: for the way back they must move by twice as much.
MARGIN = 0.1
#: Results count for so many days.
WINDOW_DAYS = 90
AGENTS_MAX = 200


@dataclass(frozen=True, slots=True)
class Results:
    """What an agent's tasks of a skill came to."""

    completed: int = 0
    failed: int = 0
    duration_ms: int = 0
    tokens: int = 0
    money_micros: int = 0

    @property
    def total(self) -> int:
        """How many ended."""
        return self.completed + self.failed

    def mean(self, amount: int) -> float:
        """Returns an amount by task."""
        return amount / self.total if self.total else 0.0


NO_RESULTS = Results()
#: By agent and skill.
Measured = Mapping[tuple[str, str], Results]


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent as it stands.

    Attributes:
        kind: "leader" or "specialist".
        running_max: how many tasks it does at a time; 0: no limit.
        rank: a leader's place by its results, 1 comes first; 0 while results have not moved it.
        state: "active" or "paused".
        registered: whether it was registered; otherwise it is one of the built-in skills' agents.
        version: of its stream.
    """

    agent_id: str
    kind: str
    skills: tuple[str, ...]
    running_max: int = 0
    rank: int = 0
    state: str = "active"
    registered: bool = False
    version: int = 0


@dataclass(frozen=True, slots=True)
class Leader:
    """An agent as one that leads with a skill."""

    agent_id: str
    skill: str


@dataclass(frozen=True, slots=True)
class Change:
    """A leader's move to another place, and the rival that it last changed places with."""

    leader: Leader
    rank_from: int
    rank_to: int
    results: Results
    rival: str
    rival_results: Results

    @property
    def promoted(self) -> bool:
        """Whether it moves up."""
        return self.rank_to < self.rank_from

    @property
    def explanation(self) -> str:
        """Why, as a sentence."""
        order = "before" if self.promoted else "behind"
        mine, other = self.results, self.rival_results
        return (
            f"{self.leader.agent_id} moves from place {self.rank_from} to {self.rank_to}, {order} {self.rival}: of its"
            f" {mine.total} tasks {mine.completed} succeeded (score {score(mine):.2f}), of the other's {other.total}"
            f" {other.completed} (score {score(other):.2f})."
        )


def score(results: Results) -> float:
    """Returns the success that can be relied on, from 0 (nothing is known) to 1."""
    n = results.total
    if results.completed == 0:
        return 0.0
    share, z2 = results.completed / n, _Z * _Z
    spread = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, (share + z2 / (2 * n) - spread) / (1 + z2 / n))


def _worth(results: Results) -> tuple[float, float, float]:
    """What comes first sorts lowest: success, then a task's time, then its cost."""
    steps = round(score(results) / _STEP)
    return -steps, results.mean(results.duration_ms), results.mean(results.money_micros)


def assign(
    skill: str,
    candidates: Sequence[Agent],
    results: Measured,
    running: Mapping[str, int],
    turn: int | None = None,
) -> str | None:
    """Chooses who does a task: the best by its results, and now and then one of whom little is known.

    Args:
        skill: the task's skill.
        candidates: the agents that do it, see `Roster.candidates`.
        results: what is measured.
        running: how many tasks each agent has under way.
        turn: counts the project's tasks of this skill; every tenth explores. Unless given, results and running tell.

    Returns:
        The agent, or None where nobody has room.
    """
    room = [a for a in candidates if not a.running_max or running.get(a.agent_id, 0) < a.running_max]
    if not room:
        return None
    known = {a.agent_id: results.get((a.agent_id, skill), NO_RESULTS) for a in candidates}
    if turn is None:
        turn = sum(known[a.agent_id].total + running.get(a.agent_id, 0) for a in candidates)

    def tried(agent: Agent) -> int:
        return known[agent.agent_id].total + running.get(agent.agent_id, 0)

    if turn % EXPLORE_EVERY == 0:
        new = [a for a in room if tried(a) < FEW]
        if new:
            return min(new, key=lambda a: (tried(a), a.agent_id)).agent_id
    best = min(room, key=lambda a: (*_worth(known[a.agent_id]), running.get(a.agent_id, 0), a.agent_id))
    return best.agent_id


def preferred(profile: Profile, specs: Sequence[SkillSpec]) -> list[SkillSpec]:
    """Returns the skills that the profile offers: leaders in the profile's own order, then the registry's order."""
    place = {name: i for i, name in enumerate(profile.leaders)}
    return sorted((s for s in specs if profile.offers(s.name)), key=lambda s: place.get(s.name, len(place)))


def defaults(specs: Iterable[SkillSpec]) -> dict[str, Agent]:
    """Returns the agents of the built-in skills, which nobody has to register."""
    found: dict[str, Agent] = {}
    for spec in specs:
        if spec.kind not in ("leader", "specialist"):
            continue
        known = found.setdefault(spec.owner_agent_id, Agent(spec.owner_agent_id, spec.kind, ()))
        found[spec.owner_agent_id] = replace(known, skills=(*known.skills, spec.name))
    return found


def merged(built_in: Mapping[str, Agent], rows: Iterable[Agent]) -> tuple[Agent, ...]:
    """Returns all agents, by id. A row overrides a built-in agent; one without skills leaves it its own."""
    found = dict(built_in)
    for row in rows:
        own = built_in.get(row.agent_id)
        found[row.agent_id] = replace(row, skills=own.skills, kind=own.kind) if own and not row.skills else row
    return tuple(found[agent_id] for agent_id in sorted(found))


@dataclass(frozen=True, slots=True)
class Roster:
    """A project's agents and what is measured of them, at a moment."""

    agents: tuple[Agent, ...]
    results: Measured

    def find(self, agent_id: str) -> Agent:
        """Returns an agent. Raises KeyError."""
        for agent in self.agents:
            if agent.agent_id == agent_id:
                return agent
        raise KeyError(agent_id)

    def candidates(self, skill: str) -> list[Agent]:
        """Returns who takes tasks of a skill."""
        return [a for a in self.agents if skill in a.skills and a.state == "active"]

    def ranks(self) -> dict[str, int]:
        """Returns the places that results have given leaders."""
        return {a.agent_id: a.rank for a in self.agents if a.rank}

    def leaders(self, profile: Profile, specs: Sequence[SkillSpec]) -> list[list[Leader]]:
        """Returns the leaders that produce the same values, group by group, in the profile's order.

        An agent stands in one group: that of its first skill in that order.
        """
        groups: dict[tuple[str, ...], list[Leader]] = defaultdict(list)
        seen: set[str] = set()
        for spec in preferred(profile, specs):
            if spec.kind != "leader":
                continue
            own = sorted(
                (a for a in self.agents if a.kind == "leader" and spec.name in a.skills and a.agent_id not in seen),
                key=lambda a: (a.agent_id != spec.owner_agent_id, a.agent_id),
            )
            seen.update(a.agent_id for a in own)
            groups[written(spec)] += [Leader(a.agent_id, spec.name) for a in own]
        return list(groups.values())

    def places(self, profile: Profile, specs: Sequence[SkillSpec]) -> dict[str, int]:
        """Returns the place of each leader's skill among those that produce the same; empty without the flag."""
        if not profile.flags.get(FLAG, False):
            return {}
        found: dict[str, int] = {}
        for group in self.leaders(profile, specs):
            skills = dict.fromkeys(leader.skill for leader in placed(group, self.ranks()))
            found |= {skill: place for place, skill in enumerate(skills, start=1)}
        return found


def written(spec: SkillSpec) -> tuple[str, ...]:
    """Returns the types that a skill writes: what makes leaders rivals."""
    return tuple(sorted(kind for _, kind in spec.writes))


def placed(group: Sequence[Leader], ranks: Mapping[str, int]) -> list[Leader]:
    """Returns a group in its order: those with a rank at their places, the others around them as they came."""
    found = [leader for leader in group if not ranks.get(leader.agent_id)]
    ranked = [leader for leader in group if ranks.get(leader.agent_id)]
    for leader in sorted(ranked, key=lambda one: ranks[one.agent_id]):
        found.insert(ranks[leader.agent_id] - 1, leader)
    return found


def ranking(groups: Sequence[Sequence[Leader]], results: Measured, ranks: Mapping[str, int]) -> list[Change]:
    """Returns the moves that results ask for. Asked again with the same results there are none.

    Neighbours change places when the lower one's score is higher by MARGIN, and so is its share of successes: more
    results alone move nobody.
    """
    return [change for group in groups for change in _moves(placed(group, ranks), results, ranks)]


def _moves(before: Sequence[Leader], results: Measured, ranks: Mapping[str, int]) -> list[Change]:
    order, rival = list(before), dict[Leader, Leader]()
    moved = True
    # Each swap takes away one pair that stands the wrong way round, so that there are at most n(n-1)/2.
    while moved:
        moved = False
        for n in range(len(order) - 1):
            upper, lower = order[n], order[n + 1]
            if _better(_of(lower, results), _of(upper, results)):
                order[n], order[n + 1] = lower, upper
                rival[lower], rival[upper] = upper, lower
                moved = True
    if not rival:
        return []
    places = {leader: ranks.get(leader.agent_id) or n for n, leader in enumerate(before, start=1)}
    found = []
    for place, leader in enumerate(order, start=1):
        # A rank that is no longer its place (the group was another one then) is put right along with a move.
        if places[leader] != place:
            other = rival.get(leader) or order[place % len(order)]
            found.append(
                Change(leader, places[leader], place, _of(leader, results), other.agent_id, _of(other, results))
            )
    return found


def _of(leader: Leader, results: Measured) -> Results:
    return results.get((leader.agent_id, leader.skill), NO_RESULTS)


def _better(challenger: Results, incumbent: Results) -> bool:
    if min(challenger.total, incumbent.total) < SAMPLE_MIN:
        return False
    share = challenger.completed * incumbent.total - incumbent.completed * challenger.total
    return share > 0 and score(challenger) - score(incumbent) >= MARGIN
