"""Transforms: a JMESPath expression over a task's inputs and parameters, bounded in time and memory. Pure.

JMESPath has no loops, but projections multiply: `[@, @] | [@, @] | …` doubles a value with every 9 characters, and a
comparison or `to_string` then walks all of it. So every step, and every element or byte that a step copies or compares,
is paid for out of one budget (`STEPS_MAX`), before the work is done. The same expression and document always cost the
same and give the same, whatever the order of their keys.
"""

import functools
import itertools
import json
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple

from jmespath.exceptions import JMESPathError, LexerError, ParseError
from jmespath.functions import Functions, signature
from jmespath.lexer import Lexer
from jmespath.parser import ParsedResult, Parser
from jmespath.visitor import Options, TreeInterpreter

from haas_common.strings import NUL

EXPRESSION_BYTES_MAX: Final = 4_096
NESTING_MAX: Final = 40  # of an expression; each level is some ten Python frames, and the limit of those is 1,000
INPUT_BYTES_MAX: Final = 1_048_576
OUTPUT_BYTES_MAX: Final = 262_144
DEPTH_MAX: Final = 30
STEPS_MAX: Final = 200_000
CHARS_A_STEP: Final = 32  # text is copied and compared this much faster than nodes are visited
NUMBER_DIGITS_MAX: Final = 309  # what a double can hold; sums and quotients of such numbers stay cheap
NUMBER_MAX: Final = 10**NUMBER_DIGITS_MAX
NAMES_ARE_CALLED: Final = "function_expression"

Json = Any


class Bounds(NamedTuple):
    """What one evaluation may take: bytes of its document and of its result as JSON, steps."""

    input_bytes: int = INPUT_BYTES_MAX
    output_bytes: int = OUTPUT_BYTES_MAX
    steps: int = STEPS_MAX


WHOLE: Final = Bounds()


class TransformFault(ValueError):
    """An expression or a document breaks a rule; `rule` is a sentence without any of the document's data."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


def check(expression: str) -> None:
    """Checks an expression when a plan is created.

    Raises:
        TransformFault: it is too long or too deep, is no JMESPath, or calls a function that does not exist or takes
            another number of arguments.
    """
    _compiled(expression)


def apply(expression: str, document: Mapping[str, Json], bounds: Bounds = WHOLE) -> Json:
    """Evaluates an expression.

    Args:
        expression: JMESPath of at most 4 KiB.
        document: {"inputs": {slot: data}, "params": {…}}, at most 1 MiB as JSON and 30 levels deep.
        bounds: what it may take, where that is less.

    Returns:
        Fresh JSON of at most 256 KiB and 30 levels that shares nothing with the document.

    Raises:
        TransformFault: a limit or a type is not kept to; nothing else is ever raised.
    """
    tree = _compiled(expression)
    given = _plain(dict(document), "document", bounds.input_bytes)
    budget = _Budget(bounds.steps)
    try:
        result = _Interpreter(budget).visit(tree, given)
    except TransformFault:
        raise
    except JMESPathError as error:
        # Its text may quote the document, its class does not.
        raise TransformFault(f"the expression fails on this document: {type(error).__name__}") from None
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise TransformFault(f"the expression cannot be evaluated: {type(error).__name__}") from None
    return _plain(result, "result", bounds.output_bytes)


class _Budget:
    """The steps that are left."""

    __slots__ = ("_most", "left")

    def __init__(self, most: int) -> None:
        self._most = self.left = most

    def pay(self, steps: int) -> None:
        if steps > self.left:
            raise TransformFault(f"the expression takes more than {self._most} steps")
        self.left -= steps

    def pay_text(self, text: str) -> None:
        self.pay(1 + len(text) // CHARS_A_STEP)

    def pay_whole(self, value: Json) -> None:
        """Pays for every node of a value, as often as it is reached, while counting them.

        What walks a value afterwards does so by recursion: the limit of depth keeps that off the caller's stack.
        """
        level, depth = [value], 0
        while level:
            if depth > 2 * DEPTH_MAX:
                raise TransformFault(f"the expression reads a value deeper than {2 * DEPTH_MAX} levels")
            inner: list[Json] = []
            for node in level:
                self.pay_elements(node)
                if isinstance(node, list):
                    inner.extend(node)
                elif isinstance(node, dict):
                    inner.extend(node.values())
            level, depth = inner, depth + 1

    def pay_elements(self, value: Json) -> None:
        """Pays for what lies directly in a value, text by its length."""
        if isinstance(value, str):
            self.pay_text(value)
        else:
            self.pay(1)
        if isinstance(value, (list, dict)):
            self.pay(len(value))
            for element in value:
                if isinstance(element, str):
                    self.pay(len(element) // CHARS_A_STEP)


class _Functions(Functions):
    """The functions of JMESPath, paid for."""

    # These neither copy nor read what lies in their arguments; `map` and the like are paid for by the visits they make.
    FREE: Final = frozenset({"abs", "ceil", "floor", "length", "map", "not_null", "to_array", "type"})
    WHOLE: Final = frozenset({"contains", "to_string"})

    def __init__(self, budget: _Budget) -> None:
        super().__init__()
        self._budget = budget

    def call_function(self, function_name: str, resolved_args: list[Json]) -> Json:
        """Pays for the arguments, then calls."""
        if function_name == "join" and len(resolved_args) == 2 and isinstance(resolved_args[1], list):
            # The separator is copied once for each element.
            separator = resolved_args[0] if isinstance(resolved_args[0], str) else ""
            self._budget.pay((len(separator) * len(resolved_args[1])) // CHARS_A_STEP)
        if function_name not in self.FREE:
            pay = self._budget.pay_whole if function_name in self.WHOLE else self._budget.pay_elements
            for argument in resolved_args:
                pay(argument)
        return super().call_function(function_name, resolved_args)

    @signature({"types": []})
    def _func_to_string(self, arg: Json) -> str:
        # The library's own writes `str()` of what is no JSON, an expression's address in memory for one.
        if isinstance(arg, str):
            return arg
        return json.dumps(arg, separators=(",", ":"), allow_nan=False, sort_keys=True)

    def _create_key_func(self, expref: Any, allowed_types: list[str], function_name: str) -> Callable[[Json], Json]:
        key_of = super()._create_key_func(expref, allowed_types, function_name)

        def paid(element: Json) -> Json:
            key = key_of(element)
            self._budget.pay_elements(key)
            return key

        return paid


class _Interpreter(TreeInterpreter):
    """JMESPath's interpreter; every visit and every copied or compared element is paid for."""

    def __init__(self, budget: _Budget) -> None:
        super().__init__(Options(custom_functions=_Functions(budget)))
        self._budget = budget

    def visit(self, node: dict[str, Any], *args: Json, **kwargs: Json) -> Json:
        self._budget.pay(1)
        return super().visit(node, *args, **kwargs)

    def visit_flatten(self, node: dict[str, Any], value: Json) -> Json:
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        parts = [element if isinstance(element, list) else [element] for element in base]
        self._budget.pay(len(parts) + sum(map(len, parts)))
        return list(itertools.chain.from_iterable(parts))

    def visit_slice(self, node: dict[str, Any], value: Json) -> Json:
        if not isinstance(value, list):
            return None
        part = slice(*node["children"])
        self._budget.pay(len(range(*part.indices(len(value)))))
        return value[part]

    def visit_comparator(self, node: dict[str, Any], value: Json) -> Json:
        left, right = (self.visit(child, value) for child in node["children"])
        if isinstance(left, (str, list, dict)) and type(left) is type(right):
            # Unequal lengths are told apart at once, and no comparison goes on past the end of either side.
            self._budget.pay_whole(left if len(left) == len(right) else None)
            if isinstance(left, str) and len(left) != len(right):
                self._budget.pay_text(min(left, right, key=len))
        compared = {
            "type": "comparator",
            "value": node["value"],
            "children": [{"type": "literal", "value": left}, {"type": "literal", "value": right}],
        }
        return super().visit_comparator(compared, value)


class _Lexer(Lexer):
    """JMESPath's lexer without the deprecated literals that are no JSON, for which it warns."""

    def _consume_literal(self) -> dict[str, Any]:
        start = self._position
        lexeme = self._consume_until("`").replace("\\`", "`")
        try:
            value = json.loads(lexeme)
        except ValueError:
            raise LexerError(start, lexeme, "a literal is JSON") from None
        return {"type": "literal", "value": value, "start": start, "end": self._position}


class _Parser(Parser):
    """JMESPath's parser with a limit of nesting, so that how deep it may go does not hang on who calls it."""

    def __init__(self) -> None:
        super().__init__()
        self._level = 0

    def _parse(self, expression: str) -> ParsedResult:
        self._tokens = list(_Lexer().tokenize(expression))
        self._index = 0
        tree = self._expression()
        if self._current_token() != "eof":
            token = self._lookahead_token(0)
            raise ParseError(token["start"], token["value"], token["type"], "unexpected")
        return ParsedResult(expression, tree)

    def _expression(self, binding_power: int = 0) -> dict[str, Any]:
        self._level += 1
        if self._level > NESTING_MAX:
            raise TransformFault(f"the expression is nested deeper than {NESTING_MAX} levels")
        tree = super()._expression(binding_power)
        self._level -= 1
        return tree


@functools.lru_cache(maxsize=256)
def _compiled(expression: str) -> dict[str, Any]:
    if len(expression) > EXPRESSION_BYTES_MAX or len(expression.encode("utf-8", "replace")) > EXPRESSION_BYTES_MAX:
        raise TransformFault(f"an expression has at most {EXPRESSION_BYTES_MAX} bytes")
    try:
        # Not `parse`: its cache is the whole process's, and would hand out what another parser let pass.
        tree: dict[str, Any] = _Parser()._do_parse(expression).parsed
    except TransformFault:
        raise
    except JMESPathError as error:
        position = getattr(error, "lex_position", getattr(error, "lexer_position", None))
        where = f" at character {position + 1}" if isinstance(position, int) else ""
        raise TransformFault(f"the expression is no JMESPath{where}") from None
    except (LookupError, RecursionError, TypeError, ValueError, AttributeError):
        raise TransformFault("the expression is no JMESPath") from None
    _check_tree(tree)
    return tree


def _check_tree(tree: dict[str, Any]) -> None:
    """Checks depth, functions, slices and literals."""
    level, depth = [tree], 0
    while level:
        depth += 1
        # Chains such as a.b.c are parsed without nesting and visited with it.
        if depth > 2 * NESTING_MAX:
            raise TransformFault(f"the expression is nested deeper than {2 * NESTING_MAX} levels")
        for node in level:
            if node["type"] == NAMES_ARE_CALLED:
                _check_call(node["value"], len(node["children"]))
            elif node["type"] == "slice" and node["children"][2] == 0:
                raise TransformFault("a slice's step is not 0")
            elif node["type"] == "literal":
                _plain(node["value"], "literal", EXPRESSION_BYTES_MAX * 2)
        level = [child for node in level for child in node["children"] if isinstance(child, dict)]


def _check_call(name: str, count: int) -> None:
    known = _Functions.FUNCTION_TABLE.get(name)
    if known is None:
        raise TransformFault(f"there is no function “{name[:40]}”")
    arity = len(known["signature"])
    variadic = bool(known["signature"] and known["signature"][-1].get("variadic"))
    if count < arity or (count > arity and not variadic):
        raise TransformFault(f"the function “{name}” takes {arity}{' or more' if variadic else ''} arguments")


def _plain(value: object, what: str, bytes_max: int) -> Json:
    """Returns a value as fresh JSON with its keys in order, or refuses it; a value too large is never copied whole."""
    return _Copy(what, bytes_max).of(value, 1)


class _Copy:
    """A copy in the making: counts the bytes that it takes as JSON while it goes, so that it stops in time."""

    __slots__ = ("_left", "_most", "_what")

    def __init__(self, what: str, bytes_max: int) -> None:
        self._what = what
        self._left = self._most = bytes_max

    def of(self, value: Any, level: int) -> Json:
        """Copies what stands on a level, counted from 1."""
        kind = type(value)
        if kind is dict:
            return self._object(value, level)
        if kind is list:
            self._pay(1 + max(1, len(value)), level)
            return [self.of(element, level + 1) for element in value]
        if kind is str:
            self._pay_text(value)
        elif kind is int or kind is float:
            if not -NUMBER_MAX < value < NUMBER_MAX:  # infinities and NaN as well
                raise TransformFault(f"the {self._what} has a number that is out of range")
            self._pay(len(repr(value)))
        elif value is None or kind is bool:
            self._pay(5 if value is False else 4)
        else:
            base = next((base for base in (str, int, float, list, dict) if isinstance(value, base)), None)
            if base is None:
                raise TransformFault(f"the {self._what} is no JSON")
            return self.of(base(value), level)
        return value

    def _object(self, value: dict[Any, Any], level: int) -> Json:
        self._pay((1 + max(1, len(value))) + len(value), level)
        found = {}
        try:
            for key in sorted(value):
                self._pay_text(key)
                found[key] = self.of(value[key], level + 1)
        except TypeError:  # keys that are no texts, or not even comparable
            raise TransformFault(f"the {self._what} is no JSON") from None
        return found

    def _pay(self, size: int, level: int = 1) -> None:
        """Pays for a scalar, or for the brackets, commas and colons of what stands on a level."""
        if level > DEPTH_MAX:
            raise TransformFault(f"the {self._what} is deeper than {DEPTH_MAX} levels")
        self._left -= size
        if self._left < 0:
            raise TransformFault(f"the {self._what} is larger than {self._most} bytes")

    def _pay_text(self, text: str) -> None:
        if len(text) + 2 > self._left:
            self._pay(len(text) + 2)
        if NUL in text:
            raise TransformFault(f"the {self._what} has text with the character NUL")
        try:
            self._left -= len(encode_basestring(text).encode())
        except UnicodeEncodeError:
            raise TransformFault(f"the {self._what} is no JSON") from None
        if self._left < 0:
            self._pay(0)
