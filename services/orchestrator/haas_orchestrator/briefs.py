"""Briefs (plan §17): several candidates by different strategies, scored by stated criteria, the best kept (APE).

The scores and the reasoning go into the audit record, never into the artifact.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from haas_common.artifacts.file import Draft
from haas_common.documents import Passage, SourceDocument, fold, passages, rank
from haas_common.formats import period_text
from haas_common.models import OFFLINE, Answer, Model, Seat, check_no_new_numbers, object_schema
from haas_common.profiles import Profile
from haas_orchestrator.brief_texts import TEXTS, acceptance, describe_slots, file_of, goal_words
from haas_orchestrator.intents import Detected

STRATEGIES = ("direct", "measurable", "evidence")
#: What a good brief does, and how much it counts. Each score lies between 0 and 1.
CRITERIA = {"slots": 0.3, "measurable": 0.25, "inputs": 0.15, "artifacts": 0.15, "evidence": 0.1, "length": 0.05}
WORDS_MIN, WORDS_MAX = 80, 450
QUOTES_MAX = 4
MEASURABLE_ENOUGH = 3
OBJECTIVE_CHARS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Brief:
    """A brief.

    Attributes:
        goals: the types of the values that the plan is to produce.
        slots: the detected slots, joined by the plain inputs (an input named "budget" wins over the text).
        audit: candidates, scores and reasoning, kept for audit outside the artifact.
    """

    draft: Draft
    goals: list[str]
    slots: dict[str, str]
    audit: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to write the brief: each section as lines."""

    strategy: str
    objective: tuple[str, ...]
    scope: tuple[str, ...]
    inputs: tuple[str, ...]
    artifacts: tuple[str, ...]
    criteria: tuple[str, ...]

    def text(self) -> str:
        """Returns all of it, for scoring."""
        return "\n".join((*self.objective, *self.scope, *self.inputs, *self.artifacts, *self.criteria))


@dataclass(frozen=True, slots=True)
class _Facts:
    objective: str
    language: str
    slots: Mapping[str, str]
    profile: Profile
    inputs: Mapping[str, object]
    quotes: Sequence[Passage]
    goals: Sequence[str]


async def make_brief(
    objective: str,
    detected: Detected,
    profile: Profile,
    inputs: Mapping[str, object],
    documents: Sequence[SourceDocument],
    model: Model,
    now: datetime,
) -> Brief:
    """Writes the brief of an objective. Pure where no model is set.

    `inputs` is name → "sha256:…" of an uploaded file, or a plain value.

    Raises:
        ModelFailed: the model did not keep the contract.
    """
    language = detected.language
    slots = {**detected.slots, **_plain_slots(inputs)}
    goals = choose_goals(objective, detected, profile, inputs)
    quotes = [p for p, _ in rank(passages(documents), objective, QUOTES_MAX)]
    facts = _Facts(" ".join(objective.split())[:OBJECTIVE_CHARS_MAX], language, slots, profile, inputs, quotes, goals)
    candidates = [write_candidate(s, facts) for s in STRATEGIES]
    candidates, engine = await _worded(candidates, facts, model)
    scored = [(c, score(c, facts)) for c in candidates]
    chosen, points = max(scored, key=lambda pair: (pair[1]["total"], -STRATEGIES.index(pair[0].strategy)))
    sources = [f"document:{name} {digest}" for name, digest in dict.fromkeys((p.document, p.hash) for p in quotes)]
    sources += [f"input:{name} {ref}" for name, ref in inputs.items() if _is_file(ref)]
    draft = Draft(
        path="brief.md",
        type="doc.brief",
        slot="brief",
        title=TEXTS[language]["title"],
        body_md=render(chosen, language, engine, sources),
        data={"intent": detected.intent, "slots": slots, "goals": goals},
        sources=sources,
        artifact_type="brief",
        extra={
            "owner_team": "Prompts",
            "acceptance_criteria": list(chosen.criteria),
            "engine": engine,
            "language": language,
        },
    )
    audit = {
        "engine": engine,
        "now": now.isoformat(),
        "intent": {"name": detected.intent, "confidence": detected.confidence, "scores": detected.scores},
        "criteria": CRITERIA,
        "candidates": [{"strategy": c.strategy, "scores": s, "text": c.text()} for c, s in scored],
        "chosen": chosen.strategy,
        "reasoning": _reasoning(scored, chosen, points, detected, goals, slots),
    }
    return Brief(draft, goals, slots, audit)


def choose_goals(objective: str, detected: Detected, profile: Profile, inputs: Mapping[str, object]) -> list[str]:
    """Returns what is to be produced: the intent's goals and what the objective names; with "only", just the latter.

    An objective whose intent is unknown, but which comes with a table, asks at least for a report on it.
    """
    flat = fold(objective)
    named = goal_words(flat)
    intent = profile.intents.get(detected.intent)
    standing = list(intent.goals) if intent else []
    if named and re.search(r"\b(solo|solamente|unicamente|only|just|nada mas que)\b", flat):
        return named
    if (
        not standing
        and not named
        and any(profile.input_type(n, str(r)).startswith("table.") for n, r in inputs.items())
    ):
        return ["doc.report"]
    return list(dict.fromkeys([*standing, *named]))


def write_candidate(strategy: str, facts: _Facts) -> Candidate:
    """Writes a candidate by a strategy: the objective as it was said, targets first, or evidence first."""
    texts, language = TEXTS[facts.language], facts.language
    said = describe_slots(facts.slots, language)
    objective = [f"> {facts.objective}"]
    measurable = acceptance(facts.slots, facts.goals, language)
    scope = list(said)
    if strategy != "direct":
        objective.append(
            texts["measured_by"].format(", ".join(measurable[:MEASURABLE_ENOUGH])) if measurable else texts["no_target"]
        )
    if strategy == "evidence":
        scope += [texts["quote"].format(p.text[:240], p.cite) for p in facts.quotes]
    scope += [
        texts["brand"].format(texts[f"brand_{name}"], ", ".join(facts.profile.fact(name)))
        for name in ("audience", "voice")
        if facts.profile.fact(name)
    ]
    if not scope:
        scope.append(texts["no_scope"])
    criteria = [texts["criterion_artifacts"].format(", ".join(file_of(g) for g in facts.goals))] if facts.goals else []
    criteria += measurable if strategy != "direct" else measurable[:1]
    criteria.append(texts["criterion_sources"])
    criteria = [c[:1].upper() + c[1:] for c in criteria]
    return Candidate(
        strategy,
        tuple(objective),
        tuple(scope),
        tuple(_input_lines(facts)),
        tuple(file_of(g) for g in facts.goals),
        tuple(dict.fromkeys(criteria)),
    )


def _input_lines(facts: _Facts) -> list[str]:
    texts, lines = TEXTS[facts.language], []
    for name, value in facts.inputs.items():
        spec = facts.profile.inputs.get(name)
        about = f" — {spec.description}" if spec and spec.description else ""
        kind = facts.profile.input_type(name, str(value))
        shown = f"`{str(value)[:19]}…`" if _is_file(value) else str(value)[:80]
        lines.append(f"{name} ({kind}): {shown}{about}")
    lines += [
        texts["input_absent"].format(n, s.type)
        for n, s in facts.profile.inputs.items()
        if n not in facts.inputs and n not in facts.slots
    ]
    return lines or [texts["no_inputs"]]


def score(candidate: Candidate, facts: _Facts) -> dict[str, float]:
    """Scores a candidate by the stated criteria; each is measured on its text alone."""
    text = fold(candidate.text())
    wanted = [_shown(k, v, facts.language) for k, v in facts.slots.items() if k not in ("budget_currency",)]
    digits = re.sub(r"[.,\s]", "", text)
    hit = sum(fold(v) in text or re.sub(r"[.,\s]", "", fold(v)) in digits for v in wanted)
    length = len(text.split())
    found = {
        "slots": hit / len(wanted) if wanted else 1.0,
        "measurable": min(1.0, sum(bool(re.search(r"\d", c)) for c in candidate.criteria) / MEASURABLE_ENOUGH),
        "inputs": _part(list(facts.inputs), "\n".join(candidate.inputs)),
        "artifacts": _part([file_of(g) for g in facts.goals], "\n".join(candidate.artifacts)),
        "evidence": min(1.0, sum(p.cite in candidate.text() for p in facts.quotes) / max(1, min(2, len(facts.quotes)))),
        "length": 1.0 if WORDS_MIN <= length <= WORDS_MAX else min(length / WORDS_MIN, WORDS_MAX / max(1, length)),
    }
    total = sum(CRITERIA[name] * value for name, value in found.items())
    return {**{k: round(v, 4) for k, v in found.items()}, "total": round(total, 4)}


def _part(names: Sequence[str], text: str) -> float:
    return sum(n in text for n in names) / len(names) if names else 1.0


def _shown(name: str, value: str, language: str) -> str:
    return period_text(value, language) if name == "period" else value


def render(candidate: Candidate, language: str, engine: str, sources: Sequence[str]) -> str:
    """Writes plan §17's sections."""
    texts = TEXTS[language]
    body = [f"# {texts['objective']}", "\n\n".join(candidate.objective)]
    for heading, lines in (
        (texts["scope"], candidate.scope),
        (texts["inputs"], candidate.inputs),
        (texts["artifacts"], candidate.artifacts),
        (texts["criteria"], candidate.criteria),
    ):
        body += [f"# {heading}", "\n".join(f"- {line}" for line in lines) or f"- {texts['none']}"]
    author = texts["no_model"] if engine == OFFLINE else texts["model"].format(engine)
    listed = "\n".join(f"- {s}" for s in sources) or f"- {texts['no_sources']}"
    body += [f"# {texts['provenance']}", f"{author}\n\n{texts['sources']}\n{listed}"]
    return "\n\n".join(body) + "\n"


async def _worded(candidates: list[Candidate], facts: _Facts, model: Model) -> tuple[list[Candidate], str]:
    """Lets a model word objective and scope of each candidate; the lists stay as the contract wrote them."""
    if model.name == OFFLINE:
        return candidates, OFFLINE
    text = {"type": "string", "minLength": 20, "maxLength": 3_000}
    seat = Seat(
        "brief",
        "reasoning",
        "Write the objective and the scope of a brief, once for each strategy named, in the language named; plain "
        "Markdown paragraphs or lists without headings. Keep every figure, date and citation of the drafts.",
        object_schema(**{s: object_schema(objective=text, scope=text) for s in STRATEGIES}),
        _checked,
    )
    drafts = {c.strategy: {"objective": "\n".join(c.objective), "scope": "\n".join(c.scope)} for c in candidates}
    material = {"language": facts.language, "objective": facts.objective, "slots": dict(facts.slots), "drafts": drafts}
    answer = await model.answer(seat, material, lambda: drafts)
    worded = [
        Candidate(
            c.strategy,
            (c.objective[0], answer[c.strategy]["objective"].strip()),
            tuple(x.lstrip("-* ").strip() for x in answer[c.strategy]["scope"].splitlines() if x.strip()),
            c.inputs,
            c.artifacts,
            c.criteria,
        )
        for c in candidates
    ]
    return worded, model.named("reasoning")


def _checked(answer: Answer, facts: Mapping[str, Any]) -> None:
    for parts in answer.values():
        for text in parts.values():
            if re.search(r"^#|^---", text, re.MULTILINE):
                raise ValueError("a section must not hold headings or rules")
            check_no_new_numbers(text, str(facts))


def _plain_slots(inputs: Mapping[str, object]) -> dict[str, str]:
    """Returns the plain inputs as slots; a whole float reads as an integer, since JSON has only one kind of number."""
    found = {}
    for name, value in inputs.items():
        if _is_file(value) or value is None:
            continue
        whole = isinstance(value, float) and value.is_integer()
        found[name] = str(int(value)) if whole else str(value)
    return found


def _is_file(value: object) -> bool:
    return isinstance(value, str) and value.startswith("sha256:")


def _reasoning(
    scored: Sequence[tuple[Candidate, dict[str, float]]],
    chosen: Candidate,
    points: Mapping[str, float],
    detected: Detected,
    goals: Sequence[str],
    slots: Mapping[str, str],
) -> list[str]:
    """Says how the brief came about, step by step, for whoever audits it."""
    strongest = max(CRITERIA, key=lambda name: CRITERIA[name] * points[name])
    weakest = min(CRITERIA, key=lambda name: points[name])
    return [
        f"Intent {detected.intent} with confidence {detected.confidence}.",
        f"Slots read: {', '.join(sorted(slots)) or 'none'}.",
        f"Goals: {', '.join(goals) or 'none'}.",
        "Candidates: " + "; ".join(f"{c.strategy} {s['total']}" for c, s in scored) + ".",
        f"Kept {chosen.strategy}: most of its score comes from {strongest}.",
        f"Its weakest point is {weakest} ({points[weakest]}).",
    ]
