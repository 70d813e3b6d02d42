"""Random plans of every kind of task and policy, and what their attempts make: for the model and the simulation."""

import dataclasses
import random
from typing import Any

from haas_planner.domain import Plan, Proposal
from haas_planner.domain.templates import template_task
from haas_planner.graph import COMPOSITE, Policy, Slot, Task

FACTS: dict[str, Any] = {
    "objective": "o", "intent": "i", "language": "en", "slots": {}, "brief_artifact_id": "", "profile_id": "p",
    "profile_version": 1, "goals": [], "inputs": [],
}  # fmt: skip
SIGNALS = ("paid", "shipped")
ROLES = ("owner", "reviewer")
TOOLS = ("web.search", "sheet.read")
#: Kinds by how often they come.
KINDS = (
    "specialist", "specialist", "specialist", "specialist", "tool", "tool", "transform", "leader", "map", "map", "wait",
    "wait", "approval", "schedule",
)  # fmt: skip
REASONS = ("TOOL_FAILED", "TOOL_TIMEOUT", "MODEL_FAILED", "FIELD_INVALID")


def slot_of(task_id: str) -> str:
    """Returns the name of the value that a task writes."""
    return "v_" + task_id.removeprefix("T-").replace(".", "_")


def facts(chance: random.Random) -> dict[str, Any]:
    """Returns PlanCreated's fields: with repairs and budgets in some."""
    more: dict[str, Any] = {}
    if chance.random() < 0.5:
        more["repairs_max"] = chance.randint(1, 3)
    if chance.random() < 0.2:
        more["budget"] = {"tokens": chance.randint(20, 120), "money_micros": 0, "time_s": chance.choice((0, 0, 90))}
    return {**FACTS, **more}


def policy(chance: random.Random) -> Policy:
    """Returns how a task is tried; the default in half of them."""
    if chance.random() < 0.5:
        return Policy()
    undo = {"kind": "tool", "skill": "undo", "params": {}} if chance.random() < 0.3 else {}
    return Policy(
        schedule_to_close_s=chance.choice((0, 0, 0, 20, 60)),
        backoff_s=chance.choice((0.1, 1.0, 5.0)),
        retry_on=chance.choice(((), (), ("TOOL_FAILED",))),
        never_retry_on=chance.choice(((), ("MODEL_FAILED",))),
        priority=chance.choice((5, 5, 1, 9)),
        concurrency_key=chance.choice(("", "", "", "site")),
        concurrency_max=2,
        tokens_max=chance.choice((0, 0, 10)),
        on_failure=chance.choice(("repair", "fail", "continue")),
        compensation=undo,
    )


def item(chance: random.Random) -> dict[str, Any]:
    """Returns a map's or a schedule's template."""
    kind = chance.choice(("specialist", "tool", "transform"))
    told: dict[str, Any] = {"kind": kind, "skill": "each", "params": expression(chance) if kind == "transform" else {}}
    told["attempts_max"] = chance.randint(1, 2)
    if chance.random() < 0.3:
        told["policy"] = {"on_failure": chance.choice(("fail", "continue")), "backoff_s": 0.1}
    return told


def expression(chance: random.Random) -> dict[str, Any]:
    """Returns a transform's parameters: how many values it reads, or what fails, or nothing to go by at all."""
    return chance.choice(({"expression": "length(inputs)"}, {"expression": "abs(inputs)"}, {}))


def control(chance: random.Random, kind: str, reads: tuple[Slot, ...]) -> dict[str, Any]:
    """Returns what a map, a wait, an approval or a schedule goes by."""
    if kind == "map":
        join = chance.choice(("all", "all", "any", "quorum"))
        return {
            "over": reads[0].name, "path": "items", "limit": chance.randint(1, 3), "join": join,
            "quorum": chance.randint(1, 3), "item": item(chance),
        }  # fmt: skip
    if kind == "wait":
        which = chance.randrange(4)
        if which == 0:
            return {"for_s": chance.choice((0.5, 5, 30))}
        if which == 1:
            return {"until": "2023-11-14T22:14:00+00:00"}
        timed = {"timeout_s": 40, "on_timeout": chance.choice(("fail", "continue"))} if which == 2 else {}
        return {"signal": chance.choice(SIGNALS), **timed}
    if kind == "approval":
        reminders = chance.choice(([], [5], [5, 20]))
        return {
            "role": chance.choice(ROLES), "text": "ok?", "expires_s": 50, "remind_s": reminders,
            "on_expiry": chance.choice(("reject", "approve")),
        }  # fmt: skip
    ends = {"until": "2023-11-14T22:17:30+00:00"} if chance.random() < 0.3 else {}
    return {
        "cron": "* * * * *", "zone": "UTC", "catch_up": chance.choice(("none", "one", "all")),
        "overlap": chance.choice(("skip", "queue", "allow", "cancel")), "runs_max": chance.randint(1, 3),
        "item": item(chance), **ends,
    }  # fmt: skip


def task(chance: random.Random, task_id: str, before: list[str], kinds: tuple[str, ...] = KINDS) -> Task:
    """Returns a task that reads from up to three of those before it."""
    after = chance.sample(before, min(len(before), chance.choice((0, 1, 1, 2, 3))))
    # What comes from a task is of the type that it writes; which one that is, nobody here has to know.
    reads = tuple(Slot(slot_of(a), "value.x", a) for a in after)
    kind = chance.choice(kinds)
    if kind == "map" and not reads:
        kind = "specialist"
    written = "doc.x" if kind not in ("map", "transform") and chance.random() < 0.3 else "value.x"
    writes = (Slot(slot_of(task_id), written),) if kind not in ("wait",) or chance.random() < 0.6 else ()
    controlled = control(chance, kind, reads) if kind in ("map", "wait", "approval", "schedule") else {}
    skill = chance.choice(TOOLS) if kind == "tool" else kind
    return Task(
        task_id, kind, skill, "", f"agent.{task_id}", reads, writes, expression(chance) if kind == "transform" else {},
        chance.randint(1, 3), chance.choice((5, 20)), policy(chance), controlled,
    )  # fmt: skip


def graph(chance: random.Random, size_max: int = 10) -> list[Task]:
    """Returns an acyclic graph, in an order in which a task may stand before what it reads from."""
    tasks = [task(chance, f"T-{n}", [f"T-{m}" for m in range(1, n)]) for n in range(1, chance.randint(1, size_max) + 1)]
    # Slots that nothing writes would be read by nobody in a validated graph.
    wrote = {t.task_id for t in tasks if t.writes}
    tasks = [dataclasses.replace(t, reads=tuple(s for s in t.reads if s.from_task in wrote)) for t in tasks]
    tasks = [
        dataclasses.replace(t, kind="specialist", control={}) if t.kind == "map" and not t.reads else t for t in tasks
    ]
    tasks = [_over_first(t) for t in tasks]
    chance.shuffle(tasks)
    return tasks


def _over_first(found: Task) -> Task:
    if found.kind != "map":
        return found
    return dataclasses.replace(found, control={**found.control, "over": found.reads[0].name})


def expansion(chance: random.Random, found: Task, live: int) -> list[Task]:
    """Returns what a leader or a map expands into; a leader of the third level has no more leaders below it."""
    if live > 60:
        return []
    if found.kind == "map":
        count = chance.choice((0, 1, 2, 3, 5))
        return [
            template_task(found, found.control["item"], n, {"item": n, "index": n - 1}) for n in range(1, count + 1)
        ]
    size = chance.choice((0, 1, 2, 3))
    deep = found.task_id.count(".") >= 1
    kinds = ("specialist", "tool", "wait") if deep else ("specialist", "tool", "leader", "wait", "approval", "schedule")
    ids = [f"{found.task_id}.{n}" for n in range(1, size + 1)]
    made = []
    for n, child_id in enumerate(ids):
        wrote = [one.task_id for one in made if one.writes]
        made.append(task(chance, child_id, wrote if n else [], kinds))
    return made


def written(found: Task, completions: int) -> tuple[dict[str, str], dict[str, Any]]:
    """Returns the artifacts and the values that an attempt makes: the same of every attempt until it is done anew."""
    outputs, values = {}, {}
    for slot in found.writes:
        if slot.type.startswith("value."):
            values[slot.name] = {"items": [found.task_id], "done": completions}
        else:
            outputs[slot.name] = f"artf-{found.task_id.lower()}-{completions}"
    return outputs, values


def proposal(chance: random.Random, whole: list[Task], failed: Task) -> Proposal | None:
    """Returns how a failed task is planned anew, with a new task before it in some; None: there is no other way."""
    if chance.random() < 0.3:
        return None
    revised = dataclasses.replace(failed, skill="other", attempts_max=3)
    if "." in failed.task_id or failed.kind in COMPOSITE or chance.random() < 0.5:
        return Proposal("other_skill", [revised], "another way")
    taken = {t.task_id for t in whole}
    number = next(n for n in range(100, 1000) if f"T-{n}" not in taken)
    added = Task(f"T-{number}", "specialist", "before", "", "agent.new", (), (Slot(f"v_{number}", "value.x"),))
    revised = dataclasses.replace(revised, reads=(*revised.reads, Slot(f"v_{number}", "value.x", added.task_id)))
    return Proposal("human", [added, revised], "with a step before")


def revision(chance: random.Random, plan: Plan) -> tuple[list[Task], list[str]]:
    """Returns a revision that keeps the graph whole: a new contract, a new task, or one less that none reads."""
    revisable = [
        r.task for r in plan.tasks.values()
        if r.state in ("planned", "ready", "waiting", "failed") and not r.compensates and not r.parent
    ]  # fmt: skip
    number = next(n for n in range(200, 1000) if f"T-{n}" not in plan.tasks)
    writing = [t for t, r in plan.tasks.items() if r.task.writes and not r.parent and r.state not in ("superseded",)]
    which = chance.randrange(3) if revisable else 0
    if which == 0:
        return [task(chance, f"T-{number}", [t for t in writing if not plan.tasks[t].compensates])], []
    one = chance.choice(revisable)
    if which == 1:
        return [dataclasses.replace(one, skill="revised", attempts_max=2)], []
    if any(plan.tasks[d].state != "superseded" for d in plan.dependents.get(one.task_id, ())):
        return [dataclasses.replace(one, attempt_limit_s=7)], []
    return [], [one.task_id]
