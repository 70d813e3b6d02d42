"""Channels to the fleet's other services: mTLS, the server's identity checked, deadlines and ids handed on."""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from haas_common import deadlines, logs, tracing
from haas_common.auth import Claims
from haas_common.calls import Call, call_or_none
from haas_common.config import Config
from haas_common.errors import HaasError, from_rpc

#: For calls outside of any deadline.
TIMEOUT_S_DEFAULT = 5.0
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_RETIRE_S = 60.0

#: What passes between services is idempotent by its request_id, so a call that met a restart is sent again.
_RETRY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

#: Over replicas: each call goes to the next that answers; one that was killed is left out until it is back.
_BALANCED = {**_RETRY, "loadBalancingConfig": [{"round_robin": {}}]}

_OPTIONS: tuple[tuple[str, Any], ...] = (
    # The server allows a ping every 10 s: three times as often as we send one, or it would say GOAWAY.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A peer that restarts is found again within a second or two.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # One connection per process and address; nothing is shared with other channels.
    ("grpc.use_local_subchannel_pool", 1),
)


def _target(addresses: str) -> tuple[str, dict[str, Any]]:
    """Where gRPC connects to, and the service config that goes with it."""
    return (f"ipv4:{addresses}", _BALANCED) if "," in addresses else (addresses, _RETRY)


def with_token(source: Call | Claims | str) -> tuple[tuple[str, str], ...]:
    """The metadata that hands a token on: the current call's own, or an internal one.

    Raises:
        ValueError: the call is a public one and has no token.
    """
    claims = source.claims if isinstance(source, Call) else source
    if claims is None:
        raise ValueError("a public call has no token to hand on")
    return (("authorization", f"Bearer {claims if isinstance(claims, str) else claims.token}"),)


class _Outgoing(grpc.aio.UnaryUnaryClientInterceptor, grpc.aio.StreamUnaryClientInterceptor):
    """Hands the deadline, the request's id and the trace on; rebuilds the peer's error as its class."""

    def __init__(self, service: str) -> None:
        self._service = service

    async def _send(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        call, trace = call_or_none(), tracing.current()
        request_id = call.request_id if call else logs.bound().get("request_id", "")
        if request_id and "x-request-id" not in metadata:
            metadata.add("x-request-id", request_id)
        if trace and not tracing.active():
            metadata.add("traceparent", trace.traceparent)
        wanted = TIMEOUT_S_DEFAULT if details.timeout is None else details.timeout
        timeout = max(deadlines.remaining_s(wanted), 0.001)
        answer = await continuation(details._replace(metadata=metadata, timeout=timeout), request)
        try:
            await answer
        except grpc.aio.AioRpcError as error:
            raise self._rebuilt(error) from error
        return answer

    def _rebuilt(self, error: grpc.aio.AioRpcError) -> HaasError:
        """The peer's error; one that no service sent says which service could not be reached."""
        rebuilt = from_rpc(error)
        if rebuilt.reason == "SERVICE_UNAVAILABLE":
            rebuilt.metadata.setdefault("service", self._service)
        return rebuilt

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """See the class."""
        return await self._send(continuation, client_call_details, request)

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """See the class."""
        return await self._send(continuation, client_call_details, request_iterator)


class Channels:
    """One channel per peer, opened when first asked for, and anew once the certificate on disk is another one.

    It goes over all replicas of the peer, and past those that are not there. A peer's HaasError is raised as the same
    class; a call without a timeout gets what is left of the current deadline.
    """

    def __init__(self, config: Config) -> None:
        """Checks that the certificates are there; the connection itself is made by the first call."""
        self._config = config
        self._paths = [config.secret_path(name) for name in ("ca.pem", "tls.key", "tls.pem")]
        self._open: dict[str, tuple[grpc.aio.Channel, list[tuple[int, int]]]] = {}
        self._retired: set[asyncio.Task[None]] = set()

    def channel(self, service: str, address: str = "") -> grpc.aio.Channel:
        """The channel to a service. Make the stub anew for each call (it is cheap): the channel may be another one.

        Args:
            service: its name.
            address: of one of its replicas, host:port; any of them unless given.

        Raises:
            ConfigInvalid: the environment does not say where it is.
        """
        name = f"{service} {address}"
        marks = [(facts.st_mtime_ns, facts.st_ino) for facts in map(os.stat, self._paths)]
        channel, made_with = self._open.get(name, (None, []))
        if channel is not None and made_with == marks:
            return channel
        if channel is not None:
            self._retire(channel)
        # The certificate must be that of `<service>.haas.internal`, whatever address it is reached by.
        target, service_config = _target(address or self._config.peer(service))
        options = (
            *_OPTIONS,
            ("grpc.service_config", json.dumps(service_config)),
            ("grpc.ssl_target_name_override", f"{service}.haas.internal"),
        )
        interceptors: Sequence[Any] = [_Outgoing(service), *tracing.client_interceptors()]
        authority, key, chain = (path.read_bytes() for path in self._paths)
        made = grpc.aio.secure_channel(
            target,
            grpc.ssl_channel_credentials(authority, key, chain),
            options=options,
            interceptors=interceptors,
        )
        self._open[name] = (made, marks)
        return made

    def _retire(self, channel: grpc.aio.Channel) -> None:
        """Closes a channel whose certificate is out of use, once what is under way on it has ended."""
        task = asyncio.create_task(channel.close(grace=_RETIRE_S))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    async def close(self) -> None:
        """Closes every channel; what is under way has a second."""
        channels = [channel for channel, _ in self._open.values()]
        self._open.clear()
        await asyncio.gather(*(channel.close(grace=1) for channel in channels), *self._retired)
