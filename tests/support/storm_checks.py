"""What has to hold after a storm, by the history, the read models and the outside world."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from tests.support.apps import App
from tests.support.storms import NOTES, WRITTEN, Ledger, StormPlan

#: What ends an attempt, beside TaskCompleted.
_ENDS = ("TaskRetryScheduled", "TaskFailed", "TaskExpanded")


@dataclass(frozen=True, slots=True)
class Found:
    """What a round came to.

    Attributes:
        attempts: how many were started.
        lost: how many of them ended with their process.
        tool_attempts: attempts that called a tool.
        effects: calls of tools that ended well, once for each request.
        raw_calls: calls that reached the ledger, and `taken` of them once each.
    """

    events: int
    attempts: int
    lost: int
    tool_attempts: int
    effects: int
    raw_calls: int
    taken: int


def payload(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event's payload."""
    return json.loads(event["payload_json"])


def recorded_at(event: Mapping[str, Any]) -> datetime:
    """When an event was recorded, by the database's clock."""
    return datetime.fromisoformat(event["record_time"].replace("Z", "+00:00"))


def check(app: App, plan_id: str, plan: StormPlan, ledger: Ledger, admin: psycopg.Connection) -> Found:
    """Nothing is lost, nothing happened twice, nothing is stuck."""
    events = app.events()
    assert [int(e["seq"]) for e in events] == list(range(1, len(events) + 1)), "the history has a gap"
    own = [e for e in events if e["plan_id"] == plan_id]
    tasks = _check_models(app, plan_id, plan, admin)
    kinds = Counter(e["type"] for e in own)
    assert (kinds["PlanStarted"], kinds["PlanCompleted"]) == (1, 1)
    signals = Counter(payload(e)["name"] for e in own if e["type"] == "SignalReceived" and e["task_id"])
    assert signals == Counter({json.loads(t["control_json"]).get("signal") for t in plan.tasks} - {None})
    done = Counter(e["task_id"] for e in own if e["type"] == "TaskCompleted")
    assert done == Counter(tasks), "a task was completed twice, or not at all"
    attempts, lost = _check_attempts(own)
    _check_values(own, plan)
    _check_artifacts(own, plan)
    effects = _check_calls(own, plan)
    assert set(ledger.calls) == {r for r, tool in effects.items() if tool == "mcp.http"}
    doubled = {key: bodies for key, bodies in ledger.bodies.items() if len(bodies) > 1}
    assert not doubled, f"a key stood for two effects: {doubled}"
    assert len(set().union(*ledger.bodies.values())) == len(ledger.calls) == plan.items.get("mcp.http", 0)
    tool_attempts = sum(1 for e in own if e["type"] == "TaskStarted" and "." in e["task_id"])
    return Found(
        len(events), attempts, lost, tool_attempts, len(effects), ledger.calls.total(), len(ledger.calls)
    )  # fmt: skip


def _check_models(app: App, plan_id: str, plan: StormPlan, admin: psycopg.Connection) -> list[str]:
    """What is asked for as rows: everything is complete, nothing is held. Returns the tasks."""
    row = admin.execute(
        "SELECT state, tasks_total, wake_us, failure FROM haas.plans WHERE tenant_id = %s AND plan_id = %s",
        (app.tenant, plan_id),
    ).fetchone()
    assert row == ("completed", plan.count, -1, ""), row
    rows = admin.execute(
        "SELECT task_id, status FROM haas.tasks_read WHERE tenant_id = %s AND plan_id = %s", (app.tenant, plan_id)
    ).fetchall()
    assert Counter(status for _, status in rows) == {"completed": plan.count}
    for table, more in (("task_slots", ""), ("plan_commands", " AND decided_at IS NULL")):
        # Safe: constants of this file.
        query = f"SELECT count(*) FROM haas.{table} WHERE tenant_id = %s{more}"
        assert admin.execute(query.encode(), (app.tenant,)).fetchone() == (0,), f"{table} has rows left"
    return [task_id for task_id, _ in rows]


def _check_attempts(own: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """A task has one attempt under way at most, and only that one ends it. Returns how many there were, and lost."""
    under_way: dict[str, int] = {}
    numbers: Counter[str] = Counter()
    lost = 0
    for event in own:
        task_id, kind = event["task_id"], event["type"]
        if kind == "TaskStarted":
            assert task_id not in under_way, f"{task_id} was started twice at a time"
            numbers[task_id] += 1
            under_way[task_id] = payload(event)["attempt"]
            assert under_way[task_id] == numbers[task_id], f"an attempt of {task_id} is missing"
        elif kind in _ENDS or kind == "TaskCompleted":
            ended = payload(event)["attempt"]
            # 0: a wait, which ended without one.
            assert under_way.pop(task_id, 0) == ended, f"{task_id} was ended by a superseded attempt"
            lost += payload(event).get("reason") == "OWNER_LOST"
    assert not under_way, f"attempts are still under way: {under_way}"
    return numbers.total(), lost


def _check_values(own: Iterable[Mapping[str, Any]], plan: StormPlan) -> None:
    """What tasks computed is what it is without a storm."""
    written = {
        name: value for e in own if e["type"] == "TaskCompleted" for name, value in payload(e).get("values", {}).items()
    }
    assert {name: written[name] for name in plan.values} == plan.values


def _check_artifacts(own: Iterable[Mapping[str, Any]], plan: StormPlan) -> None:
    """Each artifact was made once, and never changed."""
    made = Counter(e["stream"] for e in own if e["type"] in ("ArtifactProduced", "ArtifactUpdated") and e["task_id"])
    assert set(made.values()) == {1}, "an artifact was made twice"
    # The maps' reports, and what the tasks of one of them and the notes wrote.
    assert len(made) == len(plan.items) + WRITTEN + NOTES


def _check_calls(own: Iterable[Mapping[str, Any]], plan: StormPlan) -> dict[str, str]:
    """Each request's call ended well once. Returns the tool of each."""
    calls = [payload(e) for e in own if e["type"] == "ToolInvoked"]
    well = Counter(p["request_id"] for p in calls if p["outcome"] == "OK")
    assert set(well.values()) == {1}, "a call had its effect twice"
    assert len(well) == sum(plan.items.values())
    return {p["request_id"]: p["tool"] for p in calls if p["outcome"] == "OK"}


def pauses(
    own: Iterable[Mapping[str, Any]], bouts: Sequence[tuple[str, datetime, datetime]]
) -> list[tuple[str, float, float]]:
    """How long no task was completed, in seconds: from a fault on at most, and from its end to the next one.

    Left out is a fault after which the next one came, or the plan's end, before a task was completed.
    """
    times = [recorded_at(e) for e in own if e["type"] == "TaskCompleted"]
    found = []
    for (what, begun, over), following in itertools.zip_longest(bouts, bouts[1:]):
        after = next((t for t in times if t > over), None)
        if after is None or (following is not None and following[1] < after):
            continue
        known = [begun, *(t for t in times if begun < t <= over), after]
        longest = max(b - a for a, b in itertools.pairwise(known))
        found.append((what, longest.total_seconds(), (after - over).total_seconds()))
    return found


_STANDING = (
    ("plan", "SELECT state, tasks_by_state, wake_us, updated_at, now() FROM haas.plans WHERE plan_id = %s"),
    ("unfinished", "SELECT task_id, status, attempt, updated_at FROM haas.tasks_read WHERE plan_id = %s"
     " AND status NOT IN ('completed', 'planned') ORDER BY updated_at LIMIT 40"),
    ("commands", "SELECT kind, created_at FROM haas.plan_commands WHERE plan_id = %s AND decided_at IS NULL"),
    ("slots", "SELECT key, number, task_id FROM haas.task_slots WHERE plan_id = %s"),
    ("breakers", "SELECT tool, b.* FROM haas.breakers AS b JOIN haas.plans USING (tenant_id) WHERE plan_id = %s"),
    ("claims", "SELECT r.request_id, claimed_until FROM haas.requests AS r JOIN haas.plans USING (tenant_id)"
     " WHERE plan_id = %s AND r.result IS NULL LIMIT 20"),
    ("leases", "SELECT name, owner, epoch, expires_at FROM haas.leases JOIN haas.plans ON name = 'shard/' || shard"
     " WHERE plan_id = %s"),
    ("transactions", "SELECT usename, state, wait_event, xact_start, left(query, 200) FROM pg_stat_activity"
     " WHERE state <> 'idle' AND %s <> ''"),
)  # fmt: skip


def standing(admin: psycopg.Connection, plan_id: str) -> str:
    """Tells where a plan stands that does not go on."""
    told = [f"{name}: {admin.execute(query.encode(), (plan_id,)).fetchall()}" for name, query in _STANDING]
    return "\n".join(told)
