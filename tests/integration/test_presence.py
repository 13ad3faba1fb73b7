"""Presence: leases in Redis say who is in a room."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from time import monotonic

import pytest
import redis.asyncio
from django.conf import settings

from rooms import presence as presence_module
from rooms.figures import UNKNOWN, RoomFigures
from rooms.presence import Presence, PresenceUnavailable, keys_of, member_of

rooms = count(10_000_000)
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
async def presence() -> AsyncIterator[Presence]:
    async with Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS) as presence:
        yield presence


@pytest.fixture
async def room() -> AsyncIterator[int]:
    """A room of its own for each test."""
    room = next(rooms)
    yield room
    async with _redis() as client:
        await client.delete(*keys_of(room))


@asynccontextmanager
async def _redis() -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(settings.REDIS_URL)
    try:
        yield client
    finally:
        await client.aclose()


async def end_lease(room: int, user: str, session: str) -> None:
    """As if the lease had run out."""
    async with _redis() as client:
        assert await client.zadd(keys_of(room)[0], {member_of(user, session): 1}, xx=True, ch=True) == 1


async def test_only_the_first_socket_enters_and_only_the_last_leaves(presence: Presence, room: int) -> None:
    """However many sockets a person has, on whatever servers."""
    async with Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS) as other:
        assert await presence.enter(room, "alice", "s1") is True
        assert await other.enter(room, "alice", "s2") is False
        assert await presence.enter(room, "bob", "s3") is True
        assert await presence.people(room) == (2, ["alice", "bob"])
        assert await presence.leave(room, "alice", "s1") is False
        assert await other.leave(room, "alice", "s2") is True
        assert await presence.people(room) == (1, ["bob"])


async def test_entering_and_leaving_twice_says_nothing_new(presence: Presence, room: int) -> None:
    """Both may be repeated."""
    assert [await presence.enter(room, "alice", "s1") for _ in range(2)] == [True, False]
    assert [await presence.leave(room, "alice", "s1") for _ in range(2)] == [True, False]
    assert await presence.people(room) == (0, [])


@pytest.mark.parametrize("user", ["a%b", "김철수", "al", "a.b-c"])
async def test_a_name_is_not_taken_for_the_beginning_of_another(presence: Presence, room: int, user: str) -> None:
    """Nor for a pattern."""
    assert await presence.enter(room, f"{user}x", "s1") is True
    assert await presence.enter(room, user, "s2") is True
    assert await presence.leave(room, user, "s2") is True


async def test_one_hundred_sockets_at_once_make_one_arrival(presence: Presence, room: int) -> None:
    """The first is decided in Redis, not in a process."""
    sessions = [f"s{number}" for number in range(100)]
    entered = await asyncio.gather(*(presence.enter(room, "alice", session) for session in sessions))
    left = await asyncio.gather(*(presence.leave(room, "alice", session) for session in sessions))
    assert (sum(entered), sum(left)) == (1, 1)


async def test_a_lost_connection_that_comes_back_never_left(presence: Presence, room: int) -> None:
    """The new socket arrives before the lease of the old one has ended."""
    await presence.enter(room, "alice", "s1")
    await presence.expire_after(room, "alice", "s1", 0.05)
    assert await presence.enter(room, "alice", "s2") is False
    await end_lease(room, "alice", "s1")
    assert await presence.sweep([room]) == []
    assert await presence.leave(room, "alice", "s2") is True


async def test_a_lost_connection_leaves_when_its_time_is_over(presence: Presence, room: int) -> None:
    """By Redis' clock, and once."""
    await presence.enter(room, "alice", "s1")
    await presence.expire_after(room, "alice", "s1", 0.2)
    assert await presence.sweep([room]) == []
    assert await presence.people(room) == (1, ["alice"])
    started, gone = monotonic(), []
    async with asyncio.timeout(10):
        while not gone:
            gone = await presence.sweep([room])
    assert gone == [(room, "alice")]
    # Redis' clock counts whole milliseconds, and the lease was older than `started`.
    assert monotonic() - started > 0.1
    assert await presence.sweep([room]) == []


async def test_who_comes_back_before_the_sweep_has_never_left(presence: Presence, room: int) -> None:
    """Nobody was told, so nobody needs to hear of the return."""
    await presence.enter(room, "alice", "s1")
    await end_lease(room, "alice", "s1")
    assert await presence.people(room) == (0, [])
    assert await presence.enter(room, "alice", "s2") is False
    assert await presence.sweep([room]) == []
    assert await presence.people(room) == (1, ["alice"])


async def test_a_lost_connection_that_was_swept_stays_swept(presence: Presence, room: int) -> None:
    """Shortening a lease that is gone does not make a new one."""
    await presence.enter(room, "alice", "s1")
    await end_lease(room, "alice", "s1")
    assert await presence.sweep([room]) == [(room, "alice")]
    await presence.expire_after(room, "alice", "s1", 5)
    assert await presence.people(room) == (0, [])


async def test_of_many_sweeping_processes_one_gets_each_person(presence: Presence, room: int) -> None:
    """So that `left` is said once."""
    people = [f"p{number}" for number in range(50)]
    for user in people:
        for session in ("s1", "s2"):
            await presence.enter(room, user, session)
            await end_lease(room, user, session)
    sweepers = [Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS) for _ in range(10)]
    answers = await asyncio.gather(*(sweeper.sweep([room]) for sweeper in sweepers))
    await asyncio.gather(*(sweeper.close() for sweeper in sweepers))
    assert sorted(user for answer in answers for _, user in answer) == sorted(people)


async def test_renewed_leases_last(presence: Presence, room: int) -> None:
    """Of all rooms and sessions in one round trip."""
    other = next(rooms)
    entries = [(room, "alice", "s1"), (other, "alice", "s1"), (room, "bob", "s2")]
    for entry in entries:
        await presence.enter(*entry)
        await end_lease(*entry)
    await presence.renew(entries)
    assert await presence.sweep([room, other]) == []
    assert [await presence.people(room), await presence.people(other)] == [(2, ["alice", "bob"]), (1, ["alice"])]
    await presence.leave(other, "alice", "s1")


async def test_a_redis_that_forgot_everything_learns_it_again_in_silence(presence: Presence, room: int) -> None:
    """Renewing brings the leases back; nobody is announced a second time."""
    await presence.enter(room, "alice", "s1")
    async with _redis() as client:
        await client.delete(*keys_of(room))
    await presence.renew([(room, "alice", "s1"), (room, "alice", "s2")])
    assert await presence.enter(room, "alice", "s3") is False
    assert [await presence.leave(room, "alice", session) for session in ("s1", "s2", "s3")] == [False, False, True]


async def test_an_abandoned_room_vanishes(presence: Presence, room: int) -> None:
    """Nothing is left in Redis of a room that no server renews."""
    await presence.enter(room, "alice", "s1")
    async with _redis() as client:
        assert all([0 < await client.pttl(key) <= 2 * presence_module.LEASE for key in keys_of(room)])


async def test_a_large_room_has_a_number_but_no_names(presence: Presence, room: int) -> None:
    """Nobody reads a thousand names, and nobody should pay for them."""
    await presence.renew([(room, f"p{number}", "s1") for number in range(101)])
    assert await presence.people(room, limit=100) == (101, [])
    assert len((await presence.people(room, limit=101))[1]) == 101


async def test_without_redis_each_call_says_so_in_time() -> None:
    """The caller logs it and goes on."""
    async with Presence(NOWHERE, **settings.REDIS_OPTIONS) as presence:
        started = monotonic()
        for call in (
            presence.enter(1, "alice", "s1"),
            presence.leave(1, "alice", "s1"),
            presence.expire_after(1, "alice", "s1", 5),
            presence.renew([(1, "alice", "s1")]),
            presence.sweep([1]),
            presence.people(1),
        ):
            with pytest.raises(PresenceUnavailable, match="Redis: ConnectionError"):
                await call
        assert monotonic() - started < 2


async def test_a_redis_that_hangs_costs_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and never answers."""
    monkeypatch.setattr(presence_module, "DEADLINE", 0.2)
    done = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Presence(f"redis://127.0.0.1:{port}/0", socket_timeout=30) as presence:
        started = monotonic()
        with pytest.raises(PresenceUnavailable, match=r"no answer in 0\.2 s"):
            await presence.enter(1, "alice", "s1")
        assert monotonic() - started < 1
        done.set()


async def test_the_room_list_counts_people_not_sockets(presence: Presence, room: int) -> None:
    """Those whose leases last."""
    figures = RoomFigures(settings.REDIS_URL, **settings.REDIS_OPTIONS)
    for user, session in [("alice", "s1"), ("alice", "s2"), ("bob", "s3"), ("eve", "s4")]:
        await presence.enter(room, user, session)
    assert figures.read([room])[room].online == 3
    await end_lease(room, "eve", "s4")
    assert figures.read([room])[room].online == 2
    figures.close()


def test_without_redis_the_room_list_knows_nothing_of_them(caplog: pytest.LogCaptureFixture) -> None:
    """And is there at once."""
    figures = RoomFigures(NOWHERE, **settings.REDIS_OPTIONS)
    assert figures.read([1, 2]) == {1: UNKNOWN, 2: UNKNOWN}
    assert "no figures" in caplog.text
