"""Intents: which of the profile's intents a text means, by similarity to its examples and by patterns."""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from haas_common.documents import fold, words
from haas_common.errors import LanguageUnsupported
from haas_common.models import OFFLINE, Answer, Model, Seat, object_schema
from haas_common.profiles import Profile
from haas_orchestrator.language import detect_language
from haas_orchestrator.slots import find_slots, profile_slots

UNKNOWN = "unknown"
#: Below this a text shares no more than everyday words with the nearest example.
CONFIDENCE_MIN = 0.2
WORD_SHARE = 0.65
PATTERN_BONUS = 0.08
GRAM = 4
TEXT_CHARS_MAX = 4_000
SLOT_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Detected:
    """What a text asks for. `scores` holds every intent's similarity, for the audit."""

    intent: str
    slots: dict[str, str]
    confidence: float
    language: str
    engine: str
    scores: dict[str, float] = field(default_factory=dict)


async def detect(text: str, profile: Profile, model: Model, now: datetime) -> Detected:
    """Detects language, intent and slots; a model, where there is one, takes the seat behind the same contract.

    Raises:
        LanguageUnsupported: neither Spanish nor English, and no model that reads it all the same.
        ModelFailed: the model did not keep the contract.
    """
    language = _language(text, profile, model)
    offline = detect_offline(text, profile, language, now)
    seat = Seat(
        "intent",
        "extraction",
        'Say which intent a text means ("unknown" when none fits) and what it says about each slot, in the text\'s '
        "words; periods as first..last ISO day.",
        object_schema(
            intent={"enum": [*profile.intents, UNKNOWN]},
            slots={
                "type": "array",
                "maxItems": 20,
                "items": object_schema(
                    name={"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"},
                    value={"type": "string", "minLength": 1, "maxLength": SLOT_CHARS_MAX},
                ),
            },
            confidence={"type": "number", "minimum": 0, "maximum": 1},
        ),
    )
    facts = {
        "text": text,
        "language": language,
        "today": now.date().isoformat(),
        "intents": {name: intent.examples for name, intent in profile.intents.items()},
        "slots_found_by_rules": offline.slots,
    }
    answer = await model.answer(seat, facts, lambda: _as_answer(offline))
    slots = {**offline.slots, **{s["name"]: s["value"] for s in answer["slots"]}}
    return Detected(
        answer["intent"], slots, float(answer["confidence"]), language, model.named("extraction"), offline.scores
    )


def _language(text: str, profile: Profile, model: Model) -> str:
    """The language to write in; a model reads other ones, and is answered in the profile's."""
    try:
        return detect_language(text, profile.language)
    except LanguageUnsupported:
        if model.named("extraction") == OFFLINE:
            raise
        return profile.language


def detect_offline(text: str, profile: Profile, language: str, now: datetime) -> Detected:
    """Detects intent and slots by code alone. Pure."""
    scores = similarity(text, profile)
    slots = find_slots(text, profile, now)
    matched = {name: profile_slots(text, intent.slots) for name, intent in profile.intents.items()}
    for name, found in matched.items():
        if found and scores[name] > 0:
            scores[name] = min(1.0, scores[name] + PATTERN_BONUS)
    best = max(scores, key=lambda name: (scores[name], name), default=UNKNOWN)
    confidence = round(scores.get(best, 0.0), 4)
    if confidence < CONFIDENCE_MIN:
        return Detected(UNKNOWN, slots, confidence, language, "offline", _rounded(scores))
    return Detected(best, {**slots, **matched[best]}, confidence, language, "offline", _rounded(scores))


def similarity(text: str, profile: Profile) -> dict[str, float]:
    """Returns each intent's similarity, 0 to 1: the nearest of its examples by words and by character n-grams."""
    key = tuple((name, tuple(e for es in i.examples.values() for e in es)) for name, i in profile.intents.items())
    index = _index(key)
    short = text[:TEXT_CHARS_MAX]
    by_word, by_gram = index.words.nearest(Counter(words(short))), index.grams.nearest(grams(short))
    scores = dict.fromkeys(profile.intents, 0.0)
    for i, name in enumerate(index.intents):
        score = WORD_SHARE * by_word.get(i, 0.0) + (1 - WORD_SHARE) * by_gram.get(i, 0.0)
        scores[name] = max(scores[name], score)
    return scores


def grams(text: str) -> Counter[str]:
    """Returns the character n-grams of a folded text, word by word with their edges."""
    found: list[str] = []
    for word in re.findall(r"[a-z0-9]+", fold(text)):
        edged = f" {word} "
        found += [edged[i : i + GRAM] for i in range(max(1, len(edged) - GRAM + 1))]
    return Counter(found)


class _Vectors:
    """TF-IDF vectors of examples, found through an inverted index."""

    def __init__(self, bags: list[Counter[str]]) -> None:
        seen = Counter(term for bag in bags for term in bag)
        self._weight = {term: math.log((1 + len(bags)) / (1 + n)) + 1 for term, n in seen.items()}
        #: A term that no example holds still makes the text longer: it is about something else too.
        self._strange = math.log(1 + len(bags)) + 1
        self._posting: dict[str, list[tuple[int, float]]] = {}
        for i, bag in enumerate(bags):
            norm = math.sqrt(sum((n * self._weight[t]) ** 2 for t, n in bag.items())) or 1.0
            for term, n in bag.items():
                self._posting.setdefault(term, []).append((i, n * self._weight[term] / norm))

    def nearest(self, bag: Counter[str]) -> dict[int, float]:
        """Returns the cosine with each example that shares a term."""
        size = 0.0
        found: dict[int, float] = {}
        for term, n in bag.items():
            weight = self._weight.get(term)
            if weight is None:
                # Strange terms weigh half: an objective names products and places that no example can know.
                size += (n * self._strange / 2) ** 2
                continue
            share = n * weight
            size += share * share
            for i, value in self._posting[term]:
                found[i] = found.get(i, 0.0) + share * value
        norm = math.sqrt(size) or 1.0
        return {i: value / norm for i, value in found.items()}


@dataclass(frozen=True, slots=True)
class _Index:
    intents: list[str]
    words: _Vectors
    grams: _Vectors


@lru_cache(maxsize=64)
def _index(key: tuple[tuple[str, tuple[str, ...]], ...]) -> _Index:
    pairs = [(name, example) for name, examples in key for example in examples]
    return _Index(
        [name for name, _ in pairs],
        _Vectors([Counter(words(e)) for _, e in pairs]),
        _Vectors([grams(e) for _, e in pairs]),
    )


def _as_answer(detected: Detected) -> Answer:
    slots = [{"name": k, "value": v} for k, v in detected.slots.items()]
    return {"intent": detected.intent, "slots": slots, "confidence": detected.confidence}


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(score, 4) for name, score in scores.items()}
