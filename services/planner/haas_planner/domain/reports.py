"""What a person is told of a plan that failed: what happened, what was tried, what it hits, what can be done."""

from haas_planner.domain.relations import descendants
from haas_planner.domain.state import Plan

_LISTED_MAX = 20
_TEXTS = {
    "es": {
        "title": "# El plan no ha llegado a su fin",
        "what": "**{task}** ({title}) falló tras {attempts} intento(s): {reason}. {message}",
        "tried": "## Lo que se intentó",
        "nothing": "No se intentó ninguna reparación.",
        "hits": "## Lo que afecta",
        "none": "Ninguna otra tarea depende de ella.",
        "more": "… y {n} más.",
        "kept": "{n} de {total} tareas están terminadas; sus resultados se conservan.",
        "do": "## Lo que se puede hacer",
        "retry": "Corregir la causa y repetir la tarea: `haas plan retry {plan} {task}`.",
        "skip": "Seguir sin ella: `haas plan skip {plan} {task} --reason …`.",
        "replan": "Darle otro contrato: `haas plan replan {plan} --explanation … --tasks …`.",
        "other_skill": "otra habilidad", "other_tool": "otra herramienta", "relaxed_contract": "un contrato más laxo",
        "human": "una persona", "request": "una petición",
    },
    "en": {
        "title": "# The plan did not reach its end",
        "what": "**{task}** ({title}) failed after {attempts} attempt(s): {reason}. {message}",
        "tried": "## What was tried",
        "nothing": "No repair was tried.",
        "hits": "## What it hits",
        "none": "No other task depends on it.",
        "more": "… and {n} more.",
        "kept": "{n} of {total} tasks are complete; their results are kept.",
        "do": "## What can be done",
        "retry": "Mend the cause and try the task again: `haas plan retry {plan} {task}`.",
        "skip": "Go on without it: `haas plan skip {plan} {task} --reason …`.",
        "replan": "Give it another contract: `haas plan replan {plan} --explanation … --tasks …`.",
        "other_skill": "another skill", "other_tool": "another tool", "relaxed_contract": "a relaxed contract",
        "human": "a person", "request": "a request",
    },
}  # fmt: skip


def failure_report(plan: Plan, task_id: str) -> str:
    """Returns the report in Markdown, in the plan's language; a few KiB at most."""
    say = _TEXTS["es" if plan.language == "es" else "en"]
    run = plan.tasks[task_id]
    facts = {"task": task_id, "title": run.task.title or run.task.skill, "plan": plan.plan_id}
    lines = [say["title"], ""]
    lines += [say["what"].format(**facts, attempts=run.attempt, reason=run.reason, message=run.failure[:500]), ""]
    tried = [f"- {task}: {', '.join(say[s] for s in strategies)}" for task, strategies in plan.repairs.items()]
    lines += [say["tried"], "", *(tried or [say["nothing"]]), ""]
    hit = descendants(plan, task_id)
    listed = [f"- {t} ({plan.tasks[t].task.title[:80] or plan.tasks[t].task.skill})" for t in hit[:_LISTED_MAX]]
    if len(hit) > _LISTED_MAX:
        listed.append(say["more"].format(n=len(hit) - _LISTED_MAX))
    lines += [say["hits"], "", *(listed or [say["none"]]), ""]
    lines += [say["kept"].format(n=plan.by_state.get("completed", 0), total=len(plan.tasks)), ""]
    lines += [say["do"], "", *(f"- {say[what].format(**facts)}" for what in ("retry", "skip", "replan"))]
    return "\n".join(lines)
