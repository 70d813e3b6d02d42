"""Skills over tables: what is in them, KPIs, breakdowns. Figures only from computation."""

from typing import Any

from haas_common.artifacts.file import Draft
from haas_planner.skills import kpis, reading
from haas_planner.skills.spec import SkillContext
from haas_planner.skills.writing import compose, kpi_label, needed, of_artifact, written

#: The KPIs that a breakdown shows, the most telling first; six at most fit a page.
SHOWN = (
    "spend",
    "leads",
    "conversions",
    "revenue",
    "cpl",
    "cpa",
    "roas",
    "conversion_rate",
    "interactions",
    "engagement_rate",
    "saves",
    "rating",
    "hours",
    "impressions",
    "clicks",
    "ctr",
    "cvr",
)
COLUMNS_MAX = 6


def currency_of(ctx: SkillContext) -> str:
    """Returns the currency that the brand states, or "" : none is assumed."""
    return next(iter(ctx.profile.fact("currency")), "")


async def profile_table(ctx: SkillContext) -> list[Draft]:
    """data.profile: columns, types, gaps, and what each column is taken for."""
    slot, ref, result, meaning = await reading.describe(ctx)
    roles = {column: role for role, column in (*meaning.metrics.items(), *meaning.dimensions.items())}
    if meaning.date:
        roles[meaning.date] = "date"
    if meaning.outcome:
        roles[meaning.outcome] = "outcome"
    columns = [{**c, "role": roles.get(c["name"], "")} for c in result["columns"]]
    facts = {
        "table": slot.name,
        "rows": result["rows"],
        "broken_rows": result["broken_rows"],
        "columns": columns,
        "outcome": meaning.outcome,
        "yes": meaning.yes,
        "ambiguous": meaning.ambiguous,
        "gaps": [c for c in columns if c["missing"]],
    }
    data = {"rows": result["rows"], "broken_rows": result["broken_rows"], "columns": columns, "ref": ref}
    title = {"es": f"Qué contiene {slot.name}", "en": f"What {slot.name} holds"}[ctx.language]
    out = written(ctx, "doc.data_profile")
    return [
        await compose(ctx, "data_profile", out, "data_profile.md", title, facts, data, [f"input:{slot.name} {ref}"])
    ]


async def compute_kpis(ctx: SkillContext) -> list[Draft]:
    """kpi.compute: every KPI that the columns allow; for each other one the reason."""
    slot, ref, _, meaning = await reading.describe(ctx)
    data = await reading.totals(ctx, ref, meaning)
    data |= {"table": slot.name, "currency": currency_of(ctx)}
    facts = {
        **data,
        "gaps": gaps(data, ctx.language),
        "outcome": meaning.outcome,
        "meaning": meaning,
        "sums": [k for k in data["values"] if kpis.BY_NAME[k].kind == "sum"],
        "rates": [k for k in data["values"] if kpis.BY_NAME[k].kind != "sum"],
        "formulas": {k: formula(k, meaning, ctx.language) for k in data["values"]},
    }
    title = {"es": "Indicadores de resultados", "en": "Performance indicators"}[ctx.language]
    out = written(ctx, "kpi.report")
    prose = ["Lectura", "Reading"]
    return [
        await compose(ctx, "kpi_report", out, "kpi_report.md", title, facts, data, [f"input:{slot.name} {ref}"], prose)
    ]


def gaps(data: dict[str, Any], language: str) -> list[dict[str, str]]:
    """Says for people which KPIs cannot be computed, and why."""
    return [
        {"kpi": g["kpi"], "label": kpi_label(g["kpi"], language), "reason": kpis.reason(g, language)}
        for g in data["missing"]
    ]


def formula(name: str, meaning: Any, language: str) -> str:
    """Says from which columns a KPI was computed."""
    kpi = kpis.BY_NAME[name]

    def column(role: str) -> str:
        if role == "conversions" and role not in meaning.metrics:
            return f"{meaning.outcome} = {meaning.yes}"
        return meaning.metrics.get(role, role)

    if kpi.kind == "rate":
        rows = {"es": "filas", "en": "rows"}[language]
        return f"{meaning.outcome} = {meaning.yes} ÷ {rows}"
    if kpi.kind == "mean":
        return f"{'media' if language == 'es' else 'mean'}({column(kpi.over)})"
    if kpi.kind == "ratio":
        return f"Σ {column(kpi.over)} ÷ Σ {column(kpi.under)}"
    return f"Σ {column(kpi.over)}"


async def segment_kpis(ctx: SkillContext) -> list[Draft]:
    """kpi.segment: the KPIs by month, channel, previous outcome and every column with few values."""
    report = await needed(ctx, "kpi.report")
    slot, ref = reading.table_slot(ctx)
    meaning = reading.meaning_of(dict(report.data))
    parts = await reading.breakdowns(ctx, ref, meaning)
    overall = report.data["values"]
    shown = [k for k in SHOWN if k in overall and not (k == "conversions" and meaning.outcome)][:COLUMNS_MAX]
    for part in parts:
        part["best"] = best(part["groups"], shown, overall)
    data = {
        "dimensions": parts,
        "overall": overall,
        "rows": report.data["rows"],
        "currency": report.data["currency"],
        "outcome": meaning.outcome,
        "table": slot.name,
    }
    facts = {**data, "shown": shown, "yes_total": report.data["yes"], "has_outcome": bool(meaning.outcome)}
    title = {"es": "Resultados por segmento", "en": "Results by segment"}[ctx.language]
    sources = [f"input:{slot.name} {ref}", of_artifact(report)]
    out = written(ctx, "kpi.segments")
    return [await compose(ctx, "kpi_segments", out, "kpi_segments.md", title, facts, data, sources)]


def best(groups: list[dict], shown: list[str], overall: dict[str, Any]) -> dict[str, Any] | None:
    """Picks the best and the worst group by the first KPI with a better direction, among groups of 1 % of the rows."""
    measure = next(
        (k for k in ("cpl", "cpa", "roas", "conversion_rate", "engagement_rate", "rating") if k in shown), None
    )
    total = sum(g["rows"] for g in groups)
    able = [g for g in groups if measure and measure in g["values"] and g["value"] and g["rows"] * 100 >= total]
    if measure is None or len(able) < 2:
        return None
    low = kpis.BY_NAME[measure].better == "low"
    ranked = sorted(able, key=lambda g: (g["values"][measure] if low else -g["values"][measure], g["value"]))
    return {
        "measure": measure,
        "value": ranked[0]["value"],
        "at": ranked[0]["values"][measure],
        "worst": ranked[-1]["value"],
        "worst_at": ranked[-1]["values"][measure],
        "overall": overall.get(measure),
    }
