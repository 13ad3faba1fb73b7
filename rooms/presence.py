"""Who is in a room right now, as leases in Redis: what a crashed server held ends by itself.

`presence:{room}` is a sorted set; a member is `username US session` (US: the ASCII unit separator), its score the end
of the lease in milliseconds of Redis' clock. A person is present while one session's lease lasts.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

LEASE = 30_000  # milliseconds
SEPARATOR = "\x1f"

NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function present(room, user, without)
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', room, '(' .. now, '+inf')) do
        if member ~= without and string.sub(member, 1, #user + 1) == user .. '\\31' then return true end
    end
    return false
end
"""
# KEYS: room. ARGV: username, member, lease. 1 when no other session of the person was there.
ENTER = (
    NOW
    + """
local first = not present(KEYS[1], ARGV[1], nil)
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3] * 4)
return first and 1 or 0
"""
)
# KEYS: room. ARGV: username, member. 1 when the session was there and no other of the person is.
LEAVE = (
    NOW
    + """
if redis.call('ZREM', KEYS[1], ARGV[2]) == 0 then return 0 end
return present(KEYS[1], ARGV[1], nil) and 0 or 1
"""
)
# KEYS: room. ARGV: member, lease. Only a member that is still there: what was swept has been announced.
SHORTEN = NOW + "return redis.call('ZADD', KEYS[1], 'XX', now + ARGV[2], ARGV[1])"
# KEYS: room. ARGV: lease, members. A lease that was lost (Redis restarted) is there again without an announcement.
RENEW = (
    NOW
    + """
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1] * 4)
"""
)
# KEYS: room. Removes ended leases; returns the people of whom no session is left, to exactly one caller.
SWEEP = (
    NOW
    + """
local ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
local gone, seen = {}, {}
for _, member in ipairs(ended) do
    redis.call('ZREM', KEYS[1], member)
    local user = string.match(member, '^(.*)\\31')
    if user and not seen[user] and not present(KEYS[1], user, nil) then
        seen[user] = true
        table.insert(gone, user)
    end
end
return gone
"""
)
# KEYS: room. The members whose leases last.
PEOPLE = NOW + "return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')"


class PresenceUnavailable(Exception):
    """Redis did not answer in time; presence is what may be lost."""


class Presence:
    """Every call has the deadlines of `redis_options` and raises `PresenceUnavailable` when Redis is away."""

    def __init__(self, redis_url: str, **redis_options: Any) -> None:
        self._redis = redis.asyncio.Redis.from_url(redis_url, decode_responses=True, **redis_options)

    async def enter(self, room: int, user: str, session: str) -> bool:
        """Take a lease; true when it is the person's first in the room."""
        return bool(await self._run(ENTER, room, user, _member(user, session), LEASE))

    async def leave(self, room: int, user: str, session: str) -> bool:
        """Give a lease back; true when it was the person's last in the room."""
        return bool(await self._run(LEAVE, room, user, _member(user, session)))

    async def expire_after(self, room: int, user: str, session: str, seconds: float) -> None:
        """Let a lease end soon: a lost connection that may come back."""
        await self._run(SHORTEN, room, _member(user, session), int(seconds * 1000))

    async def renew(self, sessions: Iterable[tuple[int, str, str]]) -> None:
        """Renew the leases of (room, username, session), in one round trip."""
        rooms: dict[int, list[str]] = {}
        for room, user, session in sessions:
            rooms.setdefault(room, []).append(_member(user, session))
        await self._run_many(RENEW, [(room, LEASE, *members) for room, members in rooms.items()])

    async def sweep(self, rooms: Sequence[int]) -> list[tuple[int, str]]:
        """Remove ended leases; the (room, username) of people who are gone, each told to one caller only."""
        answers = await self._run_many(SWEEP, [(room,) for room in rooms])
        return [(room, user) for room, gone in zip(rooms, answers, strict=True) for user in gone]

    async def people(self, room: int) -> list[str]:
        """The usernames of the people in a room, sorted."""
        members: list[str] = await self._run(PEOPLE, room)
        return sorted({member.partition(SEPARATOR)[0] for member in members})

    async def close(self) -> None:
        await self._redis.aclose()

    async def _run(self, script: str, room: int, *arguments: str | int) -> Any:
        try:
            return await self._redis.eval(script, 1, _key(room), *arguments)
        except (RedisError, OSError) as error:
            raise PresenceUnavailable(str(error)) from error

    async def _run_many(self, script: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """One script for many (room, *arguments), in one round trip."""
        if not calls:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for room, *arguments in calls:
            pipeline.eval(script, 1, _key(room), *arguments)
        try:
            answers: list[Any] = await pipeline.execute()
        except (RedisError, OSError) as error:
            raise PresenceUnavailable(str(error)) from error
        return answers


def _key(room: int) -> str:
    return f"presence:{room}"


def _member(user: str, session: str) -> str:
    return f"{user}{SEPARATOR}{session}"
