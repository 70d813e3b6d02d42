"""The report: what was measured, where, what to do, from the artifacts that are there."""

from typing import Any

from haas_common.artifacts.file import Draft
from haas_planner.skills.data import gaps
from haas_planner.skills.spec import SkillContext
from haas_planner.skills.writing import compose, found, needed, of_artifact, written


async def compose_report(ctx: SkillContext) -> list[Draft]:
    """report.compose: figures, findings, audience, quotes, risks in one document."""
    report = await needed(ctx, "kpi.report")
    segments, audience = await found(ctx, "kpi.segments"), await found(ctx, "doc.audience")
    risks, research = await found(ctx, "doc.risks"), await found(ctx, "doc.research")
    values = report.data["values"]
    facts = {
        "rows": report.data["rows"],
        "broken_rows": report.data["broken_rows"],
        "table": report.data["table"],
        "yes": report.data["yes"],
        "values": values,
        "currency": report.data["currency"],
        "span": report.data["span"],
        "gaps": gaps(dict(report.data), ctx.language),
        "findings": findings(segments.data) if segments else [],
        "points": audience.data["points"] if audience else [],
        "groups": audience.data["groups"] if audience else [],
        "risks": risks.data["risks"] if risks else [],
        "quotes": research.data["quotes"][:4] if research else [],
    }
    data = {"kpis": values, "findings": facts["findings"], "rows": report.data["rows"]}
    title = {"es": "Informe de resultados", "en": "Results report"}[ctx.language]
    sources = [of_artifact(d) for d in (report, segments, audience, risks, research) if d]
    prose = ["Resumen", "Summary"]
    return [await compose(ctx, "report", written(ctx, "doc.report"), "report.md", title, facts, data, sources, prose)]


def findings(segments: Any) -> list[dict[str, Any]]:
    """Returns each breakdown's best group with its distance from the whole, the farthest first."""
    listed = []
    for part in segments["dimensions"]:
        best = part.get("best")
        if best and best["overall"]:
            factor = best["at"] / best["overall"]
            listed.append({**best, "column": part["column"], "role": part["role"], "factor": factor})
    return sorted(listed, key=lambda f: (-abs(f["factor"] - 1), f["column"]))
