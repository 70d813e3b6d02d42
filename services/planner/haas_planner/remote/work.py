"""An attempt whose skill is a remote worker's: what it reads goes out, what comes back are drafts to keep."""

import datetime
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from haas_common import clock
from haas_common.artifacts.file import Document, Draft
from haas_common.db import Scope
from haas_planner.graph import VALUE, Slot, Task
from haas_planner.remote.domain import Given, Job, Written
from haas_planner.remote.pool import RemotePool


class Context(Protocol):
    """What an attempt is asked for (haas_planner.work.WorkContext)."""

    assignment: Any

    @property
    def scope(self) -> Scope:
        """The tenant and project."""

    @property
    def plan_id(self) -> str:
        """The plan."""

    @property
    def task(self) -> Task:
        """The task."""

    @property
    def attempt(self) -> int:
        """Counts from 1."""

    @property
    def language(self) -> str:
        """Of the texts to write."""

    @property
    def objective(self) -> str:
        """What is wanted."""

    @property
    def params(self) -> dict[str, Any]:
        """The task's parameters."""

    async def read(self, slot: str) -> Document:
        """Returns an artifact."""

    def input_ref(self, name: str) -> str | None:
        """Returns the address of an upload."""

    def value(self, name: str) -> object | None:
        """Returns a plain value."""


class RemoteSkills:
    """Does attempts by remote workers: `haas_planner.work.Worker(…, remote=RemoteSkills(pool, epoch_of))`."""

    def __init__(self, pool: RemotePool, epoch_of: Callable[[Scope, str], int]) -> None:
        """Keeps them.

        Args:
            pool: where the workers are.
            epoch_of: returns the epoch of the lease of a plan's shard, for the fence.
        """
        self._pool = pool
        self._epoch_of = epoch_of

    async def __call__(self, context: Context) -> Sequence[Draft]:
        """Has a task done.

        Raises:
            HaasError: see RemotePool.do, and those of reading.
        """
        task = context.task
        inputs = {slot.name: await _given(context, slot) for slot in task.reads}
        deadline = clock.utc_now() + datetime.timedelta(seconds=task.attempt_limit_s)
        job = Job(
            context.scope, context.plan_id, task.task_id, context.attempt,
            self._epoch_of(context.scope, context.plan_id), task.skill, context.objective, context.language,
            context.params, inputs, {slot.name: slot.type for slot in task.writes}, deadline,
            heartbeat_s=float(task.policy.heartbeat_s),
        )  # fmt: skip
        written = await self._pool.do(job)
        return [_draft(task, slot, written[slot.name]) for slot in task.writes]


async def _given(context: Context, slot: Slot) -> Given:
    """A value as a worker gets it. Of an upload only the address: its bytes are no business of the stream's."""
    artifact_id = context.assignment.readable.get(slot.name)
    if artifact_id is not None:
        document = await context.read(slot.name)
        return Given(slot.type, _json(dict(document.data)), artifact_id, document.body)
    ref = context.input_ref(slot.name)
    return Given(slot.type, _json({"ref": ref} if ref is not None else context.value(slot.name)))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _draft(task: Task, slot: Slot, made: Written) -> Draft:
    """What a worker wrote, as the store keeps it: a plain value stands under "value", unless it is an object."""
    title = made.title or task.title or task.skill
    data, body_md = made.data, made.body_md or f"# {title}"
    if slot.type.startswith(VALUE) and not (isinstance(data, dict) and set(data) != {"value"}):
        data = {"value": data}
    return Draft(f"{slot.name}.md", slot.type, slot.name, title, body_md, data, [f"agent:{task.owner_agent_id}"])
