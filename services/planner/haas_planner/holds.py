"""What keeps ready tasks back beside room: concurrency keys, limits of profile and tenant, breakers of tools. Pure."""

from collections.abc import Callable, Iterable, Sequence

from haas_common.db import Scope
from haas_planner.domain import Plan, TaskRun
from haas_planner.graph import Task
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


class Holds:
    """What a shard knows of slots and breakers.

    Attributes:
        granted: attempts that have their slots, as (scope, plan, task).
        stale: whether the breakers have to be read anew.
    """

    def __init__(self, tools_of: Callable[[Task], Sequence[str]]) -> None:
        self._tools_of = tools_of
        self._breakers: dict[tuple[Scope, str], OpenBreaker] = {}
        self.granted: set[tuple[Scope, str, str]] = set()
        self.stale = True

    def set_breakers(self, breakers: Iterable[OpenBreaker]) -> None:
        """Takes the tools that failed lately."""
        self._breakers = {(b.scope, b.tool): b for b in breakers}
        self.stale = False

    def failing(self, scope: Scope, tool: str) -> bool:
        """Tells whether a tool failed lately, so that its working is news."""
        return (scope, tool) in self._breakers

    def note(self, trip: Trip, now_us: int) -> None:
        """Takes a failure or a success before it is kept: what starts in the same step goes by it."""
        at = (trip.scope, trip.tool)
        if trip.works:
            self._breakers.pop(at, None)
            return
        failures = self._breakers[at].failures + 1 if at in self._breakers else 1
        until_us = now_us + trip.cool_down_s * 1_000_000 if failures >= trip.threshold else 0
        self._breakers[at] = OpenBreaker(trip.scope, trip.tool, failures, until_us)
        self.stale = True

    def next_try_us(self, now_us: int) -> int:
        """Returns when a tool that is left alone is tried again; 0 for never."""
        return min((b.until_us for b in self._breakers.values() if b.until_us > now_us), default=0)

    def is_limited(self, plan: Plan, task_id: str, limits: Limits) -> bool:
        """Tells whether a task holds slots while it runs."""
        run = plan.tasks.get(task_id)
        return run is not None and bool(keys_of(plan, run, limits))

    def wishes(self, scope: Scope, plan: Plan, limits: Limits, now_us: int) -> list[SlotWish]:
        """Returns the slots that a plan's ready tasks need, the first of them first."""
        found: list[SlotWish] = []
        for task_id in plan.ready:
            run = plan.tasks[task_id]
            if run.not_before_us > now_us:
                continue
            keys = keys_of(plan, run, limits)
            if not keys:
                continue
            found.append(SlotWish(scope, plan.plan_id, task_id, tuple(keys), run.task.policy.priority))
            if len(found) >= WISHES_MAX:
                break
        return found

    def may(self, scope: Scope, plan: Plan, limits: Limits, now_us: int) -> Callable[[TaskRun], bool]:
        """Returns what tells of a ready task whether it may start now."""
        probing: set[str] = set()

        def check(run: TaskRun) -> bool:
            if keys_of(plan, run, limits) and (scope, plan.plan_id, run.task.task_id) not in self.granted:
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
        return bool(self._breakers) or bool(limits.profile_max or limits.tenant_max) or plan.keyed
