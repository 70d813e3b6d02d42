"""The metrics' socket answers whoever may open it, and nobody can hold it up."""

import asyncio
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from haas_common import metrics
from haas_common.config import ConfigInvalid
from haas_common.sockets import short_path


async def asked(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(short_path(path))
    writer.write(request)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_request_is_answered_with_all_metrics(tmp_path):
    async with metrics.served(tmp_path, "planner") as path:
        head, _, body = (await asked(path, b"GET /metrics HTTP/1.0\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"# TYPE haas_append_events_total counter" in body
    assert not path.exists()


async def test_the_socket_is_the_owners_alone(tmp_path):
    async with metrics.served(tmp_path, "planner") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_dead_process_socket_is_replaced(tmp_path):
    path = tmp_path / "run" / "metrics" / "planner.sock"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    async with metrics.served(tmp_path, "planner"):
        assert (await asked(path, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize("request_", [b"", b"GET / HTTP/1.0\r\n", b"x" * 10_000])
async def test_what_is_no_request_gets_no_answer(tmp_path, request_):
    async with metrics.served(tmp_path, "planner") as path:
        answer = b""
        with suppress(ConnectionResetError, BrokenPipeError):  # it was cut while it still wrote
            answer = await asked(path, request_)
    assert answer == b""


async def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "run").write_bytes(b"")
    with pytest.raises(ConfigInvalid, match="metrics"):
        async with metrics.served(tmp_path, "planner"):
            pass
