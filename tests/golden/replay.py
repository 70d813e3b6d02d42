"""Golden histories: the inputs to a plan and the events that they were decided to, as one release recorded them."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haas_planner import domain
from haas_planner.domain import Event, Failure, Plan, Proposal, task_from_json

FOLDER = Path(__file__).parent
#: The domain's time begins with 2023-11-14, 22:13:20 UTC.
BEGAN_US = 1_700_000_000_000_000


def plan() -> Plan:
    """Returns a plan without a history."""
    return Plan("t-gold", "p-gold", "pl-gold")


def play(found: Plan, what: str, said: Mapping[str, Any], now_us: int) -> list[Event]:
    """Gives a plan one input, as it stands in a golden history."""
    match what:
        case "create":
            tasks = [task_from_json(t) for t in said["tasks"]]
            return domain.create(found, said["facts"], tasks, "ana", done=said.get("done"))
        case "run":
            return domain.run(found, "ana", now_us)
        case "start":
            return domain.start(found, now_us, said["room"])
        case "tick":
            return domain.tick(found, now_us)
        case "advance":
            return domain.advance(found, now_us)
        case "complete":
            return domain.complete(
                found, said["task_id"], said["attempt"], said.get("outputs", {}), now_us,
                values=said.get("values", {}), usage=said.get("usage", {}),
            )  # fmt: skip
        case "fail":
            failure = Failure(**said["failure"])
            return domain.fail(found, said["task_id"], said["attempt"], failure, now_us, said["jitter"])
        case "expand":
            tasks = [task_from_json(t) for t in said["tasks"]]
            return domain.expand(found, said["task_id"], said["attempt"], tasks, now_us)
        case "replanned":
            tasks = [task_from_json(t) for t in said["tasks"]]
            return domain.replanned(found, said["task_id"], Proposal(said["strategy"], tasks, "gold"), now_us)
        case "unrepaired":
            return domain.unrepaired(found, said["task_id"], now_us)
    return _asked(found, what, said, now_us)


def _asked(found: Plan, what: str, said: Mapping[str, Any], now_us: int) -> list[Event]:
    task_id = said.get("task_id", "")
    match what:
        case "cancel" | "pause":
            return {"cancel": domain.cancel, "pause": domain.pause}[what](found, "ana", "gold", now_us)
        case "resume":
            return domain.resume(found, "ana", "gold", said.get("budget"), now_us)
        case "signal":
            return domain.signal(found, "ana", said["name"], said["value"], task_id, now_us)
        case "approve":
            return domain.approve(found, "eva", task_id, said["approved"], "gold", said["role"], now_us)
        case "retry" | "rerun":
            return {"retry": domain.retry, "rerun": domain.rerun}[what](found, "ana", task_id, "gold", now_us)
        case "skip":
            return domain.skip(found, "ana", task_id, "gold", "owner", {}, said.get("values", {}), now_us)
        case "replan":
            tasks = [task_from_json(t) for t in said["tasks"]]
            return domain.replan(found, "ana", tasks, said["removed"], "gold", now_us)
    raise ValueError(f"no golden history may hold {what}")


def as_json(events: list[Event]) -> list[list[Any]]:
    """Returns events as they stand in a golden history."""
    return [[e.type, e.task_id, e.actor, json.loads(json.dumps(e.payload))] for e in events]


def digest(found: Plan) -> str:
    """Returns a hash of a plan's whole state; a field that says nothing counts as absent, so that one can be added."""
    text = json.dumps(_plain(found), sort_keys=True, ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {name: plain for name, plain in fields.items() if plain}
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def summary(found: Plan) -> dict[str, Any]:
    """Returns what a person would look at first."""
    return {"state": found.state, "tasks": {t: [r.state, r.attempt, r.completions] for t, r in found.tasks.items()}}
