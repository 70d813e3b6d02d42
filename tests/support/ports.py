"""Ports for servers of tests that take a while to start."""

import contextlib
import random
import socket

_LOWEST, _END = 15_000, 32_000
_TRIES = 100


def free_port() -> int:
    """Returns a port of this machine that nobody listens on.

    It is below those that the system gives to outgoing connections: one of these may take any other port between now
    and the server's start.
    """
    for port in random.SystemRandom().sample(range(_LOWEST, _END), _TRIES):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"none of {_TRIES} ports is free")
