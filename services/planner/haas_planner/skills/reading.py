"""Reading the tenant's tables through the tool `data.table`: every figure of an artifact starts here."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from haas_common.errors import InputMissing
from haas_planner.graph import Slot
from haas_planner.skills.columns import Meaning, plain, understand
from haas_planner.skills.kpis import aggregates, amounts, compute
from haas_planner.skills.spec import SkillContext
from haas_planner.skills.writing import slot_of

TOOL = "data.table"
GROUPS_MAX = 50
BREAKDOWNS_MAX = 9


def table_slot(ctx: SkillContext) -> tuple[Slot, str]:
    """Returns the table that the task reads, and its reference.

    Raises:
        InputMissing: it was not uploaded.
    """
    slot = slot_of(ctx, "table.*")
    ref = ctx.input_ref(slot.name) if slot else None
    if slot is None or not ref:
        name = slot.name if slot else "table"
        raise InputMissing(f"Skill “{ctx.task.skill}” works from the table “{name}”, which is not there.", missing=name)
    return slot, ref


async def ask(ctx: SkillContext, ref: str, queries: Sequence[dict], describe: bool = False) -> dict[str, Any]:
    """Asks the tool. Broken rows were refused at upload unless the user wanted them counted: here they are counted."""
    arguments = {"ref": ref, "lenient": True, "describe": describe, "queries": list(queries)}
    if "format" in ctx.params:
        arguments["format"] = ctx.params["format"]
    result = await ctx.call_tool(TOOL, arguments)
    # JSON on the wire has one kind of number: counts may come back as 45211.0.
    columns = [{**c, "missing": int(c["missing"]), "distinct": int(c["distinct"])} for c in result.get("columns", ())]
    return {**result, "columns": columns, "rows": int(result["rows"]), "broken_rows": int(result["broken_rows"])}


async def describe(ctx: SkillContext) -> tuple[Slot, str, dict[str, Any], Meaning]:
    """Describes the task's table and says what its columns mean.

    Raises:
        InputMissing: the table, or a column that the profile requires, is not there; names it.
    """
    slot, ref = table_slot(ctx)
    result = await ask(ctx, ref, (), describe=True)
    spec = ctx.profile.inputs.get(slot.name)
    names = {c["name"] for c in result["columns"]}
    absent = [c for c in (spec.required_columns if spec else []) if c not in names]
    if absent:
        listed = ", ".join(f"“{c}”" for c in absent)
        text = f"The input “{slot.name}” lacks the column {listed}, which the profile requires for “{ctx.task.title}”."
        raise InputMissing(text, missing=f"{slot.name}.{absent[0]}", columns=",".join(absent))
    return slot, ref, result, understand(result["columns"], spec.columns if spec else {})


async def totals(ctx: SkillContext, ref: str, meaning: Meaning) -> dict[str, Any]:
    """Computes every KPI over the whole table; returns what `kpi.report` keeps as its data."""
    asked = aggregates(meaning)
    if meaning.date:
        asked += [{"name": f"date_{op}", "op": op, "column": meaning.date} for op in ("min", "max")]
    result = await ask(ctx, ref, [{"name": "all", "aggregates": asked}])
    rows = result["results"]["all"]
    row = rows[0] if rows else {}
    found = amounts(row, meaning) if row else {}
    values, missing = compute(found)
    span = {"first": row.get("date_min") or "", "last": row.get("date_max") or ""}
    return {
        "ref": ref,
        "rows": result["rows"],
        "broken_rows": result["broken_rows"],
        "values": values,
        "missing": missing,
        "yes": int(found["outcome"]) if "outcome" in found else None,
        "span": span,
        "meaning": {**asdict(meaning), "ambiguous": list(meaning.ambiguous)},
    }


def meaning_of(data: dict[str, Any]) -> Meaning:
    """Returns the meaning that a KPI report kept."""
    kept = data["meaning"]
    return Meaning(
        kept["metrics"], kept["dimensions"], kept["date"], kept["outcome"], kept["yes"], tuple(kept["ambiguous"])
    )


async def breakdowns(ctx: SkillContext, ref: str, meaning: Meaning) -> list[dict[str, Any]]:
    """Breaks the KPIs down by month, channel, previous outcome and further columns with few values.

    Returns:
        [{"role", "column", "groups": [{"value", "rows", "values": KPIs}], "more": groups left out}], months in the
        calendar's order, everything else by rows, most first.
    """
    asked = aggregates(meaning)
    groups: dict[str, Any] = {}
    if meaning.date and "month" not in meaning.dimensions:
        groups["month"] = {"column": meaning.date, "by": "month", "name": "month"}
    for role in sorted(meaning.dimensions, key=lambda r: list(meaning.dimensions).index(r)):
        groups[role] = meaning.dimensions[role]
    groups = dict(list(groups.items())[:BREAKDOWNS_MAX])
    queries = [
        {"name": f"by_{i}", "group_by": [g], "aggregates": asked, "order_by": "rows", "descending": True, "limit": 200}
        for i, g in enumerate(groups.values())
    ]
    if not queries:
        return []
    result = await ask(ctx, ref, queries)
    return [
        _breakdown(role, group, result["results"][f"by_{i}"], meaning) for i, (role, group) in enumerate(groups.items())
    ]


def _breakdown(role: str, group: Any, rows: Sequence[dict], meaning: Meaning) -> dict[str, Any]:
    label = group["name"] if isinstance(group, dict) else group
    column = group["column"] if isinstance(group, dict) else group
    found = []
    for row in rows:
        values, _ = compute(amounts(row, meaning))
        yes = int(row["outcome"]) if "outcome" in row else None
        found.append({"value": _shown(row[label]), "rows": int(row["rows"]), "yes": yes, "values": values})
    if role == "month":
        found.sort(key=lambda g: month_rank(g["value"]))
    return {"role": role, "column": column, "groups": found[:GROUPS_MAX], "more": max(0, len(found) - GROUPS_MAX)}


def _shown(value: object) -> str:
    """Returns a group's value as text: a bool as yes or no, a whole float as an integer, a missing one as ""."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def month_rank(value: str) -> tuple[str, int]:
    """Orders months: 2025-03 as text, "mar"/"marzo"/"March" by the calendar, anything else last."""
    name = plain(value)
    if name[:4].isdigit():
        return name, 0
    return "", month_number(value) or 99


def month_number(value: str) -> int:
    """Returns 1 to 12 for a month's name or number in Spanish or English, or for "2025-03"; 0 for none."""
    name = plain(value)
    if len(name) == 7 and name[:4].isdigit() and name[5:].isdigit():
        return int(name[5:])
    if name.isdigit() and 1 <= int(name) <= 12:
        return int(name)
    stems = {
        "ene": 1,
        "jan": 1,
        "feb": 2,
        "mar": 3,
        "abr": 4,
        "apr": 4,
        "may": 5,
        "jun": 6,
        "jul": 7,
        "ago": 8,
        "aug": 8,
        "sep": 9,
        "set": 9,
        "oct": 10,
        "nov": 11,
        "dic": 12,
        "dec": 12,
    }
    return stems.get(name[:3], 0)
