"""Presence: leases in Redis say who is in a room."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count
from time import monotonic

import pytest
import redis.asyncio
from django.conf import settings

from accounts import redis_calls
from accounts.redis_calls import RedisUnavailable
from rooms import presence as presence_module
from rooms.figures import UNKNOWN, RoomFigures
from rooms.presence import Kind, People, Presence, Step, keys_of, member_of

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
        await client.delete(*keys_of(room), f"presence:{room}:told")


@pytest.fixture
async def quiet() -> AsyncIterator[None]:
    """For a test that makes Redis forget."""
    yield
    async with _redis() as client:
        await client.delete("presence:quiet")


@asynccontextmanager
async def _redis() -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(settings.REDIS_URL)
    try:
        yield client
    finally:
        await client.aclose()


async def milliseconds(client: redis.asyncio.Redis) -> float:
    """What Redis' clock says."""
    seconds, microseconds = await client.time()
    return float(seconds * 1000 + microseconds / 1000)


async def enter(presence: Presence, room: int, user: str, session: str) -> bool:
    """Whether it is told by name that the person came."""
    return (await presence.apply([Step(Kind.ENTER, room, user, session)])).moved == [True]


async def leave(presence: Presence, room: int, user: str, session: str) -> bool:
    """Whether it is told by name that the person went."""
    return (await presence.apply([Step(Kind.LEAVE, room, user, session)])).moved == [True]


async def lose(presence: Presence, room: int, user: str, session: str, seconds: float) -> None:
    await presence.apply([Step(Kind.LOSE, room, user, session, int(seconds * 1000))])


async def renew(presence: Presence, entries: Iterable[tuple[int, str, str]]) -> set[int]:
    sessions: dict[int, list[tuple[str, str]]] = {}
    for room, user, session in entries:
        sessions.setdefault(room, []).append((user, session))
    return await presence.renew(sessions)


async def sweep(presence: Presence, *rooms: int) -> list[str]:
    """The people of the rooms who are told to have gone."""
    gone, _ = await presence.sweep()
    return [user for room, user in gone if room in rooms]


async def settle(presence: Presence, room: int) -> list[People]:
    """What is told of the room until there is nothing more to tell."""
    told: list[People] = []
    async with asyncio.timeout(60):
        while True:
            known, again = await presence.tell([room])
            told += known.values()
            if room not in again:
                return told
            await asyncio.sleep(0.05)


async def end_lease(room: int, user: str, session: str) -> None:
    """As if the lease had run out."""
    async with _redis() as client:
        assert await client.zadd(keys_of(room)[0], {member_of(user, session): 1}, xx=True, ch=True) == 1
        await client.zadd("presence:due", {str(room): 1})


async def test_only_the_first_socket_enters_and_only_the_last_leaves(presence: Presence, room: int) -> None:
    """However many sockets a person has, on whatever servers."""
    async with Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS) as other:
        assert await enter(presence, room, "alice", "s1") is True
        assert await enter(other, room, "alice", "s2") is False
        assert await enter(presence, room, "bob", "s3") is True
        assert await presence.people(room) == (2, ["alice", "bob"])
        assert await leave(presence, room, "alice", "s1") is False
        assert await leave(other, room, "alice", "s2") is True
        assert await presence.people(room) == (1, ["bob"])


async def test_entering_and_leaving_twice_says_nothing_new(presence: Presence, room: int) -> None:
    """Both may be repeated."""
    assert [await enter(presence, room, "alice", "s1") for _ in range(2)] == [True, False]
    assert [await leave(presence, room, "alice", "s1") for _ in range(2)] == [True, False]
    assert await presence.people(room) == (0, [])


@pytest.mark.parametrize("user", ["a%b", "김철수", "al", "a.b-c"])
async def test_a_name_is_not_taken_for_the_beginning_of_another(presence: Presence, room: int, user: str) -> None:
    """Nor for a pattern."""
    assert await enter(presence, room, f"{user}x", "s1") is True
    assert await enter(presence, room, user, "s2") is True
    assert await leave(presence, room, user, "s2") is True


async def test_one_hundred_sockets_at_once_make_one_arrival(presence: Presence, room: int) -> None:
    """The first is decided in Redis, not in a process."""
    sessions = [f"s{number}" for number in range(100)]
    entered = await asyncio.gather(*(enter(presence, room, "alice", session) for session in sessions))
    left = await asyncio.gather(*(leave(presence, room, "alice", session) for session in sessions))
    assert (sum(entered), sum(left)) == (1, 1)


async def test_a_lost_connection_that_comes_back_never_left(presence: Presence, room: int) -> None:
    """The new socket arrives before the lease of the old one has ended."""
    await enter(presence, room, "alice", "s1")
    await lose(presence, room, "alice", "s1", 0.05)
    assert await enter(presence, room, "alice", "s2") is False
    await end_lease(room, "alice", "s1")
    assert await sweep(presence, room) == []
    assert await leave(presence, room, "alice", "s2") is True


async def test_a_lost_connection_leaves_when_its_time_is_over(presence: Presence, room: int) -> None:
    """By Redis' clock, and once."""
    await enter(presence, room, "alice", "s1")
    await lose(presence, room, "alice", "s1", 20)
    async with _redis() as client:
        end = await client.zscore(keys_of(room)[0], member_of("alice", "s1"))
        assert 0 < end - await milliseconds(client) <= 20_000 < presence_module.LEASE
    assert await sweep(presence, room) == []
    assert await presence.people(room) == (1, ["alice"])
    await end_lease(room, "alice", "s1")
    assert await sweep(presence, room) == ["alice"]
    assert await sweep(presence, room) == []


async def test_who_comes_back_before_the_sweep_has_never_left(presence: Presence, room: int) -> None:
    """Nobody was told, so nobody needs to hear of the return."""
    await enter(presence, room, "alice", "s1")
    await end_lease(room, "alice", "s1")
    assert await presence.people(room) == (0, [])
    assert await enter(presence, room, "alice", "s2") is False
    assert await sweep(presence, room) == []
    assert await presence.people(room) == (1, ["alice"])


async def test_a_lost_connection_that_was_swept_stays_swept(presence: Presence, room: int) -> None:
    """Shortening a lease that is gone does not make a new one."""
    await enter(presence, room, "alice", "s1")
    await end_lease(room, "alice", "s1")
    assert await sweep(presence, room) == ["alice"]
    await lose(presence, room, "alice", "s1", 5)
    assert await presence.people(room) == (0, [])


async def test_of_many_sweeping_processes_one_gets_each_person(presence: Presence, room: int) -> None:
    """So that `left` is said once."""
    people = [f"p{number}" for number in range(50)]
    for user in people:
        for session in ("s1", "s2"):
            await enter(presence, room, user, session)
            await end_lease(room, user, session)
    sweepers = [Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS) for _ in range(10)]
    answers = await asyncio.gather(*(sweep(sweeper, room) for sweeper in sweepers))
    await asyncio.gather(*(sweeper.close() for sweeper in sweepers))
    assert sorted(user for answer in answers for user in answer) == sorted(people)


async def test_renewed_leases_last(presence: Presence, room: int) -> None:
    """Of all rooms and sessions in one round trip."""
    other = next(rooms)
    entries = [(room, "alice", "s1"), (other, "alice", "s1"), (room, "bob", "s2")]
    for entry in entries:
        await enter(presence, *entry)
        await end_lease(*entry)
    await renew(presence, entries)
    assert await sweep(presence, room, other) == []
    assert [await presence.people(room), await presence.people(other)] == [(2, ["alice", "bob"]), (1, ["alice"])]
    await leave(presence, other, "alice", "s1")


async def test_people_come_and_go_while_leases_are_renewed(
    presence: Presence, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewal of many takes more than one script."""
    monkeypatch.setattr(presence_module, "CHUNK", 10)
    sessions = {room: [(f"p{number}", "s1") for number in range(25)], next(rooms): [("alice", "s1")]}
    renewal = asyncio.create_task(presence.renew(sessions))
    while not renewal.done():
        await asyncio.sleep(0)
        sessions[next(rooms)] = []
    assert room in await renewal
    assert (await presence.people(room))[0] == 25


async def test_leases_that_were_lost_come_back_in_silence(presence: Presence, room: int) -> None:
    """Renewing brings them back; the room is told once who is there, and then again who comes and goes."""
    await enter(presence, room, "alice", "s1")
    async with _redis() as client:
        await client.delete(*keys_of(room))
    assert await renew(presence, [(room, "alice", "s1"), (room, "alice", "s2")]) == {room}
    assert await enter(presence, room, "alice", "s3") is False
    assert await settle(presence, room) == [People(1, ["alice"])]
    assert [await leave(presence, room, "alice", session) for session in ("s1", "s2", "s3")] == [False, False, True]


async def test_while_servers_bring_back_their_leases_nobody_comes_or_goes_by_name(
    presence: Presence, room: int, quiet: None
) -> None:
    """A Redis that forgot everything does not know who was there before, so nothing it says of them is true."""
    async with Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS) as other, _redis() as client:
        await enter(presence, room, "alice", "s1")
        await enter(other, room, "bob", "s2")
        await client.delete(*keys_of(room), "presence:since", "presence:due")
        assert await sweep(other, room) == []
        assert (other.must_renew, presence.must_renew) == (True, False)
        assert await enter(other, room, "alice", "s3") is False
        assert await presence.tell([room]) == ({}, {room})
        await renew(presence, [(room, "alice", "s1")])
        await renew(other, [(room, "bob", "s2"), (room, "alice", "s3")])
        assert (other.must_renew, presence.must_renew) == (False, False)
        await client.delete("presence:quiet")
        assert await settle(presence, room) == [People(2, ["alice", "bob"])]
        assert await leave(other, room, "bob", "s2") is True


async def test_leases_that_ended_while_redis_was_away_are_nobodys_going(
    room: int, quiet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long outage each server renews before anybody sweeps."""
    options = {**settings.REDIS_OPTIONS, "client_name": "held-up"}
    async with Presence(settings.REDIS_URL, **options) as presence, _redis() as client:
        await enter(presence, room, "alice", "s1")
        await end_lease(room, "alice", "s1")
        async with paused(client):
            with monkeypatch.context() as patch, pytest.raises(RedisUnavailable):
                patch.setattr(redis_calls, "DEADLINE", 0.1)
                patch.setattr(presence_module, "LONG_OUTAGE", 0.0)
                await presence.sweep()
            # A sweep that Redis still holds would be done after the pause.
            await until_gone(client, "held-up")
        assert await sweep(presence, room) == []
        assert presence.must_renew
        await renew(presence, [(room, "alice", "s1")])
        await client.delete("presence:quiet")
        assert await sweep(presence, room) == []
        assert await leave(presence, room, "alice", "s1") is True


@asynccontextmanager
async def paused(client: redis.asyncio.Redis) -> AsyncIterator[None]:
    """Redis answers no script meanwhile."""
    await client.client_pause(60_000, all=False)
    try:
        yield
    finally:
        await client.client_unpause()


async def until_gone(client: redis.asyncio.Redis, name: str) -> None:
    """Until Redis knows no connection of this name any more."""
    async with asyncio.timeout(30):
        while name in {known["name"] for known in await client.client_list()}:  # noqa: ASYNC110 (Redis tells nobody)
            await asyncio.sleep(0.01)


async def test_a_crowd_is_told_by_its_number_once_in_a_while(presence: Presence, room: int) -> None:
    """By one server at a time, and the last number is the right one."""
    people = [f"p{number}" for number in range(101)]
    comings = await presence.apply([Step(Kind.ENTER, room, user, "s1") for user in people])
    assert (any(comings.moved), comings.rooms, comings.tell) == (False, {room: People(101, None)}, {room})
    async with Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS) as other:
        answers = await asyncio.gather(*(server.tell([room]) for server in (presence, other) * 5))
        assert [known for known, _ in answers if known] == [{room: People(101, None)}]
        assert await enter(other, room, "late", "s1") is False
        async with _redis() as client:
            await client.hset(f"presence:{room}:told", "at", await milliseconds(client) + 3_600_000)
            assert await other.tell([room]) == ({}, {room})
            await client.hset(f"presence:{room}:told", "at", 1)
        assert await settle(presence, room) == [People(102, None)]


async def shrink(presence: Presence, room: int) -> list[str]:
    """Let a crowd gather that is told by its number, and one of it go, which nobody is told yet; who is left."""
    people = [f"p{number:03}" for number in range(101)]
    await presence.apply([Step(Kind.ENTER, room, user, "s1") for user in people])
    assert await settle(presence, room) == [People(101, None)]
    assert await leave(presence, room, "p100", "s1") is False
    return people[:100]


async def test_a_crowd_that_shrinks_is_told_its_names_before_anybody_goes_by_name(
    presence: Presence, room: int
) -> None:
    """Who joined it while it was large was not told them."""
    left = await shrink(presence, room)
    assert await settle(presence, room) == [People(100, left)]
    assert await leave(presence, room, "p099", "s1") is True
    assert await enter(presence, room, "p100", "s1") is True
    assert await enter(presence, room, "p099", "s1") is False
    assert await settle(presence, room) == [People(101, None)]


async def test_a_number_is_told_again_after_a_lease_s_time(
    presence: Presence, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that was to tell it may have died, or Kafka may have lost it."""
    entries = [(room, f"p{number}", "s1") for number in range(101)]
    await presence.apply([Step(Kind.ENTER, *entry) for entry in entries])
    assert await settle(presence, room) == [People(101, None)]
    assert await renew(presence, entries) == set()
    async with _redis() as client:
        await client.hset(f"presence:{room}:told", "at", 1)
    assert await renew(presence, entries) == {room}
    assert await settle(presence, room) == [People(101, None)]


async def test_people_go_by_name_again_also_when_the_server_that_told_the_number_has_died(
    presence: Presence, room: int
) -> None:
    """Any other server of the room goes back to names with its next renewal."""
    left = await shrink(presence, room)
    async with _redis() as client:
        await client.hset(f"presence:{room}:told", "at", 1)
    assert await presence.tell([room]) == ({room: People(100, left)}, {room})
    async with Presence(settings.REDIS_URL, **settings.REDIS_OPTIONS) as other:
        assert await renew(other, [(room, "p000", "s1")]) == {room}
        assert await settle(other, room) == [People(100, left)]
        assert await leave(other, room, "p000", "s1") is True


async def test_an_abandoned_room_vanishes(presence: Presence, room: int) -> None:
    """Nothing is left in Redis of a room that no server renews."""
    await enter(presence, room, "alice", "s1")
    async with _redis() as client:
        assert all([0 < await client.pttl(key) <= 2 * presence_module.LEASE for key in keys_of(room)])


async def test_a_large_room_has_a_number_but_no_names(presence: Presence, room: int) -> None:
    """Nobody reads a thousand names, and nobody should pay for them."""
    await renew(presence, [(room, f"p{number}", "s1") for number in range(101)])
    assert await presence.people(room, limit=100) == (101, [])
    assert len((await presence.people(room, limit=101))[1]) == 101


async def test_without_redis_each_call_says_so_in_time() -> None:
    """The caller logs it and goes on."""
    async with Presence(NOWHERE, **settings.REDIS_OPTIONS) as presence:
        started = monotonic()
        for call in (
            enter(presence, 1, "alice", "s1"),
            leave(presence, 1, "alice", "s1"),
            lose(presence, 1, "alice", "s1", 5),
            renew(presence, [(1, "alice", "s1")]),
            presence.sweep(),
            presence.tell([1]),
            presence.people(1),
        ):
            with pytest.raises(RedisUnavailable, match="Redis: ConnectionError"):
                await call
        assert monotonic() - started < redis_calls.DEADLINE


async def test_a_redis_that_hangs_costs_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and never answers."""
    monkeypatch.setattr(redis_calls, "DEADLINE", 0.2)
    done = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Presence(f"redis://127.0.0.1:{port}/0", socket_timeout=30) as presence:
        started = monotonic()
        # The socket's own time-out comes later.
        with pytest.raises(RedisUnavailable, match=r"no answer in 0\.2 s"):
            await enter(presence, 1, "alice", "s1")
        assert monotonic() - started < 20
        done.set()


async def test_the_room_list_counts_people_not_sockets(presence: Presence, room: int) -> None:
    """Those whose leases last."""
    figures = RoomFigures(settings.REDIS_URL, **settings.REDIS_OPTIONS)
    for user, session in [("alice", "s1"), ("alice", "s2"), ("bob", "s3"), ("eve", "s4")]:
        await enter(presence, room, user, session)
    assert figures.read([room])[room].online == 3
    await end_lease(room, "eve", "s4")
    assert figures.read([room])[room].online == 2
    figures.close()


def test_without_redis_the_room_list_knows_nothing_of_them(caplog: pytest.LogCaptureFixture) -> None:
    """And is there at once."""
    figures = RoomFigures(NOWHERE, **settings.REDIS_OPTIONS)
    assert figures.read([1, 2]) == {1: UNKNOWN, 2: UNKNOWN}
    assert "no figures" in caplog.text
