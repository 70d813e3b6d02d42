"""Skills over the project's own documents: quotes, audience, risks, questions, replies. Nothing without its source."""

from typing import Any

from haas_common.artifacts.file import Draft
from haas_common.documents import Passage, fold, passages, rank, words
from haas_planner.skills import brandbook
from haas_planner.skills.data import gaps
from haas_planner.skills.kpis import BY_NAME
from haas_planner.skills.spec import SkillContext
from haas_planner.skills.writing import compose, found, of_artifact, of_documents, written

QUOTES_MAX = 10
#: A passage under this cosine shares a word with the question, but does not answer it.
ANSWER_MIN = 0.12
#: One channel with more of the spend than this is a risk of its own.
CONCENTRATION = 0.6
#: A last month this much worse than the whole is worth a warning.
DRIFT = 1.2


async def extract_research(ctx: SkillContext) -> list[Draft]:
    """research.extract: the passages nearest to the objective, word for word, with document and line."""
    documents = await ctx.documents()
    near = rank(passages(documents), ctx.objective, QUOTES_MAX)
    quotes = [{"text": p.text, "cite": p.cite, "heading": p.heading} for p, _ in near]
    facts = {"quotes": quotes, "documents": [d.name for d in documents]}
    title = {"es": "Lo que dicen los documentos", "en": "What the documents say"}[ctx.language]
    out = written(ctx, "doc.research")
    return [
        await compose(
            ctx, "research", out, "research.md", title, facts, {"quotes": quotes}, of_documents([p for p, _ in near])
        )
    ]


async def describe_audience(ctx: SkillContext) -> list[Draft]:
    """audience.describe: what the documents say about the audience, and the groups that measured best."""
    known = passages(await ctx.documents())
    about = brandbook.points(known, *brandbook.AUDIENCES)
    segments = await found(ctx, "kpi.segments")
    skip = {"month", "channel", "campaign", "previous_outcome", "format", "pillar"}
    groups = []
    for part in segments.data["dimensions"] if segments else []:
        if part["role"] not in skip and part.get("best"):
            groups.append({"column": part["column"], **part["best"]})
    facts = {
        "about": about,
        "groups": groups,
        "asked": ctx.slots.get("audience", ""),
        "currency": segments.data["currency"] if segments else "",
        "measured": segments is not None,
    }
    data = {"points": [{"name": p.name, "text": p.text, "cite": p.source.cite} for p in about], "groups": groups}
    title = {"es": "Público", "en": "Audience"}[ctx.language]
    sources = [*of_documents([p.source for p in about]), *([of_artifact(segments)] if segments else [])]
    return [await compose(ctx, "audience", written(ctx, "doc.audience"), "audience.md", title, facts, data, sources)]


async def list_risks(ctx: SkillContext) -> list[Draft]:
    """risk.list: risks that the figures show, and those that the documents name; each with what to do."""
    report, segments = await found(ctx, "kpi.report"), await found(ctx, "kpi.segments")
    known = passages(await ctx.documents())
    named = brandbook.points(known, *brandbook.RISKS)
    risks = measured_risks(report.data if report else None, segments.data if segments else None)
    facts = {
        "risks": risks,
        "named": named,
        "gaps": gaps(dict(report.data), ctx.language) if report else [],
        "broken_rows": report.data["broken_rows"] if report else 0,
        "measured": report is not None,
        "currency": report.data["currency"] if report else "",
    }
    data = {"risks": risks, "named": [{"text": p.text, "cite": p.source.cite} for p in named]}
    title = {"es": "Riesgos y acciones", "en": "Risks and actions"}[ctx.language]
    sources = [of_artifact(d) for d in (report, segments) if d] + of_documents([p.source for p in named])
    out = written(ctx, "doc.risks")
    return [await compose(ctx, "risks", out, f"{out.name}.md", title, facts, data, sources)]


def measured_risks(report: Any, segments: Any) -> list[dict[str, Any]]:
    """Finds risks in figures: all the money in one place, money without result, a month that drifts, few rows."""
    risks: list[dict[str, Any]] = []
    if report is None:
        return risks
    if report["rows"] < 30:
        risks.append({"kind": "few_rows", "rows": report["rows"]})
    parts = {d["role"]: d["groups"] for d in segments["dimensions"]} if segments else {}
    spend = report["values"].get("spend") or 0
    for group in parts.get("channel", ()):
        share = group["values"].get("spend", 0) / spend if spend else 0
        if share > CONCENTRATION:
            risks.append({"kind": "concentration", "channel": group["value"], "share": share})
        if group["values"].get("spend") and group["values"].get("leads", group["values"].get("conversions", 1)) == 0:
            risks.append({"kind": "no_result", "channel": group["value"], "spend": group["values"]["spend"]})
    for measure in ("cpl", "cpa", "conversion_rate", "roas"):
        months = [g for g in parts.get("month", ()) if measure in g["values"] and g["value"][:4].isdigit()]
        whole = report["values"].get(measure)
        if len(months) >= 3 and whole and months[-1]["values"][measure]:
            last = months[-1]["values"][measure]
            worse = last / whole if BY_NAME[measure].better == "low" else whole / last
            if worse > DRIFT:
                risks.append(
                    {"kind": "drift", "measure": measure, "month": months[-1]["value"], "last": last, "whole": whole}
                )
            break
    return risks


def questions(known: list[Passage]) -> list[tuple[str, list[Passage]]]:
    """Returns the questions that documents answer: headings that ask, with what stands under them."""
    asked: dict[str, list[Passage]] = {}
    for passage in known:
        if passage.heading.rstrip().endswith("?"):
            asked.setdefault(passage.heading, []).append(passage)
    return list(asked.items())


async def answer_faq(ctx: SkillContext) -> list[Draft]:
    """faq.answer: the questions that the documents answer, those nearest to the topic first, with their sources."""
    known = passages(await ctx.documents())
    topic = str(ctx.params.get("topic", "")) or ctx.objective
    wanted = set(words(topic))
    asked = questions(known)
    scored = [(len(wanted & set(words(q + " " + " ".join(p.text for p in ps)))), q, ps) for q, ps in asked]
    scored.sort(key=lambda s: -s[0])
    if ctx.params.get("topic"):
        scored = [s for s in scored if s[0]]
    answers = [
        {"question": q, "answer": " ".join(p.text for p in ps), "cite": ps[0].cite, "near": bool(n)}
        for n, q, ps in scored
    ]
    facts = {"answers": answers, "topic": str(ctx.params.get("topic", ""))}
    topic_name = facts["topic"]
    title = {
        "es": "Preguntas frecuentes" + (f": {topic_name}" if topic_name else ""),
        "en": "Frequent questions" + (f": {topic_name}" if topic_name else ""),
    }[ctx.language]
    out = written(ctx, "doc.faq")
    sources = of_documents([ps[0] for _, _, ps in scored])
    return [
        await compose(
            ctx, "faq", out, f"{out.name}.md", title, facts, {"answers": answers, "topic": topic_name}, sources
        )
    ]


async def reply_support(ctx: SkillContext) -> list[Draft]:
    """support.reply: a reply drawn from the documents; what they do not answer goes to a person."""
    known = passages(await ctx.documents())
    banned = brandbook.banned_words(known)
    near = [
        (p, s) for p, s in rank(known, ctx.objective, 8) if s >= ANSWER_MIN and not brandbook.breaks(p.text, banned)
    ]
    chosen = [p for p, _ in near if not any(h in fold(p.heading) for h in brandbook.TONE + brandbook.BANNED)][:3]
    open_ = next((p for p in brandbook.points(known, "saludo", "greeting")), None)
    close = next((p for p in brandbook.points(known, "despedida", "sign-off", "firma")), None)
    facts = {"answers": chosen, "open": open_, "close": close}
    data = {"answered": bool(chosen), "passages": [{"text": p.text, "cite": p.cite} for p in chosen]}
    title = {"es": "Borrador de respuesta", "en": "Draft reply"}[ctx.language]
    cited = [*chosen, *(p.source for p in (open_, close) if p)]
    prose = ["Respuesta", "Reply"]
    out = written(ctx, "doc.reply")
    return [await compose(ctx, "reply", out, "reply.md", title, facts, data, of_documents(cited), prose)]
