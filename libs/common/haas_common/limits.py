"""Calls per minute, counted in Valkey by one script; without Valkey, limited calls are refused (fail closed)."""

import asyncio
import math

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from haas_common import deadlines, errors
from haas_common.db import Scope
from haas_common.sockets import short_url

CONNECT_TIMEOUT_S = 0.25
ANSWER_TIMEOUT_S = 0.5
CONNECTIONS_MAX = 16

#: A token bucket: KEYS[1] the bucket, ARGV[1] calls a minute. Full at first, refilled evenly by Valkey's own clock;
#: answers 0 when the call may go, else the microseconds until it may.
_TAKE = """
local rpm = tonumber(ARGV[1])
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local state = redis.call('HMGET', KEYS[1], 'level', 'at', 'rpm')
local per_call = 60000000 / rpm
local level = rpm
if state[1] and tonumber(state[3]) == rpm then
  level = math.min(rpm, tonumber(state[1]) + math.max(0, now - tonumber(state[2])) / per_call)
end
local wait = 0
if level >= 1 then level = level - 1 else wait = math.ceil((1 - level) * per_call) end
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at', string.format('%.0f', now), 'rpm', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 120000)
return wait
"""


class Limiter:
    """Token buckets per tenant, project, profile and tool."""

    def __init__(self, url: str) -> None:
        """Keeps the address; the first call connects.

        Args:
            url: the text of the secret "valkey.url".
        """
        # redis-py's own retries would make a dead Valkey cost seconds; a refused call costs milliseconds.
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            short_url(url),
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            max_connections=CONNECTIONS_MAX,
            # More callers than connections wait their turn: a busy limiter is no absent one.
            timeout=ANSWER_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )
        self._client = redis.asyncio.Redis.from_pool(pool)
        self._take = self._client.register_script(_TAKE)

    async def take(self, scope: Scope, profile_id: str, tool: str, rpm: int) -> None:
        """Takes one call from the bucket; `rpm` calls a minute, 0 for no limit.

        Raises:
            RateLimited: the bucket is empty; `retry_after_s` says until when.
            LimiterUnavailable: Valkey cannot be reached; nothing was counted.
        """
        if rpm <= 0:
            return
        key = f"rpm:{scope.tenant_id}:{scope.project_id}:{profile_id}:{tool}"
        try:
            async with asyncio.timeout(deadlines.remaining_s(CONNECT_TIMEOUT_S + ANSWER_TIMEOUT_S)):
                wait_us = int(await self._take(keys=[key], args=[rpm]))
        except (RedisError, OSError, TimeoutError) as error:
            raise errors.LimiterUnavailable from error
        if wait_us:
            wait_s = math.ceil(wait_us / 10_000) / 100
            sentence = f"{tool} allows {rpm} calls a minute; the next one in {wait_s} s."
            raise errors.RateLimited(sentence, limit=f"{rpm}/min", retry_after_s=wait_s)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()
