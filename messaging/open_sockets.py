"""How many sockets each person has open, on all servers: leases in Redis, so that no crash holds a place for long."""

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any, Self

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from accounts.redis_calls import RedisUnavailable, in_time
from rooms.presence import CHUNK, LEASE

logger = logging.getLogger(__name__)

RENEW_INTERVAL = 10.0  # seconds; a third of a lease

# `sockets:{user pk}` is a sorted set: socket → end of its lease in milliseconds of Redis' clock.
NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# KEYS: the set. ARGV: socket, lease, most. Whether there was a place.
OPEN = (
    NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
-- A renewal may have come first and brought this very socket along.
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not known and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
)
# ARGV: lease, (user, socket) of each. Those that Redis has forgotten are there again.
RENEW = (
    NOW
    + """
for i = 2, #ARGV, 2 do
    local key = 'sockets:' .. ARGV[i]
    redis.call('ZADD', key, now + ARGV[1], ARGV[i + 1])
    redis.call('PEXPIRE', key, ARGV[1])
end
"""
)


class OpenSockets:
    """The sockets of this web process among all; belongs to one event loop. While Redis is away each process counts
    its own."""

    def __init__(self, redis_url: str, *, most: int, **redis_options: Any) -> None:
        self._redis = redis.asyncio.Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0), **redis_options)
        self._most = most
        # user pk → sockets of this process.
        self._here: dict[int, set[str]] = {}
        self._unavailable = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; may be repeated."""
        await self._redis.aclose()

    async def open_socket(self, user: int, socket: str) -> bool:
        """Take a place for a socket; false when the person has none left. `close_socket` follows in any case."""
        here = self._here.setdefault(user, set())
        if len(here) >= self._most:
            return False
        # Counted before Redis has answered: many may come at once.
        here.add(socket)
        answer: int | None = await self._ask(self._redis.eval(OPEN, 1, key_of(user), socket, LEASE, self._most))
        return answer != 0

    async def close_socket(self, user: int, socket: str) -> None:
        """Give a place back."""
        here = self._here.get(user, set())
        here.discard(socket)
        if not here:
            self._here.pop(user, None)
        await self._ask(self._redis.zrem(key_of(user), socket))

    async def keep(self) -> None:
        """Renew the leases of this process, for ever."""
        while True:
            for words in self._chunks():
                await self._ask(self._redis.eval(RENEW, 0, LEASE, *words))
            await asyncio.sleep(RENEW_INTERVAL)

    async def _ask(self, call: Any) -> Any:
        """The answer of Redis; None while it is away."""
        try:
            answer = await in_time(call)
        except RedisUnavailable as error:
            if not self._unavailable:
                logger.warning("Each process counts its own sockets at the moment: %s", error)
            self._unavailable = True
            return None
        self._unavailable = False
        return answer

    def _chunks(self) -> Iterator[list[int | str]]:
        sockets = iter([(user, socket) for user, here in self._here.items() for socket in here])
        while chunk := list(islice(sockets, CHUNK)):
            yield [word for pair in chunk for word in pair]


def key_of(user: int) -> str:
    return f"sockets:{user}"
