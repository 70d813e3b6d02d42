"""Writing artifacts: templates in a sandbox, the model's seat for prose, and the note on engine and sources."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from haas_common import formats
from haas_common.artifacts.file import Document, Draft
from haas_common.documents import Passage, SourceDocument
from haas_common.models import OFFLINE, Answer, Seat, check_no_new_numbers, object_schema
from haas_planner.graph import Slot
from haas_planner.skills.kpis import BY_NAME
from haas_planner.skills.spec import SkillContext, matches

CELL_CHARS_MAX = 200
PROSE_CHARS_MAX = 6_000


class _Loader(PackageLoader):
    """Keeps the line's end after a tag that ends a line of text; only lines of nothing but tags vanish."""

    def get_source(self, environment: Any, template: str) -> tuple[str, str, Any]:
        """Returns the source with such tags marked by jinja's own "+%}"."""
        source, name, fresh = super().get_source(environment, template)
        kept = [
            text if re.fullmatch(r"\s*(\{%.*?%\}\s*)+", text) or not text.endswith("%}") else f"{text[:-2]}+%}}"
            for text in source.split("\n")
        ]
        return "\n".join(kept), name, fresh


@cache
def _environment(language: str) -> ImmutableSandboxedEnvironment:
    env = ImmutableSandboxedEnvironment(
        loader=_Loader("haas_planner.skills", f"templates/{language}"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,
    )
    env.filters.update(
        num=lambda v, places=0: formats.number(v, language, places),
        money=lambda v, currency="": formats.money(v, language, currency),
        pct=lambda v, places=1: formats.percent(v, language, places),
        day=lambda v, year=True: formats.day(v, language, year),
        month=lambda v: formats.month(v, language),
        period=lambda v: formats.period_text(v, language),
        listing=lambda v: formats.listing(list(v), language),
        kpi=lambda v, name, currency="": kpi_text(name, v, language, currency),
        label=lambda name: kpi_label(name, language),
        cell=cell,
        line=line,
    )
    return env


def cell(value: object) -> str:
    """Makes a value safe inside a Markdown table."""
    return line(value).replace("|", "\\|")[:CELL_CHARS_MAX]


def line(value: object) -> str:
    """Makes a value one line that opens no block and no HTML of its own."""
    text = re.sub(r"\s+", " ", str(value)).strip().replace("<", "&lt;")
    return re.sub(r"^(#|>|`{3}|-{3}|[-+*](?=\s))", r"\\\1", text)


def kpi_label(name: str, language: str) -> str:
    """Returns a KPI's name for people."""
    return BY_NAME[name].labels[language] if name in BY_NAME else name


def kpi_text(name: str, value: Any, language: str, currency: str = "") -> str:
    """Writes a KPI's value in its unit."""
    unit = BY_NAME[name].unit if name in BY_NAME else "count"
    if unit == "money":
        return formats.money(value, language, currency)
    if unit == "ratio":
        return formats.percent(value, language, 2)
    if unit == "count" and Decimal(str(value)) % 1 == 0:
        return formats.number(value, language)
    return formats.number(value, language, 2)


def slot_of(ctx: SkillContext, kind: str) -> Slot | None:
    """Returns the first value of a type (or pattern) that the task reads."""
    return next((s for s in ctx.task.reads if matches(kind, s.type)), None)


async def found(ctx: SkillContext, kind: str) -> Document | None:
    """Reads the task's value of a type; None where the task reads none."""
    slot = slot_of(ctx, kind)
    return await ctx.read(slot.name) if slot else None


async def needed(ctx: SkillContext, kind: str) -> Document:
    """Reads a value that the skill's contract guarantees."""
    slot = slot_of(ctx, kind)
    if slot is None:
        raise LookupError(f"task {ctx.task.task_id} reads no {kind}, although its contract was checked")
    return await ctx.read(slot.name)


def written(ctx: SkillContext, kind: str) -> Slot:
    """Returns the value of a type that the task writes."""
    return next(s for s in ctx.task.writes if s.type == kind)


def of_artifact(document: Document) -> str:
    """Names an artifact as a source."""
    front = document.front
    return f"artifact:{front.get('artifact_id', '?')} {front.get('hash_curr', '')}".strip()


def of_documents(documents: Sequence[SourceDocument | Passage]) -> list[str]:
    """Names documents as sources, each once."""
    names = [(d.document, d.hash) if isinstance(d, Passage) else (d.name, d.hash) for d in documents]
    return [f"document:{name} {digest}" for name, digest in dict.fromkeys(names)]


async def compose(
    ctx: SkillContext,
    template: str,
    slot: Slot,
    path: str,
    title: str,
    facts: Mapping[str, Any],
    data: Mapping[str, Any],
    sources: Sequence[str],
    prose: Sequence[str] = (),
    artifact_type: str = "",
    extra: Mapping[str, Any] | None = None,
) -> Draft:
    """Renders an artifact from the template templates/<language>/<template>.md.j2.

    `prose` names the headings whose sections a model may word anew; figures and tables stay the code's.
    """
    shared = {
        "objective": ctx.objective,
        "slots": ctx.slots,
        "now": ctx.now,
        "title": title,
        "brand": ctx.profile.brand,
    }
    body = _environment(ctx.language).get_template(f"{template}.md.j2").render({**shared, **facts})
    body = re.sub(r"([^\n])\n(#+ )", r"\1\n\n\2", body)
    body = re.sub(r"\n{3,}", "\n\n", body).strip()
    body, engine = await _worded(ctx, template, body, prose)
    lines = list(dict.fromkeys(sources))
    note = _environment(ctx.language).get_template("provenance.md.j2").render(engine=engine, sources=lines)
    more = {**(extra or {}), "engine": engine or OFFLINE, "language": ctx.language}
    body = f"{body}\n\n{note.strip()}\n"
    return Draft(path, slot.type, slot.name, title, body, dict(data), lines, "final", artifact_type, more)


async def _worded(ctx: SkillContext, template: str, body: str, prose: Sequence[str]) -> tuple[str, str]:
    """Lets the model word the prose sections; returns the body and the model's name, "" for none."""
    texts = {h: text for h in prose if (text := section(body, h))}
    if not texts or ctx.model.name == OFFLINE:
        return body, ""
    names = {f"section_{i}": heading for i, heading in enumerate(texts, start=1)}
    schema = object_schema(**{k: {"type": "string", "minLength": 1, "maxLength": PROSE_CHARS_MAX} for k in names})
    seat = Seat(
        f"skill.{template}",
        "creative",
        "You word sections of a business document for its readers. Each section comes with a draft that holds all the "
        "facts; write it better in the language named, as Markdown without headings, with the same facts and figures.",
        schema,
        _no_new_figures,
    )
    facts = {
        "language": ctx.language,
        "objective": ctx.objective,
        "brand": dict(ctx.profile.brand),
        "document": body,
        "sections": {key: {"heading": h, "draft": texts[h]} for key, h in names.items()},
    }
    answer = await ctx.model.answer(seat, facts, lambda: {k: texts[h] for k, h in names.items()})
    for key, heading in names.items():
        body = body.replace(texts[heading], str(answer[key]).strip(), 1)
    return body, ctx.model.named("creative")


def _no_new_figures(answer: Answer, facts: Mapping[str, Any]) -> None:
    for text in answer.values():
        if re.search(r"^#|^---", str(text), re.MULTILINE):
            raise ValueError("a section must not hold headings or rules")
        check_no_new_numbers(str(text), f"{facts['document']} {facts['objective']} {facts['brand']}")


def section(body: str, heading: str) -> str:
    """Returns the text under a heading (of any level), without the heading; "" where there is none."""
    match = re.search(rf"^#+ {re.escape(heading)}\n+(.*?)(?=\n#|\Z)", body, re.DOTALL | re.MULTILINE)
    return match[1].strip() if match else ""
