"""Who is in a room right now, as leases in Redis: what a crashed server held ends by itself.

`presence:{room}` is a sorted set; a member is `username US session` (US: the ASCII unit separator), its score the end
of the lease in milliseconds of Redis' clock. `presence:{room}:people` is a hash, username → number of that person's
sessions in the set; both are written by the scripts below only. A lease that has ended counts until a sweep takes it
away, since until then nobody was told: whoever comes back before that has never left.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from itertools import groupby
from typing import Any, Self

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

LEASE = 30_000  # milliseconds
DEADLINE = 2.0  # seconds, for each call as a whole
SEPARATOR = "\x1f"

# KEYS of every script: sessions, people.
COMMON = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function user_of(member) return string.match(member, '^(.*)\\31') end
-- The person's number of sessions when this one is new; 0 when it was there.
local function add(member, lease)
    if redis.call('ZADD', KEYS[1], now + lease, member) == 0 then return 0 end
    return redis.call('HINCRBY', KEYS[2], user_of(member), 1)
end
-- True when this was the person's last session.
local function remove(member)
    if redis.call('ZREM', KEYS[1], member) == 0 then return false end
    if redis.call('HINCRBY', KEYS[2], user_of(member), -1) > 0 then return false end
    redis.call('HDEL', KEYS[2], user_of(member))
    return true
end
-- Nobody renews: nobody is left to be told.
local function expire(lease)
    redis.call('PEXPIRE', KEYS[1], lease * 2)
    redis.call('PEXPIRE', KEYS[2], lease * 2)
end
"""
# ARGV: member, lease.
ENTER = COMMON + "local n = add(ARGV[1], ARGV[2]); expire(ARGV[2]); return n == 1 and 1 or 0"
# ARGV: member.
LEAVE = COMMON + "return remove(ARGV[1]) and 1 or 0"
# ARGV: member, milliseconds. Only a member that is still there: what was swept has been announced.
SHORTEN = COMMON + "return redis.call('ZADD', KEYS[1], 'XX', now + ARGV[2], ARGV[1])"
# ARGV: lease, members. A lease that was lost (Redis restarted) is there again without an announcement.
RENEW = COMMON + "for i = 2, #ARGV do add(ARGV[i], ARGV[1]) end; expire(ARGV[1])"
# The people of whom no session is left; each is told to exactly one caller.
SWEEP = (
    COMMON
    + """
local gone = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
    if remove(member) then table.insert(gone, user_of(member)) end
end
return gone
"""
)
# ARGV: limit. The number of people whose leases last, and their names unless they are more than `limit`.
PEOPLE = (
    COMMON
    + """
local limit, count, names = tonumber(ARGV[1]), redis.call('HLEN', KEYS[2]), {}
if redis.call('ZCOUNT', KEYS[1], '-inf', now) > 0 then
    local seen = {}
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')) do
        local user = user_of(member)
        if not seen[user] then
            seen[user] = true
            table.insert(names, user)
        end
    end
    count = #names
elseif count <= limit then
    names = redis.call('HKEYS', KEYS[2])
end
return {count, count <= limit and names or {}}
"""
)


class PresenceUnavailable(Exception):
    """Redis did not answer in time; presence is what may be lost."""


class Presence:
    """Belongs to one event loop. Every call ends within `DEADLINE` and raises `PresenceUnavailable` when Redis is away;
    nothing is tried twice, since a script that was run twice would say twice who came or went."""

    def __init__(self, redis_url: str, **redis_options: Any) -> None:
        retry = Retry(NoBackoff(), 0)
        self._redis = redis.asyncio.Redis.from_url(redis_url, decode_responses=True, retry=retry, **redis_options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; may be repeated."""
        await self._redis.aclose()

    async def enter(self, room: int, user: str, session: str) -> bool:
        """Take a lease; true when it is the person's first in the room."""
        return bool(await self._run(ENTER, room, member_of(user, session), LEASE))

    async def leave(self, room: int, user: str, session: str) -> bool:
        """Give a lease back; true when it was the person's last in the room."""
        return bool(await self._run(LEAVE, room, member_of(user, session)))

    async def expire_after(self, room: int, user: str, session: str, seconds: float) -> None:
        """Let a lease end soon: a lost connection that may come back."""
        await self._run(SHORTEN, room, member_of(user, session), int(seconds * 1000))

    async def renew(self, sessions: Iterable[tuple[int, str, str]]) -> None:
        """Renew the leases of (room, username, session), in one round trip. Call it every third of `LEASE`."""
        rooms = groupby(sorted(sessions), key=lambda entry: entry[0])
        await self._run_many(RENEW, [(room, LEASE, *(member_of(*rest) for _, *rest in of)) for room, of in rooms])

    async def sweep(self, rooms: Sequence[int]) -> list[tuple[int, str]]:
        """Remove ended leases; the (room, username) of people who are gone, each told to one caller only."""
        answers = await self._run_many(SWEEP, [(room,) for room in rooms])
        return [(room, user) for room, gone in zip(rooms, answers, strict=True) for user in gone]

    async def people(self, room: int, limit: int = 100) -> tuple[int, list[str]]:
        """How many people are in a room, and their usernames, sorted; none when they are more than `limit`."""
        count, names = await self._run(PEOPLE, room, limit)
        return count, sorted(names)

    async def _run(self, script: str, room: int, *arguments: str | int) -> Any:
        return await _in_time(self._redis.eval(script, 2, *keys_of(room), *arguments))

    async def _run_many(self, script: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """One script for many (room, *arguments), in one round trip."""
        if not calls:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for room, *arguments in calls:
            pipeline.eval(script, 2, *keys_of(room), *arguments)
        answers: list[Any] = await _in_time(pipeline.execute())
        return answers


def keys_of(room: int) -> tuple[str, str]:
    return f"presence:{room}", f"presence:{room}:people"


def member_of(user: str, session: str) -> str:
    return f"{user}{SEPARATOR}{session}"


async def _in_time(call: Awaitable[Any]) -> Any:
    """Wait for a call in a task of its own: the client may swallow a cancellation, and the caller would live on. A call
    that nobody waits for any more ends by the time-out of its socket."""
    task = asyncio.ensure_future(call)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may have no other reader
    done, _ = await asyncio.wait([task], timeout=DEADLINE)
    if not done:
        task.cancel()
        raise PresenceUnavailable(f"Redis: no answer in {DEADLINE:g} s")
    try:
        return task.result()
    except (RedisError, OSError, TimeoutError) as error:
        raise PresenceUnavailable(f"Redis: {type(error).__name__} {error}".rstrip()) from error
