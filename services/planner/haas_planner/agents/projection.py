"""agents and agent_results as folds: what registers and ranks agents, and what plans' histories say of their work.

`python -m haas_planner.agents.projection agents` (or `agent_results`) rebuilds them.
"""

import datetime
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from haas_common.db import Scope
from haas_common.events import EVENT_TYPES
from haas_common.projections import Key, Past, Projection, Row, Shadow, step
from haas_common.projections.keyed import Fold, Keyed

# ── Agents ───────────────────────────────────────────────────────────────────────────────────────────────────────────

TYPES = ("AgentRegistered", "AgentStateChanged", "AgentPromoted", "AgentDemoted")
KEY = ("tenant_id", "project_id", "agent_id")


def touched(event: Past) -> Sequence[Key]:
    """Returns the agent that an event changes."""
    return [(event.tenant_id, event.project_id, event.payload["agent_id"])]


def apply(row: Row | None, event: Past) -> Row | None:
    """Folds an event of an agent into its row.

    What is said of a built-in agent that nobody registered makes a row without skills: it keeps its own.
    """
    facts = event.payload
    if row is None:
        if event.version > 1:
            return None  # its beginning was dropped from the history: the live row stays
        row = {
            **dict(zip(KEY, touched(event)[0], strict=True)), "kind": facts.get("kind", "leader"), "skills": [],
            "running_max": 0, "rank": 0, "state": "active", "registered_at": None,
        }  # fmt: skip
    row = {**row, "updated_at": event.at}
    if event.type == "AgentRegistered":
        since = row["registered_at"] or event.at
        told = {name: facts[name] for name in ("kind", "skills", "running_max")}
        return {**row, **told, "registered_at": since}
    if event.type == "AgentStateChanged":
        return {**row, "state": facts["state_to"]}
    return {**row, "rank": facts["rank_to"]}


def agents() -> Keyed:
    """Returns the rebuild's fold of agents."""
    return Keyed("agents", "agents", TYPES, Fold(touched, lambda row, event, key: apply(row, event)), key=KEY)


# ── Results ──────────────────────────────────────────────────────────────────────────────────────────────────────────

#: The types whose payloads say what a task is, and how it ended.
WHOLE = ("TaskPlanned", "TaskCompleted", "TaskFailed")
#: Other kinds of tasks are nobody's work: the engine or a person ends them.
_KINDS = ("specialist", "leader", "tool")
_OVER = ("PlanCompleted", "PlanFailed", "PlanCancelled")
_AMOUNTS = ("completed", "failed", "duration_ms", "tokens", "money_micros")
#: How many tasks of plans under way are remembered; a plan that was forgotten is looked up again.
_TASKS_MAX = 100_000

#: task, kind, skill: what its contract says. Or with an actor: whom an attempt was given to.
Told = tuple[str, str, str, str]
Load = Callable[[Scope, str, int], AsyncIterator[Told]]
_PlanKey = tuple[str, str, str]
#: The skill ("" for what is nobody's work), and who has the newest attempt.
_Tasks = dict[str, tuple[str, str]]


class Results:
    """The fold, and the rebuild's face of it (haas_common.projections.Projection).

    A result counts for the agent that its attempt was given to: what a person or the engine ended counts for nobody.
    """

    name = "agent_results"
    tables = ("agent_results",)
    types: tuple[str, ...] = ()
    bare = tuple(name for name in EVENT_TYPES if name not in WHOLE)
    left_out: Mapping[str, tuple[tuple[str, ...], ...]] = {
        "TaskPlanned": (("task", "params"), ("task", "title")),
        "TaskFailed": (("message",),),
    }
    by_day = "day"
    cursor = "agents"

    def __init__(self) -> None:
        # Most recently used last.
        self._plans: OrderedDict[_PlanKey, _Tasks] = OrderedDict()
        self._sums: dict[Key, Row] = {}

    async def take(self, events: Sequence[Past], load: Load) -> None:
        """Adds what events in the log's order tell of.

        Args:
            events: with the payloads of WHOLE.
            load: yields what a plan's stream says of its tasks before a version, in its order.
        """
        for event in events:
            if event.plan_id and event.stream.startswith("plan/"):
                await self._take(event, load)
        self._bound()

    async def _take(self, event: Past, load: Load) -> None:
        key, type_ = (event.tenant_id, event.project_id, event.plan_id), event.type
        if type_ == "PlanCreated":
            self._plans[key] = {}
        elif type_ in _OVER:
            self._plans.pop(key, None)
        elif type_ in ("TaskPlanned", "TaskStarted"):
            tasks = self._plans.get(key)
            if tasks is not None:
                _note(tasks, told(event))
        elif type_ in ("TaskCompleted", "TaskFailed"):
            tasks = self._plans.get(key)
            if tasks is None:
                tasks = self._plans[key] = {}
                async for one in load(Scope(*key[:2]), event.stream, event.version):
                    _note(tasks, one)
            self._plans.move_to_end(key)
            skill, agent = tasks.get(event.task_id, ("", ""))
            if skill and agent and agent == event.actor:
                self._count(event, skill)

    def _count(self, event: Past, skill: str) -> None:
        day = _time(event.at).date().isoformat()
        key = (event.tenant_id, event.project_id, event.actor, skill, day)
        row = self._sums.get(key)
        if row is None:
            named = ("tenant_id", "project_id", "agent_id", "skill", "day")
            row = self._sums[key] = {**dict(zip(named, key, strict=True)), **dict.fromkeys(_AMOUNTS, 0)}
        row["completed" if event.type == "TaskCompleted" else "failed"] += 1
        for name, amount in (event.payload.get("usage") or {}).items():
            row[name] += amount
        _touch(row, event.at)

    def _bound(self) -> None:
        while len(self._plans) > 1 and sum(map(len, self._plans.values())) > _TASKS_MAX:
            self._plans.popitem(last=False)

    def forget(self) -> None:
        """Forgets everything: what was taken was not committed."""
        self._plans.clear()
        self._sums = {}

    def rows(self) -> list[Row]:
        """Returns what came up since the last time, in the order of the keys, and forgets it."""
        found = [row for _, row in sorted(self._sums.items())]
        self._sums = {}
        return found

    async def fold(self, events: Sequence[Past], shadow: Shadow) -> None:
        """See Projection.fold."""

        async def load(scope: Scope, stream: str, below: int) -> AsyncIterator[Told]:
            for event in await shadow.stream(scope, stream, below):
                if event.type in ("TaskPlanned", "TaskStarted"):
                    yield told(event)

        await self.take(events, load)

    async def flush(self, shadow: Shadow) -> None:
        """See Projection.flush."""
        new = {_key(row): row for row in self.rows()}
        if not new:
            return
        kept = {_key(row): row for row in await shadow.rows("agent_results", list(new))}
        for key, row in new.items():
            if key in kept:
                for name in _AMOUNTS:
                    row[name] += kept[key][name]
                _touch(row, kept[key]["updated_at"])
        fresh = [row for key, row in new.items() if key not in kept]
        await shadow.write("agent_results", fresh, [row for key, row in new.items() if key in kept])


def told(event: Past) -> Told:
    """Returns what an event of a task's beginning says."""
    if event.type == "TaskStarted":
        return event.task_id, "", "", event.actor
    task = event.payload["task"]
    return event.task_id, task["kind"], task["skill"], ""


def _note(tasks: _Tasks, one: Told) -> None:
    task_id, kind, skill, agent = one
    if agent:
        tasks[task_id] = (tasks.get(task_id, ("", ""))[0], agent)
    else:
        tasks[task_id] = (sys.intern(skill) if kind in _KINDS else "", "")


def _key(row: Row) -> Key:
    day = row["day"]
    return (
        row["tenant_id"], row["project_id"], row["agent_id"], row["skill"],
        day.isoformat() if isinstance(day, datetime.date) else day,
    )  # fmt: skip


def _time(at: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(at).astimezone(datetime.UTC)


def _touch(row: Row, at: str) -> None:
    """Keeps the latest time: in the log's order a project's events need not stand in that of their times."""
    known = row.get("updated_at")
    if known is None or _time(known) < _time(at):
        row["updated_at"] = at


PROJECTIONS: dict[str, Callable[[], Projection]] = {"agents": agents, "agent_results": Results}

if __name__ == "__main__":
    sys.exit(step.main(PROJECTIONS, sys.argv[1:]))
