"""Records the golden histories anew, where events are to differ on purpose: `python -m tests.golden.record`."""

import json
import sys
from collections.abc import Callable
from typing import Any

from haas_planner.domain import task_to_json
from haas_planner.domain.templates import template_task
from haas_planner.graph import Policy, Slot, Task
from tests.golden import replay
from tests.support.random_plans import FACTS, slot_of, written

UNDO = {"kind": "tool", "skill": "undo", "params": {}}
ITEM = {"kind": "specialist", "skill": "each", "params": {}, "attempts_max": 1}


def task(task_id: str, *after: str, kind: str = "specialist", attempts_max: int = 1, **more: Any) -> Task:
    """Returns a task that reads from others; `policy` by its fields, `params`, the rest is its control."""
    policy, params = Policy(**more.pop("policy", {})), more.pop("params", {})
    reads = tuple(Slot(slot_of(a), "value.x", a) for a in after)
    writes = (Slot(slot_of(task_id), "doc.x" if kind == "tool" else "value.x"),)
    return Task(
        task_id, kind, "s", f"Task {task_id}", f"agent.{task_id}", reads, writes, params, attempts_max, 60, policy, more
    )


class Script:
    """A history in the making."""

    def __init__(self, *tasks: Task, done: dict[str, Any] | None = None, **facts: Any) -> None:
        self.plan = replay.plan()
        self.steps: list[dict[str, Any]] = []
        self.now_us = replay.BEGAN_US
        more = {"done": done} if done else {}
        self.do("create", facts={**FACTS, **facts}, tasks=[task_to_json(t) for t in tasks], **more)
        self.do("run")
        self.do("start", room=9)

    def do(self, what: str, **said: Any) -> None:
        """Gives the plan an input and keeps both sides of it."""
        events = replay.play(self.plan, what, said, self.now_us)
        self.steps.append({"do": what, "now_us": self.now_us, "said": said, "events": replay.as_json(events)})

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        self.now_us += int(seconds * 1_000_000)
        self.do("tick")
        self.do("start", room=9)

    def done(self, *task_ids: str) -> None:
        """Completes attempts under way."""
        for task_id in task_ids:
            run = self.plan.tasks[task_id]
            outputs, values = written(run.task, run.completions)
            usage = {"tokens": 7, "duration_ms": 20}
            self.do("complete", task_id=task_id, attempt=run.attempt, outputs=outputs, values=values, usage=usage)
            self.do("start", room=9)

    def fail(self, task_id: str, reason: str = "TOOL_FAILED", **more: Any) -> None:
        """Fails an attempt under way."""
        failure = {"reason": reason, "message": "it broke", **more}
        self.do("fail", task_id=task_id, attempt=self.plan.tasks[task_id].attempt, failure=failure, jitter=0.25)
        self.do("start", room=9)

    def expand(self, task_id: str, *tasks: Task) -> None:
        """Expands a task."""
        attempt = self.plan.tasks[task_id].attempt
        self.do("expand", task_id=task_id, attempt=attempt, tasks=[task_to_json(t) for t in tasks])
        self.do("start", room=9)

    def items(self, map_id: str, count: int) -> None:
        """Expands a map."""
        found = self.plan.tasks[map_id].task
        self.expand(map_id, *(template_task(found, ITEM, n, {"item": n, "index": n - 1}) for n in range(1, count + 1)))


def attempts() -> Script:
    """Retries with backoff, a lost attempt, a late result, three kinds of work."""
    script = Script(task("T-1", attempts_max=2), task("T-2", "T-1", kind="tool"), task("T-3", "T-2", kind="transform"))
    script.fail("T-1")
    script.wait(1)
    script.do("complete", task_id="T-1", attempt=1)
    script.fail("T-1", "OWNER_LOST", lost=True)
    script.done("T-1", "T-2", "T-3")
    return script


def leader() -> Script:
    """A leader, its sub-plan with one below it, their reports."""
    script = Script(task("T-1", kind="leader"), task("T-2", "T-1"))
    script.expand("T-1", task("T-1.1"), task("T-1.2", "T-1.1", kind="leader"))
    script.done("T-1.1")
    script.expand("T-1.2", task("T-1.2.1"))
    script.done("T-1.2.1", "T-1.2", "T-1", "T-2")
    return script


def _map(join: str, count: int, **more: Any) -> Script:
    over = {"over": slot_of("T-1"), "path": "items", "limit": 2, "join": join, "quorum": 2, "item": ITEM}
    script = Script(task("T-1"), task("T-2", "T-1", kind="map", **over), task("T-3", "T-2"), **more)
    script.done("T-1")
    script.items("T-2", count)
    return script


def map_all() -> Script:
    """A map over all, two at a time."""
    script = _map("all", 3)
    script.done("T-2.1", "T-2.2", "T-2.3", "T-2", "T-3")
    return script


def map_any() -> Script:
    """A map that the first one ends; then one of those called off is done again."""
    script = _map("any", 3)
    script.done("T-2.2", "T-2", "T-3")
    script.do("rerun", task_id="T-2.1")
    script.do("start", room=9)
    script.done("T-2.1", "T-2", "T-3")
    return script


def map_quorum() -> Script:
    """A map that cannot reach its quorum, is planned anew, and then fails for good."""
    script = _map("quorum", 3, repairs_max=1)
    script.fail("T-2.1", retryable=False)
    script.fail("T-2.2", retryable=False)
    script.do("replanned", task_id="T-2", strategy="other_skill", tasks=[task_to_json(script.plan.tasks["T-2"].task)])
    script.do("start", room=9)
    script.items("T-2", 2)
    script.fail("T-2.1", retryable=False)
    return script


def waits() -> Script:
    """Waits for a time, an instant, a signal that came early, one that comes in time and two that do not."""
    script = Script(
        task("T-1", kind="wait", for_s=5), task("T-2", kind="wait", until="2023-11-14T22:14:00+00:00"), task("T-3"),
        task("T-4", "T-3", kind="wait", signal="paid"), task("T-5", kind="wait", signal="shipped"),
        task("T-6", kind="wait", signal="never", timeout_s=30, on_timeout="continue"),
        task("T-7", kind="wait", signal="never", timeout_s=60, on_timeout="fail"),
    )  # fmt: skip
    script.do("signal", name="paid", value={"amount": 7})
    script.do("signal", name="shipped", value={})
    script.done("T-3")
    for seconds in (5, 25, 10, 20):
        script.wait(seconds)
    return script


def approvals() -> Script:
    """An approval with reminders, one that expires as approved, one that is rejected."""
    ask = {"role": "owner", "text": "ok?", "expires_s": 60, "remind_s": [10, 20]}
    script = Script(
        task("T-1", kind="approval", **ask), task("T-2", kind="approval", **ask, on_expiry="approve"),
        task("T-3", "T-1", kind="approval", **ask),
    )  # fmt: skip
    for seconds in (10, 10):
        script.wait(seconds)
    script.do("approve", task_id="T-1", approved=True, role="owner")
    script.wait(40)
    script.do("approve", task_id="T-3", approved=False, role="owner")
    return script


def schedules() -> Script:
    """Schedules that skip, queue and cancel what still runs."""
    every = {"cron": "* * * * *", "zone": "America/Lima", "catch_up": "all", "runs_max": 2, "item": ITEM}
    script = Script(
        *(task(f"T-{n}", kind="schedule", overlap=how, **every) for n, how in enumerate(("skip", "queue", "cancel"), 1))
    )
    for _ in range(2):
        script.wait(60)
    script.done("T-1.1", "T-2.1", "T-2.2", "T-3.2")
    script.wait(60)
    script.done("T-1.2", "T-1", "T-2", "T-3")
    return script


def continues() -> Script:
    """A failure that the plan goes on without; its readers are left out; a deadline."""
    script = Script(
        task("T-1", policy={"on_failure": "continue"}), task("T-2", "T-1"), task("T-3", "T-2"),
        task("T-4", policy={"schedule_to_close_s": 30, "priority": 9, "on_failure": "continue"}), task("T-5"),
    )  # fmt: skip
    script.fail("T-1", retryable=False)
    script.wait(30)
    script.done("T-5")
    return script


def undone() -> Script:
    """What was done is undone when the plan fails, done again by a retry, and undone again when it is cancelled."""
    script = Script(task("T-1", policy={"compensation": UNDO}), task("T-2", "T-1", policy={"on_failure": "fail"}))
    script.done("T-1")
    script.fail("T-2", retryable=False)
    script.done("T-1.0")
    script.do("retry", task_id="T-2")
    script.do("start", room=9)
    script.done("T-1")
    script.do("cancel")
    script.do("start", room=9)
    script.done("T-1.0")
    return script


def budgets() -> Script:
    """A budget that runs out, one that is raised, and the plan's time."""
    spend = {"tokens_max": 10}
    script = Script(
        *(task(f"T-{n}", policy=spend) for n in (1, 2, 3)), budget={"tokens": 20, "money_micros": 0, "time_s": 60}
    )
    script.done("T-1", "T-2")
    script.do("resume", budget={"tokens": 100, "money_micros": 0, "time_s": 90})
    script.do("start", room=9)
    script.wait(90)
    script.do("resume", budget={"tokens": 100, "money_micros": 0, "time_s": 900})
    script.done("T-3")
    return script


def operations() -> Script:
    """A pause, a revision that adds and removes, a task left out with a value, a rerun, a repair refused."""
    script = Script(task("T-1"), task("T-2", "T-1"), task("T-3", "T-2"), task("T-4", "T-1"), repairs_max=1)
    script.do("pause")
    script.done("T-1")
    changed = [task("T-2", "T-1", "T-5", attempts_max=2), task("T-5")]
    script.do("replan", tasks=[task_to_json(t) for t in changed], removed=["T-4"])
    script.do("resume")
    script.do("start", room=9)
    script.done("T-5")
    script.do("skip", task_id="T-2", values={slot_of("T-2"): {"given": True}})
    script.do("start", room=9)
    script.done("T-3")
    script.do("rerun", task_id="T-5")
    script.do("start", room=9)
    script.fail("T-5", retryable=False)
    script.do("unrepaired", task_id="T-5")
    return script


def fork() -> Script:
    """A fork: what was done is taken over, the rest is done."""
    kept = {"T-1": {"attempt": 2, "outputs": {}, "values": {slot_of("T-1"): {"items": []}}}}
    script = Script(task("T-1"), task("T-2", "T-1"), done=kept, forked_from="pl-before", forked_at=9)
    script.done("T-2")
    return script


def inline() -> Script:
    """Transforms that a decision does itself: a chain, a map, after a signal, again; and what takes an attempt."""
    said, of = {"expression": "params.n", "n": 7}, {"expression": "values(inputs)[0]"}
    item = {"kind": "transform", "skill": "t", "params": {"expression": "params.item"}}
    over = {"over": slot_of("T-5"), "path": "items", "limit": 1, "join": "all", "item": item}
    script = Script(
        task("T-1", kind="transform", params=said), task("T-2", "T-1", kind="transform", params=of),
        task("T-3", "T-2", kind="transform", params={"expression": "abs(inputs)"}),
        task("T-4", "T-2", kind="transform", params=of, policy={"tokens_max": 1}), task("T-5"),
        task("T-6", "T-5", kind="map", **over), task("T-7", kind="wait", signal="paid"),
        task("T-8", "T-7", kind="transform", params=of), task("T-9", "T-8", "T-4"),
    )  # fmt: skip
    script.do("signal", name="paid", value={"amount": 7})
    script.done("T-3", "T-4", "T-5")
    made = (template_task(script.plan.tasks["T-6"].task, item, n, {"item": n, "index": n - 1}) for n in (1, 2, 3))
    script.expand("T-6", *made)
    script.do("rerun", task_id="T-1")
    script.do("start", room=9)
    script.done("T-3", "T-4", "T-6", "T-9")
    return script


SCENARIOS: tuple[Callable[[], Script], ...] = (
    attempts, leader, map_all, map_any, map_quorum, waits, approvals, schedules, continues, undone, budgets, operations,
    fork, inline,
)  # fmt: skip


def main() -> None:
    """Writes every history of today's form. Those of an earlier release stay as that release wrote them."""
    for scenario in SCENARIOS:
        script = scenario()
        about = json.dumps((scenario.__doc__ or "").strip())
        steps = ",\n".join(json.dumps(step, ensure_ascii=False) for step in script.steps)
        ends = json.dumps(replay.summary(script.plan))
        head = f'"about": {about},\n"ends": {ends},\n"digest": "{replay.digest(script.plan)}"'
        text = f'{{{head},\n"steps": [\n{steps}\n]}}\n'
        path = replay.FOLDER / f"{scenario.__name__}.json"
        path.write_text(text, encoding="utf-8")
        print(path.name, script.plan.state, len(script.steps))


if __name__ == "__main__":
    sys.exit(main())
