"""Slots of an objective: period, budget, channels, audience, product, targets. Pure."""

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation

from haas_common.documents import fold
from haas_common.profiles import Profile
from haas_orchestrator.periods import find_period

TEXT_CHARS_MAX = 4_000
#: A profile's pattern sees at most this many characters at a time (see haas_common.profiles).
PIECE_CHARS_MAX = 300
VALUE_CHARS_MAX = 200
_CURRENCY = {
    "€": "EUR",
    "eur": "EUR",
    "euro": "EUR",
    "euros": "EUR",
    "£": "GBP",
    "gbp": "GBP",
    "pounds": "GBP",
    "libras": "GBP",
    "us$": "USD",
    "usd": "USD",
    "dolares": "USD",
    "dollars": "USD",
    "$": "USD",
    "s/": "PEN",
    "pen": "PEN",
    "soles": "PEN",
    "mxn": "MXN",
    "pesos": "",
}
_SIGN = "|".join(re.escape(s) for s in sorted(_CURRENCY, key=len, reverse=True))
_FIGURE = r"\d{1,3}(?:[.,\u00a0 ]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d+(?:[.,]\d{1,2})?(?!\d)"
_SCALE = r"(?:\s*(k|mil|thousand|m|millon(?:es)?|million)\b)?"
_MONEY = re.compile(rf"(?:({_SIGN})\s*)?({_FIGURE}){_SCALE}(?:\s*(?:de\s+)?({_SIGN})(?![a-z]))?")
_BUDGET_WORDS = re.compile(r"presupuest\w*|inver\w+|gast\w+|budget|spend\w*|invest\w*")
CHANNELS = {
    "instagram": r"instagram|\big\b",
    "facebook": r"facebook|\bfb\b|\bmeta\b",
    "google": r"google(?: ads)?|\bsem\b",
    "tiktok": r"tik ?tok",
    "linkedin": r"linkedin",
    "youtube": r"youtube",
    "twitter": r"twitter",
    "email": r"e-?mail|correo(?: electronico)?|newsletter|boletin",
    "whatsapp": r"whats ?app",
    "sms": r"\bsms\b",
    "blog": r"\bblog\b",
    "pinterest": r"pinterest",
    "radio": r"\bradio\b",
    "telefono": r"telefon\w+|telephone|phone calls?",
}
_TARGETS = {
    "leads": r"leads?|prospectos|contactos nuevos|formularios|solicitudes",
    "conversions": (
        r"conversion(?:es|s)?|ventas|compras|pedidos|citas|reservas|altas|sales|orders|bookings|signups|appointments"
    ),
    "impressions": r"impresiones|impressions",
    "clicks": r"clics|clicks",
}
_STOP = r"(?=[,;.:\n()]|\s(?:con un|con una|con el|en|durante|para el|para la|y|with|in|during|by|and|for)\s|$)"
_AUDIENCE = re.compile(
    rf"(?:dirigid[oa]s? a|orientad[oa]s? a|publico(?: objetivo)?:?|audiencia:?|targeting|aimed at|audience:?)"
    rf"\s+(.{{3,100}}?){_STOP}"
)
_PRODUCT = re.compile(
    rf"(?:lanzamiento|promocion|promocionar|lanzar|launch(?:ing)?(?: of)?|promot(?:e|ing|ion of))\s+"
    rf"(?:de |del |of )?(?:la |el |los |las |the |our |nuestr[oa]s? )?(.{{3,80}}?){_STOP}"
)


def find_slots(text: str, profile: Profile, now: datetime) -> dict[str, str]:
    """Returns what a text says, as text by name; only what it says."""
    text = text[:TEXT_CHARS_MAX]
    # No amount has so many digits, and looking for one in them takes quadratic time. Lengths stay as they are.
    flat = re.sub(r"\d{16,}", lambda run: " " * len(run[0]), fold(text))
    slots: dict[str, str] = {}
    span = find_period(text, now.date())
    if span is not None:
        slots["period"] = f"{span[0]}..{span[1]}"
    slots |= _amounts(flat, profile)
    channels = find_channels(flat, profile)
    if channels:
        slots["channels"] = ",".join(channels)
    for name, pattern in (("audience", _AUDIENCE), ("product", _PRODUCT)):
        match = pattern.search(flat) if len(flat) == len(text) else None
        if match and not find_period(match[1], now.date()) and not re.match(r"(?:y|e|o|u|and|or)\b", match[1]):
            slots[name] = text[match.start(1) : match.end(1)].strip()[:VALUE_CHARS_MAX]
    return slots


def profile_slots(text: str, patterns: dict[str, str]) -> dict[str, str]:
    """Returns the slots that an intent's own patterns find, in pieces of bounded length."""
    found = {}
    pieces = [text[i : i + PIECE_CHARS_MAX] for i in range(0, min(len(text), TEXT_CHARS_MAX), PIECE_CHARS_MAX)]
    for name, pattern in patterns.items():
        compiled = re.compile(pattern, re.IGNORECASE)
        for piece in pieces:
            match = compiled.search(piece)
            if match:
                value = match.groupdict().get("value") or match[0]
                found[name] = value.strip()[:VALUE_CHARS_MAX]
                break
    return found


def find_channels(flat: str, profile: Profile) -> list[str]:
    """Returns the channels that a folded text names, in the order of the text; the profile's own names count too."""
    found: dict[str, int] = {}
    own = {c: rf"(?<!\w){re.escape(fold(c))}(?!\w)" for c in profile.fact("channels")}
    for name in {**CHANNELS, **own}:
        match = re.search("|".join(p for p in (CHANNELS.get(name), own.get(name)) if p), flat)
        if match:
            found[name] = match.start()
    named = [n for n in found if not any(fold(n) == fold(o) and n != o for o in own if o in found)]
    return sorted(dict.fromkeys(named), key=lambda n: found[n])


def parse_amount(figure: str, scale: str = "") -> Decimal | None:
    """Reads a Spanish or English number: a last group of three digits is thousands, one or two digits are decimals."""
    compact = re.sub(r"[\u00a0 ]", "", figure)
    match = re.fullmatch(r"(.*?)(?:[.,](\d{1,2}))?", compact)
    whole, decimals = (match[1], match[2]) if match else (compact, None)
    try:
        value = Decimal(re.sub(r"[.,]", "", whole) + (f".{decimals}" if decimals else ""))
    except InvalidOperation:
        return None
    factor = 1_000_000 if scale.startswith(("millon", "million")) or scale == "m" else 1_000 if scale else 1
    return value * factor


def _amounts(flat: str, profile: Profile) -> dict[str, str]:
    slots: dict[str, str] = {}
    taken: list[tuple[int, int]] = []
    for name, words in _TARGETS.items():
        match = re.search(rf"({_FIGURE}){_SCALE}\s+(?:nuev[oa]s\s+|new\s+)?(?:{words})\b", flat)
        amount = parse_amount(match[1], match[2] or "") if match else None
        if match and amount is not None:
            slots[f"target_{name}"] = _plain(amount)
            taken.append(match.span())
    revenue = re.search(
        rf"(?:ingresos|facturacion|facturar|revenue)(?: de| of)?\s+(?:{_SIGN})?\s*({_FIGURE}){_SCALE}", flat
    )
    if revenue and (amount := parse_amount(revenue[1], revenue[2] or "")) is not None:
        slots["target_revenue"] = _plain(amount)
        taken.append(revenue.span())
    best: tuple[int, Decimal, str] | None = None
    for match in _MONEY.finditer(flat):
        if any(a < match.end() and match.start() < b for a, b in taken):
            continue
        amount = parse_amount(match[2], match[3] or "")
        sign = match[1] or match[4] or ""
        before = flat[max(0, match.start() - 40) : match.start()]
        hint = list(_BUDGET_WORDS.finditer(before))
        near = bool(hint) and not re.search(r"\d|[.;]\s", before[hint[-1].end() :])
        if amount and (sign or near) and (best is None or (near, bool(sign)) > (best[0] > 1, bool(best[0] % 2))):
            best = (2 * near + bool(sign), amount, sign)
    if best is not None:
        slots["budget"] = _plain(best[1])
        currency = _currency(best[2], profile)
        if currency:
            slots["budget_currency"] = currency
    return slots


def _currency(sign: str, profile: Profile) -> str:
    """Returns the currency's code; the brand's own settles what "$" and "pesos" mean."""
    own = next(iter(profile.fact("currency")), "")
    if sign in ("$", "pesos", ""):
        return own if own in ("MXN", "ARS", "CLP", "COP", "CAD", "AUD") or not sign or sign == "pesos" else "USD"
    return _CURRENCY[sign]


def _plain(amount: Decimal) -> str:
    return format(amount.quantize(Decimal("0.01")), "f").removesuffix(".00")
