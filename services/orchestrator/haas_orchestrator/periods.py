"""Periods in plain Spanish and English: "Q4 2025", "noviembre", "próximo trimestre", dates → ISO ranges. Pure."""

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import date, timedelta

from haas_common.documents import fold
from haas_common.formats import MONTHS

_NUMBER = {fold(name): i for names in MONTHS.values() for i, name in enumerate(names, start=1)} | {"setiembre": 9}
_MONTH = "|".join(sorted(_NUMBER, key=len, reverse=True))
_YEAR = r"(?:\s*(?:,|de|del|of)?\s*(?:ano\s+)?(20\d\d))?"
_ORDINAL = {
    "primer": 1,
    "primero": 1,
    "segundo": 2,
    "tercer": 3,
    "tercero": 3,
    "cuarto": 4,
    "ultimo": 4,
    "first": 1,
    "second": 2,
    "third": 3,
    "fourth": 4,
    "last": 4,
    "1er": 1,
    "1o": 1,
    "2o": 2,
    "3er": 3,
    "4o": 4,
    "1st": 1,
    "2nd": 2,
    "3rd": 3,
    "4th": 4,
}
_COUNT = {
    "un": 1,
    "una": 1,
    "dos": 2,
    "tres": 3,
    "cuatro": 4,
    "cinco": 5,
    "seis": 6,
    "a": 1,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
}
_NEXT = r"(?:proxim[oa]s?|siguientes?|next|coming)"
_THIS = r"(?:est[ea]|this|current|actual)"
_PAST = r"(?:pasad[oa]|anterior|previous)"
Span = tuple[date, date]


def find_period(text: str, today: date) -> Span | None:
    """Returns the first and last day of the period that a text names; None for none.

    A month or quarter without a year is the one that has not ended yet; `today` settles relative ones.
    """
    flat = re.sub(r"\s+", " ", fold(text))
    for rule in _RULES:
        span = rule(flat, today)
        if span is not None and span[0] <= span[1]:
            return span
    return None


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _months(year: int, first: int, count: int) -> Span:
    last_year, last = year + (first + count - 2) // 12, (first + count - 2) % 12 + 1
    return date(year, first, 1), date(last_year, last, monthrange(last_year, last)[1])


def _upcoming(first: int, count: int, year: str | None, today: date) -> Span:
    """Returns months of the year named; else of this year, or of the next where they are over."""
    if year:
        return _months(int(year), first, count)
    span = _months(today.year, first, count)
    return span if span[1] >= today else _months(today.year + 1, first, count)


def _iso(flat: str, today: date) -> Span | None:
    found = re.findall(r"\b(20\d\d)-(\d\d)-(\d\d)\b", flat)[:2]
    days = [d for d in (_day(*map(int, f)) for f in found) if d]
    if not days:
        month = re.search(r"\b(20\d\d)-(0[1-9]|1[0-2])\b(?!-)", flat)
        return _months(int(month[1]), int(month[2]), 1) if month else None
    return days[0], days[-1]


def _slashes(flat: str, today: date) -> Span | None:
    found = re.findall(r"\b(\d{1,2})/(\d{1,2})/(20\d\d)\b", flat)[:2]
    days = [d for d in (_day(int(y), int(m), int(dd)) for dd, m, y in found) if d]
    return (days[0], days[-1]) if days else None


def _day_range(flat: str, today: date) -> Span | None:
    """Reads "del 1 de octubre al 15 de noviembre", "entre el 3 y el 10 de marzo", "from 1 October to 15 November"."""
    link = r"(?:al|a|hasta el|hasta|y el|y|to|until|and|-)"
    match = re.search(
        rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: (?:de |of )?({_MONTH}))?{_YEAR} {link} "
        rf"(\d{{1,2}})(?:st|nd|rd|th)? (?:de |of )?({_MONTH}){_YEAR}",
        flat,
    )
    if match:
        d1, m1, y1, d2, m2, y2 = match.groups()
    else:
        match = re.search(
            rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)? {link} (?:({_MONTH}) )?(\d{{1,2}})\b(?:st|nd|rd|th)?{_YEAR}",
            flat,
        )
        if not match:
            return None
        m1, d1, m2, d2, y2 = match.groups()
        m2, y1 = m2 or m1, None
    last_month, first_month = _NUMBER[m2], _NUMBER[m1 or m2]
    year = int(y2) if y2 else _upcoming(last_month, 1, None, today)[0].year
    first_year = int(y1) if y1 else (year - 1 if first_month > last_month else year)
    start, end = _day(first_year, first_month, int(d1)), _day(year, last_month, int(d2))
    return (start, end) if start and end else None


def _quarter(flat: str, today: date) -> Span | None:
    match = re.search(r"\b(?:q|t)([1-4])\b(?:\s*(?:de|del|of|[-/])?\s*(20\d\d))?", flat)
    if not match:
        match = re.search(r"\b([1-4])(?:q|t)\b(?:\s*(?:de|del|of|[-/])?\s*(20\d\d))?", flat)
    if match:
        return _upcoming(int(match[1]) * 3 - 2, 3, match[2], today)
    match = re.search(rf"\b({'|'.join(_ORDINAL)}) (?:trimestre|quarter){_YEAR}", flat)
    return _upcoming(_ORDINAL[match[1]] * 3 - 2, 3, match[2], today) if match else None


def _half(flat: str, today: date) -> Span | None:
    match = re.search(rf"\b(primer|segundo|first|second) (?:semestre|half){_YEAR}", flat)
    if match:
        return _upcoming(1 if match[1] in ("primer", "first") else 7, 6, match[2], today)
    match = re.search(r"\bh([12])\b(?:\s*(20\d\d))?", flat)
    return _upcoming(1 if match[1] == "1" else 7, 6, match[2], today) if match else None


def _month_range(flat: str, today: date) -> Span | None:
    match = re.search(rf"\b({_MONTH}){_YEAR} (?:a|y|hasta|to|and|through|-) ({_MONTH}){_YEAR}", flat)
    listed = re.search(rf"\b({_MONTH}), ({_MONTH})(?:,)? (?:y|and) ({_MONTH}){_YEAR}", flat)
    if listed:
        first, last, year = _NUMBER[listed[1]], _NUMBER[listed[3]], listed[4]
    elif match:
        first, last, year = _NUMBER[match[1]], _NUMBER[match[3]], match[2] or match[4]
    else:
        return None
    count = (last - first) % 12 + 1
    if year and first > last and not (match and match[2]):
        return _months(int(year) - 1, first, count)
    return _upcoming(first, count, year, today)


def _relative(flat: str, today: date) -> Span | None:
    units = r"(trimestre|quarter|mes(?:es)?|months?|semanas?|weeks?|anos?|years?|dias?|days?)"
    many = re.search(rf"\b{_NEXT} (\d{{1,2}}|{'|'.join(_COUNT)}) {units}\b", flat)
    if many is None:
        many = re.search(rf"\b(\d{{1,2}}|{'|'.join(_COUNT)}) {_NEXT} {units}\b", flat)
    if many:
        return _ahead(int(many[1]) if many[1].isdigit() else _COUNT[many[1]], many[2], today)
    for words, step in ((_NEXT, 1), (_THIS, 0), (_PAST, -1)):
        match = re.search(rf"\b{words} {units}\b|\b(trimestre|mes|semana|ano) {words}\b", flat)
        if match:
            return _shifted(match[1] or match[2], step, today)
    match = re.search(r"\b(trimestre|mes|semana|ano) que viene\b", flat)
    if match:
        return _shifted(match[1], 1, today)
    match = re.search(r"\b(?:last|ultim[oa]) (mes|semana|month|week|quarter|ano|year)\b", flat)
    return _shifted(match[1], -1, today) if match else None


def _ahead(count: int, unit: str, today: date) -> Span:
    """Returns the next so many days or weeks from tomorrow, or whole months, quarters, years."""
    if unit.startswith(("dia", "day")):
        return today + timedelta(days=1), today + timedelta(days=count)
    if unit.startswith(("semana", "week")):
        monday = today + timedelta(days=7 - today.weekday())
        return monday, monday + timedelta(days=7 * count - 1)
    first, _ = _shifted(unit, 1, today)
    size = 3 if unit.startswith(("tri", "qua")) else 12 if unit.startswith(("an", "year")) else 1
    return _months(first.year, first.month, count * size)


def _shifted(unit: str, step: int, today: date) -> Span:
    """Returns this, the next or the past week, month, quarter or year."""
    if unit.startswith(("dia", "day")):
        return today + timedelta(days=step), today + timedelta(days=step)
    if unit.startswith(("semana", "week")):
        monday = today - timedelta(days=today.weekday()) + timedelta(weeks=step)
        return monday, monday + timedelta(days=6)
    size = 3 if unit.startswith(("tri", "qua")) else 12 if unit.startswith(("an", "year")) else 1
    index = (today.year * 12 + today.month - 1) // size * size + step * size
    return _months(index // 12, index % 12 + 1, size)


def _one_day(flat: str, today: date) -> Span | None:
    match = re.search(rf"\b(\d{{1,2}})(?:st|nd|rd|th)? (?:de |of )?({_MONTH}){_YEAR}", flat)
    if match:
        day, month, year = match[1], match[2], match[3]
    else:
        match = re.search(rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?:, (20\d\d))?", flat)
        if not match:
            return None
        month, day, year = match[1], match[2], match[3]
    found = _day(int(year) if year else today.year, _NUMBER[month], int(day))
    if found and not year and found < today:
        found = _day(today.year + 1, found.month, found.day)
    return (found, found) if found else None


def _month(flat: str, today: date) -> Span | None:
    for match in re.finditer(rf"\b({_MONTH})\b{_YEAR}", flat):
        # "may" and "march" are English verbs too: they need a year or a word of time before them.
        timed = re.search(r"\b(?:in|for|of|during|by|en|de|para|durante|mes de)\s*$", flat[: match.start()])
        if match[1] in ("may", "march") and not match[2] and not timed:
            continue
        if re.search(r"\b\d{1,2} (?:de |of )?$", flat[: match.start()]):
            continue  # a day that the month does not have
        return _upcoming(_NUMBER[match[1]], 1, match[2], today)
    return None


def _year(flat: str, today: date) -> Span | None:
    match = re.search(r"\b(?:en|durante|para|in|during|for|ano|year)(?: el)?(?: ano)? (20\d\d)\b", flat)
    return (date(int(match[1]), 1, 1), date(int(match[1]), 12, 31)) if match else None


_RULES: tuple[Callable[[str, date], Span | None], ...] = (
    _iso,
    _slashes,
    _day_range,
    _quarter,
    _half,
    _month_range,
    _one_day,
    _month,
    _relative,
    _year,
)
