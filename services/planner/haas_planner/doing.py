"""What the engine does itself in an attempt: transforms, tool calls, maps, and the reports of what waited."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from haas_common import errors
from haas_common.artifacts.file import Draft
from haas_planner import transform
from haas_planner.attempts import Assignment
from haas_planner.domain.templates import template_task
from haas_planner.graph import Slot, Task

#: A map runs over at most so many items.
ITEMS_MAX = 100_000
ITEM_BYTES_MAX = 16 * 1024
#: How many results a report lists, and how many bytes of them its artifact keeps.
LISTED_MAX = 100
RESULTS_BYTES_MAX = 128 * 1024
#: What a map's and a schedule's template add to the parameters of each task.
_GIVEN = (("item", "index"), ("fired_us", "run"))
_TEXTS = {
    "es": {
        "results": "{n} de {total} resultados", "more": "… y {n} más", "task": "Tarea", "result": "Resultado",
        "signal": "Se recibió la señal “{name}”.", "time": "Se cumplió el tiempo.", "value": "Valor",
        "approved": "Aprobado por {by} como {role}.", "expired": "Aprobado por vencimiento del plazo.",
        "comment": "Comentario",
    },
    "en": {
        "results": "{n} of {total} results", "more": "… and {n} more", "task": "Task", "result": "Result",
        "signal": "The signal “{name}” came.", "time": "The time came.", "value": "Value",
        "approved": "Approved by {by} as {role}.", "expired": "Approved, since the time to decide ended.",
        "comment": "Comment",
    },
}  # fmt: skip


class Context(Protocol):
    """What a kind's own work asks of an attempt."""

    assignment: Assignment
    task: Task
    language: str
    params: dict[str, Any]

    async def data(self, slot: str) -> Any:
        """Returns what another task computes with."""

    async def call_tool(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Calls a tool."""


def value_of(draft: Draft) -> Any:
    """Returns a draft's value: its data, or what stands in it under "value" alone."""
    data = dict(draft.data)
    return data["value"] if set(data) == {"value"} else data


def drafted(task: Task, slot: Slot, value: Any, body: str, sources: Sequence[str] = ()) -> Draft:
    """Returns a value as a draft, whether it becomes an artifact or stands in the event."""
    data = value if isinstance(value, Mapping) and set(value) != {"value"} else {"value": value}
    title = task.title or task.skill
    return Draft(f"{slot.name}.md", slot.type, slot.name, title, f"# {title}\n\n{body}", data, list(sources))


async def _shown(value: Any) -> str:
    text = await asyncio.to_thread(json.dumps, value, ensure_ascii=False, indent=2, sort_keys=True)
    return f"```json\n{text}\n```"


async def call_tool(context: Context) -> Draft:
    """A task of kind tool: one call by its parameters, with the values that it reads where they are asked for."""
    task = context.task
    arguments = await _filled(context, _arguments(task))
    result = await context.call_tool(task.skill, arguments)
    return drafted(task, task.writes[0], result, await _shown(result), [f"tool:{task.skill}"])


def _arguments(task: Task) -> dict[str, Any]:
    """Returns what a tool is given: not what a template adds, since a tool refuses arguments that it does not know."""
    params = dict(task.params)
    given = next((pair for pair in _GIVEN if "." in task.task_id and set(pair) <= set(params)), ())
    return {name: value for name, value in params.items() if name not in given}


async def _filled(context: Context, value: Any) -> Any:
    """Puts values that the task reads in place of {"$read": "slot"}, and what its template gave it in place of
    {"$param": "item"}; with "path", a part of them.
    """
    if isinstance(value, Mapping):
        for name, found in _SOURCES.items():
            if name in value and set(value) <= {name, "path"}:
                data = await found(context, str(value[name]))
                return _found(data, str(value["path"])) if "path" in value else data
        return {key: await _filled(context, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [await _filled(context, inner) for inner in value]
    return value


async def _param(context: Context, name: str) -> Any:
    if name not in context.params:
        raise errors.ContractBroken(f"The task has no parameter “{name[:63]}”.", field=name[:63])
    return context.params[name]


_SOURCES: Mapping[str, Callable[[Context, str], Awaitable[Any]]] = {
    "$read": lambda context, slot: context.data(slot),
    "$param": _param,
}


def _found(data: Any, path: str) -> Any:
    try:
        return transform.apply(path, data if isinstance(data, Mapping) else {"value": data})
    except transform.TransformFault as fault:
        raise errors.ContractBroken(f"The path “{path[:63]}” leads nowhere: {fault}.", field=path[:63]) from None


async def apply_transform(context: Context) -> Draft:
    """A pure function of what the task reads."""
    task = context.task
    read = {slot.name: await context.data(slot.name) for slot in task.reads}
    params = {name: value for name, value in context.params.items() if name != "expression"}
    try:
        value = await asyncio.to_thread(
            transform.apply, str(context.params["expression"]), {"inputs": read, "params": params}
        )
    except transform.TransformFault as fault:
        raise errors.ContractBroken(
            f"Task {task.task_id}: the transform failed: {fault}.",
            task=task.task_id,
            field="expression",
            rule=str(fault),
        ) from None
    return drafted(task, task.writes[0], value, await _shown(value), [f"task:{t}" for t in task.depends_on()])


async def expand_map(context: Context) -> list[Task]:
    """Returns a task for each item of a list that is known only now."""
    task, control = context.task, context.task.control
    data = await context.data(control["over"])
    items = data if isinstance(data, list) and "path" not in control else _found(data, control.get("path", "items"))
    if not isinstance(items, list):
        raise errors.ContractBroken(
            f"Task {task.task_id}: what it runs over is no list.",
            task=task.task_id,
            field=control["over"],
            rule="a list",
        )
    if len(items) > ITEMS_MAX:
        raise errors.PayloadTooLarge(f"A map runs over at most {ITEMS_MAX:,} items.", items_max=ITEMS_MAX)
    return await asyncio.to_thread(_tasks_of, task, items)


def _tasks_of(task: Task, items: Sequence[Any]) -> list[Task]:
    tasks = []
    for index, item in enumerate(items):
        if len(json.dumps(item, ensure_ascii=False)) > ITEM_BYTES_MAX:
            raise errors.PayloadTooLarge(
                f"An item of a map has at most {ITEM_BYTES_MAX} bytes.", bytes_max=ITEM_BYTES_MAX, item=index
            )
        tasks.append(template_task(task, task.control["item"], index + 1, {"item": item, "index": index}))
    return tasks


async def report_children(context: Context) -> Draft:
    """What a map or a schedule ends with: its tasks' results in their order."""
    task, say = context.task, _TEXTS[context.language]
    results, kept, size = context.assignment.results, [], 0
    for child in context.assignment.children:
        if child.task_id not in results:
            continue
        found = results[child.task_id]
        value = next(iter(found.values())) if len(found) == 1 else dict(found)
        size += len(json.dumps(value, ensure_ascii=False))
        if size > RESULTS_BYTES_MAX:
            break
        kept.append({"task": child.task_id, "result": value})
    total = len(context.assignment.children)
    lines = [
        say["results"].format(n=len(results), total=total),
        "",
        f"| {say['task']} | {say['result']} |",
        "|---|---|",
    ]
    lines += [f"| {one['task']} | {_cell(one['result'])} |" for one in kept[:LISTED_MAX]]
    if len(results) > LISTED_MAX:
        lines += ["", say["more"].format(n=len(results) - LISTED_MAX)]
    slot = task.writes[0]
    data: Any = {"items": [one["result"] for one in kept], "completed": len(results), "total": total}
    return drafted(task, slot, data, "\n".join(lines), [f"task:{one['task']}" for one in kept[:LISTED_MAX]])


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("\n", " ").replace("|", "\\|")[:200]


async def report_wait(context: Context) -> Draft:
    """What a wait ends with: the signal's value, or that its time came."""
    task, say, received = context.task, _TEXTS[context.language], dict(context.assignment.received)
    name = task.control.get("signal", "")
    line = say["signal"].format(name=name) if name else say["time"]
    return drafted(task, task.writes[0], received, f"{line}\n\n{await _shown(received)}")


async def report_approval(context: Context) -> Draft:
    """What an approval ends with: who decided, as what, and why."""
    task, say, decided = context.task, _TEXTS[context.language], dict(context.assignment.received)
    role = decided.get("role", "")
    lines = [str(task.control["text"]), ""]
    lines.append(say["approved"].format(by=decided.get("by", ""), role=role) if role else say["expired"])
    if decided.get("comment"):
        lines += ["", f"{say['comment']}: {decided['comment']}"]
    return drafted(task, task.writes[0], decided, "\n".join(lines))


#: By kind and phase, what the engine does itself: a draft to keep, or the tasks that one expands into.
OWN_KINDS: Mapping[tuple[str, str], Callable[[Any], Awaitable[Draft | list[Task]]]] = {
    ("tool", "run"): call_tool,
    ("transform", "run"): apply_transform,
    ("map", "run"): expand_map,
    ("map", "report"): report_children,
    ("schedule", "report"): report_children,
    ("wait", "report"): report_wait,
    ("approval", "report"): report_approval,
}
