"""Commands to plans: checked, kept as rows, decided by the shard's owner, answered (design 2)."""

import asyncio
import dataclasses
import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from haas_common import clock, deadlines, errors
from haas_common.db import Database, Scope, Tx
from haas_common.doorbell import Doorbell
from haas_common.eventstore import payload_text
from haas_common.ids import shard_of
from haas_common.profile_store import ProfileStore
from haas_common.profiles import Profile
from haas_common.sealing import sealed_form
from haas_planner import contracts, drafting, estimates, history, store
from haas_planner.agents import store as agents
from haas_planner.agents.domain import FLAG
from haas_planner.domain import task_to_json
from haas_planner.estimates import Measured
from haas_planner.graph import Graph, Input, Task
from haas_planner.skills.registry import SPECS
from haas_planner.skills.spec import SkillSpec
from haas_planner.store import Command
from haas_planner.work import check_sizes

# A tenant may have this many undecided commands in a shard; more would only wait longer.
PENDING_MAX = 200
_ANSWER_S = 10.0
_LOOK_S = 0.25
#: Returns the skills of a project's own workers.
MoreSpecs = Callable[[Tx, Scope], Awaitable[Sequence[SkillSpec]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Compile:
    """A brief that is to become a plan; `graph` replaces the drafted one where it is given."""

    scope: Scope
    plan_id: str
    request_id: str
    actor: str
    trace_id: str
    objective: str
    language: str
    intent: str
    slots: Mapping[str, str]
    brief_artifact_id: str
    goals: Sequence[str]
    inputs: Sequence[Input]
    profile_id: str
    profile_version: int
    graph: Graph | None
    validate_only: bool = False
    budget: Mapping[str, int] = dataclasses.field(default_factory=dict)
    repairs_max: int = 0


class Operations:
    """The planner's use-cases."""

    def __init__(self, database: Database, doorbell: Doorbell, more_specs: MoreSpecs | None = None) -> None:
        """Keeps them; `more_specs` returns the skills of a project's own workers."""
        self._database = database
        self._doorbell = doorbell
        self._more_specs = more_specs
        self._profiles = ProfileStore()

    async def specs_of(self, tx: Tx, scope: Scope) -> Sequence[SkillSpec]:
        """Returns every skill that a project's plans can use: the fleet's own and those of its workers."""
        return SPECS if self._more_specs is None else (*SPECS, *await self._more_specs(tx, scope))

    async def compile(self, wanted: Compile) -> Graph:
        """Drafts or checks the graph, creates the plan; returns the graph. The same request again returns the same."""
        async with self._database.tenant_tx(wanted.scope) as tx:
            kept = await self._profiles.version(tx, wanted.scope, wanted.profile_id, wanted.profile_version)
            specs = await self.specs_of(tx, wanted.scope)
            places = await _places(tx, wanted.scope, kept.profile, specs)
            budget = wanted.budget or _budget_of(kept.profile)
            measured = await history.measured(tx, wanted.scope) if budget else {}
        graph = await asyncio.to_thread(_graph, wanted, kept.profile, specs, places)
        if budget:
            await asyncio.to_thread(_check_budget, graph, measured, budget)
        facts = {
            "objective": wanted.objective,
            "intent": wanted.intent,
            "language": wanted.language,
            "slots": dict(wanted.slots),
            "brief_artifact_id": wanted.brief_artifact_id,
            "profile_id": wanted.profile_id,
            "profile_version": wanted.profile_version,
            "goals": list(wanted.goals),
            "inputs": [[i.name, i.type, i.ref] for i in graph.inputs],
            "repairs_max": wanted.repairs_max,
        }
        if budget:
            facts["budget"] = dict(budget)
        check_facts(facts)
        if wanted.validate_only:
            return graph
        body = {"facts": facts, "tasks": [task_to_json(t) for t in graph.tasks]}
        command = Command(
            wanted.scope, wanted.plan_id, wanted.request_id, "create", body, wanted.actor, wanted.trace_id
        )
        await self.decide(command, must_exist=False)
        return graph

    async def command(self, command: Command) -> str:
        """Decides on a command to a plan that is there; returns the plan's state after it."""
        return await self._decide(command, must_exist=True)

    async def _decide(self, command: Command, *, must_exist: bool) -> str:
        return str((await self.decide(command, must_exist=must_exist))["state"])

    async def decide(self, command: Command, *, must_exist: bool, asked: Any = None) -> Mapping[str, Any]:
        """Keeps a command, rings the shard's owner, waits for the decision: {"state": …} and what else it says.

        Args:
            command: what is to be decided.
            must_exist: whether the plan has to be there.
            asked: what was asked for, where the body holds more than that: of the plan as it stood, which another try
                would find changed. The same request with another `asked` is refused.
        """
        same = command.body if asked is None else asked
        fingerprint = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()
        scope, plan_id = command.scope, command.plan_id
        shard = shard_of(scope.tenant_id, scope.project_id, plan_id)
        with self._doorbell.bell(f"reply/{plan_id}") as bell:
            async with self._database.tenant_tx(scope) as tx:
                added = await store.add_command(tx, command, fingerprint, must_exist=must_exist, most=PENDING_MAX)
            if not added.is_there:
                raise errors.ResourceNotFound(f"There is no plan {plan_id}.", resource="plan", id=plan_id)
            if not added.has_room:
                raise errors.Overloaded("Too many commands wait for a decision.", retry_after_s=1)
            self._doorbell.ring(f"shard/{shard}")
            if added.is_new:  # nobody has decided it yet
                await bell.wait(min(_LOOK_S, deadlines.remaining_s(_ANSWER_S)))
            result = await self._answer(command, fingerprint, bell)
        if "reason" in result:
            raise errors.BY_REASON[result["reason"]](result["message"], **result["metadata"])
        return result

    async def _answer(self, command: Command, fingerprint: str, bell: Any) -> Mapping[str, Any]:
        with deadlines.until(asyncio.get_running_loop().time() + _ANSWER_S):
            while True:
                async with self._database.tenant_tx(command.scope) as tx:
                    kept, result = await store.get_command(tx, command.scope, command.plan_id, command.request_id)
                # What was erased has no content that could be another one.
                if kept != f"{command.kind}:{fingerprint}" and kept != f"{command.kind}:":
                    raise errors.RequestIdReused(
                        "This request_id was used before, with another content.", request_id=command.request_id
                    )
                if result is not None:
                    return result
                await bell.wait(min(_LOOK_S, deadlines.remaining_s(_ANSWER_S)))


def owned(tasks: Sequence[Task], specs: Sequence[SkillSpec]) -> tuple[Task, ...]:
    """Returns tasks each with an owner: where the graph names none, that of its skill."""
    owners = {spec.name: spec.owner_agent_id for spec in specs}
    return tuple(
        task if task.owner_agent_id else dataclasses.replace(task, owner_agent_id=owners.get(task.skill, ""))
        for task in tasks
    )


def check_facts(facts: Mapping[str, Any]) -> None:
    """Refuses a plan that does not fit into an event. Raises FieldInvalid."""
    try:
        payload_text(sealed_form("PlanCreated", facts))
    except ValueError:
        raise errors.FieldInvalid(
            "inputs: together with the objective they have at most 32 KiB.", field="inputs", rule="32 KiB in all"
        ) from None


async def _places(tx: Tx, scope: Scope, profile: Profile, specs: Sequence[SkillSpec]) -> Mapping[str, int]:
    """Returns how the project's leaders are placed by their results, where the profile's flag asks for it."""
    if not profile.flags.get(FLAG, False):
        return {}
    return (await agents.roster(tx, scope, clock.utc_now().date())).places(profile, specs)


def _budget_of(profile: Profile) -> dict[str, int]:
    """Returns what the profile lets a plan use up that has no budget of its own."""
    limits = profile.policies.budget
    found = {"tokens": limits.tokens_plan or 0, "money_micros": limits.money_micros_plan or 0}
    return {name: limit for name, limit in found.items() if limit}


def _check_budget(graph: Graph, measured: Mapping[str, Measured], budget: Mapping[str, int]) -> None:
    """Refuses a plan whose estimate is above its budget. Raises BudgetExceeded."""
    found = estimates.estimate(graph.tasks, measured, budget, clock.utc_now())
    if found.exceeds:
        which = found.exceeds[0]
        expected = math.ceil(found.expected.seconds) if which == "time_s" else getattr(found.expected, which)
        raise errors.BudgetExceeded(
            f"The plan is expected to use {expected} of {which}; its budget is {budget[which]}.",
            which=which, limit=budget[which], used=expected,
        )  # fmt: skip


def _graph(wanted: Compile, profile: Profile, specs: Sequence[SkillSpec], places: Mapping[str, int]) -> Graph:
    """Drafts where no graph was given, and validates either."""
    if wanted.graph is None:
        graph = drafting.draft(wanted.goals, profile, specs, wanted.inputs, wanted.slots, wanted.language, places)
    else:
        named = {i.name for i in wanted.graph.inputs}
        extra = tuple(i for i in wanted.inputs if i.name not in named)
        graph = Graph(owned(wanted.graph.tasks, specs), (*wanted.graph.inputs, *extra))
    contracts.validate(graph, profile, specs, graph.inputs)
    check_sizes(graph.tasks)
    return graph
