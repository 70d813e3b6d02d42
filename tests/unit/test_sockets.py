"""Short addresses of deep sockets."""

import os
import socket
from pathlib import Path

import pytest

from haas_common.sockets import short_path, short_url


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    found = tmp_path / ("d" * 120)
    found.mkdir()
    return found


def test_a_short_path_stays_as_it_is() -> None:
    assert short_path(Path("/run/haas/valkey.sock")) == "/run/haas/valkey.sock"


def test_a_deep_socket_can_be_connected_to(deep: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(short_path(deep / "a.sock"))
        listener.listen()
        client.connect(short_path(deep / "a.sock"))
    assert (deep / "a.sock").is_socket()


def test_one_directory_costs_one_descriptor(deep: Path) -> None:
    assert short_path(deep / "a.sock").rpartition("/")[0] == short_path(deep / "b.sock").rpartition("/")[0]
    assert short_path(deep) == short_path(deep / "a.sock").rpartition("/")[0]


def test_a_directory_made_anew_is_opened_anew(deep: Path) -> None:
    short_path(deep)
    deep.rmdir()
    deep.mkdir()
    (deep / "here").touch()
    assert os.listdir(short_path(deep)) == ["here"]


def test_urls_are_shortened_where_they_name_a_socket(deep: Path) -> None:
    dsn = short_url(f"postgresql://app:p%40ss@/haas?host={deep}&port=5432&options=-c%20jit%3Doff")
    assert dsn.startswith("postgresql://app:p%40ss@/haas?host=%2Fproc%2Fself%2Ffd%2F")
    assert dsn.endswith("&port=5432&options=-c%20jit%3Doff")
    assert short_url(f"unix://haas:pw@{deep}/valkey.sock?db=2").startswith("unix://haas:pw@/proc/self/fd/")


@pytest.mark.parametrize(
    "url", ["postgresql://app@db.example:5432/haas?sslmode=require", "rediss://cache.example:6379/0"]
)
def test_urls_of_hosts_stay_as_they_are(url: str) -> None:
    assert short_url(url) == url
