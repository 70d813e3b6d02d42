"""KPIs: what they are, how they are computed from sums and counts, and why one cannot be. Exact decimals. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from haas_planner.skills.columns import Meaning


@dataclass(frozen=True, slots=True)
class Kpi:
    """A KPI.

    Attributes:
        kind: "sum", "ratio" (over / under), "rate" (yes of rows) or "mean".
        over, under: roles.
        unit: "money", "count", "ratio", "factor" or "plain".
        better: "low", "high" or "" where more is neither.
        always: listed as not computable where it is; the others are left out of tables that they are not about.
    """

    name: str
    labels: Mapping[str, str]
    kind: str
    over: str
    under: str = ""
    unit: str = "count"
    better: str = ""
    always: bool = True


def _kpi(
    name: str,
    es: str,
    en: str,
    kind: str,
    over: str,
    under: str = "",
    unit: str = "count",
    better: str = "",
    always: bool = True,
) -> Kpi:
    return Kpi(name, {"es": es, "en": en}, kind, over, under, unit, better, always)


CATALOGUE = (
    _kpi("spend", "inversión", "spend", "sum", "spend", unit="money"),
    _kpi("impressions", "impresiones", "impressions", "sum", "impressions"),
    _kpi("clicks", "clics", "clicks", "sum", "clicks"),
    _kpi("leads", "leads", "leads", "sum", "leads", better="high"),
    _kpi("conversions", "conversiones", "conversions", "sum", "conversions", better="high"),
    _kpi("revenue", "ingresos", "revenue", "sum", "revenue", unit="money", better="high"),
    _kpi("cpl", "coste por lead (CPL)", "cost per lead (CPL)", "ratio", "spend", "leads", "money", "low"),
    _kpi(
        "cpa",
        "coste por conversión (CPA)",
        "cost per conversion (CPA)",
        "ratio",
        "spend",
        "conversions",
        "money",
        "low",
    ),
    _kpi("ctr", "tasa de clics (CTR)", "click-through rate (CTR)", "ratio", "clicks", "impressions", "ratio", "high"),
    _kpi(
        "cvr",
        "conversiones por clic (CVR)",
        "conversions per click (CVR)",
        "ratio",
        "conversions",
        "clicks",
        "ratio",
        "high",
    ),
    _kpi(
        "roas",
        "retorno de la inversión publicitaria (ROAS)",
        "return on ad spend (ROAS)",
        "ratio",
        "revenue",
        "spend",
        "factor",
        "high",
    ),
    _kpi(
        "conversion_rate",
        "tasa de éxito (conversión)",
        "success (conversion) rate",
        "rate",
        "outcome",
        "",
        "ratio",
        "high",
        False,
    ),
    _kpi("interactions", "interacciones", "interactions", "sum", "interactions", better="high", always=False),
    _kpi(
        "engagement_rate",
        "tasa de interacción",
        "engagement rate",
        "ratio",
        "interactions",
        "impressions",
        "ratio",
        "high",
        False,
    ),
    _kpi("saves", "guardados", "saves", "sum", "saves", better="high", always=False),
    _kpi("rating", "valoración media", "mean rating", "mean", "rating", unit="plain", better="high", always=False),
    _kpi(
        "hours",
        "horas de resolución (media)",
        "hours to resolve (mean)",
        "mean",
        "hours",
        unit="plain",
        better="low",
        always=False,
    ),
)
BY_NAME = {k.name: k for k in CATALOGUE}
ROLE_WORDS = {
    "es": {
        "spend": "inversión o coste",
        "impressions": "impresiones",
        "clicks": "clics",
        "leads": "leads",
        "conversions": "conversiones",
        "revenue": "ingresos",
        "outcome": "resultado (sí/no)",
        "interactions": "interacciones",
        "saves": "guardados",
        "rating": "valoración",
        "hours": "horas",
    },
    "en": {
        "spend": "spend/cost",
        "impressions": "impressions",
        "clicks": "clicks",
        "leads": "leads",
        "conversions": "conversions",
        "revenue": "revenue",
        "outcome": "yes/no outcome",
        "interactions": "interactions",
        "saves": "saves",
        "rating": "rating",
        "hours": "hours",
    },
}


def aggregates(meaning: Meaning) -> list[dict]:
    """Returns what to ask of `data.table` for every KPI that the columns allow."""
    asked: list[dict] = [{"name": "rows", "op": "count"}]
    for role, column in meaning.metrics.items():
        op = "mean" if any(k.kind == "mean" and k.over == role for k in CATALOGUE) else "sum"
        asked.append({"name": role, "op": op, "column": column})
    if meaning.outcome:
        asked.append({"name": "outcome", "op": "count_if", "column": meaning.outcome, "equals": meaning.yes})
    return asked


def amounts(row: Mapping[str, object], meaning: Meaning) -> dict[str, Decimal]:
    """Returns role → exact amount of a row of results; a yes is a conversion where no column counts conversions."""
    found = {r: Decimal(str(row[r])) for r in (*meaning.metrics, "rows") if row.get(r) is not None}
    if meaning.outcome:
        found["outcome"] = Decimal(str(row["outcome"]))
        found.setdefault("conversions", found["outcome"])
    return found


def compute(found: Mapping[str, Decimal]) -> tuple[dict[str, float | int], list[dict]]:
    """Computes every KPI of the catalogue.

    Returns:
        the values by name (money to 2 places, ratios to 6, counts whole), and for each that cannot be computed
        {"kpi", "needs": roles without a column} or {"kpi", "zero": the role that sums to nothing}.
    """
    values: dict[str, float | int] = {}
    missing: list[dict] = []
    for kpi in CATALOGUE:
        under = "rows" if kpi.kind == "rate" else kpi.under
        needs = [role for role in (kpi.over, under) if role and role not in found]
        if needs:
            if kpi.always:
                missing.append({"kpi": kpi.name, "needs": needs})
            continue
        if under and not found[under]:
            missing.append({"kpi": kpi.name, "zero": under})
            continue
        values[kpi.name] = rounded(found[kpi.over] / found[under] if under else found[kpi.over], kpi.unit)
    return values, missing


def rounded(value: Decimal, unit: str) -> float | int:
    """Rounds for the record: counts whole where they are whole, money to cents, ratios to 6 places."""
    if unit == "count" and value == value.to_integral_value():
        return int(value)
    places = {"money": 2, "ratio": 6, "factor": 4, "plain": 4, "count": 2}[unit]
    return float(value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN))


def reason(gap: Mapping[str, object], language: str) -> str:
    """Says why a KPI cannot be computed."""
    words = ROLE_WORDS[language]
    if "zero" in gap:
        role = words.get(str(gap["zero"]), str(gap["zero"]))
        return f"la suma de {role} es 0" if language == "es" else f"{role} sums to 0"
    needs = [words.get(role, role) for role in gap["needs"]]  # type: ignore[union-attr]
    if language == "es":
        return f"la tabla no tiene columna de {' ni de '.join(needs)}"
    return f"the table has no {' or '.join(needs)} column"


def shares(total: Decimal, weights: Sequence[Decimal], places: int = 2) -> list[Decimal]:
    """Divides an amount by weights, rounded by largest remainder: the parts sum exactly to the total.

    Raises:
        ValueError: a weight is negative, or all are zero.
    """
    if not weights or any(w < 0 for w in weights) or not sum(weights):
        raise ValueError("weights must not be negative and not all zero")
    cent = Decimal(1).scaleb(-places)
    units = int(total / cent)
    whole = sum(weights)
    exact = [units * w / whole for w in weights]
    floors = [int(e) for e in exact]
    order = sorted(range(len(weights)), key=lambda i: (floors[i] - exact[i], i))
    for i in order[: units - sum(floors)]:
        floors[i] += 1
    return [f * cent for f in floors]
