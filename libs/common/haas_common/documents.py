"""The tenant's own documents: passages with source and line, found by words. Pure."""

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Words that say nothing about what a passage is about, in both languages.
_STOP_WORDS = (
    "a al algo ante antes como con contra cual cuando de del desde donde dos el ella ellas ellos en entre era es "
    "esa ese eso esta estas este esto estos fue ha han hasta hay la las le les lo los mas me mi mis mucho muy ni "
    "no nos nosotros nuestra nuestro nuestras nuestros o os otra otro para pero por porque que quien se ser si "
    "sin sobre son su sus tambien te tiene tienen toda todas todo todos tu tus un una uno unos y ya yo quiero "
    "necesito queremos hacer about after all also an and any are as at be been but by can did do does for from "
    "had has have how i if in into is it its just more most my not of on one or our out over so some such than "
    "that the their them then there these they this those to too up us was we were what when where which who will "
    "with would you your want need please make"
)
#: Only these can be accents: most letters need no look-up of their own.
_FOREIGN = re.compile(r"[^\x00-\x7f]+")
STOP_WORDS = frozenset(_STOP_WORDS.split())
PASSAGE_CHARS_MAX = 600


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """One of the project's own documents; `hash` is "sha256:…" of its bytes."""

    name: str
    text: str
    hash: str

    @classmethod
    def of(cls, name: str, text: str) -> "SourceDocument":
        """Makes a document of a text, with its hash."""
        return cls(name, text, "sha256:" + hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph or list item, with where it stands: `line` counts from 1."""

    document: str
    hash: str
    line: int
    heading: str
    text: str

    @property
    def cite(self) -> str:
        """Says where it stands, for people: "brand.md:12"."""
        return f"{self.document}:{self.line}"


def fold(text: str) -> str:
    """Lower case without accents; ñ becomes n."""
    lowered = text.lower()
    if lowered.isascii():
        return lowered
    return _FOREIGN.sub(_bare, unicodedata.normalize("NFD", lowered))


def _bare(match: re.Match[str]) -> str:
    return "".join(c for c in match[0] if not unicodedata.combining(c))


def words(text: str) -> list[str]:
    """Returns the folded words that carry meaning, shortened to a common stem."""
    return [stem(w) for w in re.findall(r"[a-z0-9]+", fold(text)) if w not in STOP_WORDS and len(w) > 1]


def stem(word: str) -> str:
    """Cuts plural and a few endings, so that "campañas" meets "campaña"; crude, and the same for both languages."""
    for ending in ("aciones", "acion", "mente", "iones", "ion", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            word = word[: -len(ending)]
            break
    bare = word.rstrip("aeo")
    return bare if len(bare) >= 4 else word


def passages(documents: Iterable[SourceDocument]) -> list[Passage]:
    """Cuts documents into paragraphs and list items, each under its nearest heading; tables and notes are left out."""
    found: list[Passage] = []
    for document in documents:
        heading, block, first = "", [], 0
        for number, raw in enumerate([*document.text.splitlines(), ""], start=1):
            line = raw.strip()
            item = re.match(r"(?:[-*+]|\d+[.)])\s+", line)
            starts = not line or line.startswith(("#", "|", ">", "---", "```")) or bool(item)
            if starts and block:
                text = " ".join(block)[:PASSAGE_CHARS_MAX]
                found.append(Passage(document.name, document.hash, first, heading, text))
                block = []
            if line.startswith("#"):
                heading = line.lstrip("# ").strip()
            elif item:
                block, first = [line[item.end() :]], number
            elif line and not line.startswith(("|", ">", "---", "```")):
                first = first if block else number
                block.append(line)
    return found


def under(found: Sequence[Passage], *names: str) -> list[Passage]:
    """Returns the passages whose heading holds one of the names (folded, as a part of the heading)."""
    wanted = [fold(n) for n in names]
    return [p for p in found if any(n in fold(p.heading) for n in wanted)]


def rank(found: Sequence[Passage], query: str, limit: int) -> list[tuple[Passage, float]]:
    """Returns the passages nearest to the query by TF-IDF cosine over words, best first, none without a shared word."""
    bags = [Counter(words(f"{p.heading} {p.text}")) for p in found]
    seen = Counter(w for bag in bags for w in bag)
    weight = {w: math.log((1 + len(bags)) / (1 + n)) + 1 for w, n in seen.items()}
    wanted = Counter(w for w in words(query) if w in weight)
    norm = math.sqrt(sum((n * weight[w]) ** 2 for w, n in wanted.items()))
    scored = []
    for passage, bag in zip(found, bags, strict=True):
        dot = sum(bag[w] * wanted[w] * weight[w] ** 2 for w in wanted if w in bag)
        if dot:
            size = math.sqrt(sum((n * weight[w]) ** 2 for w, n in bag.items()))
            scored.append((passage, dot / (size * norm)))
    return sorted(scored, key=lambda pair: (-pair[1], pair[0].document, pair[0].line))[:limit]
