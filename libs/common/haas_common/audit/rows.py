"""An event as it is exported: one line of JSON with the hashed fields by name, and the hash (docs/howto/audit.md)."""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: The fields that an event's hash covers, in their order (docs/reference/hashing.md), and the hash.
FIELDS = (
    "tenant_id", "project_id", "seq", "stream", "version", "event_type", "schema_version", "plan_id", "task_id",
    "actor", "causation_id", "correlation_id", "trace_id", "recorded_at_us", "payload", "hash",
)  # fmt: skip
#: A payload of 32 KiB takes six times as much at most where every character is escaped.
LINE_BYTES_MAX = 512 * 1024
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class LineTooLong(ValueError):
    """A line that no exporter writes."""


def line_of(row: Mapping[str, Any]) -> str:
    """Returns an event's line, without its end; `row` has FIELDS, its hash as hexadecimal digits."""
    return _encode({name: row[name] for name in FIELDS})


def microseconds_of(at: datetime.datetime) -> int:
    """Returns a time as the hash has it: microseconds since the epoch."""
    return (at - _EPOCH) // _MICROSECOND


def time_of(microseconds: int) -> datetime.datetime:
    """Returns the time of such a number."""
    return _EPOCH + microseconds * _MICROSECOND


def lines_of(blocks: Iterable[bytes]) -> Iterator[list[str]]:
    """Cuts blocks of bytes into lines, many at a time; what is no UTF-8 comes as what cannot be encoded again.

    Raises LineTooLong.
    """
    rest = b""
    for block in blocks:
        whole, end, tail = (rest + block).rpartition(b"\n")
        rest = tail
        if len(rest) > LINE_BYTES_MAX:
            raise LineTooLong(f"a line has more than {LINE_BYTES_MAX} bytes")
        if end:
            yield whole.decode("utf-8", "surrogateescape").split("\n")
    if rest:
        yield [rest.decode("utf-8", "surrogateescape")]
