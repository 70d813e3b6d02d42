"""Blobs in a bucket of an S3-compatible store (HAAS_ARTIFACT_STORE_URL), by the package obstore.

An object appears whole or not at all, and durable: that is what a PUT promises. A store without a rename cannot tell a
collection that a blob was put again in the same moment, so what is set aside is copied to `.aside/` first, is read from
there, and is dropped by a later run only (haas_common.garbage).
"""

import contextlib
import datetime
import logging
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from haas_common import errors
from haas_common.blobs import Blobs, Kept, key_of, not_there, ref_of
from haas_common.config import Config, ConfigInvalid
from haas_common.db import Scope

try:
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import S3Store
except ImportError as error:
    raise ConfigInvalid("HAAS_ARTIFACT_STORE_URL needs the package obstore: install haas-platform[s3].") from error

LOG = logging.getLogger(__name__)
_OPTIONS = ("endpoint", "region", "path_style")
_ASIDE = ".aside/"
_TIMEOUT = datetime.timedelta(seconds=10)
_RETRY: Any = {"max_retries": 3, "retry_timeout": datetime.timedelta(seconds=20)}


def open_bucket(config: Config) -> "S3BlobStore":
    """Opens the bucket of HAAS_ARTIFACT_STORE_URL: s3://bucket/prefix?endpoint=…&region=…&path_style=true.

    The credentials are the secrets `s3.access_key_id`, `s3.secret_access_key` and `s3.session_token`, else the
    environment's AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.

    Raises:
        ConfigInvalid: the URL is wrong, or a credential is missing; the sentence never quotes one.
    """
    url = urlsplit(config.artifact_store_url)
    options = dict(parse_qsl(url.query))
    if url.scheme != "s3" or not url.hostname or url.username or set(options) - set(_OPTIONS):
        raise ConfigInvalid(
            "HAAS_ARTIFACT_STORE_URL is no s3://bucket/prefix?endpoint=…&region=… (and no credentials)."
        )
    endpoint = options.get("endpoint", "")
    if endpoint and not endpoint.startswith(("https://", "http://")):
        raise ConfigInvalid("HAAS_ARTIFACT_STORE_URL: its endpoint is an http or https address.")
    named = {
        "access_key_id": config.aws_access_key_id,
        "secret_access_key": config.aws_secret_access_key,
        "session_token": config.aws_session_token,
    }
    keys = {name: _secret(config, f"s3.{name}") or value for name, value in named.items()}
    if not keys["access_key_id"] or not keys["secret_access_key"]:
        raise ConfigInvalid("HAAS_ARTIFACT_STORE_URL needs credentials: s3.access_key_id and s3.secret_access_key.")
    store = S3Store(
        url.hostname,
        prefix=url.path.strip("/") or None,
        region=options.get("region", "us-east-1"),
        virtual_hosted_style_request=options.get("path_style", "true" if endpoint else "false") != "true",
        client_options={"timeout": _TIMEOUT, "allow_http": endpoint.startswith("http://")},
        retry_config=_RETRY,
        **({"endpoint": endpoint} if endpoint else {}),
        **{name: value for name, value in keys.items() if value},
    )
    return S3BlobStore(store)


def _secret(config: Config, name: str) -> str:
    return config.secret_text(name) if (config.secrets_dir / name).is_file() else ""


class S3BlobStore(Blobs):
    """Objects at <prefix>/<tenant>/<project>/<2 digits>/<64 digits>."""

    drops_at_once = False

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def put(self, scope: Scope, data: bytes) -> str:
        """See Blobs. What is there is put again: that renews its time, and a PUT is one round trip as a look is."""
        ref = ref_of(data)
        with _translated(ref):
            obstore.put(self._store, key_of(scope, ref), data, use_multipart=False)
        return ref

    def load(self, scope: Scope, ref: str) -> bytes:
        """See Blobs."""
        key = key_of(scope, ref)
        with _translated(ref):
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError:
                return bytes(obstore.get(self._store, _ASIDE + key).bytes())

    def size(self, scope: Scope, ref: str) -> int:
        """See Blobs."""
        key = key_of(scope, ref)
        with _translated(ref):
            try:
                return int(obstore.head(self._store, key)["size"])
            except FileNotFoundError:
                return int(obstore.head(self._store, _ASIDE + key)["size"])

    def listed(self, scope: Scope) -> Iterator[Kept]:
        """See Blobs."""
        return self._objects(scope, "")

    def aside(self, scope: Scope) -> Iterator[Kept]:
        """See Blobs."""
        return self._objects(scope, _ASIDE)

    def set_aside(self, scope: Scope, kept: Kept) -> bool:
        """See Blobs. The copy comes first: at no moment is the blob nowhere."""
        key = key_of(scope, kept.ref)
        with _translated(kept.ref):
            if _kept(obstore.head(self._store, key)).changed_at != kept.changed_at:
                return False
            obstore.copy(self._store, key, _ASIDE + key)
            obstore.delete(self._store, key)
        return True

    def restore(self, scope: Scope, ref: str) -> None:
        """See Blobs."""
        key = key_of(scope, ref)
        with _translated(ref):
            obstore.copy(self._store, _ASIDE + key, key)
            obstore.delete(self._store, _ASIDE + key)

    def drop(self, scope: Scope, ref: str) -> None:
        """See Blobs."""
        with _translated(ref):
            obstore.delete(self._store, _ASIDE + key_of(scope, ref))

    def _objects(self, scope: Scope, prefix: str) -> Iterator[Kept]:
        folder = prefix + key_of(scope, f"sha256:{'0' * 64}").rsplit("/", 2)[0] + "/"
        with _translated(""):
            for page in obstore.list(self._store, prefix=folder, chunk_size=500):
                yield from map(_kept, page)


def _kept(found: Mapping[str, Any]) -> Kept:
    return Kept(f"sha256:{found['path'].rpartition('/')[2]}", int(found["size"]), found["last_modified"])


@contextlib.contextmanager
def _translated(ref: str) -> Iterator[None]:
    """Turns the library's errors into ours; their texts stay in the log, since they quote requests."""
    try:
        yield
    except FileNotFoundError:
        raise not_there(ref) from None
    except (BaseError, OSError) as error:
        LOG.warning("the bucket cannot be used: %s", type(error).__name__)
        raise errors.ServiceUnavailable("The artifact store cannot be reached.", service="artifact store") from error
