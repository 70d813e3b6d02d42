"""What a task's policy, control and schemas may say, kind by kind. Pure.

`faults` yields (field, rule) of what is broken; contracts.py names the task and raises.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from haas_planner import cron, schemas, transform
from haas_planner.graph import Policy, Slot, Task

Fault = tuple[str, str]
#: A month and a day: what is meant to take longer is a schedule or a plan of its own.
WAIT_S_MAX = 32 * 24 * 3600
LIMIT_MAX = 1_000
RUNS_MAX = 10_000
REMINDERS_MAX = 10
TEXT_CHARS_MAX = 2_000
TEMPLATE_KINDS = ("specialist", "tool", "transform")
_JOINS = ("all", "any", "quorum")
#: As planner.proto takes a signal: another name could never come.
_SIGNAL = re.compile(r"[a-z][a-z0-9_.]{0,62}")
_OVERLAPS = ("skip", "queue", "allow", "cancel")
_CATCH_UPS = ("none", "one", "all")
_FIELDS: Mapping[str, frozenset[str]] = {
    "map": frozenset({"over", "path", "limit", "join", "quorum", "item"}),
    "wait": frozenset({"for_s", "until", "signal", "timeout_s", "on_timeout"}),
    "approval": frozenset({"role", "text", "expires_s", "remind_s", "on_expiry"}),
    "schedule": frozenset({"cron", "zone", "catch_up", "overlap", "runs_max", "until", "item"}),
    "tool": frozenset({"alternatives"}),
}
_ITEM_FIELDS = frozenset(
    {"kind", "skill", "params", "title", "owner_agent_id", "attempts_max", "attempt_limit_s", "policy", "writes_type"}
)


def faults(task: Task) -> Iterator[Fault]:
    """Yields what a task's policy, control and schemas break."""
    yield from _policy(task.policy)
    unknown = set(task.control) - _FIELDS.get(task.kind, frozenset())
    if unknown:
        yield f"control.{sorted(unknown)[0][:63]}", f"is nothing that a {task.kind} goes by"
        return
    check = _CHECKS.get(task.kind)
    if check is not None:
        yield from check(task)
    yield from _schemas(task)


def template_of(task: Task) -> Mapping[str, Any] | None:
    """Returns what a map's or a schedule's tasks are made from."""
    item = task.control.get("item")
    return item if isinstance(item, Mapping) else None


def edge_fault(producer: Task, consumer: Task, slot: Slot) -> schemas.Fault | None:
    """Returns why not every value that a task may write is one that the reader takes; None where it is."""
    return schemas.incompatible(producer.schemas.get(slot.name), consumer.schemas.get(slot.name))


# ── Policy and schemas ───────────────────────────────────────────────────────────────────────────────────────────────


def _policy(policy: Policy) -> Iterator[Fault]:
    rules = (
        ("schedule_to_close_s", 0 <= policy.schedule_to_close_s <= WAIT_S_MAX, f"must be 0 to {WAIT_S_MAX}"),
        ("heartbeat_s", 0 <= policy.heartbeat_s <= 3600, "must be 0 to 3600"),
        ("backoff_s", 0 <= policy.backoff_s <= 3600, "must be 0 to 3600"),
        ("backoff_factor", 1 <= policy.backoff_factor <= 10, "must be 1 to 10"),
        ("backoff_max_s", 0 <= policy.backoff_max_s <= 86_400, "must be 0 to 86400"),
        ("retry_on", _reasons(policy.retry_on), "must be at most 50 names of reasons"),
        ("never_retry_on", _reasons(policy.never_retry_on), "must be at most 50 names of reasons"),
        ("priority", 0 <= policy.priority <= 9, "must be 0 to 9"),
        ("concurrency_key", len(policy.concurrency_key) <= 100, "must have at most 100 characters"),
        ("concurrency_max", 1 <= policy.concurrency_max <= 10_000, "must be 1 to 10000"),
        ("tokens_max", policy.tokens_max >= 0, "must not be negative"),
        ("money_micros_max", policy.money_micros_max >= 0, "must not be negative"),
        ("on_failure", policy.on_failure in ("repair", "fail", "continue"), "must be repair, fail or continue"),
    )
    for field, holds, rule in rules:
        if not holds:
            yield f"policy.{field}", rule
    if policy.compensation:
        how = policy.compensation
        if set(how) - {"kind", "skill", "params", "title", "attempts_max", "writes_type"}:
            yield "policy.compensation", "has kind, skill, params, title, attempts_max and writes_type"
        elif how.get("kind") not in TEMPLATE_KINDS or not _is_text(how.get("skill"), 63):
            yield "policy.compensation", f"needs a skill, and a kind of {', '.join(TEMPLATE_KINDS)}"


def _reasons(names: Sequence[str]) -> bool:
    return len(names) <= 50 and all(0 < len(name) <= 63 for name in names)


def _schemas(task: Task) -> Iterator[Fault]:
    names = {slot.name for slot in (*task.reads, *task.writes)}
    for name, schema in task.schemas.items():
        if name not in names:
            yield f"schemas.{name[:63]}", "is no value that it reads or writes"
            continue
        try:
            schemas.check_schema(schema)
        except schemas.SchemaProblem as problem:
            yield f"schemas.{name}{problem.path}", problem.rule


# ── Kinds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _transform(task: Task) -> Iterator[Fault]:
    if task.skill != "transform":
        yield "skill", "of a transform is “transform”"
    yield from _expression("params.expression", task.params.get("expression"))


def _expression(field: str, expression: object) -> Iterator[Fault]:
    if not isinstance(expression, str):
        yield field, "must be a JMESPath expression"
        return
    try:
        transform.check(expression)
    except transform.TransformFault as fault:
        yield field, str(fault)


def _map(task: Task) -> Iterator[Fault]:
    control = task.control
    if control.get("over") not in {slot.name for slot in task.reads}:
        yield "control.over", "must be the name of a value that it reads"
    yield from _expression("control.path", control.get("path", "items"))
    if not _whole(control.get("limit", 10), 1, LIMIT_MAX):
        yield "control.limit", f"must be 1 to {LIMIT_MAX}"
    if control.get("join", "all") not in _JOINS:
        yield "control.join", f"must be one of {', '.join(_JOINS)}"
    if control.get("join") == "quorum" and not _whole(control.get("quorum"), 1, 100_000):
        yield "control.quorum", "must be 1 to 100000"
    yield from _one_write(task)
    yield from _item(task)


def _wait(task: Task) -> Iterator[Fault]:
    control = task.control
    chosen = [name for name in ("for_s", "until", "signal") if name in control]
    if len(chosen) != 1:
        yield "control", "of a wait holds one of for_s, until and signal"
        return
    if "for_s" in control and not _number(control["for_s"], 0, WAIT_S_MAX):
        yield "control.for_s", f"must be 0 to {WAIT_S_MAX}"
    if "until" in control and not _is_instant(control["until"]):
        yield "control.until", "must be a time with its zone, such as 2026-12-01T09:00:00Z"
    if "signal" in control and not (isinstance(control["signal"], str) and _SIGNAL.fullmatch(control["signal"])):
        yield "control.signal", "must be a small letter, then at most 62 small letters, digits, _ or ."
    if "timeout_s" in control and ("signal" not in control or not _number(control["timeout_s"], 1, WAIT_S_MAX)):
        yield "control.timeout_s", f"must be 1 to {WAIT_S_MAX}, for a signal"
    if control.get("on_timeout", "fail") not in ("fail", "continue"):
        yield "control.on_timeout", "must be fail or continue"


def _approval(task: Task) -> Iterator[Fault]:
    control = task.control
    expires_s = control.get("expires_s")
    if not _is_text(control.get("role"), 63):
        yield "control.role", "must be a role of 1 to 63 characters"
    if not _is_text(control.get("text"), TEXT_CHARS_MAX):
        yield "control.text", f"must be what is to be decided, in 1 to {TEXT_CHARS_MAX} characters"
    if not _number(expires_s, 1, WAIT_S_MAX):
        yield "control.expires_s", f"must be 1 to {WAIT_S_MAX}"
        return
    after = control.get("remind_s", [])
    whole = isinstance(after, (list, tuple)) and len(after) <= REMINDERS_MAX
    if not whole or not all(_number(at, 1, expires_s) for at in after) or list(after) != sorted(set(after)):
        yield "control.remind_s", f"must be at most {REMINDERS_MAX} rising seconds below expires_s"
    if control.get("on_expiry", "reject") not in ("reject", "approve"):
        yield "control.on_expiry", "must be reject or approve"


def _schedule(task: Task) -> Iterator[Fault]:
    control = task.control
    try:
        cron.parse(str(control.get("cron", "")), str(control.get("zone", "UTC")))
    except ValueError as error:
        yield "control.cron", str(error)
    if control.get("catch_up", "none") not in _CATCH_UPS:
        yield "control.catch_up", f"must be one of {', '.join(_CATCH_UPS)}"
    if control.get("overlap", "skip") not in _OVERLAPS:
        yield "control.overlap", f"must be one of {', '.join(_OVERLAPS)}"
    if "runs_max" in control and not _whole(control["runs_max"], 1, RUNS_MAX):
        yield "control.runs_max", f"must be 1 to {RUNS_MAX}"
    if "until" in control and not _is_instant(control["until"]):
        yield "control.until", "must be a time with its zone, such as 2026-12-01T09:00:00Z"
    if "runs_max" not in control and "until" not in control:
        yield "control", "of a schedule says when it ends: runs_max or until"
    yield from _one_write(task)
    yield from _item(task)


def _tool(task: Task) -> Iterator[Fault]:
    others = task.control.get("alternatives", [])
    if not isinstance(others, (list, tuple)) or len(others) > 5:
        yield "control.alternatives", "must be at most 5"
        return
    for other in others:
        if not isinstance(other, Mapping) or set(other) - {"skill", "params"} or not _is_text(other.get("skill"), 63):
            yield "control.alternatives", "each has a skill, the tool's name, and params"


def _item(task: Task) -> Iterator[Fault]:
    item = task.control.get("item")
    if not isinstance(item, Mapping):
        yield "control.item", "must say what is done with each: kind, skill and params"
        return
    if unknown := set(item) - _ITEM_FIELDS:
        yield f"control.item.{sorted(unknown)[0][:63]}", "is nothing that a task goes by"
    if item.get("kind") not in TEMPLATE_KINDS:
        yield "control.item.kind", f"must be one of {', '.join(TEMPLATE_KINDS)}"
    if not _is_text(item.get("skill"), 63):
        yield "control.item.skill", "must be the name of a skill or a tool"
    if not isinstance(item.get("params", {}), Mapping):
        yield "control.item.params", "must be an object"
    if not _is_text(item.get("writes_type", "value.item"), 63):
        yield "control.item.writes_type", "must be a type"
    if not isinstance(item.get("policy", {}), Mapping) or set(item.get("policy", {})) - set(Policy.__slots__):
        yield "control.item.policy", "has the fields of a task's policy"


def _one_write(task: Task) -> Iterator[Fault]:
    if len(task.writes) != 1:
        yield "writes", f"of a {task.kind} must be one value"


_CHECKS: Mapping[str, Callable[[Task], Iterator[Fault]]] = {
    "transform": _transform,
    "map": _map,
    "wait": _wait,
    "approval": _approval,
    "schedule": _schedule,
    "tool": _tool,
}


# ── Values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(value: object, least: float, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and "\0" not in value


def _is_instant(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
