"""mcp.http over TLS: the connection goes to a checked address, the certificate must be the host's."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest

from haas_common.auth import Claims
from haas_common.db import Scope
from haas_common.errors import ToolFailed, ToolTimeout
from haas_common.profiles import load_profile
from haas_mcp.domain import Grant, Invocation
from haas_mcp.tools.http_call import HttpCall
from haas_mcp.tools.registry import Registry
from tests.support.mesh import Mesh


@pytest.fixture
async def port(tmp_path) -> AsyncIterator[int]:
    """A TLS server whose certificate is for "localhost", answering what its path asks for."""
    folder = Mesh(tmp_path).secrets / "mcp"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem", folder / "tls.key")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/silent" not in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


def grant(host: str, timeout_s: float = 5.0) -> Grant:
    claims = Claims("ana", "t", ("p",), (), (), (), "haas-api", "", "", "", 0.0, 0.0, "")
    call = Invocation(Scope("t", "p"), claims, "mcp.http", {}, "rq-1", "", "", "")
    profile = load_profile(f'profile_id: one\nhttp_hosts: ["{host}"]\n')
    spec = Registry().spec("mcp.http")
    return Grant(call, type(spec)(spec.name, "", {}, {}, timeout_s=timeout_s), profile, 1, "")


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.fixture
async def tool(tmp_path) -> AsyncIterator[HttpCall]:
    made = HttpCall("dev", loopback, ssl.create_default_context(cafile=tmp_path / "secrets" / "mcp" / "ca.pem"))
    yield made
    await made.close()


async def test_the_hosts_own_certificate_is_accepted_though_the_address_is_dialled(port: int, tool: HttpCall) -> None:
    result = await tool.run(grant(f"localhost:{port}"), {"method": "GET", "url": f"https://localhost:{port}/"})
    assert (result["status"], result["body"]) == (200, "hi")


async def test_a_certificate_of_another_name_is_refused(port: int, tool: HttpCall) -> None:
    with pytest.raises(ToolFailed) as failed:
        await tool.run(grant(f"127.0.0.1:{port}"), {"method": "GET", "url": f"https://127.0.0.1:{port}/"})
    assert failed.value.metadata["cause"] == "connect"
    assert "hostname" in str(failed.value.__cause__) or "IP address mismatch" in str(failed.value.__cause__)


async def test_a_certificate_of_an_unknown_authority_is_refused(port: int) -> None:
    stranger = HttpCall("dev", loopback)
    with pytest.raises(ToolFailed) as failed:
        await stranger.run(grant(f"localhost:{port}"), {"method": "GET", "url": f"https://localhost:{port}/"})
    assert failed.value.metadata["cause"] == "connect"
    await stranger.close()


async def test_a_host_that_stays_silent_times_out(port: int, tool: HttpCall) -> None:
    with pytest.raises(ToolTimeout):
        await tool.run(grant(f"localhost:{port}", 0.3), {"method": "GET", "url": f"https://localhost:{port}/silent"})
