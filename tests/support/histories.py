"""Random histories that the engine's own rules decide: plans with sub-plans and failures, and of every kind of task."""

import dataclasses
import random
from collections.abc import Iterator

from haas_planner import domain
from haas_planner.domain import Event, Failure, Plan
from haas_planner.graph import Slot, Task
from tests.support import plan_walk

FACTS = {
    "objective": "Sube las ventas «ya»", "intent": "campaign.plan", "language": "es", "slots": {"period": "2025-Q4"},
    "brief_artifact_id": "artf-brief", "profile_id": "p_v1", "profile_version": 3, "goals": [],
    "inputs": [["brief", "doc.brief", "artf-brief"]],
}  # fmt: skip


def task(task_id: str, *after: str, kind: str = "specialist", attempts_max: int = 3) -> Task:
    """Returns a task that reads from others; its owner is named after it."""
    reads = tuple(Slot("v_" + name(a), "t.x", a) for a in after)
    writes = (Slot("v_" + name(task_id), "t.x"),)
    return Task(task_id, kind, "s.k", f"Tarea {task_id}", f"agent.{task_id}", reads, writes, {"n": 1}, attempts_max)


def name(task_id: str) -> str:
    """Returns an id as part of a slot's name."""
    return task_id.lower().replace("-", "").replace(".", "_")


def graph(chance: random.Random, size_max: int = 12) -> list[Task]:
    """Returns an acyclic graph, in an order in which a task may stand before what it reads from."""
    tasks = []
    for n in range(1, chance.randint(1, size_max) + 1):
        before = [f"T-{m}" for m in range(1, n)]
        after = chance.sample(before, min(len(before), chance.randint(0, 3)))
        kind = "leader" if chance.randrange(4) == 0 else "specialist"
        tasks.append(task(f"T-{n}", *after, kind=kind, attempts_max=chance.randint(1, 3)))
    chance.shuffle(tasks)
    return tasks


def steps(plan: Plan, chance: random.Random, steps_max: int = 60) -> Iterator[list[Event]]:
    """Yields the events of one decision after another, each folded into the plan, until it is over or left lying."""
    yield domain.create(plan, FACTS, graph(chance), "ana@x")
    if chance.randrange(10) == 0:
        yield domain.cancel(plan, "ana@x", "Ya no hace falta", 0)
        return
    yield domain.run(plan, "ana@x", 0)
    now_us = 1_700_000_000_000_000
    for _ in range(steps_max):
        now_us += 60_000_000
        yield domain.start(plan, now_us, chance.randint(1, 4))
        running = sorted(t for t, run in plan.tasks.items() if run.state == "running")
        if plan.state != "running" or not running:
            return
        if chance.randrange(40) == 0:
            yield domain.cancel(plan, "ana@x", "Basta", 0)
            return
        yield _outcome(plan, chance.choice(running), chance, now_us)


def _outcome(plan: Plan, task_id: str, chance: random.Random, now_us: int) -> list[Event]:
    run = plan.tasks[task_id]
    kind = chance.randrange(12)
    if kind == 0:
        failure = Failure("TOOL_FAILED", "No hay filas", lost=chance.random() < 0.5)
        return domain.fail(plan, task_id, run.attempt, failure, now_us, chance.random())
    if run.task.kind == "leader" and run.phase == "run":
        children = [task(f"{task_id}.1"), task(f"{task_id}.2", f"{task_id}.1")]
        if "." not in task_id and chance.random() < 0.3:
            children.append(dataclasses.replace(task(f"{task_id}.3", f"{task_id}.1"), kind="leader"))
        return domain.expand(plan, task_id, run.attempt, children, 0)
    return domain.complete(plan, task_id, run.attempt, {s.name: f"artf-{name(task_id)}" for s in run.task.writes}, 0)


def every_kind(plan: Plan, chance: random.Random, steps_max: int = 25) -> Iterator[list[Event]]:
    """Yields the same of a plan of every kind of task and policy, with everything that can be asked of one.

    Half of the plans are left where they are then: waiting, paused, being undone; the others come to their end.
    """
    walk = plan_walk.Walk(chance)
    walk.plan, walk.replayed = plan, Plan(plan.tenant_id, plan.project_id, plan.plan_id)
    names, weights = zip(*plan_walk.INPUTS, strict=True)
    walk.begin()
    yield list(walk.events)
    for what in chance.choices(names, weights, k=chance.randint(1, steps_max)):
        known = len(walk.events)
        plan_walk.step(walk, chance, what)
        yield walk.events[known:]
    if chance.random() < 0.5:
        known = len(walk.events)
        walk.finish()
        yield walk.events[known:]
