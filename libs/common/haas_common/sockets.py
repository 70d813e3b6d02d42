"""Addresses of unix sockets that lie deeper than the kernel's 107 bytes.

`sockaddr_un.sun_path` holds 107 bytes and a terminator. A checkout may lie deeper, so a client opens the directory of
the socket and names it through `/proc/self/fd/<n>`, which is short whatever the path.
"""

import os
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit, urlunsplit

_PATH_BYTES_MAX = 107
# PostgreSQL is addressed by the socket's directory; libpq adds "/.s.PGSQL.<port>" with at most five digits.
_POSTGRES_SOCKET_BYTES = len("/.s.PGSQL.65535")

_directories: dict[str, int] = {}


def short_path(path: Path) -> str:
    """Returns an address for a unix socket that fits into the kernel's 107 bytes.

    Args:
        path: A socket, or a directory that holds sockets (PostgreSQL's `host`). It must exist.

    Returns:
        The path itself when it is short enough, else a path below `/proc/self/fd`, valid in this process and its
        forks for the process's life.

    Raises:
        FileNotFoundError: The directory does not exist.
    """
    text = os.path.abspath(path)
    if len(os.fsencode(text)) + _POSTGRES_SOCKET_BYTES <= _PATH_BYTES_MAX:
        return text
    if os.path.isdir(text):
        return f"/proc/self/fd/{_open_directory(text)}"
    directory, name = os.path.split(text)
    return f"/proc/self/fd/{_open_directory(directory)}/{name}"


def short_url(url: str) -> str:
    """Returns a `postgresql://…?host=/dir` or `unix:///path` URL with its socket's address shortened.

    URLs that name no unix socket come back as they are.

    Args:
        url: As it stands in `database.url` or `valkey.url`, with the true path.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return urlunsplit(parts._replace(path=quote(short_path(Path(unquote(parts.path))))))
    if parts.scheme not in ("postgresql", "postgres"):
        return url
    query = parse_qs(parts.query, keep_blank_values=True)
    hosts = query.get("host", [])
    if len(hosts) != 1 or not hosts[0].startswith("/"):
        return url
    query["host"] = [short_path(Path(hosts[0]))]
    return urlunsplit(parts._replace(query=urlencode(query, doseq=True, quote_via=quote)))


def _open_directory(directory: str) -> int:
    """Returns the kept descriptor of a directory, reopened when another directory has taken the path."""
    held = _directories.get(directory)
    if held is not None:
        if os.path.samestat(os.fstat(held), os.stat(directory)):
            return held
        os.close(held)
        del _directories[directory]
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    _directories[directory] = descriptor
    return descriptor
