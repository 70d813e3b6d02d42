"""Whether every value of one JSON Schema is a value of another: a structural proof that errs on the safe side. Pure.

The producer is kept as a list of plain schemas that all hold ("conjuncts"), split into alternatives (`anyOf`, `oneOf`)
and types, so that each step only asks what the conjuncts say together about one type of value. Keywords of the producer
that are not understood only make it narrower and may be passed over; those of the consumer may not.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

Schema = bool | Mapping[str, Any]
Checker = Callable[[Schema], Callable[[object], bool]]

ONE_SCHEMA: Final = (
    "additionalProperties", "propertyNames", "items", "contains", "not", "if", "then", "else", "unevaluatedItems",
    "unevaluatedProperties",
)  # fmt: skip
MANY_SCHEMAS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
NAMED_SCHEMAS: Final = ("properties", "patternProperties", "dependentSchemas")
LOGIC: Final = frozenset({"type", "enum", "const", "allOf", "anyOf", "oneOf"})
OF_TYPE: Final = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}),
    "object": frozenset({"properties", "required", "additionalProperties", "minProperties", "maxProperties"}),
}
# What is not reasoned about, and the type of value that it speaks of; "" for any.
OPAQUE: Final = {
    "not": "", "if": "", "then": "", "else": "", "contains": "array", "minContains": "array", "maxContains": "array",
    "unevaluatedItems": "array", "unevaluatedProperties": "object", "patternProperties": "object",
    "propertyNames": "object", "dependentRequired": "object", "dependentSchemas": "object",
}  # fmt: skip
ASSERTIONS: Final = LOGIC.union(OPAQUE, *OF_TYPE.values(), {"$ref"})
ANNOTATIONS: Final = frozenset({
    "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "contentEncoding",
    "contentMediaType", "contentSchema",
})  # fmt: skip
# A number is an integer or a fraction, so that "integer ⊂ number" is one of sets.
TYPES: Final = frozenset({"null", "boolean", "string", "array", "object", "integer", "fraction"})
# Left out where a schema is split: written out, or, as `unevaluated…` would say more without its neighbours, not used.
SPLIT_OFF: Final = frozenset({"allOf", "anyOf", "oneOf", "unevaluatedItems", "unevaluatedProperties"})
ALTERNATIVES_MAX: Final = 64
STEPS_MAX: Final = 20_000
EXACT_MAX: Final = 2**53  # up to here a double holds every whole number


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """A broken rule: `path` is a JSON pointer into the value, "*" for any property or item."""

    path: str
    rule: str


def escaped(name: str) -> str:
    """Writes a name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def children(node: Schema) -> Iterator[tuple[str, Schema]]:
    """Yields the schemas directly within a schema, definitions apart, each with its JSON pointer from here."""
    if isinstance(node, bool):
        return
    for keyword in ONE_SCHEMA:
        if keyword in node:
            yield f"/{keyword}", node[keyword]
    for keyword in MANY_SCHEMAS:
        for i, child in enumerate(node.get(keyword, ())):
            yield f"/{keyword}/{i}", child
    for keyword in NAMED_SCHEMAS:
        for name, child in node.get(keyword, {}).items():
            yield f"/{keyword}/{escaped(name)}", child


def covered(producer: Schema, consumer: Schema, checker: Checker) -> Fault | None:
    """Returns None where every value of `producer` is proved to be one of `consumer`, else what stands against it.

    Args:
        producer: a schema without references.
        consumer: a schema without references.
        checker: makes what holds values against a schema; used where the producer allows only few values.
    """
    try:
        return _Proof(checker).all_of((producer,), consumer, "")
    except _TooMuch:
        return Fault("", "the two schemas are too intricate to compare")


class _TooMuch(Exception):
    """The proof has taken too many steps."""


Conjuncts = tuple[Mapping[str, Any], ...]


class _Proof:
    """One comparison, with the steps that it has taken."""

    def __init__(self, checker: Checker) -> None:
        self._checker = checker
        self._checks: dict[int, tuple[Schema, Callable[[object], bool]]] = {}
        self._steps = 0

    def _valid(self, schema: Schema, value: object) -> bool:
        self._step()
        made = self._checks.get(id(schema))
        if made is None:  # the schema is kept too, so that its id stays its own
            made = self._checks[id(schema)] = (schema, self._checker(schema))
        return made[1](value)

    def _step(self, count: int = 1) -> None:
        self._steps += count
        if self._steps > STEPS_MAX:
            raise _TooMuch

    def all_of(self, given: Sequence[Schema], wanted: Schema, path: str) -> Fault | None:
        """Whether whatever keeps all of `given` keeps `wanted`."""
        self._step()
        if wanted is True or wanted == {} or any(schema is False or _same(schema, wanted) for schema in given):
            return None
        for alternative in self._alternatives(given):
            if fault := self._alternative(alternative, wanted, path):
                return fault
        return None

    def _alternatives(self, given: Iterable[Schema]) -> list[Conjuncts]:
        """Writes conjuncts as alternatives without `allOf`, `anyOf` and `oneOf`; a `oneOf` is taken for an `anyOf`."""
        found: list[Conjuncts] = [()]
        for schema in given:
            if schema is False:
                return []
            if schema is True:
                continue
            plain = {k: v for k, v in schema.items() if k not in SPLIT_OFF}
            found = [(*one, plain) for one in found] if plain else found
            parts = [self._alternatives([part]) for part in schema.get("allOf", ())]
            for keyword in ("anyOf", "oneOf"):
                if keyword in schema:
                    parts.append([one for part in schema[keyword] for one in self._alternatives([part])])
            for part in parts:
                self._step(len(found) * len(part))
                if len(found) * len(part) > ALTERNATIVES_MAX:
                    raise _TooMuch
                found = [one + other for one, other in itertools.product(found, part)]
        return found

    def _alternative(self, given: Conjuncts, wanted: Schema, path: str) -> Fault | None:
        values = _values(given)
        if values is not None:
            for value in values:
                if all(self._valid(schema, value) for schema in given) and not self._valid(wanted, value):
                    return Fault(path, "allows a value that the reader does not")
            return None
        for kind in sorted(_types(given)):
            self._step()
            if fault := self._of_type(given, kind, wanted, path):
                return fault
        return None

    def _of_type(self, given: Conjuncts, kind: str, wanted: Schema, path: str) -> Fault | None:
        """Whether all values of one type keep `wanted`."""
        if wanted is False:
            return Fault(path, "no value is allowed here")
        if wanted is True or any(_same(schema, wanted) for schema in given):
            return None
        if kind not in _types((wanted,)):
            return Fault(path, f"type: may be {_said(kind)}, which the reader does not take")
        if kind in ("null", "boolean"):
            values = [None] if kind == "null" else [True, False]
            return self._alternative((*given, {"enum": values}), wanted, path)
        for keyword in ("enum", "const"):
            if keyword in wanted:
                return Fault(path, f"{keyword}: allows more than the reader's values")
        return (
            self._opaque(given, kind, wanted, path)
            or self._combined(given, kind, wanted, path)
            or self._plain(given, kind, wanted, path)
        )

    def _plain(self, given: Conjuncts, kind: str, wanted: Mapping[str, Any], path: str) -> Fault | None:
        if kind == "string":
            return _text(given, wanted, path)
        if kind in ("integer", "fraction"):
            return _number(given, kind, wanted, path)
        if kind == "array":
            return _lengths(given, wanted, path) or self._items(given, wanted, path)
        return self._object(given, wanted, path)

    def _opaque(self, given: Conjuncts, kind: str, wanted: Mapping[str, Any], path: str) -> Fault | None:
        for keyword in wanted:
            speaks_of = OPAQUE.get(keyword)
            if keyword not in ASSERTIONS and keyword not in ANNOTATIONS:
                return Fault(path, f"{keyword}: is not understood, so that both schemas must be equal here")
            if speaks_of is not None and speaks_of in ("", kind):
                return Fault(path, f"{keyword}: cannot be compared, so that both schemas must be equal here")
        return None

    def _combined(self, given: Conjuncts, kind: str, wanted: Mapping[str, Any], path: str) -> Fault | None:
        narrowed = (*given, {"type": "number" if kind == "fraction" else kind})
        for part in wanted.get("allOf", ()):
            if fault := self._of_type(given, kind, part, path):
                return fault
        if "anyOf" in wanted:
            found = [self._of_type(given, kind, part, path) for part in wanted["anyOf"]]
            if None not in found:
                return found[0] if len(found) == 1 else Fault(path, "anyOf: fits none of the reader's alternatives")
        if "oneOf" in wanted:
            fits = [i for i, part in enumerate(wanted["oneOf"]) if self._of_type(given, kind, part, path) is None]
            others = (part for i, part in enumerate(wanted["oneOf"]) if fits and i != fits[0])
            if not fits or not all(self._apart(narrowed, kind, part) for part in others):
                return Fault(path, "oneOf: does not fit exactly one of the reader's alternatives")
        return None

    def _apart(self, given: Conjuncts, kind: str, other: Schema) -> bool:
        """Whether no value of one type is one of `other`: by type, or by a property with other constants."""
        for conjuncts in self._alternatives([other]):
            if kind not in _types(conjuncts):
                continue
            values = _values(conjuncts)
            if values is not None:
                if any(all(self._valid(schema, value) for schema in given) for value in values):
                    return False
                continue
            if kind != "object" or not self._told_apart(given, conjuncts):
                return False
        return True

    def _told_apart(self, given: Conjuncts, other: Conjuncts) -> bool:
        for name in _required(given):
            theirs = _property(other, name)
            if any(schema is False for schema in theirs):
                return True
            values = _values(tuple(schema for schema in _property(given, name) if isinstance(schema, Mapping)))
            if values is not None and all(any(not self._valid(s, v) for s in theirs) for v in values):
                return True
        return False

    def _items(self, given: Conjuncts, wanted: Mapping[str, Any], path: str) -> Fault | None:
        ours = max((len(schema.get("prefixItems", ())) for schema in given), default=0)
        theirs = wanted.get("prefixItems", ())
        end = max(ours, len(theirs))
        for index in range(end + 1):  # the last stands for all that follow
            if index >= _items_max(given):
                break
            want = theirs[index] if index < len(theirs) else wanted.get("items", True)
            step = str(index) if index < end else "*"
            if fault := self.all_of(_item(given, index), want, f"{path}/{step}"):
                return fault
        return None

    def _object(self, given: Conjuncts, wanted: Mapping[str, Any], path: str) -> Fault | None:
        required = _required(given)
        for name in wanted.get("required", ()):
            if name not in required:
                return Fault(path, f"required: “{name}” may be missing")
        least = max([len(required), *(schema.get("minProperties", 0) for schema in given)])
        if least < wanted.get("minProperties", 0):
            return Fault(path, f"minProperties: {wanted['minProperties']}")
        if _properties_max(given) > wanted.get("maxProperties", math.inf):
            return Fault(path, f"maxProperties: {wanted['maxProperties']}")
        named = wanted.get("properties", {})
        rest = wanted.get("additionalProperties", True)
        for name in dict.fromkeys((*named, *_property_names(given))):
            want = named.get(name, rest)
            if fault := self.all_of(_property(given, name), want, f"{path}/{escaped(name)}"):
                return fault
        return self.all_of(_property(given, None), rest, f"{path}/*")


def _same(one: Schema, other: Schema) -> bool:
    """Equality of JSON: 1 is 1.0 and not true."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        ours, theirs = ({k: v for k, v in s.items() if k not in ANNOTATIONS} for s in (one, other))
        return ours.keys() == theirs.keys() and all(_equal(v, theirs[k]) for k, v in ours.items())
    return one is other


def _equal(one: object, other: object) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(v, other[k]) for k, v in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


def _said(kind: str) -> str:
    return "a number that is no integer" if kind == "fraction" else kind


def _types(given: Iterable[Schema]) -> frozenset[str]:
    found = TYPES
    for schema in given:
        if isinstance(schema, Mapping) and "type" in schema:
            named = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
            if "number" in named:
                named |= {"integer", "fraction"}
            found &= named
        elif schema is False:
            return frozenset()
    return found


def _values(given: Conjuncts) -> list[object] | None:
    """The few values that are allowed at most; None where they are not listed."""
    for schema in given:
        if "const" in schema:
            return [schema["const"]]
        if "enum" in schema:
            return list(schema["enum"])
    return None


def _least(given: Conjuncts, keyword: str) -> int:
    return max((schema[keyword] for schema in given if keyword in schema), default=0)


def _most(given: Conjuncts, keyword: str) -> float:
    return min((schema[keyword] for schema in given if keyword in schema), default=math.inf)


def _says(given: Conjuncts, wanted: Mapping[str, Any], keyword: str) -> bool:
    return keyword not in wanted or any(schema.get(keyword) == wanted[keyword] for schema in given)


def _text(given: Conjuncts, wanted: Mapping[str, Any], path: str) -> Fault | None:
    holds = {
        "minLength": _least(given, "minLength") >= wanted.get("minLength", 0),
        "maxLength": _most(given, "maxLength") <= wanted.get("maxLength", math.inf),
        "pattern": _says(given, wanted, "pattern"),
        "format": _says(given, wanted, "format"),
    }
    return _first_broken(holds, wanted, path)


def _number(given: Conjuncts, kind: str, wanted: Mapping[str, Any], path: str) -> Fault | None:
    low, high = _bound(given, kind, 1), _bound(given, kind, -1)
    steps = [schema["multipleOf"] for schema in given if "multipleOf" in schema] + [1] * (kind == "integer")
    holds = {
        "minimum": low >= (wanted.get("minimum", -math.inf), False),
        "exclusiveMinimum": low >= (wanted.get("exclusiveMinimum", -math.inf), "exclusiveMinimum" in wanted),
        "maximum": high >= (-wanted.get("maximum", math.inf), False),
        "exclusiveMaximum": high >= (-wanted.get("exclusiveMaximum", math.inf), "exclusiveMaximum" in wanted),
        "multipleOf": "multipleOf" not in wanted or any(_divides(wanted["multipleOf"], step) for step in steps),
    }
    return _first_broken(holds, wanted, path)


def _bound(given: Conjuncts, kind: str, sign: int) -> tuple[float, bool]:
    """The tightest lower bound, and whether it is itself excluded; with sign -1 that of the numbers' negatives."""
    plain, strict = ("minimum", "exclusiveMinimum") if sign == 1 else ("maximum", "exclusiveMaximum")
    bounds: list[tuple[float, bool]] = [(-math.inf, False)]
    for schema in given:
        bounds += [(sign * schema[k], k == strict) for k in (plain, strict) if k in schema]
    bound, excluded = max(bounds)
    if kind == "integer" and bound > -math.inf:
        whole = math.ceil(bound)
        return (whole + 1 if excluded and whole == bound else whole), False
    return bound, excluded


def _divides(part: float, whole: float) -> bool:
    """Only whole numbers are reasoned about: of others a validator may think differently by a rounding."""
    if part == whole:
        return True
    whole_numbers = part % 1 == 0 and whole % 1 == 0 and max(part, whole) <= EXACT_MAX
    return whole_numbers and int(whole) % int(part) == 0


def _lengths(given: Conjuncts, wanted: Mapping[str, Any], path: str) -> Fault | None:
    longest = _items_max(given)
    unique = longest <= 1 or any(schema.get("uniqueItems") for schema in given)
    holds = {
        "minItems": _least(given, "minItems") >= wanted.get("minItems", 0),
        "maxItems": longest <= wanted.get("maxItems", math.inf),
        "uniqueItems": unique or not wanted.get("uniqueItems"),
    }
    return _first_broken(holds, wanted, path)


def _first_broken(holds: Mapping[str, bool], wanted: Mapping[str, Any], path: str) -> Fault | None:
    broken = next((keyword for keyword, fine in holds.items() if not fine), None)
    return None if broken is None else Fault(path, f"{broken}: the reader wants {str(wanted[broken])[:80]}")


def _items_max(given: Conjuncts) -> float:
    closed = (len(schema.get("prefixItems", ())) for schema in given if schema.get("items") is False)
    return min(_most(given, "maxItems"), min(closed, default=math.inf))


def _item(given: Conjuncts, index: int) -> tuple[Schema, ...]:
    found = []
    for schema in given:
        prefix = schema.get("prefixItems", ())
        found.append(prefix[index] if index < len(prefix) else schema.get("items", True))
    return tuple(found)


def _required(given: Conjuncts) -> frozenset[str]:
    return frozenset(name for schema in given for name in schema.get("required", ()))


def _property_names(given: Conjuncts) -> Iterator[str]:
    for schema in given:
        yield from schema.get("properties", ())


def _property(given: Conjuncts, name: str | None) -> tuple[Schema, ...]:
    """What the conjuncts say together about a property; None stands for all that none of them names."""
    found = []
    for schema in given:
        if name is not None and name in schema.get("properties", ()):
            found.append(schema["properties"][name])
        elif not schema.get("patternProperties"):  # a pattern may take the name away from `additionalProperties`
            found.append(schema.get("additionalProperties", True))
    return tuple(found)


def _properties_max(given: Conjuncts) -> float:
    closed = (
        len(schema.get("properties", ()))
        for schema in given
        if schema.get("additionalProperties") is False and not schema.get("patternProperties")
    )
    return min(_most(given, "maxProperties"), min(closed, default=math.inf))
