"""SQL lives in files: `-- name --`, a line of description, the statement. No string building anywhere."""

import dataclasses
import functools
import importlib.resources
import re

_BLOCK = re.compile(r"^-- ([a-z_0-9]+) --\n-- (.+)\n", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """A named statement. Parameters are `%(name)s`."""

    name: str
    description: str
    sql: str


class Queries:
    """The named statements of a package, as attributes."""

    def __init__(self, by_name: dict[str, Query]) -> None:
        self.by_name = by_name

    def __getattr__(self, name: str) -> Query:
        try:
            return self.by_name[name]
        except KeyError:
            raise AttributeError(f"no query is named {name}") from None


def parse_queries(text: str) -> dict[str, Query]:
    """Splits a queries.sql file. Raises ValueError for text before the first name or a name used twice."""
    found = list(_BLOCK.finditer(text))
    if not found or text[: found[0].start()].strip():
        raise ValueError("a queries file begins with `-- name --` and a line of description")
    ends = [m.start() for m in found[1:]] + [len(text)]
    parsed: dict[str, Query] = {}
    for match, end in zip(found, ends, strict=True):
        name = match[1]
        if name in parsed:
            raise ValueError(f"two queries are named {name}")
        parsed[name] = Query(name, match[2], text[match.end() : end].strip().rstrip(";"))
    return parsed


@functools.cache
def load_queries(package: str) -> Queries:
    """Reads `<package>/sql/queries.sql`."""
    text = importlib.resources.files(package).joinpath("sql", "queries.sql").read_text()
    return Queries(parse_queries(text))
