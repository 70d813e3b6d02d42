"""mcp.http connects to the address that was checked, once, and lets nobody choose the connection's headers."""

import ssl

import pytest

from haas_common.auth import Claims
from haas_common.db import Scope
from haas_common.errors import EgressDenied, ToolArgumentsInvalid, ToolFailed
from haas_common.profiles import load_profile
from haas_mcp.domain import Grant, Invocation
from haas_mcp.tools.http_call import HttpCall
from haas_mcp.tools.registry import Registry

PROFILE = load_profile("profile_id: one\nhttp_hosts: [api.example.com]\n")


def grant() -> Grant:
    claims = Claims("ana", "t", ("p",), (), (), (), "haas-api", "", "", "", 0.0, 0.0, "")
    call = Invocation(Scope("t", "p"), claims, "mcp.http", {}, "rq-1", "", "", "")
    return Grant(call, Registry().spec("mcp.http"), PROFILE, 1, "")


def calling(*answers: list[str]) -> tuple[HttpCall, list[tuple[str, int]]]:
    """A tool whose resolver gives these answers in turn, and what it was asked."""
    asked: list[tuple[str, int]] = []
    turns = iter(answers)

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return next(turns)

    return HttpCall("prod", resolve, ssl.create_default_context()), asked


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::1"], ["169.254.169.254"], []])
async def test_a_listed_name_with_any_inner_address_is_denied(addresses: list[str]) -> None:
    tool, asked = calling(addresses)
    with pytest.raises(EgressDenied):
        await tool.run(grant(), {"method": "GET", "url": "https://api.example.com/"})
    assert asked == [("api.example.com", 443)]
    await tool.close()


async def test_a_name_is_resolved_once_so_a_second_answer_cannot_rebind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tool, asked = calling(["93.184.216.34"], ["127.0.0.1"])
    sent = []

    async def send(request, *, stream):
        sent.append((str(request.url), request.headers["host"], request.extensions["sni_hostname"]))
        raise AssertionError("stop here")

    monkeypatch.setattr(tool._client, "send", send)
    with pytest.raises(AssertionError, match="stop here"):
        await tool.run(grant(), {"method": "GET", "url": "https://api.example.com/a?b=%2f"})
    assert sent == [("https://93.184.216.34/a?b=%2f", "api.example.com", "api.example.com")]
    assert len(asked) == 1
    await tool.close()


STEERING = [
    "Host",
    "host",
    "Transfer-Encoding",
    "Content-Length",
    "Connection",
    "Cookie",
    "Proxy-Authorization",
    "Expect",
    "TE",
    "X-Forwarded-For",
    "X-Real-IP",
    "x-haas-tenant",
    "Upgrade",
    "Forwarded",
    "x-http-method-override",
]


@pytest.mark.parametrize("name", [*STEERING, "a b", ""])
async def test_headers_that_steer_a_connection_cannot_be_set(name: str) -> None:
    tool, asked = calling()
    with pytest.raises(ToolArgumentsInvalid) as refused:
        await tool.run(grant(), {"method": "GET", "url": "https://api.example.com/", "headers": {name: "x"}})
    assert refused.value.metadata["field"] == "headers"
    assert asked == []
    await tool.close()


async def test_a_name_that_cannot_be_resolved_fails_without_saying_more() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("resolver 10.0.0.2 said no")

    tool = HttpCall("prod", resolve, ssl.create_default_context())
    with pytest.raises(ToolFailed) as failed:
        await tool.run(grant(), {"method": "GET", "url": "https://api.example.com/?key=secret"})
    assert "10.0.0.2" not in failed.value.message
    assert "secret" not in failed.value.message
    await tool.close()
