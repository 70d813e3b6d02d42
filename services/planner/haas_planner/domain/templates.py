"""What a task's control says: when a wait ends, when a schedule is due, which tasks a template makes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from haas_planner import cron
from haas_planner.graph import Slot, Task, policy_from_json

_US = 1_000_000


def join_needs(control: Mapping[str, Any], total: int) -> int:
    """Returns how many of a map's tasks have to end well."""
    join = control.get("join", "all")
    if join == "any":
        return min(1, total)
    return min(int(control["quorum"]), total) if join == "quorum" else total


def instant_us(text: str) -> int:
    """Returns an RFC 3339 time in microseconds of the epoch."""
    return int(datetime.fromisoformat(text).timestamp() * _US)


def wait_until(control: Mapping[str, Any], now_us: int) -> int:
    """Returns when a wait ends by itself; 0 for one that only a signal ends."""
    if "for_s" in control:
        return now_us + int(control["for_s"] * _US)
    if "until" in control:
        # In the past: it is over at once.
        return max(instant_us(control["until"]), now_us, 1)
    return now_us + int(control["timeout_s"] * _US) if control.get("timeout_s") else 0


def schedule_next(task: Task, after_us: int) -> int:
    """Returns when a schedule is due next."""
    return cron.next_after(cron.parse(task.control["cron"], task.control.get("zone", "UTC")), after_us)


def child_of(task: Task, number: int, fired_us: int) -> Task:
    """Returns a schedule's run number `number`: its template with the time that it stands for."""
    return template_task(task, task.control["item"], number, {"fired_us": fired_us, "run": number})


def template_task(task: Task, item: Mapping[str, Any], number: int, more: Mapping[str, Any]) -> Task:
    """Returns the task number `number` that a map's or a schedule's template makes, e.g. T-3.7 of T-3."""
    child_id = f"{task.task_id}.{number}"
    over = task.control.get("over")
    name = "v_" + child_id.removeprefix("T-").replace(".", "_")
    return Task(
        child_id,
        item["kind"],
        item["skill"],
        item.get("title", "") or f"{task.title} {number}".strip(),
        item.get("owner_agent_id", "") or task.owner_agent_id,
        tuple(slot for slot in task.reads if slot.name != over),
        (Slot(name, item.get("writes_type", "value.item")),),
        {**item.get("params", {}), **more},
        int(item.get("attempts_max", 3)),
        int(item.get("attempt_limit_s", 60)),
        policy_from_json(item.get("policy", {})),
    )


def undoing_of(task: Task) -> Task:
    """Returns the task that undoes another one; it reads what that one wrote."""
    how = task.policy.compensation
    number = task.task_id.removeprefix("T-").replace(".", "_")
    return Task(
        f"{task.task_id}.0",
        how["kind"],
        how["skill"],
        how.get("title", "") or f"↩ {task.title}".strip(),
        task.owner_agent_id,
        tuple(Slot(slot.name, slot.type, task.task_id) for slot in task.writes),
        (Slot(f"undone_{number}", how.get("writes_type", "value.undone")),),
        dict(how.get("params", {})),
        int(how.get("attempts_max", 5)),
        task.attempt_limit_s,
    )
