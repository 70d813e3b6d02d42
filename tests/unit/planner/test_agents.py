"""Agents: scores, who gets a task, and when leaders change places."""

import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haas_common.profiles import load_profile
from haas_common.projections import Past
from haas_planner import drafting
from haas_planner.agents import domain
from haas_planner.agents.domain import Agent, Leader, Results, Roster, assign, placed, ranking, score
from haas_planner.agents.projection import Results as ResultsFold
from haas_planner.agents.projection import Told, apply, told
from haas_planner.skills.registry import SPECS

SKILL = "copy.draft"
counts = st.integers(0, 500)
some_results = st.builds(Results, counts, counts, st.integers(0, 10**6), counts, counts)


def agent(name: str, running_max: int = 0, **more) -> Agent:
    return Agent(name, more.pop("kind", "specialist"), (SKILL,), running_max, **more)


def measured(**by_agent: Results) -> dict[tuple[str, str], Results]:
    return {(name, SKILL): results for name, results in by_agent.items()}


# ── Scores ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(some_results)
def test_a_score_is_a_share_that_never_promises_more_than_was_seen(results):
    found = score(results)
    assert 0 <= found <= 1
    assert found == 0 if results.completed == 0 else found <= results.completed / results.total


@given(counts, counts)
def test_another_success_raises_a_score_and_another_failure_lowers_it(completed, failed):
    here = score(Results(completed, failed))
    assert score(Results(completed + 1, failed)) > here
    assert score(Results(completed, failed + 1)) <= here


def test_a_score_is_wilsons_lower_bound():
    assert score(Results(8, 2)) == pytest.approx(0.4902, abs=1e-4)
    assert score(Results(98, 2)) > score(Results(3, 0))


# ── Who gets a task ─────────────────────────────────────────────────────────────────────────────────────────────────


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.tuples(some_results, st.integers(0, 3), st.integers(0, 4)), min_size=1
    ),
    st.integers(0, 100),
    st.randoms(use_true_random=False),
)
def test_a_task_goes_to_an_agent_with_room_whatever_order_they_come_in(drawn, turn, chance):
    agents = [agent(name, limit) for name, (_, limit, _) in drawn.items()]
    results = measured(**{name: known for name, (known, _, _) in drawn.items()})
    running = {name: under_way for name, (_, _, under_way) in drawn.items()}
    found = assign(SKILL, agents, results, running, turn)
    free = [a.agent_id for a in agents if not a.running_max or running[a.agent_id] < a.running_max]
    assert found in free if free else found is None
    chance.shuffle(agents)
    assert assign(SKILL, agents, results, running, turn) == found


def test_the_best_score_wins_then_time_then_cost():
    agents = [agent("a"), agent("b")]
    assert assign(SKILL, agents, measured(a=Results(50, 50), b=Results(90, 10)), {}, 1) == "b"
    assert assign(SKILL, agents, measured(a=Results(90, 10, 9000), b=Results(90, 10, 8000)), {}, 1) == "b"
    assert assign(SKILL, agents, measured(a=Results(90, 10, 9, 0, 7), b=Results(90, 10, 9, 0, 8)), {}, 1) == "a"


def test_a_full_agent_is_passed_over_and_nobody_is_found_where_all_are_full():
    agents, results = [agent("a", 2), agent("b", 1)], measured(a=Results(99, 0))
    assert assign(SKILL, agents, results, {"a": 1}, 1) == "a"
    assert assign(SKILL, agents, results, {"a": 2}, 1) == "b"
    assert assign(SKILL, agents, results, {"a": 2, "b": 1}, 1) is None
    assert assign(SKILL, [], {}, {}) is None


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(20, 5000))
def test_a_new_agent_is_never_starved(newcomers, experience):
    """Every tenth task goes to one of whom little is known, until each has its 20 results."""
    results = measured(old=Results(experience, 0))
    agents = [agent("old"), *(agent(f"new{n}") for n in range(newcomers))]
    for turn in range(domain.EXPLORE_EVERY * domain.FEW * newcomers):
        found = assign(SKILL, agents, results, {}, turn)
        assert found is not None
        known = results.get((found, SKILL), Results())
        results[found, SKILL] = Results(known.completed, known.failed + 1) if found != "old" else known
    assert all(results[f"new{n}", SKILL].total == domain.FEW for n in range(newcomers))
    # They failed at everything: from here on nobody asks them any more.
    assert {assign(SKILL, agents, results, {}, turn) for turn in range(30)} == {"old"}


def test_exploration_needs_no_turn_where_results_and_running_tasks_count_it():
    results, running, given_to = measured(old=Results(100, 0)), Counter[str](), Counter[str]()
    for _ in range(100):
        found = assign(SKILL, [agent("old"), agent("new")], results, running)
        assert found is not None
        running[found] += 1
        given_to[found] += 1
    assert given_to == {"old": 90, "new": 10}


# ── Leaders ─────────────────────────────────────────────────────────────────────────────────────────────────────────

GROUP = [Leader(f"leader.{n}", f"team.{n}") for n in "abcde"]


def of_leaders(*results: Results) -> dict[tuple[str, str], Results]:
    return {(leader.agent_id, leader.skill): one for leader, one in zip(GROUP, results, strict=False)}


def after(ranks: dict[str, int], changes: list[domain.Change]) -> dict[str, int]:
    return ranks | {change.leader.agent_id: change.rank_to for change in changes}


@given(
    st.lists(some_results, min_size=5, max_size=5),
    st.dictionaries(st.sampled_from([leader.agent_id for leader in GROUP]), st.integers(1, 9)),
)
def test_asked_again_with_the_same_results_no_leader_moves(drawn, ranks):
    results = of_leaders(*drawn)
    changes = ranking([GROUP], results, ranks)
    ranks = after(ranks, changes)
    assert ranking([GROUP], results, ranks) == []
    order = placed(GROUP, ranks)
    assert sorted(order, key=lambda one: one.agent_id) == GROUP
    for change in changes:
        assert order[change.rank_to - 1] == change.leader
        assert change.rank_from != change.rank_to


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.5, 0.8, 0.95]))
def test_leaders_that_are_equally_good_do_not_flap(seed, share):
    """600 results each, a review after every one: chance alone hardly ever moves anybody, and never back and forth."""
    chance, ranks, moves = random.Random(seed), dict[str, int](), 0
    counted = {leader: [0, 0] for leader in GROUP[:2]}
    for _ in range(600):
        for leader in counted:
            counted[leader][chance.random() >= share] += 1
        results = {(one.agent_id, one.skill): Results(*known) for one, known in counted.items()}
        changes = ranking([GROUP[:2]], results, ranks)
        moves += bool(changes)
        ranks = after(ranks, changes)
    assert moves <= 3


def test_a_leader_moves_up_by_better_results_and_the_reason_is_a_sentence():
    up, down = ranking([GROUP[:2]], of_leaders(Results(12, 18), Results(38, 2)), {})
    assert (up.leader.agent_id, up.rank_from, up.rank_to, up.promoted) == ("leader.b", 2, 1, True)
    assert (down.leader.agent_id, down.rank_from, down.rank_to, down.promoted) == ("leader.a", 1, 2, False)
    assert up.explanation == (
        "leader.b moves from place 2 to 1, before leader.a: of its 40 tasks 38 succeeded (score 0.83), of the"
        " other's 30 12 (score 0.25)."
    )
    assert "behind leader.b" in down.explanation


@pytest.mark.parametrize(
    ("incumbent", "challenger"),
    [
        (Results(0, 19), Results(500, 0)),  # too few of the one
        (Results(0, 500), Results(19, 0)),  # too few of the other
        (Results(70, 30), Results(76, 24)),  # too little between them
        (Results(20, 0), Results(900, 10)),  # no better, only measured more often
    ],
)
def test_a_leader_stays_without_a_sample_or_a_clear_difference(incumbent, challenger):
    assert ranking([GROUP[:2]], of_leaders(incumbent, challenger), {}) == []


# ── Who there is ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_overrides_a_built_in_agent_and_one_without_skills_leaves_it_its_own():
    built_in = domain.defaults(SPECS)
    assert built_in["leader.content"].skills == ("team.content",)
    rows = [
        Agent("leader.content", "leader", (), rank=2),
        Agent("specialist.copy", "specialist", ("copy.draft", "law.check"), 3, registered=True),
        Agent("specialist.law", "specialist", ("law.check",), state="paused", registered=True),
    ]
    roster = Roster(domain.merged(built_in, rows), {})
    assert roster.find("leader.content").skills == ("team.content",)
    assert [a.agent_id for a in roster.candidates("law.check")] == ["specialist.copy"]
    assert roster.ranks() == {"leader.content": 2}
    assert len(roster.agents) == len(built_in) + 1


def test_measured_places_come_before_the_profiles_order_with_the_flag_only():
    plain = load_profile("profile_id: x_v1\nleaders: [team.paid_media, team.content]\n")
    flagged = plain.model_copy(update={"flags": {"leader_promotion": True}})
    rows = [Agent("leader.content", "leader", (), rank=1), Agent("leader.paid_media", "leader", (), rank=2)]
    roster = Roster(domain.merged(domain.defaults(SPECS), rows), {})

    def order(profile, places) -> list[str]:
        return [spec.name for spec in drafting.offered(profile, SPECS, places) if spec.kind == "leader"]

    assert roster.places(plain, SPECS) == {}
    assert order(plain, {}) == order(plain, roster.places(flagged, SPECS)) == order(flagged, {})
    before, now = order(flagged, {}), order(flagged, roster.places(flagged, SPECS))
    assert before.index("team.paid_media") < before.index("team.content")
    assert now.index("team.content") < now.index("team.paid_media")
    assert sorted(before) == sorted(now)


# ── Folds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Log:
    """A plan's stream, as the projector reads it."""

    def __init__(self) -> None:
        self.events: list[Past] = []

    def add(self, type_: str, task_id: str = "", actor: str = "", **payload) -> Past:
        n = len(self.events) + 1
        at = f"2026-11-22T12:00:{n:02d}+00:00"
        event = Past("t", "p", n, "plan/pl-1", n, type_, "pl-1", task_id, actor, payload, at)
        self.events.append(event)
        return event

    def planned(self, task_id: str, kind: str = "specialist", skill: str = SKILL) -> None:
        self.add("TaskPlanned", task_id, task={"kind": kind, "skill": skill})

    async def load(self, scope, stream: str, below: int) -> AsyncIterator[Told]:
        for event in self.events:
            if event.version < below and event.type in ("TaskPlanned", "TaskStarted"):
                yield told(event)


async def test_a_result_counts_for_whom_its_attempt_was_given_to():
    log = Log()
    log.add("PlanCreated")
    log.planned("T-1")
    log.planned("T-2")
    log.planned("T-3", kind="approval", skill="approval")
    log.add("TaskStarted", "T-1", "agent.a")
    log.add("TaskCompleted", "T-1", "agent.a", usage={"tokens": 5, "duration_ms": 70})
    log.add("TaskStarted", "T-2", "agent.b")
    log.add("TaskFailed", "T-2", "agent.b", usage=None)
    log.add("TaskCompleted", "T-2", "ana@x")  # a person did: nobody's result
    log.add("TaskStarted", "T-3", "agent.b")
    log.add("TaskCompleted", "T-3", "agent.b")  # no agent's work
    fold = ResultsFold()
    await fold.take(log.events, log.load)
    rows = {row["agent_id"]: row for row in fold.rows()}
    assert rows.keys() == {"agent.a", "agent.b"}
    a, b = rows["agent.a"], rows["agent.b"]
    assert (a["skill"], a["day"], a["completed"], a["failed"], a["tokens"], a["duration_ms"]) == (
        SKILL, "2026-11-22", 1, 0, 5, 70,
    )  # fmt: skip
    assert (b["completed"], b["failed"]) == (0, 1)
    assert fold.rows() == []


async def test_a_plan_that_was_forgotten_is_looked_up_at_the_version_of_the_event():
    log = Log()
    log.planned("T-1", skill="first")
    log.add("TaskStarted", "T-1", "agent.a")
    done = log.add("TaskCompleted", "T-1", "agent.a")
    log.planned("T-1", skill="second")
    fold = ResultsFold()
    await fold.take([done], log.load)
    assert [row["skill"] for row in fold.rows()] == ["first"]


def test_an_agents_row_tells_what_was_said_of_it_and_a_cut_history_leaves_it_alone():
    def event(version: int, type_: str, **facts) -> Past:
        return Past(
            "t", "p", version, "agent/x", version, type_, "", "", "ana", {"agent_id": "x", **facts}, f"at {version}"
        )

    row = apply(None, event(1, "AgentPromoted", rank_to=2))
    assert row == {
        "tenant_id": "t", "project_id": "p", "agent_id": "x", "kind": "leader", "skills": [], "running_max": 0,
        "rank": 2, "state": "active", "registered_at": None, "updated_at": "at 1",
    }  # fmt: skip
    row = apply(row, event(2, "AgentRegistered", kind="leader", skills=["team.x"], running_max=4))
    row = apply(row, event(3, "AgentStateChanged", kind="leader", state_from="active", state_to="paused"))
    assert row is not None
    assert (row["rank"], row["skills"], row["state"], row["registered_at"]) == (2, ["team.x"], "paused", "at 2")
    assert apply(None, event(4, "AgentPromoted", rank_to=1)) is None
