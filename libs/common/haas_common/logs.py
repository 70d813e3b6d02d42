"""Structured logs: one JSON object a line; errors on stderr, the rest on stdout. Tokens and keys never enter.

Each line says who and what it is about: `bind` sets the ids for the current task (the server does it per call).
"""

import contextlib
import contextvars
import datetime
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType

#: What a line may carry beside ts, level, service and msg.
FIELDS = ("tenant_id", "project_id", "plan_id", "task_id", "request_id", "trace_id")
_EMPTY: Mapping[str, str] = MappingProxyType({})
_bound: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("haas_log_fields", default=_EMPTY)

#: The shape of a JWT: whatever text it slips into, its signature stays out of the log.
_TOKEN = re.compile(r"eyJ[\w-]{10,}\.[\w-]+\.[\w-]*")
#: The password of a URL such as postgresql://user:password@host.
_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")
MESSAGE_CHARS_MAX = 8000


def bound() -> Mapping[str, str]:
    """The ids of the current task, for example {"tenant_id": "t-medluxe"}."""
    return _bound.get()


@contextlib.contextmanager
def bind(**fields: str) -> Iterator[None]:
    """Adds ids to every line that is logged inside; unknown names are a mistake of ours."""
    unknown = set(fields) - set(FIELDS)
    if unknown:
        raise TypeError(f"a log line has no field {', '.join(sorted(unknown))}")
    token = _bound.set({**_bound.get(), **{k: v for k, v in fields.items() if v}})
    try:
        yield
    finally:
        _bound.reset(token)


def bind_task(**fields: str) -> None:
    """Adds ids to every line of the asyncio task under way, until it ends; `bind` takes them back."""
    _bound.set({**_bound.get(), **{k: v for k, v in fields.items() if v}})


def scrub(text: str) -> str:
    """The text without tokens and passwords, cut to a bounded length."""
    return _PASSWORD.sub(r"\1:***@", _TOKEN.sub("<token>", text))[:MESSAGE_CHARS_MAX]


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON line."""

    def __init__(self, service: str) -> None:
        """Keeps the service's name."""
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line. JSON escapes newlines, so a message cannot forge another line."""
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, str] = {
            "ts": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "service": self._service,
            "msg": scrub(record.getMessage()),
            "logger": record.name,
            **_bound.get(),
        }
        for name in (*FIELDS, "error_id", "reason"):
            value = getattr(record, name, None)
            if value:
                line[name] = str(value)
        if record.exc_info:
            line["exception"] = scrub(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def configure(service: str, level: str = "info") -> None:
    """Makes the process log as above. Libraries speak from warnings upwards."""
    formatter = JsonFormatter(service)
    out, err = logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr)
    out.addFilter(lambda record: record.levelno < logging.ERROR)
    err.setLevel(logging.ERROR)
    root = logging.getLogger()
    root.handlers[:] = [out, err]
    for handler in root.handlers:
        handler.setFormatter(formatter)
    root.setLevel(logging.WARNING)
    for name in ("haas_common", f"haas_{service}"):
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(capture=True)
