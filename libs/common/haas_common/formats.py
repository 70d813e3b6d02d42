"""Numbers, money and dates as people of a language write them, and periods as ISO ranges."""

from calendar import monthrange
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

MONTHS = {
    "es": (
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ),
    "en": (
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
}
WEEKDAYS = {
    "es": ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}
SYMBOLS = {"EUR": "€", "USD": "US$", "GBP": "£", "PEN": "S/", "MXN": "MX$"}


def number(value: Decimal | int | float | str, language: str, places: int = 0) -> str:
    """Writes a number: 12.345,60 in Spanish, 12,345.60 in English; a Spanish number of four digits is grouped too."""
    exact = Decimal(str(value)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    text = f"{exact:,.{places}f}"
    return text.translate(str.maketrans(",.", ".,")) if language == "es" else text


def money(value: Decimal | int | float | str, language: str, currency: str = "") -> str:
    """Writes an amount with two places; without a currency it stays a bare amount: none is assumed."""
    text = number(value, language, 2)
    if not currency:
        return text
    symbol = SYMBOLS.get(currency, currency)
    return f"{text} {symbol}" if language == "es" or symbol == currency else f"{symbol}{text}"


def percent(ratio: Decimal | int | float | str, language: str, places: int = 1) -> str:
    """Writes a ratio (0.117) as a percentage: 11,7 % in Spanish, 11.7% in English."""
    return number(Decimal(str(ratio)) * 100, language, places) + (" %" if language == "es" else "%")


def day(value: date, language: str, year: bool = True) -> str:
    """Writes a date: 3 de octubre de 2025, or 3 October 2025."""
    month = MONTHS[language][value.month - 1]
    if language == "es":
        return f"{value.day} de {month}" + (f" de {value.year}" if year else "")
    return f"{value.day} {month}" + (f" {value.year}" if year else "")


def month(value: date, language: str) -> str:
    """Writes a month: octubre de 2025, or October 2025."""
    name = MONTHS[language][value.month - 1]
    return f"{name} de {value.year}" if language == "es" else f"{name} {value.year}"


def listing(items: list[str], language: str, last: str = "") -> str:
    """Joins names: "a, b y c", or "a, b and c"; the Spanish "y" becomes "e" before the sound i."""
    if len(items) < 2:
        return "".join(items)
    word = last or ("y" if language == "es" else "and")
    if word == "y" and items[-1].lower().startswith(("i", "hi")) and not items[-1].lower().startswith(("hie", "hia")):
        word = "e"
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def parse_period(text: str) -> tuple[date, date] | None:
    """Reads an ISO range "2025-10-01..2025-12-31", both days included; None for anything else."""
    first, dots, last = text.partition("..")
    try:
        start, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        return None
    return (start, end) if dots and start <= end else None


def period_text(text: str, language: str) -> str:
    """Writes a range for people; a whole month or quarter by its name."""
    span = parse_period(text)
    if span is None:
        return text
    start, end = span
    whole = start.day == 1 and end.day == monthrange(end.year, end.month)[1]
    if whole and start.year == end.year:
        if start.month == end.month:
            return month(start, language)
        if start.month == 1 and end.month == 12:
            return str(start.year)
        if start.month % 3 == 1 and end.month == start.month + 2:
            quarter = (start.month + 2) // 3
            names = ("primer", "segundo", "tercer", "cuarto")
            return f"{names[quarter - 1]} trimestre de {start.year}" if language == "es" else f"Q{quarter} {start.year}"
    joint = "del {} al {}" if language == "es" else "{} to {}"
    return joint.format(day(start, language), day(end, language))


def months_in(text: str) -> int:
    """Counts the calendar months that a range touches; 0 for no range."""
    span = parse_period(text)
    if span is None:
        return 0
    return (span[1].year - span[0].year) * 12 + span[1].month - span[0].month + 1


def month_spans(start: date, end: date) -> list[tuple[date, date]]:
    """Cuts a range into its calendar months, the first and last as far as the range goes."""
    spans = []
    while start <= end:
        last = min(end, date(start.year, start.month, monthrange(start.year, start.month)[1]))
        spans.append((start, last))
        start = last + timedelta(days=1)
    return spans


def week_spans(start: date, end: date) -> list[tuple[date, date]]:
    """Cuts a range into weeks from Monday to Sunday, the first and last as far as the range goes."""
    spans = []
    while start <= end:
        last = min(end, start + timedelta(days=6 - start.weekday()))
        spans.append((start, last))
        start = last + timedelta(days=1)
    return spans
