"""The environment of a service, read once into a frozen value; nothing else reads os.environ."""

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

SERVICES = ("gateway", "orchestrator", "planner", "notifier", "mcp")
LOG_LEVELS = ("debug", "info", "warning", "error")
CHECKPOINT_EVENTS, CHECKPOINT_S = 1000, 60.0


class ConfigInvalid(Exception):
    """The environment lacks a variable or a file, or holds a wrong value; the message is one sentence that names it."""


def _required(environ: Mapping[str, str], name: str, what: str) -> str:
    """The variable's value, or a sentence that names it and says what it holds."""
    value = environ.get(name, "").strip()
    if not value:
        raise ConfigInvalid(f"{name} is not set: it holds {what}.")
    return value


def _choice(environ: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    """The variable's value, which is one of `choices`."""
    value = environ.get(name, "").strip() or default
    if value not in choices:
        raise ConfigInvalid(f"{name} is {value!r}; it is one of {', '.join(choices)}.")
    return value


def _positive(environ: Mapping[str, str], name: str, default: float) -> float:
    """The variable's value when it is a number above zero."""
    value = environ.get(name, "").strip()
    try:
        number = float(value or default)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ConfigInvalid(f"{name} is {value!r}; it is a number above zero.")
    return number


def _address(name: str, value: str) -> str:
    """The value when it reads host:port."""
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) < 65536):
        raise ConfigInvalid(f"{name} is {value!r}; it is an address such as 127.0.0.1:9101.")
    return value


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ipaddress.AddressValueError:
        return False
    return True


def _part(service: str, value: str) -> str:
    """The value when it reads as the service's name or that of one of its replicas."""
    number = value.removeprefix(f"{service}-")
    if value and value != service and not (number != value and number.isdigit() and int(number) > 1):
        raise ConfigInvalid(f"HAAS_PART is {value!r}; it is {service}, or {service}-2 and so on.")
    return value or service


def _addresses(name: str, value: str) -> str:
    """The value when it reads host:port, or several of them with commas between, all IPv4: what gRPC balances over."""
    given = [_address(name, part.strip()) for part in value.split(",")]
    if len(given) > 1 and not all(_is_ipv4(address.rpartition(":")[0]) for address in given):
        raise ConfigInvalid(f"{name} is {value!r}; of several addresses each is an IPv4 one such as 127.0.0.1:9101.")
    return ",".join(given)


@dataclass(frozen=True, slots=True)
class Config:
    """What a service is told from outside (docs/reference/environment.md).

    Attributes:
        service: its name, for example "planner".
        env: "dev" or "prod".
        home: the fleet's state folder (HAAS_HOME).
        listen: host:port of the gRPC server (HAAS_LISTEN).
        secrets_dir: the service's own folder of keys and certificates, 0700.
        store_dir: the artifact store's root.
        artifact_store_url: a bucket instead of that folder, for example "s3://haas/fleet?endpoint=https://…&region=…".
        aws_access_key_id: the bucket's key, where the secrets folder has none.
        aws_secret_access_key: its secret, never shown.
        aws_session_token: of temporary credentials, never shown.
        peers: host:port by the service's name; of a service with replicas several, with commas between.
        instance: the name under which this instance holds leases; the same after a restart, another per replica.
        part: its name among the fleet's processes (HAAS_PART): that of the service, or planner-2.
        log_level: "debug", "info", "warning" or "error".
        checkpoint_events: a tenant's history is signed after so many new events,
        checkpoint_s: or so many seconds after the first of them.
        otlp_endpoint: where traces go; empty: nowhere.
        llm_base_url: an OpenAI-compatible endpoint; empty: the offline engine.
        llm_api_key: its key, never shown.
        llm_model: its model.
    """

    service: str
    env: str
    home: Path
    listen: str
    secrets_dir: Path
    store_dir: Path
    peers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    instance: str = ""
    part: str = ""
    log_level: str = "info"
    checkpoint_events: int = CHECKPOINT_EVENTS
    checkpoint_s: float = CHECKPOINT_S
    otlp_endpoint: str = ""
    llm_base_url: str = ""
    llm_api_key: str = field(default="", repr=False)
    llm_model: str = ""
    artifact_store_url: str = field(default="", repr=False)
    aws_access_key_id: str = field(default="", repr=False)
    aws_secret_access_key: str = field(default="", repr=False)
    aws_session_token: str = field(default="", repr=False)

    @classmethod
    def from_env(cls, service: str, environ: Mapping[str, str] | None = None) -> "Config":
        """Reads the environment (os.environ unless given).

        Raises:
            ConfigInvalid: a variable is missing or wrong; the sentence names it.
        """
        env = os.environ if environ is None else environ
        if service not in SERVICES:
            raise ConfigInvalid(f"{service!r} is no service; the services are {', '.join(SERVICES)}.")
        home = Path(_required(env, "HAAS_HOME", "the fleet's state folder"))
        names = {peer: f"HAAS_PEER_{peer.upper()}" for peer in SERVICES}
        peers = {peer: _addresses(name, env[name].strip()) for peer, name in names.items() if env.get(name, "").strip()}
        listen = _address("HAAS_LISTEN", _required(env, "HAAS_LISTEN", "host:port of the gRPC server"))
        return cls(
            service=service,
            env=_choice(env, "HAAS_ENV", "prod", ("dev", "prod")),
            home=home,
            listen=listen,
            secrets_dir=Path(_required(env, "HAAS_SECRETS_DIR", "the folder of the service's keys and certificates")),
            store_dir=Path(env.get("HAAS_STORE_DIR", "").strip() or home / "store"),
            peers=MappingProxyType(peers),
            instance=env.get("HAAS_INSTANCE", "").strip() or f"{service}@{socket.gethostname()}/{listen}",
            part=_part(service, env.get("HAAS_PART", "").strip()),
            checkpoint_events=int(_positive(env, "HAAS_CHECKPOINT_EVENTS", CHECKPOINT_EVENTS)),
            checkpoint_s=_positive(env, "HAAS_CHECKPOINT_S", CHECKPOINT_S),
            log_level=_choice(env, "HAAS_LOG_LEVEL", "info", LOG_LEVELS),
            otlp_endpoint=env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip(),
            llm_base_url=env.get("HAAS_LLM_BASE_URL", "").strip(),
            llm_api_key=env.get("HAAS_LLM_API_KEY", "").strip(),
            llm_model=env.get("HAAS_LLM_MODEL", "").strip(),
            artifact_store_url=env.get("HAAS_ARTIFACT_STORE_URL", "").strip(),
            aws_access_key_id=env.get("AWS_ACCESS_KEY_ID", "").strip(),
            aws_secret_access_key=env.get("AWS_SECRET_ACCESS_KEY", "").strip(),
            aws_session_token=env.get("AWS_SESSION_TOKEN", "").strip(),
        )

    def secret_path(self, name: str) -> Path:
        """The file of a secret, for example "tls.pem"; it exists.

        Raises:
            ConfigInvalid: the service's folder lacks it.
        """
        path = self.secrets_dir / name
        if not path.is_file():
            raise ConfigInvalid(f"{path} is missing: the {self.service} service needs it.")
        return path

    def secret_text(self, name: str) -> str:
        """A secret's text without surrounding space, for example of "database.url"."""
        return self.secret_path(name).read_text(encoding="utf-8").strip()

    def secret_bytes(self, name: str) -> bytes:
        """A secret's bytes, for example of "token.pem"."""
        return self.secret_path(name).read_bytes()

    def peer(self, service: str) -> str:
        """The address of another service; of one with replicas all of them, with commas between.

        Raises:
            ConfigInvalid: the environment does not name it.
        """
        if service not in self.peers:
            raise ConfigInvalid(f"HAAS_PEER_{service.upper()} is not set: it holds host:port of the {service} service.")
        return self.peers[service]
