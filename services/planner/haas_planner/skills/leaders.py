"""Leaders: they look at what the data shows, expand their task into a sub-plan, and file a team report at its end."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from haas_common.artifacts.file import Document, Draft
from haas_common.documents import fold, passages
from haas_common.errors import PlanUnreachable
from haas_planner.graph import Slot, Task
from haas_planner.skills import brandbook
from haas_planner.skills.data import gaps
from haas_planner.skills.knowledge import measured_risks
from haas_planner.skills.spec import SkillContext, SkillSpec
from haas_planner.skills.writing import compose, found, needed, of_artifact, slot_of, written

#: A sub-plan has at most this many parallel texts: more than a team reads in one go helps nobody.
PARTS_MAX = 6


class SubPlan:
    """Collects a leader's tasks: ids below the leader's own, values named after it, skills that the profile offers."""

    def __init__(self, ctx: SkillContext, specs: Mapping[str, SkillSpec]) -> None:
        """Takes the leader's context and the registry by name."""
        self._ctx = ctx
        self._specs = specs
        self.tasks: list[Task] = []

    def add(self, skill: str, reads: Sequence[Slot], name: str, of: str = "", **params: Any) -> Slot | None:
        """Adds a task that writes the value `name`; None where the profile does not offer the skill."""
        spec = self._specs[skill]
        allowed = self._ctx.profile.policies.tools_allowed
        if not self._ctx.profile.offers(skill) or any(tool not in allowed for tool in spec.tools):
            return None
        task_id = f"{self._ctx.task.task_id}.{len(self.tasks) + 1}"
        kind = spec.writes[0][1]
        kept = {k: self._ctx.slots[k] for k in spec.slots if k in self._ctx.slots}
        title = spec.titles[self._ctx.language] + (f": {of}" if of else "")
        self.tasks.append(
            Task(
                task_id,
                spec.kind,
                skill,
                title[:300],
                spec.owner_agent_id,
                tuple(reads),
                (Slot(name, kind),),
                {**kept, **params},
            )
        )
        return Slot(name, kind, task_id)

    def end(self) -> list[Task]:
        """Returns the tasks.

        Raises:
            PlanUnreachable: the profile offers none of the skills that the leader gives work to.
        """
        if not self.tasks:
            name = self._ctx.task.skill
            text = f"The leader “{name}” found no work that the profile's skills can do."
            raise PlanUnreachable(text, missing=name)
        return self.tasks


def slug(prefix: str, text: str, taken: set[str]) -> str:
    """Makes a value's name of a text, unlike those taken; it begins with the leader's own number against clashes."""
    bare = "_".join(re.findall(r"[a-z0-9]+", fold(text)))[:30] or "x"
    name, number = f"{prefix}_{bare}", 2
    while name in taken:
        name, number = f"{prefix}_{bare}_{number}", number + 1
    taken.add(name)
    return name


def _prefix(ctx: SkillContext, word: str) -> str:
    return f"{word}_{ctx.task.task_id.removeprefix('T-').replace('.', '_')}"


def _brief(ctx: SkillContext) -> list[Slot]:
    slot = slot_of(ctx, "doc.brief")
    return [slot] if slot else []


def paid_media(specs: Mapping[str, SkillSpec]) -> tuple[Any, Any]:
    """Returns the leader of paid media: texts for each channel that the data chose, their check, the risks."""

    async def expand(ctx: SkillContext) -> list[Task]:
        channels = await needed(ctx, "plan.channels")
        plan, taken = SubPlan(ctx, specs), set[str]()
        copies = []
        for channel in channels.data["channels"][:PARTS_MAX]:
            name = slug(_prefix(ctx, "copy"), channel["channel"], taken)
            copies.append(plan.add("copy.draft", _brief(ctx), name, channel["channel"], channel=channel["channel"]))
        written_ = [c for c in copies if c is not None]
        if written_:
            plan.add("brand.check", written_, _prefix(ctx, "brand_check"))
        figures = [s for s in (slot_of(ctx, "kpi.report"), slot_of(ctx, "kpi.segments")) if s]
        plan.add("risk.list", figures, _prefix(ctx, "risks"))
        return plan.end()

    async def report(ctx: SkillContext, done: list[Task]) -> Draft:
        return await _team_report(ctx, done, "PaidMedia")

    return expand, report


def content(specs: Mapping[str, SkillSpec]) -> tuple[Any, Any]:
    """Returns the leader of content: texts for each theme of the calendar or the documents, their check."""

    async def expand(ctx: SkillContext) -> list[Task]:
        calendar = await found(ctx, "doc.content_calendar")
        themes = list(calendar.data["themes"]) if calendar else []
        if not themes:
            themes = [p.name for p in brandbook.pillars(passages(await ctx.documents()), ctx.objective)]
        plan, taken = SubPlan(ctx, specs), set[str]()
        copies = []
        for theme in list(dict.fromkeys(themes))[:PARTS_MAX]:
            copies.append(
                plan.add("copy.draft", _brief(ctx), slug(_prefix(ctx, "copy"), theme, taken), theme, theme=theme)
            )
        if not themes:
            copies.append(plan.add("copy.draft", _brief(ctx), _prefix(ctx, "copy")))
        written_ = [c for c in copies if c is not None]
        if written_:
            plan.add("brand.check", written_, _prefix(ctx, "brand_check"))
        return plan.end()

    async def report(ctx: SkillContext, done: list[Task]) -> Draft:
        return await _team_report(ctx, done, "Content")

    return expand, report


def support(specs: Mapping[str, SkillSpec]) -> tuple[Any, Any]:
    """Returns the leader of support: answers for each subject that people ask about most, and the risks."""

    async def expand(ctx: SkillContext) -> list[Task]:
        segments = await needed(ctx, "kpi.segments")
        roles = ("category", "service", "segment", "place")
        parts = {d["role"]: d["groups"] for d in segments.data["dimensions"]}
        groups = next((parts[r] for r in roles if r in parts), [])
        plan, taken = SubPlan(ctx, specs), set[str]()
        for group in [g for g in groups if g["value"]][:PARTS_MAX]:
            name = slug(_prefix(ctx, "faq"), group["value"], taken)
            plan.add("faq.answer", _brief(ctx), name, group["value"], topic=group["value"])
        if not groups:
            plan.add("faq.answer", _brief(ctx), _prefix(ctx, "faq"))
        figures = [s for s in (slot_of(ctx, "kpi.report"), slot_of(ctx, "kpi.segments")) if s]
        plan.add("risk.list", figures, _prefix(ctx, "risks"))
        return plan.end()

    async def report(ctx: SkillContext, done: list[Task]) -> Draft:
        return await _team_report(ctx, done, "Support")

    return expand, report


async def _team_report(ctx: SkillContext, done: Sequence[Task], team: str) -> Draft:
    """Files plan §17's team_report.md from what the sub-plan wrote."""
    report, segments = await found(ctx, "kpi.report"), await found(ctx, "kpi.segments")
    paid, calendar = await found(ctx, "doc.paid_plan"), await found(ctx, "doc.content_calendar")
    pieces: list[tuple[Task, Document]] = [(task, await ctx.read(slot.name)) for task in done for slot in task.writes]
    by_type: dict[str, list[Document]] = {}
    for task, document in pieces:
        by_type.setdefault(task.writes[0].type, []).append(document)
    violations = [v for d in by_type.get("doc.brand_check", ()) for v in d.data["violations"]]
    listed = [r for d in by_type.get("doc.risks", ()) for r in d.data["risks"]]
    risks = listed or measured_risks(report.data if report else None, segments.data if segments else None)
    copies, faqs = by_type.get("doc.copy", []), by_type.get("doc.faq", [])
    counts = {
        "texts": sum(len(d.data["variants"]) for d in copies),
        "answers": sum(len(d.data["answers"]) for d in faqs),
        "posts": len(calendar.data["entries"]) if calendar else 0,
    }
    values = dict(report.data["values"]) if report else {}
    kpis = values | {k: v for k, v in counts.items() if v} | {"brand_violations": len(violations)}
    span = report.data["span"] if report else {"first": "", "last": ""}
    measured = f"{span['first']}..{span['last']}" if span["first"] else ""
    period = ctx.slots.get("period", "") or (calendar.data["period"] if calendar else "") or measured
    facts = {
        "team": team,
        "period": period,
        "measured": measured,
        "values": values,
        "currency": report.data["currency"] if report else "",
        "rows": report.data["rows"] if report else 0,
        "table": report.data["table"] if report else "",
        "counts": counts,
        "violations": violations,
        "risks": risks,
        "gaps": gaps(dict(report.data), ctx.language) if report and paid else [],
        "paid": paid.data if paid else None,
        "pieces": [
            {"task": t.task_id, "title": t.title, "artifact": str(d.front.get("artifact_id", ""))} for t, d in pieces
        ],
        "named": [n for d in by_type.get("doc.risks", ()) for n in d.data["named"]],
        "unanswered": [d.data["topic"] for d in faqs if not d.data["answers"]],
        "empty": sum(not d.data["variants"] for d in copies),
    }
    title = {"es": f"Informe del equipo {team}", "en": f"Team report: {team}"}[ctx.language]
    extra = {"team": team, "period": period, "kpis": kpis, **({"kpis_measured": measured} if measured else {})}
    sources = [of_artifact(d) for d in (report, paid, calendar) if d] + [of_artifact(d) for _, d in pieces]
    data = {"team": team, "kpis": kpis, "risks": risks, "violations": violations}
    out = written(ctx, "doc.team_report")
    prose = ["Resumen", "Summary"]
    return await compose(
        ctx, "team_report", out, "team_report.md", title, facts, data, sources, prose, "team_report", extra
    )
