"""Entering and leaving is told once a person, on every server, also when a connection just dies."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from time import monotonic

import pytest
import redis

from devstack import DevStack
from tests.acceptance.chat import Chat, create_room
from tests.acceptance.client import ChatClient, Frame
from tests.acceptance.processes import wait_for

# What a killed server's people keep ends after half a minute, and 100 people enter one after the other.
pytestmark = pytest.mark.timeout(300)

LEASE = 30.0  # seconds that a server which was killed keeps its people
SWEEP = 2.5  # seconds between two looks
SLACK = 5.0  # seconds for a busy machine


def comings(client: ChatClient, user: str) -> list[Frame]:
    return [frame for frame in client.of_type("joined", "left") if frame["user"] == user]


async def test_a_person_enters_with_the_first_socket_and_leaves_with_the_last(chat: Chat):
    first, second = chat.web("web1"), chat.web("web2")
    (_, alice_token), (bob, bob_token) = chat.tokens(2).items()
    room = create_room(first.url, alice_token)
    async with ChatClient(first.url, alice_token) as alice:
        await alice.subscribe(room)
        async with ChatClient(second.url, bob_token) as member:
            await member.subscribe(room)  # becomes a member, so that what follows is a mere coming and going
        await alice.until(lambda client: comings(client, bob)[-1:] == [{"type": "left", "room": room, "user": bob}])
        async with ChatClient(first.url, bob_token) as one:
            await one.subscribe(room)
            await alice.until(
                lambda client: comings(client, bob)[-1:] == [{"type": "joined", "room": room, "user": bob}]
            )
            before = len(comings(alice, bob))
            async with ChatClient(second.url, bob_token) as two:
                await two.subscribe(room)
                await two.say(room, "twice here")
            await alice.until(lambda client: client.texts(room) == ["twice here"])
            assert len(comings(alice, bob)) == before
        await alice.until(lambda client: comings(client, bob)[-1]["type"] == "left")
        assert len(comings(alice, bob)) == before + 1


async def test_a_connection_that_dies_is_told_too(chat: Chat):
    web = chat.web()
    (_, alice_token), (bob, bob_token) = chat.tokens(2).items()
    room = create_room(web.url, alice_token)
    async with ChatClient(web.url, alice_token) as alice, ChatClient(web.url, bob_token) as two:
        await alice.subscribe(room)
        await two.subscribe(room)
        two.cut()
        await alice.until(lambda client: comings(client, bob)[-1:] == [{"type": "left", "room": room, "user": bob}])


async def present(client: ChatClient, room: int, count: int) -> Frame:
    """The newest word of who is there says so many."""

    def newest(client: ChatClient) -> Frame | None:
        frames = [frame for frame in client.of_type("presence") if frame["room"] == room]
        return frames[-1] if frames and frames[-1]["count"] == count else None

    frame: Frame = await client.until(newest)
    return frame


async def test_who_subscribes_is_told_who_is_there(chat: Chat):
    first, second = chat.web("web1"), chat.web("web2")
    (alice, alice_token), (bob, bob_token) = chat.tokens(2).items()
    room = create_room(first.url, alice_token)
    async with ChatClient(first.url, alice_token) as one, ChatClient(second.url, bob_token) as two:
        await one.subscribe(room)
        assert (await present(one, room, 1))["users"] == [alice]
        await two.subscribe(room)
        assert (await present(two, room, 2))["users"] == sorted([alice, bob])
        # A new member makes a notice and no `joined`, so the others learn the number by a frame of its own.
        assert (await present(one, room, 2))["users"] == sorted([alice, bob])


async def test_a_killed_server_s_people_leave_once_unless_they_come_back(chat: Chat, chat_stack: DevStack):
    """100 people in a room: 49 of the killed server come back at once, 50 do not; another server sees it all."""
    doomed, other = chat.web("web1"), chat.web("web2")
    (_, watcher_token), *others = chat.tokens(100).items()
    room = create_room(other.url, watcher_token)
    returning, lost = dict(others[:49]), dict(others[49:])
    async with AsyncExitStack() as sockets, ChatClient(other.url, watcher_token) as watcher:
        await watcher.subscribe(room)
        for token in [*returning.values(), *lost.values()]:
            client = await sockets.enter_async_context(ChatClient(doomed.url, token))
            await client.subscribe(room)
        await present(watcher, room, 100)
        # While a room is told by its number nobody's leaving is told by name.
        with redis.Redis.from_url(chat_stack.addresses()["REDIS_URL"]) as store:
            await asyncio.to_thread(wait_for, lambda: not store.exists(f"presence:{room}:told"), "names are told")
        before = len(watcher.frames)
        await asyncio.to_thread(doomed.kill)
        killed_at = monotonic()
        clients = [ChatClient(other.url, token) for token in returning.values()]
        back = await asyncio.gather(*map(sockets.enter_async_context, clients))
        await asyncio.gather(*(client.subscribe(room) for client in back))
        # Their leases were renewed a third of a lease before the kill at the earliest.
        assert monotonic() - killed_at < LEASE * 2 / 3, "The machine was too slow for people to come back in time."

        def moves(client: ChatClient) -> Counter[tuple[str, str]]:
            frames = [frame for frame in client.frames[before:] if frame["type"] in {"joined", "left"}]
            return Counter((frame["type"], frame["user"]) for frame in frames)

        await watcher.until(lambda client: len(moves(client)) >= len(lost), deadline=LEASE + SWEEP + SLACK)
        # Another sweep would tell of those who came back.
        await asyncio.sleep(2 * SWEEP)
        assert moves(watcher) == Counter({("left", user): 1 for user in lost})


async def test_redis_forgets_everything_and_nobody_is_told_that_somebody_came_or_went(chat: Chat, chat_stack: DevStack):
    first, second = chat.web("web1"), chat.web("web2")
    (_, alice_token), (bob, bob_token), (eve, eve_token) = chat.tokens(3).items()
    room = create_room(first.url, alice_token)
    async with ChatClient(first.url, alice_token) as alice, ChatClient(second.url, bob_token) as two:
        for client in (alice, two):
            await client.subscribe(room)
        async with ChatClient(second.url, eve_token) as three:
            await three.subscribe(room)
            await present(alice, room, 3)
            before = len(alice.frames)
            with redis.Redis.from_url(chat_stack.addresses()["REDIS_URL"]) as store:
                store.flushdb()
            await asyncio.to_thread(chat_stack.kill, "redis")
            await asyncio.to_thread(chat_stack.wait_ready)
            async with ChatClient(first.url, bob_token) as again:
                await again.subscribe(room)
            await alice.until(lambda client: client.of_type("presence")[-1] in client.frames[before:])
            assert (await present(alice, room, 3))["users"]
            assert [frame for frame in alice.frames[before:] if frame["type"] in {"joined", "left"}] == []

        def eve_is_gone(client: ChatClient) -> bool:
            newest = client.of_type("left", "presence")[-1]
            return bool(newest.get("user") == eve or newest.get("count") == 2)

        await alice.until(eve_is_gone, deadline=LEASE + SWEEP + SLACK)
        assert comings(alice, bob) == []
