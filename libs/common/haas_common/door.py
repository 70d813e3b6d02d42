"""The door of every service: what each call passes before its handler runs, in one order, once.

exceptions -> ids and trace -> peer (SPIFFE URI) -> access option -> token -> tenant and project
           -> rules of the contract (protovalidate) -> deadline -> handler
"""

import asyncio
import contextlib
import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import protovalidate
from google.protobuf.message import DecodeError, Message

from haas_common import access, calls, deadlines, errors, logs, tracing
from haas_common.auth import AUDIENCE_API, EVERY_TENANT, ID_PATTERN, Claims, Verifier
from haas_common.clock import monotonic_s
from haas_common.db import Scope
from haas_common.strings import holds_nul

LOG = logging.getLogger(__name__)

EDGE = "edge"
SPIFFE_PREFIX = "spiffe://haas/svc/"
HEALTH_PREFIX = "/grpc.health.v1.Health/"
REFLECTION_PREFIX = "/grpc.reflection."
SCOPE_REFLECTION = "reflection"
#: How much of a refused upload is read, and for how long.
DRAIN_BYTES_MAX = 16 * 1024 * 1024
DRAIN_S = 5.0
#: A stream of the caller's begins within this time, however long it may last.
FIRST_MESSAGE_S = 30.0
#: How long an answer with a reason has to leave before gRPC ends the call with a bare status.
_REASON_S = 0.05
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
#: Ids that a request may carry beside its scope, for the log lines of the call.
_LOGGED_FIELDS = ("plan_id", "task_id")


@dataclass(frozen=True, slots=True)
class _Undecodable:
    """Stands for a request whose bytes are no message of ours: bad UTF-8, a NUL in a text, too deep a nesting."""

    error: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be under way at once: calls that answer soon, and streams that stay."""

    calls_max: int = 256
    streams_max: int = 1024


def peer_of(auth_context: Mapping[str, Sequence[bytes]]) -> str:
    """The calling service's name by its certificate.

    Raises:
        PeerNotAllowed: the certificate names no service of the fleet.
    """
    names = [san.decode("utf-8", "replace") for san in auth_context.get("x509_subject_alternative_name", ())]
    found = [name.removeprefix(SPIFFE_PREFIX) for name in names if name.startswith(SPIFFE_PREFIX)]
    if len(found) != 1 or not found[0].isalpha():
        raise errors.PeerNotAllowed("The certificate names no service of the fleet.")
    return found[0]


def bearer(metadata: Mapping[str, str]) -> str:
    """The token of the authorization header.

    Raises:
        TokenMissing: there is none.
        TokenInvalid: the header is of another kind.
    """
    header = metadata.get("authorization", "")
    if not header:
        raise errors.TokenMissing
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token:
        raise errors.TokenInvalid
    return token.strip()


def check_token(rule: access.Rule, peer: str, claims: Claims) -> None:
    """Compares the token with what the method asks for.

    Raises:
        PeerNotAllowed, TokenInvalid, TenantMismatch, ScopeMissing: see error_reason.proto.
    """
    if peer == EDGE and claims.audience != AUDIENCE_API:
        raise errors.TokenInvalid  # an internal token has no business outside the fleet
    if (rule.caller == access.CALLER_OPERATOR) != claims.operator:
        raise errors.TenantMismatch
    if rule.scope and rule.scope not in claims.scopes:
        raise errors.ScopeMissing(f"The token lacks the scope {rule.scope}.", scope=rule.scope)


def scope_of(request: Message, *, operator: bool) -> Scope:
    """The request's tenant and project.

    Raises:
        TenantRequired, ProjectRequired: an id is empty.
        FieldInvalid: an id is malformed.
    """
    ids = {"tenant_id": request.tenant_id, "project_id": request.project_id}  # type: ignore[attr-defined]
    if not ids["tenant_id"]:
        raise errors.TenantRequired
    if not ids["project_id"]:
        raise errors.ProjectRequired
    for name, value in ids.items():
        if not (ID_PATTERN.fullmatch(value) or (operator and value == EVERY_TENANT)):
            sentence = f"{name} is 1 to 63 lower-case letters, digits and hyphens."
            raise errors.FieldInvalid(sentence, field=name, rule="id")
    return Scope(ids["tenant_id"], ids["project_id"])


def check_scope(scope: Scope, claims: Claims) -> None:
    """Compares the request's tenant and project with the token's.

    Raises:
        TenantMismatch, ProjectNotGranted: they are not the token's.
    """
    if claims.operator:
        return
    if scope.tenant_id != claims.tenant_id:
        raise errors.TenantMismatch
    if scope.project_id not in claims.projects:
        raise errors.ProjectNotGranted


def check_rules(request: Message) -> None:
    """Checks the message against the rules of its contract.

    Raises:
        FieldInvalid: the first field that breaks one.
    """
    found = protovalidate.collect_violations(request, fail_fast=True)
    if found:
        violation = found[0].proto
        field = ".".join(element.field_name for element in violation.field.elements)
        sentence = f"{field}: {violation.message}." if field else f"{violation.message}."
        raise errors.FieldInvalid(sentence, field=field, rule=violation.rule_id)


def _log_ids(request: Message) -> dict[str, str]:
    """The plan and task that the request names, when they are short enough to be ids."""
    found = {name: getattr(request, name, "") for name in _LOGGED_FIELDS}
    return {name: value for name, value in found.items() if isinstance(value, str) and 0 < len(value) <= 63}


class Door(grpc.aio.ServerInterceptor):
    """The interceptor that does all of it, for calls of every kind."""

    def __init__(
        self,
        rules: Mapping[str, access.Rule],
        verifier: Verifier,
        limits: Limits | None = None,
        *,
        open_reflection: bool,
    ) -> None:
        """Keeps the rules.

        Args:
            rules: the access rule by the method's path.
            verifier: checks tokens.
            limits: see Limits.
            open_reflection: whether every peer may use reflection (dev), or the operator alone.
        """
        self._rules = rules
        self._verifier = verifier
        self._limits = limits or Limits()
        self._open_reflection = open_reflection
        self._under_way = {False: 0, True: 0}

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wraps the method's handler."""
        method: str = handler_call_details.method
        if method.startswith(HEALTH_PREFIX):
            return await continuation(handler_call_details)
        metadata = {k: v for k, v in handler_call_details.invocation_metadata or () if isinstance(v, str)}
        trace = tracing.begin(metadata.get("traceparent", ""))
        # OpenTelemetry's interceptor reads the header: a trace that begins here is the same one for it.
        handed = [(k, v) for k, v in handler_call_details.invocation_metadata or () if k != "traceparent"]
        handed.append(("traceparent", trace.traceparent))
        handler = await continuation(type(handler_call_details)(method, tuple(handed)))
        entry = _Entry(self, method, metadata, trace)
        if handler is None:
            return grpc.unary_unary_rpc_method_handler(entry.unknown)
        return entry.wrapped(handler)

    def admit(
        self, method: str, metadata: Mapping[str, str], context: grpc.aio.ServicerContext
    ) -> tuple[str, Claims | None]:
        """Who calls: the peer's name and the verified token.

        Raises:
            HaasError: the caller may not call this.
        """
        peer = peer_of(context.auth_context())
        if method.startswith(REFLECTION_PREFIX):
            self._admit_reflection(metadata)
            return peer, None
        rule = self._rules.get(method)
        if rule is None:
            raise errors.MethodUnknown
        if rule.caller == access.CALLER_PEER and peer not in rule.peers:
            raise errors.PeerNotAllowed
        if rule.caller == access.CALLER_PUBLIC:
            return peer, None
        claims = self._verifier.verify(bearer(metadata))
        check_token(rule, peer, claims)
        return peer, claims

    def _admit_reflection(self, metadata: Mapping[str, str]) -> None:
        """Outside dev, reflection is the operator's."""
        if self._open_reflection:
            return
        if SCOPE_REFLECTION not in self._verifier.verify(bearer(metadata)).scopes:
            raise errors.ScopeMissing(scope=SCOPE_REFLECTION)

    def scope(self, method: str, request: Any, claims: Claims | None) -> Scope:
        """The request's scope, checked against the token and the contract.

        Raises:
            HaasError: the request breaks a rule.
        """
        if isinstance(request, _Undecodable):
            sentence = "The request cannot be read: text that is no UTF-8 or holds a NUL, or a value nested too deeply."
            raise errors.FieldInvalid(sentence, field="", rule="decodable")
        rule = self._rules.get(method)
        if rule is None:  # reflection
            return Scope("", "")
        scope = Scope("", "")
        if claims is not None and rule.scoped:
            scope = scope_of(request, operator=rule.caller == access.CALLER_OPERATOR)
            check_scope(scope, claims)
        check_rules(request)
        return scope

    def seconds(self, method: str, context: grpc.aio.ServicerContext) -> float:
        """How long the call may take: what the caller asked for, bounded; imposed where it asked for nothing."""
        rule = self._rules.get(method)
        imposed = rule.deadline_s if rule else access.DEADLINE_S_MAX
        bound = rule.deadline_max_s if rule else access.DEADLINE_S_MAX
        asked = context.time_remaining()
        # gRPC says "no deadline" as None or as a time far beyond any bound.
        if asked is None or asked > 10**6:
            return float(imposed)
        # A little before gRPC itself ends the call at the caller's time: its own answer names no reason.
        return min(asked - min(_REASON_S, asked / 10), float(bound))

    @contextlib.contextmanager
    def place(self, *, stream: bool) -> Iterator[None]:
        """Takes one of the places under way.

        Raises:
            Overloaded: all are taken.
        """
        if self._under_way[stream] >= (self._limits.streams_max if stream else self._limits.calls_max):
            raise errors.Overloaded(retry_after_s=1)
        self._under_way[stream] += 1
        try:
            yield
        finally:
            self._under_way[stream] -= 1


class _Entry:
    """One call on its way through the door."""

    def __init__(self, door: Door, method: str, metadata: Mapping[str, str], trace: tracing.Trace) -> None:
        self._door = door
        self._method = method
        self._metadata = metadata
        self._trace = trace
        #: Known once the caller may call; a refusal after that names them too.
        self._ids: dict[str, str] = {}
        given = metadata.get("x-request-id", "")
        self._request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

    def wrapped(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """The handler of the same kind that enters first. Streams answer by `context.write`: a coroutine unwinds where
        it stands when the caller leaves, an async generator would be finalised by whoever collects it.
        """
        decode = handler.request_deserializer

        def deserialize(data: bytes) -> Any:
            try:
                request = decode(data) if decode else data
            except (DecodeError, ValueError, RecursionError) as error:
                return _Undecodable(str(error))
            # Few requests have a zero byte at all (numbers may), so that few are walked.
            if b"\0" in data and isinstance(request, Message) and holds_nul(request):
                return _Undecodable("a NUL")
            return request

        kinds: dict[tuple[bool, bool], tuple[Any, Any]] = {
            (False, False): (grpc.unary_unary_rpc_method_handler, self._unary_unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, self._unary_stream),
            (True, False): (grpc.stream_unary_rpc_method_handler, self._stream_unary),
            (True, True): (grpc.stream_stream_rpc_method_handler, self._stream_stream),
        }
        make, behaviour = kinds[bool(handler.request_streaming), bool(handler.response_streaming)]
        inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream

        async def entered(request: Any, context: grpc.aio.ServicerContext) -> Any:
            with logs.bind(request_id=self._request_id, trace_id=self._trace.trace_id), tracing.within(self._trace):
                try:
                    with self._door.place(stream=bool(handler.response_streaming)):
                        return await behaviour(inner, request, context)
                except grpc.aio.AbortError:
                    raise
                except Exception as error:  # noqa: BLE001 - the one place where every failure becomes a status
                    with logs.bind(**self._ids):
                        await _refuse(context, self._method, error)

        return make(entered, request_deserializer=deserialize, response_serializer=handler.response_serializer)

    async def unknown(self, request: bytes, context: grpc.aio.ServicerContext) -> None:
        """Answers calls of methods that do not exist."""
        await _refuse(context, self._method, errors.MethodUnknown())

    @contextlib.asynccontextmanager
    async def _entered(self, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[calls.Call]:
        """Everything from the peer to the deadline; inside, `current_call()` is the call."""
        peer, claims = self._door.admit(self._method, self._metadata, context)
        scope = self._door.scope(self._method, request, claims)
        left_s = self._door.seconds(self._method, context)
        deadline = monotonic_s() + left_s
        call = calls.Call(claims, scope, peer, deadline, self._request_id, self._trace.trace_id)
        token = calls.enter(call)
        self._ids = {"tenant_id": scope.tenant_id, "project_id": scope.project_id, **_log_ids(request)}
        try:
            with logs.bind(**self._ids), deadlines.until(deadline):
                async with asyncio.timeout(left_s) as clock:
                    yield call
        except TimeoutError as error:
            if clock.expired():
                raise errors.DeadlinePassed from error
            raise
        finally:
            calls.leave(token)

    async def _unary_unary(self, inner: Any, request: Any, context: grpc.aio.ServicerContext) -> Any:
        async with self._entered(request, context):
            return await inner(request, context)

    async def _unary_stream(self, inner: Any, request: Any, context: grpc.aio.ServicerContext) -> None:
        async with self._entered(request, context), contextlib.aclosing(inner(request, context)) as answers:
            async for answer in answers:
                await context.write(answer)

    async def _stream_unary(self, inner: Any, requests: Any, context: grpc.aio.ServicerContext) -> Any:
        # The caller is checked before its first message is waited for.
        self._door.admit(self._method, self._metadata, context)
        first = await self._first(requests, context)
        try:
            async with self._entered(first, context) as call:
                return await inner(self._all(first, requests, call), context)
        except Exception:
            await self._drained(requests)
            raise

    async def _stream_stream(self, inner: Any, requests: Any, context: grpc.aio.ServicerContext) -> None:
        self._door.admit(self._method, self._metadata, context)
        first = await self._first(requests, context)
        async with self._entered(first, context) as call:
            answers = inner(self._all(first, requests, call), context)
            async with contextlib.aclosing(answers):
                async for answer in answers:
                    await context.write(answer)

    async def _first(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
        """The stream's first message, which names the tenant."""
        try:
            async with asyncio.timeout(min(self._door.seconds(self._method, context), FIRST_MESSAGE_S)):
                async for request in requests:
                    return request
        except TimeoutError as error:
            raise errors.DeadlinePassed from error
        raise errors.FieldInvalid("The stream ended before its first message.", field="", rule="first_message")

    async def _drained(self, requests: AsyncIterator[Any]) -> None:
        """Reads what the caller still sends, within limits: HTTP/2 clients lose an answer that comes too early."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                size = 0
                async for request in requests:
                    size += request.ByteSize() if isinstance(request, Message) else 0
                    if size > DRAIN_BYTES_MAX:
                        return

    async def _all(self, first: Any, requests: AsyncIterator[Any], call: calls.Call) -> AsyncIterator[Any]:
        """The stream's messages; a later one may leave the tenant and project out, never name others."""
        yield first
        async for request in requests:
            if isinstance(request, _Undecodable):
                raise errors.FieldInvalid("A message cannot be decoded.", field="", rule="decodable")
            if call.claims is not None:
                if request.tenant_id not in ("", call.scope.tenant_id):
                    raise errors.TenantMismatch
                if request.project_id not in ("", call.scope.project_id):
                    raise errors.ProjectNotGranted
            check_rules(request)
            yield request


async def _refuse(context: grpc.aio.ServicerContext, method: str, error: Exception) -> None:
    """Ends the call with the error's status; what is no error of ours leaves as INTERNAL_ERROR, its text in the log."""
    if isinstance(error, grpc.aio.AioRpcError):
        known: errors.HaasError = errors.from_rpc(error)
    else:
        known = error if isinstance(error, errors.HaasError) else errors.InternalError()
    if known.code is grpc.StatusCode.INTERNAL:
        extra = {"error_id": known.metadata.get("error_id", ""), "reason": known.reason}
        LOG.error("%s failed", method, exc_info=error, extra=extra)
    else:
        LOG.info("%s refused: %s", method, known.message, extra={"reason": known.reason})
    details = known.to_status().SerializeToString()
    await context.abort(known.code, known.message, ((errors.DETAILS_KEY, details),))
