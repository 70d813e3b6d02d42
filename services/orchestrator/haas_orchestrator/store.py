"""What the orchestrator reads and writes, a named query each."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from haas_common.artifacts.records import ArtifactRecord
from haas_common.db import Scope, Tx, load_queries
from haas_common.events import upcast
from haas_common.sealing import Stored

SQL = load_queries("haas_orchestrator")
Row = dict[str, Any]


def _in(scope: Scope) -> dict[str, str]:
    return {"tenant_id": scope.tenant_id, "project_id": scope.project_id}


async def get_request(tx: Tx, scope: Scope, method: str, request_id: str) -> Row | None:
    """Returns {fingerprint, result} of an earlier request."""
    return await tx.maybe(SQL.get_request, **_in(scope), method=method, request_id=request_id)


async def keep_request(
    tx: Tx, scope: Scope, method: str, request_id: str, fingerprint: str, result: Mapping[str, Any]
) -> None:
    """Keeps what a request leads to. Raises ResourceExists when another try came first."""
    await tx.run(
        SQL.keep_request, **_in(scope), method=method, request_id=request_id, fingerprint=fingerprint,
        result=json.dumps(result, ensure_ascii=False),
    )  # fmt: skip


async def get_plan(tx: Tx, scope: Scope, plan_id: str) -> Row | None:
    """Returns a plan as it stands."""
    return await tx.maybe(SQL.get_plan, **_in(scope), plan_id=plan_id)


async def list_plans(tx: Tx, scope: Scope, before: tuple[str, str], limit: int) -> list[Row]:
    """Returns a page of plans, newest first."""
    return await tx.all(SQL.list_plans, **_in(scope), before=before[0], before_id=before[1], limit=limit)


async def graph_of(tx: Tx, scope: Scope, plan_id: str) -> tuple[list[Row], list[Sequence[str]]]:
    """Returns the newest contracts of a plan's tasks and its inputs [name, type, ref], as the history has them.

    Both are empty where the plan's beginning went with old history: half a graph would be a wrong one.
    """
    stream = f"plan/{plan_id}"
    first = await tx.maybe(SQL.plan_inputs, **_in(scope), stream=stream)
    if first is None:
        return [], []
    rows = await tx.all(SQL.planned_tasks, **_in(scope), plan_id=plan_id, stream=stream)
    stored = [Stored(scope, stream, "PlanCreated", first["payload"])]
    stored += [Stored(scope, stream, row["event_type"], row["payload"]) for row in rows]
    created, *opened = await tx.vault.open_all(tx, stored)
    tasks: dict[str, Row] = {}
    gone: dict[str, Row] = {}
    for row, payload in zip(rows, opened, strict=True):
        told, task_id = upcast(row["event_type"], row["schema_version"], payload), row["task_id"]
        if row["event_type"] == "TaskPlanned" and not told.get("compensates"):
            tasks[task_id] = told["task"]
        elif row["event_type"] == "TaskSuperseded" and task_id in tasks:
            gone[task_id] = tasks.pop(task_id)
        elif row["event_type"] == "TaskReset" and task_id in gone:
            tasks[task_id] = gone.pop(task_id)
    return list(tasks.values()), upcast("PlanCreated", first["schema_version"], created)["inputs"]


async def list_tasks(tx: Tx, scope: Scope, plan_id: str, after: Sequence[int], limit: int) -> list[Row]:
    """Returns a page of a plan's tasks."""
    return await tx.all(SQL.list_tasks, **_in(scope), plan_id=plan_id, after=list(after), limit=limit)


async def task_exists(tx: Tx, scope: Scope, plan_id: str, task_id: str) -> bool:
    """Tells whether a plan has a task by this id."""
    return await tx.maybe(SQL.task_exists, **_in(scope), plan_id=plan_id, task_id=task_id) is not None


async def dependencies(
    tx: Tx, scope: Scope, plan_id: str, task_id: str, after: Sequence[int], limit: int, *, upwards: bool = False
) -> list[Row]:
    """Returns a page of what depends on a task, or `upwards` of what it depends on; each row knows the whole number."""
    bounds = {"plan_id": plan_id, "task_id": task_id, "after": list(after), "limit": limit}
    if upwards:
        return await tx.all(SQL.ancestors, **_in(scope), **bounds)
    return await tx.all(SQL.descendants, **_in(scope), **bounds)


async def plan_artifacts(tx: Tx, scope: Scope, plan_id: str) -> list[str]:
    """Returns the ids of a plan's artifacts."""
    return [row["artifact_id"] for row in await tx.all(SQL.plan_artifacts, **_in(scope), plan_id=plan_id)]


async def list_artifacts(tx: Tx, scope: Scope, plan_id: str, after: str, limit: int) -> list[ArtifactRecord]:
    """Returns a page of artifacts."""
    rows = await tx.all(SQL.list_artifacts, **_in(scope), plan_id=plan_id, after=after, limit=limit)
    return [ArtifactRecord(**row) for row in rows]


async def keep_input(tx: Tx, scope: Scope, **facts: Any) -> bool:
    """Keeps the facts of an upload; returns whether it is a new one."""
    return await tx.run(SQL.keep_input, **_in(scope), **facts) == 1


async def known_inputs(tx: Tx, scope: Scope, refs: Sequence[str]) -> set[str]:
    """Returns which of these were uploaded."""
    return {row["ref"] for row in await tx.all(SQL.known_inputs, **_in(scope), refs=list(refs))}


# ── Erasure ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """What a project holds of a person (EVERYBODY: of all).

    Attributes:
        key_ids: the keys that live.
        plans: {plan_id, state, waiting} of the plans that there are.
        requests: {request_id, plan_id, fresh} of those that led to no plan (yet).
        uploads: the refs of files.
        artifact_ids: what the plans have produced.
        refs: the blobs of artifacts and of long reasonings.
    """

    key_ids: Sequence[str]
    plans: Sequence[Row]
    requests: Sequence[Row]
    uploads: Sequence[str]
    artifact_ids: frozenset[str]
    refs: frozenset[str]

    @property
    def plan_ids(self) -> list[str]:
        """Every plan, those included that never came to be."""
        return [row["plan_id"] for row in (*self.plans, *self.requests)]


async def holding(tx: Tx, scope: Scope, subject: str) -> Holding:
    """Returns what there is, once nobody writes under the subject's keys any more: until the transaction ends."""
    keys = await tx.all(SQL.lock_data_keys, **_in(scope), subject=subject)
    plans = await tx.all(SQL.plans_of_subject, **_in(scope), subject=subject)
    requests = await tx.all(SQL.requests_without_plan, **_in(scope), subject=subject)
    uploads = await tx.all(SQL.uploads_of_subject, **_in(scope), subject=subject)
    plan_ids = [row["plan_id"] for row in (*plans, *requests)]
    blobs = await tx.all(SQL.blobs_of_plans, **_in(scope), plan_ids=plan_ids)
    return Holding(
        [row["key_id"] for row in keys],
        plans,
        requests,
        [row["ref"] for row in uploads],
        frozenset(row["artifact_id"] for row in blobs if row["event_type"] in ("ArtifactProduced", "ArtifactUpdated")),
        frozenset(row["ref"] for row in blobs if row["ref"]),
    )


async def open_plans_inputs(tx: Tx, scope: Scope) -> dict[str, set[str]]:
    """Returns what the plans that are not over were given, by plan."""
    rows = await tx.all(SQL.open_plans, **_in(scope))
    stored = [Stored(scope, f"plan/{row['plan_id']}", "PlanCreated", row["payload"]) for row in rows]
    opened = await tx.vault.open_all(tx, stored)
    payloads = [upcast("PlanCreated", r["schema_version"], p) for r, p in zip(rows, opened, strict=True)]
    return {r["plan_id"]: {ref for *_, ref in p["inputs"]} for r, p in zip(rows, payloads, strict=True)}


async def scrub(tx: Tx, scope: Scope, subject: str, held: Holding, refused: Mapping[str, Any]) -> None:
    """Takes out of the read models what the sealed history no longer says, and marks the blobs that have to go."""
    plans = {**_in(scope), "plan_ids": held.plan_ids}
    for query in (SQL.scrub_plans, SQL.scrub_tasks, SQL.scrub_envelopes, SQL.scrub_requests):
        await tx.run(query, **plans)
    await tx.run(SQL.scrub_commands, **plans, erased=json.dumps(refused))
    await tx.run(SQL.drop_tool_requests, **plans, subject=subject)
    await tx.run(SQL.drop_uploads, **_in(scope), refs=list(held.uploads))
    await tx.run(SQL.destroy_data_keys, **_in(scope), key_ids=list(held.key_ids))
    await tx.run(SQL.add_erased_blobs, **_in(scope), refs=sorted({*held.refs, *held.uploads}))


async def pending_blobs(tx: Tx, scope: Scope, limit: int) -> list[Row]:
    """Returns {ref, erased_at, wanted} of blobs that wait for their deletion."""
    return await tx.all(SQL.pending_blobs, **_in(scope), limit=limit)


async def blobs_deleted(tx: Tx, scope: Scope, refs: Sequence[str]) -> None:
    """Keeps that blobs are gone."""
    await tx.run(SQL.blobs_deleted, **_in(scope), refs=list(refs))


async def all_scopes(tx: Tx) -> list[Scope]:
    """Returns every project; a relay's transaction sees them."""
    return [Scope(row["tenant_id"], row["project_id"]) for row in await tx.all(SQL.all_projects)]


async def erasures_pending(tx: Tx) -> list[Scope]:
    """Returns the projects with blobs that wait for their deletion."""
    return [Scope(row["tenant_id"], row["project_id"]) for row in await tx.all(SQL.erasures_pending)]


async def list_subjects(tx: Tx, scope: Scope, after: str, limit: int, *, first: bool) -> list[Row]:
    """Returns a page of {subject, keys}."""
    return await tx.all(SQL.list_subjects, **_in(scope), after=after, first=first, limit=limit)


async def living_keys(tx: Tx, scope: Scope, after: str, limit: int) -> list[Row]:
    """Returns a page of {key_id, subject, wrapped, created_at} by id, held until the transaction ends."""
    return await tx.all(SQL.living_keys, **_in(scope), after=after, limit=limit)


# ── The addresses of blobs, for the garbage collection ───────────────────────────────────────────────────────────────

#: Which tables name blobs beside the history, and the query that reads a page of each.
REF_TABLES = {
    "requests": SQL.refs_in_requests,
    "plan_commands": SQL.refs_in_commands,
    "artifacts_read": SQL.refs_in_artifacts,
    "inputs": SQL.refs_in_inputs,
    "documents": SQL.refs_in_documents,
}


async def refs_in_events(tx: Tx, scope: Scope, after: int, limit: int) -> Row:
    """Returns {rows, last, refs} of a page of the history after a seq."""
    return await tx.one(SQL.refs_in_events, **_in(scope), after=after, limit=limit)


async def refs_in(tx: Tx, scope: Scope, table: str, after: Sequence[str], limit: int) -> Row:
    """Returns {rows, last, refs} of a page of a table after a key."""
    return await tx.one(REF_TABLES[table], **_in(scope), after=after[0], after_id=after[1], limit=limit)


async def known_blobs(tx: Tx, scope: Scope, refs: Sequence[str]) -> set[str]:
    """Returns which of these addresses an input or a document has."""
    return {row["ref"] for row in await tx.all(SQL.known_blobs, **_in(scope), refs=list(refs))}
