"""Front matter of `.md` files from anywhere: split by hand, read as a tree of texts (plan §4.2).

YAML guesses (`no` is False, 017 is 15, 12:30:45 is 45045), expands aliases without a bound and forgives a key given
twice. Here every scalar is the text that stands there, a mapping's keys differ, and what could swell or hide something
(anchors, aliases, tags, deep nesting) is refused. What a number or a truth is, is said by who reads the field.
"""

import re
from typing import Any

import yaml

BYTES_MAX = 256 * 1024
DEPTH_MAX = 12
_FENCED = re.compile(rb"---\n(.*?\n)??---\n", re.DOTALL)

Tree = dict[str, Any] | list[Any]


class FrontMatterInvalid(ValueError):
    """Front matter that breaks a rule: `field` is the key it is about (or empty), `rule` says which."""

    def __init__(self, rule: str, field: str = "") -> None:
        super().__init__(f"front matter: {field}: {rule}" if field else f"front matter: {rule}")
        self.field = field
        self.rule = rule


def split(file: bytes) -> tuple[bytes, bytes]:
    """Returns a file's front matter, without its fences, and what follows.

    Raises:
        FrontMatterInvalid: it does not begin with front matter, or with too much of it.
    """
    # The fence is looked for where it may be, so that a megabyte without one is not searched.
    match = _FENCED.match(file[: BYTES_MAX + 8])
    if match is None:
        raise FrontMatterInvalid(f"the file begins with front matter between two lines ---, {BYTES_MAX} bytes at most")
    return match[1] or b"", file[match.end() :]


def read(text: str) -> dict[str, Any]:
    """Returns front matter as a mapping whose scalars are all texts.

    Raises:
        FrontMatterInvalid: it does not parse, is no mapping, has a key twice, an anchor, alias or tag, or is nested
            deeper than 12.
    """
    if len(text) > BYTES_MAX:
        raise FrontMatterInvalid(f"it has at most {BYTES_MAX} bytes")
    try:
        return _Reader().read(text)
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise FrontMatterInvalid(f"it does not parse: {error.problem or error.context}{line}") from None
    except (yaml.YAMLError, UnicodeError):
        raise FrontMatterInvalid("it does not parse: a character that YAML does not allow") from None


class _Reader:
    """Builds the tree from the parser's events, with a stack of its own: nothing recurses over what was given."""

    def __init__(self) -> None:
        self._root: Any = None
        # An open collection, and for a mapping the key that waits for its value.
        self._open: list[tuple[Tree, str | None]] = []
        # The key of the front matter that is being read, for the error that names it.
        self._key = ""
        self._documents = 0

    def read(self, text: str) -> dict[str, Any]:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            self._take(event)
        if self._root is None and not self._documents:
            return {}
        if not isinstance(self._root, dict):
            raise FrontMatterInvalid("it is a mapping of names to values")
        return self._root

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1 or event.explicit or event.version or event.tags:
                raise FrontMatterInvalid("it is one document, without directives")
        elif isinstance(event, yaml.AliasEvent):
            raise FrontMatterInvalid("it has no aliases", _shown(self._key))
        elif isinstance(event, yaml.ScalarEvent):
            self._plain(event)
            self._put(event.value)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._plain(event)
            if len(self._open) == DEPTH_MAX:
                raise FrontMatterInvalid(f"it is nested at most {DEPTH_MAX} deep", _shown(self._key))
            self._begin({} if isinstance(event, yaml.MappingStartEvent) else [])
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._open.pop()

    def _plain(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            raise FrontMatterInvalid("it has no anchors and no tags", _shown(self._key))

    def _begin(self, tree: Tree) -> None:
        if self._open and isinstance(self._open[-1][0], dict) and self._open[-1][1] is None:
            raise FrontMatterInvalid("a key is a plain text", _shown(self._key))
        self._put(tree)
        self._open.append((tree, None))

    def _put(self, value: Any) -> None:
        if not self._open:
            self._root = value
            return
        into, key = self._open[-1]
        if isinstance(into, list):
            into.append(value)
        elif key is None:
            if value in into:
                raise FrontMatterInvalid("the key stands there twice", _shown(value))
            into[value] = None
            self._open[-1] = (into, value)
            if len(self._open) == 1:
                self._key = value
        else:
            into[key] = value
            self._open[-1] = (into, None)


def _shown(key: str) -> str:
    return re.sub(r"\s+", " ", key)[:60]
