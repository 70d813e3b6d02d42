"""A walk through the pure domain: random inputs to one plan, everything checked after each of them."""

import dataclasses
import json
import random
from collections.abc import Callable

from haas_common.eventstore import check_storable
from haas_planner import domain
from haas_planner.domain import Event, Failure, Plan, Refused, snapshot
from tests.support import random_plans as some
from tests.support.plan_model import Broken, Watch, check_counts

#: The walk's time begins with the day, 2023-11-14, at 22:13:20 UTC.
BEGAN_US = 1_700_000_000_000_000
#: How many rounds a plan may take to its end when everything goes well.
ROUNDS_MAX = 600
COMMANDS = ("pause", "resume", "signal", "approve", "retry", "skip", "rerun", "replan", "cancel")


class Walk:
    """One plan, from its creation to its end."""

    def __init__(self, chance: random.Random) -> None:
        self.now_us = BEGAN_US
        self.plan = Plan("t", "p", "pl-1")
        self.replayed = Plan("t", "p", "pl-1")
        self.watch = Watch()
        self.events: list[Event] = []
        self.inputs: list[str] = []
        self.stale: list[tuple[str, int]] = []
        self._tasks, self._facts = some.graph(chance), some.facts(chance)

    def begin(self) -> None:
        """Creates the plan and runs it."""
        self._take("create", lambda: domain.create(self.plan, self._facts, self._tasks, "ana"))
        self._take("run", lambda: domain.run(self.plan, "ana", self.now_us))

    def _take(self, what: str, decide: Callable[[], list[Event]]) -> list[Event]:
        """Decides, then holds what came of it against the model, the recount and a replay."""
        self.inputs.append(what)
        events = decide()
        for event in events:
            self.events.append(event)
            self.watch.see(event)
            check_storable(event.type, event.payload, event.task_id, event.actor)
            kept = json.loads(json.dumps(event.payload))
            domain.apply(self.replayed, Event(event.type, kept, event.task_id, event.actor))
        check_counts(self.plan)
        self._same_as_replayed()
        # From here on the replay goes on from a snapshot.
        self.replayed = snapshot.load(snapshot.dump(self.replayed))
        self._same_as_replayed()
        return events

    def _same_as_replayed(self) -> None:
        if self.plan != self.replayed or list(self.plan.ready) != list(self.replayed.ready):
            odd = [
                f.name for f in dataclasses.fields(Plan)
                if getattr(self.plan, f.name) != getattr(self.replayed, f.name)
            ]  # fmt: skip
            raise Broken(f"a replay differs in {odd}")

    # ── What happens by itself ───────────────────────────────────────────────────────────────────────────────────────

    def wait(self, seconds: float) -> None:
        """Lets time pass and does what is due."""
        self.now_us += int(seconds * 1_000_000)
        self._take(f"wait {seconds}", lambda: domain.tick(self.plan, self.now_us))

    def start(self, room: int) -> None:
        """Starts what is ready."""
        self._take("advance", lambda: domain.advance(self.plan, self.now_us))
        events = self._take(f"start {room}", lambda: domain.start(self.plan, self.now_us, room))
        if sum(e.type == "TaskStarted" for e in events) > room:
            raise Broken("more started than there was room for")

    def end(self, chance: random.Random, how: str) -> None:
        """Ends an attempt under way."""
        running = [t for t, run in self.plan.tasks.items() if run.state == "running"]
        if not running:
            return
        task_id = chance.choice(running)
        run = self.plan.tasks[task_id]
        self.stale.append((task_id, run.attempt))
        if how == "done":
            self._done(chance, task_id)
            return
        failure = Failure(
            "OWNER_LOST" if how == "lost" else chance.choice(some.REASONS), "it broke", retryable=how != "final",
            lost=how == "lost", usage={"tokens": 3},
        )  # fmt: skip
        jitter = chance.random()
        self._take(
            f"{how} {task_id}", lambda: domain.fail(self.plan, task_id, run.attempt, failure, self.now_us, jitter)
        )

    def _done(self, chance: random.Random, task_id: str) -> None:
        run = self.plan.tasks[task_id]
        if run.task.kind in ("leader", "map") and run.phase == "run":
            tasks = some.expansion(chance, run.task, len(self.plan.tasks))
            at_once = chance.choice((None, None, 1))
            while True:
                events = self._take(
                    f"expand {task_id} {len(tasks)}",
                    lambda: domain.expand(self.plan, task_id, run.attempt, tasks, self.now_us, planned_max=at_once),
                )
                if not (events and events[-1].type == "TaskPlanned"):
                    return
        outputs, values = some.written(run.task, run.completions)
        usage = {"tokens": min(10, run.task.policy.tokens_max), "duration_ms": 1}
        self._take(
            f"done {task_id}",
            lambda: domain.complete(
                self.plan, task_id, run.attempt, outputs, self.now_us, values=values, usage=usage
            ),
        )  # fmt: skip

    def late(self, chance: random.Random) -> None:
        """Brings a result that the plan no longer waits for, a second time or of an attempt before."""
        if not self.stale:
            return
        task_id, attempt = chance.choice(self.stale)
        run = self.plan.tasks[task_id]
        if run.state == "running" and run.attempt == attempt:
            return
        events = self._take(f"late {task_id}", lambda: domain.complete(self.plan, task_id, attempt, {}, self.now_us))
        failure = Failure("TOOL_FAILED", "late")
        events += self._take("late", lambda: domain.fail(self.plan, task_id, attempt, failure, self.now_us, 0.5))
        if events:
            raise Broken(f"a superseded attempt of {task_id} was taken")

    def repair(self, chance: random.Random) -> None:
        """Plans a failed part anew, or says that there is no other way."""
        if not self.plan.replanning:
            return
        failed = chance.choice(list(self.plan.replanning))
        proposal = some.proposal(chance, [r.task for r in self.plan.tasks.values()], self.plan.tasks[failed].task)
        if proposal is None:
            self._take(f"unrepaired {failed}", lambda: domain.unrepaired(self.plan, failed, self.now_us))
        else:
            self._take(
                f"replanned {failed}", lambda: domain.replanned(self.plan, failed, proposal, self.now_us)
            )  # fmt: skip

    # ── What people ask ──────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, chance: random.Random, what: str) -> None:
        """Gives a command; one that is refused leaves nothing behind."""
        before = self.plan.version
        try:
            self._take(what, lambda: self._command(chance, what))
        except Refused:
            if self.plan.version != before:
                raise Broken(f"{what} was refused and changed the plan") from None

    def _command(self, chance: random.Random, what: str) -> list[Event]:
        plan, now_us = self.plan, self.now_us
        task_id = chance.choice(list(plan.tasks))
        self.inputs[-1] = f"{what} {task_id}"
        if what == "pause":
            return domain.pause(plan, "ana", "", now_us)
        if what == "resume":
            budget = {"tokens": plan.spent.tokens + 500, "money_micros": 0, "time_s": 600}
            return domain.resume(plan, "ana", "", budget if plan.budget else None, now_us)
        if what == "signal":
            name = chance.choice(some.SIGNALS)
            return domain.signal(plan, "ana", name, {"n": 1}, "", now_us)
        if what == "approve":
            waiting = [t for t, r in plan.tasks.items() if r.task.kind == "approval" and r.state == "waiting"]
            chosen = chance.choice(waiting or [task_id])
            role = plan.tasks[chosen].task.control.get("role", "owner")
            return domain.approve(plan, "ana", chosen, chance.random() < 0.7, "", role, now_us)
        if what == "cancel":
            return domain.cancel(plan, "ana", "", now_us)
        return self._on_task(chance, what, task_id)

    def _on_task(self, chance: random.Random, what: str, task_id: str) -> list[Event]:
        plan, now_us = self.plan, self.now_us
        if what == "retry":
            failed = [t for t, r in plan.tasks.items() if r.state == "failed"]
            return domain.retry(plan, "ana", chance.choice(failed or [task_id]), "", now_us)
        if what == "skip":
            outputs, values = some.written(plan.tasks[task_id].task, 0) if chance.random() < 0.5 else ({}, {})
            return domain.skip(plan, "ana", task_id, "not needed", "owner", outputs, values, now_us)
        if what == "rerun":
            return domain.rerun(plan, "ana", task_id, "", now_us)
        tasks, removed = some.revision(chance, plan)
        return domain.replan(plan, "ana", tasks, removed, "a person's wish", now_us)

    # ── To the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self) -> None:
        """Lets everything go well from here on: whatever happened before, the plan ends."""
        chance = random.Random(1)
        for _ in range(ROUNDS_MAX):
            if self.plan.state in domain.TERMINAL:
                break
            self._go_on(chance)
        else:
            states = {t: r.state for t, r in self.plan.tasks.items() if r.state not in ("completed", "skipped")}
            raise Broken(f"the plan does not end: {self.plan.state}, {states}")
        if self.plan.timers or self.plan.ready or self.plan.replanning:
            raise Broken(f"something is left of a plan that is over: {self.plan.timers or self.plan.ready}")
        if (self.plan.reserved.tokens, self.plan.reserved.money_micros) != (0, 0):
            raise Broken(f"a budget is reserved of a plan that is over: {self.plan.reserved}")

    def _go_on(self, chance: random.Random) -> None:
        plan, before = self.plan, self.plan.version
        if plan.state == "paused":
            self.ask(chance, "resume")
        for failed in list(plan.replanning):
            self._take(f"unrepaired {failed}", lambda: domain.unrepaired(plan, failed, self.now_us))  # noqa: B023
        self.start(20)
        for task_id in [t for t, run in plan.tasks.items() if run.state == "running"]:
            if plan.tasks[task_id].state == "running":
                self._done(random.Random(1), task_id)
        if plan.version != before:
            return
        for task_id in [t for t, run in plan.tasks.items() if run.state == "waiting"]:
            self._answer(task_id)
        due_us = plan.due_us()
        if plan.version == before and due_us:
            self.wait(max(0, due_us - self.now_us) / 1e6)

    def _answer(self, task_id: str) -> None:
        run = self.plan.tasks[task_id]
        if run.state != "waiting" or self.plan.state not in ("running", "paused"):
            return
        if run.task.kind == "approval":
            role = run.task.control["role"]
            self._take(
                f"approve {task_id}", lambda: domain.approve(self.plan, "ana", task_id, True, "", role, self.now_us)
            )
        elif run.signal:
            self._take("signal", lambda: domain.signal(self.plan, "ana", run.signal, {}, task_id, self.now_us))


#: How often each input comes, of a hundred.
INPUTS = (
    ("start", 28), ("done", 34), ("fail", 6), ("final", 3), ("lost", 3), ("late", 3), ("repair", 5), ("wait", 8),
    ("ask", 10),
)  # fmt: skip


def step(walk: Walk, chance: random.Random, what: str) -> None:
    """Gives a walk one input of a kind."""
    if what == "start":
        walk.start(chance.choice((1, 2, 5)))
    elif what == "late":
        walk.late(chance)
    elif what == "repair":
        walk.repair(chance)
    elif what == "wait":
        walk.wait(chance.choice((0.0, 1.0, 10.0, 61.0, 200.0)))
    elif what == "ask":
        walk.ask(chance, chance.choice(COMMANDS))
    else:
        walk.end(chance, what)


def walked(seed: int, steps_max: int = 60) -> Walk:
    """Walks by a seed, to the end of the plan. Raises Broken, with the walk's inputs."""
    chance = random.Random(seed)
    names, weights = zip(*INPUTS, strict=True)
    walk = Walk(chance)
    try:
        walk.begin()
        for what in chance.choices(names, weights, k=chance.randint(5, steps_max)):
            step(walk, chance, what)
        walk.finish()
    except Exception as error:
        error.add_note(f"seed {seed}, after: {', '.join(walk.inputs[:100])}")
        raise
    return walk
