"""Money divides exactly; columns are understood by name, type and hint; texts keep the brand's rules."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from haas_common import formats
from haas_common.documents import SourceDocument, passages, rank
from haas_planner.skills import brandbook
from haas_planner.skills.columns import understand
from haas_planner.skills.kpis import CATALOGUE, compute, shares
from haas_planner.skills.media import capped, rank_channels, weights_of

MONEY = st.decimals(min_value="0.01", max_value=10**9, places=2)
WEIGHT = st.decimals(min_value=0, max_value=10**6, places=3)


@given(MONEY, st.lists(WEIGHT, min_size=1, max_size=30))
def test_parts_sum_exactly_to_the_total_and_stay_within_a_cent_of_their_share(
    total: Decimal, weights: list[Decimal]
) -> None:
    assume(sum(weights))
    parts = shares(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / sum(weights)) < Decimal("0.011")


@pytest.mark.parametrize("weights", [[], [Decimal(0)], [Decimal(1), Decimal(-1)]])
def test_weights_that_divide_nothing_are_refused(weights: list[Decimal]) -> None:
    with pytest.raises(ValueError, match="weights"):
        shares(Decimal(1), weights)


@given(
    st.lists(
        st.tuples(
            st.decimals(min_value="0.01", max_value=1, places=3),
            st.none() | st.decimals(min_value=0, max_value=1, places=3),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_ceilings_hold_wherever_they_can_and_the_whole_stays_whole(pairs: list[tuple[Decimal, Decimal | None]]) -> None:
    total = sum(w for w, _ in pairs)
    weights, tops = [w / total for w, _ in pairs], [t for _, t in pairs]
    result = capped(weights, tops)
    assert abs(sum(result) - 1) < Decimal("1e-12")
    if any(t is None for t in tops) or sum(tops) >= 1:
        assert all(t is None or r <= t + Decimal("1e-12") for r, t in zip(result, tops, strict=True))


def channel(value: str, **kpis: float) -> dict:
    return {"value": value, "channel": value, "rows": 50, "values": kpis}


def test_the_cheaper_channel_gets_more_and_every_channel_its_floor() -> None:
    weights = weights_of([channel("a", cpl=10), channel("b", cpl=40)], "cpl")
    assert weights[0] > weights[1] > Decimal("0.1")
    assert sum(weights) == 1


def test_channels_without_a_name_or_enough_rows_are_not_chosen() -> None:
    groups = [
        channel("a", cpl=1),
        channel("unknown", cpl=0.1),
        channel("b", cpl=9),
        {**channel("c", cpl=0.2), "rows": 1},
    ]
    ranking = rank_channels(groups, {"cpl": 2}, "cpl")
    assert [g["value"] for g in ranking["chosen"]] == ["a", "b"]
    assert {g["value"]: g["why"] for g in ranking["rest"]} == {"c": "small", "unknown": "nameless"}


def column(name: str, kind: str, *examples: object, distinct: int = 50) -> dict:
    return {"name": name, "type": kind, "missing": 0, "distinct": distinct, "examples": list(examples)}


def test_columns_are_understood_in_spanish_and_english_by_name_and_type() -> None:
    meaning = understand(
        [
            column("Fecha", "date"),
            column("Canal", "text", distinct=4),
            column("Inversión total (EUR)", "number"),
            column("Clics", "number"),
            column("prospectos", "text"),
            column("conversion_value", "number"),
        ],
        {},
    )
    assert meaning.metrics == {"spend": "Inversión total (EUR)", "clicks": "Clics", "revenue": "conversion_value"}
    assert (meaning.date, meaning.dimensions["channel"]) == ("Fecha", "Canal")


def test_a_hint_of_the_profile_wins_over_the_name() -> None:
    columns = [column("x1", "number"), column("spend", "number"), column("estado", "text", "hecho", "roto", distinct=2)]
    meaning = understand(columns, {"spend": "x1", "outcome": "estado", "outcome_yes": "hecho"})
    assert (meaning.metrics["spend"], meaning.outcome, meaning.yes) == ("x1", "estado", "hecho")


def test_among_several_yes_no_columns_the_name_decides_or_nothing_does() -> None:
    flags = [column(n, "bool", "yes", "no", distinct=2) for n in ("housing", "loan")]
    assert understand(flags, {}).outcome == ""
    assert understand(flags, {}).ambiguous == ("housing", "loan")
    named = understand([*flags, column("y", "bool", "no", "yes", distinct=2)], {})
    assert (named.outcome, named.yes) == ("y", "yes")
    alone = understand(flags[:1], {})
    assert alone.outcome == "housing"


@given(
    st.dictionaries(
        st.sampled_from(["spend", "leads", "clicks", "impressions", "revenue", "conversions", "rows"]),
        st.integers(0, 10**6),
    )
)
def test_every_kpi_is_either_computed_or_missing_with_a_reason(amounts: dict[str, int]) -> None:
    values, missing = compute({k: Decimal(v) for k, v in amounts.items()})
    gone = {m["kpi"] for m in missing}
    assert not gone & set(values)
    assert {k.name for k in CATALOGUE if k.always} <= gone | set(values)
    for gap in missing:
        assert gap.get("zero") or all(role not in amounts for role in gap["needs"])
    if "cpl" in values:
        assert values["cpl"] == pytest.approx(amounts["spend"] / amounts["leads"], abs=0.005 + 1e-9)


DOCUMENT = SourceDocument.of(
    "rules.md",
    "# Brand\n\n## Words we avoid\n\n- Do not use «cheap» or «miracle».\n- Without exclamation marks.\n\n"
    "## Dates\n\nThe fair is on November 20. The 31 de noviembre is no day.\n\n"
    "## Rhythm\n\nWe publish on Mondays and Fridays.\n",
)


def test_rules_dates_and_rhythm_are_read_from_documents_with_their_line() -> None:
    known = passages([DOCUMENT])
    banned = brandbook.banned_words(known)
    assert [(w, p.cite) for w, p in banned] == [("cheap", "rules.md:5"), ("miracle", "rules.md:5")]
    assert [w for w, _ in brandbook.breaks("A CHEAP and cheapest offer", banned)] == ["cheap"]
    assert brandbook.forbids_exclamations(known).line == 6
    assert [d for d, _ in brandbook.dated(known, date(2025, 10, 1), date(2025, 12, 31))] == [date(2025, 11, 20)]
    assert brandbook.publishing_days(known)[0] == [0, 4]


def test_the_nearest_passage_comes_first_and_strangers_not_at_all() -> None:
    known = passages([DOCUMENT])
    assert rank(known, "when do we publish", 3)[0][0].heading == "Rhythm"
    assert rank(known, "zebra", 3) == []


@given(st.dates(date(2024, 1, 1), date(2026, 12, 31)), st.integers(0, 400))
def test_weeks_and_months_cut_a_period_without_gap_or_overlap(start: date, days: int) -> None:
    end = date.fromordinal(start.toordinal() + days)
    for spans in (formats.week_spans(start, end), formats.month_spans(start, end)):
        covered = [d for a, b in spans for d in range(a.toordinal(), b.toordinal() + 1)]
        assert covered == list(range(start.toordinal(), end.toordinal() + 1))
    assert formats.months_in(f"{start}..{end}") == len(formats.month_spans(start, end))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (formats.money("1234.5", "es", "EUR"), "1.234,50 €"),
        (formats.money("1234.5", "en", "EUR"), "€1,234.50"),
        (formats.percent("0.11698", "es"), "11,7 %"),
        (formats.period_text("2025-10-01..2025-12-31", "es"), "cuarto trimestre de 2025"),
        (formats.period_text("2025-02-01..2025-02-28", "en"), "February 2025"),
        (formats.period_text("2025-10-01..2025-10-15", "es"), "del 1 de octubre de 2025 al 15 de octubre de 2025"),
        (formats.listing(["a", "b", "imagen"], "es"), "a, b e imagen"),
    ],
)
def test_numbers_and_dates_are_written_as_the_language_writes_them(found: str, expected: str) -> None:
    assert found == expected
