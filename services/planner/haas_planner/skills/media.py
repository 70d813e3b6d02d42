"""Skills of paid media: channels by measured performance, the budget over them and over the months, the paid plan."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from haas_common import formats
from haas_common.artifacts.file import Draft
from haas_common.documents import fold
from haas_common.errors import InputMissing
from haas_planner.skills import reading
from haas_planner.skills.kpis import BY_NAME, shares
from haas_planner.skills.spec import SkillContext
from haas_planner.skills.writing import compose, found, needed, of_artifact, written

#: By which KPI channels are compared, in order, when the objective names no target.
MEASURES = ("cpl", "cpa", "roas", "conversion_rate", "engagement_rate", "cvr", "ctr", "rating")
BY_TARGET = {"leads": "cpl", "conversions": "cpa", "revenue": "roas"}
RESULT_OF = {"cpl": "leads", "cpa": "conversions", "roas": "revenue"}
CHANNELS_MIN, CHANNELS_MAX = 2, 4
#: A channel with fewer rows, or under 1 % of them, says too little to be ranked.
ROWS_MIN = 5
#: What each chosen channel gets before performance decides, so that one good quarter does not starve the rest.
FLOOR = Decimal("0.10")
#: A channel takes at most so many times its past monthly spend: beyond that its measured cost says nothing.
GROWTH_MAX = Decimal(2)
NAMELESS = frozenset({"", "unknown", "desconocido", "desconocida", "otros", "other", "n/a", "na", "none", "ninguno"})


def budget_of(ctx: SkillContext) -> tuple[Decimal | None, str]:
    """Returns the budget and its currency: from the input "budget", else from the objective; None for none."""
    given = ctx.value("budget")
    text = str(given) if given is not None else ctx.slots.get("budget", "")
    currency = ctx.slots.get("budget_currency") or next(iter(ctx.profile.fact("currency")), "")
    try:
        amount = Decimal(text)
    except ArithmeticError:
        return None, currency
    return (amount if amount.is_finite() and amount > 0 else None), currency


def choose_measure(groups: Sequence[Mapping[str, Any]], slots: Mapping[str, str]) -> str:
    """Returns the KPI to compare by: the one of the objective's target, else the first that two channels have."""
    wanted = [BY_TARGET[t] for t in BY_TARGET if f"target_{t}" in slots]
    for measure in (*wanted, *MEASURES):
        if sum(measure in g["values"] for g in groups) >= 2:
            return measure
    return ""


def rank_channels(
    groups: Sequence[Mapping[str, Any]], overall: Mapping[str, Any], measure: str
) -> dict[str, list[dict]]:
    """Ranks channels by the measure: those at least as good as the whole are chosen, two at least and four at most."""
    total = sum(g["rows"] for g in groups)
    named = [g for g in groups if fold(g["value"]).strip() not in NAMELESS]
    able = [g for g in named if measure in g["values"] and g["rows"] >= ROWS_MIN and g["rows"] * 100 >= total]
    low = BY_NAME[measure].better == "low" if measure else False
    ranked = sorted(able, key=lambda g: (g["values"][measure] if low else -g["values"][measure], g["value"]))
    line = overall.get(measure)
    good = [
        g
        for g in ranked
        if line is not None and (g["values"][measure] <= line if low else g["values"][measure] >= line)
    ]
    chosen = ranked[: max(CHANNELS_MIN, min(CHANNELS_MAX, len(good)))]
    rest = [{**g, "why": "weaker"} for g in ranked if g not in chosen]
    rest += [{**g, "why": "small"} for g in named if g not in able]
    rest += [{**g, "why": "nameless"} for g in groups if g not in named]
    return {"chosen": chosen, "rest": rest}


def _asked(ctx: SkillContext) -> list[str]:
    """Returns the channels that the objective names."""
    return [c.strip() for c in ctx.slots.get("channels", "").split(",") if c.strip()]


async def select_channels(ctx: SkillContext) -> list[Draft]:
    """channel.select: the channels to use, by what was measured; what the objective names is honoured."""
    segments = await needed(ctx, "kpi.segments")
    overall, currency = segments.data["overall"], segments.data["currency"]
    part = next((d for d in segments.data["dimensions"] if d["role"] == "channel"), None)
    asked, brand = _asked(ctx), ctx.profile.fact("channels")
    if part is None and not asked and not brand:
        table = segments.data["table"]
        text = (
            f"“{table}” has no channel column, and neither the objective nor the profile names channels to work with."
        )
        raise InputMissing(text, missing=f"{table}.channel")
    groups = part["groups"] if part else []
    measure = choose_measure(groups, ctx.slots)
    wanted = {fold(c) for c in asked}
    measured = [
        g
        for g in groups
        if not wanted or any(w in fold(g["value"]) or fold(g["value"]) in w for w in wanted if g["value"])
    ]
    ranking = rank_channels(measured, overall, measure) if measure else {"chosen": [], "rest": []}
    if wanted and measure:  # the objective has chosen already: nothing that it names is dropped
        ranking = {
            "chosen": ranking["chosen"] + [g for g in ranking["rest"] if g["why"] == "weaker"],
            "rest": [g for g in ranking["rest"] if g["why"] != "weaker"],
        }
    seen = {fold(g["value"]) for g in ranking["chosen"]}
    candidates = asked or ([] if ranking["chosen"] else brand)
    blind = [c for c in candidates if not any(fold(c) in s or s in fold(c) for s in seen)]
    chosen = [
        {"channel": g["value"], "rows": g["rows"], "values": g["values"], "measured": True} for g in ranking["chosen"]
    ]
    chosen += [{"channel": c, "rows": 0, "values": {}, "measured": False} for c in blind]
    months = next((len(d["groups"]) for d in segments.data["dimensions"] if d["role"] == "month"), 0)
    data = {
        "channels": chosen,
        "measure": measure,
        "overall": overall.get(measure),
        "currency": currency,
        "months": months,
        "column": part["column"] if part else "",
    }
    facts = {
        **data,
        "rest": ranking["rest"],
        "asked": asked,
        "table": segments.data["table"],
        "low": bool(measure) and BY_NAME[measure].better == "low",
    }
    title = {"es": "Canales elegidos", "en": "Channels chosen"}[ctx.language]
    out = written(ctx, "plan.channels")
    return [await compose(ctx, "channels", out, "channels.md", title, facts, data, [of_artifact(segments)])]


def weights_of(channels: Sequence[Mapping[str, Any]], measure: str) -> list[Decimal]:
    """Returns each channel's share of 1: a floor each, the rest by results per unit spent (or by the rate measured)."""
    power = []
    for channel in channels:
        value = Decimal(str(channel["values"].get(measure, 0))) if measure else Decimal(0)
        low = bool(measure) and BY_NAME[measure].better == "low"
        power.append(1 / value if low and value else value)
    floor = min(FLOOR, 1 / Decimal(len(channels)))
    rest, whole = 1 - floor * len(channels), sum(power)
    equal = 1 / Decimal(len(channels))
    return [floor + rest * (p / whole if whole else equal) for p in power]


def ceilings(
    channels: Sequence[Mapping[str, Any]], total: Decimal | None, past: int, ahead: int
) -> list[Decimal | None]:
    """Returns the largest share of 1 that each channel can take: GROWTH_MAX times its past spend per month.

    `past` and `ahead` are the months measured and planned; without them, or a past spend, there is no ceiling.
    """
    if not total or not past or not ahead:
        return [None] * len(channels)
    spends = [Decimal(str(c["values"]["spend"])) if "spend" in c["values"] else None for c in channels]
    return [None if s is None else GROWTH_MAX * s / past * ahead / total for s in spends]


def capped(weights: Sequence[Decimal], tops: Sequence[Decimal | None]) -> list[Decimal]:
    """Keeps shares under their ceilings and gives what is over to the others, by weight; without room for it, to nobody
    else: then the ceilings cannot hold and the shares stay as they were.
    """
    if all(t is not None for t in tops) and sum(t for t in tops if t is not None) < 1:
        return list(weights)
    shares_, full = list(weights), set[int]()
    while True:
        over = [i for i, t in enumerate(tops) if i not in full and t is not None and shares_[i] > t]
        if not over:
            return shares_
        full.update(over)
        fixed = sum(t for i, t in enumerate(tops) if i in full and t is not None)
        free = sum(w for i, w in enumerate(weights) if i not in full)
        shares_ = [tops[i] or Decimal(0) if i in full else (1 - fixed) * w / free for i, w in enumerate(weights)]


async def allocate_budget(ctx: SkillContext) -> list[Draft]:
    """budget.allocate: the budget over the channels by measured results; without a budget, percentages alone."""
    channels = await needed(ctx, "plan.channels")
    chosen, measure = channels.data["channels"], channels.data["measure"]
    total, currency = budget_of(ctx)
    currency = currency or channels.data["currency"]
    tops = ceilings(chosen, total, channels.data["months"], formats.months_in(ctx.slots.get("period", "")))
    plain = weights_of(chosen, measure)
    weights = capped(plain, tops)
    parts = shares(Decimal(100), weights, 1)
    amounts = shares(total, weights) if total is not None else [None] * len(weights)
    rows = []
    for channel, share, amount in zip(chosen, parts, amounts, strict=True):
        past = channel["values"].get(measure)
        expected = _expected(amount, measure, past)
        rows.append(
            {
                "channel": channel["channel"],
                "share": str(share),
                "amount": None if amount is None else str(amount),
                "past": past,
                "expected": expected,
            }
        )
    result = RESULT_OF.get(measure, "")
    counted = [r["expected"] for r in rows if r["expected"] is not None]
    target = ctx.slots.get(f"target_{result}") if result else None
    data = {
        "total": None if total is None else str(total.quantize(Decimal("0.01"))),
        "currency": currency,
        "rows": rows,
        "measure": measure,
        "result": result,
        "expected": sum(counted) if counted else None,
        "target": target,
    }
    facts = {
        **data,
        "floor": FLOOR,
        "blind": [c["channel"] for c in chosen if measure not in c["values"]],
        "held": [
            c["channel"]
            for c, top, w, was in zip(chosen, tops, weights, plain, strict=True)
            if top is not None and (w == top or was > top)
        ],
        "is_capped": weights != plain,
        "sum": sum((a for a in amounts if a is not None), Decimal(0)),
    }
    title = {"es": "Reparto del presupuesto", "en": "Budget allocation"}[ctx.language]
    out = written(ctx, "plan.budget")
    return [await compose(ctx, "budget", out, "budget.md", title, facts, data, [of_artifact(channels)])]


def _expected(amount: Decimal | None, measure: str, past: float | None) -> int | None:
    """Returns what an amount would bring if the measured cost or return held; whole, rounded down."""
    if amount is None or past is None or not past or measure not in RESULT_OF:
        return None
    value = Decimal(str(past))
    return int(amount * value if measure == "roas" else amount / value)


async def pace_budget(ctx: SkillContext) -> list[Draft]:
    """budget.pace: each channel's amount over the months, by the results of those months in the past where measured."""
    budget = await needed(ctx, "plan.budget")
    segments = await found(ctx, "kpi.segments")
    span = formats.parse_period(ctx.slots.get("period", ""))
    if span is None:
        raise InputMissing("Pacing a budget needs a period.", missing="period")
    months = formats.month_spans(*span)
    weights, basis = _seasons(months, segments.data if segments else {})
    labels = [formats.month(first, ctx.language) for first, _ in months]
    rows = []
    for row in budget.data["rows"]:
        whole = Decimal(row["amount"] if row["amount"] is not None else row["share"])
        parts = shares(whole, weights, 2 if row["amount"] is not None else 1)
        rows.append({"channel": row["channel"], "parts": [str(p) for p in parts], "total": str(whole)})
    sums = [str(sum(Decimal(r["parts"][i]) for r in rows)) for i in range(len(months))]
    data = {
        "months": [first.isoformat()[:7] for first, _ in months],
        "rows": rows,
        "sums": sums,
        "basis": basis,
        "currency": budget.data["currency"],
        "in_money": budget.data["total"] is not None,
    }
    facts = {**data, "labels": labels, "period": ctx.slots["period"]}
    title = {"es": "Ritmo de inversión por mes", "en": "Spend by month"}[ctx.language]
    sources = [of_artifact(budget), *([of_artifact(segments)] if segments else [])]
    return [await compose(ctx, "pacing", written(ctx, "plan.pacing"), "pacing.md", title, facts, data, sources)]


def _seasons(months: Sequence[tuple], data: Mapping[str, Any]) -> tuple[list[Decimal], str]:
    """Weighs months by days and, where the table has every calendar month of them, by results per row in that month."""
    days = [Decimal((last - first).days + 1) for first, last in months]
    part = next((d for d in data.get("dimensions", ()) if d["role"] == "month"), None)
    role = next((r for r in ("leads", "conversions") if r in data.get("overall", {})), "")
    if part is None or not role:
        return days, "days"
    past: dict[int, list[Decimal]] = {}
    for group in part["groups"]:
        number = reading.month_number(group["value"])
        if number and role in group["values"] and group["rows"]:
            past.setdefault(number, []).append(Decimal(str(group["values"][role])) / group["rows"])
    if any(not sum(past.get(first.month, ())) for first, _ in months):
        return days, "days"
    return [d * sum(past[f.month]) / len(past[f.month]) for d, (f, _) in zip(days, months, strict=True)], role


async def plan_paid(ctx: SkillContext) -> list[Draft]:
    """paid.plan: channels, money, expected results and how they are watched, in one document."""
    budget = await needed(ctx, "plan.budget")
    channels = await needed(ctx, "plan.channels")
    report = await needed(ctx, "kpi.report")
    pacing = await found(ctx, "plan.pacing")
    values, measure = report.data["values"], budget.data["measure"]
    named = {c["channel"]: c for c in channels.data["channels"]}
    rows = [{**r, "values": named[r["channel"]]["values"]} for r in budget.data["rows"]]
    watch = [k for k in ("cpl", "cpa", "roas", "ctr", "cvr", "conversion_rate", "engagement_rate") if k in values]
    facts = {
        **{k: budget.data[k] for k in ("total", "currency", "measure", "result", "expected", "target")},
        "rows": rows,
        "period": ctx.slots.get("period", ""),
        "watch": [{"kpi": k, "base": values[k], "limit": _limit(k, values[k])} for k in watch],
        "pacing": pacing.data if pacing else None,
        "month_labels": _month_labels(pacing.data["months"], ctx.language) if pacing else [],
        "gaps": report.data["missing"],
        "gap_names": [g["kpi"] for g in report.data["missing"]],
        "span": report.data["span"],
        "history": report.data["rows"],
        "table": report.data["table"],
        "measured": bool(measure),
    }
    data = {
        **{k: budget.data[k] for k in ("total", "currency", "rows", "measure", "result", "expected", "target")},
        "period": ctx.slots.get("period", ""),
    }
    title = {"es": "Plan de medios de pago", "en": "Paid media plan"}[ctx.language]
    sources = [of_artifact(d) for d in (budget, channels, report, pacing) if d is not None]
    prose = ["Resumen", "Summary"]
    return [
        await compose(
            ctx, "paid_plan", written(ctx, "doc.paid_plan"), "paid_plan.md", title, facts, data, sources, prose
        )
    ]


def _limit(kpi: str, base: float) -> float:
    """Returns the value at which to step in: 25 % worse than measured."""
    return float(Decimal(str(base)) * (Decimal("1.25") if BY_NAME[kpi].better == "low" else Decimal("0.75")))


def _month_labels(months: Sequence[str], language: str) -> list[str]:
    return [formats.MONTHS[language][int(m[5:]) - 1] for m in months]
