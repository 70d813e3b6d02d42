"""Calls per minute, counted by a real Valkey; without it, limited calls are refused."""

import asyncio
import time

import pytest
import redis

from haas_common import limits
from haas_common.clock import monotonic_s
from haas_common.db import Scope
from haas_common.errors import LimiterUnavailable, RateLimited
from haas_common.limits import Limiter
from haas_common.sockets import short_url

ONE, TWO = Scope("t-one", "p-one"), Scope("t-two", "p-one")


@pytest.fixture
async def limiter(valkey_url, monkeypatch):
    """One that is patient: what is counted here does not depend on how fast this machine is just then."""
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT_S", 10.0)
    monkeypatch.setattr(limits, "ANSWER_TIMEOUT_S", 10.0)
    made = Limiter(valkey_url)
    yield made
    await made.close()


AT_ONCE = 32


async def taken(limiter: Limiter, tries: int, rpm: int, scope: Scope = ONE, tool: str = "mcp.http") -> int:
    """How many of so many calls may go, some at a time."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def take() -> None:
        async with at_once:
            await limiter.take(scope, "one_v1", tool, rpm)

    results = await asyncio.gather(*(take() for _ in range(tries)), return_exceptions=True)
    unexpected = [r for r in results if r is not None and not isinstance(r, RateLimited)]
    assert unexpected == []
    return results.count(None)


async def test_as_many_calls_go_as_the_profile_allows_and_the_next_is_told_when(limiter):
    assert await taken(limiter, 30, rpm=6) == 6
    with pytest.raises(RateLimited) as caught:
        await limiter.take(ONE, "one_v1", "mcp.http", 6)
    assert 0 < float(caught.value.metadata["retry_after_s"]) <= 10
    assert caught.value.metadata["limit"] == "6/min"


async def test_buckets_are_apart_by_tenant_profile_and_tool(limiter):
    assert await taken(limiter, 5, rpm=1) == 1
    assert await taken(limiter, 5, rpm=1, scope=TWO) == 1
    assert await taken(limiter, 5, rpm=1, tool="data.table") == 1


async def test_a_bucket_fills_again_at_its_rate(limiter):
    began = time.monotonic()
    granted = await taken(limiter, 700, rpm=600)
    assert 600 <= granted <= 601 + 10 * (time.monotonic() - began)
    # A tenth of a second a token: whatever was taken, one goes again before long.
    async with asyncio.timeout(5):
        going = 0
        while not going:
            going = await taken(limiter, 1, rpm=600)


async def test_no_limit_asks_nobody():
    limiter = Limiter("redis://127.0.0.1:1")
    await limiter.take(ONE, "one_v1", "mcp.http", 0)
    await limiter.close()


async def test_without_valkey_a_limited_call_is_refused_within_a_second():
    limiter = Limiter("redis://127.0.0.1:1")
    began = monotonic_s()
    with pytest.raises(LimiterUnavailable):
        await limiter.take(ONE, "one_v1", "mcp.http", 60)
    assert monotonic_s() - began < 1
    await limiter.close()


async def test_a_valkey_that_accepts_and_says_nothing_is_given_up_within_a_second():
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda reader, writer: writers.append(writer), "127.0.0.1", 0)
    limiter = Limiter(f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}")
    began = monotonic_s()
    with pytest.raises(LimiterUnavailable):
        await limiter.take(ONE, "one_v1", "mcp.http", 60)
    assert monotonic_s() - began < 1.5
    await limiter.close()
    for writer in writers:
        writer.transport.abort()
    silent.close()
    await silent.wait_closed()


async def test_a_valkey_that_lost_its_scripts_is_taught_again(limiter, valkey_url):
    await limiter.take(ONE, "one_v1", "mcp.http", 60)
    with redis.Redis.from_url(short_url(valkey_url)) as admin:
        admin.script_flush()
        admin.client_kill_filter(_type="normal", skipme=True)
    await limiter.take(ONE, "one_v1", "mcp.http", 60)
