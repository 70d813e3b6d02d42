"""What keeps ready tasks back beside room, and who does them: slots, breakers of tools, agents, quarantine."""

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence

from haas_common import metrics
from haas_common.db import Scope
from haas_planner.agents.domain import Roster, assign
from haas_planner.domain import Plan, TaskRun
from haas_planner.graph import Task
from haas_planner.skills.registry import BY_NAME
from haas_planner.store import Limits, OpenBreaker, SlotWish, Trip

#: How many tasks of a plan ask for slots at once.
WISHES_MAX = 64


def keys_of(plan: Plan, run: TaskRun, limits: Limits) -> list[tuple[str, str, int]]:
    """Returns what a task needs a slot of: (project, key, how many there are)."""
    found = []
    if run.task.policy.concurrency_key:
        found.append((plan.project_id, f"key/{run.task.policy.concurrency_key}", run.task.policy.concurrency_max))
    if limits.profile_max:
        found.append((plan.project_id, f"profile/{plan.profile_id}", limits.profile_max))
    if limits.tenant_max:
        found.append(("*", "tenant", limits.tenant_max))
    return found


class Quarantine(set[tuple[Scope, str]]):
    """A shard's plans that a fault of ours keeps from being decided; the others go on. Counted over all shards."""

    def add(self, key: tuple[Scope, str]) -> None:
        """Leaves a plan alone."""
        if key not in self:
            metrics.QUARANTINED.inc()
        super().add(key)

    def clear(self) -> None:
        """Forgets all: the shard's next owner tries them again."""
        metrics.QUARANTINED.dec(len(self))
        super().clear()


class Holds:
    """What a shard knows of slots and breakers.

    Attributes:
        asked: attempts for which slots were asked in this step, as (scope, plan, task).
        granted: those of them that have their slots.
        stale: whether the breakers have to be read anew; somebody may have given back a slot as well.
    """

    def __init__(self, tools_of: Callable[[Task], Sequence[str]], by_agent: Mapping[tuple[Scope, str], int]) -> None:
        self._tools_of = tools_of
        self._by_agent = by_agent
        self._rosters: dict[Scope, Roster] = {}
        # Who was chosen for an attempt that has not started, and how many choices there were by skill.
        self._chosen: dict[tuple[Scope, str, str, int], str] = {}
        self._turns: collections.Counter[tuple[Scope, str]] = collections.Counter()
        self._breakers: dict[tuple[Scope, str], OpenBreaker] = {}
        # Failures that the log does not have yet.
        self._noted: dict[tuple[Scope, str], OpenBreaker] = {}
        self.asked: set[tuple[Scope, str, str]] = set()
        self.granted: set[tuple[Scope, str, str]] = set()
        self.stale = True

    def set_breakers(self, breakers: Iterable[OpenBreaker]) -> None:
        """Takes the tools that failed lately, as the log has them; what is on its way there counts too."""
        self._breakers = {(b.scope, b.tool): b for b in breakers} | self._noted

    def failing(self, scope: Scope, tool: str) -> bool:
        """Tells whether a tool failed lately, so that its working is news."""
        return (scope, tool) in self._breakers

    def note(self, trip: Trip, now_us: int) -> None:
        """Takes a failure or a success before it is kept: what starts in the same step goes by it."""
        at = (trip.scope, trip.tool)
        if trip.works:
            self._breakers.pop(at, None)
            self._noted.pop(at, None)
            return
        failures = self._breakers[at].failures + 1 if at in self._breakers else 1
        until_us = now_us + trip.cool_down_s * 1_000_000 if failures >= trip.threshold else 0
        self._breakers[at] = self._noted[at] = OpenBreaker(trip.scope, trip.tool, failures, until_us)

    def arrived(self, trips: Iterable[Trip]) -> None:
        """These are no longer on their way, kept or not: from here on the log's word counts."""
        for trip in trips:
            self._noted.pop((trip.scope, trip.tool), None)
            self.stale = True

    def next_try_us(self, now_us: int) -> int:
        """Returns when a tool that is left alone is tried again; 0 for never."""
        return min((b.until_us for b in self._breakers.values() if b.until_us > now_us), default=0)

    # ── Agents ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def set_roster(self, scope: Scope, roster: Roster | None) -> None:
        """Takes a project's agents; None: only the built-in ones."""
        if roster is None:
            self._rosters.pop(scope, None)
        else:
            self._rosters[scope] = roster

    def has_agents(self, scope: Scope) -> bool:
        """Tells whether somebody registered agents in a project."""
        return scope in self._rosters

    def agent_of(self, scope: Scope, plan_id: str, run: TaskRun) -> str | None:
        """Returns who is to do a task's next attempt; None where nobody has room.

        A task whose graph names an owner of its own keeps it; else the agents of its skill are weighed by results.
        """
        task, roster = run.task, self._rosters.get(scope)
        spec = BY_NAME.get(task.skill)
        if roster is None or spec is None or task.owner_agent_id != spec.owner_agent_id:
            return task.owner_agent_id
        at = (scope, plan_id, task.task_id, run.attempt)
        if at not in self._chosen:
            candidates = roster.candidates(task.skill)
            if not candidates:
                return task.owner_agent_id
            running = {a.agent_id: self._by_agent.get((scope, a.agent_id), 0) for a in candidates}
            turn = self._turns[(scope, task.skill)]
            found = assign(task.skill, candidates, roster.results, running, turn)
            if found is None:
                return None
            self._turns[(scope, task.skill)] += 1
            self._chosen[at] = found
        return self._chosen[at]

    def started(self, scope: Scope, plan_id: str, task_id: str, attempt: int) -> None:
        """Forgets the choice for an attempt that has started."""
        self._chosen.pop((scope, plan_id, task_id, attempt - 1), None)

    def chooser(self, scope: Scope, plan_id: str) -> Callable[[TaskRun], str | None] | None:
        """Returns what names a task's agent; None where the project has only the built-in ones."""
        return (lambda run: self.agent_of(scope, plan_id, run)) if self.has_agents(scope) else None

    def _agent_key(self, scope: Scope, plan_id: str, run: TaskRun) -> tuple[str, str, int] | None:
        """Returns what an attempt needs a slot of for its agent's own limit."""
        roster = self._rosters.get(scope)
        if roster is None:
            return None
        agent_id = self.agent_of(scope, plan_id, run)
        known = next((a for a in roster.agents if a.agent_id == agent_id), None)
        if known is None or not known.running_max:
            return None
        return scope.project_id, f"agent/{agent_id}", known.running_max

    def _keys(self, scope: Scope, plan: Plan, run: TaskRun, limits: Limits) -> list[tuple[str, str, int]]:
        mine = self._agent_key(scope, plan.plan_id, run)
        return [*keys_of(plan, run, limits), *([mine] if mine else [])]

    # ── Slots ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def is_limited(self, plan: Plan, task_id: str, limits: Limits) -> bool:
        """Tells whether a task holds slots while it runs."""
        run = plan.tasks.get(task_id)
        agents = Scope(plan.tenant_id, plan.project_id) in self._rosters
        return run is not None and (agents or bool(keys_of(plan, run, limits)))

    def wishes(self, scope: Scope, plan: Plan, limits: Limits, now_us: int) -> list[SlotWish]:
        """Returns the slots that a plan's ready tasks need, the first of them first."""
        found: list[SlotWish] = []
        if plan.state not in ("running", "compensating") or not self._is_limiting(scope, plan, limits):
            return found
        for task_id in plan.ready:
            run = plan.tasks[task_id]
            if run.not_before_us > now_us:
                continue
            keys = self._keys(scope, plan, run, limits)
            if not keys:
                continue
            found.append(SlotWish(scope, plan.plan_id, task_id, tuple(keys), run.task.policy.priority))
            if len(found) >= WISHES_MAX:
                break
        return found

    def ask(self, wishes: Sequence[SlotWish], leaving: set[tuple[Scope, str, str]]) -> list[SlotWish]:
        """Returns what to ask for, and notes who did.

        `leaving`: what a commit under way frees is not held any more; its end rings for who waits for slots.
        """
        self.asked = {wish.holder for wish in wishes}
        return [wish for wish in wishes if wish.holder not in leaving]

    def has_more_wishes(self, scope: Scope, plan: Plan, limits: Limits, now_us: int) -> bool:
        """Tells whether tasks became ready after slots were asked for."""
        return any(wish.holder not in self.asked for wish in self.wishes(scope, plan, limits, now_us))

    def may(self, scope: Scope, plan: Plan, limits: Limits, now_us: int) -> Callable[[TaskRun], bool]:
        """Returns what tells of a ready task whether it may start now."""
        probing: set[str] = set()

        def check(run: TaskRun) -> bool:
            if self.has_agents(scope) and self.agent_of(scope, plan.plan_id, run) is None:
                return False
            if self._keys(scope, plan, run, limits) and (scope, plan.plan_id, run.task.task_id) not in self.granted:
                return False
            if not self._breakers:
                return True
            for tool in self._tools_of(run.task):
                breaker = self._breakers.get((scope, tool))
                if breaker is None or not breaker.until_us:
                    continue
                if breaker.until_us > now_us or tool in probing:
                    return False
                # Its time is over: one attempt shows whether it works again.
                probing.add(tool)
            return True

        return check

    def keeps_back(self, plan: Plan, limits: Limits) -> bool:
        """Tells whether anything here could keep a task of a plan back."""
        return bool(self._breakers) or self._is_limiting(Scope(plan.tenant_id, plan.project_id), plan, limits)

    def _is_limiting(self, scope: Scope, plan: Plan, limits: Limits) -> bool:
        """Tells whether any of a plan's tasks could need a slot."""
        return bool(limits.profile_max or limits.tenant_max) or plan.keyed or scope in self._rosters
