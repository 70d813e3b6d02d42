"""The language of a text: Spanish, English, or another, which the offline engine refuses. Pure."""

import re
import unicodedata
from collections import Counter

from haas_common.errors import LanguageUnsupported

TEXT_CHARS_MAX = 4_000
#: Function words; a word shared by several languages counts for each by its share.
WORDS = {
    "es": "el la los las un una unos unas y o de del al a en con por para que qué como cómo más mas pero si sí no es "
    "son está este esta estos estas ese esa su sus mi nuestro nuestra nuestros nuestras se lo le les ya muy "
    "también sobre entre desde hasta cuando donde quiero necesito queremos necesitamos hacer haz dame crea "
    "prepara sin hay ser fue ha han porque todo todos otro otra cada campaña informe presupuesto meses mes "
    "trimestre próximo próxima cuál cuáles quién dime",
    "en": "the a an and or of to in on with for from by at as is are was were be been this that these those it its we "
    "our us you your they their i my me he she not but if then than so what which who how when where why can "
    "could should would will want need make give create prepare please about into over without next quarter "
    "month budget report campaign all each do does has have had there",
    "pt": "o os as um uma uns umas e ou de do da dos das ao à aos às em no na nos nas com por para pelo pela que como "
    "mais mas não é são está este esta esse essa isso seu sua seus suas nosso nossa nós você vocês se lhe já "
    "muito também sobre entre até quando onde quero preciso queremos fazer faça crie sem há ser foi tem têm "
    "porque todo todos outro cada mês meses trimestre orçamento campanha relatório próximo",
    "fr": "le la les un une des et ou de du au aux à en dans avec par pour que qui quoi comment plus mais si ne pas "
    "est sont était ce cet cette ces son sa ses notre nos votre vos il elle nous vous ils je tu on se sur entre "
    "depuis quand où veux voulons faire sans être été tout tous autre chaque mois trimestre rapport campagne "
    "prochain besoin",
    "de": "der die das den dem des ein eine einen einem einer und oder von zu zum zur mit für auf in im an am bei aus "
    "nach über ist sind war wird werden nicht kein keine aber wenn wie was wer wo ich du er sie es wir ihr uns "
    "unser unsere mein dein sich auch noch nur schon sehr ohne bis alle jeder bericht kampagne monat quartal "
    "nächste möchte brauche",
    "it": "il lo la gli le un uno una e o di del della dei degli delle al alla ai alle in nel nella con per da dal "
    "dalla che chi come più ma se non è sono era questo questa questi queste suo sua nostro nostra noi voi loro "
    "si anche su tra fra quando dove voglio vogliamo fare senza essere tutto tutti altro ogni mese trimestre "
    "rapporto campagna prossimo bisogno",
    "ca": "el la els les un una i o de del dels al als a en amb per que com més però si no és són està aquest aquesta "
    "aquests seu seva nostre nostra també sobre entre des fins quan on vull volem fer sense hi ha ser tot tots "
    "altre cada mes trimestre informe campanya pressupost proper",
    "nl": "de het een en of van naar in op met voor door bij als is zijn was worden niet geen maar wat wie hoe "
    "wanneer waar ik je hij zij wij ons onze mijn zich ook nog al zeer over zonder tot alle elke maand kwartaal "
    "rapport campagne volgende willen",
}
#: Letters and endings that tell languages apart that share their small words. A pattern that begins with any letters
#: begins at a word's edge: it would try again from every letter of a word that does not match.
MARKS = {
    "es": (r"\b\w+ci[oó]n\b", r"\b\w+ciones\b", r"\b\w+(?:dad|dades)\b"),
    "en": (r"\b\w+ing\b", r"\b\w+tion\b", r"\bth\w+"),
    "pt": (r"[ãõ]", r"\b\w+ç[ãõ]\w+", r"\b\w+(?:nh|lh)[aoe]s?\b", r"\b\w+(?:dade|agem)\b", r"ç"),
    "fr": (r"[èêœùû]", r"\b[ldjnscqm]['’]\w+", r"\b\w+(?:eaux?|ment|eux|euse)\b", r"ç"),
    "de": (r"[äöüß]", r"\b\w+(?:ung|keit|lich|isch)\b", r"\b\w*sch\w*"),
    "it": (r"\b\w+(?:zione|zioni|mente|tà)\b", r"\b\w*(?:gli|cch|zz)\w*", r"\b(?:dell|all|nell|l|un)['’]\w+"),
    "ca": (r"l·l", r"\b[ldns]['’]\w+", r"\b\w+(?:ció|cions|itat)\b"),
    "nl": (r"\b\w*(?:ij|oe|uu|aa)\w*",),
}
MARK_WEIGHT = 0.6
#: Signs that only Spanish uses: one of them tells as much as two small words.
SURE = re.compile(r"[¿¡ñ]")
SURE_WEIGHT = 1.3
#: Below this nothing is certain: the profile's language is taken.
SCORE_MIN = 1.2
#: How much further another language must be ahead of Spanish and English before it is refused.
LEAD_MIN = 1.15
READ = ("es", "en")

#: No word of these languages is so long; patterns that look for endings take quadratic time on it.
_ENDLESS = re.compile(r"\w{40,}")
_PATTERNS = {name: tuple(map(re.compile, patterns)) for name, patterns in MARKS.items()}
_LEXICON: dict[str, tuple[str, ...]] = {}
for _name, _words in WORDS.items():
    for _word in set(_words.split()):
        _LEXICON[_word] = (*_LEXICON.get(_word, ()), _name)


def detect_language(text: str, default: str) -> str:
    """Returns "es" or "en"; a text too short to tell is in the default language.

    Raises:
        LanguageUnsupported: the text is in another language; the metadata names it ("other" where it is not known).
    """
    lowered = unicodedata.normalize("NFC", text[:TEXT_CHARS_MAX]).lower()
    letters = [c for c in lowered if c.isalpha()]
    foreign = sum(not c.isascii() and "LATIN" not in unicodedata.name(c, "") for c in letters)
    if letters and foreign * 2 > len(letters):
        raise _unsupported("other")
    found = scores(lowered)
    best = max(found, key=lambda name: (found[name], name == default, name in READ))
    ours = max(READ, key=lambda name: (found[name], name == default))
    if found[best] < SCORE_MIN:
        return default
    if best not in READ and found[best] > LEAD_MIN * found[ours]:
        raise _unsupported(best)
    return ours


def scores(lowered: str) -> dict[str, float]:
    """Scores each language by its small words and its marks."""
    lowered = _ENDLESS.sub(" ", lowered)
    counts = Counter(re.findall(r"[^\W\d_]+", lowered))
    found = dict.fromkeys(WORDS, 0.0)
    for word, count in counts.items():
        names = _LEXICON.get(word, ())
        for name in names:
            found[name] += min(count, 4) / len(names)
    for name, patterns in _PATTERNS.items():
        for pattern in patterns:
            found[name] += MARK_WEIGHT * min(3, len(pattern.findall(lowered)))
    found["es"] += SURE_WEIGHT * min(2, len(SURE.findall(lowered)))
    return found


def _unsupported(name: str) -> LanguageUnsupported:
    return LanguageUnsupported(
        "The offline engine reads Spanish and English; this text is in another language.", language=name
    )
