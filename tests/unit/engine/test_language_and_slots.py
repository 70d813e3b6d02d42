"""Language, periods, amounts, intents: what a text says, and what it does not."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haas_common.errors import LanguageUnsupported
from haas_common.models import Answer, OfflineEngine, Seat
from haas_common.profiles import Profile, load_profile
from haas_orchestrator.intents import UNKNOWN, detect, detect_offline
from haas_orchestrator.language import detect_language, scores
from haas_orchestrator.periods import find_period
from haas_orchestrator.slots import find_slots, parse_amount
from tests.support.jobs import EXAMPLES

NOW = datetime(2025, 9, 15, 9, 0, tzinfo=UTC)
TODAY = NOW.date()

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile((EXAMPLES / "medluxe" / "profile.yaml").read_text())


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Quiero una campaña de Navidad para noviembre con 12.000 euros", "es"),
        ("Necesitamos vender mas en Lima este mes", "es"),
        ("¿Cuántas citas tuvimos?", "es"),
        ("Plan the Q4 campaign with a budget of $12,000", "en"),
        ("Which segments convert best, and why?", "en"),
    ],
)
def test_spanish_and_english_are_told_apart(text: str, language: str) -> None:
    assert detect_language(text, "es") == detect_language(text, "en") == language


@pytest.mark.parametrize("text", ["Q4 2025", "12345", "hola", "instagram"])
def test_a_text_too_short_to_tell_is_in_the_profile_s_language(text: str) -> None:
    assert (detect_language(text, "es"), detect_language(text, "en")) == ("es", "en")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Quero uma campanha de Natal para novembro com orçamento de 12.000 euros", "pt"),
        ("Precisamos de um relatório de vendas do mês passado", "pt"),
        ("Faça o calendário de conteúdos do próximo trimestre", "pt"),
        ("Je veux une campagne de Noël pour novembre", "fr"),
        ("Analyse des résultats de la campagne", "fr"),
        ("Ich möchte eine Kampagne für November", "de"),
        ("Vogliamo una campagna di Natale per novembre", "it"),
        ("Vull una campanya de Nadal per al novembre", "ca"),
        ("Хочу рекламную кампанию на ноябрь", "other"),
        ("我想要一个十一月的广告活动", "other"),
    ],
)
def test_a_third_language_is_refused_by_name(text: str, language: str) -> None:
    with pytest.raises(LanguageUnsupported) as refused:
        detect_language(text, "es")
    assert refused.value.metadata["language"] == language


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("Q4 2025", "2025-10-01", "2025-12-31"),
        ("el cuarto trimestre de 2025", "2025-10-01", "2025-12-31"),
        ("4T 2026", "2026-10-01", "2026-12-31"),
        ("en noviembre", "2025-11-01", "2025-11-30"),
        ("en marzo", "2026-03-01", "2026-03-31"),
        ("próximo trimestre", "2025-10-01", "2025-12-31"),
        ("next month", "2025-10-01", "2025-10-31"),
        ("este mes", "2025-09-01", "2025-09-30"),
        ("el mes que viene", "2025-10-01", "2025-10-31"),
        ("la próxima semana", "2025-09-22", "2025-09-28"),
        ("los próximos 3 meses", "2025-10-01", "2025-12-31"),
        ("el trimestre pasado", "2025-04-01", "2025-06-30"),
        ("octubre, noviembre y diciembre de 2025", "2025-10-01", "2025-12-31"),
        ("de noviembre a enero", "2025-11-01", "2026-01-31"),
        ("del 1 de octubre al 15 de noviembre de 2025", "2025-10-01", "2025-11-15"),
        ("entre el 3 y el 10 de marzo", "2026-03-03", "2026-03-10"),
        ("from 1 October to 15 November 2025", "2025-10-01", "2025-11-15"),
        ("October 3 to 20, 2025", "2025-10-03", "2025-10-20"),
        ("2025-10-05 al 2025-11-20", "2025-10-05", "2025-11-20"),
        ("24 de diciembre", "2025-12-24", "2025-12-24"),
        ("H1 2026", "2026-01-01", "2026-06-30"),
        ("durante 2026", "2026-01-01", "2026-12-31"),
        ("in May", "2026-05-01", "2026-05-31"),
    ],
)
def test_a_period_in_words_becomes_its_days(text: str, first: str, last: str) -> None:
    assert find_period(text, TODAY) == (date.fromisoformat(first), date.fromisoformat(last))


@pytest.mark.parametrize(
    "text", ["we may do it", "los últimos resultados", "31 de noviembre", "hola", "", "2025-13-45"]
)
def test_what_names_no_period_gives_none(text: str) -> None:
    assert find_period(text, TODAY) is None


@given(st.dates(date(2024, 1, 1), date(2027, 12, 31)), st.dates(date(2024, 1, 1), date(2027, 12, 31)))
def test_an_iso_range_is_read_as_it_was_written(one: date, two: date) -> None:
    first, last = sorted((one, two))
    assert find_period(f"del {first} al {last}", TODAY) == (first, last)


@given(st.text(max_size=80))
def test_any_text_has_slots_without_a_fault(text: str) -> None:
    slots = find_slots(text, load_profile("profile_id: p"), NOW)
    assert all(isinstance(v, str) and v for v in slots.values())


@given(st.decimals(min_value=0, max_value=10**9, places=2))
def test_an_amount_is_read_back_from_both_ways_of_writing(value: object) -> None:
    english = f"{value:,.2f}"
    spanish = english.translate(str.maketrans(",.", ".,"))
    assert parse_amount(english) == parse_amount(spanish) == value


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("con un presupuesto de 12.000 €", {"budget": "12000", "budget_currency": "EUR"}),
        ("a budget of $12,500.50", {"budget": "12500.50", "budget_currency": "USD"}),
        ("invertir 12 mil euros", {"budget": "12000", "budget_currency": "EUR"}),
        ("1,5 millones de soles de presupuesto", {"budget": "1500000", "budget_currency": "PEN"}),
        ("presupuesto: 900", {"budget": "900", "budget_currency": "EUR"}),
        ("conseguir 1.200 leads por Instagram y correo", {"target_leads": "1200", "channels": "instagram,email"}),
        ("at least 300 sales", {"target_conversions": "300"}),
        ("dirigida a mujeres de 35 a 55 años, en Lima", {"audience": "mujeres de 35 a 55 años"}),
        ("informe con el público y la lista de riesgos", {}),
        ("hacer 3 reuniones", {}),
    ],
)
def test_slots_hold_what_the_text_says_and_nothing_else(profile: Profile, text: str, slots: dict[str, str]) -> None:
    assert find_slots(text, profile, NOW) == slots


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("Prepárame la campaña de primavera con su plan de medios", "campaign.plan"),
        ("Plan a spring campaign with a media plan", "campaign.plan"),
        ("¿Qué canal funciona mejor según los resultados?", "report.performance"),
        ("which channel performs best in the results", "report.performance"),
        ("calendario de publicaciones de enero", "content.calendar"),
        ("Redacta los textos para los anuncios de Instagram", "copy.write"),
        ("Reserva una mesa para dos esta noche", UNKNOWN),
        ("What is the weather like in Madrid?", UNKNOWN),
        ("asdf qwer zxcv", UNKNOWN),
    ],
)
def test_the_nearest_example_decides_the_intent_or_nothing_does(profile: Profile, text: str, intent: str) -> None:
    assert detect_offline(text, profile, "es", NOW).intent == intent


async def test_an_example_itself_is_certain(profile: Profile) -> None:
    for name, intent in profile.intents.items():
        for language, examples in intent.examples.items():
            for example in examples:
                found = await detect(example, profile, OfflineEngine(), NOW)
                assert (found.intent, found.engine) == (name, "offline")
                assert found.confidence > 0.9, (language, example)


def test_a_profile_s_own_pattern_fills_its_slot() -> None:
    own = load_profile(
        """
profile_id: p
intents:
  order.status:
    examples: {es: [Dónde está mi pedido]}
    slots: {order: 'pedido (?P<value>[A-Z]{2}-[0-9]{4})'}
"""
    )
    assert detect_offline("¿Dónde está mi pedido AB-1234?", own, "es", NOW).slots == {"order": "AB-1234"}


@pytest.mark.parametrize("text", ["9" * 16_000, "a" * 16_000, "ção" * 5_000, "1." * 8_000, "del 1 " * 2_600])
@pytest.mark.timeout(5)
def test_a_text_made_to_be_slow_is_answered_all_the_same(profile: Profile, text: str) -> None:
    found = detect_offline(text, profile, "es", NOW)
    assert found.intent == UNKNOWN
    assert set(scores(text)) >= {"es", "en"}


class Polyglot:
    """A model that reads every language."""

    name = "polyglot"

    async def answer(self, seat: Seat, facts: Mapping[str, Any], offline: Callable[[], Answer]) -> Answer:
        return {"intent": "campaign.plan", "slots": [], "confidence": 0.9}

    def named(self, role: str) -> str:
        return self.name


async def test_a_third_language_is_read_by_a_model_and_answered_in_the_profiles() -> None:
    profile = load_profile((ROOT / "examples" / "medluxe" / "profile.yaml").read_text())
    text, now = "Je veux une campagne de Noël pour novembre", datetime(2025, 10, 1, tzinfo=UTC)
    with pytest.raises(LanguageUnsupported):
        await detect(text, profile, OfflineEngine(), now)
    found = await detect(text, profile, Polyglot(), now)
    assert (found.intent, found.language, found.engine) == ("campaign.plan", "es", "polyglot")
