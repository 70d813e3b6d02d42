"""What people ask of a plan beside run and cancel: decide, leave out, plan anew, fork, compare, estimate."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from haas_common import clock, errors
from haas_common.db import Database, Scope, Tx
from haas_common.profile_store import ProfileStore
from haas_common.profiles import Profile
from haas_common.sealing import ERASED
from haas_planner import contracts, estimates, history, schemas
from haas_planner.diffs import Diff, Revision, Revisions, compare
from haas_planner.domain import Plan, task_to_json
from haas_planner.estimates import Cost, Estimate, Measured
from haas_planner.graph import VALUE, Graph, Task
from haas_planner.operations import Operations, check_facts, owned
from haas_planner.skills.spec import SkillSpec
from haas_planner.store import Command
from haas_planner.work import check_sizes

#: Whose tasks come from a template: there may be more of them than a graph may have, and all are alike.
_TEMPLATED = frozenset({"map", "schedule"})
_OVER = frozenset({"completed", "skipped", "superseded", "cancelled"})


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A request about a plan: whose, of which plan, and the roles that the caller's token holds."""

    scope: Scope
    plan_id: str
    request_id: str
    actor: str
    trace_id: str
    roles: tuple[str, ...] = ()

    def command(self, kind: str, body: Mapping[str, Any]) -> Command:
        """Returns the command that it leads to."""
        return Command(self.scope, self.plan_id, self.request_id, kind, body, self.actor, self.trace_id)


@dataclasses.dataclass(frozen=True, slots=True)
class Forked:
    """The plan that a fork made."""

    graph: Graph
    state: str
    forked_at: int
    done: tuple[str, ...]


class Control:
    """The use-cases around a plan's decisions."""

    def __init__(self, operations: Operations, database: Database) -> None:
        self._operations = operations
        self._database = database
        self._profiles = ProfileStore()

    # ── What takes a role ────────────────────────────────────────────────────────────────────────────────────────────

    async def decide(self, asked: Asked, task_id: str, approved: bool, comment: str) -> Mapping[str, Any]:
        """Decides an approval in the role that it asks for. Raises ApprovalRoleMissing, and what the engine refuses."""
        async with self._database.tenant_tx(asked.scope) as tx:
            task = await history.contract_of(tx, asked.scope, asked.plan_id, task_id)
        body = {"task_id": task_id, "approved": approved, "comment": comment, "role": role_of(task, asked.roles)}
        return await self._operations.decide(asked.command("approve", body), must_exist=True)

    async def skip(
        self,
        asked: Asked,
        task_id: str,
        reason: str,
        role: str,
        outputs: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Leaves a task out. Values in place of its own keep the task's contract.

        Raises:
            ApprovalRoleMissing: the caller does not hold the role, or that of an approval.
            ContractBroken: a value is no value of its slot.
            ResourceNotFound: an artifact is not there.
        """
        async with self._database.tenant_tx(asked.scope) as tx:
            task = await history.contract_of(tx, asked.scope, asked.plan_id, task_id)
            wanted = sorted(set(outputs.values()))
            known = await history.known_artifacts(tx, asked.scope, wanted) if wanted else set()
        acting = role_of(task, asked.roles, role)
        if missing := [ref for ref in wanted if ref not in known]:
            raise errors.ResourceNotFound(f"There is no artifact {missing[0]}.", resource="artifact", id=missing[0])
        if task is not None:
            check_given(task, outputs, values)
        body = {"task_id": task_id, "reason": reason, "role": acting, "outputs": dict(outputs), "values": dict(values)}
        return await self._operations.decide(asked.command("skip", body), must_exist=True)

    # ── Another graph ────────────────────────────────────────────────────────────────────────────────────────────────

    async def replan(
        self, asked: Asked, tasks: Sequence[Task], removed: Sequence[str], explanation: str
    ) -> Mapping[str, Any]:
        """Gives a part of a plan another graph, checked as a whole. Raises what `contracts.validate` and the engine do.

        Raises:
            ApprovalRoleMissing: an approval is changed or removed by somebody who may not decide it.
            FieldInvalid: a task is both given and removed, or nothing is.
            DataErased: the plan's data was erased.
        """
        wanted = {"tasks": [task_to_json(t) for t in tasks], "removed": list(removed), "explanation": explanation}
        _check_revision(tasks, removed)
        async with self._database.tenant_tx(asked.scope) as tx:
            again = await history.was_asked(tx, asked.scope, asked.plan_id, asked.request_id)
            if not again:
                plan = await history.load_plan_at(tx, asked.scope, asked.plan_id)
                profile = await self._profile_of(tx, asked.scope, plan)
                specs = await self._operations.specs_of(tx, asked.scope)
        if not again:
            for task_id in (*(t.task_id for t in tasks), *removed):
                if task_id in plan.tasks and plan.tasks[task_id].task.kind == "approval":
                    role_of(plan.tasks[task_id].task, asked.roles)
            tasks = owned(tasks, specs)
            await asyncio.to_thread(_validate, revised(plan, tasks, removed), profile, specs)
        body = {**wanted, "tasks": [task_to_json(t) for t in tasks]}
        return await self._operations.decide(asked.command("replan", body), must_exist=True, asked=wanted)

    async def fork(self, asked: Asked, source_plan_id: str, at_version: int) -> Forked:
        """Makes the plan `asked.plan_id` of another one as it stood after an event.

        The same request again finds the plan that it made before; the other one may have gone on meanwhile.

        Raises:
            ResourceNotFound: there is no plan to fork, or its history was dropped.
            FieldInvalid: its stream has no such version.
            DataErased: its data was erased.
        """
        scope = asked.scope
        async with self._database.tenant_tx(scope) as tx:
            at = await self._forked_at(tx, asked, source_plan_id) or at_version
            source = await history.load_plan_at(tx, scope, source_plan_id, at)
            created = await history.created_from(tx, scope, source_plan_id)
            profile = await self._profile_of(tx, scope, source)
            specs = await self._operations.specs_of(tx, scope)
        if not source.validated:
            rule = "an event after the plan was made"
            raise errors.FieldInvalid("at_version: the plan was not whole yet.", field="at_version", rule=rule)
        graph, done = kept_of(source)
        await asyncio.to_thread(_validate, graph, profile, specs)
        # It is made of the other one's words: whoever erases that person's data erases the fork's too.
        whose = source.subject if source.subject != asked.actor else ""
        facts = {**_forkable(created), "forked_from": source_plan_id, "forked_at": source.version, "subject": whose}
        if source.budget:
            facts["budget"] = dict(source.budget)
        check_facts(facts)
        body = {"facts": facts, "tasks": [task_to_json(t) for t in graph.tasks], "done": done}
        wanted = {"source_plan_id": source_plan_id, "at_version": at_version}
        result = await self._operations.decide(asked.command("create", body), must_exist=False, asked=wanted)
        return Forked(graph, result["state"], source.version, tuple(done))

    async def _forked_at(self, tx: Tx, asked: Asked, source_plan_id: str) -> int:
        """Returns where the same request forked the plan before; 0 where it did not."""
        if not await history.was_asked(tx, asked.scope, asked.plan_id, asked.request_id):
            return 0
        try:
            created = await history.created_from(tx, asked.scope, asked.plan_id)
        except errors.ResourceNotFound:
            return 0  # the first try is not decided yet
        return int(created["forked_at"]) if created.get("forked_from") == source_plan_id else 0

    # ── Reads ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def diff(
        self, scope: Scope, plan_id: str, from_revision: int, to_revision: int, other_plan_id: str = ""
    ) -> Diff:
        """Compares two revisions of a plan, or of two plans; 0 stands for the newest, or for the one before it.

        Raises:
            ResourceNotFound: there is no such plan or revision, or the plan's history was dropped.
        """
        async with self._database.tenant_tx(scope) as tx:
            if other_plan_id and other_plan_id != plan_id:
                one = await _revision(tx, scope, plan_id, from_revision)
                return compare(one, await _revision(tx, scope, other_plan_id, to_revision))
            to = to_revision and to_revision - 1
            revisions = Revisions((from_revision, to_revision, to), last_two=True)
            await history.read_revisions(tx, scope, plan_id, revisions)
        newest = to_revision or revisions.number
        # A plan's first revision has none before it: it is compared with itself.
        return compare(
            _found(revisions, plan_id, from_revision or max(1, newest - 1)), _found(revisions, plan_id, newest)
        )

    async def estimate_plan(self, scope: Scope, plan_id: str, budget: Mapping[str, int] | None) -> Estimate:
        """Estimates the rest of a plan, compared with its own budget unless one is given. Raises ResourceNotFound."""
        async with self._database.tenant_tx(scope) as tx:
            plan = await history.load_plan_at(tx, scope, plan_id)
            measured = await history.measured(tx, scope)
        return await asyncio.to_thread(_rest_of, plan, measured, plan.budget if budget is None else budget)

    async def estimate_graph(
        self, scope: Scope, graph: Graph, profile_id: str, budget: Mapping[str, int] | None
    ) -> Estimate:
        """Estimates a graph that is no plan yet. Raises what `contracts.validate` does, and ProfileMissing."""
        async with self._database.tenant_tx(scope) as tx:
            kept = await self._profiles.newest(tx, scope, profile_id)
            measured = await history.measured(tx, scope)
            specs = await self._operations.specs_of(tx, scope)
        await asyncio.to_thread(_validate, graph, kept.profile, specs)
        return await asyncio.to_thread(estimates.estimate, graph.tasks, measured, budget or {}, clock.utc_now())

    async def _profile_of(self, tx: Tx, scope: Scope, plan: Plan) -> Profile:
        if plan.objective == ERASED:
            raise errors.DataErased("The plan's data was erased.", resource="plan", id=plan.plan_id)
        return (await self._profiles.version(tx, scope, plan.profile_id, plan.profile_version)).profile


# ── Rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def role_of(task: Task | None, roles: Sequence[str], asked: str = "") -> str:
    """Returns the role that a caller acts in.

    Args:
        task: what is decided or left out; None where it is not there, which the engine says.
        roles: those that the caller's token holds.
        asked: the one that the caller names; that of an approval, or else the first one held, unless given.

    Raises:
        ApprovalRoleMissing: the token does not hold it, or it is not the one that an approval asks for.
    """
    approval = task is not None and task.kind == "approval"
    role = str(task.control.get("role", "")) if task is not None and approval else asked
    if (role or approval) and (role not in roles or asked not in ("", role)):
        task_id = task.task_id if task is not None else ""
        raise errors.ApprovalRoleMissing(f"This takes the role “{role[:100]}”.", task=task_id, role=role[:100])
    return role or (roles[0] if roles else "")


def check_given(task: Task, outputs: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Holds what is given in place of a task's own values against its contract.

    Raises:
        ContractBroken: a value stands for an artifact or the other way round, or breaks its schema.
    """
    slots = {slot.name: slot for slot in task.writes}
    for name in (*outputs, *values):
        slot = slots.get(name)
        if slot is None:
            raise _broken(task, name, "a value that the task writes")
        if (name in values) != slot.type.startswith(VALUE):
            raise _broken(task, name, "an artifact" if name in values else "a value")
    for name, value in values.items():
        found = schemas.faults(task.schemas[name], value, 1) if name in task.schemas else []
        if found:
            raise _broken(task, f"{name}{found[0].path}", found[0].rule)


def revised(plan: Plan, tasks: Sequence[Task], removed: Sequence[str]) -> Graph:
    """Returns the whole graph after a revision, without what comes from templates and is not touched."""
    gone, given = frozenset(removed), {t.task_id: t for t in tasks}
    kept: dict[str, Task] = {}
    for task_id, run in plan.tasks.items():
        parent = plan.tasks.get(run.parent)
        templated = parent is not None and parent.task.kind in _TEMPLATED
        if run.state != "superseded" and not run.compensates and task_id not in gone and not templated:
            kept[task_id] = run.task
    return Graph(tuple({**kept, **given}.values()), plan.inputs)


def kept_of(plan: Plan) -> tuple[Graph, dict[str, dict[str, Any]]]:
    """Returns what a fork takes over: the graph without sub-plans, and the results of what is complete.

    A sub-plan belongs to the task that expanded into it: it comes with that one's result, or is expanded anew. What was
    left out is complete where values were given for all that it writes, and else done by the fork. So is what was
    undone, or is about to be.
    """
    undone = {run.compensates for run in plan.tasks.values() if run.compensates}
    runs = [run for run in plan.tasks.values() if not run.parent and not run.compensates and run.state != "superseded"]
    done = {
        run.task.task_id: {"attempt": run.attempt, "outputs": dict(run.outputs), "values": dict(run.values)}
        for run in runs
        if run.state in ("completed", "skipped")
        and run.task.task_id not in undone
        and {slot.name for slot in run.task.writes} <= {*run.outputs, *run.values}
    }
    return Graph(tuple(run.task for run in runs), plan.inputs), done


def _forkable(created: Mapping[str, Any]) -> dict[str, Any]:
    """What a fork is created from: the facts of the other plan, without those that belong to it alone."""
    return {name: value for name, value in created.items() if value is not None and name != "budget"}


def _check_revision(tasks: Sequence[Task], removed: Sequence[str]) -> None:
    named = [*(t.task_id for t in tasks), *removed]
    if not named:
        raise errors.FieldInvalid("tasks: a revision changes something.", field="tasks", rule="at least one")
    if len(named) != len(set(named)):
        raise errors.FieldInvalid("tasks: a task is named twice.", field="tasks", rule="each task once")
    check_sizes(tuple(tasks))


def _validate(graph: Graph, profile: Profile, specs: Sequence[SkillSpec]) -> None:
    contracts.validate(graph, profile, specs, graph.inputs, tasks_max=contracts.RUNNING_MAX)


def _rest_of(plan: Plan, measured: Mapping[str, Measured], budget: Mapping[str, int]) -> Estimate:
    now = clock.utc_now()
    runs = [run for run in plan.tasks.values() if run.state not in _OVER and not run.compensates]
    spent_s = 0.0
    if plan.deadline_us and plan.budget.get("time_s"):
        # The deadline is the start and the budgeted time; the start itself is not kept.
        spent_s = max(0.0, plan.budget["time_s"] - (plan.deadline_us / 1e6 - now.timestamp()))
    return estimates.estimate(
        [run.task for run in runs],
        measured,
        budget,
        now,
        spent=Cost(plan.spent.tokens, plan.spent.money_micros, round(spent_s, 3)),
        expanded=[run.task.task_id for run in runs if run.state == "expanded" or run.phase == "report"],
    )


async def _revision(tx: Tx, scope: Scope, plan_id: str, number: int) -> Revision:
    revisions = Revisions((number,))
    await history.read_revisions(tx, scope, plan_id, revisions)
    return _found(revisions, plan_id, number or revisions.number)


def _found(revisions: Revisions, plan_id: str, number: int) -> Revision:
    found = revisions.revision(number)
    if found is None:
        sentence = f"Plan {plan_id} has revisions 1 to {revisions.number}."
        raise errors.ResourceNotFound(sentence, resource="revision", id=f"{plan_id}/{number}")
    return found


def _broken(task: Task, field: str, rule: str) -> errors.ContractBroken:
    sentence = f"Task {task.task_id}, {field[:63]}: must be {rule}."
    return errors.ContractBroken(sentence, task=task.task_id, field=field[:63], rule=rule)
