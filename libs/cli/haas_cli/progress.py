"""A plan's progress, from its events: a live board on a terminal, a line an event elsewhere."""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from haas_cli.api import print_line
from haas_cli.errors import Exit

if TYPE_CHECKING:
    from rich.console import Group

    from haas.notifier.v1.notifier_pb2 import Event

_STATES = {
    "TaskPlanned": "planned", "TaskReady": "ready", "TaskStarted": "running", "TaskExpanded": "expanded",
    "TaskWaiting": "waiting", "TaskCompleted": "completed", "TaskFailed": "failed", "TaskCancelled": "cancelled",
    "TaskSkipped": "skipped", "TaskSuperseded": "superseded", "TaskReset": "planned",
}  # fmt: skip
ENDS = {"PlanCompleted": "completed", "PlanFailed": "failed", "PlanCancelled": "cancelled"}
_BUSY = ("running", "expanded", "waiting", "failed")
#: Of a plan with thousands of tasks the board shows what is under way or wrong, and a few that ended last.
_ROWS_MAX, _DONE_MAX = 12, 5


@dataclass(slots=True)
class Row:
    """A task as the board knows it."""

    title: str
    owner: str
    state: str = "planned"
    note: str = ""


@dataclass(slots=True)
class Board:
    """Where a plan's tasks stand, by its events so far."""

    tasks: dict[str, Row] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    end: str = ""
    why: str = ""
    report: str = ""

    def hear(self, event: "Event") -> None:
        """Takes an event."""
        payload = json.loads(event.payload_json or "{}")
        if event.type == "TaskPlanned":
            task = payload.get("task", {})
            self.tasks[event.task_id] = Row(task.get("title", ""), task.get("owner_agent_id", ""))
        elif event.type in _STATES and event.task_id in self.tasks:
            self.tasks[event.task_id].state = _STATES[event.type]
            self.tasks[event.task_id].note = str(payload.get("message", "")) if event.type == "TaskFailed" else ""
            if event.task_id in self.done:
                self.done.remove(event.task_id)  # it is done again, or no longer part of the plan
            if event.type == "TaskCompleted":
                self.done.append(event.task_id)
        elif event.type == "TaskRetryScheduled" and event.task_id in self.tasks:
            self.tasks[event.task_id].note = f"again after: {payload.get('message', '')}"
        elif event.type == "PlanReopened":
            self.end = self.why = self.report = ""
        elif event.type in ENDS:
            self.end, self.why = ENDS[event.type], str(payload.get("failure") or payload.get("reason") or "")
            self.report = str(payload.get("report") or "")

    def counts(self) -> str:
        """Returns how many tasks stand where, e.g. "3 completed, 1 running, 4 planned"."""
        found = Counter(row.state for row in self.tasks.values())
        return ", ".join(f"{found[state]} {state}" for state in dict.fromkeys(_STATES.values()) if found[state])

    def shown(self) -> list[tuple[str, Row]]:
        """Returns the tasks that a screen has room for."""
        busy = [name for name, row in self.tasks.items() if row.state in _BUSY][:_ROWS_MAX]
        return [(name, self.tasks[name]) for name in [*self.done[-_DONE_MAX:], *busy]]


def follow(plan_id: str, events: Iterable["Event"], as_json: bool) -> int:
    """Shows a plan's events until it is over; returns the exit status: 0 for a plan that was completed."""
    board = Board()
    if as_json:
        for event in events:
            board.hear(event)
            print_line(event)
    elif sys.stdout.isatty():
        _live(plan_id, events, board)
    else:
        for event in events:
            board.hear(event)
            click.echo(line(event))
        click.echo(f"plan {plan_id}: {board.end or 'not over'}; {board.counts()}")
    if board.why and not as_json:
        click.echo(f"{board.why}\n\n{board.report}".rstrip(), err=True)
    return int(Exit.OK if board.end == "completed" else Exit.FAILED)


def line(event: "Event") -> str:
    """Returns an event as a line of text."""
    at = event.record_time.ToDatetime().strftime("%H:%M:%S")
    return f"{event.seq:>6}  {at}  {event.type:<20} {event.task_id:<8} {event.actor}".rstrip()


def _live(plan_id: str, events: Iterable["Event"], board: Board) -> None:
    from rich.live import Live

    with Live(_screen(plan_id, board), refresh_per_second=8, transient=False) as live:
        for event in events:
            board.hear(event)
            live.update(_screen(plan_id, board))


def _screen(plan_id: str, board: Board) -> "Group":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    styles = {"completed": "green", "failed": "red", "running": "cyan", "expanded": "cyan"}
    table = Table.grid(padding=(0, 2))
    for name, row in board.shown():
        # Text, not markup: what a task is called comes from outside.
        table.add_row(Text(name), Text(row.state, style=styles.get(row.state, "")), Text(row.title), Text(row.note))
    bar = ProgressBar(total=max(1, len(board.tasks)), completed=len(board.done), width=40)
    return Group(Text(f"plan {plan_id}: {board.end or 'running'}"), bar, Text(board.counts()), table)
