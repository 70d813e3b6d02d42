"""Skills of content: the calendar over real dates, copy from the brand's documents, and the check against its rules."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from haas_common import formats
from haas_common.artifacts.file import Draft
from haas_common.documents import Passage, fold, passages, rank
from haas_planner.skills import brandbook
from haas_planner.skills.brandbook import Point, capital, first_sentence
from haas_planner.skills.spec import SkillContext
from haas_planner.skills.writing import compose, found, of_artifact, of_documents, written

ENTRIES_MAX = 120
#: Tuesday and Thursday, where no document says on which days the brand publishes; the calendar says so.
DAYS_DEFAULT = (1, 3)
#: Characters of a text by channel, where the channel itself sets a limit (their own help pages).
LENGTHS = {"google": 90, "search": 90, "sms": 160, "twitter": 280}


#: Names of search advertising.
SEARCH = ("google", "search", "sem", "bing")
CHANNELS_MIN = 2


async def plan_calendar(ctx: SkillContext) -> list[Draft]:
    """calendar.plan: what is published when and where, over the period's real weeks; no holiday is invented."""
    known = passages(await ctx.documents())
    chosen = await found(ctx, "plan.channels")
    span, assumed = _span(ctx)
    channels, basis = _channels(ctx, chosen.data["channels"] if chosen else None)
    themes = brandbook.pillars(known, ctx.objective)
    banned = brandbook.banned_words(known)
    proofs = _clean(brandbook.points(known, *brandbook.PROOFS, *brandbook.PROMISES), banned)
    days, days_from = brandbook.publishing_days(known)
    marked = brandbook.dated(known, *span)
    entries = _entries(span, days or list(DAYS_DEFAULT), channels, themes, proofs, ctx)
    days_marked = [{"day": d, "text": first_sentence(p.text, 200), "cite": p.cite} for d, p in marked]
    weeks = [
        {
            "first": first,
            "last": last,
            "entries": [e for e in entries if first <= e["day"] <= last],
            "marked": [m for m in days_marked if first <= m["day"] <= last],
        }
        for first, last in formats.week_spans(*span)
    ]
    period = f"{span[0]}..{span[1]}"
    facts = {
        "period": period,
        "first": span[0],
        "last": span[1],
        "assumed": assumed,
        "channels": channels,
        "basis": basis,
        "themes": themes,
        "weeks": [w for w in weeks if w["entries"]],
        "count": len(entries),
        "days": [formats.WEEKDAYS[ctx.language][d] for d in (days or DAYS_DEFAULT)],
        "days_from": days_from.cite if days_from else "",
        "marked": days_marked,
    }
    data = {
        "period": period,
        "channels": channels,
        "themes": [t.name for t in themes],
        "entries": [{**e, "day": e["day"].isoformat()} for e in entries],
    }
    cited = [t.source for t in (*themes, *proofs)] + [p for _, p in marked] + ([days_from] if days_from else [])
    sources = [*([of_artifact(chosen)] if chosen else []), *of_documents(cited)]
    title = {"es": "Calendario de contenidos", "en": "Content calendar"}[ctx.language]
    out = written(ctx, "doc.content_calendar")
    prose = ["Resumen", "Summary"]
    return [await compose(ctx, "content_calendar", out, "content_calendar.md", title, facts, data, sources, prose)]


def _span(ctx: SkillContext) -> tuple[tuple[date, date], bool]:
    """Returns the objective's period; without one the next whole month, marked as assumed."""
    span = formats.parse_period(ctx.slots.get("period", ""))
    if span is not None:
        return span, False
    first = (ctx.now.date().replace(day=1) + timedelta(days=32)).replace(day=1)
    return (first, (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)), True


def _channels(ctx: SkillContext, chosen: Sequence[dict] | None) -> tuple[list[str], str]:
    """Returns the channels and why these: measured, asked for, the profile's, or none.

    Search advertising shows answers, not posts: it has no place in a calendar as long as another channel is there.
    """
    asked = [c.strip() for c in ctx.slots.get("channels", "").split(",") if c.strip()]
    brand = ctx.profile.fact("channels")
    measured = [c["channel"] for c in chosen or () if c["measured"]]
    for names, basis in ((measured, "measured"), (asked, "asked"), (brand, "profile")):
        posted = [n for n in names if not any(s in fold(n) for s in SEARCH)]
        if posted and basis == "measured" and not asked:
            rest = [
                n for n in brand if fold(n) not in {fold(p) for p in posted} and not any(s in fold(n) for s in SEARCH)
            ]
            return (posted + rest[: max(0, CHANNELS_MIN - len(posted))]), basis
        if posted:
            return posted, basis
    return measured or asked or brand, "measured" if measured else "asked" if asked else "profile"


def _entries(
    span: tuple[date, date],
    days: Sequence[int],
    channels: Sequence[str],
    themes: Sequence[Point],
    proofs: Sequence[Point],
    ctx: SkillContext,
) -> list[dict[str, Any]]:
    """Goes through the publishing days: channels and themes take turns, a day less where there would be too many.

    A theme opens with its own text; when its turn comes again, the brand's proofs carry it, one after the other.
    """
    count = sum((span[0] + timedelta(days=i)).weekday() in days for i in range((span[1] - span[0]).days + 1))
    kept = list(days) if count <= ENTRIES_MAX else list(days)[:1]
    entries, day = [], span[0]
    while day <= span[1] and len(entries) < ENTRIES_MAX:
        if day.weekday() in kept:
            turn, size = len(entries), max(1, len(themes))
            theme = themes[turn % size] if themes else None
            again = turn // size
            said = theme if theme is None or not again or not proofs else proofs[(turn - size) % len(proofs)]
            # The channel moves on by one more each round of themes, so that no theme stays on one channel.
            channel = channels[(turn + again) % len(channels)] if channels else ""
            message = (
                f"{said.name}: {said.text}"
                if said is not None and said is not theme
                else said.text
                if said
                else ctx.objective
            )
            entries.append(
                {
                    "day": day,
                    "weekday": formats.WEEKDAYS[ctx.language][day.weekday()],
                    "channel": channel,
                    "theme": theme.name if theme else "",
                    "message": capital(first_sentence(message)),
                    "cite": said.source.cite if said else "",
                }
            )
        day += timedelta(days=1)
    return entries


async def draft_copy(ctx: SkillContext) -> list[Draft]:
    """copy.draft: three variants from the brand's promise, proofs and calls to action, with their sources."""
    known = passages(await ctx.documents())
    channel, theme = str(ctx.params.get("channel", "")), str(ctx.params.get("theme", ""))
    banned = brandbook.banned_words(known)
    shy = brandbook.forbids_exclamations(known) is not None
    query = f"{theme} {ctx.objective}"
    promises = _clean(brandbook.points(known, *brandbook.PROMISES), banned)
    proofs = _clean(_nearest(brandbook.points(known, *brandbook.PROOFS), query), banned)
    calls = _clean(brandbook.points(known, *brandbook.CALLS), banned)
    about = (
        _clean([p for p in brandbook.points(known, *brandbook.PILLARS) if fold(theme) in fold(p.name)], banned)
        if theme
        else []
    )
    limit = next((n for name, n in LENGTHS.items() if name in fold(channel)), 0)
    variants = _variants(promises, [*about, *proofs], calls, limit, shy)
    facts = {
        "channel": channel,
        "theme": theme,
        "variants": variants,
        "limit": limit,
        "promises": promises,
        "proofs": proofs,
        "calls": calls,
        "banned": [w for w, _ in banned],
    }
    data = {"channel": channel, "theme": theme, "variants": variants}
    out = written(ctx, "doc.copy")
    of = channel or theme
    title = {"es": "Textos" + (f" para {of}" if of else ""), "en": "Copy" + (f" for {of}" if of else "")}[ctx.language]
    cited = [p.source for p in (*promises, *about, *proofs, *calls)]
    return [await compose(ctx, "copy", out, f"{out.name}.md", title, facts, data, of_documents(cited))]


def _clean(found_points: Sequence[Point], banned: Sequence[tuple[str, Passage]]) -> list[Point]:
    """Leaves out points that use a forbidden word, or talk about forbidden words."""
    return [p for p in found_points if not brandbook.breaks(p.text, banned)]


def _nearest(found_points: Sequence[Point], query: str) -> list[Point]:
    """Puts the points nearest to the query first, the others after them."""
    order = {id(p): i for i, (p, _) in enumerate(rank([p.source for p in found_points], query, len(found_points)))}
    return sorted(found_points, key=lambda p: order.get(id(p.source), len(order)))


def _variants(
    promises: Sequence[Point], proofs: Sequence[Point], calls: Sequence[Point], limit: int, shy: bool
) -> list[dict[str, Any]]:
    """Makes up to three variants by strategy: the promise first, the proof first, the proof alone and short."""
    made = []
    for number, strategy in enumerate(("promise", "proof", "short")):
        promise = promises[number % len(promises)] if promises else None
        proof = proofs[number % len(proofs)] if proofs else None
        call = calls[number % len(calls)] if calls else None
        order = {"promise": [promise, proof], "proof": [proof, promise], "short": [proof or promise]}[strategy]
        parts = [p for p in order if p is not None]
        if not parts:
            break
        body = " ".join(dict.fromkeys(_sentence(p.text) for p in parts))
        if limit:
            body = first_sentence(body, limit)
        close = call.text if call else ""
        if shy:
            body, close = (t.replace("¡", "").replace("!", ".") for t in (body, close))
        cites = list(dict.fromkeys(p.source.cite for p in [*parts, *([call] if call else [])]))
        made.append(
            {
                "strategy": strategy,
                "headline": parts[0].name,
                "body": body,
                "call": close.strip('"“”«»'),
                "cites": cites,
            }
        )
    return made


def _sentence(text: str) -> str:
    clean = capital(first_sentence(text, 220))
    return clean if clean.endswith((".", "!", "?", "…")) else clean + "."


async def check_brand(ctx: SkillContext) -> list[Draft]:
    """brand.check: every text against the documents' rules; what breaks one is listed with the rule's source."""
    known = passages(await ctx.documents())
    banned, shy = brandbook.banned_words(known), brandbook.forbids_exclamations(known)
    tone = brandbook.points(known, *brandbook.TONE)
    violations, checked, sources = [], [], []
    for slot in (s for s in ctx.task.reads if s.type == "doc.copy"):
        text = await ctx.read(slot.name)
        sources.append(of_artifact(text))
        variants = text.data.get("variants", [])
        checked.append({"name": slot.name, "variants": len(variants)})
        for number, variant in enumerate(variants, start=1):
            whole = f"{variant['headline']} {variant['body']} {variant['call']}"
            violations += [
                {"text": slot.name, "variant": number, "rule": w, "cite": p.cite}
                for w, p in brandbook.breaks(whole, banned)
            ]
            if shy is not None and ("!" in whole or "¡" in whole):
                violations.append({"text": slot.name, "variant": number, "rule": "¡!", "cite": shy.cite})
    facts = {
        "violations": violations,
        "checked": checked,
        "banned": [{"word": w, "cite": p.cite} for w, p in banned],
        "shy": shy.cite if shy else "",
        "tone": tone,
    }
    data = {"violations": violations, "checked": checked, "rules": len(banned) + (shy is not None)}
    cited = [p for _, p in banned] + ([shy] if shy else []) + [t.source for t in tone]
    title = {"es": "Revisión de marca", "en": "Brand check"}[ctx.language]
    out = written(ctx, "doc.brand_check")
    return [
        await compose(ctx, "brand_check", out, f"{out.name}.md", title, facts, data, [*sources, *of_documents(cited)])
    ]
