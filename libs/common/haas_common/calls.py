"""The call under way: who calls, for which tenant and project, until when."""

import contextvars
from dataclasses import dataclass

from haas_common.auth import Claims
from haas_common.db import Scope


@dataclass(frozen=True, slots=True)
class Call:
    """What the door has checked before a handler runs.

    Attributes:
        claims: the verified token; None for public methods.
        scope: the request's tenant and project, already compared with the claims; empty ids for public methods.
        peer: the calling service by its certificate, for example "edge".
        deadline: when the answer has to be there, monotonic seconds.
        request_id: for logs and error reports.
        trace_id: 32 hex digits.
    """

    claims: Claims | None
    scope: Scope
    peer: str
    deadline: float
    request_id: str
    trace_id: str

    @property
    def actor(self) -> str:
        """Who calls, for the history: the token's subject, or the service."""
        return self.claims.subject if self.claims else self.peer


_current: contextvars.ContextVar[Call] = contextvars.ContextVar("haas_call")


def current_call() -> Call:
    """The call under way; LookupError outside of one (a mistake of ours)."""
    return _current.get()


def call_or_none() -> Call | None:
    """The call under way, None in background work."""
    return _current.get(None)


def enter(call: Call) -> contextvars.Token[Call]:
    """Makes `call` the current one; the server's door does it."""
    return _current.set(call)


def leave(token: contextvars.Token[Call]) -> None:
    """Undoes `enter`."""
    _current.reset(token)
