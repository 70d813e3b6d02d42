"""What the project's documents say about the brand: pillars, promises, proofs, calls to action, rules, dates. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from haas_common.documents import Passage, fold, rank, under
from haas_common.formats import MONTHS, WEEKDAYS

PILLARS = ("pilar", "pillar", "lineas editorial", "editorial line", "temas de contenido", "content theme")
PROMISES = ("propuesta de valor", "value proposition", "promesa", "promise", "posicionamiento", "positioning")
PROOFS = ("prueba", "proof", "beneficio", "benefit", "mensajes", "messages", "argumento", "diferencia")
CALLS = ("llamada a la accion", "llamadas a la accion", "call to action", "calls to action", "cta")
AUDIENCES = ("publico", "audiencia", "audience", "persona", "cliente ideal", "ideal customer", "a quien", "segmentos")
BANNED = ("prohibid", "no decir", "no usar", "evitar", "banned", "avoid", "do not say", "never say", "no se dice")
TONE = ("tono", "tone", "voz", "voice", "estilo", "style")
RISKS = ("riesgo", "risk", "legal", "regul", "cumplimiento", "compliance", "limitacion", "limits")
QUOTED = re.compile(r"[«“\"]([^»”\"]{2,60})[»”\"]")
MONTH_NUMBER = {fold(name): i for names in MONTHS.values() for i, name in enumerate(names, start=1)}
DAY_NUMBER = {fold(name): i for names in WEEKDAYS.values() for i, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Point:
    """A named point of a document: "**Name**: text" or a plain passage."""

    name: str
    text: str
    source: Passage


def point(passage: Passage) -> Point:
    """Splits "**Name**: text" or "Name: text"; a passage without a name is named by its first words."""
    match = re.match(r"\*\*(.{2,60}?)[:.]?\*\*[:.]?\s*(.*)", passage.text) or re.match(
        r"([^:.]{2,50}):\s+(.+)", passage.text
    )
    if match:
        return Point(match[1].strip(), (match[2] or match[1]).strip(), passage)
    return Point(" ".join(passage.text.split()[:6]).rstrip(".,;:"), passage.text, passage)


def points(found: Sequence[Passage], *headings: str) -> list[Point]:
    """Returns the points under headings."""
    return [point(p) for p in under(found, *headings)]


def pillars(found: Sequence[Passage], objective: str) -> list[Point]:
    """Returns the content pillars: the documents' own, else the passages nearest to the objective."""
    return points(found, *PILLARS) or [point(p) for p, _ in rank(found, objective, 5)]


def publishing_days(found: Sequence[Passage]) -> tuple[list[int], Passage | None]:
    """Returns the weekdays (0 = Monday) on which the documents say that things are published, and where they say it."""
    for passage in found:
        text = fold(passage.text)
        if re.search(r"public|publish|post(s|ed|ing)?\b|se envia|sent\b", text):
            days = sorted({n for name, n in DAY_NUMBER.items() if re.search(rf"\b{name}s?\b", text)})
            if days:
                return days, passage
    return [], None


def dated(found: Sequence[Passage], start: date, end: date) -> list[tuple[date, Passage]]:
    """Returns the days within a range that the documents name, in order; a day without a year is of the range's."""
    days = []
    for passage in found:
        for day_ in _days(fold(passage.text), start, end):
            days.append((day_, passage))
    return sorted(days, key=lambda d: (d[0], d[1].document, d[1].line))


def _days(text: str, start: date, end: date) -> list[date]:
    names = "|".join(MONTH_NUMBER)
    found = [(int(y), int(m), int(d)) for y, m, d in re.findall(r"\b(20\d\d)-(\d\d)-(\d\d)\b", text)]
    raw = re.findall(rf"\b(\d{{1,2}}) (?:de |of )?({names})\b(?:,? (?:de |del )?(20\d\d))?", text)
    raw += [(d, m, y) for m, d, y in re.findall(rf"\b({names}) (\d{{1,2}})\b(?:st|nd|rd|th)?(?:,? (20\d\d))?", text)]
    for day_, name, year in raw:
        years = [int(year)] if year else sorted({start.year, end.year})
        found += [(y, MONTH_NUMBER[name], int(day_)) for y in years]
    days = []
    for parts in found:
        try:
            days.append(date(*parts))
        except ValueError:
            continue  # "31 de noviembre" names no day
    return [d for d in dict.fromkeys(days) if start <= d <= end]


def banned_words(found: Sequence[Passage]) -> list[tuple[str, Passage]]:
    """Returns the words that the documents forbid: quoted ones under such a heading, or in a sentence that forbids."""
    words = []
    for passage in found:
        forbids = any(h in fold(passage.heading) for h in BANNED) or any(h in fold(passage.text) for h in BANNED)
        if forbids:
            words += [(w.strip(), passage) for w in QUOTED.findall(passage.text)]
    return list({fold(w): (w, p) for w, p in reversed(words)}.values())[::-1]


def forbids_exclamations(found: Sequence[Passage]) -> Passage | None:
    """Returns the passage that forbids exclamation marks, if there is one."""
    pattern = r"\b(sin|evit\w+|no us\w+|ninguna?|no|without|avoid)\b[^.]{0,30}\b(exclamacion\w*|exclamation\w*)"
    return next((p for p in found if re.search(pattern, fold(p.text))), None)


def breaks(text: str, banned: Sequence[tuple[str, Passage]]) -> list[tuple[str, Passage]]:
    """Returns the forbidden words that a text uses, as whole words, accents and case aside."""
    flat = fold(text)
    return [(w, p) for w, p in banned if re.search(rf"(?<!\w){re.escape(fold(w))}(?!\w)", flat)]


def first_sentence(text: str, chars_max: int = 160) -> str:
    """Returns the first sentence, cut at a word when it is longer than allowed."""
    sentence = re.split(r"(?<=[.!?])\s", text.strip())[0]
    if len(sentence) <= chars_max:
        return sentence
    return sentence[: chars_max - 1].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"


def capital(text: str) -> str:
    """Returns the text with its first letter large."""
    return text[:1].upper() + text[1:]
