"""Where the fleet is and who calls: addresses, certificates, tokens."""

import base64
import binascii
import json
import os
import pathlib
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import grpc

VERSION = "0.1.0"
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
#: A token is renewed when a third of its life is left, five minutes at most: longer than a stream lives in one piece.
RENEW_BEFORE_S_MAX = 300.0

OPTIONS = (
    ("grpc.primary_user_agent", f"haas-python/{VERSION}"),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
)


class SettingMissing(Exception):
    """The environment lacks a variable; the sentence names it and says how to get it."""


def target_of(base_url: str) -> str:
    """Returns host:port of an https URL. Raises ValueError for another one."""
    parts = urlsplit(base_url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError(f"base_url is {base_url!r}; it is an address such as https://127.0.0.1:8443.")
    return parts.netloc if parts.port else f"{parts.netloc}:443"


def credentials_of(ca_cert: str | os.PathLike[str] | bytes | None) -> grpc.ChannelCredentials:
    """Returns TLS credentials.

    Args:
        ca_cert: the certificate that proves the edge, a path or its PEM bytes; None: the well-known authorities.

    Raises:
        OSError: the file cannot be read.
    """
    if ca_cert is None or isinstance(ca_cert, bytes):
        return grpc.ssl_channel_credentials(ca_cert)
    return grpc.ssl_channel_credentials(pathlib.Path(ca_cert).read_bytes())


def from_env(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Returns a client's arguments from HAAS_URL, HAAS_TOKEN, HAAS_TENANT, HAAS_PROJECT and HAAS_CACERT (optional).

    Raises:
        SettingMissing: one of the first four is not set.
    """
    env = os.environ if environ is None else environ
    names = {"base_url": "HAAS_URL", "token": "HAAS_TOKEN", "tenant_id": "HAAS_TENANT", "project_id": "HAAS_PROJECT"}
    found: dict[str, str | None] = {}
    for argument, name in names.items():
        value = env.get(name, "").strip()
        if not value:
            raise SettingMissing(f'{name} is not set: `eval "$(haas env --tenant … --project …)"` sets it.')
        found[argument] = value
    found["ca_cert"] = env.get("HAAS_CACERT", "").strip() or None
    return found


class Token:
    """The token that goes with each call, and when it has to be renewed."""

    def __init__(self, text: str) -> None:
        self.replace(text)

    def replace(self, text: str) -> None:
        """Takes the next token."""
        self.text = text
        issued, expires = _life(text)
        self._renew_at = expires - min(RENEW_BEFORE_S_MAX, (expires - issued) / 3)
        self._expires = expires

    def due(self) -> bool:
        """Tells whether it is time to renew it; one that is over cannot be renewed any more."""
        return self._renew_at <= time.time() < self._expires

    @property
    def lives(self) -> bool:
        """Whether it is still good, by this machine's clock."""
        return time.time() < self._expires

    def postpone(self) -> None:
        """After a renewal that failed: the token is still good, so try again half-way to its end."""
        self._renew_at = (time.time() + self._expires) / 2

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What carries it."""
        return (("authorization", f"Bearer {self.text}"),)


def _life(token: str) -> tuple[float, float]:
    """Returns when a JWT was issued and when it ends; never, for a token that does not say so. Nothing is verified."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return float(claims["iat"]), float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return 0.0, float("inf")
