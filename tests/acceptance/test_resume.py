"""Coming back to a room: from the ring, from storage, and where neither reaches."""

import asyncio
import json
import signal
from time import monotonic
from typing import Any
from uuid import uuid4

import psycopg
from websockets.asyncio.client import ClientConnection, connect

from tests.acceptance.chat import Chat, call, create_room
from tests.acceptance.client import DEADLINE, ChatClient
from tests.acceptance.promise import missing, until_it_holds


async def test_a_resume_from_memory_brings_exactly_what_was_missed(chat: Chat):
    web = chat.web()
    alice, bob = chat.tokens(2).values()
    room = create_room(web.url, alice)
    async with ChatClient(web.url, alice) as one:
        await one.subscribe(room)
        async with ChatClient(web.url, bob) as two:
            await two.subscribe(room)
            seen = await one.say(room, "seen")
            await two.until(lambda client: client.texts(room) == ["seen"])
        for n in range(10):
            await one.say(room, f"missed {n}")
        async with ChatClient(web.url, bob) as two:
            answer = await two.subscribe(room, after=seen["cursor"])
            assert answer["recovered"] is True
            await one.say(room, "live")
            await two.until(lambda client: "live" in client.texts(room))
            assert two.texts(room) == [*(f"missed {n}" for n in range(10)), "live"]


async def test_a_resume_beyond_the_memory_of_the_server_is_filled_from_storage(chat: Chat):
    web = chat.web()
    chat.event_consumer()
    alice, bob = chat.tokens(2).values()
    room = create_room(web.url, alice)
    texts = long_texts()
    async with ChatClient(web.url, alice) as one, ChatClient(web.url, bob) as two:
        await one.subscribe(room)
        seen = await one.say(room, "seen")
        await say_all(one, room, texts)
        await asyncio.to_thread(chat.wait_storing, room, 1 + len(texts))
        answer = await two.subscribe(room, after=seen["cursor"])
        assert answer["recovered"] is True
        await one.say(room, "live")
        await two.until(lambda client: "live" in client.texts(room))
        assert two.texts(room) == [*texts, "live"]
        # What was forgotten since makes a gap, which is told.
        await asyncio.to_thread(chat.manage, "purge_messages", "--days", "0.00001")
        answer = await two.subscribe(room, after=seen["cursor"])
        assert answer["recovered"] is False


async def test_who_is_blocked_while_a_resume_waits_for_storage_is_left_out_of_it(chat: Chat):
    web, events = chat.web(), chat.event_consumer()
    (_, alice), (bob, bobs), (_, carols) = chat.tokens(3).items()
    room, elsewhere = create_room(web.url, alice), create_room(web.url, alice)
    async with (
        ChatClient(web.url, bobs) as talker, ChatClient(web.url, carols) as other,
        ChatClient(web.url, alice) as reader, ChatClient(web.url, alice) as witness,
    ):  # fmt: skip
        for client in (talker, other, witness):
            await client.subscribe(elsewhere)
        await talker.subscribe(room)
        seen = await talker.say(room, "seen")
        await asyncio.to_thread(chat.wait_storing, room)
        events.signal(signal.SIGSTOP)
        try:
            await say_all(talker, room, long_texts())
            resuming = asyncio.create_task(reader.subscribe(room, after=seen["cursor"]))
            await asyncio.to_thread(call, web.url, alice, "PUT", f"/me/blocks/{bob}")
            answered = monotonic()

            async def is_blocked() -> bool:
                return await missing(talker, other, elsewhere, witness) == [witness]

            await until_it_holds(is_blocked, answered=answered)
        finally:
            events.signal(signal.SIGCONT)
        await resuming
        await talker.say(room, "live")
        assert reader.texts(room) == []


async def test_where_the_gap_cannot_be_filled_the_client_is_told(chat: Chat):
    web = chat.web()  # and no event consumer: nothing is stored
    alice, bob = chat.tokens(2).values()
    room = create_room(web.url, alice)
    async with ChatClient(web.url, alice) as one, ChatClient(web.url, bob) as two:
        await one.subscribe(room)
        seen = await one.say(room, "seen")
        await say_all(one, room, long_texts())
        answer = await two.subscribe(room, after=seen["cursor"])
        assert answer["recovered"] is False
        await one.say(room, "live")
        await two.until(lambda client: "live" in client.texts(room))
        assert two.texts(room) == ["live"]


async def test_a_cursor_of_a_former_log_is_not_recovered(chat: Chat):
    web = chat.web()
    (token,) = chat.tokens(1).values()
    room = create_room(web.url, token)
    async with ChatClient(web.url, token) as client:
        answer = await client.subscribe(room)
        epoch, rest = answer["cursor"].split("-", 1)
        answer = await client.subscribe(room, after=f"{int(epoch) - 1}-{rest}")
        assert answer["recovered"] is False


async def test_a_cursor_behind_the_end_of_the_log_is_not_recovered(chat: Chat):
    """A log that was cut off does not get there; waiting for it in silence would be a hole."""
    web = chat.web()
    (token,) = chat.tokens(1).values()
    room = create_room(web.url, token)
    async with ChatClient(web.url, token) as client:
        cursor = (await client.subscribe(room))["cursor"]
        place, offset = cursor.rsplit("-", 1)
        answer = await client.subscribe(room, after=f"{place}-{int(offset) + 100_000}")
        assert answer["recovered"] is False
        await client.say(room, "live")
        await client.until(lambda client: client.texts(room) == ["live"])


async def test_who_is_removed_while_the_gap_is_read_gets_nothing_of_it(chat: Chat):
    web = chat.web()
    chat.event_consumer()
    tokens = chat.tokens(2)
    (alice, bob), name = tokens.values(), list(tokens)[1]
    room = create_room(web.url, alice, kind="private")
    call(web.url, alice, "PUT", f"/rooms/{room}/members/{name}", {})
    async with (
        ChatClient(web.url, alice) as one,
        ChatClient(web.url, bob) as two,
        ChatClient(web.url, bob) as witness,
        await psycopg.AsyncConnection.connect(chat.environment["DATABASE_URL"]) as database,
    ):
        await witness.subscribe(room)
        await one.subscribe(room)
        seen = await one.say(room, "seen")
        # Nothing more is stored until this transaction ends.
        await database.execute("LOCK TABLE events_consumedoffset IN SHARE MODE")
        await say_all(one, room, long_texts())
        await two.send({"type": "subscribe", "id": "resume", "room": room, "after": seen["cursor"]})
        await asyncio.to_thread(call, web.url, alice, "DELETE", f"/rooms/{room}/members/{name}")
        await witness.until(lambda client: client.of_type("removed"))
        await database.commit()
        await two.answer("resume")
        assert (await two.subscribe(room))["code"] == "not_found"
        assert two.texts(room) == []


async def test_to_subscribe_again_tells_how_far_this_socket_has_come(chat: Chat):
    """Who resumes behind that cursor misses nothing that was still on its way."""
    web = chat.web()
    alice, bob = chat.tokens(2).values()
    room = create_room(web.url, alice)
    async with (
        ChatClient(web.url, alice) as one,
        connect(
            web.url.replace("http", "ws", 1) + "/ws",
            additional_headers={"Authorization": f"Bearer {bob}"},
            compression=None,
        ) as late,
    ):
        subscribe = json.dumps({"type": "subscribe", "id": "late", "room": room})
        await late.send(subscribe)
        await read_subscribed(late)
        await one.subscribe(room)
        await say_all(one, room, long_texts()[:400])
        await late.send(subscribe)
        # Frames are handled one after the other: when this is said, the one before it has been dealt with.
        await late.send(json.dumps({"type": "send", "id": str(uuid4()), "room": room, "text": "asked"}))
        await one.until(lambda client: "asked" in client.texts(room))
        cursors = [frame["cursor"] for frame in await read_subscribed(late) if "cursor" in frame]
        assert len(cursors) < 400
        assert cursors[-1] == cursors[-2]


async def read_subscribed(socket: ClientConnection) -> list[dict[str, Any]]:
    """The frames up to the answer to a `subscribe`, pings answered."""
    frames: list[dict[str, Any]] = []
    async with asyncio.timeout(DEADLINE):
        while not frames or frames[-1]["type"] != "subscribed":
            received = json.loads(await socket.recv())
            frames += received if isinstance(received, list) else [received]
            if frames[-1]["type"] == "ping":
                await socket.send(json.dumps({"type": "pong", "id": frames[-1]["id"]}))
    return frames


def long_texts() -> list[str]:
    """More than the 4 MB of a room's newest records that a server remembers."""
    return [f"missed {n} ".ljust(3900, "x") for n in range(1200)]


async def say_all(client: ChatClient, room: int, texts: list[str]) -> None:
    """Say many messages, in order, a hundred under way at a time."""
    for start in range(0, len(texts), 100):
        await asyncio.gather(*(client.say(room, text) for text in texts[start : start + 100]))
