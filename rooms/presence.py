"""Who is in a room right now, as leases in Redis: what a crashed server held ends by itself.

Keys, all written by the scripts below only:
- `presence:{room}`: a sorted set; a member is `username US session` (US: the ASCII unit separator), its score the end
  of the lease in milliseconds of Redis' clock. A lease that has ended counts until a sweep takes it away, since until
  then nobody was told: whoever comes back before that has never left.
- `presence:{room}:people`: a hash, username → number of that person's sessions in the set.
- `presence:{room}:told`: there while a room is told by number and not by name: `at`, when its number was last told, and
  `changed`, 1 when it is another one since. A room of more than `NAMES` people is; it goes on for a moment below that,
  until its names were told, so that nobody misses one.
- `presence:due`: a sorted set, room → a time before which none of its leases ends.
- `presence:since`: when this Redis began; a process that knows another time has seen a Redis that forgot.
- `presence:quiet`: there while servers bring back their leases. Nobody comes or goes by name meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from time import monotonic
from typing import Any, NamedTuple, Self

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from accounts.redis_calls import RedisUnavailable, in_time

LEASE = 30_000  # milliseconds
NAMES = 100  # people of whom each is told by name
TELL_INTERVAL = 1_000  # milliseconds between two numbers of a room
# After Redis has forgotten its leases, or was away for so long that they have ended. Each server sees it with its next
# sweep and renews at once; milliseconds.
QUIET = 10_000
LONG_OUTAGE = 15.0  # seconds; half a lease
CHUNK = 1_000  # leases that one script renews, during which Redis serves nobody else
SEPARATOR = "\x1f"

# ARGV[1] of every script but PEOPLE: the `since` that the caller knows; empty at first, `-` after a long outage.
COMMON = f"""
local LEASE, NAMES, TELL_INTERVAL, QUIET = {LEASE}, {NAMES}, {TELL_INTERVAL}, {QUIET}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function sessions(room) return 'presence:' .. room end
local function people(room) return 'presence:' .. room .. ':people' end
local function told(room) return 'presence:' .. room .. ':told' end
local function user_of(member) return string.match(member, '^(.*)\\31') end
local function count(room) return redis.call('HLEN', people(room)) end
local function names(room)
    return count(room) <= NAMES and redis.call('HKEYS', people(room)) or {{}}
end
"""
CHANGES = (
    COMMON
    + """
local since = redis.call('GET', 'presence:since')
if not since then
    since = tostring(now)
    redis.call('SET', 'presence:since', since)
end
if ARGV[1] ~= '' and ARGV[1] ~= since then redis.call('SET', 'presence:quiet', 1, 'PX', QUIET) end
local quiet = redis.call('EXISTS', 'presence:quiet') == 1
-- True when the person was not there.
local function add(room, member)
    if redis.call('ZADD', sessions(room), now + LEASE, member) == 0 then return false end
    redis.call('ZADD', 'presence:due', 'LT', now + LEASE, room)
    return redis.call('HINCRBY', people(room), user_of(member), 1) == 1
end
-- True when this was the person's last session.
local function remove(room, member)
    if redis.call('ZREM', sessions(room), member) == 0 then return false end
    if redis.call('HINCRBY', people(room), user_of(member), -1) > 0 then return false end
    redis.call('HDEL', people(room), user_of(member))
    return true
end
local function touch(room)
    redis.call('HSETNX', told(room), 'at', 0)
    redis.call('HSET', told(room), 'changed', 1)
end
-- Somebody came or went. True when that is told by the room's number.
local function by_number(room)
    if not quiet and count(room) <= NAMES and redis.call('EXISTS', told(room)) == 0 then return false end
    touch(room)
    return true
end
-- Nobody renews: nobody is left to be told.
local function expire(room)
    for _, key in ipairs({sessions(room), people(room), told(room)}) do redis.call('PEXPIRE', key, LEASE * 2) end
end
"""
)
# ARGV: (kind, room, member, milliseconds) of each step. Whether each is somebody's coming or going; the rooms.
APPLY = (
    CHANGES
    + """
local moved, rooms, changed = {}, {}, {}
for i = 2, #ARGV, 4 do
    local kind, room, member = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local counts = false
    if kind == 'enter' then
        counts = add(room, member)
        expire(room)
    elseif kind == 'leave' then
        counts = remove(room, member)
    else
        -- Only a member that is still there: what was swept has been announced.
        redis.call('ZADD', sessions(room), 'XX', now + ARGV[i + 3], member)
        redis.call('ZADD', 'presence:due', 'XX', 'LT', now + ARGV[i + 3], room)
    end
    table.insert(moved, counts and 1 or 0)
    changed[room] = changed[room] or counts
end
for room, counts in pairs(changed) do
    local number = counts and by_number(room)
    table.insert(rooms, {room, number and 1 or 0, count(room), names(room)})
end
return {since, moved, rooms}
"""
)
# ARGV: (room, number of members, members) of each room. The rooms that have something to tell. A lease that was lost
# is there again without an announcement. What was told long ago is told again: it may have been lost on its way.
RENEW = (
    CHANGES
    + """
local tell, i = {}, 2
while i < #ARGV do
    local room, last, came = ARGV[i], i + 1 + ARGV[i + 1], false
    for j = i + 2, last do came = add(room, ARGV[j]) or came end
    i = last + 1
    if came then touch(room) end
    expire(room)
    local known = redis.call('HMGET', told(room), 'at', 'changed')
    -- Of a small one, the server that is to tell its names may have died; until then nobody goes by name.
    local again = known[1] and (count(room) <= NAMES or now - known[1] > LEASE)
    if again then touch(room) end
    if again or known[2] == '1' then table.insert(tell, room) end
end
return {since, tell}
"""
)
# The people of whom no session is left, by room, each to exactly one caller; the rooms that have a number to tell.
SWEEP = (
    CHANGES
    + """
local gone, tell = {}, {}
if quiet then return {since, gone, tell} end
for _, room in ipairs(redis.call('ZRANGEBYSCORE', 'presence:due', '-inf', now, 'LIMIT', 0, 100)) do
    local users = {}
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', sessions(room), '-inf', now)) do
        if remove(room, member) then table.insert(users, user_of(member)) end
    end
    local earliest = redis.call('ZRANGE', sessions(room), 0, 0, 'WITHSCORES')[2]
    if earliest then
        redis.call('ZADD', 'presence:due', earliest, room)
    else
        redis.call('ZREM', 'presence:due', room)
    end
    if #users > 0 then
        if by_number(room) then table.insert(tell, room) else table.insert(gone, {room, users}) end
    end
end
return {since, gone, tell}
"""
)
# ARGV: rooms. For each: whether to ask again, what to tell (nothing: -1), names.
TELL = (
    CHANGES
    + """
local answers = {}
for i = 2, #ARGV do
    local room = ARGV[i]
    local known = redis.call('HMGET', told(room), 'at', 'changed')
    local answer = {0, -1, {}}
    if not known[1] then
        answer = {0, count(room), names(room)}
    elseif quiet or now - known[1] < TELL_INTERVAL then
        answer[1] = 1
    elseif known[2] == '1' then
        redis.call('HSET', told(room), 'at', now, 'changed', 0)
        answer = {count(room) <= NAMES and 1 or 0, count(room), names(room)}
    elseif count(room) <= NAMES then
        -- Its names were told a while ago, and none has come or gone since: from now on each is told.
        redis.call('DEL', told(room))
    end
    table.insert(answers, answer)
end
return {since, answers}
"""
)
# ARGV: room, limit. The number of people whose leases last, and their names unless they are more than `limit`.
PEOPLE = (
    COMMON
    + """
local room, limit = ARGV[1], tonumber(ARGV[2])
local number, names = count(room), {}
if redis.call('ZCOUNT', sessions(room), '-inf', now) > 0 then
    local seen = {}
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', sessions(room), '(' .. now, '+inf')) do
        local user = user_of(member)
        if not seen[user] then
            seen[user] = true
            table.insert(names, user)
        end
    end
    number = #names
elseif number <= limit then
    names = redis.call('HKEYS', people(room))
end
return {number, number <= limit and names or {}}
"""
)


class Kind(StrEnum):
    ENTER = "enter"
    LEAVE = "leave"
    LOSE = "lose"


class Step(NamedTuple):
    """A session takes a lease, gives it back, or keeps it for `milliseconds` more, since a lost one may come back."""

    kind: Kind
    room: int
    user: str
    session: str
    milliseconds: int = 0


class People(NamedTuple):
    """How many people are in a room, and their usernames, sorted; None when they are too many to be named."""

    number: int
    users: list[str] | None


class Applied(NamedTuple):
    """`moved`: for each step, whether it is the coming of a person's first session or the going of the last one, to be
    told by name. `rooms`: who is in each room after all steps. `tell`: rooms that have something to tell."""

    moved: list[bool]
    rooms: dict[int, People]
    tell: set[int]


class Presence:
    """Belongs to one event loop. Every call ends `in_time` and raises `RedisUnavailable` when Redis is away; nothing is
    tried twice, since a script that was run twice would say twice who came or went."""

    def __init__(self, redis_url: str, **redis_options: Any) -> None:
        retry = Retry(NoBackoff(), 0)
        self._redis = redis.asyncio.Redis.from_url(redis_url, decode_responses=True, retry=retry, **redis_options)
        self._since = ""
        # Monotonic time of the first call that failed; None while calls succeed.
        self._away_since: float | None = None
        # Whether leases may have been lost, so that all must be renewed at once.
        self.must_renew = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; may be repeated."""
        await self._redis.aclose()

    async def apply(self, steps: Sequence[Step]) -> Applied:
        """Take the steps in their order, in one round trip."""
        words = [
            word for step in steps
            for word in (step.kind, step.room, member_of(step.user, step.session), step.milliseconds)
        ]  # fmt: skip
        moved, rooms = await self._run(APPLY, words)
        people = {int(room): _people(count, names) for room, _, count, names in rooms}
        tell = {int(room) for room, by_number, _, _ in rooms if by_number}
        named = [bool(step_moved) and step.room not in tell for step, step_moved in zip(steps, moved, strict=True)]
        return Applied(named, people, tell)

    async def renew(self, sessions: Mapping[int, Iterable[tuple[str, str]]]) -> set[int]:
        """Renew the leases of the (username, session) in each room. Call it every third of `LEASE`, and when
        `must_renew`. Returns the rooms that have something to tell."""
        tell: set[int] = set()
        # All at once: people come and go while Redis is waited for.
        for words in list(_chunks(sessions)):
            (rooms,) = await self._run(RENEW, words)
            tell.update(map(int, rooms))
        self.must_renew = False
        return tell

    async def sweep(self) -> tuple[list[tuple[int, str]], set[int]]:
        """Remove ended leases in all rooms: the (room, username) of people who are gone, each told to one caller only,
        and the rooms that have something to tell."""
        gone, tell = await self._run(SWEEP, [])
        return [(int(room), user) for room, users in gone for user in users], set(map(int, tell))

    async def tell(self, rooms: Sequence[int]) -> tuple[dict[int, People], set[int]]:
        """What is to be told of each of the rooms now, by the caller; and the rooms to ask for again."""
        (answers,) = await self._run(TELL, list(rooms))
        known = {
            room: _people(count, users) for room, (_, count, users) in zip(rooms, answers, strict=True) if count >= 0
        }
        return known, {room for room, (again, _, _) in zip(rooms, answers, strict=True) if again}

    async def people(self, room: int, limit: int = NAMES) -> tuple[int, list[str]]:
        """How many people are in a room, and their usernames, sorted; none when they are more than `limit`."""
        count, names = await in_time(self._redis.eval(PEOPLE, 0, room, limit))
        return count, sorted(names)

    async def _run(self, script: str, words: Sequence[str | int]) -> Any:
        try:
            since, *answers = await in_time(self._redis.eval(script, 0, self._since, *words))
        except RedisUnavailable:
            self._away_since = self._away_since or monotonic()
            self.must_renew = True
            if self._since and monotonic() - self._away_since > LONG_OUTAGE:
                self._since = "-"
            raise
        self._away_since = None
        if self._since not in {"", since}:
            self.must_renew = True
        self._since = since
        return answers


def keys_of(room: int) -> tuple[str, str]:
    return f"presence:{room}", f"presence:{room}:people"


def member_of(user: str, session: str) -> str:
    return f"{user}{SEPARATOR}{session}"


def _people(count: int, users: list[str]) -> People:
    return People(count, sorted(users) if count <= NAMES else None)


def _chunks(sessions: Mapping[int, Iterable[tuple[str, str]]]) -> Iterable[list[str | int]]:
    """The arguments of RENEW, about `CHUNK` members at once."""
    words: list[str | int] = []
    for room, of_room in sessions.items():
        members = [member_of(*session) for session in of_room]
        for start in range(0, len(members), CHUNK):
            part = members[start : start + CHUNK]
            words += [room, len(part), *part]
            if len(words) > CHUNK:
                yield words
                words = []
    if words:
        yield words
